package dnsbl

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"
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

func failedOverTCP(server netip.AddrPort, err error) *Failure {
	return &Failure{
		Kind:   ServerFailed,
		Reason: fmt.Sprintf("%s cut the answer short and then failed over TCP (%s)", server, plain(err)),
		Remedy: "let this host reach the resolver on TCP port 53",
	}
}

// replyFailure explains a reply that does not say whether the list has the
// host; of one that does, it is nil.
func replyFailure(server netip.AddrPort, r reply) *Failure {
	switch {
	case r.malformed:
		return serverFailed(server, "a malformed answer")
	case r.cutShort():
		return serverFailed(server, "an answer cut short even over TCP")
	case r.referral:
		return &Failure{
			Kind:   Refused,
			Reason: fmt.Sprintf("%s does not resolve for this host", server),
			Remedy: "name a recursive resolver",
		}
	case r.rcode == dnsmessage.RCodeSuccess || r.rcode == dnsmessage.RCodeNameError:
		return nil
	case r.rcode == dnsmessage.RCodeRefused:
		return &Failure{
			Kind:   Refused,
			Reason: fmt.Sprintf("REFUSED from %s", server),
			Remedy: "see that the resolver serves this host, and whether the list wants its users to register",
		}
	}
	return serverFailed(server, rcodeName(r.rcode))
}

func rcodeName(c dnsmessage.RCode) string {
	switch c {
	case dnsmessage.RCodeServerFailure:
		return "SERVFAIL"
	case dnsmessage.RCodeFormatError:
		return "FORMERR"
	case dnsmessage.RCodeNotImplemented:
		return "NOTIMP"
	}
	return fmt.Sprintf("response code %d", c)
}

// plain says what is wrong with a connection without repeating both addresses.
func plain(err error) string {
	var errno syscall.Errno
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &errno):
		return errno.Error()
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	}
	return err.Error()
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
