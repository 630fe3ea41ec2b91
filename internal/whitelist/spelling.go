package whitelist

import (
	"fmt"
	"math/bits"
	"net/netip"
	"strings"
)

// span reads a range of addresses, FIRST-LAST, as the networks that make it up.
func span(w string) ([]netip.Prefix, bool) {
	for i, c := range w {
		if c != '-' && (c < 0x2010 || c > 0x2015) {
			continue
		}
		first, ok1 := single(w[:i])
		last, ok2 := single(strings.TrimLeft(w[i:], "-\u2010\u2011\u2012\u2013\u2014\u2015"))
		if !ok1 || !ok2 || first.BitLen() != last.BitLen() || last.Less(first) {
			return nil, false
		}
		return between(first, last), true
	}
	return nil, false
}

func single(w string) (netip.Addr, bool) {
	p, ok := network(w)
	return p.Addr(), ok && p.IsSingleIP()
}

// between gives the fewest networks that have the addresses from first to last.
func between(first, last netip.Addr) []netip.Prefix {
	var all []netip.Prefix
	for {
		// The largest network that begins with first and does not pass last.
		length := first.BitLen() - trailingZeros(first)
		for lastOf(netip.PrefixFrom(first, length)).Compare(last) > 0 {
			length++
		}
		p := netip.PrefixFrom(first, length)
		all = append(all, p)
		end := lastOf(p)
		if end == last {
			return all
		}
		first = end.Next()
	}
}

func trailingZeros(a netip.Addr) int {
	n := 0
	b := a.AsSlice()
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] != 0 {
			return n + bits.TrailingZeros8(b[i])
		}
		n += 8
	}
	return n
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

var (
	partialExpr = expression(`^(\d{1,3}(?:\.\d{1,3}){0,2})\.?(/\d+)?$`)
	starExpr    = expression(`^(\d{1,3}(?:\.\d{1,3}){0,2})((?:\.\*){1,3})$`)
	maskExpr    = expression(`^((?:\d+\.){3}\d+)/((?:\d+\.){3}\d+)$`)
	lengthExpr  = expression(`^(.*)/([^/]*)$`)
	zeroExpr    = expression(`\b0+(\d)`)
)

// instead says what to write instead of a word that is passed over, "" for one
// that is nothing in particular.
func instead(w string) string {
	plain := strings.TrimRight(strings.TrimLeft(w, `"'[(<`), `"'])>.:`)
	write := func(p netip.Prefix) string {
		if p.IsSingleIP() {
			return "write " + p.Addr().String()
		}
		return "write " + p.String()
	}
	// A blank of typography, perhaps, or a mark that nobody sees.
	if parts := strings.FieldsFunc(w, func(r rune) bool { return r > 0x7e }); len(parts) > 0 && parts[0] != w {
		if p, ok := network(parts[0]); ok {
			return write(p) + ", and only plain letters, figures and blanks beside it"
		}
	}
	if strings.HasPrefix(w, "!") {
		return "take it out: nobody can be excluded here; write the networks around it instead"
	}
	if m := starExpr().FindStringSubmatch(plain); m != nil {
		if p, ok := filled(m[1], ""); ok {
			return write(p)
		}
	}
	if m := partialExpr().FindStringSubmatch(plain); m != nil && strings.Contains(m[1], ".") {
		if p, ok := filled(m[1], m[2]); ok {
			return write(p)
		}
	}
	if m := maskExpr().FindStringSubmatch(plain); m != nil {
		if p, ok := masked(m[1], m[2]); ok {
			return write(p)
		}
		return "write the network with its length, such as 192.0.2.0/24"
	}
	if zeros := zeroExpr().ReplaceAllString(plain, "$1"); !strings.Contains(plain, ":") && zeros != plain {
		if p, ok := network(zeros); ok {
			return write(p) + ", without the leading zeros"
		}
	}
	if a, err := netip.ParseAddr(plain); err == nil && a.Zone() != "" {
		return "take the % and what follows it out"
	}
	if p, err := netip.ParsePrefix(plain); err == nil && p.Addr().Is4In6() && p.Bits() >= 96 {
		return write(netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked())
	} else if a, err := netip.ParseAddr(plain); err == nil && a.Is4In6() {
		return write(netip.PrefixFrom(a.Unmap(), 32))
	}
	if first, last, found := strings.Cut(plain, "-"); found {
		a, ok1 := single(first)
		b, ok2 := single(last)
		if ok1 && ok2 && a.BitLen() == b.BitLen() {
			return fmt.Sprintf("write %s-%s", b, a) // the wrong way round
		}
		if ok1 && a.Is4() && lastExpr().MatchString(last) {
			return fmt.Sprintf("write %s-%s", a, a.String()[:strings.LastIndex(a.String(), ".")+1]+last)
		}
	}
	if m := lengthExpr().FindStringSubmatch(plain); m != nil {
		if p, ok := network(m[1]); ok {
			return fmt.Sprintf("write %s, or a network with a length from 0 to %d behind the /", p.Addr(), p.Addr().BitLen())
		}
		if _, ok := hostName(m[1]); ok {
			return "write the name alone: a / belongs to an address"
		}
	}
	if rest, ok := strings.CutPrefix(plain, "*."); ok {
		if _, ok := hostName(rest); ok {
			return "write the full name of each host: a name is looked up, and a * cannot be"
		}
	}
	if name, host, ok := strings.Cut(plain, "@"); ok && name != "" {
		if _, ok := hostName(host); ok {
			return "write the host's address or name: mail addresses mean nothing here"
		}
	}
	return ""
}

var lastExpr = expression(`^\d{1,3}$`)

// filled reads the first octets of an IPv4 network, as hosts.allow has them.
func filled(octets, length string) (netip.Prefix, bool) {
	n := strings.Count(octets, ".") + 1
	if length == "" {
		length = fmt.Sprintf("/%d", 8*n)
	}
	return network(octets + strings.Repeat(".0", 4-n) + length)
}

// masked reads an IPv4 network with its mask in full.
func masked(addr, mask string) (netip.Prefix, bool) {
	a, err1 := netip.ParseAddr(addr)
	m, err2 := netip.ParseAddr(mask)
	if err1 != nil || err2 != nil {
		return netip.Prefix{}, false
	}
	b := m.As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	ones := bits.LeadingZeros32(^v)
	if v<<ones != 0 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, ones).Masked(), true
}
