package setup

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/exim"
)

// The ports that the platform's Exim listens on.
var ports = []int{25, 465, 587}

// How long one imagined session may take. A resolver that does not answer
// makes Exim's own reverse lookup take most of this.
const greetDeadline = 60 * time.Second

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
	for _, s := range r.greet(ctx, p) {
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
			r.note("not our doing, but look at it: %s", before[i])
		}
		return nil
	}
	r.note("an innocent host is greeted on ports 25, 465 and 587, over IPv4 and IPv6")
	return nil
}

// greet gives, for each family and port, the session of the first innocent
// host that is greeted, or the last one that was not. A host that the count
// database knows is not asked for.
func (r *run) greet(ctx context.Context, p *exim.Proof) []exim.Session {
	best := make([]exim.Session, 2*len(ports))
	for _, pair := range r.innocent(ctx) {
		var hosts []netip.Addr
		for f, host := range pair {
			for i := range ports {
				if !best[f*len(ports)+i].OK() {
					hosts = append(hosts, host)
					break
				}
			}
		}
		if len(hosts) == 0 {
			break
		}
		for i, s := range p.GreetAll(ctx, hosts, ports, greetDeadline) {
			f := 0
			if s.Host.Is6() {
				f = 1
			}
			if b := &best[f*len(ports)+i%len(ports)]; !b.OK() {
				*b = s
			}
		}
		// Something broken is broken for every host.
		for _, s := range best {
			if !s.OK() && s.Broken() {
				return best
			}
		}
	}
	return best
}

func (r *run) innocent(ctx context.Context) [][2]netip.Addr {
	var all [][2]netip.Addr
	for _, pair := range exim.Innocent() {
		known := false
		for _, a := range pair {
			n, err := blacklist.Sum(ctx, r.Database, address.FromAddr(a))
			known = known || err == nil && n > 0
		}
		if !known {
			all = append(all, pair)
		}
	}
	if len(all) == 0 {
		return exim.Innocent()[:1]
	}
	return all
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
		wg.Go(func() { before[i] = p.Greet(ctx, s.Host, s.Port, greetDeadline) })
	}
	wg.Wait()
	return before
}
