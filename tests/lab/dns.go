package lab

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A DNS is the server namespace's resolver. It plays every zone it is told of
// and answers NXDOMAIN to all other questions, at once.
type DNS struct {
	mu      sync.Mutex
	records map[string][]dns.RR
	zones   map[string]Behaviour
	Asked   map[string]int // how often a name was asked for
}

// A Behaviour says how a zone treats a question; nil behaves as a zone does.
type Behaviour func(w dns.ResponseWriter, q *dns.Msg)

// Silent never answers.
func Silent(dns.ResponseWriter, *dns.Msg) {}

// Rcode answers with an error, such as dns.RcodeServerFailure.
func Rcode(code int) Behaviour {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetRcode(q, code)
		w.WriteMsg(m)
	}
}

// AlwaysA answers every A question of the zone with one address.
func AlwaysA(addr string) Behaviour {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.ParseIP(addr)})
		}
		w.WriteMsg(m)
	}
}

// Late answers as next does, after d. The server goes on meanwhile.
func Late(d time.Duration, next Behaviour) Behaviour {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		time.Sleep(d) // the lateness that is being played
		next(w, q)
	}
}

// StartDNS starts the resolver of the server's namespace.
func StartDNS(t testing.TB, n *Net) *DNS {
	t.Helper()
	d := &DNS{records: map[string][]dns.RR{}, zones: map[string]Behaviour{}, Asked: map[string]int{}}
	addr := net.JoinHostPort(Resolver, "53")
	var pc net.PacketConn
	var l net.Listener
	must(t, Enter(n.Server, func() (err error) {
		if pc, err = net.ListenPacket("udp", addr); err != nil {
			return err
		}
		l, err = net.Listen("tcp", addr)
		return err
	}))
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: d}, {Listener: l, Handler: d}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe()
		<-started
		t.Cleanup(func() { s.Shutdown() })
	}
	return d
}

// Add adds records in zone-file form. Names must end in a dot.
func (d *DNS) Add(t testing.TB, records ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range records {
		rr, err := dns.NewRR(r)
		must(t, err)
		name := strings.ToLower(rr.Header().Name)
		d.records[name] = append(d.records[name], rr)
	}
}

// List puts an address on a list, with an answer and a text.
func (d *DNS) List(t testing.TB, zone, addr, answer, text string) {
	t.Helper()
	name := Reverse(addr) + "." + zone + "."
	d.Add(t, fmt.Sprintf("%s 60 IN A %s", name, answer), fmt.Sprintf("%s 60 IN TXT %q", name, text))
}

// Behave makes a zone and everything below it behave so; nil makes it normal.
func (d *DNS) Behave(zone string, b Behaviour) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.zones[dns.Fqdn(strings.ToLower(zone))] = b
}

// Questions tells how often names below zone were asked for.
func (d *DNS) Questions(zone string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	sum := 0
	for name, times := range d.Asked {
		if dns.IsSubDomain(dns.Fqdn(zone), name) {
			sum += times
		}
	}
	return sum
}

// ServeDNS answers one question.
func (d *DNS) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	name := strings.ToLower(q.Question[0].Name)
	d.mu.Lock()
	d.Asked[name]++
	var behave Behaviour
	for zone, b := range d.zones {
		if b != nil && dns.IsSubDomain(zone, name) {
			behave = b
		}
	}
	found := d.records[name]
	d.mu.Unlock()
	if behave != nil {
		behave(w, q)
		return
	}
	m := new(dns.Msg)
	m.SetReply(q)
	for _, rr := range found {
		if rr.Header().Rrtype == q.Question[0].Qtype {
			m.Answer = append(m.Answer, rr)
		}
	}
	if len(found) == 0 {
		m.Rcode = dns.RcodeNameError
	}
	w.WriteMsg(m)
}

// Reverse spells an address as DNS lists and reverse zones do (RFC 5782,
// section 2.1 and 2.4), without the zone.
func Reverse(addr string) string {
	name, err := dns.ReverseAddr(netip.MustParseAddr(addr).String())
	if err != nil {
		panic(err)
	}
	name = strings.TrimSuffix(name, ".in-addr.arpa.")
	return strings.TrimSuffix(name, ".ip6.arpa.")
}
