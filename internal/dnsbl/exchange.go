package dnsbl

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// An exchange carries questions to the resolvers and answers back. It opens
// one connected UDP socket for each resolver that it has to turn to, however
// many questions there are: the kernel then drops what comes from any other
// address and reports a port where nobody listens. All its state belongs to
// the goroutine that calls run; the others only read sockets.
type exchange struct {
	servers  []*server
	interval time.Duration // from one try of a question to the next
	tries    int           // of each question at most
	pending  map[uint16]*query
	events   chan event
	quit     chan struct{}
	deadline time.Time
}

type server struct {
	addr   netip.AddrPort
	conn   *net.UDPConn // nil until it is turned to
	noEDNS bool
	down   error // why it is not to be turned to any more
}

// A query is one question that has no answer yet.
type query struct {
	id    uint16
	q     question
	state []askState // by server
	edns  []bool     // by server: whether it was last asked with EDNS
	last  int        // the server tried last
	tried int
	next  time.Time // of the next try
	fail  *Failure  // the last that a server reported
	done  func(outcome)
}

type askState uint8

const (
	unasked askState = iota
	asked
	askedTCP
	failed
)

// An outcome is what became of a question: a reply with NOERROR or NXDOMAIN,
// or a failure.
type outcome struct {
	reply
	server int
	fail   *Failure
}

// An event is something that a socket had to say.
type event struct {
	server int
	msg    []byte
	err    error
	tcp    bool
	id     uint16 // of the question, for TCP
}

func newExchange(r Resolvers, deadline time.Time) *exchange {
	n := len(r.Servers)
	x := &exchange{
		tries:    max(r.Attempts, 1) * n,
		pending:  make(map[uint16]*query),
		events:   make(chan event, 16),
		quit:     make(chan struct{}),
		deadline: deadline,
	}
	for _, addr := range r.Servers {
		x.servers = append(x.servers, &server{addr: addr})
	}
	// Every try gets an equal share of the time, so that the last resolver
	// can still answer when all before it are silent.
	x.interval = max(time.Until(deadline)/time.Duration(x.tries), time.Millisecond)
	if r.Timeout > 0 {
		x.interval = min(x.interval, r.Timeout)
	}
	return x
}

// close ends the exchange; questions without an answer stay so.
func (x *exchange) close() {
	close(x.quit)
	for _, s := range x.servers {
		if s.conn != nil {
			s.conn.Close()
		}
	}
}

// ask sends a question, to the given server first, and calls done from within
// ask or run when its outcome is known. It is not called for a question that
// is still pending when run returns.
func (x *exchange) ask(q question, first int, done func(outcome)) {
	qu := &query{q: q, state: make([]askState, len(x.servers)), edns: make([]bool, len(x.servers)), last: first - 1, done: done}
	for {
		qu.id = uint16(rand.Uint32())
		if _, taken := x.pending[qu.id]; !taken {
			break
		}
	}
	x.pending[qu.id] = qu
	x.try(qu)
}

// run handles answers until stop says so, nothing is pending, the deadline
// has passed or ctx is done.
func (x *exchange) run(ctx context.Context, stop func() bool) {
	deadline := time.NewTimer(time.Until(x.deadline))
	defer deadline.Stop()
	retry := time.NewTimer(x.interval)
	defer retry.Stop()
	for len(x.pending) > 0 && !stop() {
		retry.Reset(time.Until(x.nextTry()))
		select {
		case <-ctx.Done():
			return
		case <-deadline.C:
			return
		case <-retry.C:
			now := time.Now()
			for _, qu := range x.pending {
				if !qu.next.After(now) {
					x.try(qu)
				}
			}
		case ev := <-x.events:
			x.handle(ev)
		}
	}
}

func (x *exchange) nextTry() time.Time {
	next := x.deadline
	for _, qu := range x.pending {
		if qu.next.Before(next) {
			next = qu.next
		}
	}
	return next
}

