package door

import (
	"encoding/base64"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"

	"symbiosis-connect-acl/tests/lab"
)

// encrypted gives a connection on which a client can log in.
func (d *door) encrypted(from string) *lab.Client {
	c := d.Connect(from, 587)
	c.Cmd("EHLO client.example")
	c.StartTLS("client.example", "mail.example.org")
	return c
}

// authLogin tries a password with AUTH LOGIN, word by word, and gives the last
// reply.
func authLogin(c *lab.Client, user, password string) string {
	if got := c.Cmd("AUTH LOGIN"); lab.Code(got) != "334" {
		return got
	}
	c.Cmd("%s", base64.StdEncoding.EncodeToString([]byte(user)))
	return c.Cmd("%s", base64.StdEncoding.EncodeToString([]byte(password)))
}

// countable finds the lines of failed logins that the firewall counts.
var countable = regexp.MustCompile(`(?m)^.*connect-acl: failed login from \[.*$`)

// tellsAtOnce reports whether this Exim raises an event when a login fails.
func (d *door) tellsAtOnce() bool {
	return strings.Contains(d.Root.Run("exim4", "-bP", "macros"), "\n_EXP_VAR_EVENT_NAME=")
}

// A failed login is one failed login, whatever the client does next, and what
// has not failed is none: one line that the firewall counts, and one towards
// the rule's own limit. Where an older Exim cannot tell (see TestSameNameAgain), there
// may be more towards the limit.
func TestOneFailureCountsOnce(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		fails := func(t *testing.T, got string) {
			t.Helper()
			if lab.Code(got) != "535" {
				t.Errorf("a wrong password: %q", got)
			}
		}
		tries := 0
		plain := func(t *testing.T, c *lab.Client) {
			tries++
			fails(t, c.AuthPlain("user@example.org", fmt.Sprint("wrong ", tries)))
		}
		login := func(t *testing.T, c *lab.Client) { fails(t, authLogin(c, "user@example.org", "wrong")) }
		star := func(t *testing.T, c *lab.Client) {
			c.Cmd("AUTH LOGIN")
			if got := c.Cmd("*"); lab.Code(got) != "501" {
				t.Errorf("*: %q", got)
			}
		}
		say := func(line string) func(*testing.T, *lab.Client) {
			return func(t *testing.T, c *lab.Client) {
				if got := c.Cmd("%s", line); got == "" || got[0] != '5' {
					t.Errorf("%s: %q", line, got)
				}
			}
		}
		junk := func(t *testing.T, c *lab.Client) { c.Cmd("AUTH LOGIN"); say("!!!")(t, c) }
		begin := func(t *testing.T, c *lab.Client) { c.Cmd("AUTH LOGIN") }
		quit := func(_ *testing.T, c *lab.Client) { c.Quit() }
		end := func(_ *testing.T, c *lab.Client) { c.Close() }
		reset := func(_ *testing.T, c *lab.Client) { c.Reset() }

		d.with(t, func() {
			for i, s := range []struct {
				name  string
				steps []func(*testing.T, *lab.Client)
				want  int
				more  int
			}{
				{"quit", []func(*testing.T, *lab.Client){plain, quit}, 1, 0},
				{"end", []func(*testing.T, *lab.Client){plain, end}, 1, 0},
				{"reset", []func(*testing.T, *lab.Client){plain, reset}, 1, 0},
				{"LOGIN, end", []func(*testing.T, *lab.Client){login, end}, 1, 0},
				{"given up", []func(*testing.T, *lab.Client){plain, star, quit}, 1, 1},
				{"LOGIN, given up", []func(*testing.T, *lab.Client){login, star, end}, 1, 1},
				{"given up twice", []func(*testing.T, *lab.Client){login, star, star, reset}, 1, 2},
				{"given up before", []func(*testing.T, *lab.Client){star, plain, end}, 1, 0},
				{"no base64", []func(*testing.T, *lab.Client){plain, say("AUTH PLAIN QQ"), quit}, 1, 1},
				{"no base64 in the answer", []func(*testing.T, *lab.Client){login, junk, quit}, 1, 1},
				{"no AUTH command", []func(*testing.T, *lab.Client){plain, say(`AUTH PLAIN "x"`), quit}, 1, 0},
				{"unknown mechanism", []func(*testing.T, *lab.Client){plain, say("AUTH X-NONE"), end}, 1, 1},
				{"reset in the middle", []func(*testing.T, *lab.Client){login, begin, reset}, 1, 0},
				{"end in the middle", []func(*testing.T, *lab.Client){plain, begin, end}, 1, 0},
				{"only given up", []func(*testing.T, *lab.Client){star, star, quit}, 0, 0},
				{"only malformed", []func(*testing.T, *lab.Client){say("AUTH PLAIN QQ"), junk, end}, 0, 0},
				{"twice", []func(*testing.T, *lab.Client){plain, plain, quit}, 2, 0},
				{"twice, given up in between", []func(*testing.T, *lab.Client){plain, star, plain, quit}, 2, 1},
			} {
				t.Run(s.name, func(t *testing.T) {
					from := fmt.Sprint("5.5.6.", i+1)
					mark := len(d.Log())
					c := d.encrypted(from)
					for _, step := range s.steps {
						step(t, c)
					}
					d.settled()
					lines := s.want
					if !d.tellsAtOnce() {
						lines += max(s.more-1, 0) // from the third on
					}
					if got := countable.FindAllString(d.Log()[mark:], -1); len(got) != lines {
						t.Errorf("%d lines to count; want %d:\n%s", len(got), lines, strings.Join(got, "\n"))
					}
					left := 0
					d.guess(t, from, 5, func(_ int, got string) {
						if !putOff(got) {
							fails(t, got)
							left++
						}
					})
					want := 3 - s.want
					if !d.tellsAtOnce() {
						want -= s.more
					}
					if left != want {
						t.Errorf("%d more guesses up to a limit of 3; want %d", left, want)
					}
				})
			}
		}, "CONNECT_AUTH_FAILURES == 3")
	})
}

