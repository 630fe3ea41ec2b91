// Package known reads who is known on this server: the hosts in the files that
// 20-accept-known goes by, and in the whitelist.d of the firewalls. Each line is
// taken as Exim takes it.
package known

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/firewall"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/whitelist"
)

// The files in Exim's folder.
const (
	Connect = "whitelist_connect_hosts" // ours
	ByIP    = "whitelist/by_ip"         // the platform's
	Relay   = "relay_from_hosts"        // the platform's
)

// An Entry is a network that a file lets in.
type Entry struct {
	Net  netip.Prefix
	Line int // from 1; 0 when the file does not have it any more
	Text string
}

// Read reads all of them. Whoever cannot read who is a friend must act against
// nobody.
func Read(p platform.Platform) (n address.Networks, err error) {
	for _, file := range []string{Connect, ByIP, Relay} {
		entries, err := ReadFile(p, file)
		if err != nil {
			return n, err
		}
		for _, e := range entries {
			n.Add(e.Net, file)
		}
	}
	white, err := firewall.ReadAll(p.Whitelists())
	for _, e := range white {
		n.Add(e.Net, "whitelist.d: "+filepath.Base(e.File))
	}
	return n, err
}

// ReadFile reads one of the files, which may be missing.
func ReadFile(p platform.Platform, file string) (all []Entry, err error) {
	data, err := read(filepath.Join(p.EximDir, file))
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(data), "\n")
	if file != Connect {
		for i, l := range lines {
			if net, ok := lookup(l); ok {
				all = append(all, Entry{net, i + 1, strings.TrimSpace(l)})
			}
		}
		return all, nil
	}
	line := map[string]int{} // of each name
	for _, e := range whitelist.Parse(data).Entries {
		if e.Name != "" && line[e.Name] == 0 {
			line[e.Name] = e.Line
		}
		for _, net := range e.Nets {
			all = append(all, Entry{net, e.Line, strings.TrimSpace(lines[e.Line-1])})
		}
	}
	data, err = read(p.WhitelistDNS)
	for _, x := range whitelist.ParseDerived(data).Answers {
		for _, a := range x.Addrs {
			all = append(all, Entry{netip.PrefixFrom(a, a.BitLen()), line[x.Name],
				fmt.Sprintf("%s, which had this address in the DNS at %s", x.Name, x.Good.UTC().Format("2006-01-02 15:04 UTC"))})
		}
	}
	return all, err
}

func read(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// lookup reads a line as Exim's net-iplsearch does: the key ends at a blank or a
// colon, so an IPv6 one stands in quotation marks.
func lookup(line string) (netip.Prefix, bool) {
	key, quoted := strings.CutPrefix(line, `"`)
	end := ": \t\v\f\r"
	if quoted {
		end = `"`
	}
	if i := strings.IndexAny(key, end); i >= 0 {
		key = key[:i]
	}
	if a, err := netip.ParseAddr(key); err == nil && a.Zone() == "" {
		key = netip.PrefixFrom(a, a.BitLen()).String()
	}
	p, err := netip.ParsePrefix(key)
	// To Exim an IPv4 client is one, however its address is written.
	return p.Masked(), err == nil && !p.Addr().Is4In6()
}
