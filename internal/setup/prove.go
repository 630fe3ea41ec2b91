package setup

import (
	"context"
	"fmt"
	"sync"

	"symbiosis-connect-acl/internal/door"
	"symbiosis-connect-acl/internal/exim"
)

// prove imagines innocent hosts at the candidate's door.
func (r *run) prove(ctx context.Context) error {
	if err := r.faults.point("proof"); err != nil {
		return err
	}
	p, err := r.exim.NewProof(ctx, r.exim.Draft(), r.workDir())
	if err != nil {
		return err
	}
	defer p.Close()
	var refused []exim.Session
	for _, s := range door.Greet(ctx, p, r.Platform) {
		if !s.OK() {
			refused = append(refused, s)
		}
	}
	if len(refused) > 0 {
		before := r.greetBefore(ctx, refused)
		for i, s := range refused {
			if i >= len(before) || before[i].Reply() != s.Reply() || before[i].OK() {
				return fmt.Errorf("the new configuration turns away a host that did nothing: %s", s)
			}
			r.note("not caused by our rules, but look at it: %s", before[i])
		}
		return nil
	}
	r.note("an innocent host is greeted on ports 25, 465 and 587, over IPv4 and IPv6")
	return nil
}

// greetBefore imagines the same sessions with the configuration in force: what
// it answers alike is not our doing. It gives nothing when that cannot be
// asked.
func (r *run) greetBefore(ctx context.Context, like []exim.Session) []exim.Session {
	if r.exim.Check(ctx, r.exim.Config()) != nil {
		return nil
	}
	p, err := r.exim.NewProof(ctx, r.exim.Config(), r.workDir())
	if err != nil {
		return nil
	}
	defer p.Close()
	before := make([]exim.Session, len(like))
	var wg sync.WaitGroup
	for i, s := range like {
		wg.Go(func() { before[i] = p.Greet(ctx, s.Host, s.Port, door.Deadline) })
	}
	wg.Wait()
	return before
}
