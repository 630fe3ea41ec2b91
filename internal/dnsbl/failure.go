package dnsbl

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// A FailureKind says in what way a list could not be asked.
type FailureKind int

const (
	NoAnswer     FailureKind = iota + 1 // silence until the deadline
	Unreachable                         // no resolver listens
	ServerFailed                        // SERVFAIL, a malformed answer and the like
	Refused                             // REFUSED, or a server that does not resolve
	ErrorCode                           // the list answered with an error code
	NotAList                            // the answer is outside 127.0.0.0/8
)

// A Failure is why a list added nothing to the score, and what to do about
// it. Both texts are fit for a log line and name no zone.
type Failure struct {
	Kind   FailureKind
	Reason string
	Remedy string
}

// Error gives the reason and the remedy in one line.
func (f *Failure) Error() string { return f.Reason + "; " + f.Remedy }

func unreachable(server netip.AddrPort, err error) *Failure {
	return &Failure{
		Kind:   Unreachable,
		Reason: fmt.Sprintf("resolver %s: %s", server, plain(err)),
		Remedy: "see that the resolver runs",
	}
}

func serverFailed(server netip.AddrPort, what string) *Failure {
	return &Failure{
		Kind:   ServerFailed,
		Reason: fmt.Sprintf("%s from %s", what, server),
		Remedy: "if this lasts, the list or the resolver is broken: test the list, and take it out if it is gone",
	}
}

// noAnswer is for a question that was pending at the deadline. Where another
// resolver did say something, that is said too.
func noAnswer(timeout time.Duration, last *Failure) *Failure {
	f := &Failure{
		Kind:   NoAnswer,
		Reason: fmt.Sprintf("no answer within %v", timeout),
		Remedy: "if this lasts, the list or the resolver is down: test the list, and take it out if it is gone",
	}
	if last != nil {
		f.Reason += " (" + last.Reason + ")"
	}
	return f
}

// answerFailure finds what makes an answer worthless: one error code, or one
// address that no list has, and nothing else in it is to be believed.
func answerFailure(zone string, addrs []netip.Addr) *Failure {
	for _, a := range addrs {
		if !isCode(a) {
			return &Failure{
				Kind:   NotAList,
				Reason: fmt.Sprintf("answered %s, which is outside 127.0.0.0/8", a),
				Remedy: "the list is gone, or the resolver rewrites answers: take the list out, or use another resolver",
			}
		}
		if f := codeFailure(zone, a); f != nil {
			return f
		}
	}
	return nil
}

// codeFailure explains the error codes of 127.255.255.0/24, whose meanings
// Spamhaus published and other lists took over, and dnswl.org's own.
func codeFailure(zone string, a netip.Addr) *Failure {
	f := &Failure{Kind: ErrorCode}
	switch b := a.As4(); {
	case a == addr12700255 && (zone == "dnswl.org" || strings.HasSuffix(zone, ".dnswl.org")):
		f.Reason = "answered 127.0.0.255: too many queries"
		f.Remedy = "ask through a resolver of your own, or subscribe to the list"
	case !isError(a):
		return nil
	case b[3] == 252:
		f.Reason = "answered 127.255.255.252: the zone's name is mistyped"
		f.Remedy = "correct the name"
	case b[3] == 254:
		f.Reason = "answered 127.255.255.254: the query came through a public resolver"
		f.Remedy = "ask through a resolver of your own, or use a Data Query Service key"
	case b[3] == 255:
		f.Reason = "answered 127.255.255.255: too many queries"
		f.Remedy = "use a Data Query Service key, or another list"
	default:
		f.Reason = fmt.Sprintf("answered the error code %s", a)
		f.Remedy = "see the list's documentation"
	}
	return f
}

// refusedBy127001 is for the answer 127.0.0.1 that nobody asked for.
func refusedBy127001() *Failure {
	return &Failure{
		Kind:   ErrorCode,
		Reason: "answered 127.0.0.1, with which lists refuse a query",
		Remedy: "ask through a resolver of your own; if the list does mean a listing, add =127.0.0.1",
	}
}
