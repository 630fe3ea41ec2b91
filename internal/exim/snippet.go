package exim

import (
	"bytes"
	"slices"
	"strings"
)

// ValidName reports whether the platform's Makefile takes a snippet with this
// base name: [a-z0-9][a-z0-9-]+. A name with a dot, an underscore or an
// upper-case letter (".dpkg-new", ".disabled", "~") is passed over.
func ValidName(base string) bool {
	for i := 0; i < len(base); i++ {
		c := base[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && (i == 0 || c != '-') {
			return false
		}
	}
	return len(base) >= 2
}

// splitLines cuts data after every newline, so that joining gives data again.
func splitLines(data []byte) [][]byte {
	if len(data) == 0 {
		return nil
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	if len(lines[len(lines)-1]) == 0 {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// A logical line is one that Exim sees after joining continuations: the
// physical lines from first up to, but without, end.
type logical struct {
	first, end int
	text       string // of the first physical line, without leading space
}

// logicalLines lists the logical lines of the main section in lines, without
// comments, blank lines and directives, and whether the section ends here with
// a "begin" line. Manual section 6.2: a trailing backslash continues a line,
// comments may stand between the parts; 6.4: conditions (.ifdef and its like)
// are also applied to physical lines inside a continuation.
func logicalLines(lines [][]byte) (found []logical, begins bool) {
	for i := 0; i < len(lines); {
		text := strings.TrimSpace(string(lines[i]))
		if text == "" || text[0] == '#' || directive(text) != "" {
			i++
			continue
		}
		if f := strings.Fields(text); f[0] == "begin" {
			return found, true
		}
		l := logical{first: i, text: text}
		open, depth := true, 0
		for ; i < len(lines) && (open || depth > 0); i++ {
			text := strings.TrimSpace(string(lines[i]))
			switch d := directive(text); {
			case i > l.first && strings.HasPrefix(text, "#"):
			case i > l.first && strings.HasPrefix(d, ".if"):
				depth++
			case i > l.first && d == ".endif":
				depth--
			case i > l.first && d != "":
			default:
				open = strings.HasSuffix(text, `\`)
			}
		}
		l.end = i
		found = append(found, l)
	}
	return found, false
}

// directive gives the conditional directive that a trimmed line starts with,
// or "".
func directive(text string) string {
	for _, d := range []string{".ifdef", ".ifndef", ".elifdef", ".elifndef", ".else", ".endif", ".include"} {
		if strings.HasPrefix(text, d) {
			return d
		}
	}
	return ""
}

// sets reports whether the logical line that starts with text sets the main
// option: "name =", also after "hide".
func sets(text, option string) bool {
	if rest, ok := strings.CutPrefix(text, "hide"); ok && rest != "" && (rest[0] == ' ' || rest[0] == '\t') {
		text = strings.TrimLeft(rest, " \t")
	}
	rest, ok := strings.CutPrefix(text, option)
	return ok && (rest == "" || strings.IndexByte(" \t=\\", rest[0]) >= 0)
}

// Begins reports whether a "begin" line in data ends the main section, so that
// snippets after this one hold no main options.
func Begins(data []byte) bool {
	_, begins := logicalLines(splitLines(data))
	return begins
}

// Settings gives every setting of the main option in a snippet of the main
// section, each as it stands in the file: all the physical lines of a
// continuation, whatever condition (.ifdef) it is under.
func Settings(data []byte, option string) []string {
	lines := splitLines(data)
	var all []string
	found, _ := logicalLines(lines)
	for _, l := range found {
		if sets(l.text, option) {
			all = append(all, string(bytes.Join(lines[l.first:l.end], nil)))
		}
	}
	return all
}

// CommentOut puts prefix, which must start with "#", before every physical
// line of every setting of the main option. It gives data itself where there
// is none. Uncomment undoes it byte for byte.
func CommentOut(data []byte, option, prefix string) []byte {
	lines := splitLines(data)
	found, _ := logicalLines(lines)
	changed := false
	for _, l := range found {
		if !sets(l.text, option) {
			continue
		}
		changed = true
		for i := l.first; i < l.end; i++ {
			lines[i] = append([]byte(prefix), lines[i]...)
		}
	}
	if !changed {
		return data
	}
	return bytes.Join(lines, nil)
}

// Uncomment takes prefix off every line that starts with it. It gives data
// itself where no line does.
func Uncomment(data []byte, prefix string) []byte {
	lines := splitLines(data)
	changed := false
	for i, l := range lines {
		if rest, ok := bytes.CutPrefix(l, []byte(prefix)); ok {
			lines[i], changed = rest, true
		}
	}
	if !changed {
		return data
	}
	return bytes.Join(lines, nil)
}

// Mark puts each setting of the main options in a snippet in or out of use. A
// line that starts with prefix counts as what follows it. For each setting mark
// tells what to put before its physical lines, "" for nothing: it is given the
// option, the setting's number, from 0 and over all of them, and whether it had
// prefix before it.
func Mark(data []byte, options []string, prefix string, mark func(option string, n int, had bool) string) []byte {
	lines := splitLines(data)
	had := make([]bool, len(lines))
	for i, l := range lines {
		lines[i], had[i] = bytes.CutPrefix(l, []byte(prefix))
	}
	found, _ := logicalLines(lines)
	n := 0
	for _, l := range found {
		i := slices.IndexFunc(options, func(option string) bool { return sets(l.text, option) })
		if i < 0 {
			continue
		}
		m := mark(options[i], n, had[l.first])
		for i := l.first; i < l.end && m != ""; i++ {
			lines[i] = append([]byte(m), lines[i]...)
		}
		n++
	}
	return bytes.Join(lines, nil)
}
