package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"symbiosis-connect-acl/tests/lab"
)

var record = flag.Bool("record", false, "play the week again and write testdata")

const (
	local    = "etc/exim4/symbiosis.d/00-main/22-connect-check-local"
	zen      = "zen.spamhaus.org"
	barrac   = "b.barracudacentral.org"
	spamcop  = "bl.spamcop.net"
	sender   = "193.0.6.139" // delivers every day, and is on a list by mistake on Wednesday
	bad4     = "8.8.8.8"
	bad6     = "2a01:7e00::5"
	friend   = "9.9.9.10" // refused on Tuesday, white-listed since
	family   = "86.1.2.3" // users' home, where a telephone has an old password
	guesser  = "5.5.5.5"  // stays until it is put off
	knocker  = "5.5.6.6"  // fails twice and goes
	hasty    = "6.6.6.1"  // a stranger that connects too often
	early    = "6.6.7.1"  // talks before the greeting
	listed1  = "185.220.101.1"
	listed2  = "185.220.101.2"
	newsmail = "198.51.101.7" // listed, while the suite learns; what it brings is accepted
)

// A want is what the player has seen on its side of the wire.
type want struct {
	Cells     map[string]int `json:"cells"` // "2026-11-16 history 25 refused"
	Failed    int            `json:"failed_logins"`
	Accepted  map[string]int `json:"accepted"` // messages, by host
	Lists     map[string]int `json:"lists"`    // decisions; the first list that answers decides
	Skipped   map[string]int `json:"skipped"`  // by check
	Dead      map[string]int `json:"dead"`
	Guesses   map[string]int `json:"guesses"` // by name
	Networks  map[string]int `json:"networks"`
	Hours     map[string]int `json:"hours"` // "0 08": Monday, eight o'clock
	First454  map[string]int `json:"guesses_before"`
	WouldHost map[string]int `json:"would_hosts"`
	Users454  []string       `json:"users_454"` // users' hosts that were told to come back
}

// A week is what is played: one server, which gets a new Debian in the middle.
type week struct {
	*lab.Exim
	t    *testing.T
	dns  *lab.DNS
	now  time.Time
	want want
	log  strings.Builder
}

