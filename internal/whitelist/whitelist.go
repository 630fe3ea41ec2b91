// Package whitelist reads whitelist_connect_hosts, the administrator's list of
// hosts that pass the connect checks: which addresses each line lets in, and
// what in it is passed over, with what to write instead.
//
// Exim reads the file itself at every connection (whitelist_connection_file in
// 00-main/21-connect-check), so a new line takes effect at once. The regular
// expressions here are those of that snippet, and a test compares the two. Host
// names and ranges are nothing that Exim can read: what they stand for is
// written into a second file, see Derived.
package whitelist

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"strings"
	"sync"
)

// The expressions of the snippet. Exim's regular expressions work on octets, so
// what is outside of ASCII is spelt differently there.
const (
	comment = `#[^\n]*`
	// A dash between what may be two addresses, with or without blanks.
	dash = `([.:][0-9A-Fa-f]{0,4}["'\])]*)[ \t]*(?:-|` + dashes + `)[ \t]*(["'\[(]*(?:\d+\.\d+\.|[0-9A-Fa-f]*:[0-9A-Fa-f:]*:))`
	// dashes are those of typography.
	dashes    = `[\x{2010}-\x{2015}]`
	separator = `[\x01-\x20,;]+`
	// One word: an address, its network's length before or behind the closing
	// bracket, and a port or a colon, which mean nothing here.
	word   = `^["'\[(<]*(?:(?:::[Ff]{4}:)?((?:\d+\.){3}\d+)|([0-9A-Fa-f:.]*[0-9A-Fa-f]|[0-9A-Fa-f:]*::))["'\])>]*(/\d+)?["'\])>]*(?::\d*)?$`
	octet  = `(?:\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])`
	exact4 = `^(?:` + octet + `\.){3}` + octet + `(?:/(?:[12]?\d|3[0-2]))?$`
	exact6 = `^[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(?:/(?:[1-9]?\d|1[01]\d|12[0-8]))?$`
)

var (
	commentExpr   = expression(comment)
	dashExpr      = expression(dash)
	separatorExpr = expression(separator)
	wordExpr      = expression(word)
	exact4Expr    = expression(exact4)
	exact6Expr    = expression(exact6)
)

// The program that Exim runs at a connection links this package: it must not
// pay for expressions that it does not use.
func expression(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

// An Entry is one thing that the file lets in.
type Entry struct {
	Line int            // from 1
	Text string         // as written
	Nets []netip.Prefix // none of a name: see Derived
	Name string         // a host name, in lower case and without the final dot
	// Range says that Exim finds the addresses only in the derived file, as
	// those of a name.
	Range bool
}

// A Note is what an administrator should know of a line: most of the time that a
// part of it is passed over.
type Note struct {
	Line   int // 0 for the file as a whole
	Text   string
	Remedy string
}

// A File is what whitelist_connect_hosts says.
type File struct {
	Entries []Entry
	Notes   []Note // in the order of the lines
}

// Parse reads the file's text.
func Parse(text []byte) File {
	var f File
	// Exim's strings end at the first NUL.
	text, _, cut := bytes.Cut(text, []byte{0})
	if cut {
		f.note(0, "save it as plain text (UTF-8)", "it is no plain text: what stands behind the first zero octet is passed over")
	}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	for i, line := range strings.Split(string(text), "\n") {
		f.line(i+1, line)
	}
	return f
}

func (f *File) note(line int, remedy, format string, args ...any) {
	f.Notes = append(f.Notes, Note{line, fmt.Sprintf(format, args...), remedy})
}

func (f *File) line(n int, line string) {
	line = commentExpr().ReplaceAllString(line, "")
	line = dashExpr().ReplaceAllString(line, "${1}-${2}")
	var prose []string // words that are nothing in particular
	for _, w := range separatorExpr().Split(line, -1) {
		if !strings.ContainsFunc(w, letterOrDigit) {
			continue // a dash, a colon, an asterisk before an item
		}
		if p, ok := network(w); ok {
			f.Entries = append(f.Entries, Entry{Line: n, Text: w, Nets: []netip.Prefix{p}})
			f.wide(n, w, []netip.Prefix{p})
			continue
		}
		if nets, ok := span(w); ok {
			f.Entries = append(f.Entries, Entry{Line: n, Text: w, Nets: nets, Range: true})
			f.wide(n, w, nets)
			continue
		}
		if name, ok := hostName(w); ok {
			f.Entries = append(f.Entries, Entry{Line: n, Text: w, Name: name})
			continue
		}
		if remedy := instead(w); remedy != "" {
			f.note(n, remedy, "%q is passed over", w)
		} else {
			prose = append(prose, w)
		}
	}
	if len(prose) > 0 {
		f.note(n, "put # before a comment; an entry is an address, a network such as 192.0.2.0/24, or a full host name",
			"%q is passed over", strings.Join(prose, " "))
	}
}

func letterOrDigit(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r > 0x7f
}

// What covers more than these is a whole part of the Internet.
const (
	wide4 = 8
	wide6 = 16
)

// wide notes what lets in more than anybody may have meant.
func (f *File) wide(line int, text string, nets []netip.Prefix) {
	least, family := wide4, "IPv4"
	if nets[0].Addr().Is6() {
		least, family = wide6, "IPv6"
	}
	part := 0.0 // of all addresses
	for _, p := range nets {
		part += math.Ldexp(1, -p.Bits())
	}
	switch {
	case part >= 1:
		f.note(line, "take it out; to check nobody, set CONNECT_STATE_SUITE == off", "%q lets in every %s host", text, family)
	case part > math.Ldexp(1, -least):
		f.note(line, "write only the networks that you mean", "%q lets in more than a /%d, a large part of all %s hosts", text, least, family)
	}
}

// network reads one word as Exim does: an address, or a network with whatever
// host bits.
func network(w string) (netip.Prefix, bool) {
	m := wordExpr().FindStringSubmatch(w)
	if m == nil {
		return netip.Prefix{}, false
	}
	s := m[1] + m[2] + m[3]
	if !exact4Expr().MatchString(s) && !exact6Expr().MatchString(s) {
		return netip.Prefix{}, false
	}
	p, ok := prefix(s)
	// To Exim an IPv4 client is one, however its address is written.
	if !ok || p.Addr().Is4In6() {
		return netip.Prefix{}, false
	}
	return p, true
}

func prefix(s string) (netip.Prefix, bool) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		return netip.PrefixFrom(a, a.BitLen()), err == nil && a.Zone() == ""
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err == nil
}

// hostName reads a word as a full host name: several labels, the last of which
// is no number.
func hostName(w string) (string, bool) {
	name := strings.TrimRight(strings.TrimLeft(w, `"'[(<`), `"'])>`)
	name = strings.TrimRight(portExpr().ReplaceAllString(name, ""), `"'])>`)
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name, len(name) <= 253 && nameExpr().MatchString(name)
}

var (
	portExpr = expression(`:\d*$`)
	nameExpr = expression(`^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])$`)
)

// Find gives the first entry that lets the address in by itself, without a name
// being looked up.
func (f File) Find(a netip.Addr) (Entry, bool) {
	for _, e := range f.Entries {
		for _, p := range e.Nets {
			if p.Contains(a) {
				return e, true
			}
		}
	}
	return Entry{}, false
}

// Names gives the host names in the file, each once, in their order.
func (f File) Names() []string {
	var all []string
	seen := map[string]bool{}
	for _, e := range f.Entries {
		if e.Name != "" && !seen[e.Name] {
			seen[e.Name] = true
			all = append(all, e.Name)
		}
	}
	return all
}
