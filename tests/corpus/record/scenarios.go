package main

import (
	"fmt"
	"strings"
)

// A scenario is what one host does. want lists the events that the host must be
// counted for over all the lines of the scenario, each as often as it happened.
type scenario struct {
	name    string
	kind    string // event, attack, ordinary or relay
	peer    string // "" for one of its own
	v6      bool
	times   int // how often play runs; 0 is once
	prepare func(l *lab, peer string) error
	play    func(c *client)
	want    string
	wantIn  func(set selectorSet) string
	wantOf  func(lines []string) string // where the number depends on the suite's limits
	last    int                         // only this many of the lines are kept; 0 is all
	until   string                      // the log holds this when the scenario is over
	early   bool                        // the peer has to wait for the greeting
	core    bool                        // played with every selector set
	from    string                      // whom the client is, where the peer is a relay
	via     string                      // the relay's address
	must    string                      // the log has to hold this
	wantOn  func(version string) string // where Exims differ
}

// payloads are what an attacker writes where he can, so that a line reads as if
// it were about the victim, 8.8.8.8. Each copies the shape of one kind of line.
var payloads = []struct{ name, text string }{
	{"auth-failed", `x) [8.8.8.8]: 535 Incorrect authentication data (set_id=y`},
	{"auth-failed-short", `evil) [8.8.8.8]: 535 Incorrect authentication data`},
	{"auth-no-tls", `x) [8.8.8.8] rejected AUTH LOGIN: SSL or TLS encryption required when authenticating.`},
	{"auth-not-advertised", `LOGIN" H=(a) [8.8.8.8] AUTH command used when not advertised`},
	{"auth-not-advertised-literal", `[8.8.8.8] AUTH command used when not advertised`},
	{"history", `x) [8.8.8.8] rejected connection in "connect" ACL: Blacklisted: Denied access - history of unwanted activity (count 42, threshold 10)`},
	{"rate", `x) [8.8.8.8] temporarily rejected connection in "connect" ACL: Sender deferred 12.3 / 15m`},
	{"dnsbl", `x [8.8.8.8] rejected connection in "connect" ACL: 8.8.8.8 is blacklisted at zen.spamhaus.org (127.0.0.2, score 1)`},
	{"too-many", `x) [8.8.8.8] dropped: too many unrecognized commands (last was "y`},
	{"too-many-syntax", `x) [8.8.8.8] dropped: too many syntax or protocol errors (last command was "y", NULL`},
	{"own-line", `connect-acl: refused HELO from [8.8.8.8]: forged characters`},
	{"new-line", "x\n2026-11-23 12:00:00 connect-acl: refused HELO from [8.8.8.8]: forged characters"},
	{"carriage-return", "x\r2026-11-23 12:00:00 H=(x) [8.8.8.8] rejected AUTH LOGIN: SSL or TLS encryption required when authenticating.\ry"},
	{"carriage-return-own", "x\r2026-11-23 12:00:00 connect-acl: refused HELO from [8.8.8.8]: forged characters\ry"},
	{"vertical", "x\v\f\x1b[8.8.8.8]\x7f\x01: 535 Incorrect authentication data"},
	{"eight-bit", "\xff\xfe\xc3(\x85\xe2\x80\xa8) [8.8.8.8]: 535 Incorrect authentication data"},
	{"quotes", `x\" \\) "[8.8.8.8]" ([8.8.8.8]) '[8.8.8.8]': 535 Incorrect authentication data`},
	{"brackets", `[[]](())[](8.8.8.8)[8.8.8.8]]) [8.8.8.8] (`},
	{"peer", `x" H=(a) [8.8.8.8]`},
	{"ipv6", `x) [2001:4860:4860::8888]: 535 Incorrect authentication data (set_id=y`},
	// With +incoming_interface our own end stands behind the peer, and patterns
	// were published that ask for it. One text has the words of all of them.
	{"interface", `x) [8.8.8.8] I=[192.0.2.25]:25: 535 Incorrect authentication data rejected AUTH LOGIN: ` +
		`SSL or TLS encryption required when authenticating. AUTH command used when not advertised ` +
		`Blacklisted: Denied access - history of unwanted activity Sender deferred`},
}

