package fleet

import (
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/zone"
	"symbiosis-connect-acl/tests/lab"
)

// Texts gives what the server's secondary says about a host.
func (s *Server) Texts(host string) (texts []string) {
	s.fleet.t.Helper()
	name := zone.Name(address.FromAddr(netip.MustParseAddr(host))) + "." + Zone + "."
	must(s.fleet.t, lab.Enter(s.Net.Server, func() error {
		c, err := net.DialTimeout("tcp", "127.0.0.1:5300", time.Second)
		if err != nil {
			return nil // not up yet
		}
		defer c.Close()
		m := new(dns.Msg)
		m.SetQuestion(name, dns.TypeTXT)
		conn := &dns.Conn{Conn: c}
		answer, _, err := new(dns.Client).ExchangeWithConn(m, conn)
		if err != nil {
			return nil
		}
		for _, rr := range answer.Answer {
			if t, ok := rr.(*dns.TXT); ok {
				texts = append(texts, strings.Join(t.Txt, ""))
			}
		}
		return nil
	}))
	return texts
}

// UntilListed waits until the server's secondary says that the other has caught
// the host, and gives how long that took.
func (s *Server) UntilListed(host string, by *Server) time.Duration {
	s.fleet.t.Helper()
	begin := time.Now()
	for {
		if strings.Contains(strings.Join(s.Texts(host), "\n"), "origin="+by.Name+" ") {
			return time.Since(begin)
		}
		if time.Since(begin) > 100*time.Second {
			s.fleet.t.Fatalf("%s: %s is not listed by %s: %q", s.Name, host, by.Name, s.Texts(host))
		}
		time.Sleep(5 * time.Millisecond) // between two looks at a condition
	}
}
