package dnsbl

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/dns/dnsmessage"
)

var (
	host4 = netip.MustParseAddr("192.0.2.99")
	host6 = netip.MustParseAddr("2001:db8:1:2:3:4:567:89ab")
)

// brief is a deadline for tests that have to wait for it.
const brief = 300 * time.Millisecond

func check(t *testing.T, addr netip.Addr, lists string, o Options) Result {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = guard
	}
	r, err := Check(context.Background(), addr, mustParse(t, lists), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// summary spells a result in one line: verdict, score, and each list's status.
func summary(r Result) string {
	verdict := "pass"
	if r.Deny {
		verdict = "deny"
	}
	s := fmt.Sprintf("%s %d", verdict, r.Score)
	if r.Deciding != nil {
		s += " by " + r.Deciding.List.Zone
	}
	for _, a := range r.Answers {
		s += ", " + a.Status.String()
		if a.Status == Listed {
			s += " " + a.Code.String()
		}
		if a.Failure != nil {
			s += ": " + a.Failure.Reason
		}
	}
	return s
}

func TestRecordedBehaviours(t *testing.T) {
	s := newTestServer(t, "127.0.0.1")
	s.zone("listed.example", answers("@ A 127.0.0.4", `@ TXT "see " "https://l.example/"`))
	s.zone("nodata.example", answers())
	s.zone("servfail.example", rcode(dns.RcodeServerFailure))
	s.zone("refused.example", rcode(dns.RcodeRefused))
	s.zone("formerr.example", rcode(dns.RcodeFormatError))
	s.zone("silent.example", silent)
	s.zone("several.example", answers("@ A 127.0.0.10", "@ A 127.0.0.4", "@ A 127.0.0.2", "@ A 127.0.0.4"))
	s.zone("cname.example", answers("@ CNAME a.target.example.", "a.target.example. CNAME b.target.example.", "b.target.example. A 127.0.0.3", "c.target.example. A 127.0.0.9"))
	s.zone("cnameloop.example", answers("@ CNAME a.target.example.", "a.target.example. CNAME a.target.example.", "b.target.example. A 127.0.0.3"))
	s.zone("stranger.example", answers("other.example. A 127.0.0.2"))
	s.zone("typo.example", answers("@ A 127.255.255.252"))
	s.zone("public.example", answers("@ A 127.255.255.254"))
	s.zone("excess.example", answers("@ A 127.255.255.255"))
	s.zone("mixed.example", answers("@ A 127.0.0.2", "@ A 127.255.255.255"))
	s.zone("parked.example", answers("@ A 203.0.113.7"))
	s.zone("one.example", answers("@ A 127.0.0.1"))
	s.zone("list.dnswl.org", answers("@ A 127.0.0.255"))
	s.zone("case.example", func(w dns.ResponseWriter, q *dns.Msg) {
		m := answerTo(q, "@ A 127.0.0.2")
		m.Question[0].Name = strings.ToUpper(m.Question[0].Name)
		for _, rr := range m.Answer {
			rr.Header().Name = strings.ToUpper(rr.Header().Name)
		}
		w.WriteMsg(m)
	})
	s.zone("wrongid.example", func(w dns.ResponseWriter, q *dns.Msg) {
		bad := answerTo(q, "@ A 127.0.0.2")
		bad.Id++
		w.WriteMsg(bad)
		w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeNameError))
	})
	s.zone("wrongname.example", func(w dns.ResponseWriter, q *dns.Msg) {
		bad := answerTo(q, "@ A 127.0.0.2")
		bad.Question[0].Name = "1.2.0.192.wrongname.example."
		w.WriteMsg(bad)
		w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeNameError))
	})
	s.zone("wrongtype.example", func(w dns.ResponseWriter, q *dns.Msg) {
		bad := answerTo(q, "@ A 127.0.0.2")
		bad.Question[0].Qtype = dns.TypeAAAA
		w.WriteMsg(bad)
		bad = answerTo(q, "@ A 127.0.0.2")
		bad.Question = nil
		w.WriteMsg(bad)
		w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeNameError))
	})
	s.zone("echo.example", func(w dns.ResponseWriter, q *dns.Msg) {
		w.WriteMsg(q) // a question is no answer
		w.Write([]byte{1, 2, 3})
		w.WriteMsg(answerTo(q, "@ A 127.0.0.2"))
	})
	s.zone("cut.example", func(w dns.ResponseWriter, q *dns.Msg) {
		b, _ := answerTo(q, "@ A 127.0.0.2").Pack()
		w.Write(b[:len(b)-2])
	})
	s.zone("truncated.example", func(w dns.ResponseWriter, q *dns.Msg) {
		if overTCP(w) {
			w.WriteMsg(answerTo(q, "@ A 127.0.0.4"))
			return
		}
		m := answerTo(q, "@ A 127.0.0.2") // what is in a truncated answer is not used
		m.Truncated = true
		w.WriteMsg(m)
	})
	s.zone("truncated2.example", func(w dns.ResponseWriter, q *dns.Msg) {
		m := answerTo(q)
		m.Truncated = true
		w.WriteMsg(m)
	})
	s.zone("tcpclosed.example", func(w dns.ResponseWriter, q *dns.Msg) {
		if overTCP(w) {
			w.Close()
			return
		}
		m := answerTo(q)
		m.Truncated = true
		w.WriteMsg(m)
	})
	s.zone("tcpwrong.example", func(w dns.ResponseWriter, q *dns.Msg) {
		m := answerTo(q, "@ A 127.0.0.2")
		if !overTCP(w) {
			m.Truncated = true
			w.WriteMsg(m)
			return
		}
		m.Id++
		w.WriteMsg(m)
		w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeNameError))
	})
	s.zone("referral.example", func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		ns, _ := dns.NewRR("example. NS ns.example.")
		m.Ns = append(m.Ns, ns)
		w.WriteMsg(m)
	})
	s.zone("noedns.example", func(w dns.ResponseWriter, q *dns.Msg) {
		if q.IsEdns0() != nil {
			m := new(dns.Msg).SetRcode(q, dns.RcodeFormatError)
			m.Question = nil
			w.WriteMsg(m)
			return
		}
		w.WriteMsg(answerTo(q, "@ A 127.0.0.2"))
	})
	s.zone("needsedns.example", func(w dns.ResponseWriter, q *dns.Msg) {
		if o := q.IsEdns0(); o == nil || o.UDPSize() != 1232 || !q.RecursionDesired {
			rcode(dns.RcodeServerFailure)(w, q)
			return
		}
		w.WriteMsg(answerTo(q, "@ A 127.0.0.2"))
	})

	for _, tt := range []struct{ name, lists, want string }{
		{"not listed", "nothing.example", "pass 0, not listed"},
		{"no data", "nodata.example", "pass 0, not listed"},
		{"listed", "listed.example", "deny 1 by listed.example, listed 127.0.0.4"},
		{"listed with its code", "listed.example=127.0.0.[2..7]*3", "deny 3 by listed.example, listed 127.0.0.4"},
		{"listed with another code", "listed.example=127.0.0.2", "pass 0, not listed"},
		{"SERVFAIL", "servfail.example", "pass 0, failed: SERVFAIL from SERVER"},
		{"REFUSED", "refused.example", "pass 0, failed: REFUSED from SERVER"},
		{"FORMERR", "formerr.example", "pass 0, failed: FORMERR from SERVER"},
		{"several codes count once", "several.example", "deny 1 by several.example, listed 127.0.0.2"},
		{"several codes, the last", "several.example=127.0.0.10", "deny 1 by several.example, listed 127.0.0.10"},
		{"several items of a zone", "several.example=127.0.0.2 : several.example=127.0.0.4*2 : several.example=127.0.0.3*4",
			"deny 3 by several.example, listed 127.0.0.2, listed 127.0.0.4, not listed"},
		{"CNAME", "cname.example", "deny 1 by cname.example, listed 127.0.0.3"},
		{"CNAME loop", "cnameloop.example", "pass 0, not listed"},
		{"a record of another name", "stranger.example", "pass 0, not listed"},
		{"mistyped zone", "typo.example", "pass 0, failed: answered 127.255.255.252: the zone's name is mistyped"},
		{"public resolver", "public.example", "pass 0, failed: answered 127.255.255.254: the query came through a public resolver"},
		{"too many queries", "excess.example", "pass 0, failed: answered 127.255.255.255: too many queries"},
		{"an error code beside a code", "mixed.example", "pass 0, failed: answered 127.255.255.255: too many queries"},
		{"dnswl.org's error code", "list.dnswl.org*-2 : none.example", "pass 0, failed: answered 127.0.0.255: too many queries, not listed"},
		{"outside 127/8", "parked.example", "pass 0, failed: answered 203.0.113.7, which is outside 127.0.0.0/8"},
		{"127.0.0.1", "one.example", "pass 0, failed: answered 127.0.0.1, with which lists refuse a query"},
		{"127.0.0.1 asked for", "one.example=127.0.0.1", "deny 1 by one.example, listed 127.0.0.1"},
		{"case", "case.example", "deny 1 by case.example, listed 127.0.0.2"},
		{"wrong id", "wrongid.example", "pass 0, not listed"},
		{"wrong name", "wrongname.example", "pass 0, not listed"},
		{"wrong type, no question", "wrongtype.example", "pass 0, not listed"},
		{"our question, rubbish", "echo.example", "deny 1 by echo.example, listed 127.0.0.2"},
		{"cut short", "cut.example", "pass 0, failed: a malformed answer from SERVER"},
		{"truncated, then TCP", "truncated.example", "deny 1 by truncated.example, listed 127.0.0.4"},
		{"truncated over TCP", "truncated2.example", "pass 0, failed: an answer cut short even over TCP from SERVER"},
		{"truncated, TCP closed", "tcpclosed.example", "pass 0, failed: SERVER cut the answer short and then failed over TCP (connection closed)"},
		{"wrong id over TCP", "tcpwrong.example", "pass 0, not listed"},
		{"a referral", "referral.example", "pass 0, failed: SERVER does not resolve for this host"},
		{"EDNS is sent", "needsedns.example", "deny 1 by needsedns.example, listed 127.0.0.2"},
		{"no EDNS", "noedns.example", "deny 1 by noedns.example, listed 127.0.0.2"},
		{"no EDNS, several", "noedns.example : noedns.example=127.0.0.3 : formerr.example", "deny 1 by noedns.example, listed 127.0.0.2, not listed, failed: FORMERR from SERVER"},
		{"a failure beside a hit", "servfail.example : listed.example", "deny 1 by listed.example, failed: SERVFAIL from SERVER, listed 127.0.0.4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := Options{Servers: []netip.AddrPort{s.addr}, Threshold: 1, All: strings.Contains(tt.lists, " : ")}
			r := check(t, host4, tt.lists, o)
			want := strings.ReplaceAll(tt.want, "SERVER", s.addr.String())
			if got := summary(r); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			for _, a := range r.Answers {
				if a.Failure != nil && a.Failure.Remedy == "" {
					t.Errorf("no remedy: %v", a.Failure)
				}
			}
		})
	}
	if n := s.count("udp A", "several.example"); n != 3 {
		t.Errorf("a zone in three items was asked %d times in three rounds", n)
	}
}

