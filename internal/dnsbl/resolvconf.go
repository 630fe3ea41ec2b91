package dnsbl

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// DefaultResolvConf is where the system's resolvers are named.
const DefaultResolvConf = "/etc/resolv.conf"

const dnsPort = 53

// A Resolvers is what resolv.conf(5) says that matters for one short round of
// queries.
type Resolvers struct {
	Servers  []netip.AddrPort
	Timeout  time.Duration // before the next server is asked; the round's deadline may shorten it
	Attempts int           // how often the whole set of servers is tried
}

// The defaults of resolv.conf(5).
const (
	defaultResolverTimeout  = 5 * time.Second
	defaultResolverAttempts = 2
	maxResolverAttempts     = 5
)

// ReadResolvConf reads the resolvers named in path, all of them and in order.
// As resolv.conf(5) has it, a file that is missing or that names none means
// the resolver on this host. Search domains do not matter, since a list's name
// is complete, and neither does "rotate": a round is over before the next
// server's turn would come.
func ReadResolvConf(path string) (Resolvers, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Resolvers{}, fmt.Errorf("resolvers: %w", err)
	}
	return parseResolvConf(data), nil
}

func parseResolvConf(data []byte) Resolvers {
	r := Resolvers{Timeout: defaultResolverTimeout, Attempts: defaultResolverAttempts}
	for len(data) > 0 {
		var line []byte
		line, data, _ = bytes.Cut(data, []byte("\n"))
		fields := strings.Fields(string(line))
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(fields[1]); err == nil {
				r.add(netip.AddrPortFrom(a.Unmap(), dnsPort))
			}
		case "options":
			for _, option := range fields[1:] {
				name, value, _ := strings.Cut(option, ":")
				n, err := strconv.Atoi(value)
				if err != nil || n < 1 {
					continue
				}
				switch name {
				case "timeout":
					r.Timeout = time.Duration(min(n, 30)) * time.Second
				case "attempts":
					r.Attempts = min(n, maxResolverAttempts)
				}
			}
		}
	}
	if len(r.Servers) == 0 {
		r.add(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dnsPort))
	}
	return r
}

func (r *Resolvers) add(server netip.AddrPort) {
	for _, s := range r.Servers {
		if s == server {
			return
		}
	}
	r.Servers = append(r.Servers, server)
}

// ParseServer reads a resolver's address with or without a port: 192.0.2.1,
// 192.0.2.1:5353, 2001:db8::1, [2001:db8::1] or [2001:db8::1]:5353. A host
// name is an error: to find its address a resolver would be needed.
func ParseServer(s string) (netip.AddrPort, error) {
	t := strings.TrimSpace(s)
	if a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(t, "["), "]")); err == nil {
		return netip.AddrPortFrom(a.Unmap(), dnsPort), nil
	}
	ap, err := netip.ParseAddrPort(t)
	if err != nil || ap.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("resolver %q: expected an IP address, or ADDRESS:PORT with an IPv6 address in brackets", s)
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
}
