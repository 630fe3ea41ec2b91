// Package dnsbl asks DNS block lists and allow lists (RFC 5782) about one
// host: the syntax and weight of a list, one round of queries to all lists at
// once under one deadline, the score that their answers give, and the health
// of a list. It neither prints nor logs; its results carry what to log.
//
// It stands on golang.org/x/net/dns/dnsmessage and not on miekg/dns, whose client
// compares a reply's id only: a reply to the wrong question must not be believed,
// and the helper is 3 MB smaller.
package dnsbl

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

const (
	// DefaultWeight is what a hit on a list without a weight of its own adds
	// to the score.
	DefaultWeight = 1
	// MaxWeight bounds a weight in either direction, so that no sum overflows.
	MaxWeight = 1000000

	// A name in the DNS has at most 253 characters, and an IPv6 address takes
	// 64 of them in front of the zone (RFC 5782 section 2.4).
	maxZone  = 253 - 64
	maxLabel = 63
)

// A List is one item of a lists setting: a zone, the answers of it that count,
// and what one of them adds to the score. A zone may stand in several items
// with different codes; it is asked once.
type List struct {
	Zone   string // lower case, without the final dot; may contain a key, see DisplayName
	Codes  Codes  // the answers that count; zero means the default of Codes.Match
	Weight int    // added to the score once, however many answers match; negative for an allow list
}

// DisplayName is the zone with any Data Query Service key in it hidden. This
// is the only form in which a zone may reach a reply or a log line.
func (l List) DisplayName() string { return MaskKeys(l.Zone) }

// String spells the item in the syntax that ParseLists reads, with any key
// hidden.
func (l List) String() string {
	s := l.DisplayName()
	if len(l.Codes) > 0 {
		s += "=" + l.Codes.String()
	}
	if l.Weight != DefaultWeight {
		s += "*" + strconv.Itoa(l.Weight)
	}
	return s
}

// Codes are patterns for the addresses with which a list answers. One that
// matches is enough.
type Codes []Pattern

// A Pattern is an IPv4 address each octet of which is a set of numbers.
type Pattern [4]octets

// octets is a set of numbers from 0 to 255 as sorted, separate ranges.
type octets []span

type span struct{ first, last uint8 }

func (o octets) has(b uint8) bool {
	for _, s := range o {
		if s.first <= b && b <= s.last {
			return true
		}
	}
	return false
}

func (o octets) String() string {
	if len(o) == 1 && o[0].first == o[0].last {
		return strconv.Itoa(int(o[0].first))
	}
	var parts []string
	for _, s := range o {
		part := strconv.Itoa(int(s.first))
		if s.last != s.first {
			part += ".." + strconv.Itoa(int(s.last))
		}
		parts = append(parts, part)
	}
	return "[" + strings.Join(parts, ";") + "]"
}

func (p Pattern) match(a [4]byte) bool {
	for i, o := range p {
		if !o.has(a[i]) {
			return false
		}
	}
	return true
}

// String spells the pattern as postscreen(8) does.
func (p Pattern) String() string {
	var parts [4]string
	for i, o := range p {
		parts[i] = o.String()
	}
	return strings.Join(parts[:], ".")
}

// String spells the codes with commas, as in an Exim dnslists item.
func (c Codes) String() string {
	var parts []string
	for _, p := range c {
		parts = append(parts, p.String())
	}
	return strings.Join(parts, ",")
}

// Match reports whether the answer a counts as a hit. Answers outside
// 127.0.0.0/8 and the error codes 127.255.255.0/24 never count, whatever was
// asked for. Without codes, 127.0.0.1 does not count either: RFC 5782 gives it
// no meaning in an answer, and several lists answer it to those whom they
// refuse. It counts where it was asked for.
func (c Codes) Match(a netip.Addr) bool {
	if !isCode(a) || isError(a) {
		return false
	}
	if len(c) == 0 {
		return a != addr127001
	}
	for _, p := range c {
		if p.match(a.As4()) {
			return true
		}
	}
	return false
}

var (
	addr127001   = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	addr127002   = netip.AddrFrom4([4]byte{127, 0, 0, 2})
	addr12700255 = netip.AddrFrom4([4]byte{127, 0, 0, 255})
)

func isCode(a netip.Addr) bool { return a.Is4() && a.As4()[0] == 127 }

