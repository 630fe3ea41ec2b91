package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/history"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/syslog"
)

const defaultRetentionDays = 365

// How long maintain waits for a run of sync, which cron starts at the same
// moment.
const syncWait = 2 * time.Minute

func maintenance() []*cli.Command {
	dryRun := &cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "only say what there is to do"}
	verbose := &cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "say what was done"}
	days := &cli.IntFlag{Name: "retention-days", Usage: "delete rows older than this many `DAYS`; 0 keeps all (default: CONNECT_ACL_RETENTION_DAYS)"}
	minutes := &cli.StringFlag{Name: "writer-minutes", Value: joinInts(blacklist.ScanMinutes),
		Usage: "the `MINUTES` of the hour at which the firewall's scan starts, to keep away from; empty for none"}
	return []*cli.Command{
		{
			Name: "sync", Usage: "bring the firewall's counts over to hosts.db, which Exim asks",
			Description: `For cron, each minute. When the firewall's database has not changed it reads
the first 100 bytes of it. It takes no lock there: what it has read while the
firewall was writing it throws away, and reads again. It prints nothing when
all is well. If hosts.db is lost or damaged, it puts the nightly copy back, or
begins it anew; syslog says so.`,
			Flags:  []cli.Flag{verbose},
			Action: syncHistory,
		},
		{
			Name: "maintain", Usage: "delete old rows, check both databases, keep a copy of hosts.db",
			Description: `For cron, each night. It prints nothing when all is well, and one line to
syslog. It can be stopped or killed at any moment. To the firewall's database it
writes at most 1000 rows at a time, never while the firewall scans.`,
			Flags:  []cli.Flag{dryRun, verbose, days, minutes},
			Action: maintain,
		},
		{
			Name: "prune", Usage: "delete rows older than the retention from the firewall's database",
			Flags: []cli.Flag{dryRun, verbose, days, minutes},
			Action: func(c *cli.Context) error {
				return nightly(c, func(p place, o options) (string, error) { return prune(c.Context, p, o) })
			},
		},
		{
			Name: "check", Usage: "check both databases for damage",
			Action: func(c *cli.Context) error {
				p, err := need(c, 0)
				if err != nil {
					return err
				}
				if err := blacklist.Check(c.Context, p.database); err != nil {
					return err
				}
				if p.hosts != "" {
					err := hosts.With(p.hosts, func(d *hosts.DB) error { return d.Check(c.Context) })
					if err != nil && !errors.Is(err, fs.ErrNotExist) {
						return err
					}
				}
				fmt.Println("ok")
				return nil
			},
		},
	}
}

func joinInts(ns []int) string {
	var s []string
	for _, n := range ns {
		s = append(s, strconv.Itoa(n))
	}
	return strings.Join(s, ",")
}

func parseMinutes(s string) ([]int, error) {
	var all []int
	for _, f := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' }) {
		n, err := strconv.Atoi(f)
		if err != nil || n < 0 || n > 59 {
			return nil, usagef("--writer-minutes: %q is not a minute from 0 to 59", f)
		}
		all = append(all, n)
	}
	return all, nil
}

func syncHistory(c *cli.Context) error {
	if c.NArg() > 0 {
		return usagef("sync: unexpected argument %q", c.Args().First())
	}
	_, onTerminal := terminal(os.Stdout)
	say := func(format string, args ...any) {
		if c.Bool("verbose") || onTerminal {
			fmt.Printf(format+"\n", args...)
		}
	}
	log := func(pr syslog.Priority, text string) { syslog.Send(syslog.Socket, pr, "sync: "+text) }
	// Told once an hour: cron asks each minute, and would mail each minute.
	failed := func(err error) error {
		hourly := time.Now().Minute() == 0
		if hourly && !errors.Is(err, context.Canceled) {
			log(syslog.CronErr, err.Error())
		}
		if hourly || onTerminal || c.Bool("verbose") {
			return err
		}
		return cli.Exit("", 1)
	}
	p, _, err := where(c)
	if errors.Is(err, platform.ErrNone) {
		say("nothing to do: %v", err) // cron runs this before the platform is there, and after
		return nil
	} else if err != nil && !errors.Is(err, errNoDatabase) {
		return failed(err)
	}
	if _, err := os.Lstat(filepath.Dir(p.hosts)); errors.Is(err, fs.ErrNotExist) {
		say("nothing to do: %s is made by %s-connect-setup apply", p.hosts, p.platform.Name)
		return nil
	}
	r, err := history.Sync(c.Context, p.hosts, p.sources)
	switch r.Hosts {
	case hosts.Restored:
		log(syslog.CronErr, p.hosts+" was lost or damaged; the nightly copy is in its place")
	case hosts.Anew:
		log(syslog.CronErr, p.hosts+" was lost or damaged, and there was no copy: it was begun anew. For 7 days history refuses nobody on ports 465 and 587")
	}
	switch {
	case errors.Is(err, hosts.ErrRunning):
		say("%v", err)
		return nil
	case errors.Is(err, blacklist.ErrUnsteady):
		say("%v", err)
		return nil
	case err != nil:
		return failed(err)
	case r.Read:
		say("%s with a history, %s of hosts.db written", plural(r.Known, "host"), plural(r.Written, "row"))
	default:
		say("nothing has changed")
	}
	if r.Alien > 0 {
		say("%s not about a host, such as %s", plural(r.Alien, "row"), printable(strings.Join(r.Some, ", ")))
	}
	return nil
}

