package patterns

import (
	"bytes"
	"net/netip"
)

// Peers gives the hosts that a line of Exim's main log may be about: the
// addresses that stand where Exim writes the peer's. It is one for nearly every
// line, and none for a line that is not Exim's or names no peer. It is more
// than one where the client has written a copy of Exim's own words, so that
// nobody can tell its text from Exim's.
func Peers(line []byte) []netip.Addr {
	text := line
	// What follows the peer's address in this kind of line, and whether what
	// the client may write stands on one side of the address only.
	var tail func(rest []byte) bool
	last, ident := false, false
	switch {
	case has(text, ` SMTP protocol error in "`), has(text, ` SMTP syntax error in "`):
		last = true // the client's command stands in front, and behind only Exim's words, or its answer to who its user is
	case has(text, ` SMTP protocol synchronization error (next input`):
		return nil // the client's text is on both sides
	case has(text, ` SMTP protocol synchronization error (`), has(text, ` connect-acl: `):
		// With +pid and in syslog a number in brackets stands before it, which
		// is no address; nothing of the client's does.
		if a, _, ok := bracketed(text, 0); ok {
			return []netip.Addr{a}
		}
		return nil
	case has(text, ` authenticator failed for `):
		tail = func(rest []byte) bool {
			return len(rest) > 5 && rest[0] == ':' && rest[1] == ' ' && digits(rest[2:5])
		}
	case has(text, ` SMTP call from `):
		tail = func(rest []byte) bool { return starts(rest, " dropped: ") || starts(rest, " lost") }
	case has(text, " rejected EHLO from "), has(text, " rejected HELO from "):
		tail = func(rest []byte) bool { return starts(rest, ": syntactically invalid") }
	case has(text, " H="):
		tail = func(rest []byte) bool {
			for _, word := range []string{" rejected ", " temporarily rejected ", " Warning: ", " F=<", " X=", " CV=", " SNI=", " DN=", " DS", " A=", " U=", " P=", " sender verify", " incomplete transaction"} {
				if starts(rest, word) {
					return true
				}
			}
			return false
		}
	default:
		return nil
	}
	var peers []netip.Addr
	for at := 0; ; {
		a, next, ok := bracketed(text, at)
		if !ok {
			return peers
		}
		open := next.open
		at = next.close
		if open >= 2 && text[open-1] == '=' && text[open-2] == 'I' || open >= 1 && text[open-1] == '(' {
			continue // our own address, or an address literal as the HELO name
		}
		rest := text[next.close:]
		if n := port(rest); n > 0 {
			rest = rest[n:]
		}
		if starts(rest, " I=[") {
			if end := bytes.IndexByte(rest, ']'); end > 0 {
				rest = rest[end+1:]
				rest = rest[port(rest):]
			}
		}
		if starts(rest, " Ci=") { // +connection_id
			rest = bytes.TrimLeft(rest[len(" Ci="):], "0123456789")
		}
		switch {
		case last:
			if !ident {
				peers = peers[:0]
			}
			if !contains(peers, a) {
				peers = append(peers, a)
			}
			ident = ident || starts(rest, " U=")
		case tail(rest) && len(peers) == 0 && !(open >= 2 && text[open-2] == ')'):
			// No HELO name stands before it, so nothing of the client's does.
			return []netip.Addr{a}
		case starts(rest, " rejected connection in ") || starts(rest, " temporarily rejected connection in "):
			// A connection is judged before there is a HELO name, so this is the client's text.
		case tail(rest) && !contains(peers, a):
			peers = append(peers, a)
		}
	}
}

type brackets struct{ open, close int } // of a bracketed address: at "[", and behind "]"

// bracketed finds the next address in square brackets at or after from.
func bracketed(text []byte, from int) (netip.Addr, brackets, bool) {
	for {
		i := bytes.IndexByte(text[from:], '[')
		if i < 0 {
			return netip.Addr{}, brackets{}, false
		}
		open := from + i
		j := bytes.IndexByte(text[open:], ']')
		if j < 0 {
			return netip.Addr{}, brackets{}, false
		}
		if a, err := netip.ParseAddr(string(text[open+1 : open+j])); err == nil {
			return a.Unmap(), brackets{open, open + j + 1}, true
		}
		from = open + 1
	}
}

// port gives the length of ":25" at the start of rest, and 0 without it.
func port(rest []byte) int {
	if len(rest) == 0 || rest[0] != ':' {
		return 0
	}
	n := 1
	for n < len(rest) && '0' <= rest[n] && rest[n] <= '9' {
		n++
	}
	if n == 1 {
		return 0
	}
	return n
}

func has(text []byte, word string) bool    { return bytes.Contains(text, []byte(word)) }
func starts(text []byte, word string) bool { return bytes.HasPrefix(text, []byte(word)) }

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