// try sends qu to the next server in turn that has not failed it. Without one
// it has its outcome, except while an answer may still come.
func (x *exchange) try(qu *query) {
	qu.next = time.Now().Add(x.interval)
	if qu.tried >= x.tries {
		qu.next = x.deadline
		return
	}
	for range x.servers {
		i := (qu.last + 1) % len(x.servers)
		qu.last = i
		if qu.state[i] == failed || qu.state[i] == askedTCP {
			continue
		}
		qu.tried++
		if err := x.send(qu, i); err != nil {
			wasAsked := qu.state[i] == asked
			x.markDown(i, err)
			if wasAsked || x.pending[qu.id] != qu {
				return // it went on to another server there, or has ended
			}
			continue
		}
		qu.state[i] = asked
		return
	}
	x.giveUp(qu)
}

// giveUp ends a question that every server has failed.
func (x *exchange) giveUp(qu *query) {
	for _, s := range qu.state {
		if s != failed {
			return
		}
	}
	x.finish(qu, outcome{server: qu.last, fail: qu.fail})
}

func (x *exchange) finish(qu *query, o outcome) {
	if x.pending[qu.id] != qu {
		return
	}
	delete(x.pending, qu.id)
	qu.done(o)
}

func (x *exchange) send(qu *query, i int) error {
	s := x.servers[i]
	if s.down != nil {
		return s.down
	}
	if s.conn == nil {
		conn, err := net.DialUDP("udp", nil, udpAddr(s.addr))
		if err != nil {
			return err
		}
		// A full send buffer must not hold anything up either.
		conn.SetDeadline(x.deadline)
		s.conn = conn
		go x.read(i, conn)
	}
	msg, err := qu.q.pack(qu.id, !s.noEDNS)
	if err != nil {
		return err
	}
	qu.edns[i] = !s.noEDNS
	_, err = s.conn.Write(msg[2:])
	return err
}

// read passes on what a server sends.
func (x *exchange) read(i int, conn *net.UDPConn) {
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		ev := event{server: i, err: err}
		if err == nil {
			ev.msg = append([]byte(nil), buf[:n]...)
		}
		select {
		case x.events <- ev:
		case <-x.quit:
			return
		}
		if err != nil {
			return
		}
	}
}

// markDown fails every question at server i and turns to the next one.
func (x *exchange) markDown(i int, err error) {
	s := x.servers[i]
	if s.down != nil {
		err = s.down
	}
	s.down = err
	for _, qu := range x.pending {
		if qu.state[i] != failed && qu.state[i] != askedTCP {
			was := qu.state[i]
			qu.state[i] = failed
			qu.fail = unreachable(s.addr, err)
			if was == asked {
				x.try(qu)
			} else {
				x.giveUp(qu)
			}
		}
	}
}

