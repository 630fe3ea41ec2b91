package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/words"
)

func maintainCommand() *cli.Command {
	return &cli.Command{
		Name: "maintain", Usage: "delete old rows, check both databases, keep a copy of hosts.db",
		Description: `For cron, each night. It prints nothing when all is well, and one line to
syslog. It can be stopped or killed at any moment. To the firewall's database it
writes at most 1000 rows at a time, never while the firewall scans.`,
		Flags:  nightlyFlags(),
		Action: maintain,
	}
}

// How long maintain waits for a run of sync, which cron starts at the same
// moment.
const syncWait = 2 * time.Minute

// maintain goes on with the one database where something is wrong with the
// other.
func maintain(c *cli.Context) error {
	return nightly(c, func(p place, o options) (string, error) {
		var done []string
		var errs []error
		for _, do := range []func(context.Context, place, options) (string, error){keepHosts, dropIndex, checkedPrune} {
			text, err := do(c.Context, p, o)
			if err != nil {
				errs = append(errs, err)
			}
			if text != "" {
				done = append(done, text)
			}
		}
		return strings.Join(done, ", "), errors.Join(errs...)
	})
}

// keepHosts puts hosts.db in order and keeps a copy of it.
func keepHosts(ctx context.Context, p place, o options) (text string, err error) {
	if p.hosts == "" || !exists(filepath.Dir(p.hosts)) || o.dryRun {
		return "", nil
	}
	unlock, err := hosts.Lock(ctx, p.hosts, syncWait)
	if err != nil {
		return "", err
	}
	defer unlock()
	state, err := hosts.Ensure(ctx, p.hosts)
	if err != nil {
		return "", err
	}
	keep := func() error {
		return hosts.With(p.hosts, func(d *hosts.DB) error {
			if err := d.Check(ctx); err != nil {
				return err
			}
			n, err := d.Prune(ctx, clock.Now())
			text = fmt.Sprintf("hosts.db: deleted %s", words.Plural(n, "host"))
			return errors.Join(err, d.Keep(ctx))
		})
	}
	if err = keep(); errors.Is(err, hosts.ErrCorrupt) {
		if state, err = hosts.Replace(ctx, p.hosts); err == nil {
			err = keep()
		}
	}
	switch state {
	case hosts.Restored:
		text += " after the copy was put back, because it was lost or damaged"
	case hosts.Anew:
		text += " after it was begun anew, because it was lost or damaged and there was no copy"
	}
	return text, err
}

// dropIndex takes out the index that version 0.2.0 made.
func dropIndex(ctx context.Context, p place, o options) (string, error) {
	return p.each(func(path string) (string, error) {
		if ok, err := blacklist.Writable(ctx, path); err != nil || !ok || o.dryRun {
			return "", nil // told by checkedPrune
		}
		dropped, err := blacklist.DropOldIndex(ctx, path, o.minutes)
		if dropped {
			return path + ": index dropped, which nobody asks any more", err
		}
		return "", err
	})
}

// checkedPrune writes nothing into a database that is damaged.
func checkedPrune(ctx context.Context, p place, o options) (string, error) {
	return p.each(func(path string) (string, error) {
		err := blacklist.Check(ctx, path)
		if errors.Is(err, blacklist.ErrNoTable) {
			return "", nil // the firewall has counted nobody yet
		} else if err != nil {
			return "", err
		}
		one := p
		one.databases = []string{path}
		return prune(ctx, one, o)
	})
}
