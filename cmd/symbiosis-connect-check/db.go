package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/syslog"
)

// dbCommand describes db for --help; runDB has done the work before this is
// asked.
func dbCommand() *cli.Command {
	return &cli.Command{
		Name:      "db",
		Usage:     "print the sum of the counts that the database has for a host",
		ArgsUsage: "ADDRESS",
		Description: "Prints one whole number and exits with status 0. Whatever is wrong with the database or the\n" +
			"address, the number is 0, so that nobody is refused for it; the reason goes to syslog.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "database", Usage: "the database `FILE` (default: the platform's)"},
			&cli.StringFlag{Name: "root", Value: "/", Usage: "the `DIR` below which the platform is looked for"},
			&cli.BoolFlag{Name: "verbose", Usage: "write the reason to standard error instead"},
		},
	}
}

// runDB answers "db". It leaves a call for help to the flag library. Every
// other call prints a number and succeeds: Exim puts what is printed into a
// comparison, and an error there would turn every host away.
func runDB(args []string) (code int, done bool) {
	var database, addr, root string
	var verbose bool
	var problem error
	n := 0
	for i := 0; i < len(args); i++ {
		name, value, inline := strings.Cut(args[i], "=")
		if strings.HasPrefix(name, "--") {
			name = name[1:]
		}
		switch {
		case name == "-help" || name == "-h" || name == "-generate-bash-completion":
			return 0, false
		case name == "-verbose":
			verbose = true
		case name == "-database" || name == "-root":
			if !inline {
				if i++; i == len(args) {
					problem = fmt.Errorf("%s needs a value", args[i-1])
					break
				}
				value = args[i]
			}
			if name == "-root" {
				root = value
			} else {
				database = value
			}
		case strings.HasPrefix(name, "-") && name != "-":
			problem = fmt.Errorf("unknown option %q", args[i])
		default:
			addr = args[i]
			n++
		}
	}
	var sum int64
	if problem == nil && n != 1 {
		problem = errors.New("one address is needed")
	}
	if problem == nil {
		sum, problem = lookUp(database, root, addr)
	}
	os.Stdout.WriteString(strconv.FormatInt(sum, 10) + "\n")
	if problem != nil {
		report(problem, verbose)
	}
	return 0, true
}

func lookUp(database, root, addr string) (int64, error) {
	key, err := address.Parse(addr)
	if err != nil {
		return 0, err
	}
	if database == "" {
		p, err := platform.Find(root)
		if err != nil {
			return 0, err
		}
		database = p.Database
	}
	rows, err := blacklist.Rows(context.Background(), database, key)
	var sum int64
	for _, r := range rows {
		sum = blacklist.Plus(sum, r.Count)
	}
	return sum, err
}

// report says why the answer is 0. It never waits: a syslog daemon that does
// not read must not hold a connection up.
func report(problem error, verbose bool) {
	if verbose {
		fmt.Fprintf(os.Stderr, "symbiosis-connect-check: %v\n", problem)
		return
	}
	syslog.Send(syslog.Socket, syslog.MailWarning, "db: check skipped: "+problem.Error())
}