func TestSilentUntilTheDeadline(t *testing.T) {
	s := newTestServer(t, "127.0.0.1")
	s.zone("silent.example", silent)
	s.zone("listed.example", answers("@ A 127.0.0.4"))
	release := make(chan struct{})
	late := make(chan struct{}, 16)
	s.zone("late.example", func(w dns.ResponseWriter, q *dns.Msg) {
		<-release
		w.WriteMsg(answerTo(q, "@ A 127.0.0.2"))
		late <- struct{}{}
	})
	o := Options{Servers: []netip.AddrPort{s.addr}, Timeout: brief, Threshold: 2}
	for _, tt := range []struct{ lists, want string }{
		{"silent.example*2", "pass 0, failed: no answer within 300ms"},
		// The score so far counts, but not against a host that an allow list may have.
		{"listed.example*2 : silent.example*-1", "pass 2, listed 127.0.0.4, failed: no answer within 300ms"},
		{"listed.example*4 : silent.example*-2", "deny 4 by listed.example, listed 127.0.0.4, not awaited"},
		{"listed.example : silent.example", "pass 1, listed 127.0.0.4, failed: no answer within 300ms"},
		{"late.example*2", "pass 0, failed: no answer within 300ms"},
	} {
		if got := summary(check(t, host4, tt.lists, o)); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
	close(release)
	select {
	case <-late:
	case <-time.After(guard):
		t.Error("the late answer was not sent")
	}
	// A query that got no answer was sent again: UDP loses packets.
	if n := s.count("udp A", "late.example"); n != 2 {
		t.Errorf("a silent list was asked %d times, want 2", n)
	}
}

// The servers here answer the other lists only once Check has returned, so a
// Check that waits for them never returns: the guard ends the test.
func TestReturnsWhenSettled(t *testing.T) {
	for _, tt := range []struct {
		name, lists string
		threshold   int
		want        string
	}{
		{"threshold reached", "listed.example : blocked.example", 1, "deny 1 by listed.example, listed 127.0.0.4, not awaited"},
		{"out of reach of the allow list", "listed.example*5 : blocked.example*-2", 3, "deny 5 by listed.example, listed 127.0.0.4, not awaited"},
		{"threshold out of reach", "nothing.example*3 : blocked.example*2", 3, "pass 0, not listed, not awaited"},
		{"allowed beyond reach", "allowed.example*-5 : blocked.example*2 : blocked2.example*-1", 1, "pass -5, listed 127.0.5.1, not awaited, not awaited"},
		{"only an allow list is left", "nothing.example : blocked.example*-1", 1, "pass 0, not listed, not awaited"},
		{"only allow lists", "blocked.example*-1", 1, "pass 0, not awaited"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newTestServer(t, "127.0.0.1")
			returned := make(chan struct{})
			block := func(w dns.ResponseWriter, q *dns.Msg) {
				<-returned
				w.WriteMsg(answerTo(q, "@ A 127.0.0.2"))
			}
			s.zone("listed.example", answers("@ A 127.0.0.4", `@ TXT "text"`))
			s.zone("allowed.example", answers("@ A 127.0.5.1"))
			s.zone("blocked.example", block)
			s.zone("blocked2.example", block)
			deadline := time.Hour // never reached, or the test runs into its own
			r := check(t, host4, tt.lists, Options{Servers: []netip.AddrPort{s.addr}, Threshold: tt.threshold, Timeout: deadline})
			close(returned)
			if got := summary(r); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if r.Deny && r.Deciding.Text != "text" {
				t.Errorf("text %q", r.Deciding.Text)
			}
		})
	}
}

