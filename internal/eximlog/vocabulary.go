package eximlog

import (
	"bytes"
	"strconv"
)

// A word is what one text of the rules begins with, and what that means. To
// extend the vocabulary, add a line: a test reads every log_message and logwrite
// of symbiosis.d and asks whether it is here.
type word struct {
	begins string
	kind   Kind
	rule   Rule
}

// own are the lines that begin with "connect-acl: ". After the words stands the
// address in brackets. A skipped check names no address.
var own = []word{
	{"refused HELO from ", Refused, HELO},
	{"would deny: HELO from ", Would, HELO},
	{"refused command from ", Refused, Command},
	{"would deny: command from ", Would, Command},
	{"refused AUTH from ", Refused, Command},
	{"would deny: AUTH from ", Would, Command},
	// It has become a guesser; up to 0.2.0 this was the refusal itself.
	{"too many failed logins from ", Offence, Auth},
	{"would deny: too many failed logins from ", Noted, Auth},
	{"refused login from ", PutOff, Auth},
	{"would deny: login from ", Would, Auth},
	{"refused offender ", Refused, Offences},
	{"failed login from ", Failed, Auth},
	{"failed login again from ", Failed, Auth},
	{"failed login of a known user from ", Failed, Auth},
	{"failed login, not counted, from ", Failed, Auth},
	{"account under attack: guess from ", Noted, Account},
	{"login given up by ", Noted, Auth},
	{"AUTH check skipped: ", Skipped, Auth},
	{"failed logins do not count: ", Skipped, Auth},
}

// messages are what stands in a line of Exim's after `rejected connection in
// "connect" ACL:` or "Warning:". The kind is that of the verb where it is None.
var messages = []word{
	{"Blacklisted: Denied access - history of unwanted activity", None, History},
	{"would deny: history ", Would, History},
	{"Blacklisted: Denied access - recent offences", None, Offences},
	{"Blacklisted: Denied access - guessed passwords", None, Offences},
	{"would deny: recent offences", Would, Offences},
	{"would deny: guessed passwords", Would, Offences},
	{"offences check skipped: ", Skipped, Offences},
	{"history passed over: ", Spared, History},
	{"history check skipped: ", Skipped, History},
	{"no reverse name", None, Reverse},
	{"would deny: no reverse name", Would, Reverse},
	{"Sender deferred ", None, Rate},
	{"would defer: rate ", Would, Rate},
	{"Sender rate ", Measured, Rate},
	{"rate check skipped: ", Skipped, Rate},
	{"would deny: listed at ", Would, DNSBL},
	{"DNSBL check: ", DeadLists, DNSBL},
	{"own DNS lists: ", Skipped, Own},
	{"Blacklisted: caught by another of our servers: ", None, Own},
	{"would deny: caught by another of our servers: ", Would, Own},
	{"would delay: ", Delay, Greeting},
	{"greeting check skipped: ", Skipped, Greeting},
	{"host database skipped", Skipped, Other},
	// Exim's own, when a condition of a statement could not be asked.
	{`ACL "warn" statement skipped: `, Skipped, Other},
}

var (
	rejected   = []byte(`rejected connection in "connect" ACL: `)
	tempReject = []byte(`temporarily rejected connection in "connect" ACL: `)
	dropped    = []byte("dropped by 'connect' ACL: ") // on 465 from 4.97 on, before TLS
	warning    = []byte("Warning: ")
	listedAt   = []byte(" is blacklisted at ")
)

// ownLine reads what stands after "connect-acl: ".
func (e *Event) ownLine(b []byte) bool {
	for _, w := range own {
		rest, ok := cut(b, w.begins)
		if !ok {
			continue
		}
		e.Kind, e.Rule = w.kind, w.rule
		if w.kind == Skipped {
			e.Check, _, _ = bytes.Cut(b, []byte(": "))
			e.Check, e.Detail = bytes.TrimSuffix(e.Check, []byte(" skipped")), rest
			return true
		}
		end := bytes.IndexByte(rest, ']')
		if end < 0 || rest[0] != '[' {
			return false
		}
		if e.Host, ok = parseAddr(rest[1:end]); !ok {
			return false
		}
		rest = rest[end+1:]
		if w.rule == Auth && bytes.HasPrefix(rest, []byte(": account under attack")) {
			e.Rule = Account
		}
		if w.kind == Failed {
			if bytes.HasPrefix(rest, []byte(": forged user name")) {
				e.Kind = Noted // Exim's own line is counted
				return true
			}
			if e.Ours = true; len(rest) > 0 {
				e.Detail = setID(rest)
			}
		}
		return true
	}
	return false
}

