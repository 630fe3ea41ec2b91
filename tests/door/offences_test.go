package door

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"symbiosis-connect-acl/tests/lab"
)

// What Exim refuses itself refuses the host at the next connection, and not the
// hosts of users on the users' ports.
func TestRecentOffences(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		helo := func(from string, port int) {
			c := d.Connect(from, port)
			if got := c.Cmd("EHLO ylmf-pc"); lab.Code(got) != "550" {
				t.Errorf("EHLO ylmf-pc: %q", got)
			}
		}
		notOffered := func(from string, n int) {
			c := d.Connect(from, 25)
			c.Cmd("EHLO client.example")
			for range n {
				if got := c.Cmd("AUTH LOGIN"); lab.Code(got) != "503" {
					t.Errorf("AUTH where it is not offered: %q", got)
				}
			}
			c.Quit()
			d.settled()
		}
		row := func(from, column string) string {
			return d.Root.Hosts("select " + column + " from host where net = '" + from + "'")
		}

		// The fourth offence is one too many, whichever they are.
		const bot = "5.5.5.1"
		helo(bot, 25)
		notOffered(bot, 2)
		d.expect(t, bot, 25, "220", "")
		helo(bot, 587)
		if got := row(bot, "offences || ' ' || offence_kind"); got != "4 helo" {
			t.Errorf("the row says %q", got)
		}
		mark := len(d.Log())
		for _, port := range []int{25, 587} {
			d.expect(t, bot, port, "550", history)
		}
		d.LogSince(t, mark, "Blacklisted: Denied access - recent offences (4 in 24 hours, limit 3, the last: helo)")
		// On 465 later Exims can say why at HELO only.
		c := d.Connect(bot, 465)
		got := c.Greeting
		if lab.Code(got) == "220" {
			got = c.Cmd("EHLO client.example")
		}
		if lab.Code(got) != "550" || !strings.Contains(got, history) {
			t.Errorf("on 465: %q", got)
		}
		c.Close()
		// A day later it is over.
		d.Root.Hosts("update host set offences_since = offences_since - 86401 where net = '" + bot + "'")
		d.expect(t, bot, 25, "220", "")
		if notOffered(bot, 1); row(bot, "offences") != "1" {
			t.Errorf("a day later the row has %s offences", row(bot, "offences"))
		}

		// AUTH that Exim listens to is no offence, nor one that it refuses because of
		// its order.
		const user = "5.5.5.2"
		c = d.encrypted(user)
		if got := c.AuthPlain("user@example.org", "correct horse"); lab.Code(got) != "235" {
			t.Errorf("a right password: %q", got)
		}
		c.Cmd("AUTH PLAIN AHVzZXI=")
		c.Quit()
		d.settled()
		if got := row(user, "offences || ' ' || (login > 0)"); got != "0 1" {
			t.Errorf("a user who says AUTH twice: %q", got)
		}
		// A user's host has a broken program: its users log in all the same.
		for range 4 {
			helo(user, 587)
		}
		d.expect(t, user, 587, "220", "")
		d.expect(t, user, 465, "220", "")
		d.expect(t, user, 25, "550", history)

		// A host that is known commits none.
		d.Root.Write("etc/exim4/whitelist_connect_hosts", "5.5.5.3\n", 0o644)
		notOffered("5.5.5.3", 3)
		if got := row("5.5.5.3", "offences"); got != "" {
			t.Errorf("a known host has %s offences", got)
		}

		// One word in brackets is what a known mail library says.
		c = d.Connect("5.5.5.4", 587)
		if got := c.Cmd("EHLO [Windows.Networking.Connectivity.IPInformation]"); lab.Code(got) != "250" {
			t.Errorf("one word in brackets: %q", got)
		}
		c.Quit()

		// A guesser is out for a day, but not where users come from.
		d.Root.Hosts("insert into host (net, guesser, login) values ('5.5.5.5', strftime('%s','now'), 0), ('5.5.5.6', strftime('%s','now'), strftime('%s','now'))")
		d.expect(t, "5.5.5.5", 25, "550", history)
		d.expect(t, "5.5.5.5", 587, "550", history)
		d.expect(t, "5.5.5.6", 587, "220", "")
		d.Root.Hosts("update host set guesser = guesser - 86401 where net = '5.5.5.5'")
		d.expect(t, "5.5.5.5", 25, "220", "")

		// A clock that was ahead for a while keeps nobody out for longer.
		d.Root.Hosts("insert into host (net, guesser) values ('5.5.5.8', strftime('%s','now') + 864000)")
		d.expect(t, "5.5.5.8", 587, "220", "")
		// While nobody knows who is a user, none is refused on the users' ports.
		d.Root.Hosts("update host set guesser = strftime('%s','now') where net = '5.5.5.8'; insert into state values ('lost', strftime('%s','now') - 86400)")
		d.expect(t, "5.5.5.8", 587, "220", "")
		d.expect(t, "5.5.5.8", 25, "550", history)
		d.Root.Hosts("delete from state where name = 'lost'")
		d.expect(t, "5.5.5.8", 587, "550", history)

		// Learn refuses nobody, and off says nothing. Nor does a limit that is none.
		for range 4 {
			helo("5.5.5.7", 25)
		}
		for setting, says := range map[string]string{
			"CONNECT_STATE_OFFENCES == learn":    "Warning: would deny: recent offences (4 in 24 hours",
			"CONNECT_RECENT_OFFENCES == -1":      `offences check skipped: the limit "-1"`,
			"CONNECT_STATE_OFFENCES == off":      "",
			"CONNECT_RECENT_OFFENCES == 4":       "",
			"CONNECT_PORTS_OFFENCES == 465: 587": "",
		} {
			mark := len(d.Log())
			d.with(t, func() { d.expect(t, "5.5.5.7", 25, "220", "") }, setting)
			if l := d.Log()[mark:]; says != "" && !strings.Contains(l, says) || says == "" && strings.Contains(l, "offences") {
				t.Errorf("with %s the log says\n%s", setting, l)
			}
		}
	})
}