// TestRecord plays a week of scripted traffic at two real Exims, whose clocks
// are moved on, and writes what they logged beside what the clients saw.
func TestRecord(t *testing.T) {
	if !*record {
		t.Skip("only with -record")
	}
	lab.SkipUnlessReady(t)
	w := &week{t: t, want: want{Users454: []string{}}}
	for _, m := range []*map[string]int{&w.want.Cells, &w.want.Accepted, &w.want.Lists, &w.want.Skipped, &w.want.Dead, &w.want.Guesses,
		&w.want.Networks, &w.want.Hours, &w.want.First454, &w.want.WouldHost} {
		*m = map[string]int{}
	}
	w.server("bookworm", "")
	w.monday()
	w.tuesday()
	w.wednesday()
	dump := w.dump()
	w.keep()
	w.Stop()
	w.server("trixie", dump)
	w.thursday()
	w.friday()
	w.weekend()
	w.keep()
	for name, data := range map[string]string{"week.log": w.log.String(), "hosts.sql": w.dump(), "week.json": asJSON(t, w.want)} {
		if err := os.WriteFile(filepath.Join("testdata", name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func asJSON(t *testing.T, v any) string {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data) + "\n"
}

// dump gives hosts.db as SQL.
func (w *week) dump() string {
	return w.Root.Hosts(".dump") + "\npragma user_version = " + w.Root.Hosts("pragma user_version;") + ";\n"
}

func (w *week) server(suite, dump string) {
	t := w.t
	r := lab.NewRoot(t, suite, "symbiosis")
	n := lab.NewNet(t)
	w.dns = lab.StartDNS(t, n)
	w.dns.List(t, zen, listed1, "127.0.0.4", "listed")
	w.dns.List(t, zen, listed2, "127.0.0.4", "listed")
	w.dns.List(t, barrac, newsmail, "127.0.0.2", "listed")
	r.Install()
	lib, err := os.ReadFile("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
	if err != nil {
		t.Fatal(err)
	}
	r.Write("usr/lib/libfaketimeMT.so.1", string(lib), 0o755)
	if dump != "" {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			os.Remove(r.Path(r.HostsDatabase() + suffix))
		}
		r.Hosts(dump + "pragma journal_mode = wal;")
		r.Run("chown", "Debian-exim:Debian-exim", r.HostsDatabase())
	}
	r.Write("etc/faketimerc", "@2026-11-16 00:00:00\n", 0o644)
	r.Write("etc/ld.so.preload", "/usr/lib/libfaketimeMT.so.1\n", 0o644)
	w.Exim = &lab.Exim{Root: r, Net: n}
	w.settings()
	w.Exim = lab.StartExim(t, r, n)
}

func (w *week) settings(lines ...string) {
	all := append([]string{"CONNECT_STATE_GREETING == off", "CONNECT_LOG_SELECTOR_EXTRA == +incoming_interface", "CONNECT_DNSBL_MEMORY == 0s"}, lines...)
	w.Root.Write(local, strings.Join(all, "\n")+"\n", 0o644)
	w.Root.Make("exim4.conf")
}

// at moves the clock on, and gives the rules other settings.
func (w *week) at(when string, lines ...string) {
	w.t.Helper()
	var err error
	if w.now, err = time.Parse("2006-01-02 15:04", "2026-11-"+when); err != nil {
		w.t.Fatal(err)
	}
	w.Stop()
	w.Root.Write("etc/faketimerc", "@"+w.now.Format("2006-01-02 15:04:05")+"\n", 0o644)
	w.settings(lines...)
	w.Start()
}

// keep keeps the log.
func (w *week) keep() {
	w.settled()
	w.log.WriteString(w.Log())
}

// settled waits until nobody is being served.
func (w *week) settled() {
	for w.Serving() > 0 {
		time.Sleep(5 * time.Millisecond) // between two looks at a condition
	}
}

// saw notes what a rule did to a client.
func (w *week) saw(rule string, port int, verdict, from string) {
	w.want.Cells[fmt.Sprintf("%s %s %d %s", w.now.Format(time.DateOnly), rule, port, verdict)]++
	if verdict == "would" {
		w.want.WouldHost[from]++
		return
	}
	net := from[:strings.LastIndexByte(from, '.')+1] + "0/24"
	if strings.Contains(from, ":") {
		net = "2a01:7e00::/48"
	}
	w.want.Networks[net]++
	w.want.Hours[fmt.Sprintf("%d %02d", (int(w.now.Weekday())+6)%7, w.now.Hour())]++
}

// refused connects, and must not be greeted.
func (w *week) refused(rule, from string, port, times int) {
	w.t.Helper()
	for range times {
		if g := w.Greet(from, port); lab.Code(g) == "220" || lab.Code(g) == "451" {
			w.t.Fatalf("%s on %d at %s: %q; want it refused", from, port, w.now, g)
		}
		w.settled()
		w.saw(rule, port, "refused", from)
	}
}

func (w *week) listed(zone, from string, times int) {
	w.t.Helper()
	w.refused("dnsbl", from, 25, times)
	w.want.Lists[zone] += times
}

// delivers brings a message, and is told that it was accepted.
func (w *week) delivers(from string, times int) {
	w.t.Helper()
	for range times {
		c := w.Connect(from, 25)
		for _, cmd := range []string{"EHLO mx.example.net", "MAIL FROM:<\"H=(x) [7.7.7.7]\"@example.net>", "RCPT TO:<user@example.org>", "DATA"} {
			if got := c.Cmd("%s", cmd); got == "" || got[0] != '2' && got[0] != '3' {
				w.t.Fatalf("%s at %s: %s: %q", from, w.now, cmd, got)
			}
		}
		if got := c.Cmd("Subject: hello\r\nFrom: <a@example.net>\r\n\r\nhello\r\n."); lab.Code(got) != "250" {
			w.t.Fatalf("%s: %q", from, got)
		}
		c.Quit()
		w.settled()
		w.want.Accepted[from]++
	}
}

// guess tries a password, and tells whether it was let through to it.
func (w *week) guess(from, user, password string) string {
	c := w.Connect(from, 587)
	if code := lab.Code(c.Greeting); code != "220" { // it is known by now
		c.Close()
		w.settled()
		w.saw("offences", 587, "refused", from)
		return code
	}
	c.Cmd("EHLO client.example")
	c.StartTLS("client.example", "mail.example.org")
	got := c.AuthPlain(user, password)
	if lab.Code(got) == "454" { // a second one is dropped
		w.saw("auth", 0, "put_off", from) // our own lines name no port
	}
	c.Quit()
	w.settled()
	if lab.Code(got) == "535" {
		w.want.Failed++
		w.want.Guesses[user]++
	}
	return lab.Code(got)
}

func (w *week) helo(from string, port int, name, code string) {
	w.t.Helper()
	c := w.Connect(from, port)
	defer c.Close()
	if got := c.Cmd("EHLO %s", name); lab.Code(got) != code {
		w.t.Fatalf("EHLO %s: %q; want %s", name, got, code)
	}
	c.Quit()
	w.settled()
	if code != "250" {
		w.saw("helo", 0, "refused", from)
	}
}

func (w *week) monday() {
	w.at("16 08:00")
	w.Root.History("8.8.8.8", 30)
	w.Root.History("9.9.9.10", 12)
	w.Root.History("2a01:7e00::/64", 30)
	w.refused("history", bad4, 25, 3)
	w.refused("history", bad4, 587, 2)
	w.delivers(sender, 2)
	w.at("16 14:30")
	w.listed(zen, listed1, 4)
	w.listed(zen, listed2, 3)
	w.refused("history", bad6, 25, 2)
}

func (w *week) tuesday() {
	w.at("17 09:15")
	w.refused("history", friend, 25, 2)
	w.delivers(sender, 1)
	// The logins of a guesser, until it is put off.
	for i := 0; ; i++ {
		if i == 6 {
			w.at("17 09:45")
		}
		if code := w.guess(guesser, "info@example.org", fmt.Sprint("wrong", i)); code == "454" || code == "550" {
			break
		} else if code != "535" || w.want.Failed > 20 {
			w.t.Fatalf("a guess: %s", code)
		}
		w.want.First454[guesser]++
	}
	w.guess(guesser, "info@example.org", "wrong")
	w.at("17 21:00")
	w.guess(knocker, "bob", "wrong")
	w.guess(knocker, "info@example.org", "wrong")
	w.helo("45.1.1.1", 25, "ylmf-pc", "550")
	w.helo("45.1.1.2", 587, "x) [8.8.4.4]", "550")
	w.helo("45.1.1.3", 25, "localhost.example.net", "250")
}

func (w *week) wednesday() {
	w.at("18 03:10")
	w.dns.List(w.t, barrac, sender, "127.0.0.2", "by mistake")
	w.listed(barrac, sender, 2)
	// A list that has died.
	w.dns.Behave(spamcop, lab.Silent)
	for range 2 {
		if g := w.Greet("45.1.1.4", 25); lab.Code(g) != "220" {
			w.t.Fatalf("with a list that is dead: %q", g)
		}
		w.settled()
		w.want.Dead[spamcop]++
	}
	w.dns.Behave(spamcop, nil)
	w.at("18 11:00")
	for i := range 14 {
		switch g := w.Greet(hasty, 25); lab.Code(g) {
		case "451":
			w.saw("rate", 25, "put_off", hasty)
		case "220":
		default:
			w.t.Fatalf("connection %d: %q", i+1, g)
		}
		w.settled()
	}
}

func (w *week) thursday() {
	w.at("19 08:00", "CONNECT_STATE_GREETING == enforce", "CONNECT_GREETING_DELAY == 1")
	w.delivers(sender, 1) // off the list again: a new server has another resolver
	for range 3 {
		conn, err := w.Net.Dial(early, 25)
		if err != nil {
			w.t.Fatal(err)
		}
		conn.Write([]byte("EHLO bot\r\n"))
		reply := make([]byte, 200)
		n, _ := conn.Read(reply)
		if lab.Code(string(reply[:n])) != "554" {
			w.t.Fatalf("early talk: %q", reply[:n])
		}
		conn.Close()
		w.settled()
		w.saw("greeting", 25, "refused", early)
	}
	// A slip in a setting, and a database that is gone.
	w.at("19 12:00", "SYMBIOSIS_INCIDENT_THRESHOLD == ten")
	for range 2 {
		if g := w.Greet(bad4, 587); lab.Code(g) != "220" {
			w.t.Fatalf("without a threshold: %q", g)
		}
		w.settled()
		w.want.Skipped["history check"]++
	}
	w.at("19 13:00")
	db := w.Root.Path(w.Root.HostsDatabase())
	must(w.t, os.Rename(db, db+".away"))
	if g := w.Greet(bad4, 25); lab.Code(g) != "220" {
		w.t.Fatalf("without hosts.db: %q", g)
	}
	w.settled()
	must(w.t, os.Rename(db+".away", db))
	w.want.Skipped["host database"]++
}

func (w *week) friday() {
	w.at("20 18:00", "CONNECT_AUTH_LENIENCY == 4")
	c := w.Connect(family, 587)
	c.Cmd("EHLO phone")
	c.StartTLS("phone", "mail.example.org")
	if got := c.AuthPlain("user@example.org", "correct horse"); lab.Code(got) != "235" {
		w.t.Fatalf("login: %q", got)
	}
	c.Quit()
	w.settled()
	for i := range 9 {
		if code := w.guess(family, "user@example.org", fmt.Sprint("old", i)); code == "454" {
			w.want.First454[family] = i
			w.want.Users454 = append(w.want.Users454, family)
			break
		} else if code != "535" {
			w.t.Fatalf("an old password: %s", code)
		}
	}
	w.refused("history", bad4, 465, 2)
	w.listed(zen, listed1, 5)
}

func (w *week) weekend() {
	w.at("21 10:00", "CONNECT_STATE_SUITE == learn")
	would := func(rule, from string, port int) {
		if g := w.Greet(from, port); lab.Code(g) != "220" {
			w.t.Fatalf("%s while the suite learns: %q", from, g)
		}
		w.settled()
		w.saw(rule, port, "would", from)
	}
	would("history", bad4, 25)
	would("history", bad4, 587)
	would("dnsbl", listed1, 25)
	w.want.Lists[zen]++
	w.delivers(newsmail, 2)
	w.saw("dnsbl", 25, "would", newsmail)
	w.saw("dnsbl", 25, "would", newsmail)
	w.want.Lists[barrac] += 2
	// What a page may not show as it is: nothing is refused today.
	w.helo("45.1.1.9", 587, "x)<script>alert(1)</script>", "250")
	w.saw("helo", 0, "would", "45.1.1.9")
	w.at("22 23:30")
	w.delivers(sender, 1)
	w.refused("history", bad4, 25, 1)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// database makes a hosts.db of testdata below root.
func database(t testing.TB, root string) {
	t.Helper()
	dir := filepath.Join(root, "var/lib/symbiosis-connect-acl/hosts")
	must(t, os.MkdirAll(dir, 0o755))
	data, err := os.ReadFile("testdata/hosts.sql")
	must(t, err)
	cmd := exec.Command("sqlite3", filepath.Join(dir, "hosts.db"))
	cmd.Stdin = bytes.NewReader(data)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sqlite3: %v\n%s", err, out)
	}
}
