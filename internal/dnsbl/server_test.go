package dnsbl

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// guard bounds tests that would otherwise hang; none comes near it.
const guard = 30 * time.Second

// A testServer is a real DNS server on UDP and TCP of one loopback port. What
// it does with a question is decided by the zone that the name ends in.
type testServer struct {
	t     *testing.T
	addr  netip.AddrPort
	mu    sync.Mutex
	zones map[string]dns.HandlerFunc
	seen  []string // "udp A name", lower case, in order
}

// newTestServer starts one; host is its loopback address.
func newTestServer(t *testing.T, host string) *testServer {
	t.Helper()
	s := &testServer{t: t, zones: make(map[string]dns.HandlerFunc)}
	var pc net.PacketConn
	var l net.Listener
	for try := 0; ; try++ {
		var err error
		if pc, err = net.ListenPacket("udp", net.JoinHostPort(host, "0")); err != nil {
			t.Fatal(err)
		}
		if l, err = net.Listen("tcp", pc.LocalAddr().String()); err == nil {
			break
		}
		pc.Close() // the port is taken for TCP
		if try == 20 {
			t.Fatal(err)
		}
	}
	s.addr = netip.MustParseAddrPort(pc.LocalAddr().String())
	for _, srv := range []*dns.Server{{PacketConn: pc, Handler: s}, {Listener: l, Handler: s}} {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		go srv.ActivateAndServe()
		<-started
		t.Cleanup(func() { srv.Shutdown() })
	}
	return s
}

func (s *testServer) zone(name string, h dns.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zones[name+"."] = h
}

func (s *testServer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	name := strings.ToLower(q.Question[0].Name)
	s.mu.Lock()
	s.seen = append(s.seen, w.LocalAddr().Network()+" "+dns.TypeToString[q.Question[0].Qtype]+" "+name)
	var h dns.HandlerFunc
	longest := 0
	for zone, handler := range s.zones {
		if strings.HasSuffix(name, "."+zone) && len(zone) > longest {
			h, longest = handler, len(zone)
		}
	}
	s.mu.Unlock()
	if h == nil {
		h = rcode(dns.RcodeNameError)
	}
	h(w, q)
}

// count says how many questions of a kind, such as "udp A", there were about
// names in zone.
func (s *testServer) count(kind, zone string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, q := range s.seen {
		if strings.HasPrefix(q, kind+" ") && strings.HasSuffix(q, "."+zone+".") {
			n++
		}
	}
	return n
}

func rcode(code int) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		w.WriteMsg(new(dns.Msg).SetRcode(q, code))
	}
}

func silent(dns.ResponseWriter, *dns.Msg) {}

// answerTo builds an answer of records in presentation form; @ is the name asked
// for, and only those of the type asked for, and CNAMEs, go in.
func answerTo(q *dns.Msg, records ...string) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	name := q.Question[0].Name
	for _, r := range records {
		rr, err := dns.NewRR(strings.Replace(r, "@", name, 1))
		if err != nil {
			panic(err)
		}
		if t := rr.Header().Rrtype; t == q.Question[0].Qtype || t == dns.TypeCNAME {
			m.Answer = append(m.Answer, rr)
		}
	}
	return m
}

func answers(records ...string) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(answerTo(q, records...)) }
}

func overTCP(w dns.ResponseWriter) bool { return w.LocalAddr().Network() == "tcp" }

func mustParse(t *testing.T, s string) []List {
	t.Helper()
	lists, err := ParseLists(s)
	if err != nil {
		t.Fatal(err)
	}
	return lists
}

// deadUDP is a resolver that listens and never answers.
func deadUDP(t *testing.T) netip.AddrPort {
	t.Helper()
	return netip.MustParseAddrPort(deadUDPConn(t).LocalAddr().String())
}

// closedUDP is a port on which nobody listens.
func closedUDP(t *testing.T) netip.AddrPort {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	return netip.MustParseAddrPort(pc.LocalAddr().String())
}

// deadUDPConn is a socket from which nothing is read.
func deadUDPConn(t *testing.T) net.PacketConn {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return pc
}
