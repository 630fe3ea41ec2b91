package door

import (
	"bufio"
	"fmt"
	"strings"
	"testing"
	"time"

	"symbiosis-connect-acl/tests/lab"
)

// login logs in on port 587 with the right password, and gives the last reply.
func (d *door) login(from string) string {
	c := d.Connect(from, 587)
	defer func() { c.Quit(); d.settled() }()
	if lab.Code(c.Greeting) != "220" {
		return c.Greeting
	}
	c.Cmd("EHLO client.example")
	c.StartTLS("client.example", "mail.example.org")
	return c.AuthPlain("user@example.org", "correct horse")
}

// A number that a rule cannot use switches the rule off and not the server:
// everyone is let in, even a host that the rule would be right about, and the
// log says for each visit once that nobody was asked.
func TestUnusableNumbers(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		for _, lines := range [][]string{
			{"CONNECT_AUTH_FAILURES == 0", "CHECK_CONNECT_RATELIMIT == 0 / 15m", "SYMBIOSIS_INCIDENT_THRESHOLD == -1"},
			{"CONNECT_AUTH_LENIENCY == 0", "CHECK_CONNECT_RATELIMIT == 1 / 15m", "SYMBIOSIS_INCIDENT_THRESHOLD =="},
			{"CONNECT_AUTH_PERIOD == 0h", "CHECK_CONNECT_RATELIMIT == 10 / 0m", "SYMBIOSIS_INCIDENT_THRESHOLD == ten"},
			{"CONNECT_AUTH_PERIOD == 9999999999w", "CHECK_CONNECT_RATELIMIT == 10 / 9999999999w", "SYMBIOSIS_INCIDENT_THRESHOLD == 99999999999999999999"},
			{"CONNECT_AUTH_FAILURES == 99999999999999999999", "CHECK_CONNECT_RATELIMIT == 99999999999999999999 / 15m", "SYMBIOSIS_INCIDENT_THRESHOLD == 1.5"},
			{"CONNECT_AUTH_FAILURES == -1", "CHECK_CONNECT_RATELIMIT == -1 / 15m", "SYMBIOSIS_INCIDENT_THRESHOLD == 1e3"},
			{"CONNECT_AUTH_FAILURES ==", "CHECK_CONNECT_RATELIMIT ==", "SYMBIOSIS_INCIDENT_THRESHOLD == 10 or so"},
			{"CONNECT_AUTH_PERIOD == 4000w", "CHECK_CONNECT_RATELIMIT == 10 / 4000w", "SYMBIOSIS_INCIDENT_THRESHOLD == 0x10"},
			{"CONNECT_AUTH_FAILURES == 0", "CHECK_CONNECT_RATELIMIT == 0 / 15m", "SYMBIOSIS_INCIDENT_THRESHOLD == -1", "CONNECT_STATE_SUITE == learn"},
		} {
			t.Run(strings.Join(lines, ", "), func(t *testing.T) {
				d.forget()
				d.with(t, func() {
					once := func(mark int, words string) {
						t.Helper()
						since := d.LogSince(t, mark, words)
						if n := strings.Count(since, "skipped"); n != 1 {
							t.Errorf("the log says %d times that something was skipped; want once %q:\n%s", n, words, since)
						}
					}
					for range 2 {
						mark := len(d.Log())
						d.expect(t, innocent4, 25, "220", "")
						once(mark, "rate check skipped: ")
						mark = len(d.Log())
						if got := d.login(innocent4); lab.Code(got) != "235" {
							t.Errorf("a user's login: %q", got)
						}
						once(mark, "AUTH check skipped: CONNECT_AUTH_FAILURES, ")
					}
					mark := len(d.Log())
					d.expect(t, bad4, 587, "220", "")
					once(mark, "history check skipped: the threshold ")
					d.expect(t, "9.9.9.9", 587, "220", "") // a host with less than the shipped threshold
					mark = len(d.Log())
					d.guess(t, "5.5.5.5", 1, func(_ int, got string) {
						if lab.Code(got) != "535" {
							t.Errorf("a wrong password: %q; want 535", got)
						}
					})
					once(mark, "AUTH check skipped: ")
				}, append(lines, "CONNECT_STATE_RATELIMIT == enforce")...)
			})
		}
	})
}

