package exim

import (
	"regexp"
	"slices"
	"strings"
	"sync"
)

// A Statement is one statement of an ACL.
type Statement struct {
	Verb  string
	Parts []Part
	Line  int // where it begins, from 1
}

// A Part is a condition or modifier of a statement.
type Part struct {
	Name  string // without the "!" that may stand before it
	Not   bool
	Value string
}

// Refuses reports whether the statement can turn a client away.
func (s Statement) Refuses() bool { return s.Verb != "accept" && s.Verb != "warn" }

// Values gives the values of every part that has one of these names.
func (s Statement) Values(names ...string) (all []string) {
	for _, p := range s.Parts {
		if slices.Contains(names, p.Name) {
			all = append(all, p.Value)
		}
	}
	return all
}

// A Line is a logical line: continuations joined, comments and blank lines left
// out. A directive such as .ifdef is one too.
type Line struct {
	Number int // of its first physical line, from 1
	Text   string
}

// Lines gives the logical lines of a snippet. Unlike Settings it does not look
// at conditions within a continuation.
func Lines(data []byte) (all []Line) {
	open := false
	for i, raw := range splitLines(data) {
		text := strings.TrimSpace(string(raw))
		if strings.HasPrefix(text, "#") || !open && text == "" {
			continue
		}
		rest, more := strings.CutSuffix(text, `\`)
		if open {
			all[len(all)-1].Text += rest
		} else {
			all = append(all, Line{i + 1, rest})
		}
		open = more
	}
	for i := range all {
		all[i].Text = strings.TrimSpace(all[i].Text)
	}
	return all
}

// The program that Exim runs at a connection links this package: it must not
// pay for expressions that it does not use.
var (
	aclVerb   = expression(`^(accept|defer|deny|discard|drop|require|warn)(?:\s+([^\s=].*))?$`)
	aclPart   = expression(`^(!?)\s*([a-z_0-9]+)\s*=\s*(.*)$`)
	macroLine = expression(`^([A-Z][A-Za-z0-9_]*)\s*=(=?)\s*(.*)$`)
)

func expression(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

// Statements gives the statements of a snippet of an ACL, whatever condition
// (.ifdef) they are under. A line that is neither verb nor part is left out.
func Statements(data []byte) (all []Statement) {
	for _, l := range Lines(data) {
		text := l.Text
		if m := aclVerb().FindStringSubmatch(text); m != nil {
			all = append(all, Statement{Verb: m[1], Line: l.Number})
			text = m[2]
		}
		if m := aclPart().FindStringSubmatch(text); m != nil && len(all) > 0 {
			s := &all[len(all)-1]
			s.Parts = append(s.Parts, Part{Name: m[2], Not: m[1] != "", Value: m[3]})
		}
	}
	return all
}

// Items splits a list of Exim's. Its separator is a colon, doubled where it is
// part of an item, unless "<" at the start names another.
func Items(list string) []string { return items(list) }

// Definition takes a logical line for one that defines a macro. again says that
// it gives a new value to one that is defined ("==").
func (l Line) Definition() (name, value string, again, ok bool) {
	m := macroLine().FindStringSubmatch(l.Text)
	if m == nil {
		return "", "", false, false
	}
	return m[1], strings.TrimSpace(m[3]), m[2] != "", true
}

// CommentOutMacros puts prefix before every physical line of a definition, with
// "=", of one of these macros in a snippet of the main section. Exim takes only
// one definition of a macro.
func CommentOutMacros(data []byte, names []string, prefix string) []byte {
	lines := splitLines(data)
	found, _ := logicalLines(lines)
	changed := false
	for _, l := range found {
		name, _, again, ok := Line{Text: l.text}.Definition()
		if !ok || again || !slices.Contains(names, name) {
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
	return slices.Concat(lines...)
}

// Active gives a snippet without what its conditions (.ifdef) leave out when
// these macros are defined. Lines keep their numbers.
func Active(data []byte, macros map[string]string) []byte {
	defined := func(text string) bool {
		return slices.ContainsFunc(strings.Fields(text)[1:], func(word string) bool { _, ok := macros[word]; return ok })
	}
	// Of each condition around the line: whether it holds, and whether one of
	// its branches has held before.
	type condition struct{ holds, held bool }
	var around []condition
	lines := splitLines(data)
	for i, l := range lines {
		text := strings.TrimSpace(string(l))
		d := directive(text)
		enter := func(yes bool) {
			if n := len(around) - 1; n >= 0 {
				around[n] = condition{yes && !around[n].held, yes || around[n].held}
			}
		}
		switch d {
		case ".ifdef":
			around = append(around, condition{defined(text), defined(text)})
		case ".ifndef":
			around = append(around, condition{!defined(text), !defined(text)})
		case ".elifdef":
			enter(defined(text))
		case ".elifndef":
			enter(!defined(text))
		case ".else":
			enter(true)
		case ".endif":
			around = around[:max(len(around)-1, 0)]
		default:
			if slices.ContainsFunc(around, func(c condition) bool { return !c.holds }) {
				lines[i] = []byte("\n")
			}
		}
	}
	return slices.Concat(lines...)
}
