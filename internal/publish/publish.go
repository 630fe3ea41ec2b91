package publish

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/primary"
	"symbiosis-connect-acl/internal/zone"
)

// A Publisher is one server that publishes into one zone. It is used by one
// goroutine.
type Publisher struct {
	Server primary.Server
	Origin string // the name under which this server publishes

	state *state
}

const (
	// afresh is how often everything is compared with what the name server has.
	afresh = 24 * time.Hour
	// look is how often the name server is asked for its serial number when there
	// is nothing to send. One that is lower than before tells of a zone that was
	// lost, or put back from a copy.
	look = time.Minute
	// The first pause after a failure, which doubles up to the longest.
	firstPause, longestPause = time.Second, 5 * time.Minute
)

// The facts that the state remembers.
const (
	factTarget   = "target"   // server, zone and origin: with others all begins anew
	factSerial   = "serial"   // of the zone, as it was last seen
	factCompared = "compared" // when everything was compared
	factLooked   = "looked"   // when the name server last answered
	factFailures = "failures" // in a row
	factRetry    = "retry"    // when to try again
	factTold     = "told"     // when a failure was last told
)

// Open opens the state at path. ErrRunning says that another run has it.
func Open(ctx context.Context, path string, server primary.Server, origin string) (*Publisher, error) {
	s, err := open(ctx, path)
	if err != nil {
		return nil, err
	}
	return &Publisher{Server: server, Origin: origin, state: s}, nil
}

// Close closes the state.
func (p *Publisher) Close() error { return p.state.close() }

// A Result says what a run has done.
type Result struct {
	Added, Changed, Removed int
	Compared                bool // with everything that the name server has
	Recovered               int  // failures before, that are over now
}

// Sent reports whether there was something to send.
func (r Result) Sent() bool { return r.Added+r.Changed+r.Removed > 0 }

