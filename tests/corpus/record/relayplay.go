package main

import (
	"fmt"
	"strings"
)

// smuggled is a second, hidden conversation, for each end of a message that some
// server or other takes for one.
var smuggled = []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\r\n\x00.\r\n", "\n.\r"}

// hostile are the local parts that an attacker gives a relay, as they stand in
// quotation marks.
func hostile() []string {
	parts := []string{
		"a\x01b", "a\x1b[31mb", "a\tb", "a\x7fb", "a\rb", "a\x00b", "\x85\xa0", "ü", "a\u202eb", "\xff\xfe",
		"", " ", ".", "@", "a@b", "a@[8.8.8.8]", "a>b", "a<b", "postmaster", "|cat", "/etc/passwd", "a%b", "a!b", "~",
		long("a", 64), long("a", 65), long("a", 250), long("a", 480), long("a", 900), long("\x01", 900), long("[8.8.8.8]", 900),
	}
	for _, p := range payloads {
		parts = append(parts, cut(p.text))
	}
	for i, p := range parts {
		parts[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(p) + `"`
	}
	// And as nobody should write them.
	for _, p := range payloads {
		parts = append(parts, cut(p.text))
	}
	return append(parts, "a\x01b", "a\x7fb", "a b", "a..b", ".a", "a.", "(x)a", "[8.8.8.8]", long("a", 900))
}

// hostileDomains are those that an attacker can have, or write at least.
var hostileDomains = []string{
	attackerDomain, attackerDomainUnder, "_." + attackerDomain, "a-." + attackerDomain, "-a." + attackerDomain,
	"xn--mnchen-3ya." + attackerDomain, "münchen." + attackerDomain, "a\x01b." + attackerDomain, "a/b." + attackerDomain,
	"[8.8.8.8]", "[IPv6:2001:db8::1]", "[x) [8.8.8.8]: 535]", "8.8.8.8", "a..b", "." + attackerDomain, attackerDomain + ".", "nodots",
	strings.Repeat("abcdefghi.", 24) + attackerDomain, long("a", 64) + "." + attackerDomain, strings.Repeat("a.", 120) + attackerDomain,
}

// mail sends one message, as far as the server lets it.
func (c *client) mail(sender, text string, rcpts ...string) {
	c.say("MAIL FROM:<" + sender + ">")
	c.message(text, rcpts...)
}

func (c *client) message(text string, rcpts ...string) {
	taken := false
	for _, r := range rcpts {
		taken = strings.HasPrefix(c.say("RCPT TO:<"+r+">"), "250") || taken
	}
	if taken && strings.HasPrefix(c.say("DATA"), "354") {
		c.say(text + "\r\n.")
		return
	}
	c.say("RSET")
}

const letter = "From: a@example.net\r\nTo: b@example.net\r\nSubject: hello\r\n\r\nhello"

// relayScenarios is what attackers do to relays.
func relayScenarios() []scenario {
	var all []scenario
	for _, r := range []struct {
		name, address, address6, hundred string
	}{
		{"postfix", postfixRelay, postfixRelay6, postfixHundred},
		{"exim", eximRelay, eximRelay6, eximHundred},
	} {
		add := func(name, peer, from string, play func(c *client)) *scenario {
			all = append(all, scenario{name: "relay-" + r.name + "-" + name, kind: "relay", peer: peer, from: from, via: r.address, play: play})
			return &all[len(all)-1]
		}
		// The conversation of a client with the relay, on one of the relay's ports.
		relay := func(name, from string, port int, play func(c *client)) {
			add(name, r.address, from, func(c *client) {
				c.dial(port)
				c.say("EHLO " + attackerDomain)
				play(c)
				c.quit()
			})
		}
		sender := func(rcpt string, step int) func(c *client) {
			return func(c *client) {
				for i, p := range hostile() {
					if i%step > 0 {
						continue
					}
					c.mail(p+"@"+attackerDomain, letter, rcpt)
				}
				for _, d := range hostileDomains {
					c.mail("a@"+d, letter, rcpt)
				}
				c.mail("", letter, rcpt)
				c.mail("<>", letter, rcpt)
				c.mail("nobody", letter, rcpt)
			}
		}
		// A forwarder hands on the sender as it came.
		relay("forward", stranger, forwardPort, sender("all@forward.example", 1))
		relay("forward-v6", stranger, forwardPort, sender("six@forward.example", 3))
		all[len(all)-1].peer = r.address6
		// What we refuse, it sends back: to us, if the sender's domain says so.
		relay("bounce", stranger, forwardPort, sender("refused@forward.example", 1))
		// A secondary MX hands on the recipient, too, and goes on after a refused sender.
		relay("secondary", stranger, forwardPort, func(c *client) {
			for _, p := range hostile() {
				c.mail("a@example.net", letter, p+"@example.org")
			}
			rcpts := make([]string, 12)
			for i := range rcpts {
				rcpts[i] = fmt.Sprintf("user%d@example.org", i)
			}
			c.mail("\"a\x01b\"@"+attackerDomain, letter, rcpts...)
			c.mail("a@"+attackerDomainUnder, letter, rcpts...)
			for i := range rcpts {
				rcpts[i] = fmt.Sprintf("\"u\x01%d\"@example.org", i)
			}
			c.mail("a@example.net", letter, rcpts...)
		})
		// One customer's mail to a domain of his own is enough: Exim answers each of
		// the recipients with 501.
		relay("own-domain", customer, forwardPort, func(c *client) {
			for _, d := range append(hostileDomains, "ex_a.reuse."+attackerDomain) {
				c.mail("a@example.net", letter, "u1@"+d, "u2@"+d, "u3@"+d, "u4@"+d, "u5@"+d, "\"u\x01\"@"+d)
			}
		})
		// Many letters on one connection, each with a mistake.
		relay("reuse", customer, forwardPort, func(c *client) {
			for i := range 6 {
				c.mail("a@example.net", letter, fmt.Sprintf("u%d@ex_a.reuse.%s", i, attackerDomain))
				c.mail(fmt.Sprintf("\"a\x01%d\"@example.net", i), letter, "user@reuse."+attackerDomain)
			}
		})
		// A server that asks whether the sender exists.
		relay("sender-verify", stranger, senderCalloutPort, sender("all@forward.example", 1))
		// One that asks whether the recipient exists, before it takes the mail.
		relay("recipient-verify", stranger, rcptCalloutPort, func(c *client) {
			for _, p := range hostile() {
				c.mail(p+"@"+attackerDomain, letter, p+"@example.org")
			}
		})
		if r.name == "exim" {
			relay("full-callout", stranger, fullCalloutPort, sender("all@forward.example", 3))
			relay("header-callout", stranger, headerCalloutPort, func(c *client) {
				for _, p := range hostile() {
					c.mail("a@example.net", "From: x <"+p+"@"+attackerDomain+">\r\n\r\nhello", "all@forward.example")
				}
				c.mail("a@example.net", "From: \"u\x011\"@attacker.example, \"u\x012\"@attacker.example, \"u\x013\"@attacker.example, \"u\x014\"@attacker.example\r\n\r\nhello", "all@forward.example")
			})
			// In chunks a letter may hold anything, and Exim sends it on in chunks.
			relay("chunks", stranger, forwardPort, func(c *client) {
				for _, end := range smuggled {
					c.say("MAIL FROM:<a@example.net> BODY=8BITMIME")
					c.say("RCPT TO:<all@forward.example>")
					text := "Subject: x\r\n\r\nhello" + end + "EHLO ylmf-pc\r\nAUTH LOGIN\r\nEHLO x) [8.8.8.8]\r\n"
					c.raw(fmt.Sprintf("BDAT %d LAST\r\n%s", len(text), text))
					c.reply()
				}
			})
		}
		// The extensions, and what stands behind the addresses.
		relay("parameters", customer, forwardPort, func(c *client) {
			for i, p := range payloads {
				x := strings.NewReplacer(" ", "+20", "=", "+3D", "+", "+2B").Replace(cut(p.text))
				words := []string{" RET=HDRS ENVID=" + x, " AUTH=" + x, " X=" + x}
				if i == 0 {
					words = append(words, " SMTPUTF8", " BODY=8BITMIME SIZE=20", " AUTH=<>")
				}
				for _, w := range words {
					c.say("MAIL FROM:<ü@" + attackerDomain + ">" + w)
					c.say("RCPT TO:<all@forward.example> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;" + x)
					c.message(letter, "ü@example.org", "ü@münchen."+attackerDomain)
				}
			}
		})
		// What stands in a letter. One that hides a second conversation must not make
		// the relay say what its own users never would.
		relay("letter", stranger, forwardPort, func(c *client) {
			for _, p := range payloads {
				one := cut(p.text)
				c.mail("a@example.net", "From: <"+one+">\r\nSubject: "+one+"\r\nMessage-ID: <"+one+">\r\nReceived: from "+one+"\r\n\r\n"+p.text, "all@forward.example")
			}
			for _, end := range smuggled {
				c.mail("a@example.net", "Subject: x\r\n\r\nhello"+end+
					"EHLO ylmf-pc\r\nAUTH LOGIN\r\nEHLO x) [8.8.8.8]\r\nGARBAGE\r\nGARBAGE\r\nGARBAGE\r\nGARBAGE\r\n", "all@forward.example")
			}
			c.mail("a@example.net", "Subject: long\r\n\r\n"+long("x) [8.8.8.8]: 535 Incorrect authentication data", 40000), "all@forward.example")
		})
		// TLS that comes to nothing: our certificate is not what it wants, or we have
		// no version or cipher in common.
		relay("tls", customer, forwardPort, func(c *client) {
			for i := range 5 {
				for _, kind := range []string{"strict", "old", "null"} {
					c.mail("a@example.net", letter, fmt.Sprintf("u%d@tls-%s.%s", i, kind, attackerDomain))
				}
			}
		})
		// Any address can be written as a sender, so anybody can have an innocent
		// server send us bounces, or call us out, by the hundred.
		add("bounces-by-the-hundred", r.hundred, stranger, func(c *client) {
			c.dial(forwardPort)
			c.say("EHLO " + attackerDomain)
			for range 125 {
				c.mail("innocent@example.org", letter, "gone@forward.example")
			}
			c.quit()
		})
		if r.name == "exim" {
			add("callouts-by-the-hundred", r.hundred, stranger, func(c *client) {
				c.dial(senderCalloutPort)
				c.say("EHLO " + attackerDomain)
				for i := range 125 {
					c.mail(fmt.Sprintf("innocent%d@hundred.%s", i, attackerDomain), letter, "all@forward.example")
				}
				c.quit()
			})
		}
		// After all that, its mail still comes in.
		relay("afterwards", stranger, forwardPort, func(c *client) {
			c.mail("friend@example.net", letter, "all@forward.example")
		})
		all[len(all)-1].must = " <= friend@example.net "
	}
	return all
}
