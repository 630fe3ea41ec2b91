package main

import (
	"fmt"
	"strings"
)

// loginScenarios are about how often a failed login counts, and what its name
// can do.
func loginScenarios() []scenario {
	var all []scenario
	tellsAtOnce := func(then, before string) func(string) string {
		return func(version string) string {
			if version == "4.94.2" || version == "4.96" {
				return before
			}
			return then
		}
	}
	// What comes behind a failed login is no second one, neither in the log nor
	// in what our rules remember: with nine and their sequels a host is still
	// below the limit of ten. The same name within the hour counts once. Exim up to
	// 4.96 cannot tell a login from one that was given up, where the name is the same
	// as before; it is a guess then.
	fail := func(c *client) {
		c.dial(465)
		c.say("EHLO a.example.net")
		c.login("info@example.org", "secret")
	}
	for _, after := range []struct {
		name  string
		guess bool // up to 4.96
		play  func(c *client)
	}{
		{"star", true, func(c *client) { c.say("AUTH LOGIN"); c.say("*"); c.quit() }},
		{"star-at-password", true, func(c *client) { c.say("AUTH LOGIN"); c.say(b64("info@example.org")); c.say("*"); c.quit() }},
		{"no-base64", true, func(c *client) { c.say("AUTH LOGIN"); c.say("!!!"); c.quit() }},
		{"half-base64", true, func(c *client) { c.say("AUTH PLAIN abcde"); c.quit() }},
		{"unknown-mechanism", true, func(c *client) { c.say("AUTH CRAM-MD5"); c.quit() }},
		{"left-at-name", false, func(c *client) { c.say("AUTH LOGIN") }},
		{"rset", false, func(c *client) { c.say("RSET"); c.say("NOOP"); c.quit() }},
		{"helo", false, func(c *client) { c.say("EHLO a.example.net"); c.quit() }},
		{"reset", false, func(c *client) { c.reset() }},
		{"end", false, func(c *client) {}},
	} {
		for _, times := range []int{1, 9} {
			name, before := "auth-failed-then-"+after.name, "auth-failed"
			if times > 1 {
				name += "-nine"
			}
			if times > 1 && after.guess {
				before += " auth-flood"
			}
			all = append(all, scenario{name: name, kind: "event", core: times == 1 && len(after.name) < 6, times: times, wantOn: tellsAtOnce("auth-failed", before),
				play: func(c *client) { fail(c); after.play(c) }})
		}
	}
	// Who has given a second name has begun a second login.
	all = append(all, scenario{name: "auth-failed-then-left-at-password", kind: "event", core: true, wantOn: tellsAtOnce("auth-failed auth-failed", "auth-failed"), play: func(c *client) {
		fail(c)
		c.say("AUTH LOGIN")
		c.say(b64("info@example.org"))
	}})
	all = append(all, scenario{name: "auth-failed-again", kind: "event", core: true, wantOn: tellsAtOnce("auth-failed auth-failed", "auth-failed"), play: func(c *client) {
		fail(c)
		c.login("info@example.org", "secret2")
		c.quit()
	}})
	// Who forgets a password tries the same one again and again: that is one guess, and
	// none that the firewall counts where he has logged in before.
	old := func(c *client) {
		c.dial(465)
		c.say("EHLO Anna's_Phone")
		c.plain("", "user@example.org", "old")
		c.plain("", "user@example.org", "old")
		c.quit()
	}
	all = append(all, scenario{name: "old-password", kind: "ordinary", core: true, times: 10, want: "auth-failed", play: old})
	for _, mechanism := range []string{"plain", "login"} {
		known := false
		all = append(all, scenario{name: "old-password-" + mechanism + "-where-known", kind: "ordinary", core: true, times: 15, prepare: func(*lab, string) error { known = false; return nil }, play: func(c *client) {
			c.dial(465)
			c.say("EHLO Anna's_Phone")
			password := map[bool]string{false: "correct horse", true: "old"}[known]
			known = true
			if mechanism == "plain" {
				c.plain("", "user@example.org", password)
			} else {
				c.login("user@example.org", password)
			}
			c.quit()
		}})
	}
	// Who guesses is one offender more, once.
	all = append(all, scenario{name: "auth-names", kind: "event", core: true, must: "too many failed logins from [", wantOf: ownLines, play: func(c *client) {
		for _, name := range []string{"adam", "bert@example.org", "carl", "dora", "emil", "fred"} {
			c.dial(465)
			c.say("EHLO a.example.net")
			c.plain("", name, "secret")
			c.quit()
		}
	}})
	// Three hosts at one account, where two are many.
	for i := range 3 {
		all = append(all, scenario{name: fmt.Sprint("account-attacked-", i+1), kind: "event", core: true, peer: fmt.Sprint("45.74.1.", i+1), times: 2, want: "auth-failed",
			must: map[bool]string{true: "connect-acl: account under attack: guess from ["}[i == 2], play: func(c *client) {
				c.dial(465)
				c.say("EHLO a.example.net")
				c.plain("", "attacked@example.org", "secret")
				c.quit()
			}})
	}
	// A client that stays must not be able to guess unseen.
	all = append(all, scenario{name: "auth-failed-held", kind: "event", core: true, want: "auth-failed", play: func(c *client) {
		fail(c)
		if err := c.await("connect-acl: failed login from [", ": 535 Incorrect authentication data"); err != nil {
			c.err = err
		}
	}})
	// Names that our own line could carry, and those that it must not.
	for i, user := range []string{
		"8.8.8.8", "a@8.8.8.8", "connect-acl", "a.b+c_d-e@example.org", long("a", 64), long("a", 65), long("a@8.8.8.8-", 6900),
		"a\n", "a\x00b", "a)", "a]", "(set_id=a)", "a b", " a", "a ", "ä", "\u2028", "a\\", "a\"b", "$sender_host_address", "${if", "\\N", "a\tb", "\x1b[1m",
		"a)\n2026-11-23 12:00:00 connect-acl: failed login from [8.8.8.8]", "a) connect-acl: failed login from [8.8.8.8]", "a: 435 b", "a: 535 Incorrect authentication data",
	} {
		// The long one is not core: into syslog, Exim up to 4.96 writes it in pieces.
		all = append(all, scenario{name: fmt.Sprintf("user-name/%d", i), kind: "attack", core: i%6 == 1, want: "auth-failed auth-failed", play: func(c *client) {
			c.dial(465)
			c.say("EHLO a.example.net")
			c.login(user, "x")
			c.plain("", user, "x")
			c.quit()
		}})
	}
	return all
}

// ownLines gives the events of failed logins that our own lines name.
func ownLines(lines []string) string {
	var want []string
	for _, l := range lines {
		switch {
		case strings.Contains(l, " connect-acl: failed login from ["):
			want = append(want, "auth-failed")
		case strings.Contains(l, " connect-acl: too many failed logins from ["):
			want = append(want, "auth-flood")
		}
	}
	return strings.Join(want, " ")
}
