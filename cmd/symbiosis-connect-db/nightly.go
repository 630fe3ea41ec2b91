package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/cmd/internal/command"
	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/syslog"
)

// options are what a nightly command was told.
type options struct {
	before  time.Time // rows older than this go; zero keeps all
	minutes []int
	dryRun  bool
}

const defaultRetentionDays = 365

func nightlyFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "only say what there is to do"},
		verboseFlag(),
		&cli.IntFlag{Name: "retention-days", Usage: "delete rows older than this many `DAYS`; 0 keeps all (default: CONNECT_ACL_RETENTION_DAYS)"},
		&cli.StringFlag{Name: "writer-minutes", Value: joinInts(blacklist.ScanMinutes),
			Usage: "the `MINUTES` of the hour at which the firewall's scan starts, to keep away from; empty for none"},
	}
}

// nightly does what cron's night has in common: quiet when there is nothing to
// work on, one line to syslog.
func nightly(c *cli.Context, do func(place, options) (string, error)) error {
	if c.NArg() > 0 {
		return usagef("%s: unexpected argument %q", c.Command.Name, c.Args().First())
	}
	_, onTerminal := command.Terminal(os.Stdout)
	say := func(text string) {
		if c.Bool("verbose") || c.Bool("dry-run") || onTerminal {
			command.Printf("%s\n", text)
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
		o.before = clock.Now().Add(-time.Duration(days) * blacklist.Day)
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
