package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/firewall"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/rules"
)

// defaultThreshold is that of the connect check as it is shipped.
const defaultThreshold = 10

func inspection() []*cli.Command {
	threshold := &cli.Int64Flag{Name: "threshold", Value: defaultThreshold,
		Usage: "the `COUNT` above which the connect check denies a host, if not SYMBIOSIS_INCIDENT_THRESHOLD in Exim's configuration in force"}
	return []*cli.Command{
		{
			Name: "list", Usage: "list the hosts, the latest offender first",
			Description: `DENIED says whether the host's count is above the threshold of the connect
check: yes or no, and learn or off where it is but the check is in that state.
FIREWALL says whether the host is in blacklist.d now: by the administrator or
by the scan (auto), and for which ports. REPORTS are the scans that met the
host.`,
			Flags: append([]cli.Flag{
				&cli.Int64Flag{Name: "min-count", Usage: "only hosts with at least this `COUNT`"},
				&cli.StringFlag{Name: "since", Usage: "only hosts seen last at or after `TIME`: 2026-03-15, 2026-03-15T12:00:00Z, or 7d, 24h ago"},
				&cli.StringFlag{Name: "before", Usage: "only hosts seen last before `TIME`"},
				&cli.StringFlag{Name: "net", Usage: "only hosts in the network `CIDR`"},
				&cli.BoolFlag{Name: "blocked", Usage: "only hosts that are in the firewall now"},
				&cli.IntFlag{Name: "top", Usage: "no more than `N` hosts"},
				&cli.StringFlag{Name: "sort", Value: string(blacklist.ByLast), Usage: "by `ORDER`: last, count, reports, first or address"},
				&cli.BoolFlag{Name: "reverse", Usage: "the other way round"},
				&cli.StringFlag{Name: "format", Value: "table", Usage: "`FORMAT`: table, csv or json"},
				&cli.BoolFlag{Name: "dnsbl", Usage: "add what the DNS lists say"},
				threshold,
			}, dnsblFlags()...),
			Action: list,
		},
		{
			Name: "show", Usage: "show everything about hosts, with their offences day by day", ArgsUsage: "ADDRESS...",
			Description: "An address may be spelled in any way; for IPv6 any address of a host's /64 will do.",
			Flags: append([]cli.Flag{
				&cli.BoolFlag{Name: "dnsbl", Usage: "add what the DNS lists say"},
				threshold,
			}, dnsblFlags()...),
			Action: show,
		},
		{
			Name: "stats", Usage: "show the size and growth of both databases",
			Flags:  []cli.Flag{&cli.StringFlag{Name: "format", Value: "text", Usage: "`FORMAT`: text or json"}},
			Action: stats,
		},
	}
}

