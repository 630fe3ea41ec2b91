package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/cmd/internal/command"
	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/firewall"
	"symbiosis-connect-acl/internal/hosts"
)

func listCommand() *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "list the hosts, the latest offender first",
		Description: `DENIED says whether the host's count is above the threshold of the connect
check: yes or no; learn or off where it is but the check is in that state;
sender or parole where that saves it. A user's host is denied on port 25 only.
STANDING is what the host has earned: user, sender, guesser, offender, parole;
show says more. FIREWALL says whether the host is in blacklist.d now: by the
administrator or by the scan (auto), and for which ports. REPORTS are the scans
that met the host. With --standing, hosts are listed too that the firewall has
never counted, with their last visit.`,
		Flags: append([]cli.Flag{
			&cli.Int64Flag{Name: "min-count", Usage: "only hosts with at least this `COUNT`"},
			&cli.StringFlag{Name: "since", Usage: "only hosts seen last at or after `TIME`: 2026-03-15, 2026-03-15T12:00:00Z, or 7d, 24h ago"},
			&cli.StringFlag{Name: "before", Usage: "only hosts seen last before `TIME`"},
			&cli.StringFlag{Name: "net", Usage: "only hosts in the network `CIDR`"},
			&cli.StringFlag{Name: "standing", Usage: "only hosts that are `WHAT`: user, sender, guesser, offender or parole"},
			&cli.BoolFlag{Name: "blocked", Usage: "only hosts that are in the firewall now"},
			&cli.IntFlag{Name: "top", Usage: "no more than `N` hosts"},
			&cli.StringFlag{Name: "sort", Value: string(blacklist.ByLast), Usage: "by `ORDER`: last, count, reports, first or address"},
			&cli.BoolFlag{Name: "reverse", Usage: "in reverse order"},
			&cli.StringFlag{Name: "format", Value: "table", Usage: "`FORMAT`: table, csv or json"},
			&cli.BoolFlag{Name: "dnsbl", Usage: "add what the DNS lists say"},
			thresholdFlag(),
		}, dnsblFlags()...),
		Action: list,
	}
}

func filter(c *cli.Context) (f blacklist.Filter, err error) {
	now := clock.Now()
	f = blacklist.Filter{MinCount: c.Int64("min-count"), Order: blacklist.Order(c.String("sort")), Top: c.Int("top")}
	if f.Top < 0 {
		return f, usagef("--top: %d is less than nothing", f.Top)
	}
	if !slices.Contains(blacklist.Orders, f.Order) {
		return f, usagef("--sort: unknown order %q; known are last, count, reports, first and address", f.Order)
	}
	if s := c.String("since"); s != "" {
		if f.Since, err = parseTime(s, now); err != nil {
			return f, err
		}
	}
	if s := c.String("before"); s != "" {
		if f.Before, err = parseTime(s, now); err != nil {
			return f, err
		}
	}
	if s := c.String("net"); s != "" {
		if f.Net, err = parseNet(s); err != nil {
			return f, err
		}
	}
	return f, nil
}

