package dnsbl

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// entries answers for the given reversed addresses below zone, and NXDOMAIN
// for all others.
func (s *testServer) entries(zone string, entries map[string]string) {
	s.zone(zone, func(w dns.ResponseWriter, q *dns.Msg) {
		name := strings.TrimSuffix(strings.ToLower(q.Question[0].Name), "."+zone+".")
		if a, ok := entries[name]; ok {
			w.WriteMsg(answerTo(q, "@ A "+a))
			return
		}
		rcode(dns.RcodeNameError)(w, q)
	})
}

func TestCheckHealth(t *testing.T) {
	const (
		v4 = "2.0.0.127"
	)
	// RFC 5782 section 5 in full.
	v6 := "2.0.0.0.0.0.f.7.f.f.f.f" + strings.Repeat(".0", 20)
	no6 := "1.0.0.0.0.0.f.7.f.f.f.f" + strings.Repeat(".0", 20)
	const key = "abcdefghij0123456789klmnop"

	s := newTestServer(t, "127.0.0.1")
	s.entries("good.example", map[string]string{v4: "127.0.0.2", v6: "127.0.0.2"})
	s.entries("v4only.example", map[string]string{v4: "127.0.0.2"})
	s.entries("codes.example", map[string]string{v4: "127.0.0.10", v6: "127.0.0.10"})
	s.entries("dead.example", nil)
	s.entries("allow.example", nil)
	s.entries("both.example", nil)
	s.entries("world6.example", map[string]string{v4: "127.0.0.2", v6: "127.0.0.2", no6: "127.0.0.2"})
	s.zone("world.example", answers("@ A 127.0.0.2"))
	s.zone("allworld.example", answers("@ A 127.0.5.1"))
	s.zone("parked.example", answers("@ A 203.0.113.7"))
	s.zone("refusing.example", answers("@ A 127.0.0.1"))
	s.zone("silent.example", silent)
	s.zone("servfail.example", rcode(dns.RcodeServerFailure))
	s.zone("open.example", answers("@ A 127.255.255.254"))
	s.entries(key+".zen.dq.spamhaus.net", map[string]string{v4: "127.0.0.2", v6: "127.0.0.2"})

	for _, tt := range []struct {
		lists     string
		condition Condition
		ipv6      bool
		problem   string
		note      string
	}{
		{"good.example", Alive, true, "", ""},
		{"good.example=127.0.0.2", Alive, true, "", ""},
		{key + ".zen.dq.spamhaus.net", Alive, true, "", ""},
		{"v4only.example", Alive, false, "", "IPv6"},
		{"codes.example=127.0.0.2 : codes.example=127.0.0.3*2", Alive, true, "", "answers 127.0.0.10"},
		{"codes.example=127.0.0.2 : codes.example=127.0.0.10", Alive, true, "", ""},
		{"dead.example", Dead, false, "does not list its test entry", ""},
		{"allow.example*-2", Alive, false, "", "some allow lists"},
		{"both.example=127.0.0.9*-2 : both.example=127.0.0.2", Dead, false, "does not list its test entry", ""},
		{"world.example", ListsEveryone, true, "deny every host", ""},
		{"world6.example", ListsEveryone, true, "deny every IPv6 host", ""},
		{"allworld.example*-1", ListsEveryone, true, "let in every host", ""},
		{"parked.example", Dead, false, "203.0.113.7", ""},
		{"refusing.example", RefusesQueries, true, "127.0.0.1", ""},
		{"silent.example", Unanswered, false, "no answer", ""},
		{"servfail.example", Unanswered, false, "SERVFAIL", ""},
		{"open.example", RefusesQueries, false, "public resolver", ""},
	} {
		health, err := CheckHealth(context.Background(), mustParse(t, tt.lists), Options{Servers: []netip.AddrPort{s.addr}, Timeout: brief})
		if err != nil || len(health) != 1 {
			t.Errorf("%s: %v, %v", tt.lists, health, err)
			continue
		}
		h := health[0]
		notes := strings.Join(h.Notes, "; ")
		if h.Condition != tt.condition || h.IPv6 != tt.ipv6 || h.OK() != (h.Problem == "") ||
			!strings.Contains(h.Problem, tt.problem) || (tt.problem == "") != (h.Problem == "") ||
			!strings.Contains(notes, tt.note) || h.Condition == Alive && (tt.note == "") != (notes == "") {
			t.Errorf("%s: %+v", tt.lists, h)
		}
		if strings.Contains(h.Zone+h.Problem+notes, key) {
			t.Errorf("the key shows: %+v", h)
		}
	}

	// All zones in one round, each once, in order.
	health, err := CheckHealth(context.Background(), mustParse(t, "dead.example : good.example=127.0.0.2 : v4only.example : good.example=127.0.0.3"),
		Options{Servers: []netip.AddrPort{s.addr}})
	if err != nil || len(health) != 3 || health[0].Zone != "dead.example" || health[1].Zone != "good.example" || !health[1].OK() || health[0].OK() {
		t.Errorf("%+v, %v", health, err)
	}
	if health, err := CheckHealth(context.Background(), nil, Options{}); health != nil || err != nil {
		t.Errorf("no lists: %v, %v", health, err)
	}
}
