package zone

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/hosts"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func key(t testing.TB, s string) address.Key {
	t.Helper()
	k, err := address.Parse(s)
	must(t, err)
	return k
}

func TestNameOfHost(t *testing.T) {
	for host, want := range map[string]string{
		"192.0.2.99":             "99.2.0.192",
		"2001:db8:1:2:3:4:5:6":   "*.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2",
		"2a01:7e00::5":           "*.0.0.0.0.0.0.0.0.0.0.e.7.1.0.a.2",
		"::ffff:8.8.4.4":         "4.4.8.8",
		"2a02:ffff:ffff:ffff::1": "*.f.f.f.f.f.f.f.f.f.f.f.f.2.0.a.2",
	} {
		k := key(t, host)
		if got := Name(k); got != want {
			t.Errorf("%s: %s; want %s", host, got, want)
		}
		if got, ok := ParseName(want); !ok || got != k {
			t.Errorf("%s is read as %s, %v", want, got, ok)
		}
	}
	for _, other := range []string{"", "@", "2.0.192", "1.99.2.0.192", "099.2.0.192", "300.2.0.192", "*.2.0.192", "*.x.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2",
		TestNames[1], "*.F.f.f.f.f.f.f.f.f.f.f.f.2.0.a.2", "x.y.z.w"} {
		if k, ok := ParseName(other); ok {
			t.Errorf("%q is read as %s", other, k)
		}
	}
}

func TestTextOfEntry(t *testing.T) {
	e := Entry{Reason: Guesser, Day: DayOf(time.Date(2026, 3, 15, 23, 59, 0, 0, time.UTC))}
	const want = "origin=mail1.example.org date=2026-03-15 reason=guesser"
	if got := e.Text("mail1.example.org"); got != want {
		t.Errorf("%q; want %q", got, want)
	}
	if o, r, d, ok := ParseText(want); !ok || o != "mail1.example.org" || r != e.Reason || d != e.Day {
		t.Errorf("read as %s %s %s %v", o, r, d, ok)
	}
	for _, bad := range []string{"", TestText, want + " x", strings.Replace(want, "guesser", "spammer", 1), strings.Replace(want, "mail1", "Mail 1", 1),
		strings.Replace(want, "03-15", "13-15", 1), strings.Replace(want, "mail1.", "$(id).", 1)} {
		if o, _, _, ok := ParseText(bad); ok {
			t.Errorf("%q is of origin %q", bad, o)
		}
	}
}