func list(c *cli.Context) error {
	format := c.String("format")
	if format != "table" && format != "csv" && format != "json" {
		return usagef("--format: unknown format %q; known are table, csv and json", format)
	}
	f, err := filter(c)
	if err != nil {
		return err
	}
	word := c.String("standing")
	if c.IsSet("standing") && !slices.Contains(hosts.Standings, word) {
		return usagef("--standing: unknown standing %q; known are %s", word, strings.Join(hosts.Standings, ", "))
	}
	find := func() (p place, counted bool, err error) {
		if word != "" {
			return either(c, 0)
		}
		p, err = need(c, 0)
		return p, true, err
	}
	p, counted, err := find()
	if err != nil {
		return err
	}
	if word != "" && p.hosts == "" {
		return usagef("--standing: that is not in the database that --database names")
	}
	j := readSettings(c, p)
	known, err := rowsOf(c.Context, p, func(r hosts.Row) bool { return word == "" || r.Standing(j.Policy, j.now).Is(word) })
	if err != nil && word != "" {
		return err
	} else if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name(), err)
	}
	entries, err := firewall.Read(filepath.Join(p.platform.FirewallDir, "blacklist.d"))
	if err != nil {
		return err
	}
	if c.Bool("blocked") {
		f.Keep = func(h blacklist.Host) bool { return len(entries.Lookup(h.Key)) > 0 }
	}
	top := f.Top
	if c.Bool("reverse") {
		f.Top = 0
	}
	all := []blacklist.Host{}
	if counted {
		if all, err = blacklist.List(c.Context, p.database, blacklist.Filter{Order: f.Order}); err != nil {
			return err
		}
	}
	if word != "" {
		all = only(all, known)
	}
	all = f.Apply(all)
	if c.Bool("reverse") {
		slices.Reverse(all)
		if top > 0 && len(all) > top {
			all = all[:top]
		}
	}
	records := make([]record, len(all))
	for i, h := range all {
		records[i] = newRecord(h, entries, j, known[h.Key].Standing(j.Policy, j.now))
	}
	withLists := c.Bool("dnsbl")
	if withLists {
		keys := make([]address.Key, len(all))
		for i, h := range all {
			keys[i] = h.Key
		}
		found, err := askLists(c, p, keys)
		if err != nil {
			return err
		}
		for i := range records {
			records[i].DNSBL = found[i]
		}
	}
	w := bufio.NewWriter(os.Stdout)
	switch format {
	case "json":
		err = command.WriteJSON(w, records)
	case "csv":
		err = writeCSV(w, records, withLists)
	default:
		columns, _ := command.Terminal(os.Stdout)
		writeTable(w, records, withLists, columns, command.Coloured(os.Stdout))
	}
	if err != nil {
		return err
	}
	return w.Flush()
}

// rowsOf gives those rows of hosts.db that keep asks for; none where there is no
// hosts.db.
func rowsOf(ctx context.Context, p place, keep func(hosts.Row) bool) (map[address.Key]hosts.Row, error) {
	found := map[address.Key]hosts.Row{}
	if p.hosts == "" {
		return found, nil
	}
	err := hosts.With(p.hosts, func(d *hosts.DB) error {
		for r, err := range d.All(ctx) {
			if err != nil {
				return err
			}
			if r.Key.IsValid() && keep(r) {
				found[r.Key] = r
			}
		}
		return ctx.Err()
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return found, err
}

// only gives the hosts of the rows: as the firewall has counted them, or, where
// it has not, with their visits.
func only(counted []blacklist.Host, rows map[address.Key]hosts.Row) []blacklist.Host {
	seen := map[address.Key]bool{}
	counted = slices.DeleteFunc(counted, func(h blacklist.Host) bool {
		_, keep := rows[h.Key]
		seen[h.Key] = true
		return !keep
	})
	for k, r := range rows {
		if !seen[k] {
			counted = append(counted, blacklist.Host{IP: k.String(), Key: k, Count: r.History, First: r.First.Truncate(blacklist.Day), Last: r.Last})
		}
	}
	return counted
}

func writeCSV(w io.Writer, records []record, withLists bool) error {
	c := csv.NewWriter(w)
	head := []string{"address", "count", "reports", "first", "last", "firewall", "denied", "standing"}
	if withLists {
		head = append(head, "dnsbl")
	}
	c.Write(head)
	for _, r := range records {
		row := []string{cell(r.Address), strconv.FormatInt(r.Count, 10), strconv.FormatInt(r.Reports, 10), r.First, r.Last,
			cell(r.firewallText()), r.denied, r.standingText()}
		if withLists {
			row = append(row, cell(r.DNSBL.text()))
		}
		c.Write(row)
	}
	c.Flush()
	return c.Error()
}
