// Package eximlog reads Exim's main log for what happened at the door: who was
// refused, by which rule, what learn mode would have refused, which check was
// skipped, who failed to log in, who delivered. vocabulary.go has all the words
// that the rules write.
//
// What a client says stands in many of these lines. So an address is taken only
// from where Exim alone can have written it, and a line that could be read in
// two ways is passed over.
package eximlog

import (
	"bytes"
	"net/netip"
)

// A Kind is what a line tells.
type Kind uint8

// The kinds.
const (
	None      Kind = iota // nothing for a report
	Refused               // a rule refused the host, or what it wanted
	PutOff                // a rule told it to come back later
	Would                 // a rule in learn mode would have done either
	Delay                 // learn mode would have let it wait for the greeting
	Spared                // a rule would have refused it, if it were not proven
	Skipped               // a check could not be made; Detail says why
	DeadLists             // DNS lists gave no answer; Detail names them
	Failed                // a login failed; Detail is the name, if it is known
	Delivered             // a message was accepted
	LoggedIn              // a message was accepted from somebody who has logged in
	Measured              // the rate rule measured a connection
	Noted                 // known, and counted elsewhere or not at all
	Offence               // the host did something that the firewall counts
)

// A Rule is the rule that a line is about.
type Rule uint8

// The rules, in the order in which they are asked.
const (
	Other Rule = iota // one of the administrator's own
	Reverse
	History
	Offences
	Rate
	Own // a DNS list of the administrator's own servers
	DNSBL
	Greeting
	HELO
	Command
	Auth
	Account
	Rules // how many there are
)

var ruleNames = [Rules]string{"other", "reverse", "history", "offences", "rate", "own-dnsbl", "dnsbl", "greeting", "helo", "command", "auth", "account"}

func (r Rule) String() string { return ruleNames[r] }

// An Event is what one line tells. Its slices are parts of the line, and last
// until the next one is read.
type Event struct {
	At     int64 // seconds since 1970
	Kind   Kind
	Rule   Rule
	Host   netip.Addr // invalid where the line names none that can be trusted
	Port   int        // of ours; 0 where the log does not say (+incoming_interface)
	Check  []byte     // the check that was skipped
	Ours   bool       // of Failed: up to 4.96 Exim's own line tells the same
	Detail []byte     // see Kind; of a refusal by DNS lists the list that decided
	Score  int        // of a refusal by DNS lists
	Rate   float64    // of Measured, and of what the rate rule put off
	Period []byte     // the period that Rate is for, such as 15m
}

// A Parser reads lines of one log, which are mostly in the order of time.
type Parser struct {
	clock clock
}

// Line reads one line, without its line break. ok is false when it has nothing
// for a report.
func (p *Parser) Line(line []byte) (e Event, ok bool) {
	at, rest, ok := p.clock.time(line)
	if !ok {
		return e, false
	}
	e.At = at
	if rest = afterPid(rest); len(rest) < 8 {
		return e, false
	}
	switch {
	case rest[0] == 'H' && rest[1] == '=':
		return e, e.hostLine(rest)
	case rest[0] == 'c' && bytes.HasPrefix(rest, ownPrefix):
		return e, e.ownLine(rest[len(ownPrefix):])
	case rest[0] == 'S' && bytes.HasPrefix(rest, earlyPrefix):
		e.Kind, e.Rule = Refused, Greeting
		_, ok := e.host(rest[len(earlyPrefix):])
		return e, ok
	case rest[0] == 'S' && bytes.HasPrefix(rest, protocolPrefix):
		// The command is the client's, and so is an ident name (U=).
		i := bytes.Index(rest, commandEnd)
		if i < 0 || bytes.Contains(rest[i+1:], commandEnd) {
			return e, false
		}
		tail, ok := e.host(rest[i+2:])
		e.Kind = Offence
		return e, ok && bytes.HasPrefix(tail, []byte("AUTH command used when not advertised"))
	}
	if id := messageID(rest); id > 0 {
		return e, bytes.HasPrefix(rest[id:], []byte("<= ")) && e.message(rest[id+3:])
	}
	if i := bytes.Index(rest, failedWords); i > 0 && bytes.IndexByte(rest[:i], ' ') < 0 {
		e.Kind, e.Rule = Failed, Auth
		tail, ok := e.host(rest[i+len(failedWords):])
		if !ok || !bytes.HasPrefix(tail, []byte(": 535")) && !bytes.HasPrefix(tail, []byte("535")) {
			return e, false
		}
		e.Detail = setID(tail)
		return e, true
	}
	return e, false
}

var (
	ownPrefix      = []byte("connect-acl: ")
	earlyPrefix    = []byte("SMTP protocol synchronization error (input sent without waiting for greeting): rejected connection from ")
	protocolPrefix = []byte(`SMTP protocol error in "`)
	failedWords    = []byte(" authenticator failed for ")
	commandEnd     = []byte(`" H=`)
	heloEnd        = []byte(") [")
)

// afterPid passes over what +pid writes.
func afterPid(b []byte) []byte {
	if len(b) == 0 || b[0] != '[' {
		return b
	}
	i := 1
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	if i > 1 && i+1 < len(b) && b[i] == ']' && b[i+1] == ' ' {
		return b[i+2:]
	}
	return b
}

