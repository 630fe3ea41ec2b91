package door

import (
	"bufio"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"symbiosis-connect-acl/tests/lab"
)

func TestRate(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		d.with(t, func() {
			for i := 1; i <= 10; i++ {
				d.expect(t, innocent4, 25, "220", "")
			}
			mark := len(d.Log())
			d.expect(t, innocent4, 25, "451", "Sender rate exceeds system limits, please try later")
			d.LogSince(t, mark, `temporarily rejected connection in "connect" ACL: Sender deferred `)
			d.expect(t, innocent4, 587, "220", "") // the users' ports
			d.expect(t, innocent4, 465, "220", "")
			// A /64 is one host, whatever addresses it uses; its neighbour is another.
			for i := 1; i <= 10; i++ {
				d.expect(t, fmt.Sprintf("2a02:1:2:3::%d", i), 25, "220", "")
			}
			d.expect(t, "2a02:1:2:3:ffff::1", 25, "451", "")
			d.expect(t, "2a02:1:2:4::1", 25, "220", "")
			// A clock that was ahead for a while puts nobody off for longer.
			d.Root.Hosts("insert into host (net, rate, rate_at) values ('6.6.5.1', 10, strftime('%s','now') + 86400)")
			d.expect(t, "6.6.5.1", 25, "220", "")
			// Whose mail we have taken has three times the room, a proven sender and a
			// user's host have ten times.
			for i, h := range []struct {
				columns string // days ago
				room    int
			}{
				{"delivered=20", 30}, {"delivered=31", 10}, {"login=20", 100}, {"login=31", 10},
				{"delivered=20, delivered_before=21", 100}, {"delivered=20, delivered_before=31", 30},
				{"delivered=2, delivered_before=20, offence=19", 30}, {"delivered=2, delivered_before=20, offence=21", 100},
			} {
				from := fmt.Sprintf("6.6.6.%d", i+1)
				d.Root.Hosts("insert into host (net) values ('" + from + "'); update host set " +
					regexp.MustCompile(`=(\d+)`).ReplaceAllString(h.columns, "=strftime('%s','now') - 86400*$1") + " where net = '" + from + "'")
				for range h.room {
					d.expect(t, from, 25, "220", "")
				}
				d.expect(t, from, 25, "451", "")
			}
		}, "CONNECT_STATE_RATELIMIT == enforce")
		d.forget()
		d.with(t, func() {
			for i := 1; i <= 12; i++ {
				d.expect(t, innocent4, 25, "220", "")
			}
			if l := d.LogSince(t, 0, "Sender rate 12.0 / 15m"); !strings.Contains(l, "Warning: Sender rate 1.0 / 15m") {
				t.Errorf("measuring logs no rate:\n%s", l)
			}
		}, "CONNECT_STATE_RATELIMIT == measure")
	})
}

