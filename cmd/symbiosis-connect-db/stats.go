package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/cmd/internal/command"
	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/words"
)

func statsCommand() *cli.Command {
	return &cli.Command{
		Name: "stats", Usage: "show the size and growth of both databases",
		Flags:  []cli.Flag{&cli.StringFlag{Name: "format", Value: "text", Usage: "`FORMAT`: text or json"}},
		Action: stats,
	}
}

func stats(c *cli.Context) error {
	format := c.String("format")
	if format != "text" && format != "json" {
		return usagef("--format: unknown format %q; known are text and json", format)
	}
	p, counted, err := either(c, 0)
	if err != nil {
		return err
	}
	each := []blacklist.Stats{{Path: p.platform.Database}}
	if counted {
		each = nil
	}
	for _, path := range p.databases {
		s, err := blacklist.ReadStats(c.Context, path)
		if err != nil {
			return err
		}
		each = append(each, s)
	}
	for i := range each {
		if each[i].Worst == nil {
			each[i].Worst = []blacklist.Network{} // an array for a program that reads the JSON
		}
	}
	all := struct {
		blacklist.Stats
		Others []blacklist.Stats `json:"other_firewalls,omitempty"`
		Hosts  *hosts.Stats      `json:"hosts"` // null where there is no hosts.db
	}{Stats: each[0], Others: each[1:]}
	if all.Hosts, err = hostsStats(c.Context, p); err != nil {
		return err
	}
	if format == "json" {
		return command.WriteJSON(os.Stdout, all)
	}
	field := func(name, format string, args ...any) {
		command.Printf("%-18s%s\n", name, fmt.Sprintf(format, args...))
	}
	for _, s := range each {
		if !counted {
			field("firewall", "%s does not exist: nobody has been counted yet", s.Path)
			break
		}
		field("firewall", "%s", s.Path)
		field("layout", "%s", s.Schema)
		field("rows", "%d", s.Rows)
		field("hosts", "%d", s.Addresses)
		if s.Alien > 0 {
			field("", "%s not about a host", words.Plural(s.Alien, "row"))
		}
		field("size", "%s, of which %s free", size(s.Bytes), size(s.FreeBytes))
		if s.Rows > 0 {
			field("growth", "%.0f rows and %s a day", s.RowsPerDay, size(int64(s.BytesPDay)))
			field("oldest row", "%s UTC", s.Oldest.Format("2006-01-02 15:04:05"))
			field("newest row", "%s UTC", s.Newest.Format("2006-01-02 15:04:05"))
		}
	}
	if h := all.Hosts; h != nil {
		field("Exim asks", "%s", h.Path)
		field("hosts", "%d, of which %d with a history, %d with a login within a month", h.Hosts, h.History, h.Logins)
		field("size", "%s", size(h.Bytes))
		if !h.Lost.IsZero() {
			field("begun anew", "%s UTC, after a loss", h.Lost.Format("2006-01-02 15:04:05"))
		}
	}
	for _, s := range each {
		if len(s.Worst) == 0 {
			continue
		}
		title := "worst networks"
		if len(each) > 1 {
			title += " in " + s.Path
		}
		fmt.Println(title)
		for _, n := range s.Worst {
			fmt.Printf("  %-28s count %d, %s\n", n.Net, n.Count, words.Plural(n.Hosts, "host"))
		}
	}
	return nil
}

// hostsStats gives those of hosts.db, nil where there is none.
func hostsStats(ctx context.Context, p place) (*hosts.Stats, error) {
	if p.hosts == "" {
		return nil, nil
	}
	var s hosts.Stats
	err := hosts.With(p.hosts, func(d *hosts.DB) (err error) {
		s, err = d.Stats(ctx, clock.Now())
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return &s, err
}

// size spells a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d MB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d kB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
