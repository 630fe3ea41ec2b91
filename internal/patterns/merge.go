package patterns

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// What marks our part of a file that others edit too. These texts are a format:
// a later version has to find what an earlier one wrote.
const (
	beginMarker      = "# BEGIN symbiosis-connect-acl"
	endMarker        = "# END symbiosis-connect-acl"
	supersededMarker = "# superseded by symbiosis-connect-acl: "
	originMarker     = "# before this block: "
	originCreated    = "no file"
	originFile       = "a file of"
)

// isMarker tells whether a line is one of ours, and no comment on a pattern.
func isMarker(line string) bool {
	for _, m := range []string{beginMarker, endMarker, supersededMarker, originMarker} {
		if strings.HasPrefix(line, m) {
			return true
		}
	}
	return false
}

// A Superseded is a line of the administrator's file that Install takes out of
// use, because a pattern of ours counts the same event.
type Superseded struct {
	Line int    // in the file that Install was given, from 1
	Text string // as it stood there, without its line end
	Why  string
}

// Install merges our pattern file into the platform's and returns the new
// content. existing is nil when there is no file, and empty when there is an
// empty one: Remove tells the two apart. Ours becomes one marked block at the
// end, or takes the place of the block that is there. "file =" and "ports ="
// of the administrator win: the block brings its own only where they are
// missing. Each line outside the block that ours supersede, or repeat, is
// commented out with a marker. All else stays as it is, byte for byte.
//
// Installing the same again changes nothing. An error is an *Error that names
// the line of existing and the remedy.
func Install(existing, ours []byte) (merged []byte, superseded []Superseded, err error) {
	if _, err := Parse(existing); err != nil {
		return nil, nil, err
	}
	own, err := Parse(ours)
	if err != nil {
		return nil, nil, fmt.Errorf("our own pattern file: %w", err)
	}
	at, err := findBlock(existing)
	if err != nil {
		return nil, nil, err
	}
	before, block, after := existing[:at.start], existing[at.start:at.end], existing[at.end:]
	var origin string
	if len(block) == 0 {
		origin = describe(existing)
	} else {
		origin = originOf(block)
	}

	repeats := map[string]bool{}
	for _, p := range own.Patterns {
		repeats[squeeze(p.Source)] = true
	}
	var outside bytes.Buffer // what the platform reads of theirs, to see what they set
	supersede := func(part []byte, firstLine int) []byte {
		var out []byte
		for i, line := range bytes.SplitAfter(part, []byte("\n")) {
			text := string(bytes.TrimRight(line, "\r\n"))
			why := ""
			if len(block) == 0 && strings.HasPrefix(text, supersededMarker) {
				// Left behind by someone who deleted our block by hand.
				// Marked once more, so that Remove gives back this very line.
				why = "a leftover marker"
			} else if trimmed := trim(text); trimmed != "" && trimmed[0] != '#' {
				if name, ok := supersedes(trimmed); ok {
					why = name
				} else if repeats[squeeze(trimmed)] {
					why = "the same pattern as in the block"
				}
			}
			if why == "" {
				out = append(out, line...)
				outside.Write(line)
				continue
			}
			if why != "a leftover marker" {
				superseded = append(superseded, Superseded{firstLine + i, text, why})
			}
			out = append(out, supersededMarker...)
			out = append(out, line...)
		}
		return out
	}
	before = supersede(before, 1)
	after = supersede(after, 1+bytes.Count(existing[:at.end], []byte("\n")))
	theirs, err := Parse(outside.Bytes())
	if err != nil {
		return nil, nil, err
	}

	eol := "\n"
	if bytes.Contains(existing, []byte("\r\n")) && bytes.Count(existing, []byte("\r\n")) == bytes.Count(existing, []byte("\n")) {
		eol = "\r\n"
	}
	if len(before) > 0 && before[len(before)-1] != '\n' {
		before = append(before, eol...)
	}
	merged = append(merged, before...)
	put := func(s string) { merged = append(append(merged, s...), eol...) }
	put(beginMarker + " (edits inside this block are lost; remove it with: symbiosis-connect-patterns remove)")
	put(originMarker + origin)
	for i, line := range strings.Split(strings.TrimSuffix(string(ours), "\n"), "\n") {
		switch n := i + 1; {
		case n == own.LogLine && theirs.LogLine != 0:
			continue
		case n == own.PortLine && (theirs.PortLine != 0 || theirs.LogLine != 0):
			// A file of theirs without "ports =" means all ports, and says so on purpose.
			continue
		}
		put(strings.TrimSuffix(line, "\r"))
	}
	put(endMarker)
	merged = append(merged, after...)
	return merged, superseded, nil
}