// Learn writes what would have happened, refuses nobody, and writes nothing
// that the firewall would count. Off is silent.
func TestLearnAndOff(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		bot := func() {
			c := d.Connect(innocent4, 25)
			if got := c.Cmd("EHLO ylmf-pc"); lab.Code(got) != "250" {
				t.Errorf("EHLO ylmf-pc: %q", got)
			}
			c.Cmd("MAIL FROM:<\"a\x01b\"@example.net>")
			c.Quit()
			c = d.Connect(innocent4, 587)
			if got := c.Cmd("EHLO evil) [8.8.8.8]"); lab.Code(got) != "250" {
				t.Errorf("EHLO with brackets: %q", got)
			}
			c.Quit()
			d.guess(t, "5.5.5.5", 12, nil)
		}
		run := func() {
			for _, from := range []string{bad4, bad6, listed4, "6.6.6.6"} {
				d.expect(t, from, 25, "220", "")
			}
			for i := 1; i <= 12; i++ {
				d.expect(t, innocent4, 25, "220", "")
			}
			bot()
		}
		mark := len(d.Log())
		d.with(t, run, "CONNECT_STATE_RATELIMIT == enforce", "CONNECT_STATE_GREETING == enforce",
			"CONNECT_STATE_REVERSE == enforce", "CONNECT_STATE_SUITE == learn")
		l := d.Log()[mark:]
		for _, want := range []string{
			"[8.8.8.8] Warning: would deny: history (count 30, threshold 10)",
			"[185.220.101.1] Warning: would deny: listed at zen.spamhaus.org (127.0.0.4, score 1)",
			"[193.0.6.139] Warning: would defer: rate ",
			"[6.6.6.6] Warning: would deny: no reverse name",
			"[6.6.6.6] Warning: would delay: first visit",
			"connect-acl: would deny: HELO from [193.0.6.139]: bot name",
			"connect-acl: would deny: HELO from [193.0.6.139]: forged characters",
			"connect-acl: would deny: command from [193.0.6.139]: control characters",
			"connect-acl: would deny: too many failed logins from [5.5.5.5]",
		} {
			if !strings.Contains(l, want) {
				t.Errorf("the log has no %q", want)
			}
		}
		if strings.Contains(l, "rejected connection") || strings.Contains(l, history) {
			t.Errorf("learning refused somebody:\n%s", l)
		}

		d.forget()
		mark = len(d.Log())
		d.with(t, run, "CONNECT_STATE_RATELIMIT == enforce", "CONNECT_STATE_SUITE == off")
		if l := d.Log()[mark:]; strings.Contains(l, "would ") || strings.Contains(l, "Warning") {
			t.Errorf("off is not silent:\n%s", l)
		}
	})
}

// guess tries wrong passwords, one connection each, and hands each reply on: that
// to the connection where it is refused.
func (d *door) guess(t *testing.T, from string, times int, reply func(i int, got string)) {
	t.Helper()
	for i := 1; i <= times; i++ {
		c := d.Connect(from, 587)
		got := c.Greeting
		if lab.Code(got) == "220" {
			c.Cmd("EHLO client.example")
			c.StartTLS("client.example", "mail.example.org")
			got = c.AuthPlain("user@example.org", fmt.Sprint("guess ", i))
		}
		if reply != nil {
			reply(i, got)
		}
		if i%2 == 0 { // half of them hang up without a word
			c.Quit()
		} else {
			c.Close()
		}
		d.settled() // the failure is counted when Exim notices that the client is gone
	}
}

// putOff reports whether a reply refuses a guesser: at the connection, or at AUTH.
func putOff(reply string) bool { return lab.Code(reply) == "454" || lab.Code(reply) == "550" }

// settled waits until no Exim process serves a client any more.
func (d *door) settled() {
	deadline := time.Now().Add(10 * time.Second)
	for d.Serving() > 0 && time.Now().Before(deadline) {
		time.Sleep(2 * time.Millisecond) // between two looks at a condition
	}
}

