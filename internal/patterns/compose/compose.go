// Package compose puts our pattern file together from the parts of a log line
// that Exim writes. docs/patterns.md has the reasons and the proof.
package compose

import (
	"fmt"
	"strings"
)

// The parts of a line that Exim writes. No part but the address may hold a
// capturing group, and all of them stay within what Ruby's, Python's and Go's
// engines have in common. Each is written so that a text can be read in one way
// only: a hostile line must not keep an engine busy.
const (
	// Exim's own time: +millisec adds a fraction, log_timezone a zone.
	ownTime = `[-0-9]{10} [:0-9]{8}(?:\.[0-9]{3})?(?: [-+][0-9]{4})? `
	// What syslog puts before it, in its old and its new form.
	syslogTime = `(?:[A-Z][a-z]{2} [ 0-9][0-9] [:0-9]{8}|[-0-9]{10}T[-+.:0-9Z]+) [^ ]+ exim[-_0-9A-Za-z]*(?:\[[0-9]+\])?: `
	// +pid. The two together start every line, and a client cannot write there.
	start = `^(?:` + ownTime + `|` + syslogTime + `(?:` + ownTime + `)?)(?:\[[0-9]+\] )?`

	// A host's verified name: Exim believes no name with other characters (up to
	// 4.96 one with a slash, too).
	name = `(?:[-./0-9A-Za-z_]+ )?`
	// What the client calls itself: plain words, an address literal, or what a
	// Linux without a name says. Other brackets and parentheses would make the
	// line ambiguous.
	heloGiven = `(?:\((?:[^\[\]()]*|\[[^\[\]() ]*\]|\(none\))\) )`
	helo      = heloGiven + `?`
	// The address, the port with +incoming_port, our own end of the connection
	// with +incoming_interface, the ident name where rfc1413_hosts asks, and the
	// connection's number with +connection_id.
	peer = `\[__IP__\](?::[0-9]+)?(?: I=\[[0-9A-Fa-f:.]+\]:[0-9]+)?(?: U=[^ ]+)?(?: Ci=[0-9]+)?`
	// TLS details, which a connection to port 465 has from its start.
	fields = `(?: [A-Z]+(?:=(?:"[^"]*"|[^ "][^ ]*)?)?)*`
)

// refused is how Exim says that the connect ACL has refused a host. Since 4.98
// it asks that ACL before TLS begins on port 465, and says it in other words.
const refused = `(?:temporarily )?(?:rejected connection in "connect"|dropped by 'connect') ACL: `

// without gives an expression for any text in which literal does not occur.
// The literal's first character must not occur in it again.
//
// A client that may write anything could write a copy of Exim's words in front
// of its address as well as behind it, and no expression could tell which of
// the two addresses is its own. So where the client's text follows the address,
// it must not hold Exim's words.
//
// Nor do the characters in but occur in the text; they stand as in a set, and
// the literal holds none of them.
func without(literal, but string) string {
	set := func(chars string) string {
		return "[^" + chars + but + "]"
	}
	first, rest := literal[:1], literal[1:]
	if strings.Contains(rest, first) {
		panic("the first character of the literal occurs again: " + literal)
	}
	begun := "" // any beginning of rest that is not the whole of it
	for i := len(rest) - 2; i >= 0; i-- {
		begun = "(?:" + rest[i:i+1] + begun + ")?"
	}
	var turns []string // a beginning of rest, and then something else
	for i := range rest {
		turns = append(turns, rest[:i]+set(first+rest[i:i+1]))
	}
	again := "(?:" + begun + first + ")*"
	return "(?:" + set(first) + "|" + first + again + "(?:" + strings.Join(turns, "|") + "))*(?:" + first + again + begun + ")?"
}

// Exim's own end of the line is demanded too. From 4.98 on an over-long line
// keeps its beginning and ends with "**** log string overflowed log buffer ****":
// a long HELO name pushes the peer out of it, and what is left names whom the
// client likes. Our own rules count who writes so much.

// A Rule is one pattern of ours: the event it counts, what the administrator
// should know about it, and the expression.
type Rule struct {
	Event, Comment, Pattern string
}

