// Command symbiosis-connect-db brings the firewall's counts over to the database
// that Exim asks, keeps both in shape, and shows and changes what is in them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/cmd/internal/command"
	"symbiosis-connect-acl/internal/blacklist"
)

const own = "symbiosis-connect-db"

// Exit codes beyond 0 and 1.
const (
	exitUsage   = 2 // the command line is wrong; nothing was done
	exitCorrupt = 3 // the database is damaged; nothing was done
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, os.Args)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string) int {
	a := app()
	err := a.RunContext(ctx, flagsFirst(a, args))
	if err == nil {
		return 0
	}
	if ctx.Err() != nil {
		err = errInterrupted // however deep down it showed
	}
	code := command.Report(own, err)
	var usage command.UsageError
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, blacklist.ErrCorrupt):
		fmt.Fprintf(os.Stderr, "%s: hosts are judged by the last good history meanwhile. To save what can be read, between two scans of the firewall:\n  %s\n",
			name(), blacklist.Recipe("FILE"))
		return exitCorrupt
	}
	return code
}

var errInterrupted = errors.New("interrupted: nothing is left half done")

// unlessInterrupted gives what read reads from standard input, or the context's
// error as soon as that ends: a signal does not end a read.
func unlessInterrupted[T any](ctx context.Context, read func() (T, error)) (T, error) {
	var v T
	done := make(chan error, 1)
	go func() {
		var err error
		v, err = read()
		done <- err
	}()
	select {
	case err := <-done:
		return v, err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

func usagef(format string, args ...any) error { return command.Usagef(format, args...) }

func name() string { return command.Name(own) }

func app() *cli.App {
	a := command.New(own, "maintain and inspect what is known of hosts",
		syncCommand(), namesCommand(), retainCommand(), maintainCommand(), pruneCommand(), checkCommand(),
		listCommand(), showCommand(), statsCommand(), reportCommand(),
		releaseCommand(), deleteCommand(), restoreCommand(), addCommand(), exportCommand(), importCommand(),
		zoneCommand(), publishCommand())
	a.Description = "The firewall's database has one row for each time that its scan met a host in the logs. hosts.db has one\n" +
		"row for each host, with the sum of those counts, and what Exim remembers of it; the connect checks ask\n" +
		"it. Exit status: 0 done, also when another run is in progress; 1 it failed; 2 wrong command line;\n" +
		"3 the firewall's database is damaged, and it was not changed."
	for _, c := range a.Commands {
		c.Flags = append(c.Flags, &cli.StringFlag{Name: "root", Value: "/", Usage: "work on the system below `DIR`"})
		if c.Name == "sync" || c.Name == "retain" || c.Name == "names" || c.Name == "report" {
			continue // they work on no one database of a firewall
		}
		c.Flags = append(c.Flags,
			&cli.StringFlag{Name: "database", Usage: "work on the firewall's database in `FILE`, and not on hosts.db"})
	}
	return a
}

// flagsFirst moves a command's flags before its other arguments, where the flag
// library looks for them. Everything after "--" stays where it is.
func flagsFirst(a *cli.App, args []string) []string {
	const complete = "--generate-bash-completion" // has to stay the last
	first := 1                                    // the command's place: --now may stand before it
	if len(args) > 3 && args[1] == "--now" {
		first = 3
	}
	if len(args) < first+2 || args[len(args)-1] == complete {
		return args
	}
	c := a.Command(args[first])
	if c == nil {
		return args
	}
	takesValue := map[string]bool{}
	for _, f := range c.Flags {
		_, isBool := f.(*cli.BoolFlag)
		for _, n := range f.Names() {
			takesValue[n] = !isBool
		}
	}
	flags, rest := append([]string(nil), args[:first+1]...), []string{"--"}
	for i := first + 1; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			rest = append(rest, args[i+1:]...)
			break
		}
		if !strings.HasPrefix(arg, "-") || arg == "-" {
			rest = append(rest, arg)
			continue
		}
		flags = append(flags, arg)
		if n := strings.TrimLeft(arg, "-"); takesValue[n] && i+1 < len(args) {
			i++
			flags = append(flags, args[i])
		}
	}
	return append(flags, rest...)
}
