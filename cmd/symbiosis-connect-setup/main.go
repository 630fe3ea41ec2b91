// Command symbiosis-connect-setup builds the connect rules into the platform's
// Exim, takes them out again, and tells how things stand.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/setup"
)

// Exit codes beyond 0 and 1.
const exitNotRebuilt = 3

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := app().RunContext(ctx, os.Args)
	if err == nil {
		return
	}
	var exit cli.ExitCoder
	if errors.As(err, &exit) {
		if text := exit.Error(); text != "" {
			fmt.Fprintln(os.Stderr, name()+": "+text)
		}
		os.Exit(exit.ExitCode())
	}
	fmt.Fprintln(os.Stderr, name()+": "+err.Error())
	if errors.Is(err, setup.ErrNotRebuilt) || errors.Is(err, setup.ErrNotRestarted) {
		os.Exit(exitNotRebuilt)
	}
	os.Exit(1)
}

// name is the command's name, which is another one on Sympl.
func name() string {
	if base := filepath.Base(os.Args[0]); strings.HasPrefix(base, "sympl-") {
		return base
	}
	return "symbiosis-connect-setup"
}

func app() *cli.App {
	root := &cli.StringFlag{Name: "root", Usage: "work on the system below `DIR`, whose programs are run through chroot", Value: "/"}
	noRestart := &cli.BoolFlag{Name: "no-restart", Usage: "build the configuration, but do not restart Exim"}
	quiet := &cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print nothing but errors"}
	options := func(c *cli.Context) setup.Options {
		opt := setup.Options{Root: c.String("root"), NoRestart: c.Bool("no-restart")}
		if !c.Bool("quiet") {
			opt.Note = func(text string) { fmt.Println(text) }
		}
		return opt
	}
	return &cli.App{
		Name:            name(),
		Usage:           "build the connect rules into Exim, take them out, check them",
		HideHelpCommand: true,
		// The errors are printed and turned into exit codes by main.
		ExitErrHandler: func(*cli.Context, error) {},
		Commands: []*cli.Command{{
			Name:  "apply",
			Usage: "build the rules in, test and prove the configuration, and put it in force",
			Description: "Takes over a log_selector that stands elsewhere, merges the firewall patterns, " +
				"switches the rules on, builds and tests the configuration, imagines innocent hosts at its door, " +
				"and only then puts it in force, restarts Exim and makes the index of the count database. " +
				"When anything fails, every file is put back as it was. A second run changes nothing.",
			Flags: []cli.Flag{root, noRestart, quiet, &cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "print what would change in files, and change nothing"}},
			Action: func(c *cli.Context) error {
				if err := noArguments(c); err != nil {
					return err
				}
				if c.Bool("dry-run") {
					return dryRun(c.Context, options(c))
				}
				return setup.Apply(c.Context, options(c))
			},
		}, {
			Name:  "remove",
			Usage: "take out exactly what apply has built in",
			Description: "Exits with 3 when our files are undone but the rest of the configuration does not build, " +
				"or Exim could not be restarted.",
			Flags: []cli.Flag{root, noRestart, quiet},
			Action: func(c *cli.Context) error {
				if err := noArguments(c); err != nil {
					return err
				}
				return setup.Remove(c.Context, options(c))
			},
		}},
	}
}

func noArguments(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%s takes no argument %q", c.Command.Name, c.Args().First())
	}
	return nil
}

func dryRun(ctx context.Context, opt setup.Options) error {
	changes, err := setup.Plan(ctx, opt)
	if err != nil {
		return err
	}
	for _, c := range changes {
		old, new := c.Path, c.Path
		if c.Old == nil {
			old = "/dev/null"
		}
		if c.New == nil {
			new = "/dev/null"
		}
		text := string(diff.Diff(old, c.Old, new, c.New))
		// The first line repeats the names in a form that patch(1) does not know.
		_, text, _ = strings.Cut(text, "\n")
		fmt.Print(text)
	}
	if len(changes) == 0 {
		fmt.Println("nothing would change")
	}
	return nil
}