// Who has proved himself passes, and after a long time without an offence
// everybody gets a second chance.
func TestHistoryPassedOver(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		// set makes a row; a column's number is days ago, unless it is history or offences.
		set := func(net, columns string) {
			d.Root.Hosts("insert or replace into host (net) values ('" + net + "')")
			for _, c := range strings.Fields(columns) {
				name, value, _ := strings.Cut(c, "=")
				if name != "history" {
					value = "strftime('%s','now') - 86400*" + value
				}
				d.Root.Hosts("update host set " + name + " = " + value + " where net = '" + net + "'")
			}
		}
		const host = "7.7.7.7"
		for _, x := range []struct{ columns, on25, on587, says string }{
			{"history=30 history_passed=10", "550", "550", ""},
			{"history=30 history_passed=89", "550", "550", ""},
			{"history=30 history_passed=91", "220", "220", "history passed over: on parole, the last offence is 91 days ago (count 30, threshold 10)"},
			{"history=30 history_passed=91 offence=1", "550", "550", ""},
			{"history=30", "550", "550", ""},
			{"history=100 history_passed=10 delivered=1 delivered_before=3", "220", "550", "history passed over: a proven sender (count 100, threshold 10, for senders 100)"},
			{"history=101 history_passed=10 delivered=1 delivered_before=3", "550", "550", ""},
			{"history=30 history_passed=10 delivered=1 delivered_before=3 offence=2", "550", "550", ""},
			{"history=30 history_passed=10 delivered=1", "550", "550", ""},
			{"history=1000 history_passed=10 login=3", "550", "220", "history passed over: a user has logged in"},
		} {
			set(host, x.columns)
			mark := len(d.Log())
			d.expect(t, host, 25, x.on25, "")
			d.expect(t, host, 587, x.on587, "")
			if l := d.Log()[mark:]; !strings.Contains(l, x.says) || x.says == "" && strings.Contains(l, "passed over") {
				t.Errorf("%s: the log says\n%s", x.columns, l)
			}
			if t.Failed() {
				t.Fatalf("%s", x.columns)
			}
		}
		// The next offence of a host on parole refuses it at once.
		set(host, "history=30 history_passed=91")
		c := d.Connect(host, 25)
		c.Cmd("EHLO ylmf-pc")
		d.expect(t, host, 25, "550", history)
		for _, value := range []string{"0", "0d", "soon"} {
			set(host, "history=30 history_passed=910")
			d.with(t, func() { d.expect(t, host, 25, "550", history) }, "CONNECT_PAROLE == "+value)
		}
	})
}

