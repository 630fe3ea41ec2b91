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
	// What syslog puts before Exim's words, in its old and its new form. A line
	// of the main log begins with a figure and has a space after the date.
	syslog = `(?:(?:[A-Z][a-z]+ [ 0-9]+ |[-0-9]+T)[^ ]+ [^ ]+ exim[^ ]*: )?`
	// Exim's own time, with +millisec, a zone (log_timezone) and +pid. All of it
	// is figures: no word of Exim's or of a client's can be taken for it, and so
	// what follows in a pattern is the first thing that Exim says.
	start = `^` + syslog + `(?:[-+.:\[\]0-9]+ )*`

	// A host's verified name. It may hold anything but what begins the next part:
	// Exim believes no name with brackets, parentheses or spaces.
	name = `(?:[^ (\[]+ )?`
	// What the client calls itself: anything without a bracket, or an address
	// literal. A forger has to write a bracket, and then the pattern takes his
	// address only if the client's own, which follows, can be passed over too.
	heloGiven = `\(\[?[^\[\]]*\]?\) `
	helo      = `(?:` + heloGiven + `)?`
	// The address, and the port with +incoming_port.
	address = `\[__IP__\](?::[0-9]+)?`
	// Behind it our own end of the connection with +incoming_interface, the ident
	// name where rfc1413_hosts asks, and the connection's number with
	// +connection_id.
	peer = address + `(?: (?:I|U|Ci)=[^ ]+)*`
	// And before there is a HELO name: TLS details, too, which a connection to
	// port 465 has from its start.
	stranger = address + `(?: [A-Za-z]+=(?:"[^"]*"|[^ "][^ ]*))*`
)

// refused is how Exim says that the connect ACL has refused a host. Since 4.98
// it asks that ACL before TLS begins on port 465, and says it in other words.
const refused = ` (?:temporarily )?(?:rejected connection in "connect"|dropped by 'connect') ACL: `

// without gives an expression for any text in which literal does not occur. The
// literal's first character must not occur in it again.
//
// A client that may write anything could write a copy of Exim's words in front
// of its address as well as behind it, and no expression could tell which of
// the two addresses is its own. So where the client's text follows the address,
// it must not hold Exim's words. A few letters of them are enough.
func without(literal string) string {
	first, rest := literal[:1], literal[1:]
	if strings.Contains(rest, first) {
		panic("the first character of the literal occurs again: " + literal)
	}
	not := func(chars string) string { return "[^" + chars + "]" }
	other := "" // what may follow first, and more and more of rest
	for i := len(rest) - 1; i >= 0; i-- {
		c := rest[i : i+1]
		if other != "" {
			other = "|" + c + other
		}
		other = "(?:" + not(first+c) + not(first) + "*" + other + ")?"
	}
	return not(first) + "*(?:" + first + other + ")*"
}

// mechanism is the first word after AUTH. An FTP client that a link has sent
// here says "AUTH TLS" or "AUTH SSL"; a mail program says neither. Nor does the
// word begin a second "U=", see the pattern in which it stands.
const mechanism = `(?:[^ STUstu][^ ]*|[STst](?:[^ LSls][^ ]*)?|[Uu](?:[^ =][^ ]*)?)`

// Exim's own end of the line is demanded too. From 4.98 on an over-long line
// keeps its beginning and ends with "**** log string overflowed log buffer ****":
// a long HELO name pushes the peer out of it, and what is left names whom the
// client likes. Our own rules count who writes so much.

// A Rule is one pattern of ours.
type Rule struct {
	Event   string // what it counts
	Comment string // what the administrator should know about it
	Example string // a line that a real Exim has written
	Pattern string
}