func TestFailedLogins(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		mark := len(d.Log())
		d.guess(t, "5.5.5.5", 12, func(i int, got string) {
			switch {
			case i <= 10 && lab.Code(got) != "535":
				t.Errorf("try %d: %q; want 535", i, got)
			case i > 10 && !putOff(got):
				t.Errorf("try %d: %q; want 454", i, got)
			}
		})
		l := d.LogSince(t, mark, "connect-acl: too many failed logins from [5.5.5.5]")
		if n := strings.Count(l, "connect-acl: too many failed logins"); n != 1 {
			t.Errorf("that the host is a guesser is logged %d times", n)
		}
		if strings.Contains(l, "rejected AUTH") {
			t.Errorf("Exim's own line, with the client's words in it, is in the log:\n%s", l)
		}

		// Within one connection too. The command after that is one too many that is
		// no mail: Exim hangs up, and 4.100 says why (554).
		c := d.Connect("5.5.5.6", 587)
		c.Cmd("EHLO client.example")
		c.StartTLS("client.example", "mail.example.org")
		var replies []string
		for i := 0; i < 12; i++ {
			replies = append(replies, lab.Code(c.AuthPlain("user@example.org", fmt.Sprint("guess ", i))))
		}
		c.Close()
		if got, want := strings.Join(replies, " "), strings.Repeat("535 ", 10)+"454 "; got != want && got != want+"554" {
			t.Errorf("in one connection: %s; want %s, and no login after it", got, want)
		}

		// Logins that succeed never count, however many.
		for i := 1; i <= 15; i++ {
			c := d.Connect("5.5.5.7", 587)
			c.Cmd("EHLO client.example")
			c.StartTLS("client.example", "mail.example.org")
			if got := c.AuthPlain("user@example.org", "correct horse"); lab.Code(got) != "235" {
				t.Fatalf("login %d: %q", i, got)
			}
			c.Quit()
			d.settled()
		}
		// And their address has more room for a device with an old password.
		d.guess(t, "5.5.5.7", 15, func(i int, got string) {
			if lab.Code(got) != "535" {
				t.Errorf("try %d from where a user is: %q; want 535", i, got)
			}
		})
		// Nor does the history lock a user out, once the firewall has counted
		// those failures; on port 25 it is a host like any other.
		d.Root.History("5.5.5.7", 45)
		d.Root.History("5.5.5.8", 9)
		d.expect(t, "5.5.5.7", 587, "220", "")
		d.expect(t, "5.5.5.7", 465, "220", "")
		d.expect(t, "5.5.5.7", 25, "550", history)
		d.LogSince(t, mark, "[5.5.5.7] Warning: history passed over: a user has logged in from here lately (count 45, threshold 10)")
		// Others are not concerned.
		d.guess(t, "5.5.5.8", 1, func(_ int, got string) {
			if lab.Code(got) != "535" {
				t.Errorf("another host: %q; want 535", got)
			}
		})
	})
}

// When the password server is down no login can succeed, and none has failed:
// a user whose mail program goes on trying is no guesser.
func TestPasswordServerDown(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		d.Root.Write("etc/exim4/symbiosis.d/60-authenticators/30-down",
			"DOWN:\n  driver = dovecot\n  public_name = X-DOWN\n  server_socket = /run/dovecot/auth-client\n  server_set_id = $auth1\n", 0o644)
		d.Rebuild()
		for i := 1; i <= 15; i++ {
			c := d.Connect("5.5.5.9", 587)
			c.Cmd("EHLO client.example")
			c.StartTLS("client.example", "mail.example.org")
			for range 2 {
				if got := c.Cmd("AUTH X-DOWN"); lab.Code(got) != "435" {
					t.Errorf("connection %d: %q; want 435", i, got)
				}
			}
			c.Quit()
			d.settled()
		}
		d.guess(t, "5.5.5.9", 1, func(_ int, got string) {
			if lab.Code(got) != "535" {
				t.Errorf("when it is up again: %q; want 535, the answer to a wrong password", got)
			}
		})
	})
}

