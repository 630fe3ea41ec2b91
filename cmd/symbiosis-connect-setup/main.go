// Command symbiosis-connect-setup builds the connect rules into the platform's
// Exim, takes them out again, and tells how things stand.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/cmd/internal/command"
	"symbiosis-connect-acl/internal/doctor"
	"symbiosis-connect-acl/internal/setup"
	"symbiosis-connect-acl/internal/words"
)

// Exit codes beyond 0 and 1.
const (
	// exitCheckFails is also for a check that could not be made: monitoring
	// must not take that for a warning.
	exitCheckFails = int(doctor.FAIL)
	exitNotRebuilt = 3
)

const own = "symbiosis-connect-setup"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := app().RunContext(ctx, os.Args)
	stop()
	code := command.Report(own, err)
	if errors.Is(err, setup.ErrNotRebuilt) || errors.Is(err, setup.ErrNotRestarted) {
		code = exitNotRebuilt
	}
	os.Exit(code)
}

func app() *cli.App {
	root := &cli.StringFlag{Name: "root", Usage: "work on the system below `DIR`, whose programs are run through chroot", Value: "/"}
	noRestart := &cli.BoolFlag{Name: "no-restart", Usage: "build the configuration, but do not restart Exim"}
	quiet := &cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print nothing but errors"}
	asJSON := &cli.BoolFlag{Name: "json", Usage: "print JSON, for programs"}
	options := func(c *cli.Context) setup.Options {
		opt := setup.Options{Root: c.String("root"), NoRestart: c.Bool("no-restart")}
		if !c.Bool("quiet") {
			opt.Note = func(text string) { command.Printf("%s\n", text) }
		}
		return opt
	}
	return command.New(own, "build the connect rules into Exim, take them out, check them", &cli.Command{
		Name:  "apply",
		Usage: "build the rules in, test and prove the configuration, and put it in force",
		Description: "Takes over a log_selector and an event_action from elsewhere, merges the firewall patterns, " +
			"switches the rules on, builds and tests the configuration, and tries whether it greets innocent hosts. " +
			"Only then it puts the configuration in force and restarts Exim. A restart that waits for DNS goes on by itself. It makes hosts.db, in which Exim remembers hosts. " +
			"When anything fails, every file is put back as it was. A second run changes nothing.",
		Flags: []cli.Flag{root, noRestart, quiet, &cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "print what would change in files, and change nothing"}},
		Action: func(c *cli.Context) error {
			if err := command.NoArguments(c); err != nil {
				return err
			}
			if c.Bool("dry-run") {
				return dryRun(c.Context, options(c))
			}
			return setup.Apply(c.Context, options(c))
		},
	}, &cli.Command{
		Name:  "remove",
		Usage: "take out exactly what apply has built in",
		Description: "Puts a log_selector or event_action that apply has taken over back in use. If another has been set since, " +
			"one stays in use and the others stay comments, which are named: Exim allows only one. " +
			"Exits with 3 when our files are undone but the rest of the configuration does not build, " +
			"or Exim could not be restarted.",
		Flags: []cli.Flag{root, noRestart, quiet},
		Action: func(c *cli.Context) error {
			if err := command.NoArguments(c); err != nil {
				return err
			}
			return setup.Remove(c.Context, options(c))
		},
	}, &cli.Command{
		Name:  "check",
		Usage: "check the installation: what is wrong, and what to do about it",
		Description: "Looks at the platform and Exim's version, the configuration in force and what it was built from, " +
			"the snippets and the values in them, the running Exim and its TLS, whether innocent hosts get in, the white lists, " +
			"hosts.db and the firewall's database, the helper, the resolver and each DNS list, the firewall patterns, the clock and cron. " +
			"Prints one line for each finding: OK, WARN or FAIL. Exits with 0 when all is well, " +
			"with 1 when there are warnings, and with 2 when something does not work. Changes nothing. " +
			"It takes 10 seconds at most, even if DNS does not answer; what has no result by then is \"not finished\", a warning.",
		Flags: []cli.Flag{root, asJSON, &cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print only what is not OK"}},
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return cli.Exit(err.Error()+": see --help", exitCheckFails)
		},
		Action: func(c *cli.Context) error {
			if err := command.NoArguments(c); err != nil {
				return cli.Exit(err.Error(), exitCheckFails)
			}
			opt := doctor.Options{Root: c.String("root")}
			if !c.Bool("quiet") {
				opt.Progress = progress()
			}
			found, err := doctor.Check(c.Context, opt)
			if err != nil {
				return cli.Exit(err.Error(), exitCheckFails)
			}
			if err := printFindings(found, c.Bool("json"), c.Bool("quiet")); err != nil {
				return cli.Exit(err.Error(), exitCheckFails)
			}
			if worst := doctor.Worst(found); worst != doctor.OK {
				return cli.Exit("", int(worst))
			}
			return nil
		},
	}, &cli.Command{
		Name:  "status",
		Usage: "show what is applied",
		Flags: []cli.Flag{root, asJSON},
		Action: func(c *cli.Context) error {
			if err := command.NoArguments(c); err != nil {
				return err
			}
			r, err := setup.Status(c.Context, setup.Options{Root: c.String("root")})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return command.WriteJSON(os.Stdout, r)
			}
			printStatus(r)
			return nil
		},
	})
}