// Rules gives our patterns in the order in which they stand in the file.
func Rules() []Rule {
	own := func(what string) string { return start + `connect-acl: ` + what + `$` }
	return []Rule{
		{"auth-no-tls", "A password was about to be sent in the clear.",
			`2026-11-23 13:26:22 H=(client.example.net) [45.80.1.2] rejected AUTH LOGIN: SSL or TLS encryption required when authenticating.`,
			start + `H=` + name + helo + peer + ` rejected AUTH [^\[]*: SSL or TLS encryption required when authenticating\.$`},
		// Exim's own line repeats at every try, and its end is the client's.
		{"auth-failed", "A failed login, a new guess. Written by our rule 15-acl-connect-login.",
			`2026-11-23 13:26:23 connect-acl: failed login from [45.80.5.6] (set_id=info@example.org)`,
			own(`failed login from \[__IP__\](?: \(set_id=[-+.@0-9A-Z_a-z]+\))?`)},
		// Where rfc1413_hosts asks, the client's answer stands behind its address,
		// and the command in front: the two together must not hold a second peer.
		{"auth-not-advertised", "A robot tries to log in where no login is offered. Needs +smtp_protocol_error in log_selector.",
			`2026-11-23 13:26:23 SMTP protocol error in "AUTH LOGIN" H=(a.example.net) [45.80.18.19] AUTH command used when not advertised`,
			start + `SMTP protocol error in "(?i:AUTH)[^ ]*(?: +(?:` + mechanism + `(?: ` + without(" U=") + `)?)?)?" H=` + name + helo + peer + ` AUTH command used when not advertised$`},
		{"history", "A host with a history of offences has come back. Written by our rule 30-check-symbiosis-db.",
			`2026-11-23 13:26:23 H=[45.80.19.20] rejected connection in "connect" ACL: Blacklisted: Denied access - history of unwanted activity (count 42, threshold 10)`,
			start + `H=` + name + stranger + refused + `Blacklisted: Denied access - history of unwanted activity(?: \([^()]*\))?$`},
		// A web client can be sent here by a link. It never says HELO.
		{"early-input", "A mail robot talks before the greeting.",
			`2026-11-23 13:26:27 SMTP protocol synchronization error (input sent without waiting for greeting): rejected connection from H=[46.80.22.23] input="EHLO ylmf-pc\r\nAUTH LOGIN\r\n"`,
			start + `SMTP protocol synchronization error \(input sent without waiting for greeting\): rejected connection from H=` + name + stranger + ` input="(?i:EHLO|HELO).*$`},
		{"helo-refused", "A name that only robots use, or one made to forge log lines. Written by our rule 30-check-helo-name.",
			`2026-11-23 13:26:31 connect-acl: refused HELO from [45.80.34.35]: bot name`,
			own(`refused HELO from \[__IP__\]: (?:bot name|forged characters)`)},
		// Who forges an address needs a bracket. Parentheses alone are no offence:
		// Exim writes "(no argument given)" for a bare EHLO, and "(none)" is a
		// Linux without a name.
		{"helo-refused", "A HELO name made to forge log lines, which Exim itself has refused.",
			`2026-11-23 13:26:36 rejected EHLO from [45.80.74.75]: syntactically invalid argument(s): x) [8.8.8.8]: 535 Incorrect authentication data (set_id=y`,
			start + `rejected (?:EHLO|HELO) from ` + name + peer + `: syntactically invalid argument\(s\): [^\[\]"]*[\[\]"].*$`},
		// A name like a line of Exim's can stand in front only where Exim takes any
		// (465 and 587). There it refuses none but the empty one, and says so in a
		// line that ends with "(no argument given)".
		{"helo-refused", "A second HELO name of that kind, after one that Exim has taken.",
			`2026-11-23 13:26:40 rejected EHLO from (a.example.net) [45.80.98.99]: syntactically invalid argument(s): x) [8.8.8.8]: 535 Incorrect authentication data (set_id=y`,
			start + `rejected (?:EHLO|HELO) from ` + name + heloGiven + peer + `: syntactically invalid argument\(s\): [^\[\]"]*[\[\]"].*(?:[^)*\n]|[^n]\))$`},
		{"auth-flood", "Too many guesses from one host, once a day at most. Written by our rule 15-acl-connect-login.",
			`2026-11-23 13:26:31 connect-acl: too many failed logins from [45.80.38.39]`,
			own(`too many failed logins from \[__IP__\]`)},
		{"auth-refused", "An AUTH command made to forge log lines. Written by our rule 03-check-auth-argument.",
			`2026-11-23 13:26:37 connect-acl: refused AUTH from [45.80.80.81]: forged characters`,
			own(`refused AUTH from \[__IP__\]: forged characters`)},
		// Where the HELO name is the host's own Exim leaves it out, and a relay that
		// a smuggler makes talk nonsense looks as if it had said none. So there must
		// be no name. And the last line must not be one of HTTP's: a header, or the
		// empty one behind them.
		{"too-many-errors", "Nothing but unknown commands, and not a web client's, before any HELO.",
			`2026-11-23 13:26:31 SMTP call from [45.80.42.43] dropped: too many unrecognized commands (last was "XYZZY")`,
			start + `SMTP call from ` + peer + ` dropped: too many unrecognized commands \(last was "[-0-9A-Z_a-z]*(?:[^-0-9A-Z_a-z:"]|[-0-9A-Z_a-z]").*$`},
		// The list of what Exim has understood holds no EHLO, HELO or AUTH.
		{"too-many-errors", "Nothing but commands of a mail, again and again, before any HELO.",
			`2026-11-23 13:26:39 SMTP call from [45.80.93.94] dropped: too many syntax or protocol errors (last command was "RCPT TO:<x) [8.8.8.8]: 535 Incorrect authentication data (set_id=y>",  C=RCPT,RCPT,RCPT,RCPT)`,
			start + `SMTP call from ` + name + peer + ` dropped: too many syntax or protocol errors \(last command was ".*", +C=(?:[BDI-Z][A-Z]+[,)])+$`},
	}
}

//go:generate go run ./generate ../../../patterns.d/exim4.patterns

// File gives the whole of patterns.d/exim4.patterns.
func File() string {
	var b strings.Builder
	b.WriteString(`# symbiosis-connect-acl: what Exim's main log tells about hosts that do harm.
#
# Above each pattern stands what it counts, and a line of a real log that it
# takes an address from: that of the host which Exim talked to, wherever the line
# also carries text from the client. A host gets nobody else blocked by what it
# sends, and what others can make it do is not counted. docs/patterns.md has the
# reasons and the proof.
#
# "Written by our rule" means that the line comes from the configuration
# snippets of this package; the other lines are Exim's own.

file = /var/log/exim4/mainlog
ports = 25,465,587
`)
	for _, r := range Rules() {
		fmt.Fprintf(&b, "\n# %s\n# Example: %s\n%s\n", r.Comment, r.Example, r.Pattern)
	}
	return b.String()
}
