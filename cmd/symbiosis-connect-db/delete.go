package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/firewall"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/rules"
	"symbiosis-connect-acl/internal/words"
)

func deleteCommand() *cli.Command {
	return &cli.Command{
		Name: "delete", Usage: "delete hosts, so that the connect check lets them in", ArgsUsage: "ADDRESS...",
		Description: `It says what will go and asks, on a terminal; elsewhere it needs --yes. What
goes is saved first, and the command that brings it back is printed.`,
		Flags: append([]cli.Flag{
			dryRunFlag(),
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"},
			&cli.StringFlag{Name: "net", Usage: "all hosts in the network `CIDR`"},
			&cli.BoolFlag{Name: "dnsbl-listed", Usage: "all hosts that the DNS lists deny anyway"},
			&cli.BoolFlag{Name: "firewall", Usage: "also remove the file that the firewall's scan wrote in blacklist.d"},
		}, dnsblFlags()...),
		Action: deleteHosts,
	}
}

func deleteHosts(c *cli.Context) error {
	keys, err := parseKeys(c.Args().Slice())
	if err != nil {
		return err
	}
	ways := 0
	for _, on := range []bool{len(keys) > 0, c.IsSet("net"), c.Bool("dnsbl-listed")} {
		if on {
			ways++
		}
	}
	if ways != 1 {
		return usagef("delete: name addresses, or --net, or --dnsbl-listed, one of the three")
	}
	yes := c.Bool("yes")
	if !yes && !c.Bool("dry-run") && !term.IsTerminal(int(os.Stdin.Fd())) {
		return usagef("delete: there is no terminal to ask on; use --yes")
	}
	p, counted, err := either(c, -1)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		if keys, err = chosen(c, p, counted); err != nil {
			return err
		}
	}
	var rows []blacklist.Row
	if len(keys) > 0 && counted {
		if rows, err = blacklist.Rows(c.Context, p.database, keys...); err != nil {
			return err
		}
	}
	against, err := heldAgainst(c.Context, p, keys)
	if err != nil {
		return err
	}
	var files []address.Key
	if c.Bool("firewall") {
		if files, err = automatic(p, keys); err != nil {
			return err
		}
	}
	if len(rows) == 0 && len(files) == 0 && len(against) == 0 {
		if len(keys) == 0 && c.Bool("dnsbl-listed") {
			fmt.Println("nothing to delete: the lists deny none of the hosts")
		} else {
			fmt.Println("nothing to delete: nothing is held against these hosts")
		}
		return nil
	}
	describe(rows, files)
	if len(against) > 0 {
		fmt.Printf("to forget in hosts.db: the history, offences and failed logins of %s\n", words.Plural(len(against), "host"))
	}
	if c.Bool("dry-run") {
		return nil
	}
	if !yes {
		sure, err := confirmed(c.Context)
		if err != nil {
			return err
		}
		if !sure {
			fmt.Println("nothing was deleted")
			return nil
		}
	}
	if len(rows) > 0 {
		saved, err := save(p, rows)
		if err != nil {
			return err
		}
		n, err := blacklist.DeleteRows(c.Context, p.database, rows)
		if err != nil && n > 0 {
			err = fmt.Errorf("%v; the same command deletes the rest", err)
		}
		if err == nil || n > 0 {
			undo := name() + " restore"
			if p.given {
				full, err := filepath.Abs(p.database)
				if err != nil {
					return err
				}
				undo += " --database " + quoted(full)
			}
			if p.platform.Root != "/" {
				undo += " --root " + quoted(p.platform.Root)
			}
			fmt.Printf("deleted %s. To undo it: %s %s\n", words.Plural(n, "row"), undo, quoted(saved))
		} else {
			os.Remove(saved) // nothing went, so there is nothing to bring back
		}
		if err != nil {
			return err
		}
	}
	if len(against) > 0 {
		var n int64
		if err := hosts.With(p.hosts, func(d *hosts.DB) (err error) {
			n, err = d.Forget(c.Context, against)
			return err
		}); err != nil {
			return err
		}
		fmt.Printf("hosts.db has forgotten what was against %s\n", words.Plural(n, "host"))
	}
	for _, k := range files {
		removed, err := firewall.RemoveAutomatic(filepath.Join(p.platform.FirewallDir, "blacklist.d"), k)
		if err != nil {
			return err
		}
		if removed {
			fmt.Printf("removed %s.auto; the firewall follows at its next reload, within the hour\n", k.FileName())
		}
	}
	left, err := automatic(p, keys)
	if err != nil {
		return err
	}
	if n := len(left); n > 0 {
		fmt.Printf("%s still in the firewall, by the scan's file in blacklist.d: --firewall removes that too\n", words.Plural(n, "host"))
	}
	return nil
}

