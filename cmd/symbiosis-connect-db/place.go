package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/history"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/settings"
)

// A place is what a command works on.
type place struct {
	databases []string          // the firewalls', of which each is there
	given     bool              // by --database
	hosts     string            // hosts.db; "" when --database names another one
	sources   []string          // the firewalls' databases, whose sums hosts.db has
	platform  platform.Platform // Symbiosis' paths where neither system is installed
	settings  settings.File
}

// own gives those of the databases that have a row for each report, to which
// rows may be added and whose old ones are pruned: not nftfw's.
func (p place) own(ctx context.Context) (all []string, err error) {
	for _, path := range p.databases {
		if ok, err := blacklist.Writable(ctx, path); err != nil {
			return nil, err
		} else if ok {
			all = append(all, path)
		}
	}
	return all, nil
}

// writable gives the database to which rows are added: of several the first that
// takes any, which otherwise says itself why not.
func (p place) writable(ctx context.Context) (string, error) {
	all, err := p.own(ctx)
	return append(all, p.databases...)[0], err
}

var errNoDatabase = errors.New("there is no such database")

// where finds the database. found is false when there is nothing to do: neither
// system is installed, or its firewall has not made the database yet.
func where(c *cli.Context) (p place, found bool, err error) {
	p.databases, p.given = []string{c.String("database")}, c.IsSet("database")
	p.platform, err = platform.Find(c.String("root"))
	if errors.Is(err, platform.ErrNone) {
		if !p.given {
			return p, false, err
		}
		p.platform = platform.Symbiosis(c.String("root"))
	} else if err != nil {
		return p, false, err
	}
	if p.settings, err = settings.Read(p.platform.DefaultsFile); err != nil {
		return p, false, err
	}
	if !p.given {
		p.hosts = p.platform.HostsDatabase
		if p.sources, err = history.Sources(p.platform); err != nil {
			return p, false, err
		}
		p.databases = append([]string(nil), p.sources...)
		if len(p.databases) == 0 {
			p.databases = []string{p.platform.Database}
		}
	}
	first := p.databases[0]
	p.databases = slices.DeleteFunc(p.databases, func(path string) bool {
		_, err := os.Stat(path)
		return errors.Is(err, fs.ErrNotExist)
	})
	if len(p.databases) == 0 {
		if p.given {
			return p, false, fmt.Errorf("%s: %w; look at --database", first, errNoDatabase)
		}
		return p, false, fmt.Errorf("%s: %w; the firewall makes it at its first scan", first, errNoDatabase)
	}
	return p, true, nil
}

// need is where for commands that cannot do without a database.
func need(c *cli.Context, args int) (place, error) {
	if args >= 0 && c.NArg() > args {
		return place{}, usagef("%s: unexpected argument %q", c.Command.Name, c.Args().Get(args))
	}
	p, _, err := where(c)
	return p, err
}

// either is need for commands that do with one of the two databases: counted
// is false where there is no firewall's database, but a hosts.db.
func either(c *cli.Context, args int) (p place, counted bool, err error) {
	p, err = need(c, args)
	if errors.Is(err, errNoDatabase) && !p.given && exists(p.hosts) {
		return p, false, nil
	}
	return p, err == nil, err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
