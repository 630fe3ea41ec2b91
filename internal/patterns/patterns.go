// Package patterns reads, applies, merges and unmerges the firewall's pattern
// files: the *.patterns files of Symbiosis, of Sympl and of nftfw. A pattern
// file names a log, the ports to block, and regular expressions that take a
// host's address from a line of that log.
//
// The rules are the platform's own. White space around a line is dropped.
// Empty lines and lines that start with # are skipped. The first "file =" names
// the log and the first "ports =" the ports; every other line is a regular
// expression in which __IP__ stands for an address and capture group 1 is the
// address. An expression that neither starts with ^ nor ends with $ gets a $.
// The match is a search, and a line that two patterns match counts twice.
package patterns

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/dlclark/regexp2"
)

// IPExpression is what the platform puts in the place of __IP__.
const IPExpression = `(?:::ffff:)?([0-9a-fA-F:\.]+(?:/[0-9]+)?)`

const ipToken = "__IP__"

// BacktrackLimit is how long a pattern that needs the backtracking engine may
// work on one line before the line counts as not decided.
const BacktrackLimit = 200 * time.Millisecond

// A File is one parsed pattern file.
type File struct {
	Log      string     // the value of the first "file =", "" without one
	LogLine  int        // its line, 0 without one
	Ports    []string   // the items of the first "ports ="; nil means all ports
	PortLine int        // the line of the first "ports =", 0 without one
	Patterns []*Pattern // in the file's order
	Notes    []Note     // lines that do not do what they seem to do
}

// A Note is a remark about one line of a pattern file.
type Note struct {
	Line int
	Text string
}

// An Engine is what a pattern was compiled with.
type Engine string

const (
	// RE2 is Go's engine: its time is linear in the line's length.
	RE2 Engine = "re2"
	// Backtracking is the engine for Ruby's syntax that RE2 lacks. A hostile
	// line can keep it busy, so it is stopped after BacktrackLimit.
	Backtracking Engine = "backtracking"
)

// A Pattern is one regular expression of a pattern file.
type Pattern struct {
	Line     int    // its line in the file, from 1
	Source   string // as written, white space around it dropped
	Comment  string // the first line of the comment directly above it, "" without one
	Expanded string // as the platform compiles it
	Engine   Engine // "" before Compile, and when the pattern does not compile

	re       *regexp.Regexp
	back     *regexp2.Regexp
	literals [][]byte // a line that matches contains each of them
}

// An Error is a line of a pattern file that cannot be used.
type Error struct {
	Line   int    // from 1; 0 for the file as a whole
	Source string // the pattern, "" when it is not about one
	Reason string // what is wrong, and what to do about it
}

func (e *Error) Error() string {
	switch {
	case e.Line == 0:
		return e.Reason
	case e.Source == "":
		return fmt.Sprintf("line %d: %s", e.Line, e.Reason)
	}
	return fmt.Sprintf("line %d: %s: %s", e.Line, e.Reason, e.Source)
}