func TestHELO(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		// Offences are allowed here: a host that commits four has a test of its own.
		d.Root.Local("CONNECT_STATE_GREETING == off", "CONNECT_STATE_RATELIMIT == off", "CONNECT_STATE_OFFENCES == off")
		d.Rebuild()
		d.Root.Write("etc/exim4/refused_helo_names", "# mine\nwin-bot\n*.bot.example\n", 0o644)
		for _, name := range []string{"ylmf-pc", "YLMF-PC", "win-bot", "a.bot.example"} {
			mark := len(d.Log())
			c := d.Connect(innocent4, 25)
			if got := c.Cmd("EHLO %s", name); lab.Code(got) != "550" {
				t.Errorf("EHLO %s: %q; want 550", name, got)
			}
			c.Close()
			l := d.LogSince(t, mark, "connect-acl: refused HELO from ["+innocent4+"]: bot name")
			if strings.Contains(strings.ToLower(l), name) {
				t.Errorf("the client's name is in the log:\n%s", l)
			}
		}
		for _, name := range []string{
			"[8.8.8.8] AUTH command used when not advertised",
			"evil) [8.8.8.8]: 535 Incorrect authentication data",
			strings.Repeat("a.", 150) + "example",
			"evil [8.8.8.8]", "(evil", `"evil"`, "a\tb[c", "a\x01b", "[8.8.8.8", "[]", `back\slash`, "(None)", "((none))", "(none)x",
		} {
			for _, port := range []int{465, 587} { // on 25 Exim itself refuses such names
				mark := len(d.Log())
				c := d.Connect(innocent4, port)
				if got := c.Cmd("EHLO %s", name); lab.Code(got) == "250" {
					t.Errorf("EHLO %q on %d: %q; want a refusal", name, port, got)
				}
				c.Close()
				if l := d.LogSince(t, mark, "connect-acl: refused HELO from ["+innocent4+"]: forged characters"); strings.Contains(l, "8.8.8.8") {
					t.Errorf("the client's words are in the log:\n%s", l)
				}
			}
		}
		friend := d.Connect("10.1.2.3", 587) // known hosts say what they like
		if got := friend.Cmd("EHLO (my) [laptop]"); lab.Code(got) != "250" {
			t.Errorf("EHLO from a known host: %q; want 250", got)
		}
		friend.Quit()
		fine := []string{
			"client.example", "[192.168.1.7]", "[IPv6:fe80::1]", "[2001:db8::1]", "my_laptop", "Jane's", "Jane's iPhone",
			"Jane\u2019s iPhone", "localhost.localdomain", "WIN-4A6", "-", "a.b", "(none)",
		}
		if strings.HasPrefix(d.Root.Suite.Exim, "4.98") { // others end the session by themselves
			fine = append(fine, "[IPv6:fe80::1%wlan0]", "[fe80::1%eth0]")
		}
		for _, name := range fine {
			c := d.Connect(innocent4, 587)
			if got := c.Cmd("EHLO %s", name); lab.Code(got) != "250" {
				t.Errorf("EHLO %q: %q; want 250", name, got)
			}
			c.Quit()
		}
	})
}

// A line of the administrator's list that cannot be used refuses nobody, and
// the lines beside it are in force.
func TestHELOList(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		// Offences are allowed here: a host that commits four has a test of its own.
		d.Root.Local("CONNECT_STATE_GREETING == off", "CONNECT_STATE_RATELIMIT == off", "CONNECT_STATE_OFFENCES == off")
		d.Rebuild()
		const list = "etc/exim4/refused_helo_names"
		answers := func(about, name, want string) {
			t.Helper()
			c := d.Connect(innocent4, 587)
			defer c.Close()
			if got := c.Cmd("EHLO %s", name); lab.Code(got) != want {
				t.Errorf("%s: EHLO %q: %q; want %s", about, name, got, want)
			}
		}
		for _, line := range []string{
			"^bot[", "^", "^.", "^(a+)+$", "^client", "*", "* ", "", " ", ":", "name:", "#", "!client.example", "!x", "@", "@[]", "+hosts",
			"lsearch;/etc/passwd", "net-iplsearch;/etc/passwd", "sqlite;SELECT 1", "${if", "$sender_helo_name", "\\N^.\\N", "<;", "}", "{", "\"", "\xff\xfe", "\x00",
			strings.Repeat("x", 70000),
		} {
			d.Root.Write(list, line+"\nwin-bot\n "+line+"\n*.bot.example\n", 0o644)
			about := fmt.Sprintf("%.20q in the list", line)
			answers(about, "client.example", "250")
			answers(about, "example", "250") // shorter than what a name in the list must end with
			if line != "\x00" {              // Exim reads no further
				answers(about, "win-bot", "550")
				answers(about, "A.bot.example", "550")
			}
			answers(about, "ylmf-pc", "550")
		}
		d.Root.Write(list, "\twin-bot: a botnet\r\nplain # of a kind\nwindows\r\n*-bot\r\n", 0o644)
		for name, want := range map[string]string{"win-bot": "550", "plain": "550", "windows": "550", "my-bot": "550", "-bot": "550", "bot": "250", "a": "250", "client.example": "250"} {
			answers("comments", name, want)
		}
		for _, step := range []struct{ about, do string }{
			{"unreadable", "chmod 600 /" + list},
			{"a directory", "rm /" + list + "; mkdir /" + list},
			{"missing", "rmdir /" + list},
		} {
			d.Root.Run("sh", "-c", step.do)
			answers(step.about, "client.example", "250")
			answers(step.about, "ylmf-pc", "550")
		}
	})
}

