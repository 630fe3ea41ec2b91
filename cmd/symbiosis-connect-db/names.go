package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/cmd/internal/command"
	"symbiosis-connect-acl/internal/atomicfile"
	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/names"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/remedy"
	"symbiosis-connect-acl/internal/safepath"
	"symbiosis-connect-acl/internal/syslog"
	"symbiosis-connect-acl/internal/whitelist"
	"symbiosis-connect-acl/internal/words"
)

// namesDeadline is how long all look-ups may take together.
const namesDeadline = 20 * time.Second

func namesCommand() *cli.Command {
	return &cli.Command{
		Name: "names", Usage: "look up the host names in whitelist_connect_hosts",
		Description: `For cron, each minute. A name is looked up every five minutes, or sooner when
its records say so (TTL), but at most once a minute. Its IPv4 and IPv6
addresses, and those of ranges, are written to a second file that Exim reads at
every connection. While the resolver fails, the last good answer holds for a
day. It prints nothing when cron runs it.`,
		Flags:  []cli.Flag{verboseFlag()},
		Action: lookUpNames,
	}
}

func lookUpNames(c *cli.Context) error {
	if err := command.NoArguments(c); err != nil {
		return err
	}
	p, err := platform.Find(c.String("root"))
	if errors.Is(err, platform.ErrNone) {
		return nil // cron runs this before the platform is there, and after
	} else if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Dir(p.WhitelistDNS)); errors.Is(err, fs.ErrNotExist) {
		return nil // setup makes that
	}
	text, err := safepath.ReadFile(p.Whitelist)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	before, err := safepath.ReadFile(p.WhitelistDNS)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r, err := names.System(filepath.Join(p.Root, "etc/resolv.conf"))
	if err != nil {
		return remedy.Add(err, "mend it; the last good answers hold for a day")
	}
	ctx, stop := context.WithTimeoutCause(c.Context, namesDeadline, errors.New("the look-ups took too long"))
	defer stop()
	old := whitelist.ParseDerived(before)
	now := whitelist.Parse(text).Derive(ctx, old, clock.Now(), func(ctx context.Context, name string, kind whitelist.Kind) ([]netip.Addr, time.Duration, error) {
		return r.Addresses(ctx, name, kind == whitelist.AAAA)
	})
	if c.Context.Err() != nil {
		return c.Context.Err()
	}
	if now.Empty() {
		err = atomicfile.Remove(p.WhitelistDNS)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else if after := now.Format(p.Name + "-connect-db names"); !bytes.Equal(before, after) {
		err = atomicfile.Write(p.WhitelistDNS, after, 0o644)
	}
	if err != nil {
		return err
	}
	for _, x := range whitelist.Lapsed(old, now) {
		syslog.Send(syslog.Socket, syslog.CronErr, fmt.Sprintf("names: %s is not let past the connect checks any more: for a day it could not be looked up (%s)", x.Name, words.Printable(x.Failure)))
	}
	if _, onTerminal := command.Terminal(os.Stdout); onTerminal || c.Bool("verbose") {
		tellNames(now)
	}
	return nil
}

func tellNames(d whitelist.Derived) {
	for _, x := range d.Answers {
		var addrs []string
		for _, a := range x.Addrs {
			addrs = append(addrs, a.String())
		}
		text := strings.Join(addrs, ", ")
		if text == "" {
			text = "none"
		}
		if x.Failure != "" {
			text += " (the last look-up failed: " + x.Failure + ")"
		}
		command.Printf("%s %s: %s\n", x.Name, x.Kind, text)
	}
	for _, e := range d.Ranges {
		command.Printf("%s: %s\n", e.Text, words.Plural(len(e.Nets), "network"))
	}
}
