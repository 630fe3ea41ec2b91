package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/history"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/settings"
)

// A place is what a command works on.
type place struct {
	database string            // the firewall's
	given    bool              // by --database
	hosts    string            // hosts.db; "" when --database names another one
	sources  []string          // the firewalls' databases, whose sums hosts.db has
	platform platform.Platform // Symbiosis' paths where neither system is installed
	settings settings.File
}

var errNoDatabase = errors.New("there is no such database")

// where finds the database. found is false when there is nothing to do: neither
// system is installed, or its firewall has not made the database yet.
func where(c *cli.Context) (p place, found bool, err error) {
	p.database, p.given = c.String("database"), c.IsSet("database")
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
		p.database = append(p.sources, p.platform.Database)[0]
	}
	if _, err := os.Stat(p.database); errors.Is(err, fs.ErrNotExist) {
		if p.given {
			return p, false, fmt.Errorf("%s: %w; look at --database", p.database, errNoDatabase)
		}
		return p, false, fmt.Errorf("%s: %w; the firewall makes it at its first scan", p.database, errNoDatabase)
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