// options are what a nightly command was told.
type options struct {
	before  time.Time // rows older than this go; zero keeps all
	minutes []int
	dryRun  bool
}

// nightly does what cron's night has in common: quiet when there is nothing to
// work on, one line to syslog.
func nightly(c *cli.Context, do func(place, options) (string, error)) error {
	if c.NArg() > 0 {
		return usagef("%s: unexpected argument %q", c.Command.Name, c.Args().First())
	}
	_, onTerminal := terminal(os.Stdout)
	say := func(text string) {
		if c.Bool("verbose") || c.Bool("dry-run") || onTerminal {
			fmt.Println(text)
		}
	}
	p, _, err := where(c)
	missing := err != nil && !p.given && (errors.Is(err, platform.ErrNone) || errors.Is(err, errNoDatabase))
	if missing && (p.hosts == "" || !exists(filepath.Dir(p.hosts))) {
		// Cron runs this from the day of the installation on.
		say("nothing to do: " + err.Error())
		return nil
	}
	if err != nil && !missing {
		return err
	}
	o := options{dryRun: c.Bool("dry-run")}
	if o.minutes, err = parseMinutes(c.String("writer-minutes")); err != nil {
		return err
	}
	days, err := p.settings.Int("CONNECT_ACL_RETENTION_DAYS", defaultRetentionDays, 0, 36500)
	if err != nil {
		return err
	}
	if c.IsSet("retention-days") {
		if days = c.Int("retention-days"); days < 0 || days > 36500 {
			return usagef("--retention-days: %d is not from 0 to 36500", days)
		}
	}
	// The connect check and the firewall look at the last days: less would
	// let hosts in that have just offended.
	if days == 1 {
		return usagef("a retention of 1 day would delete what the firewall still counts; the least is 2, and 0 keeps all")
	}
	if days > 0 {
		o.before = time.Now().Add(-time.Duration(days) * blacklist.Day)
	}
	text, err := do(p, o)
	if !o.dryRun && err == nil {
		syslog.Send(syslog.Socket, syslog.CronInfo, c.Command.Name+": "+text)
	} else if !o.dryRun && !errors.Is(err, context.Canceled) {
		syslog.Send(syslog.Socket, syslog.CronErr, c.Command.Name+": "+strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if text != "" {
		say(text)
	}
	return err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

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
			n, err := d.Prune(ctx, time.Now().Add(-hosts.Memory))
			text = fmt.Sprintf("hosts.db: deleted %s", plural(n, "host"))
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

// ours reports whether the firewall's database is there and is one that this
// command may write to.
func ours(ctx context.Context, p place) (bool, error) {
	if !exists(p.database) {
		return false, nil
	}
	s, err := blacklist.DetectSchema(ctx, p.database)
	if errors.Is(err, blacklist.ErrNoTable) {
		return false, nil
	}
	return s == blacklist.SchemaSymbiosis, err
}

// dropIndex takes out the index that version 0.2.0 made.
func dropIndex(ctx context.Context, p place, o options) (string, error) {
	if ok, err := ours(ctx, p); err != nil || !ok || o.dryRun {
		return "", nil // told by checkedPrune
	}
	dropped, err := blacklist.DropOldIndex(ctx, p.database, o.minutes)
	if dropped {
		return "index dropped, which nobody asks any more", err
	}
	return "", err
}

func prune(ctx context.Context, p place, o options) (string, error) {
	ok, err := ours(ctx, p)
	if err != nil || !ok || o.before.IsZero() {
		return "", err
	}
	n, err := blacklist.Prune(ctx, p.database, o.before, o.minutes, o.dryRun)
	if o.dryRun {
		return fmt.Sprintf("would delete %s", plural(n, "old row")), err
	}
	return fmt.Sprintf("%s: deleted %s", p.database, plural(n, "old row")), err
}

// checkedPrune writes nothing into a database that is damaged.
func checkedPrune(ctx context.Context, p place, o options) (string, error) {
	if !exists(p.database) {
		return "", nil
	}
	err := blacklist.Check(ctx, p.database)
	if errors.Is(err, blacklist.ErrNoTable) {
		return "", nil // the firewall has counted nobody yet
	} else if err != nil {
		return "", err
	}
	return prune(ctx, p, o)
}