func isError(a netip.Addr) bool {
	b := a.As4()
	return b[0] == 127 && b[1] == 255 && b[2] == 255
}

// A SyntaxError is an item that ParseLists could not read.
type SyntaxError struct {
	Item     string // as written, with any key hidden
	Expected string // what should have been there
}

func (e *SyntaxError) Error() string {
	// Fit for a log line as it is, so that the advice is the same everywhere.
	return fmt.Sprintf("DNSBL item '%s': %s", e.Item, e.Expected)
}

// ParseLists reads a lists setting: items separated by colons, with white
// space allowed around each, in the syntax of postscreen_dnsbl_sites in
// postconf(5),
//
//	zone
//	zone=127.0.0.2
//	zone=127.0.0.[2;3;4..7]
//	zone=127.0.0.[2..11]*3
//	zone*-2
//
// or of Exim's dnslists, zone=127.0.0.2,127.0.0.3, with or without a weight.
// Empty items are ignored, as Exim does, so that a list may be put together
// from macros; an empty string is no lists. The order is kept. Round brackets do
// as well as square ones, because a log line has none of those. An error is a
// *SyntaxError that names the item, and then there are no lists.
func ParseLists(s string) ([]List, error) {
	lists, err := parse(s)
	if err != nil {
		if why, better, ok := instead(s); ok {
			err.Expected = why + ": write " + better
		}
		return nil, err
	}
	return lists, nil
}

func parse(s string) ([]List, *SyntaxError) {
	var lists []List
	seen := make(map[string]bool)
	for _, item := range strings.Split(s, ":") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		l, expected := parseItem(item)
		if expected == "" {
			// Two equal items would count one hit twice, which nobody means.
			key := l.Zone + "=" + l.Codes.String()
			if seen[key] {
				expected = "the same zone with the same codes stands twice; expected each once, with a weight such as *2 if it shall count double"
			}
			seen[key] = true
		}
		if expected != "" {
			return nil, &SyntaxError{Item: cleanItem(item), Expected: expected}
		}
		lists = append(lists, l)
	}
	return lists, nil
}

// cleanItem makes an item that may be anything fit to be shown.
func cleanItem(item string) string { return Sanitize(MaskKeys(item), 100) }

func parseItem(item string) (l List, expected string) {
	for _, c := range item {
		switch {
		case c == '#':
			return l, "a comment needs a line of its own; expected nothing behind the lists"
		case c == '!' || c == '&':
			return l, "Exim's & and ! are not understood; expected zone=127.0.0.(2;3;4..7)*weight"
		case c == '/':
			return l, "a / is not understood; expected a zone alone, and a range of codes written as 127.0.0.(0..255)"
		case c == '<':
			return l, "Exim's change of separator is not understood; expected items separated by colons"
		}
	}
	rest := item
	l.Weight = DefaultWeight
	if before, weight, found := strings.Cut(rest, "*"); found {
		rest = before
		w, err := strconv.Atoi(strings.TrimSpace(weight))
		if err != nil || w == 0 || w > MaxWeight || w < -MaxWeight {
			return l, fmt.Sprintf("expected a whole number other than 0, at most %d, after the *", MaxWeight)
		}
		l.Weight = w
	}
	zone, codes, hasCodes := strings.Cut(rest, "=")
	if l.Zone, expected = parseZone(strings.TrimSpace(zone)); expected != "" {
		return l, expected
	}
	if !hasCodes {
		return l, ""
	}
	for _, code := range strings.Split(codes, ",") {
		p, expected := parsePattern(strings.TrimSpace(code))
		if expected != "" {
			return l, expected
		}
		l.Codes = append(l.Codes, p)
	}
	return l, ""
}

func parseZone(zone string) (name, expected string) {
	zone = strings.ToLower(strings.TrimSuffix(zone, "."))
	if zone == "" {
		return "", "expected the list's zone, such as zen.spamhaus.org, before the codes or the weight"
	}
	if strings.ContainsAny(zone, " \t\r\n,;") {
		return "", "expected one zone; items are separated by colons"
	}
	if len(zone) > maxZone {
		return "", fmt.Sprintf("expected a zone of at most %d characters, so that an IPv6 address fits before it", maxZone)
	}
	labels := strings.Split(zone, ".")
	for _, label := range labels {
		if label == "" || len(label) > maxLabel || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return "", "expected a zone made of labels of 1 to 63 letters, digits, hyphens and underscores, with a dot between them"
		}
		for _, c := range []byte(label) {
			if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return "", "expected a zone made of labels of 1 to 63 letters, digits, hyphens and underscores, with a dot between them"
			}
		}
	}
	// No top-level domain is a number: this is a code that lost its zone.
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return "", "expected a zone; codes of one zone are separated by commas, not by colons"
	}
	return zone, ""
}

