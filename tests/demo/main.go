// Command demo installs the package into a throwaway Debian root that is laid
// out as Symbiosis is, starts the real Exim there, lets hosts of all sorts
// connect, and shows who gets in, who does not, and why. It ends with exit
// code 1 when one of them is not treated as it should be.
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"symbiosis-connect-acl/tests/lab"
)

const (
	database = "/var/lib/symbiosis/firewall-blacklist-count.db"
	zen      = "zen.spamhaus.org"
)

// A row is one line of the table.
type row struct {
	who, from string
	port      int
	want      string // the reply's code
	reply     string
	wait      time.Duration
	why       string // Exim's own words, from its log
}

func main() { os.Exit(lab.Main(demo)) }

func demo(t testing.TB) {
	step := func(format string, args ...any) { fmt.Printf("== "+format+"\n", args...) }

	step("a Debian %s root, laid out as Symbiosis is", lab.DefaultSuite)
	r := lab.NewRoot(t, lab.DefaultSuite, "symbiosis")
	n := lab.NewNet(t)
	dns := lab.StartDNS(t, n)
	for _, z := range []string{zen, "b.barracudacentral.org", "bl.spamcop.net"} {
		dns.List(t, z, "127.0.0.2", "127.0.0.2", "test entry")
	}
	dns.List(t, zen, "185.220.101.1", "127.0.0.4", "https://www.spamhaus.org/query/ip/185.220.101.1")
	dns.List(t, zen, "86.1.2.3", "127.0.0.10", "https://www.spamhaus.org/query/ip/86.1.2.3")
	dns.Add(t, "7.7.7.7."+zen+". 60 IN A 127.255.255.254")
	sqlite(t, r.Path(database), `CREATE TABLE blacklist (ip TEXT NOT NULL, timestamp INTEGER NOT NULL, count INTEGER NOT NULL);
		INSERT INTO blacklist VALUES ('8.8.8.8',strftime('%s','now')-86400,30),('9.9.9.10',strftime('%s','now')-3600,60),
		('2a01:7e00::/64',strftime('%s','now')-7200,30);`)
	r.Write("etc/exim4/whitelist_connect_hosts", "9.9.9.10\n", 0o644)

	step("dpkg --install %s", lab.Package(t, "symbiosis")[strings.LastIndexByte(lab.Package(t, "symbiosis"), '/')+1:])
	for _, l := range strings.Split(strings.TrimSpace(r.Install()), "\n") {
		fmt.Println("   " + l)
	}
	version := strings.Fields(r.Run("exim4", "-bV"))
	step("%s %s %s in a network namespace of its own, on ports 25, 465 and 587", version[0], version[1], version[2])
	e := lab.StartExim(t, r, n)

	rows := []*row{
		{who: "an ordinary host, first visit", from: "193.0.6.139", port: 25, want: "220"},
		{who: "the same host, second visit", from: "193.0.6.139", port: 25, want: "220"},
		{who: "whitelisted, though in the database", from: "9.9.9.10", port: 25, want: "220"},
		{who: "known bad, IPv4", from: "8.8.8.8", port: 25, want: "550"},
		{who: "the same on the users' port", from: "8.8.8.8", port: 587, want: "550"},
		{who: "known bad, IPv6, /64 ends in zeros", from: "2a01:7e00::5", port: 25, want: "550"},
		{who: "its neighbour in another /64", from: "2a01:7e00:0:1::5", port: 25, want: "220"},
		{who: "over its rate (11th connection)", from: "5.5.5.5", port: 25, want: "451"},
		{who: "on a DNS list", from: "185.220.101.1", port: 25, want: "550"},
		{who: "the list answers with an error code", from: "7.7.7.7", port: 25, want: "220"},
		{who: "a home (on the PBL), sending mail to us", from: "86.1.2.3", port: 25, want: "550"},
		{who: "the same home, a user submitting", from: "86.1.2.3", port: 587, want: "220"},
		{who: "a bot that talks before the greeting", from: "6.6.6.1", port: 25, want: "554"},
		{who: "a bot that says EHLO ylmf-pc", from: "6.6.6.2", port: 25, want: "550"},
		{who: "HELO made to frame 8.8.4.4", from: "6.6.6.3", port: 587, want: "550"},
		{who: "guessing passwords (11th guess)", from: "6.6.6.4", port: 587, want: "454"},
		{who: "the guesser's next connection", from: "6.6.6.4", port: 587, want: "550"},
		{who: "an old telephone, one password 30 times", from: "80.1.1.1", port: 587, want: "535"},
		{who: "its colleague, the right password", from: "80.1.1.1", port: 587, want: "235"},
		{who: "four bots' HELOs, then once more", from: "6.6.6.5", port: 25, want: "550"},
		{who: "a sender over his rate (30th visit)", from: "81.1.1.1", port: 25, want: "220"},
		{who: "a forwarder, used for reflection", from: "82.1.1.1", port: 25, want: "220"},
		{who: "on parole, 91 days after its offence", from: "83.1.1.1", port: 25, want: "220"},
		{who: "the same after one more offence", from: "83.1.1.1", port: 25, want: "550"},
	}
	r.Hosts("insert into host (net, first, last, greeted, lists_passed, delivered, delivered_before) select '81.1.1.1', n, n, n, n, n, n-86400 from (select strftime('%s','now') - 3600 n);" +
		"insert into host (net, history, history_passed, history_last) select '83.1.1.1', 300, n-91*86400, n from (select strftime('%s','now') n);")
	for _, w := range rows {
		play(t, e, w)
	}
	for _, missing := range []struct{ who, path, want string }{
		{"the firewall's database is missing: known bad", r.Path(database), "550"},
		{"hosts.db is missing: known bad", r.Path(r.HostsDatabase()), "220"},
	} {
		if err := os.Rename(missing.path, missing.path+".gone"); err != nil {
			t.Fatal(err)
		}
		w := &row{who: missing.who, from: "8.8.8.8", port: 587, want: missing.want}
		play(t, e, w)
		rows = append(rows, w)
		if err := os.Rename(missing.path+".gone", missing.path); err != nil {
			t.Fatal(err)
		}
	}

	print(t, rows)

	step("and for one of them, what the administrator asks on the server")
	explain := exec.Command("ip", append([]string{"netns", "exec", n.Server}, r.Command("symbiosis-connect-check", "explain", "8.8.8.8").Args...)...)
	out, _ := explain.CombinedOutput() // its exit code says that the host is refused
	fmt.Printf("# symbiosis-connect-check explain 8.8.8.8\n%s", out)
}

