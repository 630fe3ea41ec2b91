package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/cmd/internal/command"
	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/history"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/syslog"
	"symbiosis-connect-acl/internal/words"
)

func syncCommand() *cli.Command {
	return &cli.Command{
		Name: "sync", Usage: "bring the firewall's counts over to hosts.db, which Exim asks",
		Description: `For cron, each minute. When the firewall's database has not changed it reads
the first 100 bytes of it. It takes no lock there: what it has read while the
firewall was writing it throws away, and reads again. It prints nothing when
all is well. If hosts.db is lost or damaged, it puts the nightly copy back, or
begins it anew; syslog says so.`,
		Flags: []cli.Flag{verboseFlag(),
			&cli.BoolFlag{Name: "stay", Usage: "afterwards keep hosts.db open until the next run does, a minute later, so that no connection is the last to close it"}},
		Action: func(c *cli.Context) error {
			err := syncHistory(c)
			if c.Bool("stay") {
				stay(c)
			}
			return err
		},
	}
}

func syncHistory(c *cli.Context) error {
	if c.NArg() > 0 {
		return usagef("sync: unexpected argument %q", c.Args().First())
	}
	_, onTerminal := command.Terminal(os.Stdout)
	say := func(format string, args ...any) {
		if c.Bool("verbose") || onTerminal {
			command.Printf(format+"\n", args...)
		}
	}
	log := func(pr syslog.Priority, text string) { syslog.Send(syslog.Socket, pr, "sync: "+text) }
	// Told once an hour: cron asks each minute, and would mail each minute.
	failed := func(err error) error {
		hourly := clock.Now().Minute() == 0
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
	// Looking for garbage more often costs little, and saves a fifth of the memory.
	debug.SetGCPercent(50)
	r, err := history.Sync(c.Context, p.hosts, p.sources, historyRules(c, p))
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
		say("%s with a history, %s of hosts.db written", words.Plural(r.Known, "host"), words.Plural(r.Written, "row"))
	default:
		say("nothing has changed")
	}
	if r.Alien > 0 {
		say("%s not about a host, such as %s", words.Plural(r.Alien, "row"), strings.Join(r.Some, ", "))
	}
	return nil
}

// stay keeps hosts.db open until the next run has it open too. What is wrong with
// it, sync has said.
func stay(c *cli.Context) {
	debug.FreeOSMemory() // the next run may need as much
	if p, _, err := where(c); err == nil || errors.Is(err, errNoDatabase) {
		hosts.Stay(c.Context, p.hosts, stayFor(time.Now())) // until cron's next minute
	}
}

// stayFor gives the time until half a minute after the next run's start, which
// may have millions of rows to read. In a gap between two runs Exim's connections
// would lock each other out.
func stayFor(now time.Time) time.Duration {
	return now.Truncate(time.Minute).Add(90 * time.Second).Sub(now)
}
