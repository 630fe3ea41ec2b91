// Package address turns any spelling of a host's address into the key under
// which Symbiosis counts that host: an IPv4 address as it is, an IPv6 address
// as its /64 network. A provider hands a customer a /64, so a single IPv6
// address says nothing about who is behind it.
package address

import (
	"fmt"
	"net/netip"
	"strings"
)

// KeyBits is the length in bits of the IPv6 prefix that counts as one host.
const KeyBits = 64

// A Key names one host in the blacklist: an IPv4 address, or an IPv6 /64.
// The zero Key names no host. Keys can be compared with ==.
type Key struct {
	addr netip.Addr // for IPv6 the first address of the /64
}

// Parse reads a host's address in any spelling that Exim, Symbiosis or an
// administrator writes: 192.0.2.1, 192.0.2.1/32, ::ffff:192.0.2.1, full or
// compressed IPv6 in either case, an IPv6 network of at least 64 bits such as
// 2001:db8::/64, the same with "|" for "/" as in the firewall's file names,
// and any of them in square brackets. An IPv6 zone is an error, and so is an
// IPv4 network of more than one address or an IPv6 network wider than a /64:
// neither is one host.
func Parse(s string) (Key, error) {
	t := strings.TrimSpace(s)
	if strings.HasPrefix(t, "[") && strings.HasSuffix(t, "]") {
		t = t[1 : len(t)-1]
	}
	t = strings.Replace(t, "|", "/", 1)
	if !strings.Contains(t, "/") {
		a, err := netip.ParseAddr(t)
		if err != nil || a.Zone() != "" {
			return Key{}, fmt.Errorf("%q is not an IP address", s)
		}
		return FromAddr(a), nil
	}
	p, err := netip.ParsePrefix(t)
	if err != nil {
		return Key{}, fmt.Errorf("%q is not an IP address or network", s)
	}
	a, bits := p.Addr(), p.Bits()
	if a.Is4In6() {
		a, bits = a.Unmap(), bits-96
	}
	if a.Is4() && bits != 32 {
		return Key{}, fmt.Errorf("%q is a network of several IPv4 addresses, not one host", s)
	}
	if a.Is6() && bits < KeyBits {
		return Key{}, fmt.Errorf("%q is wider than the /%d that counts as one IPv6 host", s, KeyBits)
	}
	return FromAddr(a), nil
}

// FromAddr gives the key of the host at a. An IPv4-mapped IPv6 address is the
// IPv4 host that it maps.
func FromAddr(a netip.Addr) Key {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, err := a.Prefix(KeyBits)
		if err != nil { // cannot be: 64 is a length that IPv6 has
			return Key{}
		}
		a = p.Addr()
	}
	return Key{addr: a}
}

// String spells the key as the count database does: 192.0.2.1, or the /64 in
// the form of RFC 5952 with its length, 2001:db8:1:2::/64.
func (k Key) String() string {
	switch {
	case !k.addr.IsValid():
		return ""
	case k.addr.Is6():
		return fmt.Sprintf("%s/%d", k.addr, KeyBits)
	}
	return k.addr.String()
}

// FileName spells the key as the firewall's blacklist.d and whitelist.d name
// their files, with "|" where the key has "/".
func (k Key) FileName() string { return strings.Replace(k.String(), "/", "|", 1) }

// IsValid reports whether k names a host.
func (k Key) IsValid() bool { return k.addr.IsValid() }

// Is6 reports whether k names an IPv6 /64.
func (k Key) Is6() bool { return k.addr.Is6() }

// Prefix gives the addresses that the key covers: a /32 or a /64.
func (k Key) Prefix() netip.Prefix {
	if !k.addr.IsValid() {
		return netip.Prefix{}
	}
	if k.addr.Is6() {
		return netip.PrefixFrom(k.addr, KeyBits)
	}
	return netip.PrefixFrom(k.addr, 32)
}