// A Failure is one of the name server's, or on the way to it. Nothing is lost by
// it: what was not taken is sent at the next run.
type Failure struct {
	Err   error
	New   bool // it is the first in a row, or the first within an hour
	Retry time.Time
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// Wait gives the time of the next try after failures, or zero.
func (p *Publisher) Wait(ctx context.Context) (time.Time, error) {
	return p.state.time(ctx, factRetry)
}

// Run makes this server's entries in the zone those that are wanted, which must
// be sorted by the spelling of their keys. Right after a failure it does nothing
// until the time of the next try, unless now is set.
func (p *Publisher) Run(ctx context.Context, wanted []zone.Entry, now bool) (r Result, err error) {
	retry, err := p.Wait(ctx)
	if err != nil {
		return r, err
	}
	if t := clock.Now(); !now && t.Before(retry) && retry.Sub(t) <= longestPause {
		return r, nil
	}
	failures, err := p.state.number(ctx, factFailures)
	if err != nil {
		return r, err
	}
	var here localError
	switch err = p.run(ctx, wanted, &r); {
	case errors.As(err, &here):
		return r, here.error
	case ctx.Err() != nil:
		return r, ctx.Err()
	case err != nil:
		return r, p.failed(ctx, failures+1, err)
	}
	if failures > 0 {
		r.Recovered = int(failures)
		err = errors.Join(p.state.set(ctx, factFailures, "0"), p.state.set(ctx, factRetry, "0"), p.state.set(ctx, factTold, "0"))
	}
	return r, err
}

// A localError is one of this machine's.
type localError struct{ error }

func local(err error) error {
	if err != nil {
		return localError{err}
	}
	return nil
}

func (p *Publisher) failed(ctx context.Context, failures int64, cause error) error {
	pause := longestPause
	if failures < 12 {
		pause = min(pause, firstPause<<(failures-1))
	}
	now := clock.Now()
	f := &Failure{Err: cause, Retry: now.Add(pause)}
	told, err := p.state.time(ctx, factTold)
	if err == nil && (told.IsZero() || now.Sub(told).Abs() >= time.Hour) {
		f.New = true
		err = p.state.setTime(ctx, factTold, now)
	}
	err = errors.Join(err, p.state.set(ctx, factFailures, strconv.FormatInt(failures, 10)), p.state.setTime(ctx, factRetry, f.Retry))
	if err != nil {
		return fmt.Errorf("%w; and %w", cause, err)
	}
	return f
}

func (p *Publisher) run(ctx context.Context, wanted []zone.Entry, r *Result) error {
	target := strings.Join([]string{p.Server.Addr, p.Server.Zone, p.Origin}, " ")
	before, err := p.state.fact(ctx, factTarget)
	if err != nil {
		return local(err)
	}
	compared, err1 := p.state.time(ctx, factCompared)
	looked, err2 := p.state.time(ctx, factLooked)
	serial, err3 := p.state.number(ctx, factSerial)
	if err := errors.Join(err1, err2, err3); err != nil {
		return local(err)
	}
	now := clock.Now()
	anew := before != target || now.Sub(compared).Abs() >= afresh
	changes, err := p.differences(ctx, wanted)
	if err != nil {
		return local(err)
	}
	if !anew && len(changes) == 0 && now.Sub(looked).Abs() < look-5*time.Second {
		return nil // cron's minutes are not quite as long as ours
	}
	session, err := p.Server.Dial(ctx)
	if err != nil {
		return err
	}
	defer session.Close()
	current, err := session.Serial(ctx)
	if err != nil {
		return err
	}
	if anew || int32(current-uint32(serial)) < 0 {
		if err := p.compare(ctx, session); err != nil {
			return err
		}
		r.Compared = true
		if changes, err = p.differences(ctx, wanted); err != nil {
			return local(err)
		}
		if err := errors.Join(p.state.set(ctx, factTarget, target), p.state.setTime(ctx, factCompared, now)); err != nil {
			return local(err)
		}
	}
	if err := p.send(ctx, session, changes, r); err != nil {
		return err
	}
	if len(changes) > 0 {
		if current, err = session.Serial(ctx); err != nil {
			return err
		}
	}
	return local(errors.Join(p.state.set(ctx, factSerial, strconv.FormatUint(uint64(current), 10)), p.state.setTime(ctx, factLooked, now)))
}

func (p *Publisher) send(ctx context.Context, session *primary.Session, changes []primary.Change, r *Result) error {
	return session.Apply(ctx, p.Origin, changes,
		func(batch []primary.Change) error { return local(p.state.sending(ctx, batch)) },
		func(batch []primary.Change) error {
			for _, c := range batch {
				switch {
				case c.New.Reason == 0:
					r.Removed++
				case c.Old.Reason == 0:
					r.Added++
				default:
					r.Changed++
				}
			}
			return local(errors.Join(p.state.sent(ctx, batch), p.state.gone(ctx, batch)))
		})
}

// differences compares what is wanted with what was published.
func (p *Publisher) differences(ctx context.Context, wanted []zone.Entry) (changes []primary.Change, err error) {
	i := 0
	for old, err := range p.state.entries(ctx) {
		if err != nil {
			return nil, err
		}
		for i < len(wanted) && wanted[i].Key.String() < old.net {
			changes = append(changes, primary.Change{Key: wanted[i].Key, New: wanted[i]})
			i++
		}
		c := primary.Change{Key: old.Key, Old: old.Entry, Unsure: !old.sure}
		if i < len(wanted) && wanted[i].Key == old.Key {
			c.New = wanted[i]
			i++
		}
		if c.Old != c.New || c.Unsure {
			changes = append(changes, c)
		}
	}
	for ; i < len(wanted); i++ {
		changes = append(changes, primary.Change{Key: wanted[i].Key, New: wanted[i]})
	}
	return changes, nil
}

// compare makes the state what the name server has of this server's entries. It
// adds the test entries where they are missing.
func (p *Publisher) compare(ctx context.Context, session *primary.Session) error {
	found := map[string]published{}
	tests, _, err := p.Server.Transfer(ctx, func(r primary.Record) error {
		origin, reason, day, ok := zone.ParseText(r.Text)
		if !ok || origin != p.Origin {
			return nil
		}
		key, ok := zone.ParseName(r.Name)
		if !ok {
			return nil
		}
		net := key.String()
		_, twice := found[net] // one of the two has to go
		found[net] = published{net: net, sure: !twice, Entry: zone.Entry{Key: key, Reason: reason, Day: day}}
		return nil
	})
	if err != nil {
		return err
	}
	if !tests {
		if err := session.AddTests(ctx); err != nil {
			return err
		}
	}
	return local(p.state.replace(ctx, found))
}