// parseTime reads a point in time: a day or a time in UTC, or a distance from now.
func parseTime(s string, now time.Time) (time.Time, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		if days, err := strconv.Atoi(n); err == nil && days >= 0 && days < 100000 {
			return now.Add(-time.Duration(days) * blacklist.Day), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("%q is no time: write 2026-03-15, 2026-03-15T12:00:00Z, or 7d or 24h for that long ago", s)
}

// parseNet reads a network, or an address as the network of that host.
func parseNet(s string) (netip.Prefix, error) {
	if k, err := address.Parse(s); err == nil {
		return k.Prefix(), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, usagef("--net: %q is not a network such as 192.0.2.0/24 or 2001:db8::/32", s)
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

func filter(c *cli.Context) (f blacklist.Filter, err error) {
	now := time.Now()
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

// A record is one host as list gives it in JSON.
type record struct {
	Address  string  `json:"address"`
	Count    int64   `json:"count"`
	Reports  int64   `json:"reports"`
	First    string  `json:"first"` // a day
	Last     string  `json:"last"`
	Firewall []block `json:"firewall"`
	Over     bool    `json:"over_threshold"`
	Denied   bool    `json:"denied"`
	DNSBL    *listed `json:"dnsbl,omitempty"`

	key    address.Key
	denied string // as judge has it
}

type block struct {
	Net       string   `json:"net"`
	Automatic bool     `json:"automatic"`
	Ports     []string `json:"ports"` // null means all
}

func newRecord(h blacklist.Host, entries firewall.Entries, j judge) record {
	denied := j.denies(h.Count)
	r := record{Address: h.IP, Count: h.Count, Reports: h.Reports, First: h.First.Format(time.DateOnly),
		Last: h.Last.Format(time.RFC3339), Firewall: []block{}, Over: denied != "no", Denied: denied == "yes", denied: denied, key: h.Key}
	for _, e := range entries.Lookup(h.Key) {
		net := e.Net.String()
		if e.Net.IsSingleIP() {
			net = e.Net.Addr().String()
		}
		r.Firewall = append(r.Firewall, block{Net: net, Automatic: e.Automatic, Ports: e.Ports})
	}
	return r
}

func (r record) firewallText() string {
	var all []string
	for _, b := range r.Firewall {
		kind, ports := "manual", "all ports"
		if b.Automatic {
			kind = "auto"
		}
		if b.Ports != nil {
			ports = strings.Join(b.Ports, ",")
		}
		text := kind + " " + ports
		if b.Net != r.Address && strings.Contains(b.Net, "/") {
			text += " (" + b.Net + ")"
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}

// A judge knows what the connect check does with a count.
type judge struct {
	threshold int64
	state     rules.State
}

// denies tells whether a host with that count is denied: yes or no, and learn
// or off where it would be if the check were not in that state.
func (j judge) denies(count int64) string {
	switch {
	case count <= j.threshold:
		return "no"
	case j.state != rules.Enforce:
		return string(j.state)
	}
	return "yes"
}

// readSettings takes from Exim's configuration what decides about a host.
func readSettings(c *cli.Context, p place) judge {
	settings := map[string]string{"threshold": rules.Threshold}
	if c.Bool("dnsbl") {
		settings["lists"], settings["score"] = rules.ConnectLists, rules.DNSBLThreshold
	}
	state := inForce(c, p, settings)
	return judge{threshold: c.Int64("threshold"), state: state}
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
	p, err := need(c, 0)
	if err != nil {
		return err
	}
	j := readSettings(c, p)
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
	hosts, err := blacklist.List(c.Context, p.database, f)
	if err != nil {
		return err
	}
	if c.Bool("reverse") {
		slices.Reverse(hosts)
		if top > 0 && len(hosts) > top {
			hosts = hosts[:top]
		}
	}
	records := make([]record, len(hosts))
	for i, h := range hosts {
		records[i] = newRecord(h, entries, j)
	}
	withLists := c.Bool("dnsbl")
	if withLists {
		keys := make([]address.Key, len(hosts))
		for i, h := range hosts {
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
		err = writeJSON(w, records)
	case "csv":
		err = writeCSV(w, records, withLists)
	default:
		columns, tty := terminal(os.Stdout)
		writeTable(w, records, withLists, columns, tty && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
	}
	if err != nil {
		return err
	}
	return w.Flush()
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func writeCSV(w io.Writer, records []record, withLists bool) error {
	c := csv.NewWriter(w)
	head := []string{"address", "count", "reports", "first", "last", "firewall", "denied"}
	if withLists {
		head = append(head, "dnsbl")
	}
	c.Write(head)
	for _, r := range records {
		row := []string{r.Address, strconv.FormatInt(r.Count, 10), strconv.FormatInt(r.Reports, 10), r.First, r.Last,
			r.firewallText(), r.denied}
		if withLists {
			row = append(row, r.DNSBL.text())
		}
		c.Write(row)
	}
	c.Flush()
	return c.Error()
}

// A column of the table. Numbers stand on the right; drop says in which order
// columns give way when the terminal is too narrow, 0 never.
type column struct {
	title  string
	right  bool
	drop   int
	values []string
	width  int
}

// writeTable fits the table into that many columns; 0 means as wide as it gets.
func writeTable(w io.Writer, records []record, withLists bool, columns int, colour bool) {
	cols := []*column{
		{title: "ADDRESS"}, {title: "COUNT", right: true}, {title: "REPORTS", right: true, drop: 2},
		{title: "FIRST", drop: 1}, {title: "LAST", drop: 4}, {title: "DENIED", drop: 5}, {title: "FIREWALL", drop: 3},
	}
	if withLists {
		cols = append(cols, &column{title: "DNSBL", drop: 6})
	}
	for _, r := range records {
		last := strings.Replace(strings.TrimSuffix(r.Last, ":00Z"), "T", " ", 1)
		if t, err := time.Parse(time.RFC3339, r.Last); err == nil {
			last = t.Format("2006-01-02 15:04")
		}
		values := []string{r.Address, strconv.FormatInt(r.Count, 10), strconv.FormatInt(r.Reports, 10), r.First, last,
			r.denied, r.firewallText()}
		if withLists {
			values = append(values, r.DNSBL.text())
		}
		for i, v := range values {
			cols[i].values = append(cols[i].values, printable(v))
		}
	}
	cols = fit(cols, columns)
	line := func(cell func(*column) string, mark bool) {
		var b strings.Builder
		for i, c := range cols {
			if i > 0 {
				b.WriteString("  ")
			}
			v := cell(c)
			pad := strings.Repeat(" ", max(0, c.width-len(v)))
			if c.right {
				b.WriteString(pad + v)
			} else {
				b.WriteString(v + pad)
			}
		}
		text := strings.TrimRight(b.String(), " ")
		if mark && colour {
			text = "\x1b[31m" + text + "\x1b[0m" // red: denied
		}
		fmt.Fprintln(w, text)
	}
	line(func(c *column) string { return c.title }, false)
	for i, r := range records {
		line(func(c *column) string { return clip(c.values[i], c.width) }, r.Denied)
	}
}

// printable keeps whatever stands in the database from driving the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

func clip(s string, width int) string {
	if len(s) <= width {
		return s
	}
	if width <= 3 {
		return s[:width]
	}
	return s[:width-3] + "..."
}

// fit sets the widths: first the last column gives way, then whole columns.
func fit(cols []*column, columns int) []*column {
	const leastLast = 12
	for {
		total := 2 * (len(cols) - 1)
		for _, c := range cols {
			c.width = len(c.title)
			for _, v := range c.values {
				c.width = max(c.width, len(v))
			}
			total += c.width
		}
		if columns == 0 || total <= columns {
			return cols
		}
		last := cols[len(cols)-1]
		if spare := last.width - (total - columns); !last.right && spare >= min(leastLast, last.width) {
			last.width = spare
			return cols
		}
		victim := -1
		for i, c := range cols {
			if c.drop > 0 && (victim < 0 || c.drop < cols[victim].drop) {
				victim = i
			}
		}
		if victim < 0 {
			// Address and count alone: they are not to be cut.
			return cols
		}
		cols = slices.Delete(slices.Clone(cols), victim, victim+1)
	}
}

func show(c *cli.Context) error {
	if c.NArg() == 0 {
		return usagef("show: which address?")
	}
	keys, err := parseKeys(c.Args().Slice())
	if err != nil {
		return err
	}
	p, err := need(c, -1)
	if err != nil {
		return err
	}
	j := readSettings(c, p)
	schema, err := blacklist.DetectSchema(c.Context, p.database)
	if err != nil {
		return err
	}
	entries, err := firewall.Read(filepath.Join(p.platform.FirewallDir, "blacklist.d"))
	if err != nil {
		return err
	}
	white, err := firewall.Read(filepath.Join(p.platform.FirewallDir, "whitelist.d"))
	if err != nil {
		return err
	}
	columns, ok := terminal(os.Stdout)
	if !ok {
		columns = 80
	}
	found := make([]*listed, len(keys))
	if c.Bool("dnsbl") {
		if found, err = askLists(c, p, keys); err != nil {
			return err
		}
	}
	w := bufio.NewWriter(os.Stdout)
	for i, k := range keys {
		v := view{key: k, black: entries, white: white, listed: found[i], judge: j, columns: columns}
		if err := v.read(c.Context, p.database, schema); err != nil {
			return err
		}
		if v.row, err = rowOf(c.Context, p, k); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name(), err)
		}
		if i > 0 {
			fmt.Fprintln(w)
		}
		v.write(w)
	}
	return w.Flush()
}

func parseKeys(args []string) ([]address.Key, error) {
	var keys []address.Key
	for _, a := range args {
		k, err := address.Parse(a)
		if err != nil {
			return nil, usagef("%v", err)
		}
		if !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// A view is what show shows about one host.
type view struct {
	key          address.Key
	host         blacklist.Host
	known        bool             // the firewall's database has it
	row          *hosts.Row       // nil where there is no hosts.db
	days         map[string]int64 // counts by day; nil where the database keeps only a sum
	lastDay      int64            // count of the last 24 hours
	black, white firewall.Entries
	listed       *listed // nil when the lists were not asked
	judge        judge
	columns      int
}

func (v *view) read(ctx context.Context, database string, schema blacklist.Schema) error {
	v.host = blacklist.Host{IP: v.key.String(), Key: v.key}
	if schema == blacklist.SchemaNFTFW {
		hosts, err := blacklist.List(ctx, database, blacklist.Filter{Net: v.key.Prefix()})
		for _, h := range hosts {
			if h.Key == v.key {
				v.host, v.known = h, true
			}
		}
		return err
	}
	rows, err := blacklist.Rows(ctx, database, v.key)
	if err != nil || len(rows) == 0 {
		return err
	}
	v.known, v.days = true, map[string]int64{}
	v.host.Reports = int64(len(rows))
	v.host.First, v.host.Last = rows[0].Time(), rows[len(rows)-1].Time()
	for _, r := range rows {
		v.host.Count += r.Count
		v.days[r.Time().Format(time.DateOnly)] += r.Count
		if r.Time().After(time.Now().Add(-blacklist.Day)) {
			v.lastDay += r.Count
		}
	}
	return nil
}

func (v *view) write(w io.Writer) {
	fmt.Fprintln(w, v.key)
	field := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %-12s%s\n", name, fmt.Sprintf(format, args...))
	}
	h := v.host
	if !v.known {
		field("database", "no report")
	} else {
		count := fmt.Sprintf("%d, in %s", h.Count, plural(h.Reports, "report"))
		if v.days != nil {
			count += fmt.Sprintf("; %d in the last 24 hours", v.lastDay)
		}
		field("count", "%s", count)
		field("first", "%s", h.First.Format(time.DateOnly))
		field("last", "%s UTC", h.Last.Format("2006-01-02 15:04:05"))
	}
	count := h.Count
	if v.row != nil {
		count = v.row.History
		v.writeRow(field)
	}
	above := fmt.Sprintf("%d is above the threshold of %d", count, v.judge.threshold)
	switch v.judge.denies(count) {
	case "yes":
		field("connect", "denied: %s", above)
	case string(rules.Learn):
		field("connect", "not denied, because the history check only learns: %s", above)
	case string(rules.Off):
		field("connect", "not denied, because the history check is off: %s", above)
	default:
		field("connect", "not denied for its history: %d is not above the threshold of %d", count, v.judge.threshold)
	}
	if text := newRecord(h, v.black, v.judge).firewallText(); text != "" {
		field("firewall", "blocked: %s", text)
	} else {
		field("firewall", "not blocked")
	}
	if text := newRecord(h, v.white, v.judge).firewallText(); text != "" {
		field("", "in whitelist.d: %s", text)
	}
	if l := v.listed; l != nil {
		text := "not listed"
		switch {
		case l.Deny:
			text = fmt.Sprintf("denied, with a score of %d: ", l.Score) + l.text()
		case len(l.Lists)+len(l.Failed) > 0:
			text = fmt.Sprintf("not denied, with a score of %d: ", l.Score) + l.text()
		}
		field("DNS lists", "%s", text)
	}
	chart(w, v.days, v.columns)
}

// writeRow says in words what Exim knows of the host.
func (v *view) writeRow(field func(name, format string, args ...any)) {
	r := *v.row
	at := func(t time.Time) string { return t.Format("2006-01-02 15:04") + " UTC" }
	if !r.Known() {
		field("Exim", "knows nothing of it: a stranger")
		return
	}
	if r.History != v.host.Count {
		field("Exim", "has the history %d; the firewall's count comes over within a minute", r.History)
	}
	if !r.Last.IsZero() {
		field("here", "first %s, last %s", at(r.First), at(r.Last))
	}
	for _, fact := range []struct {
		name, text string
		at         time.Time
	}{
		{"logged in", "last %s", r.Login}, {"delivered", "last %s", r.Delivered},
		{"greeted", "waited for its greeting, last %s", r.Greeted}, {"lists", "had nothing against it at %s", r.ListsPassed},
		{"refused", "last %s", r.Refused},
	} {
		if !fact.at.IsZero() {
			field(fact.name, fact.text, at(fact.at))
		}
	}
	if r.Failures > 0 {
		field("failures", "%s since %s", plural(r.Failures, "failed login"), at(r.FailuresSince))
	}
}

// rowOf gives the row of hosts.db, nil where there is none.
func rowOf(ctx context.Context, p place, key address.Key) (*hosts.Row, error) {
	if p.hosts == "" {
		return nil, nil
	}
	var r hosts.Row
	err := hosts.With(p.hosts, func(d *hosts.DB) (err error) {
		r, err = d.Get(ctx, key)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return &r, nil
}

// chart draws a bar for each day with offences, and says how many days without
// lie between.
func chart(w io.Writer, days map[string]int64, columns int) {
	if len(days) == 0 {
		return
	}
	var names []string
	var most int64
	for d, n := range days {
		names = append(names, d)
		most = max(most, n)
	}
	slices.Sort(names)
	digits := len(strconv.FormatInt(most, 10))
	room := max(1, columns-2-len(time.DateOnly)-2-digits-2)
	fmt.Fprintln(w)
	var before time.Time
	for _, d := range names {
		t, _ := time.Parse(time.DateOnly, d)
		if gap := int(t.Sub(before)/blacklist.Day) - 1; !before.IsZero() && gap > 0 {
			fmt.Fprintf(w, "  %10s  %*s  (%s without)\n", ":", digits, "", plural(gap, "day"))
		}
		before = t
		n := days[d]
		bar := 0
		if n > 0 && most > 0 {
			bar = max(1, int(n*int64(room)/most))
		}
		fmt.Fprintf(w, "  %s  %*d  %s\n", d, digits, n, strings.Repeat("#", bar))
	}
}

func stats(c *cli.Context) error {
	format := c.String("format")
	if format != "text" && format != "json" {
		return usagef("--format: unknown format %q; known are text and json", format)
	}
	p, err := need(c, 0)
	if err != nil {
		return err
	}
	s, err := blacklist.ReadStats(c.Context, p.database)
	if err != nil {
		return err
	}
	if s.Worst == nil {
		s.Worst = []blacklist.Network{} // an array for a program that reads the JSON
	}
	all := struct {
		blacklist.Stats
		Hosts *hosts.Stats `json:"hosts"` // null where there is no hosts.db
	}{Stats: s}
	if all.Hosts, err = hostsStats(c.Context, p); err != nil {
		return err
	}
	if format == "json" {
		return writeJSON(os.Stdout, all)
	}
	field := func(name, format string, args ...any) { fmt.Printf("%-18s%s\n", name, fmt.Sprintf(format, args...)) }
	field("firewall", "%s", s.Path)
	field("layout", "%s", s.Schema)
	field("rows", "%d", s.Rows)
	field("hosts", "%d", s.Addresses)
	if s.Alien > 0 {
		field("", "%s not about a host", plural(s.Alien, "row"))
	}
	field("size", "%s, of which %s free", size(s.Bytes), size(s.FreeBytes))
	if s.Rows > 0 {
		field("growth", "%.0f rows and %s a day", s.RowsPerDay, size(int64(s.BytesPDay)))
		field("oldest row", "%s UTC", s.Oldest.Format("2006-01-02 15:04:05"))
		field("newest row", "%s UTC", s.Newest.Format("2006-01-02 15:04:05"))
	}
	if h := all.Hosts; h != nil {
		field("Exim asks", "%s", h.Path)
		field("hosts", "%d, of which %d with a history, %d with a login within a month", h.Hosts, h.History, h.Logins)
		field("size", "%s", size(h.Bytes))
		if !h.Lost.IsZero() {
			field("begun anew", "%s UTC, after a loss", h.Lost.Format("2006-01-02 15:04:05"))
		}
	}
	if len(s.Worst) > 0 {
		fmt.Println("worst networks")
		for _, n := range s.Worst {
			fmt.Printf("  %-28s count %d, %s\n", n.Net, n.Count, plural(n.Hosts, "host"))
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
		s, err = d.Stats(ctx, time.Now())
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