// Parse reads a pattern file as the platform does. Nothing is compiled yet.
// The only error is an *Error for data that is not a text file.
func Parse(data []byte) (*File, error) {
	f := &File{}
	if i := bytes.IndexByte(data, 0); i >= 0 {
		line := 1 + bytes.Count(data[:i], []byte("\n"))
		return nil, &Error{Line: line, Reason: "a NUL byte: this is not a pattern file"}
	}
	comment := ""
	for i, raw := range strings.Split(string(data), "\n") {
		line, n := trim(raw), i+1
		above := comment
		comment = ""
		if line == "" {
			continue
		}
		if line[0] == '#' {
			if text := trim(line[1:]); above == "" && !strings.Contains(text, ipToken) && !isMarker(line) {
				comment = text
			} else {
				comment = above
			}
			continue
		}
		if v, ok := setting(line, "file"); ok {
			if f.LogLine == 0 {
				f.Log, f.LogLine = v, n
				continue
			}
			f.Notes = append(f.Notes, Note{n, fmt.Sprintf("a second \"file =\": the log is the one of line %d, and Symbiosis takes this line for a regular expression", f.LogLine)})
			continue
		}
		if v, ok := setting(line, "ports"); ok {
			if f.PortLine == 0 {
				f.PortLine = n
				f.Ports = strings.FieldsFunc(v, func(r rune) bool {
					return !('0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
				})
				continue
			}
			f.Notes = append(f.Notes, Note{n, fmt.Sprintf("a second \"ports =\": the ports are those of line %d, and Symbiosis takes this line for a regular expression", f.PortLine)})
			continue
		}
		p := &Pattern{Line: n, Source: line, Comment: above, Expanded: expand(line)}
		switch strings.Count(line, ipToken) {
		case 0:
			f.Notes = append(f.Notes, Note{n, "no " + ipToken + ": nftfw skips this line"})
		case 1:
		default:
			f.Notes = append(f.Notes, Note{n, "more than one " + ipToken + ": nftfw replaces the first only"})
		}
		f.Patterns = append(f.Patterns, p)
	}
	if f.LogLine == 0 && len(f.Patterns) > 0 {
		f.Notes = append(f.Notes, Note{0, "no \"file =\": the platform applies these patterns to no log"})
	}
	return f, nil
}

// trim drops what Ruby's strip drops.
func trim(s string) string { return strings.Trim(s, " \t\r\n\v\f\x00") }

// setting reads "key = value". White space before the key is gone already.
func setting(line, key string) (string, bool) {
	rest, ok := strings.CutPrefix(line, key)
	if !ok {
		return "", false
	}
	rest, ok = strings.CutPrefix(strings.TrimLeft(rest, " \t\r\v\f"), "=")
	return trim(rest), ok
}

func expand(line string) string {
	e := strings.ReplaceAll(line, ipToken, IPExpression)
	if !strings.HasPrefix(e, "^") && !strings.HasSuffix(e, "$") {
		e += "$"
	}
	return e
}

// Compile compiles every pattern: with RE2 where RE2 knows the syntax,
// otherwise with the backtracking engine. A pattern that neither compiles, or
// that has no capture group for the address, keeps Engine "" and is never
// applied; the error then joins one *Error for each.
func (f *File) Compile() error {
	var errs []error
	for _, p := range f.Patterns {
		if err := p.compile(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (p *Pattern) compile() error {
	p.Engine, p.re, p.back, p.literals = "", nil, nil, nil
	fail := func(reason string) error { return &Error{p.Line, p.Source, reason} }
	re, err := regexp.Compile(p.Expanded)
	if err == nil {
		if re.NumSubexp() == 0 {
			return fail("nothing takes an address: write " + ipToken + " where the address stands")
		}
		p.Engine, p.re = RE2, re
		p.literals = required(p.Expanded)
		return nil
	}
	back, backErr := regexp2.Compile(fromRuby(p.Expanded), regexp2.None)
	if backErr != nil {
		return fail(backErr.Error())
	}
	if len(back.GetGroupNumbers()) < 2 {
		return fail("nothing takes an address: write " + ipToken + " where the address stands")
	}
	back.MatchTimeout = BacktrackLimit
	p.Engine, p.back = Backtracking, back
	return nil
}

// fromRuby rewrites the escapes of Ruby's that the backtracking engine lacks:
// \h and \H, a hexadecimal digit and anything else.
func fromRuby(s string) string {
	var b strings.Builder
	inClass := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && i+1 < len(s):
			i++
			switch {
			case s[i] == 'h' && inClass:
				b.WriteString("0-9a-fA-F")
			case s[i] == 'h':
				b.WriteString("[0-9a-fA-F]")
			case s[i] == 'H' && !inClass:
				b.WriteString("[^0-9a-fA-F]")
			default:
				b.WriteByte(c)
				b.WriteByte(s[i])
			}
			continue
		case c == '[':
			inClass = true
		case c == ']':
			inClass = false
		}
		b.WriteByte(c)
	}
	return b.String()
}

// A Hit is an address that a pattern takes from a line.
type Hit struct {
	Pattern int    // index in File.Patterns
	Address []byte // what group 1 holds, a part of the line; may be empty
}

// ErrTimeout says that a backtracking pattern did not decide a line within
// BacktrackLimit.
var ErrTimeout = errors.New("the pattern needs too long for this line")

// Match tells whether the compiled pattern matches line, which has no line end,
// and what it takes for the address. The error is ErrTimeout or nil.
func (p *Pattern) Match(line []byte) (address []byte, ok bool, err error) {
	for _, l := range p.literals {
		if !bytes.Contains(line, l) {
			return nil, false, nil
		}
	}
	switch {
	case p.re != nil:
		m := p.re.FindSubmatchIndex(line)
		if m == nil {
			return nil, false, nil
		}
		if m[2] < 0 {
			return nil, true, nil
		}
		return line[m[2]:m[3]], true, nil
	case p.back != nil:
		m, err := p.back.FindStringMatch(string(line))
		if err != nil {
			return nil, false, ErrTimeout
		}
		if m == nil {
			return nil, false, nil
		}
		return []byte(m.GroupByNumber(1).String()), true, nil
	}
	return nil, false, nil
}

// Match appends to dst one Hit for every pattern that matches line, which has
// no line end, and returns dst. A backtracking pattern that runs out of time
// does not match.
func (f *File) Match(line []byte, dst []Hit) []Hit {
	for i, p := range f.Patterns {
		if a, ok, _ := p.Match(line); ok {
			dst = append(dst, Hit{i, a})
		}
	}
	return dst
}