// And the other way round: while an answer can still change the result, Check
// waits for it.
func TestWaitsWhileUnsettled(t *testing.T) {
	for _, tt := range []struct {
		name, lists, want string
	}{
		{"an allow list may pull back", "listed.example*2 : slow.example*-1", "pass 1, listed 127.0.0.4, listed 127.0.0.2"},
		{"a block list may add", "listed.example : slow.example", "deny 2 by listed.example, listed 127.0.0.4, listed 127.0.0.2"},
		{"the heavier one decides", "listed.example : slow.example*2", "deny 3 by slow.example, listed 127.0.0.4, listed 127.0.0.2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newTestServer(t, "127.0.0.1")
			first := make(chan struct{})
			var once sync.Once
			s.zone("listed.example", func(w dns.ResponseWriter, q *dns.Msg) {
				w.WriteMsg(answerTo(q, "@ A 127.0.0.4"))
				if q.Question[0].Qtype == dns.TypeTXT {
					once.Do(func() { close(first) }) // Check has the A record: it asks for the text
				}
			})
			s.zone("slow.example", func(w dns.ResponseWriter, q *dns.Msg) {
				if q.Question[0].Qtype == dns.TypeA {
					<-first
				}
				w.WriteMsg(answerTo(q, "@ A 127.0.0.2"))
			})
			r := check(t, host4, tt.lists, Options{Servers: []netip.AddrPort{s.addr}, Threshold: 2})
			if got := summary(r); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestIPv6(t *testing.T) {
	s := newTestServer(t, "127.0.0.1")
	s.zone("2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.listed.example", answers("@ A 127.0.0.2"))
	s.zone("listed.example", rcode(dns.RcodeNameError))
	o := Options{Servers: []netip.AddrPort{s.addr}}
	for _, tt := range []struct{ addr, asked, want string }{
		{host6.String(), "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2", "deny 1 by listed.example, listed 127.0.0.2"},
		{"2001:db8:1:3::", strings.Repeat("0.", 16) + "3.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2", "pass 0, not listed"},
		{"::ffff:192.0.2.1", "1.2.0.192", "pass 0, not listed"},
	} {
		if got := summary(check(t, netip.MustParseAddr(tt.addr), "listed.example", o)); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.addr, got, tt.want)
		}
		s.mu.Lock()
		if !slices.Contains(s.seen, "udp A "+tt.asked+".listed.example.") {
			t.Errorf("%s was not asked for: %q", tt.asked, s.seen)
		}
		s.mu.Unlock()
	}
}

func TestText(t *testing.T) {
	const key = "abcdefghij0123456789klmnop"
	s := newTestServer(t, "127.0.0.1")
	text := func(strings ...string) dns.HandlerFunc {
		return func(w dns.ResponseWriter, q *dns.Msg) {
			m := answerTo(q, "@ A 127.0.0.2")
			if q.Question[0].Qtype == dns.TypeTXT {
				m.Answer = append(m.Answer, &dns.TXT{
					Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET},
					Txt: strings,
				})
			}
			if !overTCP(w) && m.Len() > 1232 {
				m.Answer, m.Truncated = nil, true
			}
			w.WriteMsg(m)
		}
	}
	s.zone("joined.example", text("one ", "two"))
	s.zone("none.example", answers("@ A 127.0.0.2"))
	s.zone("two.example", answers("@ A 127.0.0.2", `@ TXT "b"`, `@ TXT "a"`, `@ TXT "b"`))
	var huge []string
	for range 200 {
		huge = append(huge, strings.Repeat("xy ", 85))
	}
	s.zone("huge.example", text(huge...))
	// In presentation form: \ddd is an octet.
	s.zone("hostile.example", text(`line\013\010550 \"quoted\" \\ \000\027\200\255 $\{x\} [8.8.8.8]`))
	s.zone(key+".zen.dq.spamhaus.net", text("see "+strings.ToUpper(key)+".zen.dq.spamhaus.net"))
	s.zone("txtfail.example", func(w dns.ResponseWriter, q *dns.Msg) {
		if q.Question[0].Qtype == dns.TypeTXT {
			rcode(dns.RcodeServerFailure)(w, q)
			return
		}
		w.WriteMsg(answerTo(q, "@ A 127.0.0.2"))
	})
	for _, tt := range []struct{ zone, want string }{
		{"joined.example", "one two"},
		{"none.example", ""},
		{"two.example", "a / b"},
		{"huge.example", strings.Repeat("xy ", 66)[:197] + "..."},
		{"hostile.example", "line 550 'quoted' / ?? _(x) (8.8.8.8)"},
		{key + ".zen.dq.spamhaus.net", "see ***.zen.dq.spamhaus.net"},
		{"txtfail.example", ""},
	} {
		r := check(t, host4, tt.zone, Options{Servers: []netip.AddrPort{s.addr}})
		if !r.Deny || r.Deciding.Text != tt.want {
			t.Errorf("%s: text %q, want %q", tt.zone, r.Deciding.Text, tt.want)
		}
		checkSafe(t, tt.zone, r.Deciding.Text, MaxText)
		if strings.Contains(strings.ToLower(r.Deciding.Text+r.Deciding.List.DisplayName()+r.Deciding.List.String()), key) {
			t.Errorf("the key shows: %q", r.Deciding.Text)
		}
	}
	if s.count("tcp TXT", "huge.example") != 1 {
		t.Error("the huge text did not come over TCP")
	}
}