// Rules gives our patterns in the order in which they stand in the file.
func Rules() []Rule {
	connect := func(what string) string {
		return start + `H=` + name + peer + fields + ` ` + what + `$`
	}
	own := func(what string) string { return start + `connect-acl: ` + what + `$` }
	return []Rule{
		{"auth-no-tls", "A password was about to be sent in the clear. Needs no log selector.",
			start + `H=` + name + helo + peer + ` rejected AUTH ` + without("d AUTH", "") + `: SSL or TLS encryption required when authenticating\.$`},
		{"auth-failed", "A login with a wrong name or password. Needs no log selector.",
			start + `[-0-9A-Za-z_]+ authenticator failed for ` + name + helo + peer + `: 535 Incorrect authentication data(?: \(` + without(": 535", "") + `\))?$`},
		{"auth-failed", "The same, with a user name made to look like somebody else's line. Written by our own rule.",
			own(`failed login from \[__IP__\]: forged user name`)},
		// Where rfc1413_hosts asks, the client's answer stands behind its address,
		// and the command in front: the two together must not hold a second peer.
		{"auth-not-advertised", "A robot tries to log in where no login is offered. Needs +smtp_protocol_error.",
			start + `SMTP protocol error in "AUTH` + without(" U=", "") + `" H=` + name + helo + peer + ` AUTH command used when not advertised`},
		{"history", "A host with a history of offences has come back. Written by our rule 30-check-symbiosis-db.",
			connect(refused + `Blacklisted: Denied access - history of unwanted activity(?: \([^()]*\))?`)},
		// A busy mail server is put off now and then and comes back later: that is
		// no offence. A rate of three figures has only who does not listen.
		{"rate", "A host has connected a hundred times in the period, though it was put off. Written by our rule 50-ratelimit.",
			connect(refused + `Sender deferred [1-9][0-9]{2,}(?:\.[0-9]+)? / [0-9a-z]+`)},
		{"dnsbl", "A host is on a DNS list. Written by our rule 60-check-dnsbls.",
			connect(refused + `[0-9A-Fa-f:.]+ is blacklisted at [^ ]+ \([^()]*\)`)},
		{"early-input", "A robot talks before the greeting. Needs no log selector.",
			start + `SMTP protocol synchronization error \(input sent without waiting for greeting\): rejected connection from H=` + name + peer + fields + ` input=".*$`},
		{"helo-refused", "A name that only robots use, or one made to forge log lines. Written by our rule 30-check-helo-name.",
			own(`refused HELO from \[__IP__\]: (?:bot name|forged characters)`)},
		// Who forges an address needs a bracket. Parentheses alone are no offence:
		// Exim writes "(no argument given)" for a bare EHLO, and "(none)" is a
		// Linux without a name.
		{"helo-refused", "The same, where Exim itself has refused the name. Needs no log selector.",
			start + `rejected (?:EHLO|HELO) from ` + name + peer + `: syntactically invalid argument\(s\): [^\[\]"]*[\[\]"].*$`},
		{"helo-refused", "The same after a HELO that Exim has taken.",
			start + `rejected (?:EHLO|HELO) from ` + name + heloGiven + peer + `: syntactically invalid argument\(s\): ` +
				without(": synt", `\[\]"`) + `[\[\]"]` + without(": synt", "") + `[^*\n]$`},
		{"auth-flood", "Too many failed logins from one host. Written by our rule 05-check-auth-failures.",
			own(`too many failed logins from \[__IP__\]`)},
		{"auth-refused", "An AUTH command made to forge log lines. Written by our rule 03-check-auth-argument.",
			own(`refused AUTH from \[__IP__\]: forged characters`)},
		{"command-refused", "A command made to forge log lines. Written by our rule 13-acl-connect-command.",
			own(`refused command from \[__IP__\]: forged characters`)},
		{"too-many-errors", "Too many unknown commands, or too many syntax errors, before any HELO. Needs no log selector.",
			start + `SMTP call from ` + name + peer + ` dropped: too many (?:unrecognized commands|syntax or protocol errors) \(last .*$`},
		{"too-many-errors", "The same after a HELO.",
			start + `SMTP call from ` + name + heloGiven + peer + ` dropped: too many (?:unrecognized commands|syntax or protocol errors) \(last ` + without(": too many", "") + `\)$`},
		{"too-many-errors", "The same, with a last command made to look like somebody else's line. Written by our own rule.",
			own(`too many bad commands from \[__IP__\]`)},
	}
}

//go:generate go run ./generate ../../../patterns.d/exim4.patterns

// File gives the whole of patterns.d/exim4.patterns.
func File() string {
	var b strings.Builder
	b.WriteString(`# symbiosis-connect-acl: what Exim's main log tells about hosts that do harm.
#
# Each pattern is anchored at both ends and takes the address that Exim wrote,
# wherever the line also carries text from the client. A client can get nobody
# else blocked by what it sends. docs/patterns.md has the reasons and the proof.
#
# "Written by our rule" means that the line comes from the configuration
# snippets of this package; the other lines are Exim's own.

file = /var/log/exim4/mainlog
ports = 25,465,587
`)
	for _, r := range Rules() {
		pattern := r.Pattern
		if !strings.HasSuffix(pattern, "$") {
			pattern += "$"
		}
		fmt.Fprintf(&b, "\n# %s\n%s\n", r.Comment, pattern)
	}
	return b.String()
}