func TestDomain(t *testing.T) {
	for s, want := range map[string]string{"BL.example.org.": "bl.example.org", "mail": "mail", "x_y.example": "x_y.example"} {
		if got, err := Domain(s); err != nil || got != want {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
	for _, bad := range []string{"", ".", "a..b", "a b", "a;b", "-x", "ü.example", "a\nb", "a\"b", strings.Repeat("a", 64), strings.Repeat("a.", 100) + "b", "$INCLUDE"} {
		if got, err := Domain(bad); err == nil {
			t.Errorf("%q is taken as %q", bad, got)
		}
	}
}

// Who is on the list, and who must never be: whatever stands against it.
func TestJudge(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	const day = hosts.Day
	c := Criteria{Policy: hosts.Defaults, MinCount: 20, MaxAge: MaxAge, Now: now}
	c.Spared.Add(netip.MustParsePrefix("9.9.9.0/24"), "friends")
	c.Spared.Add(netip.MustParsePrefix("2a01:7e00:1:2::5/128"), "friends")
	bad := hosts.Row{History: 20, HistoryLast: ago(day)}
	with := func(change func(*hosts.Row)) hosts.Row { r := bad; change(&r); return r }
	for _, tt := range []struct {
		what, host string
		row        hosts.Row
		want       Reason // 0: not listed
	}{
		{"a long history", "8.8.8.8", bad, History},
		{"a long history, IPv6", "2a01:7e00::5", bad, History},
		{"one less", "8.8.8.8", with(func(r *hosts.Row) { r.History = 19 }), 0},
		{"an old one", "8.8.8.8", with(func(r *hosts.Row) { r.HistoryLast = ago(31 * day) }), 0},
		{"a guesser", "8.8.8.8", hosts.Row{Guesser: ago(3 * day)}, Guesser},
		{"an old guesser", "8.8.8.8", hosts.Row{Guesser: ago(31 * day)}, 0},
		{"a guesser with a history", "8.8.8.8", with(func(r *hosts.Row) { r.Guesser = ago(time.Hour) }), Guesser},
		{"a bot", "8.8.8.8", hosts.Row{Offences: 4, OffencesSince: ago(time.Hour), Offence: ago(time.Minute)}, Bot},
		{"three offences", "8.8.8.8", hosts.Row{Offences: 3, OffencesSince: ago(time.Hour), Offence: ago(time.Minute)}, 0},
		{"an old bot", "8.8.8.8", hosts.Row{Offences: 40, Offence: ago(31 * day)}, 0},
		{"nothing", "8.8.8.8", hosts.Row{}, 0},
		{"a user's", "8.8.8.8", with(func(r *hosts.Row) { r.Login = ago(29 * day) }), 0},
		{"a user's, where somebody guesses", "8.8.8.8", with(func(r *hosts.Row) { r.Login, r.Guesser = ago(29*day), ago(time.Hour) }), 0},
		{"once a user's", "8.8.8.8", with(func(r *hosts.Row) { r.Login = ago(31 * day) }), History},
		{"a sender", "8.8.8.8", with(func(r *hosts.Row) { r.Delivered, r.DeliveredBefore = ago(day), ago(3*day) }), 0},
		{"delivered once", "8.8.8.8", with(func(r *hosts.Row) { r.Delivered = ago(day) }), History},
		{"a friend", "9.9.9.10", bad, 0},
		{"a friend in the same /64", "2a01:7e00:1:2::6", bad, 0},
		{"another /64", "2a01:7e00:1:3::6", bad, History},
		{"private", "10.1.2.3", bad, 0},
		{"private", "192.168.1.1", bad, 0},
		{"shared by a provider's customers", "100.64.1.1", bad, 0},
		{"this machine", "127.0.0.2", bad, 0},
		{"for texts", "203.0.113.9", bad, 0},
		{"multicast", "224.0.0.1", bad, 0},
		{"everybody", "255.255.255.255", bad, 0},
		{"private IPv6", "fd00::1", bad, 0},
		{"link-local", "fe80::1", bad, 0},
		{"NAT64, which is all of IPv4", "64:ff9b::808:808", bad, 0},
		{"Teredo, which is all behind one server", "2001:0:4136:e378::1", bad, 0},
		{"6to4", "2002:808:808::1", bad, 0},
		{"IPv6 for texts", "2001:db8::1", bad, 0},
		{"the loopback", "::1", bad, 0},
	} {
		tt.row.Key = key(t, tt.host)
		e, ok := c.Judge(tt.row)
		if ok != (tt.want != 0) || ok && (e.Reason != tt.want || e.Key != tt.row.Key) {
			t.Errorf("%s (%s): %+v, %v; want %d", tt.what, tt.host, e, ok, tt.want)
		}
	}
	if _, ok := c.Judge(hosts.Row{History: 100, HistoryLast: now}); ok {
		t.Error("a row whose key is none is listed")
	}
}

// The serial number grows, also when the clock is set back and when it wraps.
func TestSerial(t *testing.T) {
	for _, tt := range []struct {
		now          int64
		before, want uint32
	}{{1000, 0, 1000}, {1000, 999, 1000}, {1000, 1000, 1001}, {1000, 5000, 5001}, {1<<32 + 5, 1<<32 - 1, 5}, {1, 1<<32 - 1, 1}} {
		if got := Serial(tt.now, tt.before); got != tt.want {
			t.Errorf("at %d after %d: %d; want %d", tt.now, tt.before, got, tt.want)
		}
	}
}

// An unchanged list leaves the file alone, another has a higher number.
func TestWriteFile(t *testing.T) {
	head := Head{"bl.example", "mail1.example.org"}
	entries := []Entry{{key(t, "8.8.8.8"), History, 20000}, {key(t, "2a01:7e00::"), Bot, 20001}}
	for _, format := range []Format{RFC1035, Rbldnsd} {
		path := filepath.Join(t.TempDir(), "zone")
		write := func(now int64, want bool, wantSerial uint32) {
			t.Helper()
			before, _ := os.Stat(path)
			changed, err := WriteFile(context.Background(), path, now, func(o Output) error { return format.Write(o, head, each(entries)) })
			if err != nil || changed != want {
				t.Fatalf("%s: changed %v, %v; want %v", format, changed, err, want)
			}
			if after, err := os.Stat(path); err != nil || !want && !os.SameFile(before, after) {
				t.Errorf("%s: the file was replaced: %v", format, err)
			}
			text, err := os.ReadFile(path)
			must(t, err)
			if serial, ok := serialIn(text); !ok || serial != wantSerial {
				t.Errorf("%s: serial %d, %v; want %d\n%s", format, serial, ok, wantSerial, text)
			}
		}
		write(1_700_000_000, true, 1_700_000_000)
		write(1_700_000_060, false, 1_700_000_000)
		entries = append(entries, Entry{key(t, "9.9.9.9"), Guesser, 20001})
		write(1_700_000_060, true, 1_700_000_060)
		write(1_600_000_000, false, 1_700_000_060)
		entries = entries[:2]
		write(1_600_000_000, true, 1_700_000_061)
		must(t, os.WriteFile(path, append(read(t, path), "# an edit\n"...), 0o644))
		write(1_700_000_100, true, 1_700_000_100)
		must(t, os.WriteFile(path, []byte("somebody else's\n"), 0o644))
		write(1_700_000_200, true, 1_700_000_200)
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

func each(all []Entry) func(func(Entry, error) bool) {
	return func(yield func(Entry, error) bool) {
		for _, e := range all {
			if !yield(e, nil) {
				return
			}
		}
	}
}
