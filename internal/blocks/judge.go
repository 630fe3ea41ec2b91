package blocks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/exim"
	"symbiosis-connect-acl/internal/firewall"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/known"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/rules"
)

// A finding is what is known of a blocked host.
type finding struct {
	spare   string    // why its block is not to be renewed, "" when it may be
	offence time.Time // its last one
}

// mourning is for how long nobody knows who is a user after hosts.db was lost.
const mourning = 7 * 24 * time.Hour

// ErrNotInForce says that Exim has no rules of ours.
var ErrNotInForce = errors.New("the rules are not in force, and without them nobody knows who is a user")

// judge finds out for whose sake a block is not renewed. When that cannot be
// known it gives an error, and then none is.
func judge(ctx context.Context, p platform.Platform, due firewall.Entries, now time.Time) ([]finding, error) {
	if len(due) == 0 {
		return nil, nil
	}
	found := make([]finding, len(due))
	// Exim is asked as well; it can say whether one address is in a list, but a
	// block may be of an IPv6 network, and the list name one address in it.
	friends, err := known.Read(p)
	if err != nil {
		return nil, err
	}
	var ask []int // of those Exim is asked
	err = hosts.With(p.HostsDatabase, func(d *hosts.DB) error {
		lost, err := d.Lost(ctx)
		if err != nil {
			return err
		}
		if !lost.IsZero() && now.Sub(lost) < mourning {
			return fmt.Errorf("%s was begun anew at %s, and nobody knows yet who is a user", p.HostsDatabase, lost.Format(time.RFC3339))
		}
		for i, e := range due {
			r, err := d.Get(ctx, address.FromAddr(e.Net.Addr()))
			if err != nil {
				return err
			}
			f := &found[i]
			f.offence = r.LastOffence()
			if list := friends.Find(e.Net); list != "" {
				f.spare = "it is in " + list
			} else {
				f.spare = proven(r, now)
			}
			if f.spare == "" {
				ask = append(ask, i)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, askExim(ctx, p, due, ask, found)
}

// proven says what speaks for the host, "" when nothing does.
func proven(r hosts.Row, now time.Time) string {
	// The numbers of a policy judge what is against a host.
	switch s := r.Standing(hosts.Defaults, now); {
	case s.User:
		return "a user has logged in from it, last on " + r.Login.Format(time.DateOnly)
	case s.Sender:
		return "it has delivered mail, last on " + r.Delivered.Format(time.DateOnly)
	}
	return ""
}

// knownLists are those by which 20-accept-known lets a host past all rules.
const knownLists = "+whitelisted_hosts_by_ip : +whitelist_connection_check : +relay_from_hosts : +private_addresses"

// Exim takes its questions at the command line, which has a limit.
const (
	questions = 500
	askLimit  = time.Minute
)

// askExim asks the configuration in force about the hosts whose numbers are in
// ask.
func askExim(ctx context.Context, p platform.Platform, due firewall.Entries, ask []int, found []finding) error {
	if len(ask) == 0 {
		return nil
	}
	x := exim.Installation{Platform: p}
	macros, err := x.Macros(ctx, x.Config())
	if err != nil {
		return err
	}
	if _, active := macros[rules.Marker]; !active {
		return ErrNotInForce
	}
	user, err := x.User(ctx, x.Config())
	if err != nil {
		return err
	}
	for part := range slices.Chunk(ask, questions) {
		args := []string{"-be"}
		for _, i := range part {
			args = append(args, "${if match_ip{"+due[i].Net.Addr().String()+"}{"+knownLists+"}{yes}{no}}")
		}
		out, errs, err := x.RunAs(ctx, user, askLimit, "/usr/sbin/exim4", args...)
		lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		if err == nil && len(lines) != len(part) {
			err = errors.New("it gave " + fmt.Sprint(len(lines)) + " answers")
		}
		if err != nil {
			return fmt.Errorf("asking Exim who is a known host: %w: %s", err, strings.Join(strings.Fields(errs), " "))
		}
		for n, i := range part {
			switch lines[n] {
			case "no":
			case "yes":
				found[i].spare = "it is in one of Exim's lists of known hosts: " + knownLists
			default:
				return fmt.Errorf("asking Exim whether %s is a known host: %s", due[i].Net.Addr(), lines[n])
			}
		}
	}
	return nil
}