func TestTextIsAskedForOnlyAfterAHit(t *testing.T) {
	s := newTestServer(t, "127.0.0.1")
	s.zone("allowed.example", answers("@ A 127.0.5.1"))
	s.zone("public.example", answers("@ A 127.255.255.254"))
	check(t, host4, "nothing.example : allowed.example*-1 : public.example", Options{Servers: []netip.AddrPort{s.addr}})
	for _, zone := range []string{"nothing.example", "allowed.example", "public.example"} {
		if s.count("udp TXT", zone) != 0 {
			t.Errorf("%s was asked for its text", zone)
		}
	}
}

// A text that never comes costs the rest of the time, not the verdict.
func TestTextSilent(t *testing.T) {
	s := newTestServer(t, "127.0.0.1")
	s.zone("listed.example", func(w dns.ResponseWriter, q *dns.Msg) {
		if q.Question[0].Qtype == dns.TypeA {
			w.WriteMsg(answerTo(q, "@ A 127.0.0.2"))
		}
	})
	r := check(t, host4, "listed.example", Options{Servers: []netip.AddrPort{s.addr}, Timeout: brief})
	if got, want := summary(r), "deny 1 by listed.example, listed 127.0.0.2"; got != want || r.Deciding.Text != "" {
		t.Errorf("got %s %q", got, r.Deciding.Text)
	}
}