// Remove undoes Install: it takes the block out and puts the superseded lines
// back. What Install was given comes back byte for byte when nobody has edited
// the file since; otherwise the administrator's edits stay. deleteFile says
// that Install created the file and nothing of anyone's is left in it. Without
// a block the content comes back as it is. An error is an *Error that names
// the line and the remedy.
func Remove(merged []byte) (original []byte, deleteFile bool, err error) {
	at, err := findBlock(merged)
	if err != nil {
		return nil, false, err
	}
	if at.start == at.end {
		return slices.Clone(merged), false, nil
	}
	block := merged[at.start:at.end]
	restore := func(part []byte) []byte {
		var out []byte
		for _, line := range bytes.SplitAfter(part, []byte("\n")) {
			out = append(out, bytes.TrimPrefix(line, []byte(supersededMarker))...)
		}
		return out
	}
	before, after := restore(merged[:at.start]), restore(merged[at.end:])
	origin := originOf(block)
	original = append(append([]byte{}, before...), after...)
	if len(after) == 0 {
		// Only the description of the original tells a line end that Install
		// had to add from one that was there.
		bare := bytes.TrimSuffix(bytes.TrimSuffix(before, []byte("\n")), []byte("\r"))
		for _, candidate := range [][]byte{original, bytes.TrimSuffix(before, []byte("\n")), bare} {
			if describe(candidate) == origin {
				original = candidate
				break
			}
		}
	}
	created := strings.HasPrefix(origin, originCreated)
	return original, created && len(bytes.TrimSpace(original)) == 0, nil
}

// Installed tells whether data holds our block.
func Installed(data []byte) bool {
	at, err := findBlock(data)
	return err == nil && at.start != at.end
}

func describe(data []byte) string {
	if data == nil {
		return originCreated
	}
	sum := sha256.Sum256(data)
	return fmt.Sprintf("%s %d bytes, sha256 %s", originFile, len(data), hex.EncodeToString(sum[:8]))
}

func originOf(block []byte) string {
	for _, line := range strings.Split(string(block), "\n") {
		if rest, ok := strings.CutPrefix(line, originMarker); ok {
			return strings.TrimRight(rest, "\r")
		}
	}
	return ""
}

type span struct{ start, end int }

// findBlock finds our block with its line ends. Without one both ends of the
// span are the length of data.
func findBlock(data []byte) (span, error) {
	found := span{-1, -1}
	beginLine, pos := 0, 0
	for i, line := range bytes.SplitAfter(data, []byte("\n")) {
		n, end := i+1, pos+len(line)
		switch {
		case bytes.HasPrefix(line, []byte(beginMarker)):
			if beginLine != 0 {
				return span{}, &Error{Line: n, Reason: fmt.Sprintf("a second %q after the one of line %d; delete one of the two, up to its %q", beginMarker, beginLine, endMarker)}
			}
			beginLine, found.start = n, pos
		case bytes.HasPrefix(line, []byte(endMarker)):
			if beginLine == 0 || found.end >= 0 {
				return span{}, &Error{Line: n, Reason: fmt.Sprintf("%q without %q before it; delete this line", endMarker, beginMarker)}
			}
			found.end = end
		}
		pos = end
	}
	switch {
	case beginLine == 0:
		return span{len(data), len(data)}, nil
	case found.end < 0:
		return span{}, &Error{Line: beginLine, Reason: fmt.Sprintf("%q without %q after it; put that line back where the block ends, or delete the block", beginMarker, endMarker)}
	}
	return found, nil
}

// squeeze brings a pattern to the form in which two spellings of it are equal:
// no white space, and the hyphen that web pages make a dash of.
func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), r == '\u200b', r == '\ufeff':
			return -1
		case r == '\u2013', r == '\u2014', r == '\u2212', r == '\u2010', r == '\u2011':
			return '-'
		}
		return r
	}, s)
}

// How published patterns are written, white space squeezed out. What stands
// before the address, and between it and Exim's words, differs from place to
// place; with +incoming_interface it has our own end of the connection, "I=".
var (
	publishedHead   = `^\^?(?:\.\*|H=|authenticatorfailedfor|\(|\\\)|\))*`
	publishedMiddle = `(?:\.[*+]\??|\\[dS][*+]|\[[^\]]*\][*+]|\\[\[\]]|[():?]|I=|(?:temporarily|rejected)(?:connectionin"connect"ACL:)?)*`
	published       = regexp.MustCompile(publishedHead + `\\\[__IP__\\\]` + publishedMiddle + `(?:` +
		`(rejectedAUTHLOGIN:SSLorTLSencryptionrequiredwhenauthenticating)|` +
		`535Incorrectauthenticationdata|` +
		`AUTHcommandusedwhennotadvertised|` +
		`Blacklisted:Deniedaccess-historyofunwantedactivity|` +
		`Senderdeferred)$`)
)

// supersedes tells whether a pattern of ours counts what this line of the
// platform's stock file, of the published article or its author's later work,
// or of nftfw's stock file counts, and names the source.
func supersedes(pattern string) (string, bool) {
	s := squeeze(pattern)
	for trimmed := true; trimmed; {
		trimmed = false
		for _, tail := range []string{"$", ".*", `\.`, "."} {
			if t, ok := strings.CutSuffix(s, tail); ok {
				s, trimmed = t, true
			}
		}
	}
	switch m := published.FindStringSubmatch(s); {
	case m == nil:
		return "", false
	case m[1] != "":
		return "the platform's own pattern, which an attacker can turn against others", true
	}
	return "a published pattern, which an attacker can turn against others", true
}