// chosen gives the hosts that --net or --dnsbl-listed names.
func chosen(c *cli.Context, p place, counted bool) ([]address.Key, error) {
	var f blacklist.Filter
	var err error
	if c.IsSet("net") {
		if f.Net, err = parseNet(c.String("net")); err != nil {
			return nil, err
		}
	}
	f.Order = blacklist.ByAddress
	f.Keep = func(h blacklist.Host) bool { return h.Key.IsValid() && h.Key.String() == h.IP }
	accused, err := rowsOf(c.Context, p, func(r hosts.Row) bool { return r.Accused() })
	if err != nil {
		return nil, err
	}
	var found []blacklist.Host
	if counted {
		if found, err = blacklist.List(c.Context, p.database, blacklist.Filter{Keep: f.Keep}); err != nil {
			return nil, err
		}
	}
	for _, h := range found {
		delete(accused, h.Key)
	}
	for k := range accused {
		found = append(found, blacklist.Host{IP: k.String(), Key: k})
	}
	var keys []address.Key
	for _, h := range f.Apply(found) {
		keys = append(keys, h.Key)
	}
	if c.Bool("dnsbl-listed") {
		inForce(c, p, map[string]string{"lists": rules.ConnectLists, "score": rules.DNSBLThreshold})
		found, err := askLists(c, p, keys)
		if err != nil {
			return nil, err
		}
		var denied []address.Key
		unknown, silent := 0, ""
		for i, l := range found {
			switch {
			case l == nil:
			case l.Deny:
				denied = append(denied, keys[i])
			case len(l.Failed) > 0:
				unknown, silent = unknown+1, strings.Join(l.Failed, ", ")
			}
		}
		if unknown > 0 {
			fmt.Fprintf(os.Stderr, "%s: %s left alone, because there was no answer from %s\n", name(), words.Plural(unknown, "host"), silent)
		}
		keys = denied
	}
	return keys, nil
}

// heldAgainst gives those of the hosts that have something against them in
// hosts.db.
func heldAgainst(ctx context.Context, p place, keys []address.Key) (found []address.Key, err error) {
	if p.hosts == "" || len(keys) == 0 {
		return nil, nil
	}
	err = hosts.With(p.hosts, func(d *hosts.DB) error {
		for _, k := range keys {
			r, err := d.Get(ctx, k)
			if err != nil {
				return err
			}
			if r.Accused() {
				found = append(found, k)
			}
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return found, err
}

// automatic gives those of the hosts that have an automatic firewall file.
func automatic(p place, keys []address.Key) (found []address.Key, err error) {
	for _, k := range keys {
		has, err := firewall.HasAutomatic(filepath.Join(p.platform.FirewallDir, "blacklist.d"), k)
		if err != nil {
			return nil, err
		}
		if has {
			found = append(found, k)
		}
	}
	return found, nil
}

func describe(rows []blacklist.Row, files []address.Key) {
	type host struct {
		ip          string
		rows, count int64
	}
	var hosts []host
	for _, r := range rows { // sorted by address
		if len(hosts) == 0 || hosts[len(hosts)-1].ip != r.IP {
			hosts = append(hosts, host{ip: r.IP})
		}
		h := &hosts[len(hosts)-1]
		h.rows++
		h.count = blacklist.Plus(h.count, r.Count)
	}
	const most = 20
	for i, h := range hosts {
		if i == most {
			fmt.Printf("  and %d more\n", len(hosts)-most)
			break
		}
		fmt.Printf("  %s: %s, count %d\n", h.ip, words.Plural(h.rows, "row"), h.count)
	}
	if len(rows) > 0 {
		fmt.Printf("to delete: %s of %s\n", words.Plural(len(rows), "row"), words.Plural(len(hosts), "host"))
	}
	for _, k := range files {
		fmt.Printf("to remove: blacklist.d/%s.auto\n", k.FileName())
	}
}

// confirmed asks on standard error: standard output may go into a file.
func confirmed(ctx context.Context) (bool, error) {
	fmt.Fprint(os.Stderr, "delete them? [y/N] ")
	line, err := unlessInterrupted(ctx, func() (string, error) { return bufio.NewReader(os.Stdin).ReadString('\n') })
	if err != nil {
		fmt.Fprintln(os.Stderr) // the line that nobody ended
	}
	if err != nil && err != io.EOF {
		return false, err
	}
	return slices.Contains([]string{"y", "yes"}, strings.ToLower(strings.TrimSpace(line))), nil
}