func TestAll(t *testing.T) {
	s := newTestServer(t, "127.0.0.1")
	s.zone("a.example", answers("@ A 127.0.0.2", `@ TXT "text a"`))
	s.zone("b.example", answers("@ A 127.0.0.3", `@ TXT "text b"`))
	s.zone("allow.example", answers("@ A 127.0.5.1", `@ TXT "good"`))
	r := check(t, host4, "a.example : b.example=127.0.0.[2;3] : allow.example*-1 : none.example", Options{Servers: []netip.AddrPort{s.addr}, All: true})
	if got, want := summary(r), "deny 1 by a.example, listed 127.0.0.2, listed 127.0.0.3, listed 127.0.5.1, not listed"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for i, want := range []string{"text a", "text b", "good", ""} {
		if r.Answers[i].Text != want {
			t.Errorf("%s: text %q, want %q", r.Answers[i].List, r.Answers[i].Text, want)
		}
	}
}

func TestFailover(t *testing.T) {
	s := newTestServer(t, "127.0.0.1")
	s.zone("listed.example", answers("@ A 127.0.0.4", `@ TXT "text"`))
	s.zone("broken.example", rcode(dns.RcodeServerFailure))
	failing := newTestServer(t, "127.0.0.1")
	failing.zone("listed.example", rcode(dns.RcodeServerFailure))
	failing.zone("broken.example", rcode(dns.RcodeRefused))
	tcpless := newTestServer(t, "127.0.0.1")
	tcpless.zone("listed.example", func(w dns.ResponseWriter, q *dns.Msg) {
		if overTCP(w) {
			w.Close()
			return
		}
		m := answerTo(q)
		m.Truncated = true
		w.WriteMsg(m)
	})
	dead, closed := deadUDP(t), closedUDP(t)
	const hit = "deny 1 by listed.example, listed 127.0.0.4"
	for _, tt := range []struct {
		name    string
		servers []netip.AddrPort
		lists   string
		want    string
	}{
		{"first silent", []netip.AddrPort{dead, s.addr}, "listed.example", hit},
		{"two silent", []netip.AddrPort{dead, deadUDP(t), s.addr}, "listed.example", hit},
		{"first closed", []netip.AddrPort{closed, s.addr}, "listed.example", hit},
		{"two closed", []netip.AddrPort{closed, closedUDP(t), s.addr}, "listed.example", hit},
		{"first fails", []netip.AddrPort{failing.addr, s.addr}, "listed.example", hit},
		{"first fails over TCP", []netip.AddrPort{tcpless.addr, s.addr}, "listed.example", hit},
		{"closed, silent, failing", []netip.AddrPort{closed, dead, failing.addr, s.addr}, "listed.example", hit},
		{"all closed", []netip.AddrPort{closed}, "listed.example : b.example", "pass 0, failed: resolver CLOSED: connection refused, failed: resolver CLOSED: connection refused"},
		{"all fail", []netip.AddrPort{failing.addr, s.addr}, "broken.example", "pass 0, failed: SERVFAIL from SERVER"},
		{"named twice", []netip.AddrPort{closed, closed}, "listed.example", "pass 0, failed: resolver CLOSED: connection refused"},
		{"no such address family", []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::53]:53"), s.addr}, "listed.example", hit},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := check(t, host4, tt.lists, Options{Servers: tt.servers, Timeout: 3 * time.Second})
			want := strings.NewReplacer("SERVER", s.addr.String(), "CLOSED", closed.String()).Replace(tt.want)
			if got := summary(r); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if r.Deny && r.Deciding.Text != "text" {
				t.Errorf("text %q", r.Deciding.Text)
			}
		})
	}
	// What the first said is not lost when the second says nothing.
	r := check(t, host4, "broken.example", Options{Servers: []netip.AddrPort{failing.addr, dead}, Timeout: brief})
	if got, want := summary(r), "pass 0, failed: no answer within 300ms (REFUSED from "+failing.addr.String()+")"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// After turning to the second resolver, the answer of the first still counts.
