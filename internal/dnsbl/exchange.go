package dnsbl

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// An exchange carries questions to the resolvers and answers back. Each
// question has a goroutine, and each server that it turns to has another with
// a connected socket of its own: the kernel then drops what comes from any
// other address and reports a port where nobody listens. Outcomes are handed
// over in the goroutine that calls run, and all that follows from them stays
// there.
type exchange struct {
	ctx      context.Context // done at the deadline, or when the exchange is closed
	cancel   context.CancelFunc
	servers  []netip.AddrPort
	attempts int           // with each server
	interval time.Duration // from turning to one server to turning to the next
	pending  map[*query]bool
	answered chan answered
}

// A query is one question.
type query struct {
	question
	fail atomic.Pointer[Failure] // the last that a server reported
	done func(outcome)
}

// An outcome is what became of a question: a reply with NOERROR or NXDOMAIN,
// or a failure.
type outcome struct {
	reply
	server int
	fail   *Failure
}

type answered struct {
	*query
	outcome
}

func newExchange(r Resolvers, deadline time.Time) *exchange {
	x := &exchange{
		servers:  r.Servers,
		attempts: max(r.Attempts, 1),
		pending:  make(map[*query]bool),
		answered: make(chan answered),
	}
	x.ctx, x.cancel = context.WithDeadline(context.Background(), deadline)
	// Every try gets an equal share of the time, so that the last resolver
	// can still answer when all before it are silent.
	tries := time.Duration(x.attempts * len(x.servers))
	x.interval = max(time.Until(deadline)/tries, time.Millisecond)
	if r.Timeout > 0 {
		x.interval = min(x.interval, r.Timeout)
	}
	return x
}

// close ends the exchange; questions without an answer stay so.
func (x *exchange) close() { x.cancel() }

// ask sends a question, to the given server first. run calls done with its
// outcome.
func (x *exchange) ask(q question, first int, done func(outcome)) {
	qu := &query{question: q, done: done}
	x.pending[qu] = true
	go x.resolve(qu, first)
}

// run hands over outcomes until stop says so, nothing is pending, the deadline
// has passed or ctx is done.
func (x *exchange) run(ctx context.Context, stop func() bool) {
	defer context.AfterFunc(ctx, x.cancel)()
	for len(x.pending) > 0 && !stop() {
		select {
		case <-x.ctx.Done():
			return
		case a := <-x.answered:
			delete(x.pending, a.query)
			a.done(a.outcome)
		}
	}
}

// expire gives the questions that are still pending after run their outcome:
// no answer in all that time.
func (x *exchange) expire(after time.Duration) {
	for qu := range x.pending {
		qu.done(outcome{fail: noAnswer(after, qu.fail.Load())})
	}
	clear(x.pending)
}

// resolve asks one server, turns to the next when that one fails or is silent
// for the interval, and takes the first reply, whoever sends it. The question
// has failed when all servers have.
func (x *exchange) resolve(qu *query, first int) {
	ctx, cancel := context.WithCancel(x.ctx)
	defer cancel()
	heard := make(chan outcome, len(x.servers))
	next := time.NewTimer(0)
	defer next.Stop()
	asked, failed := 0, 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
			server := (first + asked) % len(x.servers)
			go func() { heard <- x.askServer(ctx, qu.question, server) }()
			if asked++; asked < len(x.servers) {
				next.Reset(x.interval)
			}
		case o := <-heard:
			if ctx.Err() != nil {
				return // it was cut off, which is no failure of the server
			}
			if o.fail != nil {
				qu.fail.Store(o.fail)
				if failed++; failed < len(x.servers) {
					if asked < len(x.servers) {
						next.Reset(0)
					}
					continue
				}
			}
			select {
			case x.answered <- answered{qu, o}:
			case <-ctx.Done():
			}
			return
		}
	}
}

// askServer asks one server, over TCP when the answer is too long for UDP.
func (x *exchange) askServer(ctx context.Context, q question, server int) outcome {
	addr := x.servers[server]
	r, err := x.askUDP(ctx, q, addr)
	if err != nil {
		return outcome{server: server, fail: unreachable(addr, err)}
	}
	if r.cutShort() {
		if r, err = askTCP(ctx, q, addr); err != nil {
			return outcome{server: server, fail: failedOverTCP(addr, err)}
		}
	}
	return outcome{reply: r, server: server, fail: replyFailure(addr, r)}
}

// askUDP asks again after a round of silence, because UDP loses packets.
func (x *exchange) askUDP(ctx context.Context, q question, server netip.AddrPort) (reply, error) {
	conn, err := dial(ctx, "udp", server)
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	id, edns, buf := newID(), true, make([]byte, 4096)
	for sent := 1; ; {
		msg, err := q.pack(id, edns)
		if err == nil {
			_, err = conn.Write(msg[2:])
		}
		if err != nil {
			return reply{}, err
		}
		var again time.Time // none: the last wait ends with ctx
		if sent < x.attempts {
			again = time.Now().Add(x.interval * time.Duration(len(x.servers)))
		}
		conn.SetReadDeadline(again)
		r, err := receive(id, q, func() ([]byte, error) {
			n, err := conn.Read(buf)
			return buf[:n], err
		})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			sent++
		case edns && err == nil && (r.rcode == dnsmessage.RCodeFormatError || r.rcode == dnsmessage.RCodeNotImplemented):
			edns = false // RFC 6891 section 7: the server does not know it
		default:
			return r, err
		}
	}
}

// askTCP asks over TCP (RFC 7766). EDNS has no size to tell there.
func askTCP(ctx context.Context, q question, server netip.AddrPort) (reply, error) {
	conn, err := dial(ctx, "tcp", server)
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	id := newID()
	msg, err := q.pack(id, false)
	if err == nil {
		_, err = conn.Write(msg)
	}
	if err != nil {
		return reply{}, err
	}
	return receive(id, q, func() ([]byte, error) {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return nil, err
		}
		msg := make([]byte, binary.BigEndian.Uint16(size[:]))
		_, err := io.ReadFull(conn, msg)
		return msg, err
	})
}

// dial connects to a server. The connection closes when ctx is done.
func dial(ctx context.Context, network string, server netip.AddrPort) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, server.String())
	if err == nil {
		context.AfterFunc(ctx, func() { conn.Close() })
	}
	return conn, err
}

func newID() uint16 { return uint16(rand.Uint32()) }

// receive reads messages until one answers q; others may be somebody's guess.
func receive(id uint16, q question, read func() ([]byte, error)) (reply, error) {
	for {
		msg, err := read()
		if err != nil {
			return reply{}, err
		}
		if got, ok := messageID(msg); !ok || got != id {
			continue
		}
		if r, ours := parseReply(msg, q); ours {
			return r, nil
		}
	}
}