// A brace or a dollar sign in a setting is an error in whatever Exim expands it
// in. It may switch rules off, and nothing else.
func TestBracesInSettings(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		for _, rest := range []string{" }", " ${if", " $nonsense"} {
			t.Run(rest, func(t *testing.T) {
				d.forget()
				d.with(t, func() {
					for _, port := range []int{25, 465, 587} {
						d.expect(t, innocent4, port, "220", "")
					}
					if got := d.login(innocent4); lab.Code(got) != "235" {
						t.Errorf("a user's login: %q", got)
					}
					c := d.Connect(innocent4, 25)
					if got := c.Cmd("EHLO client.example"); lab.Code(got) != "250" {
						t.Errorf("EHLO: %q", got)
					}
					c.Quit()
				}, "CONNECT_STATE_GREETING == enforce", "CONNECT_STATE_REVERSE == enforce", "CONNECT_STATE_RATELIMIT == enforce",
					"SYMBIOSIS_INCIDENT_THRESHOLD == 10"+rest, "CHECK_CONNECT_RATELIMIT == 10 / 15m"+rest,
					"CONNECT_AUTH_FAILURES == 10"+rest, "CONNECT_AUTH_LENIENCY == 10"+rest, "CONNECT_AUTH_PERIOD == 1h"+rest, "CONNECT_ACCOUNT_HOSTS == 10"+rest,
					"CONNECT_GREETING_DELAY == 2"+rest, "CONNECT_GREETING_BUSY == 30"+rest)
				d.forget()
				d.with(t, func() {
					for _, port := range []int{25, 465, 587} {
						d.expect(t, innocent4, port, "220", "")
					}
					if got := d.login(innocent4); lab.Code(got) != "235" {
						t.Errorf("states: a user's login: %q", got)
					}
				}, "CONNECT_STATE_HISTORY == enforce"+rest, "CONNECT_STATE_RATELIMIT == enforce"+rest, "CONNECT_STATE_DNSBLS == enforce"+rest,
					"CONNECT_STATE_GREETING == enforce"+rest, "CONNECT_STATE_REVERSE == enforce"+rest, "CONNECT_STATE_AUTH == enforce"+rest, "CONNECT_STATE_ACCOUNT == enforce"+rest)
				greeted := func() {
					for _, port := range []int{25, 465, 587} {
						c := d.Connect(innocent4, port)
						if lab.Code(c.Greeting) != "220" {
							t.Errorf("port %d: greeted with %q", port, c.Greeting)
						}
						for _, name := range []string{"client.example", "[192.168.1.7]", "example"} {
							if got := c.Cmd("EHLO %s", name); lab.Code(got) != "250" {
								t.Errorf("port %d: EHLO %s: %q", port, name, got)
							}
						}
						c.Quit()
					}
					if got := d.login(innocent4); lab.Code(got) != "235" {
						t.Errorf("a user's login: %q", got)
					}
				}
				d.with(t, greeted, "CONNECT_STATE_HELO == enforce"+rest)
				d.with(t, greeted, "CONNECT_REFUSED_NAMES_FILE == /etc/exim4/refused_helo_names"+rest)
				d.with(t, greeted, "CONNECT_STATE_GREETING == enforce", "CONNECT_STATE_REVERSE == enforce", "CONNECT_STATE_RATELIMIT == enforce",
					"CONNECT_STATE_SUITE == enforce"+rest)
				d.with(t, func() {
					for _, port := range []int{25, 465, 587} {
						d.expect(t, innocent4, port, "220", "")
					}
				}, "CONNECT_STATE_GREETING == enforce", "CONNECT_STATE_REVERSE == enforce", "CONNECT_STATE_RATELIMIT == enforce",
					"CONNECT_PORTS_HISTORY == 25"+rest, "CONNECT_PORTS_RATELIMIT == 25"+rest, "CONNECT_PORTS_DNSBLS == 25"+rest,
					"CONNECT_PORTS_GREETING == 25"+rest, "CONNECT_PORTS_REVERSE == 25"+rest)
				d.with(t, func() {
					for _, port := range []int{25, 465, 587} {
						d.expect(t, innocent4, port, "220", "")
					}
				}, "CHECK_CONNECT_IP_DNSBLS == zen.spamhaus.org=127.0.0.2"+rest, "CHECK_SUBMISSION_IP_DNSBLS == zen.spamhaus.org=127.0.0.2"+rest,
					"CHECK_CONNECT_DNSBL_THRESHOLD == 1"+rest, "CHECK_CONNECT_DNSBL_TIMEOUT == 2s"+rest, "SYMBIOSIS_INCIDENT_DATABASE == /var/lib/symbiosis/firewall-blacklist-count.db"+rest)
			})
		}
	})
}