// What a client may say in other commands without getting into the log.
func TestForgedCommands(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		// Offences are allowed here: a host that commits four has a test of its own.
		d.Root.Local("CONNECT_STATE_GREETING == off", "CONNECT_STATE_RATELIMIT == off", "CONNECT_STATE_OFFENCES == off")
		d.Rebuild()
		c := d.Connect(innocent4, 587)
		defer c.Close()
		c.Cmd("EHLO client.example")
		c.StartTLS("client.example", "mail.example.org")
		for _, tt := range []struct{ cmd, log string }{
			{"AUTH PLAIN x\" H=(a) [8.8.8.8] AUTH command used", "connect-acl: refused AUTH from [" + innocent4 + "]: forged characters"},
			{"ETRN a\r[8.8.8.8]", "connect-acl: refused command from [" + innocent4 + "]: control characters"},
			// These Exim refuses by itself, before it asks an ACL.
			{"MAIL FROM:<a@b\r[8.8.8.8]>", ""},
			{"VRFY a\r[8.8.8.8]", ""},
		} {
			mark := len(d.Log())
			if got := c.Cmd("%s", tt.cmd); lab.Code(got) < "400" {
				t.Errorf("%q: %q; want a refusal", tt.cmd, got)
			}
			if l := d.LogSince(t, mark, tt.log); strings.Contains(l, "8.8.8.8") {
				t.Errorf("the client's words are in the log:\n%s", l)
			}
		}
		// Ordinary commands go on.
		if got := c.AuthPlain("user@example.org", "correct horse"); lab.Code(got) != "235" {
			t.Errorf("AUTH: %q", got)
		}
		if got := c.Cmd("MAIL FROM:<user@example.org>"); lab.Code(got) != "250" {
			t.Errorf("MAIL: %q", got)
		}
		if got := c.Cmd("RCPT TO:<user@example.org>"); lab.Code(got) != "250" {
			t.Errorf("RCPT: %q", got)
		}
	})
}

// A bot that talks before the greeting is turned away; a host that waited once
// is not kept waiting again.
func TestGreetingDelay(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		d.with(t, func() {
			early := func(from string) string {
				conn, err := d.Net.Dial(from, 25)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(30 * time.Second))
				fmt.Fprintf(conn, "EHLO ylmf.example\r\n")
				line, _ := bufio.NewReader(conn).ReadString('\n')
				return line
			}
			mark := len(d.Log())
			if got := early("6.6.6.6"); lab.Code(got) != "554" {
				t.Errorf("a bot that does not wait: %q; want 554", got)
			}
			d.LogSince(t, mark, "SMTP protocol synchronization error")
			c := d.Connect(innocent4, 25)
			if got := c.Cmd("EHLO client.example"); lab.Code(got) != "250" {
				t.Errorf("a host that waits: %q", got)
			}
			c.Quit()
			d.settled()
			// The bot is not known for having been turned away.
			if got := early("6.6.6.6"); lab.Code(got) != "554" {
				t.Errorf("the bot again: %q; want 554", got)
			}
			if got := early("9.9.9.9"); lab.Code(got) != "554" {
				t.Errorf("another bot: %q; want 554", got)
			}
		}, "CONNECT_STATE_GREETING == enforce")
		// Who is kept waiting shows in what the learning rule says.
		d.with(t, func() {
			for from, waits := range map[string]bool{innocent4: false, "6.6.6.6": true, "9.9.9.9": true, innocent6: true} {
				mark := len(d.Log())
				d.expect(t, from, 25, "220", "")
				if got := strings.Contains(d.Log()[mark:], "would delay: first visit"); got != waits {
					t.Errorf("%s would wait: %v; want %v", from, got, waits)
				}
			}
		}, "CONNECT_STATE_GREETING == learn")
	})
}

