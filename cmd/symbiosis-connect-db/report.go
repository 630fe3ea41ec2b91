package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/cmd/internal/command"
	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/atomicfile"
	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/dnsbl"
	"symbiosis-connect-acl/internal/exim"
	"symbiosis-connect-acl/internal/eximlog"
	"symbiosis-connect-acl/internal/firewall"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/known"
	"symbiosis-connect-acl/internal/report"
	"symbiosis-connect-acl/internal/rules"
)

func reportCommand() *cli.Command {
	return &cli.Command{
		Name: "report", Usage: "tell what happened at the door, and which number to change",
		Description: `It reads Exim's main log with its rotated files, hosts.db and the firewall's
folders, and changes nothing. First come the hosts that may have been turned
away wrongly. The log tells the port of a refusal only with
+incoming_interface in log_selector. With --prometheus alone, nothing else is
written. Names of accounts under attack are left out of mail.`,
		Flags: append([]cli.Flag{
			&cli.StringSliceFlag{Name: "log", Usage: "read `FILE` and its rotated ones (default: where Exim logs to)"},
			&cli.StringFlag{Name: "since", Value: "7d", Usage: "from `TIME` on: 2026-03-15, 2026-03-15T12:00:00Z, or 7d, 24h ago"},
			&cli.StringFlag{Name: "until", Usage: "before `TIME` (default: now)"},
			&cli.StringFlag{Name: "format", Value: "text", Usage: "`FORMAT`: text, html, json, or svg for one figure, refusals by day and rule"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE` instead of standard output"},
			&cli.StringFlag{Name: "mail", Usage: "send it to `ADDRESS` through this machine's Exim"},
			&cli.StringFlag{Name: "prometheus", Usage: "write metrics to `FILE` for the textfile collector"},
			&cli.StringFlag{Name: "scheduled", Usage: "do what the settings ask for `WHEN`, weekly or hourly; nothing where they ask for nothing"},
			&cli.BoolFlag{Name: "names", Usage: "with --mail: names of accounts, too"},
			&cli.BoolFlag{Name: "dnsbl", Usage: "ask the DNS lists about hosts that they refused, to see which list adds nothing"},
		}, dnsblFlags()...),
		Action: makeReport,
	}
}

// The settings of cron's reports, in the defaults file.
const (
	settingMail    = "CONNECT_ACL_REPORT_MAIL"
	settingMetrics = "CONNECT_ACL_METRICS"
)

// schedule turns --scheduled into the flags that the settings stand for. due is
// false when they ask for nothing.
func schedule(c *cli.Context, p place) (due bool, err error) {
	var set map[string]string
	switch c.String("scheduled") {
	case "":
		return true, nil
	case "weekly":
		set = map[string]string{"mail": p.settings.String(settingMail, ""), "since": "7d"}
	case "hourly":
		set = map[string]string{"prometheus": p.settings.String(settingMetrics, ""), "since": "24h"}
	default:
		return false, usagef("--scheduled: %q is neither weekly nor hourly", c.String("scheduled"))
	}
	for flag, value := range set {
		if value == "" {
			return false, nil
		}
		if err := c.Set(flag, value); err != nil {
			return false, err
		}
	}
	return true, nil
}

func makeReport(c *cli.Context) error {
	if err := command.NoArguments(c); err != nil {
		return err
	}
	p, err := need(c, 0)
	if err != nil && !(errors.Is(err, errNoDatabase) && !p.given) { // a firewall that has counted nobody yet
		return err
	}
	if due, err := schedule(c, p); err != nil || !due {
		return err
	}
	format := c.String("format")
	if !slices.Contains([]string{"text", "html", "json", "svg"}, format) {
		return usagef("--format: unknown format %q; known are text, html, json and svg", format)
	}
	mail := c.String("mail")
	if mail != "" && format != "text" && format != "html" {
		return usagef("--mail: a mail is text or html, not %s", format)
	}
	to, err := recipient(mail)
	if err != nil {
		return err
	}
	now := clock.Now()
	since, err := parseTime(c.String("since"), now)
	if err != nil {
		return err
	}
	until := now
	if s := c.String("until"); s != "" {
		if until, err = parseTime(s, now); err != nil {
			return err
		}
	}
	if !since.Before(until) {
		return usagef("--since: %s is not before the end of the period, %s", c.String("since"), until.Format(time.RFC3339))
	}
	r, err := readReport(c, p, since, until, now, mail == "" || c.Bool("names"))
	if err != nil {
		return err
	}
	write := map[string]func(io.Writer) error{"text": r.Text, "html": r.HTML, "svg": r.Figure,
		"json": func(w io.Writer) error { return command.WriteJSON(w, r) }}[format]
	if o := c.String("prometheus"); o != "" {
		if err := atomicfile.Output(c.Context, o, 0o644, r.Metrics); err != nil {
			return err
		}
	}
	if mail != "" {
		var body bytes.Buffer
		if err := write(&body); err != nil {
			return err
		}
		x := exim.Installation{Platform: p.platform}
		if err := x.Send(c.Context, message(to, r.Title(), format, body.Bytes())); err != nil {
			return err
		}
	}
	switch o := c.String("output"); {
	case o != "":
		return atomicfile.Output(c.Context, o, 0o600, write)
	case mail == "" && c.String("prometheus") == "" || c.IsSet("format") && mail == "":
		return write(os.Stdout)
	}
	return nil
}

// readReport reads the logs and makes the report of them.
func readReport(c *cli.Context, p place, since, until, now time.Time, names bool) (*report.Report, error) {
	// What is kept of a million hosts has no pointers, so looking for garbage more
	// often costs little, and halves the memory.
	debug.SetGCPercent(25)
	ctx := c.Context
	x := exim.Installation{Platform: p.platform}
	macros, err := x.Macros(ctx, x.Config())
	if err != nil {
		macros = map[string]string{} // the values as they are shipped
	}
	files, err := logFiles(ctx, x, c.StringSlice("log"), since)
	if err != nil {
		return nil, err
	}
	o := report.Options{Since: since, Until: until, Now: now, Names: names, Policy: hosts.PolicyOf(macros), Hosts: p.hosts, Firewalls: p.sources,
		Commands: strings.TrimSuffix(name(), "-db"), Period: "15m", Limit: 10}
	if o.Server, err = os.Hostname(); err != nil {
		return nil, err
	}
	if data, err := os.ReadFile(filepath.Join(p.platform.Root, "etc/mailname")); err == nil {
		o.Server = strings.TrimSpace(string(data))
	}
	if limit, period, ok := strings.Cut(macros[rules.Ratelimit], "/"); ok {
		if n, err := strconv.ParseFloat(strings.TrimSpace(limit), 64); err == nil {
			o.Limit, o.Period = n, strings.TrimSpace(period)
		}
	}
	if value := strings.TrimSpace(macros[rules.ConnectLists]); value != "" && !c.IsSet("lists") {
		c.Set("lists", value)
	}
	o.Lists, _ = dnsbl.ParseLists(c.String("lists"))
	if c.Bool("dnsbl") {
		o.Ask = func(keys []address.Key) ([][]string, error) { return named(c, p, keys) }
	}
	if o.Blacklist, err = firewall.Read(filepath.Join(p.platform.FirewallDir, "blacklist.d")); err != nil {
		return nil, err
	}
	friends, err := known.Read(p.platform)
	if err != nil {
		return nil, err
	}
	o.Listed = friends.Find

	t := report.NewTally()
	t.Period = time.Duration(rules.Seconds(o.Period) * float64(time.Second))
	for rule, macro := range map[eximlog.Rule]string{eximlog.Reverse: rules.PortsReverse, eximlog.History: rules.PortsHistory,
		eximlog.Rate: rules.PortsRatelimit, eximlog.Own: rules.PortsOwnDNSBLs, eximlog.DNSBL: rules.PortsDNSBLs, eximlog.Greeting: rules.PortsGreeting} {
		t.Port[rule], _ = strconv.Atoi(strings.TrimSpace(macros[macro])) // 0 where it acts on several
	}
	told, end := reading(files)
	problems, err := eximlog.Read(ctx, files, since, until, t.Add, told)
	end()
	if err != nil {
		return nil, err
	}
	r, err := report.Make(ctx, t, o)
	if err != nil {
		return nil, err
	}
	for _, problem := range problems {
		r.Problems = append(r.Problems, problem.Error())
	}
	for _, f := range files {
		r.Logs = append(r.Logs, f.Path)
	}
	return r, nil
}

// named asks which lists name the hosts.
func named(c *cli.Context, p place, keys []address.Key) ([][]string, error) {
	found, err := askLists(c, p, keys)
	all := make([][]string, len(found))
	for i, l := range found {
		if l == nil {
			continue
		}
		for _, item := range l.Lists {
			zone, _, _ := strings.Cut(item, "=")
			all[i] = append(all[i], zone)
		}
	}
	return all, err
}

// logFiles gives the files of the logs that were named, or of Exim's own.
func logFiles(ctx context.Context, x exim.Installation, named []string, since time.Time) ([]eximlog.File, error) {
	if len(named) == 0 {
		path, err := x.MainLog(ctx, x.Config())
		if err != nil {
			return nil, err
		}
		named = []string{path}
	}
	var all []eximlog.File
	for _, path := range named {
		files, err := eximlog.Files(path, since)
		if err != nil {
			return nil, err
		}
		all = append(all, files...)
	}
	return all, nil
}

// reading tells on a terminal how far the reading is.
func reading(files []eximlog.File) (told func(int64), end func()) {
	if _, ok := command.Terminal(os.Stderr); !ok {
		return func(int64) {}, func() {}
	}
	var all int64
	for _, f := range files {
		all += f.Size
	}
	next, shown := time.Now().Add(500*time.Millisecond), false
	told = func(n int64) {
		if now := time.Now(); now.After(next) && all > 0 {
			next, shown = now.Add(100*time.Millisecond), true
			fmt.Fprintf(os.Stderr, "\rreading the logs: %d%%", n*100/all)
		}
	}
	return told, func() {
		if shown {
			fmt.Fprint(os.Stderr, "\r                      \r")
		}
	}
}
