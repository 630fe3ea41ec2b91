package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/syslog"
)

const defaultRetentionDays = 365

func maintenance() []*cli.Command {
	dryRun := &cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "only say what there is to do"}
	verbose := &cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "say what is being done, and the summary"}
	days := &cli.IntFlag{Name: "retention-days", Usage: "delete rows older than this many `DAYS`; 0 keeps all (default: CONNECT_ACL_RETENTION_DAYS)"}
	minutes := &cli.StringFlag{Name: "writer-minutes", Value: joinInts(blacklist.WriterMinutes),
		Usage: "the `MINUTES` of the hour at which the firewall's scan starts, to keep away from; empty for none"}
	force := &cli.BoolFlag{Name: "force", Usage: "give back however little is free"}
	step := func(name, usage, description string, o blacklist.Options, more ...cli.Flag) *cli.Command {
		return &cli.Command{
			Name: name, Usage: usage, Description: description,
			Flags:  append([]cli.Flag{dryRun, verbose, minutes}, more...),
			Action: func(c *cli.Context) error { return maintain(c, o) },
		}
	}
	all := blacklist.Options{Index: true, Compact: true, Reclaim: true, Retention: 1}
	return []*cli.Command{
		step("maintain", "do all that is due: index, prune, compact, vacuum", `For cron. It prints nothing when all is well, and one line to syslog. The
sums that the connect check and the firewall ask for stay as they are. It can
be stopped or killed at any moment. Exim is never kept out; the firewall's
scan is kept out for some milliseconds at a time at most, while it does not
run. A run that meets another one ends at once, with exit status 0.`, all, days),
		step("index", "make the index on the address if it is missing", "", blacklist.Options{Index: true}),
		step("prune", "delete rows older than the retention", "", blacklist.Options{Retention: 1}, days),
		step("compact", "sum up rows older than 48 hours by address and day (UTC)", "", blacklist.Options{Compact: true}),
		step("vacuum", "give free space in the file back, if a quarter of it is free", "", blacklist.Options{Reclaim: true}, force),
		{
			Name: "check", Usage: "check the database for damage",
			Flags: []cli.Flag{verbose},
			Action: func(c *cli.Context) error {
				p, err := need(c, 0)
				if err != nil {
					return err
				}
				if err := blacklist.IntegrityCheck(c.Context, p.database); err != nil {
					return err
				}
				fmt.Println("ok")
				return nil
			},
		},
		{
			Name: "recover", Usage: "save what can be read of a damaged database into a new one",
			Description: "The new database takes the place of the damaged one, which is kept beside it as\nNAME.corrupt-DATE-TIME.",
			Flags:       []cli.Flag{dryRun},
			Action:      recoverDatabase,
		},
	}
}

func joinInts(ns []int) string {
	var s []string
	for _, n := range ns {
		s = append(s, strconv.Itoa(n))
	}
	return strings.Join(s, ",")
}

func parseMinutes(s string) ([]int, error) {
	var all []int
	for _, f := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' }) {
		n, err := strconv.Atoi(f)
		if err != nil || n < 0 || n > 59 {
			return nil, usagef("--writer-minutes: %q is not a minute from 0 to 59", f)
		}
		all = append(all, n)
	}
	return all, nil
}

func maintain(c *cli.Context, o blacklist.Options) error {
	if c.NArg() > 0 {
		return usagef("%s: unexpected argument %q", c.Command.Name, c.Args().First())
	}
	_, onTerminal := terminal(os.Stdout)
	loud := c.Bool("verbose") || c.Bool("dry-run") || onTerminal
	say := func(text string) {
		if loud {
			fmt.Println(text)
		}
	}
	p, found, err := where(c)
	if !found && !p.given && (errors.Is(err, platform.ErrNone) || errors.Is(err, errNoDatabase)) {
		// Cron runs this from the day of the installation on.
		say("nothing to do: " + err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	o.DryRun, o.Force, o.GiveWay = c.Bool("dry-run"), c.Bool("force"), true
	if c.Bool("verbose") {
		o.Progress = func(s string) { fmt.Println(s + " ...") }
	}
	if o.WriterMinutes, err = parseMinutes(c.String("writer-minutes")); err != nil {
		return err
	}
	if o.Retention > 0 {
		days, err := p.settings.Int("CONNECT_ACL_RETENTION_DAYS", defaultRetentionDays, 0, 36500)
		if err != nil {
			return err
		}
		if c.IsSet("retention-days") {
			if days = c.Int("retention-days"); days < 0 || days > 36500 {
				return usagef("--retention-days: %d is not from 0 to 36500", days)
			}
		}
		// The connect check and the firewall look at the last days: less would
		// let hosts in that have just offended.
		if days == 1 {
			return usagef("a retention of 1 day would delete what the firewall still counts; the least is 2, and 0 keeps all")
		}
		o.Retention = time.Duration(days) * blacklist.Day
	}
	log := func(pr syslog.Priority, text string) {
		if !o.DryRun {
			syslog.Send(syslog.Socket, pr, c.Command.Name+": "+text)
		}
	}
	r, err := blacklist.Maintain(c.Context, p.database, o)
	switch {
	case errors.Is(err, blacklist.ErrRunning):
		log(syslog.CronInfo, err.Error())
		say(err.Error())
		return nil
	case err != nil:
		if !errors.Is(err, context.Canceled) {
			log(syslog.CronErr, err.Error())
		}
		return err
	}
	text := summary(r, o)
	log(syslog.CronInfo, p.database+": "+text)
	say(text)
	return nil
}

// summary is the line for syslog.
func summary(r blacklist.Result, o blacklist.Options) string {
	verb := func(done, would string) string {
		if o.DryRun {
			return would
		}
		return done
	}
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if r.Indexed {
		add("%s", verb("index made", "would make the index"))
	}
	if r.Pruned > 0 {
		add("%s %d old rows", verb("deleted", "would delete"), r.Pruned)
	}
	if r.Merged > 0 {
		add("%s %d rows by day", verb("summed up", "would sum up"), r.Merged)
	}
	if r.Skipped > 0 {
		add("left %d rows that changed meanwhile to the next run", r.Skipped)
	}
	if r.Rewritten && o.DryRun {
		add("would write a new file")
	}
	if len(parts) == 0 && !r.Rewritten {
		add("nothing to do")
	}
	add("%d rows before", r.Rows)
	if !o.DryRun {
		add("%d now", r.Rows-r.Pruned-r.Merged)
		if r.BytesBefore != r.BytesAfter {
			add("%s before, %s now", size(r.BytesBefore), size(r.BytesAfter))
		} else {
			add("%s", size(r.BytesAfter))
		}
		add("%.1f s", r.Elapsed.Seconds())
		if r.LongestLock > 0 {
			add("other writers kept out for %d ms at most", r.LongestLock.Milliseconds())
		}
	}
	return strings.Join(parts, ", ")
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

func recoverDatabase(c *cli.Context) error {
	p, err := need(c, 0)
	if err != nil {
		return err
	}
	r, err := blacklist.Recover(c.Context, p.database, c.Bool("dry-run"))
	if err != nil {
		return err
	}
	gaps := "the whole table"
	if r.Gaps > 0 {
		gaps = fmt.Sprintf("all but what lies in %d damaged places", r.Gaps)
	}
	if c.Bool("dry-run") {
		fmt.Printf("%d rows can be read: %s\n", r.Rows, gaps)
		return nil
	}
	fmt.Printf("%d rows saved: %s. The damaged file is kept as %s\n", r.Rows, gaps, r.Kept)
	return nil
}
