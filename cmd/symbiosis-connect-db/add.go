package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/hosts"
)

func addCommand() *cli.Command {
	return &cli.Command{
		Name: "add", Usage: "add a report about a host", ArgsUsage: "ADDRESS",
		Flags: []cli.Flag{
			dryRunFlag(),
			&cli.Int64Flag{Name: "count", Usage: "the `COUNT` to add, 1 or more; it must be given"},
			&cli.StringFlag{Name: "time", Usage: "the `TIME` of the report (default: now)"},
		},
		Action: add,
	}
}

func add(c *cli.Context) error {
	if c.NArg() != 1 {
		return usagef("add: one address is needed")
	}
	k, err := address.Parse(c.Args().First())
	if err != nil {
		return usagef("%v", err)
	}
	n := c.Int64("count")
	if n < 1 {
		return usagef("add: --count must be given, and be 1 or more")
	}
	at := clock.Now()
	if s := c.String("time"); s != "" {
		now := at
		if at, err = parseTime(s, now); err != nil {
			return err
		}
		if at.After(now) {
			return usagef("add: --time: %s is yet to come", s)
		}
	}
	p, err := need(c, -1)
	if err != nil {
		return err
	}
	if c.Bool("dry-run") {
		fmt.Printf("would add a report about %s with count %d\n", k, n)
		return nil
	}
	// A sync between the two would bring the report over, and it would count twice.
	if p.hosts != "" {
		unlock, err := hosts.Lock(c.Context, p.hosts, syncWait)
		if err == nil {
			defer unlock()
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	database, err := p.writable(c.Context)
	if err != nil {
		return err
	}
	if err := blacklist.Add(c.Context, database, k, n, at); err != nil {
		return err
	}
	if p.hosts != "" {
		err := hosts.With(p.hosts, func(d *hosts.DB) error { return d.AddHistory(c.Context, k, n, at) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	fmt.Printf("added a report about %s with count %d\n", k, n)
	return nil
}