func dryRun(ctx context.Context, opt setup.Options) error {
	changes, err := setup.Plan(ctx, opt)
	if err != nil {
		return err
	}
	for _, c := range changes {
		fmt.Print(command.Diff(c.Path, c.Old, c.New))
	}
	if len(changes) == 0 {
		fmt.Println("nothing would change")
	}
	return nil
}

// progress gives what shows on a terminal what check is still looking at, in one
// line that is gone in the end; nil where there is no terminal.
func progress() func(topics []string) {
	columns, ok := command.Terminal(os.Stderr)
	if !ok {
		return nil
	}
	return func(topics []string) {
		text := ""
		if len(topics) > 0 {
			text = "looking at: " + strings.Join(topics, ", ")
		}
		fmt.Fprintf(os.Stderr, "\r%-*s", columns-1, text[:min(len(text), columns-1)])
		if text == "" {
			fmt.Fprint(os.Stderr, "\r")
		}
	}
}

func printFindings(found []doctor.Finding, asJSON, quiet bool) error {
	if quiet {
		found = slices.DeleteFunc(found, func(f doctor.Finding) bool { return f.Level == doctor.OK })
	}
	if asJSON {
		if found == nil {
			found = []doctor.Finding{}
		}
		return command.WriteJSON(os.Stdout, found)
	}
	for _, f := range found {
		text := fmt.Sprintf("%-4s  %s: %s", f.Level, f.Topic, f.Text)
		if f.Remedy != "" {
			text += " -> " + f.Remedy
		}
		fmt.Println(words.Printable(text))
	}
	return nil
}

func printStatus(r setup.Report) {
	if r.Platform == "" {
		fmt.Println("platform: none")
		return
	}
	yes := map[bool]string{true: "yes", false: "no"}
	command.Printf("platform: %s\napplied: %s\nin force: %s\n", r.Platform, yes[r.Applied], yes[r.InForce])
	if r.Interrupted {
		fmt.Println("interrupted: yes, run apply or remove")
	}
	if r.Since != "" {
		fmt.Printf("since: %s\n", r.Since)
	}
	if r.LogSelector != "" {
		command.Printf("log_selector taken over: %s (from %s)\n", r.LogSelector, strings.Join(r.LogSnippets, ", "))
	}
	if r.EventAction != "" {
		command.Printf("event_action taken over: %s (from %s)\n", r.EventAction, strings.Join(r.EventSnippets, ", "))
	}
	if len(r.PatternsFiles) > 0 {
		command.Printf("patterns: %s\n", strings.Join(r.PatternsFiles, ", "))
	}
	if r.Exim != 0 {
		fmt.Printf("exim: process %d\n", r.Exim)
	}
}