func (x *exchange) handle(ev event) {
	s := x.servers[ev.server]
	if ev.err != nil && !ev.tcp {
		if !errors.Is(ev.err, net.ErrClosed) && !isTimeout(ev.err) {
			x.markDown(ev.server, ev.err)
		}
		return
	}
	id := ev.id
	if !ev.tcp {
		var ok bool
		if id, ok = messageID(ev.msg); !ok {
			return
		}
	}
	qu := x.pending[id]
	if qu == nil {
		return
	}
	// A server that was not asked, or that has failed, has nothing to say, and
	// one that was asked again over TCP only there.
	want := asked
	if ev.tcp {
		want = askedTCP
	}
	if qu.state[ev.server] != want {
		return
	}
	if ev.err != nil {
		x.failAt(qu, ev.server, &Failure{
			Kind:   ServerFailed,
			Reason: fmt.Sprintf("%s cut the answer short and then failed over TCP (%s)", s.addr, plain(ev.err)),
			Remedy: "let this host reach the resolver on TCP port 53",
		})
		return
	}
	r, err := parseReply(ev.msg, qu.q)
	switch {
	case errors.Is(err, errNotOurs):
		return
	case err != nil:
		x.failAt(qu, ev.server, serverFailed(s.addr, "a malformed answer"))
	case (r.rcode == dnsmessage.RCodeFormatError || r.rcode == dnsmessage.RCodeNotImplemented) && !ev.tcp && qu.edns[ev.server]:
		// RFC 6891 section 7: it does not know EDNS. Asking again is no try
		// of its own, since the answer is on its way back at once.
		s.noEDNS = true
		if err := x.send(qu, ev.server); err != nil {
			x.markDown(ev.server, err)
		}
	case r.rcode == dnsmessage.RCodeSuccess && r.truncated && !ev.tcp:
		qu.state[ev.server] = askedTCP
		x.askTCP(qu, ev.server)
	case r.truncated && r.rcode == dnsmessage.RCodeSuccess:
		x.failAt(qu, ev.server, serverFailed(s.addr, "an answer cut short even over TCP"))
	case r.rcode == dnsmessage.RCodeSuccess && r.referral:
		x.failAt(qu, ev.server, &Failure{
			Kind:   Refused,
			Reason: fmt.Sprintf("%s does not resolve for this host", s.addr),
			Remedy: "name a recursive resolver",
		})
	case r.rcode == dnsmessage.RCodeSuccess || r.rcode == dnsmessage.RCodeNameError:
		x.finish(qu, outcome{reply: r, server: ev.server})
	case r.rcode == dnsmessage.RCodeRefused:
		x.failAt(qu, ev.server, &Failure{
			Kind:   Refused,
			Reason: fmt.Sprintf("REFUSED from %s", s.addr),
			Remedy: "see that the resolver serves this host, and whether the list wants its users to register",
		})
	default:
		x.failAt(qu, ev.server, serverFailed(s.addr, rcodeName(r.rcode)))
	}
}

// failAt notes that server i cannot answer qu and turns to the next at once.
func (x *exchange) failAt(qu *query, i int, f *Failure) {
	qu.state[i] = failed
	qu.fail = f
	qu.last = i
	x.tryAnother(qu)
}

// tryAnother turns to a server that has not been asked yet; where all have,
// those that are still silent get their time.
func (x *exchange) tryAnother(qu *query) {
	for i, s := range qu.state {
		if s == unasked {
			qu.last = i - 1
			qu.tried = min(qu.tried, x.tries-1)
			x.try(qu)
			return
		}
	}
	x.giveUp(qu)
}

func (x *exchange) askTCP(qu *query, i int) {
	id, addr := qu.id, x.servers[i].addr
	msg, err := qu.q.pack(id, !x.servers[i].noEDNS)
	go func() {
		var answer []byte
		if err == nil {
			answer, err = exchangeTCP(msg, id, qu.q, addr, x.deadline, x.quit)
		}
		select {
		case x.events <- event{server: i, msg: answer, err: err, tcp: true, id: id}:
		case <-x.quit:
		}
	}()
}

// exchangeTCP asks over a connection of its own (RFC 7766) and returns the
// first message that answers q.
func exchangeTCP(msg []byte, id uint16, q question, addr netip.AddrPort, deadline time.Time, quit <-chan struct{}) ([]byte, error) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	go func() {
		select {
		case <-quit:
			cancel()
		case <-ctx.Done():
		}
	}()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(msg); err != nil {
		return nil, err
	}
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return nil, err
		}
		answer := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, answer); err != nil {
			return nil, err
		}
		if got, ok := messageID(answer); !ok || got != id {
			continue
		}
		if _, err := parseReply(answer, q); !errors.Is(err, errNotOurs) {
			return answer, nil
		}
	}
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
	switch {
	case errors.As(err, &errno):
		return errno.Error()
	case isTimeout(err):
		return "no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	}
	return err.Error()
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
