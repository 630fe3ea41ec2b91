package address

import "net/netip"

// Networks are sets of hosts, each with a name. The zero Networks have none.
type Networks struct {
	names map[netip.Prefix]string
	bits  [2][129]bool // the lengths that there are, for IPv4 and IPv6
}

// Add adds a network. Of an IPv6 host's /64 one address is enough. The name that
// a network was given first stays.
func (n *Networks) Add(p netip.Prefix, name string) {
	p, family := whole(p)
	if !p.IsValid() {
		return
	}
	if n.names == nil {
		n.names = map[netip.Prefix]string{}
	}
	if _, ok := n.names[p]; !ok {
		n.names[p] = name
	}
	n.bits[family][p.Bits()] = true
}

// Find gives the name of the widest of the networks that have the host or network
// p, or else of one inside it, and "" when there is none.
func (n *Networks) Find(p netip.Prefix) string {
	p, family := whole(p)
	if len(n.names) == 0 || !p.IsValid() {
		return ""
	}
	inside := false
	for bits, any := range n.bits[family] {
		if !any {
			continue
		}
		if bits > p.Bits() {
			inside = true
		} else if name, ok := n.names[netip.PrefixFrom(p.Addr(), bits).Masked()]; ok {
			return name
		}
	}
	if inside { // p is no single host
		for q, name := range n.names {
			if p.Overlaps(q) {
				return name
			}
		}
	}
	return ""
}

// whole gives the network of whole hosts.
func whole(p netip.Prefix) (_ netip.Prefix, family int) {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	if p.Addr().Is6() {
		p, family = netip.PrefixFrom(p.Addr().WithZone(""), min(p.Bits(), KeyBits)), 1
	}
	return p.Masked(), family
}