func TestReverseName(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		d.DNS.Behave("2.6.6.in-addr.arpa", lab.Rcode(dns.RcodeServerFailure))
		d.DNS.Add(t, "4.6.6.6.in-addr.arpa. 60 IN PTR elsewhere.example.") // does not point back
		d.with(t, func() {
			d.expect(t, innocent4, 25, "220", "")
			d.expect(t, innocent6, 25, "220", "")
			d.expect(t, "6.6.2.1", 25, "220", "") // the resolver fails
			d.expect(t, "6.6.6.4", 25, "220", "") // a name, if a wrong one
			d.expect(t, "6.6.6.6", 25, "550", "has no reverse DNS name")
			d.expect(t, "2a03::1", 25, "550", "has no reverse DNS name")
			d.expect(t, "6.6.6.6", 587, "220", "")
		}, "CONNECT_STATE_REVERSE == enforce")
	})
}

// DNS lists that misbehave refuse nobody, and are named in the log.
func TestDNSBLs(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		for _, tt := range []struct {
			name   string
			behave lab.Behaviour
			log    string
		}{
			{"public resolver", lab.AlwaysA("127.255.255.254"), "public"},
			{"too many queries", lab.AlwaysA("127.255.255.255"), "too many"},
			{"unknown code", lab.AlwaysA("127.0.0.99"), ""},
			{"hijacked", lab.AlwaysA("203.0.113.80"), ""},
			{"SERVFAIL", lab.Rcode(dns.RcodeServerFailure), "SERVFAIL"},
			{"REFUSED", lab.Rcode(dns.RcodeRefused), "REFUSED"},
			{"silent", lab.Silent, "no answer"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				d.DNS.Behave(zen, tt.behave)
				defer d.DNS.Behave(zen, nil)
				mark := len(d.Log())
				d.expect(t, innocent4, 25, "220", "")
				d.expect(t, innocent6, 25, "220", "")
				if tt.log != "" {
					if l := d.LogSince(t, mark, "DNSBL check: "); !strings.Contains(l, tt.log) || !strings.Contains(l, zen) {
						t.Errorf("the log does not name %s and %q:\n%s", zen, tt.log, l)
					}
				}
				// The other lists still count.
				d.DNS.List(t, spamcop, "7.7.7.7", "127.0.0.2", "Blocked - see https://www.spamcop.net/bl.shtml?7.7.7.7")
				d.expect(t, "7.7.7.7", 25, "550", "7.7.7.7 is blacklisted at "+spamcop)
			})
		}
		t.Run("hostile text", func(t *testing.T) {
			d.DNS.Add(t, "8.7.7.7."+zen+". 60 IN A 127.0.0.2",
				`8.7.7.7.`+zen+`. 60 IN TXT "quote \" brace } dollar ${run{x}} \013\010250 OK\013\010 \200\255 back\\slash"`)
			c := d.Connect("7.7.7.8", 25)
			if lab.Code(c.Greeting) != "550" || strings.Contains(c.Greeting, "\n250") || !strings.Contains(c.Greeting, "blacklisted at "+zen) {
				t.Errorf("%q", c.Greeting)
			}
			for _, b := range []byte(strings.ReplaceAll(c.Greeting, "\n", "")) {
				if b < ' ' || b > '~' {
					t.Errorf("byte %#x in the reply %q", b, c.Greeting)
				}
			}
			c.Close()
		})
		t.Run("all lists dead", func(t *testing.T) {
			for _, z := range []string{zen, barracuda, spamcop} {
				d.DNS.Behave(z, lab.Silent)
				defer d.DNS.Behave(z, nil)
			}
			c := d.Connect(innocent4, 25)
			defer c.Quit()
			// Exim's own dnslists would take ten seconds a list. This guards
			// against that, not the exact deadline.
			if lab.Code(c.Greeting) != "220" || c.Wait > 9*time.Second {
				t.Errorf("greeted with %q after %v", c.Greeting, c.Wait)
			}
		})
		t.Run("weights and lists for users", func(t *testing.T) {
			d.DNS.List(t, "list.dnswl.org", listed4, "127.0.5.2", "friend.example")
			d.DNS.List(t, spamcop, homeUser, "127.0.0.2", "see")
			d.with(t, func() {
				d.expect(t, listed4, 25, "220", "")
				d.expect(t, homeUser, 25, "550", "is blacklisted at")
				d.expect(t, homeUser, 587, "220", "") // the PBL is not asked there
			}, "CHECK_CONNECT_IP_DNSBLS == zen.spamhaus.org=127.0.0.[2..11]*2 : bl.spamcop.net=127.0.0.2 : list.dnswl.org=127.0.[0..255].[1..3]*-2",
				"CHECK_CONNECT_DNSBL_THRESHOLD == 2",
				"CHECK_SUBMISSION_IP_DNSBLS == zen.spamhaus.org=127.0.0.[2;3;9]")
		})
	})
}