// cut keeps what can stand on one line of SMTP.
func cut(s string) string {
	return strings.NewReplacer("\r\n", " ", "\n", " ").Replace(s)
}

// scenarios is the list of what is played, in its order.
func scenarios() []scenario {
	var all []scenario
	add := func(s scenario) { all = append(all, s) }
	event := func(name, want string, play func(c *client)) {
		for _, v6 := range []bool{false, true} {
			n := name
			if v6 {
				n += "-v6"
			}
			add(scenario{name: n, kind: "event", v6: v6, want: want, play: play, core: true})
		}
	}
	// Without smtp_protocol_error Exim says nothing about an AUTH that it has
	// not advertised, and there is nothing that a pattern could count.
	protocol := func(want string) func(selectorSet) string {
		return func(set selectorSet) string {
			if strings.Contains(set.selector, "smtp_protocol_error") || strings.Contains(set.selector, "+all") {
				return want
			}
			return ""
		}
	}
	name := func(peer, reverse string) string { reverseNames[peer] = reverse; return peer }
	event("auth-no-tls-login", "auth-no-tls", func(c *client) {
		c.dial(587)
		c.say("EHLO client.example.net")
		c.say("AUTH LOGIN")
		c.quit()
	})
	event("auth-no-tls-plain", "auth-no-tls", func(c *client) {
		c.dial(587)
		c.say("EHLO client.example.net")
		c.plain("", "info", "secret")
		c.quit()
	})
	event("auth-failed", "auth-failed", func(c *client) {
		c.dial(465)
		c.say("EHLO client.example.net")
		c.login("info@example.org", "secret")
		c.quit()
	})
	add(scenario{name: "auth-failed-named", kind: "event", core: true, want: "auth-failed", peer: name("45.70.1.1", "host.customer.example."), play: func(c *client) {
		c.dial(465)
		c.say("EHLO host.customer.example")
		c.login("info"+string(c.spelling)+"@example.org", "secret")
		c.quit()
	}})
	add(scenario{name: "auth-failed-named-other-helo", kind: "event", core: true, want: "auth-failed", peer: name("45.70.1.2", "under_score-9.customer.example."), play: func(c *client) {
		c.dial(465)
		c.say("EHLO My Phone's_name")
		c.plain("", "info@example.org", "secret"+string(c.spelling)) // the same peer, whatever the spelling
		c.quit()
	}})
	add(scenario{name: "auth-failed-named-v6", kind: "event", core: true, want: "auth-failed", peer: name("2a0e:7::1", "six.customer.example."), play: func(c *client) {
		c.dial(465)
		c.say("EHLO [IPv6:2a0e:7::1]")
		c.login("info"+string(c.spelling)+"@example.org", "secret")
		c.quit()
	}})
	event("auth-failed-literal-helo", "auth-failed", func(c *client) {
		c.dial(465)
		c.say("EHLO [192.168.1.20]")
		c.login("info@example.org", "secret")
		c.quit()
	})
	event("auth-failed-no-user", "", func(c *client) {
		c.dial(465)
		c.say("EHLO a.example.net")
		c.plain("", "", "")
		c.quit()
	})
	event("auth-failed-sni", "auth-failed", func(c *client) {
		c.sni = "mail.example.org"
		c.dial(465)
		c.say("EHLO a.example.net")
		c.login("info@example.org", "secret")
		c.quit()
	})
	event("auth-failed-twice", "auth-failed auth-failed", func(c *client) {
		c.dial(465)
		c.say("EHLO a.example.net")
		c.plain("", "info@example.org", "secret")
		c.plain("", "info@example.org", "secret2")
		c.quit()
	})
	for _, v6 := range []bool{false, true} {
		suffix := map[bool]string{true: "-v6"}[v6]
		add(scenario{name: "auth-not-advertised" + suffix, kind: "event", core: true, v6: v6, wantIn: protocol("auth-not-advertised"), play: func(c *client) {
			c.dial(25)
			c.say("EHLO a.example.net")
			c.say("AUTH LOGIN")
			c.quit()
		}})
		add(scenario{name: "history" + suffix, kind: "event", core: true, v6: v6, want: "history",
			prepare: func(l *lab, peer string) error { return l.offend(peer) },
			play:    func(c *client) { c.dial(25) }})
		add(scenario{name: "history-465" + suffix, kind: "event", core: true, v6: v6, want: "history",
			prepare: func(l *lab, peer string) error { return l.offend(peer) },
			play:    func(c *client) { c.sni = "mail.example.org"; c.dial(465) }})
		// Put off, as a busy mail server may be: nothing to count.
		add(scenario{name: "busy" + suffix, kind: "ordinary", core: true, v6: v6, times: 13, play: func(c *client) { c.dial(25); c.quit() }})
		// Put off a hundred times, as a server is whose callouts or bounces others cause.
		add(scenario{name: "rate" + suffix, kind: "event", v6: v6, times: 105, last: 8, play: func(c *client) { c.dial(25); c.quit() }})
		add(scenario{name: "early-input" + suffix, kind: "event", core: true, v6: v6, early: true, want: "early-input", play: func(c *client) {
			c.open(25)
			c.raw("EHLO ylmf-pc\r\nAUTH LOGIN\r\n")
			c.drain()
		}})
	}
	add(scenario{name: "auth-not-advertised-named", kind: "event", core: true, wantIn: protocol("auth-not-advertised"), peer: name("45.70.1.3", "host.customer.example."), play: func(c *client) {
		c.dial(25)
		c.say("EHLO other.example.net")
		c.say("AUTH LOGIN")
		c.quit()
	}})
	add(scenario{name: "auth-not-advertised-no-helo", kind: "event", core: true, wantIn: protocol("auth-not-advertised"), play: func(c *client) {
		c.dial(25)
		c.say("AUTH LOGIN")
		c.quit()
	}})
	add(scenario{name: "auth-not-advertised-ident", kind: "event", core: true, wantIn: protocol("auth-not-advertised"), peer: "45.72.2.1", play: func(c *client) {
		defer c.identify("anna")()
		c.dial(25)
		c.say("EHLO a.example.net")
		c.say("AUTH LOGIN")
		c.quit()
	}})
	add(scenario{name: "auth-failed-ident", kind: "event", core: true, want: "auth-failed", peer: "45.72.2.2", play: func(c *client) {
		defer c.identify("anna")()
		c.dial(465)
		c.say("EHLO a.example.net")
		c.login("info"+string(c.spelling)+"@example.org", "secret")
		c.quit()
	}})
	add(scenario{name: "dnsbl", kind: "event", core: true, peer: list("45.70.2.1"), play: func(c *client) { c.dial(25) }})
	add(scenario{name: "dnsbl-named", kind: "event", core: true, peer: list(name("45.70.2.2", "listed.customer.example.")), play: func(c *client) { c.dial(25) }})
	add(scenario{name: "dnsbl-v6", kind: "event", core: true, peer: list("2a0e:7::2"), play: func(c *client) { c.dial(25) }})
	add(scenario{name: "history-named", kind: "event", core: true, want: "history", peer: name("45.70.1.4", "host.customer.example."),
		prepare: func(l *lab, peer string) error { return l.offend(peer) },
		play:    func(c *client) { c.dial(25) }})
	event("helo-bot-name", "helo-refused", func(c *client) { c.dial(25); c.say("EHLO ylmf-pc"); c.quit() })
	event("helo-bot-name-465", "helo-refused", func(c *client) { c.dial(465); c.say("EHLO ylmf-pc"); c.quit() })
	event("auth-flood", "", func(c *client) {
		for n := 0; n < 12; n++ {
			if n%2 == 0 {
				c.quit()
				c.dial(465)
				c.say("EHLO a.example.net")
			}
			c.login("info@example.org", "secret"+fmt.Sprint(n))
		}
		c.quit()
	})
	for i := len(all) - 2; i < len(all); i++ {
		all[i].wantOf = ownLines
	}
	event("unknown-commands", "", func(c *client) {
		c.dial(25)
		c.say("EHLO a.example.net")
		for i := 0; i < 4; i++ {
			c.say("XYZZY")
		}
	})
	event("unknown-commands-465", "too-many-errors", func(c *client) {
		c.sni = "mail.example.org"
		c.dial(465)
		for i := 0; i < 4; i++ {
			c.say("XYZZY")
		}
	})
	event("http", "", func(c *client) {
		c.dial(25)
		c.raw("GET / HTTP/1.1\r\nHost: tom.example.org: to\r\nAccept: */*\r\nX: ] too many\r\n\r\n")
		c.drain()
	})
	event("syntax-errors", "", func(c *client) {
		c.dial(25)
		c.say("EHLO a.example.net")
		for i := 0; i < 5; i++ {
			c.say("MAIL FROM <a@example.net")
		}
	})
	event("protocol-errors", "", func(c *client) {
		c.dial(25)
		c.say("EHLO a.example.net")
		for i := 0; i < 5; i++ {
			c.say("RCPT TO:<user@example.org>")
		}
	})
	event("helo-syntax-errors", "", func(c *client) {
		c.dial(25)
		for i := 0; i < 5; i++ {
			c.say("EHLO bad_name!")
		}
	})

	// What well-behaved or merely clumsy hosts do. None of it may be counted,
	// but for the one mistyped password, which is one.
	ordinary := func(name, want string, play func(c *client)) {
		for _, v6 := range []bool{false, true} {
			add(scenario{name: name + map[bool]string{true: "-v6"}[v6], kind: "ordinary", v6: v6, want: want, play: play, core: true})
		}
	}
	ordinary("deliver", "", func(c *client) {
		c.dial(25)
		c.say("EHLO sender.example.net")
		c.say("MAIL FROM:<someone@example.net>")
		c.say("RCPT TO:<user@example.org>")
		c.say("DATA")
		c.say("From: someone@example.net\r\nSubject: hello\r\nMessage-ID: <1@example.net>\r\n\r\nhello\r\n.")
		c.quit()
	})
	ordinary("submit", "", func(c *client) {
		c.sni = "mail.example.org"
		c.dial(465)
		c.say("EHLO [192.168.1.7]")
		c.login("user@example.org", "correct horse")
		c.say("MAIL FROM:<user@example.org>")
		c.say("RCPT TO:<someone@example.net>")
		c.say("DATA")
		c.say("From: user@example.org\r\nSubject: hello\r\n\r\nhello\r\n.")
		c.quit()
	})
	ordinary("mistyped-password", "auth-failed", func(c *client) {
		c.dial(465)
		c.say("EHLO Anna's_Phone")
		c.login("user@example.org", "correct hrose")
		c.quit()
		c.dial(465)
		c.say("EHLO Anna's_Phone")
		c.login("user@example.org", "correct horse")
		c.quit()
	})
	ordinary("connect-and-leave", "", func(c *client) { c.dial(25) })
	ordinary("quit-at-once", "", func(c *client) { c.dial(25); c.quit() })
	ordinary("relay-refused", "", func(c *client) {
		c.dial(25)
		c.say("EHLO sender.example.net")
		c.say("MAIL FROM:<someone@example.net>")
		c.say("RCPT TO:<someone@elsewhere.example>")
		c.quit()
	})
	ordinary("unknown-user", "", func(c *client) {
		c.dial(25)
		c.say("EHLO sender.example.net")
		c.say("MAIL FROM:<someone@example.net>")
		c.say("RCPT TO:<nobody@example.org>")
		c.say("DATA")
		c.say("Subject: hello\r\n\r\nhello\r\n.")
		c.quit()
	})
	ordinary("helo-underscore-25", "", func(c *client) { c.dial(25); c.say("EHLO my_pc"); c.quit() })
	ordinary("one-unknown-command", "", func(c *client) { c.dial(25); c.say("EHLO a.example.net"); c.say("XCLIENT"); c.quit() })
	ordinary("tls-broken", "", func(c *client) {
		c.open(465)
		c.raw("EHLO a.example.net\r\n")
		c.drain()
	})
	ordinary("starttls", "", func(c *client) {
		c.dial(587)
		c.say("EHLO a.example.net")
		if strings.HasPrefix(c.say("STARTTLS"), "220") {
			c.handshake()
		}
		c.say("EHLO a.example.net")
		c.login("user@example.org", "correct horse")
		c.quit()
	})

	for i, p := range payloads {
		text := p.text
		one := cut(text)
		index := i
		vectors := 0
		attack := func(vector, want string, play func(c *client)) {
			vectors++
			add(scenario{name: vector + "/" + p.name, kind: "attack", want: want, play: play, core: (index+vectors)%5 == 0})
		}
		attackIn := func(vector string, wantIn func(selectorSet) string, play func(c *client)) {
			attack(vector, "", play)
			all[len(all)-1].wantIn = wantIn
		}
		attack("helo-25", "helo-refused", func(c *client) { c.dial(25); c.say("EHLO " + one); c.quit() })
		attack("helo-465", "helo-refused", func(c *client) { c.dial(465); c.say("EHLO " + one); c.quit() })
		attack("helo-465-auth-failed", "helo-refused", func(c *client) {
			c.dial(465)
			c.say("EHLO " + one)
			c.login("info", "secret")
			c.quit()
		})
		attack("helo-587-unknown", "helo-refused", func(c *client) {
			c.dial(587)
			c.say("EHLO " + one)
			for i := 0; i < 4; i++ {
				c.say("XYZZY")
			}
		})
		attackIn("auth-25", protocol("auth-not-advertised"), func(c *client) { c.dial(25); c.say("EHLO a.example.net"); c.say("AUTH " + one); c.quit() })
		attackIn("auth-25-no-helo", protocol("auth-not-advertised"), func(c *client) { c.dial(25); c.say("AUTH " + one); c.quit() })
		attack("auth-587", "auth-refused", func(c *client) { c.dial(587); c.say("EHLO a.example.net"); c.say("AUTH " + one); c.quit() })
		attack("auth-login-587", "auth-refused", func(c *client) { c.dial(587); c.say("EHLO a.example.net"); c.say("AUTH LOGIN " + one); c.quit() })
		attack("user-login", "auth-failed", func(c *client) { c.dial(465); c.say("EHLO a.example.net"); c.login(text, "x"); c.quit() })
		attack("user-plain", "auth-failed", func(c *client) { c.dial(465); c.say("EHLO a.example.net"); c.plain(text, text, text); c.quit() })
		attack("sni", "", func(c *client) {
			c.sni = text
			c.dial(465)
			c.say("EHLO a.example.net")
			c.say("MAIL FROM:<>")
			c.say("RCPT TO:<x@elsewhere.example>")
			c.login("info", "x")
			c.quit()
		})
		attack("mail-from", "", func(c *client) {
			c.dial(25)
			c.say("EHLO a.example.net")
			c.say("MAIL FROM:<" + one + ">")
			c.say("MAIL FROM:<\"" + strings.ReplaceAll(one, `"`, `\"`) + "\"@example.net>")
			c.say("RCPT TO:<x@elsewhere.example>")
			c.quit()
		})
		attack("mail-auth", "", func(c *client) {
			c.dial(25)
			c.say("EHLO a.example.net")
			c.say("MAIL FROM:<a@example.net> AUTH=" + strings.ReplaceAll(one, " ", "+20"))
			c.say("RCPT TO:<x@elsewhere.example>")
			c.quit()
		})
		attack("rcpt-to", "", func(c *client) {
			c.dial(25)
			c.say("EHLO a.example.net")
			c.say("MAIL FROM:<a@example.net>")
			c.say("RCPT TO:<" + one + ">")
			c.say("RCPT TO:<\"" + strings.ReplaceAll(one, `"`, `\"`) + "\"@elsewhere.example>")
			c.quit()
		})
		attack("unknown", "", func(c *client) {
			c.dial(25)
			c.say("EHLO a.example.net")
			for i := 0; i < 5; i++ {
				c.say(one)
			}
		})
		garbage := "too-many-errors"
		if strings.HasPrefix(text, "connect-acl: ") { // could be a header that a web client sends
			garbage = ""
		}
		attack("unknown-no-helo", garbage, func(c *client) {
			c.dial(25)
			for i := 0; i < 5; i++ {
				c.say(one)
			}
		})
		attack("syntax", "", func(c *client) {
			c.dial(25)
			c.say("EHLO a.example.net")
			for i := 0; i < 5; i++ {
				c.say("MAIL " + one)
			}
		})
		add(scenario{name: "early/" + p.name, kind: "attack", want: "early-input", play: func(c *client) { c.open(25); c.raw("EHLO " + one + "\r\n"); c.reply(); c.quit() }, early: true})
		attack("protocol", "", func(c *client) {
			c.dial(25)
			c.say("EHLO a.example.net")
			for i := 0; i < 5; i++ {
				c.say("RCPT TO:<" + one + ">")
			}
		})
		attack("protocol-no-helo", "too-many-errors", func(c *client) {
			c.dial(25)
			for i := 0; i < 5; i++ {
				c.say("RCPT TO:<" + one + ">")
			}
		})
		attack("pipelined", "", func(c *client) {
			c.dial(25)
			c.raw("HELO a.example.net\r\nMAIL FROM:<a@b.c>\r\n" + one + "\r\n" + one + "\r\n")
			c.drain()
		})
		attack("vrfy-etrn", "", func(c *client) {
			c.dial(25)
			c.say("EHLO a.example.net")
			c.say("VRFY " + one)
			c.say("ETRN " + one)
			c.say("EXPN " + one)
			c.say("HELP " + one)
			c.quit()
		})
		// Reverse names: what the DNS can carry, Exim has to write.
		if !strings.ContainsAny(text, "\n") {
			peer := fmt.Sprintf("45.71.1.%d", i+1)
			reverseNames[peer] = label(text) + ".evil.example."
			add(scenario{name: "reverse-name/" + p.name, kind: "attack", peer: peer, want: "auth-failed", play: func(c *client) {
				c.dial(465)
				c.say("EHLO a.example.net")
				c.login("info", "secret")
				c.quit()
			}})
			peer = fmt.Sprintf("45.71.2.%d", i+1)
			reverseNames[peer] = label(text) + ".evil.example."
			add(scenario{name: "reverse-name-history/" + p.name, kind: "attack", peer: peer, want: "history",
				prepare: func(l *lab, peer string) error { return l.offend(peer) },
				play:    func(c *client) { c.dial(25) }})
		}
		attack("helo-twice", "helo-refused", func(c *client) {
			c.dial(25)
			c.say("EHLO a.example.net")
			c.say("EHLO " + one)
			c.quit()
		})
		attack("starttls-helo", "helo-refused", func(c *client) {
			c.dial(587)
			c.say("EHLO a.example.net")
			if strings.HasPrefix(c.say("STARTTLS"), "220") {
				c.handshake()
			}
			c.say("EHLO " + one)
			c.quit()
		})
		attack("message", "", func(c *client) {
			c.dial(25)
			c.say("EHLO a.example.net")
			c.say("MAIL FROM:<a@example.net>")
			c.say("RCPT TO:<user@example.org>")
			c.say("DATA")
			c.say("From: <" + one + ">\r\nSubject: " + one + "\r\nMessage-ID: <" + one + ">\r\nReceived: from " + one + "\r\n\r\n" + text + "\r\n.")
			c.quit()
		})
		attack("dkim", "", func(c *client) {
			c.dial(25)
			c.say("EHLO a.example.net")
			c.say("MAIL FROM:<a@example.net>")
			c.say("RCPT TO:<user@example.org>")
			c.say("DATA")
			c.say("From: <a@example.net>\r\nDKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=" + quotedPrintable(text) + "; s=" + quotedPrintable(text) +
				";\r\n h=from; i=" + quotedPrintable(text) + "; bh=AAAA; b=AAAA\r\n\r\nhello\r\n.")
			c.quit()
		})
		if !strings.Contains(text, "\n") { // which ends the answer
			add(scenario{name: "ident/" + p.name, kind: "attack", peer: fmt.Sprintf("45.72.1.%d", i+1), play: func(c *client) {
				defer c.identify(text)()
				c.dial(25)
				c.say("EHLO a.example.net")
				c.say("AUTH LOGIN")
				c.quit()
			}})
		}
		attack("bdat-noop", "", func(c *client) {
			c.dial(25)
			c.say("EHLO a.example.net")
			c.say("BDAT " + one)
			c.say("NOOP " + one)
			c.say("RSET " + one)
			c.say("STARTTLS " + one)
			c.quit()
		})
	}
	// Linux without a name says "(none)", and a bare EHLO is a probe: no offence.
	for _, v6 := range []bool{false, true} {
		suffix := map[bool]string{true: "-v6"}[v6]
		add(scenario{name: "helo-none-25" + suffix, kind: "ordinary", core: true, v6: v6, play: func(c *client) { c.dial(25); c.say("EHLO (none)"); c.quit() }})
		add(scenario{name: "helo-none-465" + suffix, kind: "ordinary", core: true, v6: v6, want: "auth-failed", play: func(c *client) {
			c.dial(465)
			c.say("EHLO (none)")
			c.login("user@example.org", "correct hrose")
			c.quit()
		}})
		add(scenario{name: "helo-bare-25" + suffix, kind: "ordinary", core: true, v6: v6, play: func(c *client) { c.dial(25); c.say("EHLO"); c.say("HELO"); c.quit() }})
	}
	// The one character beyond those of names that Exim believes.
	add(scenario{name: "slash-history", kind: "event", core: true, want: "history", peer: name("45.70.1.5", "a/b.customer.example."),
		prepare: func(l *lab, peer string) error { return l.offend(peer) },
		play:    func(c *client) { c.dial(25) }})
	add(scenario{name: "slash-auth-failed", kind: "event", core: true, want: "auth-failed", peer: name("45.70.1.6", "c/d.customer.example."), play: func(c *client) {
		c.dial(465)
		c.say("EHLO a.example.net")
		c.login("info"+string(c.spelling)+"@example.org", "secret")
		c.quit()
	}})
	// A name that Exim takes, and then one that it refuses: its line has both.
	add(scenario{name: "helo-then-bare/syntax", kind: "attack", want: "helo-refused", play: func(c *client) {
		c.dial(465)
		c.say("EHLO x) [8.8.8.8]: syntactically invalid argument(s): [y")
		c.say("EHLO")
		c.quit()
	}})
	for _, n := range []int{480, 3000, 12000, 40000} {
		filler := long("A", n)
		tail := ` H=(a) [8.8.8.8] AUTH command used when not advertised`
		longer := func(vector, want string, wantIn func(selectorSet) string, play func(c *client)) {
			add(scenario{name: fmt.Sprintf("long-%s/%d", vector, n), kind: "attack", want: want, wantIn: wantIn, play: play})
		}
		whole := func(want string) string { // what Exim logs at all of so long a line
			if n > 20000 {
				return ""
			}
			return want
		}
		notAdvertised := protocol("auth-not-advertised")
		if n > 8000 {
			notAdvertised = protocol("")
		}
		longer("auth-25", "", notAdvertised, func(c *client) {
			c.dial(25)
			c.say("EHLO a.example.net")
			c.say("AUTH LOGIN " + filler + tail)
			c.quit()
		})
		longer("auth-587", whole("auth-refused"), nil, func(c *client) {
			c.dial(587)
			c.say("EHLO a.example.net")
			c.say("AUTH LOGIN" + filler + tail)
			c.quit()
		})
		longer("user", whole("auth-failed"), nil, func(c *client) {
			c.dial(465)
			c.say("EHLO a.example.net")
			c.login(filler+"x) [8.8.8.8]: 535 Incorrect authentication data (set_id=y", "x")
			c.quit()
		})
		longer("helo", whole("helo-refused"), nil, func(c *client) {
			c.dial(465)
			c.say("EHLO " + filler + "x) [8.8.8.8]: 535 Incorrect authentication data")
			c.quit()
		})
		if n < 20000 { // more is no HELO to Exim
			// In learn the name stays. Exim 4.98 keeps the beginning of a line that
			// is too long, so the name can push the peer out of it.
			forged := func(words string) string { return "EHLO x) [8.8.8.8]" + words + filler }
			longer("helo-auth-failed", "helo-refused", nil, func(c *client) {
				c.dial(465)
				c.say(forged(": 535 Incorrect authentication data"))
				c.login("info", "secret")
				c.quit()
			})
			longer("helo-dropped", "helo-refused", nil, func(c *client) {
				c.dial(587)
				c.say(forged(" dropped: too many unrecognized commands (last "))
				for i := 0; i < 4; i++ {
					c.say("XYZZY")
				}
			})
			longer("helo-bare", "helo-refused", nil, func(c *client) {
				c.dial(465)
				c.say(forged(": syntactically invalid argument(s): ["))
				c.say("EHLO")
				c.quit()
			})
		}
		longer("unknown", "", nil, func(c *client) {
			c.dial(25)
			c.say("EHLO a.example.net")
			for i := 0; i < 4; i++ {
				c.say(filler + tail)
			}
		})
		longer("early", "early-input", nil, func(c *client) {
			c.peer = strings.Replace(c.peer, "45.", "46.", 1)
			c.open(25)
			c.raw("EHLO " + filler + tail + "\r\n")
			c.drain()
		})
	}
	// What a link can make others do: a browser, a feed fetcher, the preview of a
	// message, a program that clones what it is told to.
	request := []string{"POST /feed HTTP/1.1", "Host: mail.example.org:25", "User-Agent: Preview/1.0", "Accept: */*", "Content-Length: 20", "", "EHLO ylmf-pc", "QUIT"}
	early := func(name, text string) {
		add(scenario{name: "web-early-" + name, kind: "ordinary", core: name == "get" || name == "tls", early: true, play: func(c *client) { c.open(25); c.raw(text); c.drain() }})
	}
	early("get", "GET / HTTP/1.1\r\nHost: mail.example.org:25\r\nAccept: */*\r\n\r\n")
	early("post", strings.Join(request, "\r\n")+"\r\n")
	early("http2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	early("tls", "\x16\x03\x01\x00\xbd\x01\x00\x00\xb9\x03\x03"+strings.Repeat("EHLO\x00", 36))
	early("git", "0033git-upload-pack /HELO\x00host=mail.example.org\x00")
	early("ssh", "SSH-2.0-OpenSSH_9.2\r\n")
	early("quit", "QUIT\r\n") // and a mail server that has waited long enough
	for _, port := range []int{25, 465, 587} {
		add(scenario{name: fmt.Sprintf("web-post-%d", port), kind: "ordinary", core: true, play: func(c *client) {
			c.sni = "mail.example.org"
			c.dial(port)
			c.raw(strings.Join(request, "\r\n") + "\r\n")
			c.drain()
		}})
		add(scenario{name: fmt.Sprintf("web-post-lines-%d", port), kind: "ordinary", core: true, play: func(c *client) {
			c.sni = "mail.example.org"
			c.dial(port)
			for _, line := range request {
				c.say(line)
			}
		}})
		add(scenario{name: fmt.Sprintf("web-ftp-%d", port), kind: "ordinary", core: true, play: func(c *client) {
			c.sni = "mail.example.org"
			c.dial(port)
			for _, line := range []string{"AUTH TLS", "auth ssl", "USER anonymous", "PASS guest", "QUIT"} {
				c.say(line)
			}
		}})
	}
	// A browser, or a mail program that has been told "SSL" for the wrong port.
	for _, port := range []int{25, 587} {
		add(scenario{name: fmt.Sprintf("web-tls-%d", port), kind: "ordinary", core: true, play: func(c *client) { c.dial(port); c.handshake() }})
		add(scenario{name: fmt.Sprintf("web-tls-at-once-%d", port), kind: "ordinary", core: true, play: func(c *client) { c.open(port); c.handshake() }})
		add(scenario{name: fmt.Sprintf("web-post-at-once-%d", port), kind: "ordinary", core: true, play: func(c *client) {
			c.open(port)
			c.raw(strings.Join(request, "\r\n") + "\r\n")
			c.drain()
		}})
	}
	add(scenario{name: "web-plain-465", kind: "ordinary", core: true, play: func(c *client) { c.open(465); c.raw(strings.Join(request, "\r\n")); c.drain() }})
	all = append(all, loginScenarios()...)
	return append(all, relayScenarios()...)
}

func list(peer string) string { listed[peer] = true; return peer }

// label writes any text as one label of a name, in the DNS's escaped form.
func label(s string) string {
	var b strings.Builder
	for _, c := range []byte(s[:min(len(s), 60)]) {
		fmt.Fprintf(&b, "\\%03d", c)
	}
	return b.String()
}

// quotedPrintable writes any text as one tag of a DKIM signature.
func quotedPrintable(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, "=%02X", c)
	}
	return b.String()
}
