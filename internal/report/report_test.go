package report

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/dnsbl"
	"symbiosis-connect-acl/internal/eximlog"
	"symbiosis-connect-acl/internal/hosts"
)

var now = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

// read tallies lines, each an hour before now and a second after the one before.
func read(t *testing.T, lines ...string) *Tally {
	t.Helper()
	tally := NewTally()
	tally.Period = 15 * time.Minute
	var p eximlog.Parser
	for i, l := range lines {
		at := now.Add(-time.Hour + time.Duration(i)*time.Second)
		e, ok := p.Line([]byte(at.Local().Format("2006-01-02 15:04:05 ") + l))
		if !ok {
			t.Fatalf("%q tells nothing", l)
		}
		tally.Add(&e)
	}
	return tally
}

func repeat(n int, line string) (all []string) {
	for range n {
		all = append(all, line)
	}
	return all
}

func makeOf(t *testing.T, tally *Tally, o Options) *Report {
	t.Helper()
	o.Server, o.Since, o.Until, o.Now, o.Names, o.Limit, o.Period, o.Commands = "mail.example.org", now.Add(-7*24*time.Hour), now, now, true, 10, "15m", "symbiosis-connect"
	o.Policy = hosts.Defaults
	r, err := Make(context.Background(), tally, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// database makes a hosts.db with rows.
func database(t *testing.T, rows ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "hosts.db")
	if _, err := hosts.Ensure(context.Background(), path); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if err := hosts.With(path, func(d *hosts.DB) error { return d.Exec(context.Background(), row) }); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func advice(r *Report, about string) Advice {
	for _, a := range r.Advice {
		if a.About == about {
			return a
		}
	}
	return Advice{}
}

// Each number that is advised is one that would have kept out none of the proven
// hosts, as a line that Exim takes.
func TestAdvice(t *testing.T) {
	ago := func(d time.Duration) int64 { return now.Add(-d).Unix() }
	path := database(t,
		fmt.Sprintf("insert into host (net, history, history_passed, delivered, delivered_before, offence) values ('192.0.2.1', 151, %d, %d, %d, 0)", ago(20*24*time.Hour), ago(time.Hour), ago(48*time.Hour)),
		fmt.Sprintf("insert into host (net, history, login) values ('192.0.2.2', 3, %d)", ago(time.Hour)),
		"insert into host (net, history) values ('192.0.2.3', 900)")
	lines := repeat(13, "1xWiZA-000AIm-0o <= a@b.example H=mx [192.0.2.1] P=smtp S=1")
	lines = append(lines, repeat(2, `H=mx [192.0.2.1] temporarily rejected connection in "connect" ACL: Sender deferred 12.5 / 15m`)...)
	lines = append(lines, repeat(30, `H=[192.0.2.3] temporarily rejected connection in "connect" ACL: Sender deferred 99.0 / 15m`)...)
	r := makeOf(t, read(t, lines...), Options{Hosts: path})
	if a := advice(r, "rate"); a.Line != "CHECK_CONNECT_RATELIMIT == 13 / 15m" {
		t.Errorf("rate: %+v (highest %v)", a, r.Rates.Highest)
	}
	if a := advice(r, "threshold"); a.Line != "SYMBIOSIS_INCIDENT_THRESHOLD == 16" {
		t.Errorf("threshold: %+v", a)
	}
	if a := advice(r, "memory"); a.Line != "CONNECT_PAROLE == 19d" {
		t.Errorf("memory: %+v", a)
	}
	if w := r.Worry.Hosts; w.All != 1 || !strings.HasPrefix(strings.Join(w.First[0].For, ", "), "a proven sender, delivered before") {
		t.Errorf("worry: %+v", w)
	}
}

// With --dnsbl the lists are asked again, and one that names nobody alone adds
// nothing. A key is in no line.
func TestListsThatAddNothing(t *testing.T) {
	var lines []string
	for i := range 30 {
		a := fmt.Sprintf("192.0.2.%d", i+1)
		lines = append(lines, fmt.Sprintf(`H=[%s] rejected connection in "connect" ACL: %s is blacklisted at a.example (127.0.0.2, score 1)`, a, a))
	}
	ask := func(keys []address.Key) ([][]string, error) {
		all := make([][]string, len(keys))
		for i := range keys {
			if all[i] = []string{"a.example"}; i%3 == 0 {
				all[i] = []string{"a.example", "b.example"}
			}
		}
		return all, nil
	}
	for lists, want := range map[string]string{
		"a.example : b.example=127.0.0.2":                                                  "CHECK_CONNECT_IP_DNSBLS == a.example",
		"a.example : b.example : abcdefgh1234567890abcdefgh.zen.dq.spamhaus.net=127.0.0.2": "",
	} {
		parsed, err := dnsbl.ParseLists(lists)
		if err != nil {
			t.Fatal(err)
		}
		r := makeOf(t, read(t, lines...), Options{Lists: parsed, Ask: ask})
		a := advice(r, "lists")
		if a.Line != want || !strings.Contains(a.Text, "of 30 hosts that were refused, b.example names none") || strings.Contains(a.Text, "abcdefgh") {
			t.Errorf("%s: %+v", lists, a)
		}
		if c := r.Lists[0]; c != (ListCount{List: "a.example", Refused: 30, Named: 30, Alone: 20}) {
			t.Errorf("a.example: %+v", c)
		}
	}
}

// Up to Exim 4.96 a line of ours may tell a failed login that Exim's own line has
// told.
func TestFailedLoginsCountOnce(t *testing.T) {
	const exims, ours = "PLAIN authenticator failed for (x) [192.0.2.1]: 535 Incorrect authentication data (set_id=bob)", "connect-acl: failed login from [192.0.2.1]"
	for n, lines := range map[int64][]string{
		2: {exims, ours, exims, ours},
		3: {ours, ours, ours},
		4: {exims, exims, ours, ours, ours, exims},
	} {
		if r := makeOf(t, read(t, lines...), Options{}); r.Totals.FailedLogins != n {
			t.Errorf("%q: %d failed logins; want %d", lines, r.Totals.FailedLogins, n)
		}
	}
}

// What clients choose takes no more memory than is set aside for it, and a host
// of which there may be a million takes little.
func TestBounds(t *testing.T) {
	if size := unsafe.Sizeof(host{}); size > 112 {
		t.Errorf("a host takes %d octets", size)
	}
	tally := NewTally()
	for i := range maxNames + 10 {
		var p eximlog.Parser
		for _, l := range []string{
			fmt.Sprintf("connect-acl: failed login from [192.0.2.1] (set_id=n%d)", i),
			fmt.Sprintf("H=[192.0.2.1] Warning: x%d check skipped: y", i),
			fmt.Sprintf(`H=[192.0.2.1] rejected connection in "connect" ACL: 192.0.2.1 is blacklisted at l%d (127.0.0.2, score 1)`, i),
			fmt.Sprintf("H=[192.0.2.1] Warning: DNSBL check: l%d.example: no answer", i),
		} {
			if e, ok := p.Line([]byte("2026-11-22 12:00:00 " + l)); ok {
				tally.Add(&e)
			}
		}
	}
	r := makeOf(t, tally, Options{})
	if len(tally.names) > maxNames || len(tally.skipped) > maxReasons+1 || len(tally.lists) > maxReasons || len(tally.dead) > maxReasons || !r.Accounts.AtLeast {
		t.Errorf("%d names, %d reasons, %d lists, %d dead lists; more are known: %v", len(tally.names), len(tally.skipped), len(tally.lists), len(tally.dead), r.Accounts.AtLeast)
	}
	if r.Totals.FailedLogins != maxNames+10 {
		t.Errorf("%d failed logins", r.Totals.FailedLogins)
	}
}

func TestSparkline(t *testing.T) {
	if got := sparkline([]int64{0, 1, 50, 100}); got != ".▁▄█" {
		t.Errorf("%q", got)
	}
}
