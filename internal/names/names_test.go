package names

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// serve answers on one address over UDP and TCP, and gives it.
func serve(t *testing.T, answer dns.HandlerFunc) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: answer}, {Listener: l, Handler: answer}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe()
		<-started
		t.Cleanup(func() { s.Shutdown() })
	}
	return pc.LocalAddr().String()
}

func records(t *testing.T, lines ...string) (all []dns.RR) {
	for _, l := range lines {
		rr, err := dns.NewRR(l)
		if err != nil {
			t.Error(err)
		}
		all = append(all, rr)
	}
	return all
}

func TestAddresses(t *testing.T) {
	refusing := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		w.WriteMsg(m.SetRcode(q, dns.RcodeRefused))
	})
	elsewhere := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		m.Ns = records(t, "example.org. 60 IN NS ns.example.org.")
		w.WriteMsg(m)
	})
	deaf := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		m.Question[0].Name = "other.example."
		m.Answer = records(t, "other.example. 60 IN A 192.0.2.66")
		w.WriteMsg(m)
	})
	good := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		switch name := q.Question[0].Name; {
		case name == "old.example." && q.IsEdns0() != nil:
			m.SetRcode(q, dns.RcodeFormatError)
		case name == "old.example.":
			m.Answer = records(t, "old.example. 60 IN A 192.0.2.3")
		case name == "large.example." && w.RemoteAddr().Network() == "udp":
			m.Truncated = true
		case name == "large.example.":
			for i := range 200 {
				m.Answer = append(m.Answer, records(t, fmt.Sprintf("large.example. 60 IN A 192.0.2.%d", i))...)
			}
		case name == "alias.example." && q.Question[0].Qtype == dns.TypeA:
			m.Answer = records(t, "host.example. 300 IN A 192.0.2.1", "alias.example. 30 IN CNAME middle.example.", "Middle.example. 600 IN CNAME host.example.", "stray.example. 5 IN A 192.0.2.9")
		case name == "loop.example.":
			m.Answer = records(t, "loop.example. 30 IN CNAME loop.example.")
		case name == "both.example." && q.Question[0].Qtype == dns.TypeAAAA:
			m.Answer = records(t, "both.example. 60 IN AAAA 2001:db8::1")
		case name == "both.example.":
			m.Answer = records(t, "BOTH.example. 60 IN A 192.0.2.1", "both.example. 90 IN A 192.0.2.2")
		case name == "none.example.":
			m.Ns = records(t, "example. 60 IN SOA ns.example. root.example. 1 1 1 1 1")
		default:
			m.SetRcode(q, dns.RcodeNameError)
		}
		w.WriteMsg(m)
	})
	closed := func() string {
		l, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.LocalAddr().String()
	}()
	for _, c := range []struct {
		name    string
		ipv6    bool
		servers string
		want    string // addresses, or a part of the error
		ttl     time.Duration
	}{
		{"both.example", false, good, "192.0.2.1 192.0.2.2", time.Minute},
		{"both.example.", true, good, "2001:db8::1", time.Minute},
		{"alias.example", false, good, "192.0.2.1", 30 * time.Second},
		{"alias.example", true, good, "", 0},
		{"loop.example", false, good, "", 0},
		{"none.example", false, good, "", 0},
		{"nobody.example", false, good, "", 0},
		{"old.example", false, good, "192.0.2.3", time.Minute},
		{"both.example", false, closed + " " + refusing + " " + elsewhere + " " + deaf + " " + good, "192.0.2.1 192.0.2.2", time.Minute},
		{"both.example", false, refusing, "REFUSED", 0},
		{"both.example", false, elsewhere, "does not resolve", 0},
		{"both.example", false, deaf, "another question", 0},
		{"both.example", false, closed, "refused", 0},
	} {
		addrs, ttl, err := Resolver{servers: strings.Fields(c.servers)}.Addresses(t.Context(), c.name, c.ipv6)
		var all []string
		for _, a := range addrs {
			all = append(all, a.String())
		}
		slices.Sort(all)
		if got := strings.Join(all, " "); err != nil && (c.ttl > 0 || c.want == "" || !strings.Contains(err.Error(), c.want)) ||
			err == nil && (got != c.want || ttl != c.ttl) {
			t.Errorf("%s from %s: %q for %v, %v; want %q for %v", c.name, c.servers, got, ttl, err, c.want, c.ttl)
		}
	}
	if addrs, _, err := (Resolver{servers: []string{good}}).Addresses(t.Context(), "large.example", false); len(addrs) != 200 || err != nil {
		t.Errorf("%d addresses over TCP, %v", len(addrs), err)
	}
}

func TestSystem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	for text, want := range map[string]string{
		"nameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch example.org\n": "192.0.2.53:53 [2001:db8::53]:53",
		"# nothing\n": "127.0.0.1:53",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if r, err := System(path); err != nil || strings.Join(r.servers, " ") != want {
			t.Errorf("%q: %v, %v", text, r, err)
		}
	}
	if r, err := System(path + ".missing"); err != nil || len(r.servers) != 1 {
		t.Errorf("no file: %v, %v", r, err)
	}
}
