// Package history brings what the firewall has counted over to hosts.db, from
// whichever firewall there is, so that Exim asks one database, and the
// firewall's writer meets no reader of ours.
package history

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/settings"
)

// Setting is the name in the defaults file under which an administrator names
// the databases, separated by blanks, instead of those that are found.
const Setting = "CONNECT_ACL_DATABASES"

// Sources gives the firewalls' databases that there are: the platform's own and
// nftfw's in its usual places, or those that the defaults file names, which are
// given whether they are there or not.
func Sources(p platform.Platform) ([]string, error) {
	set, err := settings.Read(p.DefaultsFile)
	if err != nil {
		return nil, err
	}
	var found []string
	if named := strings.Fields(set.String(Setting, "")); len(named) > 0 {
		for _, path := range named {
			if !filepath.IsAbs(path) {
				return nil, fmt.Errorf("%s: %s: %q is not a full path", p.DefaultsFile, Setting, path)
			}
			found = append(found, filepath.Join(p.Root, path))
		}
		return found, nil
	}
	for _, f := range p.Firewalls() {
		if _, err := os.Stat(f.Database); err == nil {
			found = append(found, f.Database)
		}
	}
	return found, nil
}

// A Result says what Sync found and did.
type Result struct {
	Hosts   hosts.Outcome // the state in which it found hosts.db
	Read    bool          // a database had changed and was read
	Written int           // rows of hosts.db that were written
	Known   int           // hosts that have a history
	Alien   int64         // rows of the firewall's whose address fits no host
	Some    []string      // a few of those addresses
}

// The names under which hosts.db remembers what was read.
const (
	stateRead  = "read"  // stamps of the databases
	stateLimit = "limit" // the numbers by which an offence was told from a knock
	stateAlien = "alien" // number of rows that fit no host, and a few addresses
	stateRules = "rules" // stamp of the configuration that has the numbers
)

// Rules tell by which numbers a host is refused. To ask Exim takes two processes,
// so Policy is called only when a database or File has changed; what File includes
// is noticed with the next change of either. A nil Policy, or one that gives nil,
// stands for the numbers of the last time.
type Rules struct {
	File   string
	Policy func() *hosts.Policy
}

// stamp tells one state of the file from another, "" when it is not there.
func (r Rules) stamp() string {
	st, err := os.Stat(r.File)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d %d %d", st.Sys().(*syscall.Stat_t).Ino, st.Size(), st.ModTime().UnixNano())
}

// Sync makes the history in hosts.db what the firewalls' databases at sources
// say. Of a database that has not changed since the last time it reads the
// header. One that is not there, or has no table yet, has no say; when none has,
// or one cannot be read, the history stays as it is: an administrator may just
// be mending the database.
//
// The numbers of the rules tell which row is a host's last offence. When they are
// others than the last time, everything is read again.
//
// It puts hosts.db in order first, if it was lost (see hosts.Ensure). When its
// directory does not exist it returns fs.ErrNotExist: setup makes that.
func Sync(ctx context.Context, path string, sources []string, rules Rules) (r Result, err error) {
	unlock, err := hosts.Lock(ctx, path, 0)
	if err != nil {
		return r, err
	}
	defer unlock()
	if r.Hosts, err = hosts.Ensure(ctx, path); err != nil {
		return r, err
	}
	err = sync(ctx, path, sources, rules, &r)
	if errors.Is(err, hosts.ErrCorrupt) {
		// Its tables could be opened, but not read.
		if r.Hosts, err = hosts.Replace(ctx, path); err == nil {
			err = sync(ctx, path, sources, rules, &r)
		}
	}
	return r, err
}

