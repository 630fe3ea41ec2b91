package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/cmd/internal/command"
	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/blocks"
	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/settings"
	"symbiosis-connect-acl/internal/syslog"
	"symbiosis-connect-acl/internal/words"
)

func retainCommand() *cli.Command {
	return &cli.Command{
		Name: "retain", Usage: "renew the firewall's automatic blocks of hosts that go on trying",
		Description: `For cron, every five minutes. The platform's firewall ends an automatic block
after two days. This command reads the firewall's packet counters, and where a
block has dropped something since the last time, it renews the block's file in
blacklist.d. It does so only with CONNECT_ACL_RETAIN=retain in /etc/default;
with learn, the default, syslog says which blocks it would renew. It never
renews the block of a host in your white lists, of a relay host, or of one that
a user has logged in from or that has delivered mail, and it touches no file of
yours. Without a new offence a block ends after CONNECT_ACL_RETAIN_DAYS.
nftfw does this by itself: there the command does nothing.`,
		Flags:  []cli.Flag{verboseFlag()},
		Action: retain,
	}
}

// A retention is what the settings say about blocks.
type retention struct {
	state  string // learn, retain or off
	policy blocks.Policy
}

const defaultRetainDays = 30

func readRetention(f settings.File) (r retention, err error) {
	if r.state, err = f.Word("CONNECT_ACL_RETAIN", "learn", "learn", "retain", "off"); err != nil {
		return r, err
	}
	days, err := f.Int("CONNECT_ACL_RETAIN_DAYS", defaultRetainDays, 3, 365)
	if err != nil {
		return r, err
	}
	count, err := f.Bool("CONNECT_ACL_RETAIN_COUNT", false)
	r.policy = blocks.Policy{Renew: r.state == "retain", Limit: time.Duration(days) * blacklist.Day, Count: count}
	return r, err
}

func retain(c *cli.Context) error {
	if err := command.NoArguments(c); err != nil {
		return err
	}
	_, onTerminal := command.Terminal(os.Stdout)
	loud := c.Bool("verbose") || onTerminal
	say := func(format string, args ...any) {
		if loud {
			fmt.Printf(format+"\n", args...)
		}
	}
	log := func(pr syslog.Priority, text string) {
		syslog.Send(syslog.Socket, pr, "retain: "+words.Printable(text))
	}
	// Told once an hour: cron asks every five minutes, and would mail as often.
	// What only learns sends no mail at all.
	state := ""
	failed := func(err error) error {
		hourly := clock.Now().Minute() < 5
		if hourly && !errors.Is(err, context.Canceled) {
			log(syslog.CronErr, strings.ReplaceAll(err.Error(), "\n", "; "))
		}
		if hourly && state != "learn" || loud {
			return err
		}
		return cli.Exit("", 1)
	}
	p, _, err := where(c)
	if errors.Is(err, platform.ErrNone) {
		say("nothing to do: %v", err)
		return nil
	} else if err != nil && !errors.Is(err, errNoDatabase) {
		return failed(err)
	}
	r, err := readRetention(p.settings)
	if err != nil {
		return failed(err)
	}
	if state = r.state; state == "off" {
		say("nothing to do: CONNECT_ACL_RETAIN is off in %s", p.platform.DefaultsFile)
		return nil
	}
	if _, err := os.Lstat(filepath.Dir(p.hosts)); errors.Is(err, fs.ErrNotExist) {
		say("nothing to do: without %s nobody knows who is a user; %s-connect-setup apply makes it", p.hosts, p.platform.Name)
		return nil
	}
	if file := nftfw(c.Context, p); file != "" {
		say("nothing to do: nftfw (%s) renews its blocks by itself", file)
		return nil
	}
	now := clock.Now()
	result, err := blocks.Retain(c.Context, p.platform, r.policy, now)
	if result.Damaged != nil {
		log(syslog.CronErr, result.Damaged.Error()+"; it was begun anew, and the attempts are counted from now on")
	}
	tell(p.platform, result.Changes, say, func(text string) { log(syslog.CronInfo, text) })
	switch {
	case errors.Is(err, blocks.ErrRunning), errors.Is(err, blocks.ErrNoPrograms), errors.Is(err, blocks.ErrNotInForce):
		say("nothing done: %v", err)
		return nil
	case err != nil:
		return failed(err)
	}
	say("%s of %s renewed", words.Plural(result.Renewed, "block"), words.Plural(result.Blocks, "automatic block"))
	if r.policy.Renew && r.policy.Count && exists(p.platform.Database) {
		if err := countKnocks(c, p, result, now); err != nil {
			return failed(err)
		}
	}
	return nil
}

// nftfw gives the database of nftfw, "" where that is not the firewall.
func nftfw(ctx context.Context, p place) string {
	for _, s := range p.sources {
		if schema, err := blacklist.DetectSchema(ctx, s); err == nil && schema == blacklist.SchemaNFTFW {
			return s
		}
	}
	return ""
}

// mostTold is about how many blocks one run tells syslog.
const mostTold = 20

// tell says about which blocks something else was decided than before.
func tell(p platform.Platform, changes []blocks.Change, say func(string, ...any), log func(string)) {
	for i, ch := range changes {
		host := strings.TrimSuffix(ch.Net.String(), "/32")
		until := ch.Until.Format("2006-01-02 15:04 MST")
		var text string
		switch ch.Verdict {
		case blocks.Retained:
			text = fmt.Sprintf("%s goes on trying: its block is retained until %s, longer if it tries again", host, until)
		case blocks.Learned:
			text = fmt.Sprintf("would retain the block of %s, which goes on trying; it ends at %s", host, until)
		case blocks.Capped:
			text = fmt.Sprintf("%s goes on trying, but has not offended for long: its block ends at %s", host, until)
		case blocks.Spared:
			text = fmt.Sprintf("the block of %s is not retained and ends at %s: %s", host, until, ch.Why)
		default:
			continue
		}
		say("%s", text)
		switch {
		case i < mostTold:
			log(text)
		case i == mostTold:
			log(fmt.Sprintf("and so on for %d more: %s-connect-db list --blocked", len(changes)-mostTold, p.Name))
		}
	}
}

// countKnocks adds one report for each block that somebody has knocked at, as
// the administrator has asked for.
func countKnocks(c *cli.Context, p place, r blocks.Result, now time.Time) error {
	var rows []blacklist.Row
	for _, net := range r.Knocks {
		row, err := blacklist.NewRow(strings.TrimSuffix(net.String(), "/32"), now.Unix(), 1)
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return nil
	}
	_, err := blacklist.InsertMissing(c.Context, p.platform.Database, rows)
	return err
}
