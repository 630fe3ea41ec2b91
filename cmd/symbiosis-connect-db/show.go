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
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/cmd/internal/command"
	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/firewall"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/rules"
	"symbiosis-connect-acl/internal/words"
)

func showCommand() *cli.Command {
	return &cli.Command{
		Name: "show", Usage: "show everything about hosts, with their offences day by day", ArgsUsage: "ADDRESS...",
		Description: "An address may be spelled in any way; for IPv6 any address of a host's /64 will do.",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "dnsbl", Usage: "add what the DNS lists say"},
			thresholdFlag(),
		}, dnsblFlags()...),
		Action: show,
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
	p, counted, err := either(c, -1)
	if err != nil {
		return err
	}
	j := readSettings(c, p)
	var schema blacklist.Schema
	if counted {
		if schema, err = blacklist.DetectSchema(c.Context, p.database); err != nil {
			return err
		}
	}
	entries, err := firewall.Read(filepath.Join(p.platform.FirewallDir, "blacklist.d"))
	if err != nil {
		return err
	}
	white, err := firewall.Read(filepath.Join(p.platform.FirewallDir, "whitelist.d"))
	if err != nil {
		return err
	}
	columns, ok := command.Terminal(os.Stdout)
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
		v.host = blacklist.Host{IP: k.String(), Key: k}
		if counted {
			if err := v.read(c.Context, p.database, schema); err != nil {
				return err
			}
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
		day := r.Time().Format(time.DateOnly)
		v.host.Count = blacklist.Plus(v.host.Count, r.Count)
		v.days[day] = blacklist.Plus(v.days[day], r.Count)
		if r.Time().After(clock.Now().Add(-blacklist.Day)) {
			v.lastDay = blacklist.Plus(v.lastDay, r.Count)
		}
	}
	return nil
}

func (v *view) write(w io.Writer) {
	fmt.Fprintln(w, v.key)
	field := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %-12s%s\n", name, words.Printable(fmt.Sprintf(format, args...)))
	}
	h := v.host
	if !v.known {
		field("database", "no report")
	} else {
		count := fmt.Sprintf("%d, in %s", h.Count, words.Plural(h.Reports, "report"))
		if v.days != nil {
			count += fmt.Sprintf("; %d in the last 24 hours", v.lastDay)
		}
		field("count", "%s", count)
		field("first", "%s", h.First.Format(time.DateOnly))
		field("last", "%s UTC", h.Last.Format("2006-01-02 15:04:05"))
	}
	count := h.Count
	var standing hosts.Standing
	if v.row != nil {
		count, standing = v.row.History, v.row.Standing(v.judge.Policy, v.judge.now)
		v.writeRow(field)
		v.writeStanding(field)
	}
	above := fmt.Sprintf("%d is above the threshold of %d", count, v.judge.Threshold)
	switch v.judge.denies(count, standing) {
	case "yes":
		if standing.User {
			above += "; but let in on 465 and 587, as a user's host"
		}
		field("connect", "denied: %s", above)
	case "parole":
		field("connect", "not denied, because it is on parole: %s", above)
	case "sender":
		field("connect", "not denied on port 25, because it is a sender: %s, and not above %d", above, hosts.SenderFactor*v.judge.Threshold)
	case string(rules.Learn):
		field("connect", "not denied, because the history check only learns: %s", above)
	case string(rules.Off):
		field("connect", "not denied, because the history check is off: %s", above)
	default:
		field("connect", "not denied for its history: %d is not above the threshold of %d", count, v.judge.Threshold)
	}
	if text := newRecord(h, v.black, v.judge, standing).firewallText(); text != "" {
		field("firewall", "blocked: %s", text)
	} else {
		field("firewall", "not blocked")
	}
	if text := newRecord(h, v.white, v.judge, standing).firewallText(); text != "" {
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

func at(t time.Time) string { return t.Format("2006-01-02 15:04") + " UTC" }

// writeStanding says what the host has earned, since and until when, and what
// would change it.
func (v *view) writeStanding(field func(name, format string, args ...any)) {
	name := "standing"
	for _, m := range v.row.Remarks(v.judge.Policy, v.judge.now) {
		text := m.Standing
		if !m.Since.IsZero() {
			text += ", since " + at(m.Since)
		}
		if !m.Until.IsZero() {
			text += ", until " + at(m.Until)
		}
		field(name, "%s", text)
		field("", "%s", m.Because)
		field("", "%s", m.Change)
		name = ""
	}
	if name != "" {
		field(name, "none: %s", v.row.Prospect(v.judge.Policy, v.judge.now))
	}
}

// writeRow says in words what Exim knows of the host.
func (v *view) writeRow(field func(name, format string, args ...any)) {
	r := *v.row
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
		{"", "on an earlier day last %s", r.DeliveredBefore},
		{"greeted", "waited for its greeting, last %s", r.Greeted}, {"lists", "had nothing against it at %s", r.ListsPassed},
	} {
		if !fact.at.IsZero() {
			field(fact.name, fact.text, at(fact.at))
		}
	}
	if r.Failures > 0 {
		field("guesses", "%d different, the last at %s", r.Failures, at(r.FailuresSince))
	}
	if !r.Offence.IsZero() {
		field("offence", "last %s: %s", at(r.Offence), r.Kind())
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
			fmt.Fprintf(w, "  %10s  %*s  (%s without)\n", ":", digits, "", words.Plural(gap, "day"))
		}
		before = t
		n := days[d]
		bar := 0
		if n > 0 && most > 0 {
			bar = max(1, int(float64(n)/float64(most)*float64(room)))
		}
		fmt.Fprintf(w, "  %s  %*d  %s\n", d, digits, n, strings.Repeat("#", bar))
	}
}