// Exim 4.97 and later tell of a failure at once, so a client cannot put off
// that it counts by staying. Older ones notice when it leaves.
func TestFailuresOfIdleClients(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		d.with(t, func() {
			var idle []*lab.Client
			for i := range 3 {
				c := d.encrypted("5.5.7.1")
				if got := c.AuthPlain("user@example.org", fmt.Sprint("wrong ", i)); lab.Code(got) != "535" {
					t.Errorf("a wrong password: %q", got)
				}
				idle = append(idle, c)
			}
			d.guess(t, "5.5.7.1", 1, func(_ int, got string) {
				if putOff(got) != d.tellsAtOnce() {
					t.Errorf("while three others have failed and are still there: %q", got)
				}
			})
			for _, c := range idle {
				c.Close()
			}
			d.settled()
			d.guess(t, "5.5.7.1", 1, func(_ int, got string) {
				if !putOff(got) {
					t.Errorf("when they have left: %q; want 454", got)
				}
			})
		}, "CONNECT_AUTH_FAILURES == 3")
	})
}

// AUTH LOGIN with the same name again and again is ten guesses on every Exim. One up
// to 4.96 cannot tell such a failure from a login that was given up, so there the
// firewall does not count the second.
func TestSameNameAgain(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		mark := len(d.Log())
		c := d.encrypted("5.5.8.1")
		guesses := 0
		for guesses < 11 && lab.Code(authLogin(c, "user@example.org", "wrong")) == "535" {
			guesses++
		}
		c.Quit()
		d.settled()
		if guesses != 10 {
			t.Errorf("%d guesses; want 10", guesses)
		}
		counted := 9
		if d.tellsAtOnce() {
			counted = 10
		}
		log := d.LogSince(t, mark, "connect-acl: too many failed logins from [5.5.8.1]")
		if n := len(countable.FindAllString(log, -1)); n != counted {
			t.Errorf("%d lines to count for %d guesses; want %d", n, guesses, counted)
		}
	})
}

// Where Exim tells at once the line of a failed login is ours. It has the name
// that was tried if that can do no harm, and nothing else of the client's.
func TestNamesInTheLog(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		if !d.tellsAtOnce() {
			t.Skip("the line is Exim's own here: TestFramingTooLong and tests/corpus")
		}
		const from = "5.5.9.1"
		d.Root.Append("var/log/exim4/rejectlog", "")
		d.Root.Run("chown", "Debian-exim:adm", "/var/log/exim4/rejectlog")
		long := strings.Repeat("a", 64)
		for name, shown := range map[string]bool{
			"bob": true, "bob@example.org": true, "a+b_c-d.e": true, long: true, long + "a": false,
			"x) [8.8.8.8]: 535 Incorrect authentication data (set_id=y": false,
			"b b": false, "b\nb": false, "b\n": false, "b\rb": false, "b\x01": false, "bäb": false, `b\b`: false, "b)": false,
			"[8.8.8.8]": false, "${acl{acl_connect_leave}}": false, strings.Repeat("b", 8500): false,
		} {
			d.forget()
			mark, rejected := len(d.Log()), len(d.Root.Read("var/log/exim4/rejectlog"))
			c := d.encrypted(from)
			if got := c.AuthPlain(name, "wrong"); lab.Code(got) != "535" {
				t.Errorf("%.80q: %q", name, got)
			}
			c.Quit()
			d.settled()
			want := "connect-acl: failed login from [" + from + "]"
			if shown {
				want += " (set_id=" + name + ")"
			}
			for _, log := range []string{d.Log()[mark:], d.Root.Read("var/log/exim4/rejectlog")[rejected:]} {
				if got := countable.FindAllString(log, -1); len(got) != 1 || got[0][len("2026-01-01 00:00:00 "):] != want {
					t.Errorf("%.80q: the log says %q; want %q", name, got, want)
				}
			}
		}
	})
}

