package report

import (
	"bufio"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/firewall"
)

// ReadKnown reads the white lists in Exim's and in the firewall's folder, and
// gives what names the list that has a host now, "" for none.
func ReadKnown(eximDir string, white firewall.Entries) (func(netip.Prefix) string, error) {
	in := map[netip.Prefix]string{}
	add := func(p netip.Prefix, list string) {
		if p.Addr().Is6() && p.Bits() > address.KeyBits { // a host is its /64
			p = netip.PrefixFrom(p.Addr(), address.KeyBits)
		}
		if p = p.Masked(); in[p] == "" {
			in[p] = list
		}
	}
	for _, name := range []string{"whitelist_connect_hosts", "whitelist/by_ip", "relay_from_hosts"} {
		f, err := os.Open(filepath.Join(eximDir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		for sc := bufio.NewScanner(f); sc.Scan(); {
			if p, ok := network(sc.Text()); ok {
				add(p, name)
			}
		}
		f.Close()
	}
	for _, e := range white {
		add(e.Net, "the firewall's whitelist.d")
	}
	lengths := map[int]bool{}
	for p := range in {
		lengths[p.Bits()] = true
	}
	return func(host netip.Prefix) string {
		for bits := range lengths {
			if p, err := host.Addr().Prefix(bits); err == nil && bits <= host.Bits() && in[p] != "" {
				return in[p]
			}
		}
		return ""
	}, nil
}

// network reads what a line begins with.
func network(text string) (netip.Prefix, bool) {
	word, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	word = strings.Trim(word, "\"'")
	if a, err := netip.ParseAddr(word); err == nil {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(strings.TrimSuffix(word, ":"))
	return p, err == nil
}
