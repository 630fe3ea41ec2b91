package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/atomicfile"
	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/firewall"
)

func editing() []*cli.Command {
	dryRun := &cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "only say what would be done"}
	return []*cli.Command{
		{
			Name: "delete", Usage: "delete hosts, so that the connect check lets them in", ArgsUsage: "ADDRESS...",
			Description: `It says what will go and asks, on a terminal; elsewhere it needs --yes. What
goes is saved first, and the command that brings it back is printed.`,
			Flags: append([]cli.Flag{
				dryRun,
				&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"},
				&cli.StringFlag{Name: "net", Usage: "all hosts in the network `CIDR`"},
				&cli.BoolFlag{Name: "dnsbl-listed", Usage: "all hosts that the DNS lists deny anyway"},
				&cli.BoolFlag{Name: "firewall", Usage: "also remove the file that the firewall's scan wrote in blacklist.d"},
			}, dnsblFlags()...),
			Action: deleteHosts,
		},
		{
			Name: "restore", Usage: "bring back what delete saved", ArgsUsage: "FILE",
			Description: "Rows that the database has already are left out, so that it can be run twice.",
			Flags:       []cli.Flag{dryRun},
			Action:      importRows,
		},
		{
			Name: "add", Usage: "add a report about a host", ArgsUsage: "ADDRESS",
			Flags: []cli.Flag{
				dryRun,
				&cli.Int64Flag{Name: "count", Required: true, Usage: "the `COUNT` to add"},
				&cli.StringFlag{Name: "time", Usage: "the `TIME` of the report (default: now)"},
			},
			Action: add,
		},
		{
			Name: "export", Usage: "write all rows as JSON or CSV",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "format", Value: "json", Usage: "`FORMAT`: json or csv"},
				&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE` instead of standard output"},
			},
			Action: export,
		},
		{
			Name: "import", Usage: "add rows as export writes them, JSON or CSV; - reads standard input", ArgsUsage: "FILE",
			Description: "All of the file is checked before anything is stored. Rows that the database has already are left out.",
			Flags:       []cli.Flag{dryRun},
			Action:      importRows,
		},
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
	p, err := need(c, -1)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		if keys, err = chosen(c, p); err != nil {
			return err
		}
	}
	ips := make([]string, len(keys))
	for i, k := range keys {
		ips[i] = k.String()
	}
	var rows []blacklist.Row
	if len(ips) > 0 {
		if rows, err = blacklist.Rows(c.Context, p.database, ips); err != nil {
			return err
		}
	}
	files := automatic(c, p, keys)
	if len(rows) == 0 && len(files) == 0 {
		fmt.Println("nothing to delete: the database has none of these hosts")
		return nil
	}
	describe(rows, files)
	if c.Bool("dry-run") {
		return nil
	}
	if !yes && !confirmed() {
		fmt.Println("nothing was deleted")
		return nil
	}
	if len(rows) > 0 {
		saved, err := save(p, rows)
		if err != nil {
			return err
		}
		n, err := blacklist.DeleteRows(c.Context, p.database, rows)
		if err == nil || n > 0 {
			undo := name() + " restore"
			if p.given {
				undo += " --database " + quoted(p.database)
			} else if r := c.String("root"); r != "/" {
				undo += " --root " + quoted(r)
			}
			fmt.Printf("deleted %d rows. To undo it: %s %s\n", n, undo, quoted(saved))
		} else {
			os.Remove(saved) // nothing went, so there is nothing to bring back
		}
		if err != nil {
			return err
		}
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
	return nil
}

// chosen gives the hosts that --net or --dnsbl-listed names.
func chosen(c *cli.Context, p place) ([]address.Key, error) {
	var f blacklist.Filter
	var err error
	if c.IsSet("net") {
		if f.Net, err = parseNet(c.String("net")); err != nil {
			return nil, err
		}
	}
	f.Order = blacklist.ByAddress
	f.Keep = func(h blacklist.Host) bool { return h.Key.IsValid() && h.Key.String() == h.IP }
	hosts, err := blacklist.List(c.Context, p.database, f)
	if err != nil {
		return nil, err
	}
	var keys []address.Key
	for _, h := range hosts {
		keys = append(keys, h.Key)
	}
	if c.Bool("dnsbl-listed") {
		inForce(c, p, map[string]string{"lists": "CHECK_CONNECT_IP_DNSBLS", "score": "CHECK_CONNECT_DNSBL_THRESHOLD"})
		found, err := askLists(c, p, keys)
		if err != nil {
			return nil, err
		}
		var denied []address.Key
		for i, l := range found {
			if l != nil && l.Deny {
				denied = append(denied, keys[i])
			}
		}
		keys = denied
	}
	return keys, nil
}

// automatic gives the hosts whose automatic firewall file is to go.
func automatic(c *cli.Context, p place, keys []address.Key) []address.Key {
	if !c.Bool("firewall") {
		return nil
	}
	var found []address.Key
	for _, k := range keys {
		if _, err := os.Lstat(filepath.Join(p.platform.FirewallDir, "blacklist.d", k.FileName()+".auto")); err == nil {
			found = append(found, k)
		}
	}
	return found
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
		h.count += r.Count
	}
	const most = 20
	for i, h := range hosts {
		if i == most {
			fmt.Printf("  and %d more\n", len(hosts)-most)
			break
		}
		fmt.Printf("  %s: %d rows, count %d\n", h.ip, h.rows, h.count)
	}
	fmt.Printf("to delete: %d rows of %d hosts\n", len(rows), len(hosts))
	for _, k := range files {
		fmt.Printf("to remove: blacklist.d/%s.auto\n", k.FileName())
	}
}

func confirmed() bool {
	fmt.Print("delete them? [y/N] ")
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	return slices.Contains([]string{"y", "yes"}, strings.ToLower(strings.TrimSpace(line)))
}

// save writes the rows where restore finds them, before they are deleted.
func save(p place, rows []blacklist.Row) (file string, err error) {
	if err := os.MkdirAll(p.platform.StateDir, 0o755); err != nil {
		return "", err
	}
	if err := atomicfile.SyncDir(filepath.Dir(p.platform.StateDir)); err != nil { // as it may be new
		return "", err
	}
	var b bytes.Buffer
	w, err := blacklist.NewRowWriter(&b, "json")
	if err != nil {
		return "", err
	}
	for _, r := range rows {
		if err := w.Write(r); err != nil {
			return "", err
		}
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	base := filepath.Join(p.platform.StateDir, "deleted-"+time.Now().UTC().Format("20060102-150405"))
	for n := 1; ; n++ {
		file = base + ".json"
		if n > 1 {
			file = fmt.Sprintf("%s-%d.json", base, n)
		}
		if _, err := os.Lstat(file); err != nil {
			return file, atomicfile.Write(file, b.Bytes(), 0o600)
		}
	}
}

// quoted spells a path for a shell.
func quoted(s string) string {
	if strings.IndexFunc(s, func(r rune) bool {
		return !(r == '/' || r == '.' || r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
	}) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func add(c *cli.Context) error {
	if c.NArg() != 1 {
		return usagef("add: one address is needed")
	}
	k, err := address.Parse(c.Args().First())
	if err != nil {
		return usagef("%v", err)
	}
	at := time.Now()
	if s := c.String("time"); s != "" {
		if at, err = parseTime(s, at); err != nil {
			return err
		}
	}
	p, err := need(c, -1)
	if err != nil {
		return err
	}
	if c.Bool("dry-run") {
		fmt.Printf("would add a report about %s with count %d\n", k, c.Int64("count"))
		return nil
	}
	return blacklist.Add(c.Context, p.database, k, c.Int64("count"), at)
}

func export(c *cli.Context) (err error) {
	p, err := need(c, 0)
	if err != nil {
		return err
	}
	out := io.Writer(os.Stdout)
	var b bytes.Buffer
	if c.String("output") != "" {
		out = &b
	}
	w, err := blacklist.NewRowWriter(out, c.String("format"))
	if err != nil {
		return usagef("--format: %v", err)
	}
	if err := blacklist.Export(c.Context, p.database, w.Write); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if o := c.String("output"); o != "" {
		return atomicfile.Write(o, b.Bytes(), 0o600)
	}
	return nil
}

func importRows(c *cli.Context) error {
	if c.NArg() != 1 {
		return usagef("%s: one file is needed", c.Command.Name)
	}
	file := c.Args().First()
	in := os.Stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	rows, err := blacklist.ReadRows(in)
	if err != nil {
		return fmt.Errorf("%s: %w; nothing was stored", file, err)
	}
	p, err := need(c, -1)
	if err != nil {
		return err
	}
	if c.Bool("dry-run") {
		fmt.Printf("%d rows are sound; those that the database does not have would be stored\n", len(rows))
		return nil
	}
	n, err := blacklist.InsertMissing(c.Context, p.database, rows)
	if err != nil {
		return err
	}
	fmt.Printf("%d rows stored, %d were there already\n", n, int64(len(rows))-n)
	return nil
}