func sync(ctx context.Context, path string, sources []string, rules Rules, r *Result) error {
	stamps, there, err := stampsOf(sources)
	if err != nil {
		return err
	}
	var last, alien, limited, ruled string
	if err := hosts.With(path, func(d *hosts.DB) error {
		for name, to := range map[string]*string{stateRead: &last, stateAlien: &alien, stateLimit: &limited, stateRules: &ruled} {
			var err error
			if *to, err = d.State(ctx, name); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	limit := parseLimit(limited)
	now := rules.stamp()
	if rules.Policy != nil && (last != stamps || ruled != now) {
		if p := rules.Policy(); p != nil {
			limit = blacklist.Limit{Threshold: p.Threshold, Refuses: p.Refuses, Parole: p.Parole}
		} else {
			now = "" // it is asked again
		}
	}
	if r.Alien, r.Some = parseAlien(alien); last == stamps && limited == formatLimit(limit) || len(there) == 0 {
		if ruled == now || rules.Policy == nil {
			return nil
		}
		return hosts.With(path, func(d *hosts.DB) error { return d.SetState(ctx, stateRules, now) })
	}
	var all map[address.Key]hosts.History
	var read []string
	r.Alien, r.Some = 0, nil
	for _, source := range there {
		s, err := blacklist.ReadSums(ctx, source, limit)
		read = append(read, source+" "+s.Stamp.String())
		if errors.Is(err, blacklist.ErrNoTable) {
			continue
		} else if err != nil {
			return err
		}
		if all == nil {
			all = s.Hosts
		} else {
			for k, sum := range s.Hosts {
				if h, known := all[k]; known {
					sum = limit.Merge(h, sum)
				}
				all[k] = sum
			}
		}
		r.Alien += s.Alien
		r.Some = append(r.Some, s.Some...)
	}
	r.Read, r.Known = all != nil, len(all)
	return hosts.With(path, func(d *hosts.DB) (err error) {
		if all != nil { // there was a table
			if r.Written, err = d.SetHistory(ctx, all); err != nil {
				return err
			}
			if found := formatAlien(r.Alien, r.Some); found != alien {
				if err := d.SetState(ctx, stateAlien, found); err != nil {
					return err
				}
			}
		}
		if err := d.SetState(ctx, stateLimit, formatLimit(limit)); err != nil {
			return err
		}
		if rules.Policy != nil {
			if err := d.SetState(ctx, stateRules, now); err != nil {
				return err
			}
		}
		// Last, so that a run that was killed is done again.
		return d.SetState(ctx, stateRead, strings.Join(read, "\n"))
	})
}

// stampsOf gives the stamps of the databases that there are, as hosts.db
// remembers them.
func stampsOf(sources []string) (stamps string, there []string, err error) {
	var lines []string
	for _, source := range sources {
		s, err := blacklist.ReadStamp(source)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return "", nil, err
		}
		there, lines = append(there, source), append(lines, source+" "+s.String())
	}
	return strings.Join(lines, "\n"), there, nil
}

func formatLimit(l blacklist.Limit) string {
	return fmt.Sprintf("%d %t %d", l.Threshold, l.Refuses, int64(l.Parole))
}

// parseLimit gives that of the installed numbers for what is none.
func parseLimit(s string) (l blacklist.Limit) {
	if _, err := fmt.Sscanf(s, "%d %t %d", &l.Threshold, &l.Refuses, (*int64)(&l.Parole)); err != nil {
		d := hosts.Defaults
		return blacklist.Limit{Threshold: d.Threshold, Refuses: d.Refuses, Parole: d.Parole}
	}
	return l
}

func formatAlien(n int64, some []string) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10) + " " + strings.Join(some, " ")
}

func parseAlien(s string) (n int64, some []string) {
	if f := strings.Fields(s); len(f) > 0 {
		n, _ = strconv.ParseInt(f[0], 10, 64)
		some = f[1:]
	}
	return n, some
}

// A Report is what is to be known of the history in hosts.db without reading any
// other database at length.
type Report struct {
	Lost    time.Time // when hosts.db was begun anew; zero when that has not happened
	Current bool      // the databases have not changed since they were read
	Alien   int64     // rows of the firewall's whose address fits no host
	Some    []string  // a few of those addresses
}

// Look gives the report. It changes nothing.
func Look(ctx context.Context, path string, sources []string) (r Report, err error) {
	stamps, there, err := stampsOf(sources)
	if err != nil {
		return r, err
	}
	err = hosts.With(path, func(d *hosts.DB) (err error) {
		if r.Lost, err = d.Lost(ctx); err != nil {
			return err
		}
		last, err := d.State(ctx, stateRead)
		if err != nil {
			return err
		}
		r.Current = last == stamps || len(there) == 0
		alien, err := d.State(ctx, stateAlien)
		r.Alien, r.Some = parseAlien(alien)
		return err
	})
	return r, err
}
