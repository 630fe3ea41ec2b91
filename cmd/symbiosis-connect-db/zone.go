package main

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/known"
	"symbiosis-connect-acl/internal/remedy"
	"symbiosis-connect-acl/internal/zone"
)

func zoneCommand() *cli.Command {
	return &cli.Command{
		Name: "zone", Usage: "print the hosts that are worth sharing, as a DNS list",
		Description: `A list by RFC 5782, for a name server that others ask. 127.0.0.2 means a long
history, 127.0.0.3 a host that guesses passwords, 127.0.0.4 several offences in
a day that only bots make. The text names the server, the day and the reason.

White-listed hosts, relay hosts, hosts from which a user logs in or that have
delivered mail, and private and special addresses are never on it.

Format rfc1035 is a zone file for BIND, NSD, Knot or PowerDNS. Format rbldnsd is
read by rbldnsd as ZONE:combined:FILE. With --output the file is replaced whole,
and left alone when nothing has changed.`,
		Flags: append(criteriaFlags(),
			&cli.StringFlag{Name: "format", Value: string(zone.RFC1035), Usage: "`FORMAT`: rfc1035 or rbldnsd"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE` instead of standard output"},
		),
		Action: printZone,
	}
}

// criteriaFlags are those that say which hosts are shared, and as what.
func criteriaFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "zone", Usage: "the `NAME` of the zone, if not CONNECT_ACL_ZONE in /etc/default"},
		&cli.StringFlag{Name: "origin", Usage: "the `NAME` of this server in the list, if not CONNECT_ACL_ORIGIN in /etc/default or the host's name"},
		&cli.Int64Flag{Name: "min-count", Usage: "list hosts whose history is at least `COUNT`, if not twice the threshold"},
		&cli.StringFlag{Name: "max-age", Value: "30d", Usage: "no host whose last offence is longer ago than `TIME`, such as 30d or 12h"},
	}
}

// The names of the settings in the defaults file.
const (
	zoneSetting   = "CONNECT_ACL_ZONE"
	originSetting = "CONNECT_ACL_ORIGIN"
)

func printZone(c *cli.Context) error {
	if c.NArg() > 0 {
		return usagef("zone: unexpected argument %q", c.Args().First())
	}
	format := zone.Format(c.String("format"))
	if format != zone.RFC1035 && format != zone.Rbldnsd {
		return usagef("--format: unknown format %q; known are rfc1035 and rbldnsd", format)
	}
	p, err := hostsPlace(c)
	if err != nil {
		return err
	}
	head, err := headOf(c, p)
	if err != nil {
		return err
	}
	criteria, err := criteriaOf(c, p)
	if err != nil {
		return err
	}
	write := func(out zone.Output) error { return format.Write(out, head, entriesOf(c, p, criteria)) }
	now := clock.Now().Unix()
	if o := c.String("output"); o != "" {
		_, err := zone.WriteFile(c.Context, o, now, write)
		return err
	}
	w := zone.Stream(os.Stdout, zone.Serial(now, 0))
	if err := write(w); err != nil {
		return err
	}
	return w.Flush()
}

// hostsPlace is where for commands that need hosts.db and no other database.
func hostsPlace(c *cli.Context) (place, error) {
	if c.IsSet("database") {
		return place{}, usagef("%s: the entries are those of hosts.db: leave --database out", c.Command.Name)
	}
	p, _, err := where(c)
	if errors.Is(err, errNoDatabase) {
		err = nil
	}
	return p, err
}

// entriesOf gives the hosts on the list.
func entriesOf(c *cli.Context, p place, criteria zone.Criteria) iter.Seq2[zone.Entry, error] {
	return func(yield func(zone.Entry, error) bool) {
		err := hosts.With(p.hosts, func(d *hosts.DB) error {
			for e, err := range criteria.Entries(c.Context, d) {
				if err != nil {
					return err
				}
				if !yield(e, nil) {
					return nil
				}
			}
			return nil
		})
		if err != nil {
			yield(zone.Entry{}, unmade(p, err))
		}
	}
}

// unmade says what makes hosts.db, where it is missing.
func unmade(p place, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return remedy.Add(fmt.Errorf("there is no %s", p.hosts), "%s-connect-setup apply makes it", p.platform.Name)
	}
	return err
}

// headOf gives the names of the zone and of this server.
func headOf(c *cli.Context, p place) (h zone.Head, err error) {
	name := c.String("zone")
	if name == "" {
		name = p.settings.String(zoneSetting, "")
	}
	if name == "" {
		return h, usagef("%s: which zone? Name it with --zone, or as %s in %s", c.Command.Name, zoneSetting, p.platform.DefaultsFile)
	}
	if h.Zone, err = zone.Domain(name); err != nil {
		return h, usagef("the zone: %v", err)
	}
	origin := c.String("origin")
	if origin == "" {
		origin = p.settings.String(originSetting, "")
	}
	if origin == "" {
		if origin, err = os.Hostname(); err != nil {
			return h, err
		}
	}
	if h.Origin, err = zone.Domain(origin); err != nil {
		return h, usagef("this server's name in the list: %v; name it with --origin, or as %s in %s", err, originSetting, p.platform.DefaultsFile)
	}
	return h, nil
}

// criteriaOf takes from the flags, Exim's configuration in force and the
// administrator's white lists which hosts are shared.
func criteriaOf(c *cli.Context, p place) (k zone.Criteria, err error) {
	k = zone.Criteria{Policy: hosts.Defaults, Now: clock.Now()}
	if found := policy(c, p); found != nil {
		k.Policy = *found
	}
	if k.MaxAge, err = parseAge(c.String("max-age")); err != nil {
		return k, err
	}
	k.MinCount = zone.MinCountFactor * k.Policy.Threshold
	if c.IsSet("min-count") {
		if k.MinCount = c.Int64("min-count"); k.MinCount < 1 {
			return k, usagef("--min-count: %d would list hosts that have done nothing", k.MinCount)
		}
	}
	k.MinCount = max(k.MinCount, 1)
	k.Spared, err = known.Read(p.platform)
	return k, err
}

// parseAge reads a time such as 30d or 12h.
func parseAge(s string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		if days, err := strconv.Atoi(n); err == nil && days > 0 && days < 10000 {
			return time.Duration(days) * blacklist.Day, nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return d, nil
	}
	return 0, usagef("--max-age: %q is no time such as 30d or 12h", s)
}