// A client that does not wait for its greeting would be a stranger for ever.
func TestImpatientClient(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		d.with(t, func() {
			const host = "5.6.7.8"
			mark := len(d.Log())
			// As the cron job does: whoever looks below is not the last to close it.
			defer d.hold(t, "SELECT count(*) FROM host")()
			for i := 1; i <= 3; i++ {
				d.settled() // so that whom Exim serves then is this one
				c, err := d.Net.Dial(host, 25)
				if err != nil {
					t.Fatal(err)
				}
				for d.Serving() == 0 {
					time.Sleep(2 * time.Millisecond) // between two looks at a condition
				}
				c.Close()
				lost := func() string { return d.Root.Hosts("select lost from host where net = '" + host + "'") }
				for deadline := time.Now().Add(10 * time.Second); lost() != fmt.Sprint(i); {
					if time.Now().After(deadline) {
						t.Fatalf("after connection %d the row says %q", i, lost())
					}
				}
			}
			d.expect(t, host, 25, "220", "")
			if l := d.Log()[mark:]; strings.Contains(l, "synchronization error") {
				t.Errorf("the log says\n%s", l)
			}
			// Nothing speaks for it: it has not waited.
			c := d.Connect(host, 25)
			c.Cmd("EHLO client.example")
			c.Quit()
			d.settled()
			if got := d.Root.Hosts("select greeted from host where net = '" + host + "'"); got != "0" {
				t.Errorf("greeted: %s", got)
			}
		}, "CONNECT_STATE_GREETING == enforce", "CONNECT_GREETING_DELAY == 2")
	})
}

// Where the administrator has ACLs of his own for the end of a session, the
// host is remembered all the same.
func TestOwnQuitACL(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		d.Root.Write("etc/exim4/symbiosis.d/00-main/19-own-quit", "CONNECT_ACL_QUIT_IS_TAKEN = yes\nacl_smtp_quit = own_quit\n", 0o644)
		d.Root.Write("etc/exim4/symbiosis.d/10-acl/05-own-quit", "own_quit:\n  accept\n\n", 0o644)
		d.with(t, func() {
			c := d.Connect("5.6.7.9", 587)
			c.Cmd("EHLO client.example")
			c.StartTLS("client.example", "mail.example.org")
			if got := c.AuthPlain("user@example.org", "correct horse"); lab.Code(got) != "235" {
				t.Errorf("login: %q", got)
			}
			c.Cmd("MAIL FROM:<user@example.org>")
			c.Cmd("RCPT TO:<user@example.org>")
			c.Cmd("DATA")
			if got := c.Cmd("Subject: a test\r\n\r\nx\r\n."); lab.Code(got) != "250" {
				t.Errorf("delivery: %q", got)
			}
			c.Quit()
			c = d.Connect("5.6.7.9", 25)
			c.Cmd("EHLO client.example")
			c.Quit()
			if got := d.Root.Hosts("select (greeted > 0) || (lists_passed > 0) || (login > 0) || (delivered > 0) from host where net = '5.6.7.9'"); got != "1111" {
				t.Errorf("greeted, lists_passed, login, delivered: %q", got)
			}
		}, "CONNECT_STATE_GREETING == enforce", "CONNECT_GREETING_DELAY == 1")
	})
}
