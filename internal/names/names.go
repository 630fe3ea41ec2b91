// Package names looks host names up in the DNS, with how long the answer holds,
// which the standard library does not tell.
package names

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// One server has this long for one answer, and each is asked this often.
const (
	patience = 2 * time.Second
	attempts = 2
)

// A Resolver asks name servers.
type Resolver struct {
	servers []string // host:port
}

// System gives the resolver that a resolv.conf(5) names: the one on this host
// where it names none, or does not exist. Search domains do not matter: the
// names are complete.
func System(path string) (Resolver, error) {
	c, err := dns.ClientConfigFromFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Resolver{}, fmt.Errorf("%s: %w", path, err)
	}
	var r Resolver
	if c != nil {
		for _, s := range c.Servers {
			r.servers = append(r.servers, net.JoinHostPort(s, c.Port))
		}
	}
	if len(r.servers) == 0 {
		r.servers = []string{"127.0.0.1:53"}
	}
	return r, nil
}

// Addresses gives the IPv4 or IPv6 addresses of a full name, and how long that
// holds. A name that has none, or does not exist, is no error.
func (r Resolver) Addresses(ctx context.Context, name string, ipv6 bool) (addrs []netip.Addr, ttl time.Duration, err error) {
	typ := dns.TypeA
	if ipv6 {
		typ = dns.TypeAAAA
	}
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), typ)
	q.SetEdns0(dns.DefaultMsgSize, false)
	for range attempts {
		for _, server := range r.servers {
			if ctx.Err() != nil {
				return nil, 0, errors.Join(err, context.Cause(ctx))
			}
			var m *dns.Msg
			if m, err = ask(ctx, q, server); err == nil {
				addrs, ttl = read(m, q.Question[0].Name, typ)
				return addrs, ttl, nil
			}
		}
	}
	return nil, 0, err
}

// ask asks one server. A reply that does not say which addresses the name has
// is an error.
func ask(ctx context.Context, q *dns.Msg, server string) (*dns.Msg, error) {
	host := strings.TrimSuffix(server, ":53")
	q = q.Copy()
	q.Id = dns.Id()
	c := dns.Client{Timeout: patience}
	m, _, err := c.ExchangeContext(ctx, q, server)
	if err == nil && m.Rcode == dns.RcodeFormatError {
		q.Extra = nil // RFC 6891 section 7: it does not know EDNS
		m, _, err = c.ExchangeContext(ctx, q, server)
	}
	if err == nil && m.Truncated {
		c.Net = "tcp"
		m, _, err = c.ExchangeContext(ctx, q, server)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("no answer from %s", host)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", host, err)
	}
	if len(m.Question) != 1 || !strings.EqualFold(m.Question[0].Name, q.Question[0].Name) || m.Question[0].Qtype != q.Question[0].Qtype {
		return nil, fmt.Errorf("%s answered another question", host)
	}
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return nil, fmt.Errorf("%s from %s", dns.RcodeToString[m.Rcode], host)
	}
	if referral(m) {
		return nil, fmt.Errorf("%s does not resolve for this host", host)
	}
	return m, nil
}

// referral tells "there is none" from "ask those over there" (RFC 2308 section
// 2.2).
func referral(m *dns.Msg) bool {
	if len(m.Answer) > 0 || m.Authoritative || m.RecursionAvailable {
		return false
	}
	ns := false
	for _, rr := range m.Ns {
		switch rr.(type) {
		case *dns.SOA:
			return false
		case *dns.NS:
			ns = true
		}
	}
	return ns
}

// maxChain is how many aliases are followed.
const maxChain = 8

// read follows the aliases in an answer to the addresses of a name.
func read(m *dns.Msg, name string, typ uint16) (addrs []netip.Addr, ttl time.Duration) {
	least := ^uint32(0)
	for range maxChain {
		alias := ""
		for _, rr := range m.Answer {
			h := rr.Header()
			if !strings.EqualFold(h.Name, name) {
				continue
			}
			switch rr := rr.(type) {
			case *dns.CNAME:
				alias, least = rr.Target, min(least, h.Ttl)
			case *dns.A:
				if a, ok := netip.AddrFromSlice(rr.A.To4()); ok && typ == dns.TypeA {
					addrs, least = append(addrs, a), min(least, h.Ttl)
				}
			case *dns.AAAA:
				if a, ok := netip.AddrFromSlice(rr.AAAA.To16()); ok && typ == dns.TypeAAAA {
					addrs, least = append(addrs, a), min(least, h.Ttl)
				}
			}
		}
		if len(addrs) > 0 || alias == "" {
			break
		}
		name = alias
	}
	if len(addrs) == 0 {
		return nil, 0
	}
	return addrs, time.Duration(least) * time.Second
}