// hostLine reads a line that begins with H=.
func (e *Event) hostLine(b []byte) bool {
	text, ok := e.host(b)
	if !ok {
		return false
	}
	verb := None
	for {
		if rest, ok := bytes.CutPrefix(text, rejected); ok {
			verb, text = Refused, rest
		} else if rest, ok := bytes.CutPrefix(text, tempReject); ok {
			verb, text = PutOff, rest
		} else if rest, ok := bytes.CutPrefix(text, dropped); ok {
			verb, text = Refused, rest
		} else if rest, ok := bytes.CutPrefix(text, warning); ok {
			text = rest
		} else if text = afterField(text); text != nil {
			continue
		} else {
			return false
		}
		break
	}
	if rest, ok := e.blacklisted(text); ok && verb != None {
		e.Kind, e.Rule = verb, DNSBL
		e.list(rest)
		return true
	}
	for _, w := range messages {
		rest, ok := cut(text, w.begins)
		if !ok {
			continue
		}
		if e.Kind, e.Rule = w.kind, w.rule; w.kind == None {
			e.Kind = verb
		}
		switch {
		case e.Kind == None:
			return false // a refusal's words in a warning
		case e.Kind == Skipped:
			e.Check, e.Detail, _ = bytes.Cut(text, []byte(" skipped"))
			e.Detail = bytes.TrimLeft(e.Detail, ": ")
		case e.Kind == DeadLists:
			e.Detail = rest
		case e.Rule == DNSBL:
			e.list(rest)
		case e.Rule == Rate:
			e.rate(rest)
		}
		return true
	}
	// A rule that is not ours.
	if bytes.HasPrefix(text, []byte("would deny: ")) || bytes.HasPrefix(text, []byte("would defer: ")) {
		verb = Would
	}
	e.Kind, e.Rule = verb, Other
	return verb != None
}

// afterField passes over one field such as X=TLS1.3:… or SNI="…", nil where
// there is none. A sender's address (F=) ends the search: what follows is not
// about the connection.
func afterField(b []byte) []byte {
	i := 0
	for i < len(b) && i < 8 && 'A' <= b[i] && b[i] <= 'z' {
		i++
	}
	if i == 0 || i >= len(b) || b[i] != '=' || b[0] == 'F' {
		return nil
	}
	if b = b[i+1:]; len(b) > 0 && b[0] == '"' {
		end := bytes.IndexByte(b[1:], '"')
		if end < 0 {
			return nil
		}
		b = b[end+2:]
	} else if i = bytes.IndexByte(b, ' '); i >= 0 {
		b = b[i:]
	} else {
		return nil
	}
	return bytes.TrimPrefix(b, []byte(" "))
}

// blacklisted gives what stands after "ADDRESS is blacklisted at ".
func (e *Event) blacklisted(text []byte) (rest []byte, ok bool) {
	i := bytes.IndexByte(text, ' ')
	if i < 0 {
		return nil, false
	}
	return bytes.CutPrefix(text[i:], listedAt)
}

// list reads "zen.spamhaus.org (127.0.0.4, score 1)".
func (e *Event) list(b []byte) {
	zone, rest, _ := bytes.Cut(b, []byte(" ("))
	e.Detail = zone
	if _, score, ok := bytes.Cut(rest, []byte(" score ")); ok {
		e.Score, _ = number(score)
	}
}

// rate reads "12.0 / 15m".
func (e *Event) rate(b []byte) {
	rate, period, _ := bytes.Cut(b, []byte(" / "))
	e.Rate, _ = strconv.ParseFloat(string(rate), 64)
	e.Period = period
}

// cut is bytes.CutPrefix for a string.
func cut(b []byte, prefix string) ([]byte, bool) {
	if len(b) < len(prefix) || string(b[:len(prefix)]) != prefix {
		return nil, false
	}
	return b[len(prefix):], true
}