func TestLateAnswerOfTheFirstResolver(t *testing.T) {
	first, second := newTestServer(t, "127.0.0.1"), newTestServer(t, "127.0.0.1")
	turned := make(chan struct{})
	var once sync.Once
	first.zone("listed.example", func(w dns.ResponseWriter, q *dns.Msg) {
		if q.Question[0].Qtype == dns.TypeA {
			<-turned
		}
		w.WriteMsg(answerTo(q, "@ A 127.0.0.4"))
	})
	second.zone("listed.example", func(w dns.ResponseWriter, q *dns.Msg) { once.Do(func() { close(turned) }) })

	r := check(t, host4, "listed.example", Options{Servers: []netip.AddrPort{first.addr, second.addr}, Timeout: 4 * time.Second})
	if got, want := summary(r), "deny 1 by listed.example, listed 127.0.0.4"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// An answer from another address than the one asked is not even seen.
func TestAnswerFromAnotherAddress(t *testing.T) {
	s := newTestServer(t, "127.0.0.1")
	spoofer := deadUDPConn(t)
	s.zone("listed.example", func(w dns.ResponseWriter, q *dns.Msg) {
		b, _ := answerTo(q, "@ A 127.0.0.2").Pack()
		spoofer.WriteTo(b, w.RemoteAddr())
		w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeNameError))
	})
	r := check(t, host4, "listed.example", Options{Servers: []netip.AddrPort{s.addr}})
	if got, want := summary(r), "pass 0, not listed"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCheckNothing(t *testing.T) {
	r, err := Check(context.Background(), host4, nil, Options{ResolvConf: "/nowhere/resolv.conf"})
	if err != nil || r.Deny || r.Threshold != 1 {
		t.Errorf("no lists: %+v, %v", r, err)
	}
	r, err = Check(context.Background(), netip.Addr{}, mustParse(t, "a.example"), Options{})
	if err == nil || r.Deny {
		t.Errorf("no address: %+v, %v", r, err)
	}
	r, err = Check(context.Background(), host4, mustParse(t, "a.example"), Options{ResolvConf: t.TempDir()})
	if err == nil || r.Deny {
		t.Errorf("resolv.conf is a directory: %+v, %v", r, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r, err = Check(ctx, host4, mustParse(t, "a.example"), Options{Servers: []netip.AddrPort{deadUDP(t)}, Timeout: time.Hour})
	if err != nil || r.Deny {
		t.Errorf("cancelled: %+v, %v", r, err)
	}
}

func TestReadResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	for _, tt := range []struct{ conf, want string }{
		{"", "[127.0.0.1:53] 5s 2"},
		{"# nameserver 192.0.2.1\n;nameserver 192.0.2.2\nsearch example\n", "[127.0.0.1:53] 5s 2"},
		{"nameserver 192.0.2.1\nnameserver\t2001:db8::1 # mine\nnameserver fe80::1%lo\nnameserver 192.0.2.1\nnameserver nonsense\nnameserver 192.0.2.4",
			"[192.0.2.1:53 [2001:db8::1]:53 [fe80::1%lo]:53 192.0.2.4:53] 5s 2"},
		{"nameserver 192.0.2.1\noptions edns0 timeout:1 attempts:3 rotate\n", "[192.0.2.1:53] 1s 3"},
		{"nameserver 192.0.2.1\noptions timeout:0 attempts:99 timeout:x", "[192.0.2.1:53] 5s 5"},
	} {
		if err := os.WriteFile(path, []byte(tt.conf), 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := ReadResolvConf(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(r.Servers, r.Timeout, r.Attempts); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.conf, got, tt.want)
		}
	}
	if r, err := ReadResolvConf(path + ".absent"); err != nil || fmt.Sprint(r.Servers) != "[127.0.0.1:53]" {
		t.Errorf("no file: %v, %v", r, err)
	}
}

func TestParseServer(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1:53", "192.0.2.1:5353": "192.0.2.1:5353", "2001:db8::1": "[2001:db8::1]:53",
		"[2001:db8::1]": "[2001:db8::1]:53", "[2001:db8::1]:5353": "[2001:db8::1]:5353", "::ffff:192.0.2.1": "192.0.2.1:53",
		"dns.example": "", "192.0.2.1:0": "", "192.0.2.1:x": "", "": "",
	} {
		got, err := ParseServer(in)
		if (err != nil) != (want == "") || err == nil && got.String() != want {
			t.Errorf("ParseServer(%q) = %v, %v; want %q", in, got, err, want)
		}
	}
}

// A resolver that is not there or that fails is left at once: the next try by
// the clock would come in half an hour.
func TestTurnsToTheNextResolverAtOnce(t *testing.T) {
	s, failing := newTestServer(t, "127.0.0.1"), newTestServer(t, "127.0.0.1")
	s.zone("listed.example", answers("@ A 127.0.0.4"))
	failing.zone("listed.example", rcode(dns.RcodeServerFailure))
	for _, first := range []netip.AddrPort{closedUDP(t), failing.addr} {
		ctx, cancel := context.WithTimeout(context.Background(), guard)
		x := newExchange(Resolvers{Servers: []netip.AddrPort{first, s.addr}, Attempts: 1}, time.Now().Add(time.Hour))
		q, err := newQuestion(QueryName(host4, "listed.example"), dnsmessage.TypeA)
		if err != nil {
			t.Fatal(err)
		}
		var got []netip.Addr
		x.ask(q, 0, func(o outcome) { got = o.addrs })
		x.run(ctx, func() bool { return false })
		if len(got) != 1 {
			t.Errorf("after %s: no answer, %v", first, ctx.Err())
		}
		x.close()
		cancel()
	}
}
