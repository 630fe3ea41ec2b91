// Package door tells who gets in at a configuration's door: it imagines
// innocent hosts there, before the configuration is put in force and while it
// is.
package door

import (
	"context"
	"net/netip"
	"time"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/exim"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/rules"
)

// ports are those that the platform's Exim listens on.
var ports = rules.Ports[:]

// Deadline is how long one imagined session may take. A resolver that does not
// answer makes Exim's own reverse lookup take most of this.
const Deadline = 60 * time.Second

// Greet gives, for each family and port, the session of the first innocent
// host that is greeted, or the last one that was not. A host with a history is
// not asked for.
func Greet(ctx context.Context, p *exim.Proof, on platform.Platform) []exim.Session {
	best := make([]exim.Session, 2*len(ports))
	for _, pair := range innocent(ctx, on) {
		var all []netip.Addr
		for f, host := range pair {
			for i := range ports {
				if !best[f*len(ports)+i].OK() {
					all = append(all, host)
					break
				}
			}
		}
		if len(all) == 0 {
			break
		}
		for i, s := range p.GreetAll(ctx, all, ports, Deadline) {
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

func innocent(ctx context.Context, on platform.Platform) [][2]netip.Addr {
	var all [][2]netip.Addr
	for _, pair := range exim.Innocent() {
		known := false
		for _, a := range pair {
			hosts.With(on.HostsDatabase, func(d *hosts.DB) error {
				row, err := d.Get(ctx, address.FromAddr(a))
				known = known || err == nil && row.History > 0
				return err
			})
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
