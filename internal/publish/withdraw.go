package publish

import (
	"context"

	"symbiosis-connect-acl/internal/primary"
	"symbiosis-connect-acl/internal/zone"
)

// Withdraw takes back all that an origin has in the zone, and every code that no
// origin stands for. It gives how many hosts that were.
func Withdraw(ctx context.Context, server primary.Server, origin string) (n int, err error) {
	listed := map[string]bool{} // whether somebody stands for the name
	theirs := map[string]bool{}
	if _, _, err := server.Transfer(ctx, func(r primary.Record) error {
		o, _, _, ok := zone.ParseText(r.Text)
		listed[r.Name] = listed[r.Name] || r.Text != ""
		theirs[r.Name] = theirs[r.Name] || ok && o == origin
		return nil
	}); err != nil {
		return 0, err
	}
	var changes []primary.Change
	for name := range listed {
		if !theirs[name] && listed[name] {
			continue
		}
		// A name that is none of a host's was put there by hand.
		if key, ok := zone.ParseName(name); ok {
			changes = append(changes, primary.Change{Key: key, Unsure: true})
		}
	}
	session, err := server.Dial(ctx)
	if err != nil {
		return 0, err
	}
	defer session.Close()
	err = session.Apply(ctx, origin, changes, func([]primary.Change) error { return nil },
		func(batch []primary.Change) error { n += len(batch); return nil })
	return n, err
}

// Forget makes the next run compare everything, as after a withdrawal of this
// server's own entries.
func (p *Publisher) Forget(ctx context.Context) error { return p.state.set(ctx, factTarget, "") }