// play connects as the row's host does and notes what comes back.
func play(t testing.TB, e *lab.Exim, w *row) {
	mark := len(e.Log())
	switch {
	case strings.Contains(w.who, "over its rate"):
		for i := 0; i < 10; i++ {
			c := e.Connect(w.from, w.port)
			c.Cmd("EHLO client.example")
			c.Quit()
		}
		mark = len(e.Log())
	case strings.Contains(w.who, "over his rate"):
		for range 29 {
			e.Greet(w.from, w.port)
		}
		mark = len(e.Log())
	case strings.Contains(w.who, "used for reflection"):
		for range 4 {
			mail(e, w, "MAIL FROM:<\"a\x01b\"@evil.example>")
		}
		mark = len(e.Log())
	case strings.Contains(w.who, "one more offence"):
		hello(e, w, "ylmf-pc")
		mark = len(e.Log())
	case strings.Contains(w.who, "four bots"):
		for range 4 {
			hello(e, w, "ylmf-pc")
		}
		mark = len(e.Log())
	case strings.Contains(w.who, "before the greeting"):
		conn, err := e.Net.Dial(w.from, w.port)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		begin := time.Now()
		conn.SetDeadline(begin.Add(30 * time.Second))
		fmt.Fprint(conn, "EHLO bot\r\n")
		w.reply, _ = bufio.NewReader(conn).ReadString('\n')
		w.wait = time.Since(begin)
		w.why = reason(e.LogSince(t, mark, w.from))
		return
	}
	c := e.Connect(w.from, w.port)
	w.reply, w.wait = c.Greeting, c.Wait
	command := func(format string, args ...any) {
		begin := time.Now()
		w.reply = c.Cmd(format, args...)
		w.wait = time.Since(begin)
	}
	switch {
	case strings.Contains(w.who, "ylmf"):
		command("EHLO ylmf-pc")
	case strings.Contains(w.who, "frame"):
		command("EHLO evil) [8.8.4.4]: 535 Incorrect authentication data")
	case strings.Contains(w.who, "11th guess"):
		c.Cmd("EHLO client.example")
		c.StartTLS("client.example", "mail.example.org")
		for i := 1; i <= 10; i++ {
			c.AuthPlain("user@example.org", fmt.Sprint("guess ", i))
		}
		mark = len(e.Log())
		begin := time.Now()
		w.reply = c.AuthPlain("user@example.org", "guess 11")
		w.wait = time.Since(begin)
	case strings.Contains(w.who, "telephone"):
		for i := range 29 {
			if i%8 == 0 { // Exim ends a connection on which too many fail
				c.Quit()
				c = e.Connect(w.from, w.port)
				c.Cmd("EHLO client.example")
				c.StartTLS("client.example", "mail.example.org")
			}
			c.AuthPlain("user@example.org", "the password of last year")
		}
		begin := time.Now()
		w.reply = c.AuthPlain("user@example.org", "the password of last year")
		w.wait = time.Since(begin)
	case strings.Contains(w.who, "colleague"):
		c.Cmd("EHLO client.example")
		c.StartTLS("client.example", "mail.example.org")
		begin := time.Now()
		w.reply = c.AuthPlain("user@example.org", "correct horse")
		w.wait = time.Since(begin)
	case lab.Code(c.Greeting) == "220":
		c.Cmd("EHLO client.example") // a host that has come this far is remembered
	}
	c.Quit()
	if w.want == "235" {
		return // what is in the log is about others behind the same address
	}
	l := e.Log()[mark:]
	if w.want != "220" {
		l = e.LogSince(t, mark, w.from+"]")
	}
	w.why = reason(l)
}