// Mail itself, with every rule enforced: a message comes in on 25, users log
// in and submit on 587 and 465.
func TestOrdinaryMail(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		d.with(t, func() {
			c := d.Connect(innocent4, 25)
			c.Cmd("EHLO mx.innocent.example")
			c.StartTLS("mx.innocent.example", "mail.example.org")
			for _, step := range []struct{ cmd, want string }{
				{"MAIL FROM:<a@innocent.example>", "250"},
				{"RCPT TO:<user@example.org>", "250"},
				{"DATA", "354"},
				{"Subject: hello\r\n\r\nfrom outside\r\n.", "250"},
			} {
				if got := c.Cmd("%s", step.cmd); lab.Code(got) != step.want {
					t.Fatalf("%s: %q", step.cmd, got)
				}
			}
			c.Quit()
			d.LogSince(t, 0, "=> user <user@example.org>")
			for _, port := range []int{587, 465} {
				c := d.Connect(homeUser, port)
				c.Cmd("EHLO [192.168.1.7]")
				if port == 587 {
					c.StartTLS("[192.168.1.7]", "mail.example.org")
				}
				if got := c.AuthPlain("user@example.org", "correct horse"); lab.Code(got) != "235" {
					t.Fatalf("port %d: %q", port, got)
				}
				for _, step := range []struct{ cmd, want string }{
					{"MAIL FROM:<user@example.org>", "250"},
					{"RCPT TO:<friend@elsewhere.example>", "250"},
					{"DATA", "354"},
					{"Subject: hello\r\n\r\nfrom a user\r\n.", "250"},
				} {
					if got := c.Cmd("%s", step.cmd); lab.Code(got) != step.want {
						t.Fatalf("port %d: %s: %q", port, step.cmd, got)
					}
				}
				c.Quit()
			}
			d.LogSince(t, 0, "=> friend <friend@elsewhere.example>")
		}, "CONNECT_STATE_GREETING == enforce", "CONNECT_STATE_RATELIMIT == enforce", "CONNECT_STATE_REVERSE == enforce")
	})
}

// The lists for users leave out what port 25 is asked about: to have passed
// them does not spare a host the others.
func TestUsersListsDoNotSpareOthers(t *testing.T) {
	d := open(t, lab.DefaultSuite)
	d.with(t, func() {
		c := d.Connect(homeUser, 587)
		if got := c.Cmd("EHLO client.example"); lab.Code(got) != "250" {
			t.Errorf("EHLO on 587: %q", got)
		}
		c.Quit()
		d.settled()
		d.expect(t, homeUser, 25, "550", homeUser+" is blacklisted at "+zen)
		d.expect(t, homeUser, 587, "220", "")
	}, "CHECK_SUBMISSION_IP_DNSBLS == "+zen+"=127.0.0.[2;3;9]")
}

// A clock that is set back while a stranger waits for his greeting does not
// make him wait for as long as it was wrong.
func TestClockSetBack(t *testing.T) {
	d := open(t, lab.DefaultSuite)
	d.Root.Write("etc/exim4/symbiosis.d/10-acl/10-acl-check-connect/16-clock",
		"  warn  set acl_c_connect_begin = ${eval10:$acl_c_connect_begin + 3600000000}\n", 0o644)
	d.with(t, func() {
		d.expect(t, innocent4, 25, "220", "")
	}, "CONNECT_STATE_GREETING == enforce")
}
