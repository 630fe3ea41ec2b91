package main

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/dnsbl"
	"symbiosis-connect-acl/internal/rules"
	"symbiosis-connect-acl/internal/syslog"
)

const (
	// exitUsage is EX_USAGE of sysexits.h.
	exitUsage = 64

	// dnsblGrace is how long after the deadline the process is ended when the
	// round has not returned: a resolv.conf on a dead file server, say.
	dnsblGrace = 300 * time.Millisecond

	// Exim cuts log lines at 8 KiB; a line that long helps nobody.
	maxSkipped = 700
	maxHits    = 300
)

// dnsblCommand asks DNS lists about one host and prints one line of key=value
// pairs for Exim's ${extract{key}{...}}. It never harms a host by its own
// mistake: whatever goes wrong, the line says verdict=pass.
func dnsblCommand() *cli.Command {
	return &cli.Command{
		Name:      "dnsbl",
		Usage:     "ask DNS lists about ADDRESS and print a verdict for Exim",
		ArgsUsage: "ADDRESS",
		Description: `The lists are separated by colons, each ZONE, ZONE=127.0.0.2,127.0.0.3 or
ZONE=127.0.0.[2;3;4..7]*WEIGHT as in postscreen_dnsbl_sites; a negative weight
is for allow lists. The answer is one line of pairs such as

  verdict=deny score=3 threshold=1 list="zen.spamhaus.org" code=127.0.0.4 text="..." hits="..." skipped="..."

The verdict is deny or pass. "list", "code" and "text" come from the list that
decided; "hits" names all that have the host, "skipped" those that could not
be asked, why, and what to do. While an allow list cannot be asked, no host is
denied that it could have saved. Exit status 0, or 64 when the command line is
wrong; the verdict is pass then too.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "lists", Usage: "the `LISTS` to ask; empty for none"},
			&cli.StringFlag{Name: "lists-from", Usage: "the lists are in the environment variable `VARIABLE`, where no other user can read a key in them"},
			// Text, because what Exim hands over may be anything.
			&cli.StringFlag{Name: "threshold", Value: strconv.Itoa(dnsbl.DefaultThreshold), Usage: "deny from this `SCORE` on"},
			&cli.StringFlag{Name: "timeout", Value: dnsbl.DefaultTimeout.String(), Usage: "the longest `TIME` to wait for all lists together"},
			&cli.StringSliceFlag{Name: "server", Usage: "ask the resolver at `HOST[:PORT]` instead of the system's; may be repeated"},
			&cli.StringFlag{Name: "resolv-conf", Value: dnsbl.DefaultResolvConf, Usage: "`FILE` that names the system's resolvers"},
			&cli.BoolFlag{Name: "verbose", Usage: "say on standard error, not to syslog, what went wrong"},
		},
		// Without these two, the library would print its help to Exim.
		OnUsageError: func(c *cli.Context, err error, _ bool) error {
			return newVerdictPrinter(c).usage(err.Error())
		},
		HideHelpCommand: true,
		Action:          runDNSBL,
	}
}

func runDNSBL(c *cli.Context) (err error) {
	out := newVerdictPrinter(c)
	defer func() {
		if r := recover(); r != nil {
			err = out.pass(fmt.Sprintf("internal error: %v", r), 0)
		}
	}()
	if c.NArg() != 1 {
		return out.usage("expected one ADDRESS after the options")
	}
	for i, macro := range []string{rules.DNSBLThreshold, rules.DNSBLTimeout} {
		value := c.String([]string{"threshold", "timeout"}[i])
		if f, _ := rules.FormOf(macro); !f.Fits(strings.TrimSpace(value)) {
			return out.unfit(fmt.Sprintf("%s is '%s': %s", macro, value, rules.Instead(macro, value)))
		}
	}
	threshold, _ := strconv.Atoi(strings.TrimSpace(c.String("threshold")))
	timeout, _ := time.ParseDuration(strings.TrimSpace(c.String("timeout")))
	addr, err := parseHost(c.Args().First())
	if err != nil {
		return out.usage(err.Error())
	}
	text := c.String("lists")
	if name := c.String("lists-from"); name != "" {
		if c.IsSet("lists") {
			return out.usage("--lists and --lists-from: expected one of them")
		}
		text = os.Getenv(name)
	}
	lists, err := dnsbl.ParseLists(text)
	if err != nil {
		return out.unfit(err.Error())
	}
	var servers []netip.AddrPort
	for _, s := range c.StringSlice("server") {
		if s == "" {
			continue // Exim writes what a macro has, which may be nothing
		}
		server, err := dnsbl.ParseServer(s)
		if err != nil {
			return out.usage("--server: " + err.Error())
		}
		servers = append(servers, server)
	}

	// Exim waits for this process for as long as it lives.
	stop := time.AfterFunc(timeout+dnsblGrace, func() {
		out.pass(fmt.Sprintf("no result within %v; see that the system's resolvers work", timeout), threshold)
		os.Exit(0)
	})
	defer stop.Stop()

	result, err := dnsbl.Check(c.Context, addr, lists, dnsbl.Options{
		Threshold:  threshold,
		Timeout:    timeout,
		Servers:    servers,
		ResolvConf: c.String("resolv-conf"),
	})
	if err != nil {
		return out.pass(err.Error(), threshold)
	}
	return out.result(result)
}

// parseHost reads one host's full address: a list may have one address of a
// /64 and not its neighbour.
func parseHost(s string) (netip.Addr, error) {
	t := strings.TrimSpace(s)
	if strings.HasPrefix(t, "[") && strings.HasSuffix(t, "]") {
		t = t[1 : len(t)-1]
	}
	a, err := netip.ParseAddr(t)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address", s)
	}
	return a.Unmap(), nil
}

// A verdictPrinter prints one verdict, and only the first that it is given:
// the round and the hard stop may both have one.
type verdictPrinter struct {
	stdout, stderr io.Writer
	verbose        bool
	once           sync.Once
}

func newVerdictPrinter(c *cli.Context) *verdictPrinter {
	p := &verdictPrinter{stdout: os.Stdout, stderr: os.Stderr, verbose: c.Bool("verbose")}
	if c.App != nil && c.App.Writer != nil {
		p.stdout = c.App.Writer
	}
	if c.App != nil && c.App.ErrWriter != nil {
		p.stderr = c.App.ErrWriter
	}
	return p
}

// pass prints that the host may go on because of what went wrong.
func (p *verdictPrinter) pass(reason string, threshold int) error {
	return p.result(dnsbl.Result{Threshold: threshold}, reason)
}

// unfit is pass with the exit status of a wrong command line, for a setting of
// the administrator's.
func (p *verdictPrinter) unfit(reason string) error {
	p.pass(reason, 0)
	return cli.Exit("", exitUsage)
}

// usage is unfit for what no setting can be the cause of.
func (p *verdictPrinter) usage(reason string) error {
	return p.unfit("wrong command line: " + reason)
}

func (p *verdictPrinter) result(r dnsbl.Result, reasons ...string) error {
	var hits []string
	for _, a := range r.Answers {
		if a.Status == dnsbl.Listed {
			hits = append(hits, fmt.Sprintf("%s %s %+d", a.List.DisplayName(), a.Code, a.List.Weight))
		}
	}
	for _, a := range r.Failures() {
		reasons = append(reasons, fmt.Sprintf("%s: %s", a.List.DisplayName(), a.Failure))
	}
	skipped := strings.Join(reasons, " | ")

	var b strings.Builder
	verdict := "pass"
	if r.Deny && r.Deciding != nil {
		verdict = "deny"
	}
	fmt.Fprintf(&b, "verdict=%s score=%d", verdict, r.Score)
	if r.Threshold > 0 {
		fmt.Fprintf(&b, " threshold=%d", r.Threshold)
	}
	if verdict == "deny" {
		d := r.Deciding
		text := d.Text
		if text == "" {
			text = "the operator of " + d.List.DisplayName() // after "Please see"
		}
		fmt.Fprintf(&b, " list=%s code=%s text=%s", quoted(d.List.DisplayName(), 253), d.Code, quoted(text, dnsbl.MaxText))
	}
	if len(hits) > 0 {
		fmt.Fprintf(&b, " hits=%s", quoted(strings.Join(hits, ", "), maxHits))
	}
	if skipped != "" {
		fmt.Fprintf(&b, " skipped=%s", quoted(skipped, maxSkipped))
	}
	b.WriteByte('\n')

	var err error
	p.once.Do(func() {
		if _, err = io.WriteString(p.stdout, b.String()); err != nil {
			reasons = append(reasons, "standard output: "+err.Error())
			err = nil // there is nobody left to tell
		}
		for _, reason := range reasons {
			p.warn(dnsbl.Sanitize(dnsbl.MaskKeys(reason), maxSkipped))
		}
	})
	return err
}

// quoted makes a value that ${extract} gives back unchanged. Sanitize leaves
// neither quotes nor backslashes in it, so nothing needs an escape.
func quoted(s string, limit int) string {
	return `"` + dnsbl.Sanitize(dnsbl.MaskKeys(s), limit) + `"`
}

func (p *verdictPrinter) warn(reason string) {
	if p.verbose {
		fmt.Fprintf(p.stderr, "symbiosis-connect-check dnsbl: %s\n", reason)
		return
	}
	syslog.Send(syslog.Socket, syslog.MailWarning, "dnsbl: "+reason)
}