// The smallest and the largest numbers that the rules take are numbers that
// Exim can work with.
func TestExtremeNumbers(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		mark := len(d.Log())
		d.with(t, func() {
			for range 3 {
				d.expect(t, innocent4, 25, "220", "")
				if got := d.login(innocent4); lab.Code(got) != "235" {
					t.Errorf("a user's login: %q", got)
				}
			}
			d.expect(t, bad4, 25, "220", "")
			d.guess(t, "5.5.5.5", 3, func(i int, got string) {
				if lab.Code(got) != "535" {
					t.Errorf("try %d: %q; want 535", i, got)
				}
			})
		}, "CONNECT_STATE_RATELIMIT == enforce", "CHECK_CONNECT_RATELIMIT == 999999.999 / 999w999w999w", "SYMBIOSIS_INCIDENT_THRESHOLD == 999999999",
			"CONNECT_AUTH_FAILURES == 999999", "CONNECT_AUTH_LENIENCY == 999999", "CONNECT_AUTH_PERIOD == 999w999w999w")
		d.forget()
		d.with(t, func() {
			d.expect(t, innocent4, 25, "220", "")
			d.expect(t, innocent4, 25, "220", "")
			d.expect(t, innocent4, 25, "451", "")
			d.expect(t, "9.9.9.9", 25, "550", history)
			for range 3 {
				if got := d.login(innocent4); lab.Code(got) != "235" {
					t.Errorf("a user's login: %q", got)
				}
			}
			d.guess(t, "5.5.5.5", 2, func(i int, got string) {
				if putOff(got) != (i == 2) {
					t.Errorf("try %d: %q", i, got)
				}
			})
		}, "CONNECT_STATE_RATELIMIT == enforce", "CHECK_CONNECT_RATELIMIT == 2 / 1h", "SYMBIOSIS_INCIDENT_THRESHOLD == 0",
			"CONNECT_AUTH_FAILURES == 1", "CONNECT_AUTH_LENIENCY == 1", "CONNECT_AUTH_PERIOD == 9999h")
		d.forget()
		d.with(t, func() {
			for range 2 {
				d.expect(t, innocent4, 25, "220", "")
				if got := d.login(innocent4); lab.Code(got) != "235" {
					t.Errorf("a user's login: %q", got)
				}
			}
		}, "CONNECT_STATE_RATELIMIT == enforce", "CHECK_CONNECT_RATELIMIT == 2.5/1s", "CONNECT_AUTH_FAILURES == 1", "CONNECT_AUTH_LENIENCY == 1", "CONNECT_AUTH_PERIOD == 1s")
		if l := d.Log()[mark:]; strings.Contains(l, "skipped") {
			t.Errorf("a check was skipped with numbers that are good:\n%s", l)
		}
	})
}

// Behind a proxy an IPv4 client may have an IPv6 address, ::ffff:192.0.2.1. It
// is counted as the IPv4 host that it is, and not as all of them together.
func TestMappedAddresses(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		const proxy = "45.9.9.9"
		d.Root.Write("etc/exim4/symbiosis.d/00-main/99-proxy", "hosts_proxy = "+proxy+"\n", 0o644)
		d.Rebuild()
		from := func(protocol, client, server string) string {
			conn, err := d.Net.Dial(proxy, 25)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(30 * time.Second))
			fmt.Fprintf(conn, "PROXY %s %s %s 1234 25\r\n", protocol, client, server)
			line, _ := bufio.NewReader(conn).ReadString('\n')
			return line
		}
		d.with(t, func() {
			for client, want := range map[string]string{
				"::ffff:8.8.8.8": "550", "::FFFF:8.8.8.8": "550", "0:0:0:0:0:ffff:808:808": "550",
				"::ffff:9.9.9.9": "220", "::ffff:9.9.9.10": "550", bad6: "550", neighbour: "220", innocent6: "220",
			} {
				if got := from("TCP6", client, "fd99::1"); lab.Code(got) != want {
					t.Errorf("%s: %q; want %s", client, got, want)
				}
			}
			if got := from("TCP4", bad4, "10.99.0.1"); lab.Code(got) != "550" {
				t.Errorf("%s: %q; want 550", bad4, got)
			}
			for i := 1; i <= 12; i++ {
				if got := from("TCP6", fmt.Sprintf("::ffff:193.0.6.%d", i), "fd99::1"); lab.Code(got) != "220" {
					t.Errorf("client %d, each with an address of its own: %q; want 220", i, got)
				}
			}
			// Ten are let in, however the same host is written.
			for i := 1; i <= 11; i++ {
				got := ""
				if i%2 == 0 {
					got = from("TCP6", "::ffff:193.0.7.1", "fd99::1")
				} else {
					got = from("TCP4", "193.0.7.1", "10.99.0.1")
				}
				if want := map[bool]string{false: "220", true: "451"}[i > 10]; lab.Code(got) != want {
					t.Errorf("visit %d of one host: %q; want %s", i, got, want)
				}
			}
		}, "CONNECT_STATE_RATELIMIT == enforce")
	})
}

