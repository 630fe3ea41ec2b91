package main

import (
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// startList starts a real DNS server with the list bl.example, which has
// 192.0.2.1 and the /64 of 2001:db8:1:2::, cannot tell about 192.0.2.2, and
// answers only when open is closed. It gives the flags that ask it.
func startList(t *testing.T, open <-chan struct{}) []string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		<-open
		name := strings.TrimSuffix(q.Question[0].Name, ".bl.example.")
		answer := new(dns.Msg).SetReply(q)
		switch {
		case name == "2.2.0.192":
			answer.Rcode = dns.RcodeServerFailure
		case name != "1.2.0.192" && !strings.HasSuffix(name, ".2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2"):
			answer.Rcode = dns.RcodeNameError
		case q.Question[0].Qtype == dns.TypeA:
			rr, err := dns.NewRR(q.Question[0].Name + " 60 IN A 127.0.0.4")
			if err != nil {
				t.Error(err)
			}
			answer.Answer = []dns.RR{rr}
		}
		w.WriteMsg(answer)
	})
	started := make(chan struct{})
	server := &dns.Server{PacketConn: conn, Handler: handler, NotifyStartedFunc: func() { close(started) }}
	go server.ActivateAndServe()
	<-started
	t.Cleanup(func() { server.Shutdown() })
	return []string{"--server", conn.LocalAddr().String(), "--lists", "bl.example", "--timeout", "30s"}
}

func TestListsAreAsked(t *testing.T) {
	s := newSite(t)
	s.exec(createTable, threeHosts, "INSERT INTO blacklist VALUES ('192.0.2.3',{now-6d},4)")
	open := make(chan struct{})
	ask := startList(t, open)

	// On a terminal a bar shows how far it is, and leaves nothing behind.
	term := onTerminal(t, 60, s.command(append([]string{"list", "--dnsbl"}, ask...)...))
	term.expect("--] 0 of 4 hosts")
	close(open)
	shown, code := term.wait()
	before, table, ok := strings.Cut(shown, "\r"+strings.Repeat(" ", 59)+"\r")
	if code != 0 || !ok || strings.Contains(table, "hosts") || !strings.Contains(table, "DNSBL") || len(before) < 60 {
		t.Errorf("exit status %d\n%q", code, shown)
	}

	stdout, stderr, code := s.run(append([]string{"list", "--dnsbl", "--sort", "address", "--format", "csv"}, ask...)...)
	var got []string
	for line := range strings.Lines(stdout) {
		f := strings.Split(strings.TrimSpace(line), ",")
		got = append(got, f[0]+" "+f[len(f)-1])
	}
	want := "address dnsbl; 192.0.2.1 bl.example=127.0.0.4; 192.0.2.2 no answer: bl.example; 192.0.2.3 ; 2001:db8:1:2::/64 bl.example=127.0.0.4"
	if code != 0 || stderr != "" || strings.Join(got, "; ") != want {
		t.Errorf("exit status %d, %s\ngot  %s\nwant %s", code, stderr, strings.Join(got, "; "), want)
	}
	stdout, _, _ = s.run(append([]string{"list", "--dnsbl", "--top", "1", "--sort", "count", "--format", "json"}, ask...)...)
	if !strings.Contains(stdout, `"dnsbl": {
      "score": 1,
      "deny": true,
      "listed": [
        "bl.example=127.0.0.4"
      ]
    }`) {
		t.Error(stdout)
	}

	stdout, _, code = s.run(append([]string{"show", "--dnsbl", "192.0.2.1", "192.0.2.2", "192.0.2.3"}, ask...)...)
	for _, text := range []string{"DNS lists   denied, with a score of 1: bl.example=127.0.0.4\n",
		"DNS lists   not denied, with a score of 0: no answer: bl.example\n", "DNS lists   not listed\n"} {
		if code != 0 || !strings.Contains(stdout, text) {
			t.Errorf("exit status %d, no %q in\n%s", code, text, stdout)
		}
	}
	// A higher score is needed than one list gives.
	if stdout, _, _ = s.run(append([]string{"show", "--dnsbl", "--score", "2", "192.0.2.1"}, ask...)...); !strings.Contains(stdout, "not denied, with a score of 1") {
		t.Error(stdout)
	}
}

func TestDeleteWhomTheListsDeny(t *testing.T) {
	s := newSite(t)
	s.exec(createTable, threeHosts)
	open := make(chan struct{})
	close(open)
	ask := startList(t, open)
	stdout, stderr, code := s.run(append([]string{"delete", "--dnsbl-listed", "--yes"}, ask...)...)
	if code != 0 || !strings.Contains(stdout, "deleted 3 rows") || !strings.Contains(stderr, "1 host left alone, because there was no answer from bl.example") {
		t.Errorf("exit status %d\n%s%s", code, stdout, stderr)
	}
	if n := s.number("SELECT count(*) FROM blacklist WHERE ip = '192.0.2.2'"); n != 1 || s.number("SELECT count(*) FROM blacklist") != 1 {
		t.Error("another host than the one that could not be asked about is left, or that is gone")
	}
	stdout, _, code = s.run(append([]string{"delete", "--dnsbl-listed", "--yes"}, ask...)...)
	if code != 0 || stdout != "nothing to delete: the lists deny none of the hosts\n" {
		t.Errorf("exit status %d\n%s", code, stdout)
	}
}