// mail connects, says MAIL or so, and leaves.
func mail(e *lab.Exim, w *row, command string) {
	c := e.Connect(w.from, w.port)
	c.Cmd("EHLO forwarder.example")
	c.Cmd("%s", command)
	c.Quit()
}

// hello connects, says EHLO with a name, and leaves.
func hello(e *lab.Exim, w *row, name string) {
	c := e.Connect(w.from, w.port)
	c.Cmd("EHLO %s", name)
	c.Quit()
}

var beforeReason = regexp.MustCompile(`^.*?(?:rejected connection in "connect" ACL: |Warning: |connect-acl: )`)

// reason takes out of Exim's log what it says of the host.
func reason(log string) string {
	for _, l := range strings.Split(log, "\n") {
		switch {
		case beforeReason.MatchString(l):
			return beforeReason.ReplaceAllString(l, "")
		case strings.Contains(l, "synchronization error"):
			return "SMTP protocol synchronization error (input sent without waiting for greeting)"
		}
	}
	return ""
}

func print(t testing.TB, rows []*row) {
	fmt.Println()
	fmt.Printf("%-39s %-17s %4s  %-5s %8s  %s\n", "WHO", "ADDRESS", "PORT", "REPLY", "TIME", "WHY (Exim's log)")
	for _, w := range rows {
		code := lab.Code(w.reply)
		verdict := ""
		if code != w.want {
			verdict = fmt.Sprintf("   WRONG: want %s, got %q", w.want, w.reply)
			t.Errorf("%s (%s on port %d): %q; want %s", w.who, w.from, w.port, w.reply, w.want)
		}
		why := w.why
		if why == "" && (code == "220" || code == "235") {
			why = "-"
		}
		fmt.Printf("%-39s %-17s %4d  %-5s %5d ms  %s%s\n", w.who, w.from, w.port, code, w.wait.Milliseconds(), why, verdict)
	}
	fmt.Println()
}

func sqlite(t testing.TB, path, sql string) {
	cmd := exec.Command("sqlite3", path)
	cmd.Stdin = strings.NewReader(sql)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sqlite3: %v\n%s", err, out)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
}