const patternForm = "expected a code such as 127.0.0.2 or 127.0.0.(2;3;4..7): four numbers from 0 to 255, or sets of them in brackets, with a dot between them"

func parsePattern(s string) (p Pattern, expected string) {
	rest := s
	for i := range p {
		if i > 0 {
			if !strings.HasPrefix(rest, ".") {
				return p, patternForm
			}
			rest = rest[1:]
		}
		var set string
		if strings.HasPrefix(rest, "[") || strings.HasPrefix(rest, "(") {
			end := strings.IndexByte(rest, map[byte]byte{'[': ']', '(': ')'}[rest[0]])
			if end < 0 {
				return p, "expected the bracket to be closed"
			}
			set, rest = rest[1:end], rest[end+1:]
		} else {
			end := strings.IndexByte(rest, '.')
			if end < 0 {
				end = len(rest)
			}
			set, rest = rest[:end], rest[end:]
			if strings.ContainsAny(set, ";") {
				return p, patternForm
			}
		}
		if p[i], expected = parseOctets(set); expected != "" {
			return p, expected
		}
	}
	switch {
	case rest != "":
		return p, patternForm
	case !p[0].has(127):
		return p, "expected a code in 127.0.0.0/8: answers outside it are never listings"
	case len(p[0]) == 1 && p[0].only(127) && p[1].only(255) && p[2].only(255):
		return p, "expected a code outside 127.255.255.0/24: those are errors, never listings"
	}
	return p, ""
}

func (o octets) only(b uint8) bool { return len(o) == 1 && o[0] == span{b, b} }

func parseOctets(set string) (octets, string) {
	var member [256]bool
	for _, part := range strings.Split(set, ";") {
		low, high, isRange := strings.Cut(strings.TrimSpace(part), "..")
		if !isRange {
			high = low
		}
		first, ok1 := parseOctet(low)
		last, ok2 := parseOctet(high)
		if !ok1 || !ok2 {
			return nil, patternForm
		}
		if last < first {
			return nil, fmt.Sprintf("expected the range %d..%d with its smaller number first", first, last)
		}
		for n := int(first); n <= int(last); n++ {
			member[n] = true
		}
	}
	// Sorted and joined, so that equal sets are spelt alike and found equal.
	var o octets
	for n, in := range member {
		switch {
		case !in:
		case n > 0 && member[n-1]:
			o[len(o)-1].last = uint8(n)
		default:
			o = append(o, span{uint8(n), uint8(n)})
		}
	}
	return o, ""
}

func parseOctet(s string) (uint8, bool) {
	if s == "" || len(s) > 1 && s[0] == '0' || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return uint8(n), err == nil
}

// QueryName is the name under which a DNSBL lists addr: the octets of an IPv4
// address in reverse order (RFC 5782 section 2.1), or the 32 nibbles of an
// IPv6 address in reverse order (section 2.4), before the zone, with a final
// dot. An IPv4-mapped address is the IPv4 host that it maps.
func QueryName(addr netip.Addr, zone string) string {
	return reversed(addr.Unmap()) + strings.TrimSuffix(zone, ".") + "."
}

// reversed spells addr backwards, each part followed by a dot. An IPv6 address
// that maps an IPv4 one is spelt as IPv6: RFC 5782 section 5 has test entries
// of that kind.
func reversed(addr netip.Addr) string {
	var b []byte
	if addr.Is4() {
		a := addr.As4()
		for i := len(a) - 1; i >= 0; i-- {
			b = strconv.AppendUint(b, uint64(a[i]), 10)
			b = append(b, '.')
		}
		return string(b)
	}
	const hex = "0123456789abcdef"
	a := addr.As16()
	for i := len(a) - 1; i >= 0; i-- {
		b = append(b, hex[a[i]&15], '.', hex[a[i]>>4], '.')
	}
	return string(b)
}