// What 00-main/31-acl-definitions-connect tells an administrator who has an
// acl_smtp_vrfy of his own: his commands work, forged ones get nowhere.
func TestOwnACLForVRFY(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		comment := strings.ReplaceAll(d.Root.Read("etc/exim4/symbiosis.d/00-main/31-acl-definitions-connect"), "\n#", "\n")
		_, lines, ok := strings.Cut(comment, "of your own, with the lines\n")
		lines, _, ok2 := strings.Cut(lines, ".ifdef")
		if !ok || !ok2 {
			t.Fatal("the comment does not have the lines")
		}
		d.Root.Write("etc/exim4/symbiosis.d/00-main/30-mine", "CONNECT_ACL_VRFY_IS_TAKEN = yes\nacl_smtp_expn = my_expn\n", 0o644)
		d.Root.Write("etc/exim4/symbiosis.d/10-acl/14-mine", "my_expn:\n"+lines+"  accept\n", 0o644)
		d.Rebuild()
		c := d.Connect(innocent4, 587)
		defer c.Close()
		c.Cmd("EHLO client.example")
		if got := c.Cmd("EXPN user@example.org"); lab.Code(got) == "550" {
			t.Errorf("a clean command: %q", got)
		}
		mark := len(d.Log())
		if got := c.Cmd("EXPN a\x01[8.8.8.8]b@example.org"); lab.Code(got) != "550" {
			t.Errorf("a forged command: %q; want 550", got)
		}
		if l := d.LogSince(t, mark, "connect-acl: refused command from ["+innocent4+"]: control characters"); strings.Contains(l, "8.8.8.8") {
			t.Errorf("the client's words are in the log:\n%s", l)
		}
	})
}

// strict_acl_vars makes an error, which is a 451, of every variable that is
// read before it was set. Known hosts meet the rules at HELO and AUTH without
// having met most of those at the connection.
func TestStrictVariables(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		d.Root.Write("etc/exim4/symbiosis.d/00-main/70-strict", "strict_acl_vars = true\n", 0o644)
		d.Root.Write("etc/exim4/whitelist_connect_hosts", "9.9.9.10\n", 0o644)
		d.with(t, func() {
			mark := len(d.Log())
			for _, host := range []string{innocent4, innocent6, "9.9.9.10", "10.1.2.3"} {
				for range 2 {
					c := d.Connect(host, 25)
					for _, cmd := range []string{"EHLO mx.innocent.example", "MAIL FROM:<friend@innocent.example>", "RCPT TO:<user@example.org>", "DATA", "Subject: hello\r\n\r\nhello\r\n."} {
						if got := c.Cmd("%s", cmd); got == "" || got[0] > '3' {
							t.Errorf("%s: %s: %q", host, cmd, got)
						}
					}
					c.Quit()
				}
				if got := d.login(host); lab.Code(got) != "235" {
					t.Errorf("%s: a login: %q", host, got)
				}
			}
			d.guess(t, "5.5.5.5", 3, func(i int, got string) {
				if putOff(got) != (i == 3) {
					t.Errorf("guess %d: %q", i, got)
				}
			})
			c := d.encrypted("5.5.5.6")
			authLogin(c, "user@example.org", "wrong")
			c.AuthPlain("bob", "wrong")
			c.Quit()
			d.settled()
			if l := d.Log()[mark:]; strings.Contains(l, "strict_acl_vars") || strings.Contains(l, "skipped") {
				t.Errorf("the log:\n%s", l)
			}
		}, "CONNECT_STATE_GREETING == enforce", "CONNECT_GREETING_DELAY == 1", "CONNECT_STATE_RATELIMIT == enforce", "CONNECT_AUTH_FAILURES == 2")
	})
}