// A name that is made to look like a log line leads to one line of ours, on
// every Exim, and to no second when the client gives the next login up.
func TestForgedNameOnce(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		const from = "5.5.9.2"
		mark := len(d.Log())
		c := d.encrypted(from)
		if got := authLogin(c, "x) [8.8.8.8]: 535 Incorrect authentication data (set_id=y", "wrong"); lab.Code(got) != "535" {
			t.Errorf("a wrong password: %q", got)
		}
		c.Cmd("AUTH LOGIN")
		c.Cmd("*")
		c.Quit()
		d.settled()
		if n := strings.Count(d.Log()[mark:], "connect-acl: failed login from ["+from+"]"); n != 1 {
			t.Errorf("%d lines of ours:\n%s", n, d.Log()[mark:])
		}
	})
}

// An administrator's own event_action goes on working, for every event but the
// one of a failed login, on every Exim.
func TestOwnEventAction(t *testing.T) {
	for _, suite := range lab.Suites {
		t.Run(suite.Exim, func(t *testing.T) {
			t.Parallel()
			r := lab.NewRoot(t, suite.Name, "symbiosis")
			r.Write("etc/exim4/symbiosis.d/00-main/70-events", "MY_EVENTS = ^(msg:complete|auth:fail)\n"+
				"hide event_action = \"\\${if match{\\$event_name}{MY_EVENTS}\\\n# mine\n   {\\${acl{acl_mine}}}}\"\n", 0o644)
			r.Write("etc/exim4/symbiosis.d/10-acl/70-mine", "acl_mine:\n  accept logwrite = mine: $event_name $event_data\n", 0o644)
			r.Make("exim4.conf")
			d := openOn(t, r)

			mark := len(d.Log())
			c := d.encrypted(innocent4)
			if got := c.AuthPlain("bob", "wrong"); lab.Code(got) != "535" {
				t.Errorf("a wrong password: %q", got)
			}
			c.Cmd("AUTH LOGIN")
			c.Cmd("*")
			for _, line := range []string{"MAIL FROM:<>", "RCPT TO:<user@example.org>", "DATA", "From: <a@client.example>\r\n\r\nhello\r\n."} {
				if got := c.Cmd("%s", line); got[0] > '3' {
					t.Fatalf("%s: %s", line, got)
				}
			}
			c.Quit()
			log := d.LogSince(t, mark, "mine: msg:complete")
			if n := len(countable.FindAllString(log, -1)); n != 1 {
				t.Errorf("%d lines to count:\n%s", n, log)
			}
			if d.tellsAtOnce() {
				// What the client gave up is no failed login, so his is asked.
				if n := strings.Count(log, "mine: auth:fail 501"); n != 1 || strings.Contains(log, "mine: auth:fail 535") {
					t.Errorf("his action was asked %d times for a login that was given up:\n%s", n, log)
				}
			}
			if out, err := exec.Command("sh", "-c", "cat "+d.Root.Path("var/log/exim4")+"/paniclog 2>/dev/null").Output(); err == nil && len(out) > 0 {
				t.Errorf("paniclog:\n%s", out)
			}
		})
	}
}

// A host that guesses on many connections at once is counted for each of them.
func TestFailedLoginsAtOnce(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		const at = 10 // the limit
		clients := make([]*lab.Client, at)
		for i := range clients { // each has passed the door before the first guess
			clients[i] = d.Connect("5.5.5.5", 587)
			clients[i].Cmd("EHLO client.example")
			clients[i].StartTLS("client.example", "mail.example.org")
		}
		var wg sync.WaitGroup
		for i, c := range clients {
			wg.Go(func() {
				c.AuthPlain("user@example.org", fmt.Sprint("guess ", i))
				c.Quit()
			})
		}
		wg.Wait()
		d.settled()
		if got := d.Root.Hosts("select failures from host where net = '5.5.5.5';"); got != fmt.Sprint(at) {
			t.Errorf("%s failed logins; want %d", got, at)
		}
		if n := strings.Count(d.Log(), "connect-acl: too many failed logins from [5.5.5.5]"); n != 1 {
			t.Errorf("that the host is a guesser is logged %d times", n)
		}
		d.guess(t, "5.5.5.5", 1, func(_ int, got string) {
			if !putOff(got) {
				t.Errorf("one more: %q; want 454", got)
			}
		})
	})
}
