package zone

import (
	"bufio"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"sync"

	"symbiosis-connect-acl/internal/address"
)

// Networks are sets of hosts. The zero Networks have none.
type Networks struct {
	nets map[netip.Prefix]bool
	bits [2][129]int // how many there are of each length, for IPv4 and IPv6
}

// Add adds a network. Of an IPv6 host's /64 one address is enough.
func (n *Networks) Add(p netip.Prefix) {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	if !p.IsValid() {
		return
	}
	family := 0
	if p.Addr().Is6() {
		family = 1
		p = netip.PrefixFrom(p.Addr().WithZone(""), min(p.Bits(), address.KeyBits))
	}
	p = p.Masked()
	if n.nets == nil {
		n.nets = map[netip.Prefix]bool{}
	}
	if !n.nets[p] {
		n.nets[p] = true
		n.bits[family][p.Bits()]++
	}
}

// Contains reports whether the host, or an address of its /64, is in one of the
// networks.
func (n *Networks) Contains(k address.Key) bool {
	if len(n.nets) == 0 {
		return false
	}
	a, family := k.Prefix().Addr(), 0
	if k.Is6() {
		family = 1
	}
	for bits := 0; bits <= k.Prefix().Bits(); bits++ {
		if n.bits[family][bits] == 0 {
			continue
		}
		if p, err := a.Prefix(bits); err == nil && n.nets[p] {
			return true
		}
	}
	return false
}

// inLine finds the address or network that a line of a host list begins with,
// with or without the quotation mark that one of Exim's lookups wants. It is made
// when it is needed: the helper, which Exim starts for a connection, has this
// package too.
var inLine = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^\s*"?([0-9A-Fa-f.:]+(?:/[0-9]+)?)`) })

// ReadFile adds the addresses and networks in a file of Exim's, one to a line. A
// file that is not there has none. What is no address is passed over, as Exim
// does.
func (n *Networks) ReadFile(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		m := inLine().FindStringSubmatch(s.Text())
		if m == nil {
			continue
		}
		text := m[1]
		if strings.HasSuffix(text, ":") && !strings.HasSuffix(text, "::") {
			text = text[:len(text)-1]
		}
		if p, err := netip.ParsePrefix(text); err == nil {
			n.Add(p)
		} else if a, err := netip.ParseAddr(text); err == nil {
			n.Add(netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return s.Err()
}