// messageID gives the length of a message's id with the space after it, 0 where
// there is none: 1xWiZA-000AIm-0o, or 1xWiOU-000000002cC-3oSU from 4.97 on.
func messageID(b []byte) int {
	for _, middle := range [...]int{6, 11} {
		n := 6 + 1 + middle + 1
		tail := 2
		if middle == 11 {
			tail = 4
		}
		if len(b) > n+tail && b[6] == '-' && b[n-1] == '-' && b[n+tail] == ' ' {
			return n + tail + 1
		}
	}
	return 0
}

// host reads H=name (HELO) [address]:port I=[address]:port and the fields that
// may follow, and gives what stands after them. The HELO name is the client's.
// The HELO rule refuses one with ") [" in it; where that rule only learns, there
// is one ") [" too many.
func (e *Event) host(b []byte) (rest []byte, ok bool) {
	b, _ = bytes.CutPrefix(b, []byte("H="))
	open := bytes.IndexByte(b, '[')
	if open < 0 {
		return nil, false
	}
	if paren := bytes.IndexByte(b[:open], '('); paren >= 0 {
		if paren > 0 && bytes.IndexByte(b[:paren-1], ' ') >= 0 {
			return nil, false
		}
		end := bytes.Index(b[paren:], heloEnd)
		if end < 0 {
			return nil, false
		}
		open = paren + end + 2
		if bytes.Contains(b[open:], heloEnd) {
			return nil, false
		}
	} else if open > 0 && (b[open-1] != ' ' || bytes.IndexByte(b[:open-1], ' ') >= 0) {
		return nil, false
	}
	b = b[open+1:]
	end := bytes.IndexByte(b, ']')
	if end < 0 {
		return nil, false
	}
	if e.Host, ok = parseAddr(b[:end]); !ok {
		return nil, false
	}
	b = b[end+1:]
	if len(b) > 1 && b[0] == ':' && isDigit(b[1]) { // +incoming_port
		_, b = number(b[1:])
	}
	if after, ok := bytes.CutPrefix(b, []byte(" I=[")); ok {
		end := bytes.Index(after, []byte("]:"))
		if end < 0 {
			return nil, false
		}
		e.Port, b = number(after[end+2:])
	}
	if len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	return b, true
}

func number(b []byte) (n int, rest []byte) {
	i := 0
	for i < len(b) && isDigit(b[i]) && i < 9 {
		n = n*10 + int(b[i]-'0')
		i++
	}
	return n, b[i:]
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// parseAddr is netip.ParseAddr for what is mostly IPv4, without an allocation.
func parseAddr(b []byte) (netip.Addr, bool) {
	var a [4]byte
	n, part, digits := 0, 0, 0
	for _, c := range b {
		switch {
		case isDigit(c) && digits < 3:
			part = part*10 + int(c-'0')
			digits++
		case c == '.' && digits > 0 && part < 256 && n < 3:
			a[n] = byte(part)
			n, part, digits = n+1, 0, 0
		default:
			v6, err := netip.ParseAddr(string(b))
			return v6.Unmap(), err == nil && v6.Zone() == ""
		}
	}
	if n != 3 || digits == 0 || part > 255 {
		return netip.Addr{}, false
	}
	a[3] = byte(part)
	return netip.AddrFrom4(a), true
}

// message reads what stands after "<=": sender, then fields.
func (e *Event) message(b []byte) bool {
	i := 0
	if len(b) > 0 && b[0] == '"' { // a quoted local part, in which anything may stand
		for i = 1; i < len(b) && b[i] != '"'; i++ {
			if b[i] == '\\' {
				i++
			}
		}
	}
	next := bytes.IndexByte(b[min(i, len(b)):], ' ')
	if next < 0 {
		return false
	}
	for b = b[min(i, len(b))+next+1:]; ; {
		if bytes.HasPrefix(b, []byte("H=")) {
			break
		}
		// R= and U= may stand before it, and hold no space.
		if len(b) < 2 || b[0] != 'R' && b[0] != 'U' || b[1] != '=' {
			return false
		}
		if i := bytes.IndexByte(b, ' '); i < 0 {
			return false
		} else {
			b = b[i+1:]
		}
	}
	rest, ok := e.host(b)
	if !ok {
		return false
	}
	e.Kind = Delivered
	// The subject, which is the sender's, comes last.
	if i := bytes.Index(rest, []byte(" T=\"")); i >= 0 {
		rest = rest[:i]
	}
	if i := bytes.Index(rest, []byte(" A=")); i >= 0 {
		e.Kind = LoggedIn
	}
	return true
}

// setID gives the name in (set_id=NAME), nil where there is none or it is not
// plain.
func setID(b []byte) []byte {
	i := bytes.Index(b, []byte("(set_id="))
	if i < 0 || b[len(b)-1] != ')' {
		return nil
	}
	name := b[i+len("(set_id=") : len(b)-1]
	if len(name) == 0 || len(name) > 64 {
		return nil
	}
	for _, c := range name {
		if !(isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z' || bytes.IndexByte([]byte("@._+-"), c) >= 0) {
			return nil
		}
	}
	return name
}
