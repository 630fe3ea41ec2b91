package main

import (
	"fmt"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/hosts"
)

// hostCommand answers for an Exim that cannot read SQLite. It never harms a host
// by its own mistake: what it prints then has no done=yes.
func hostCommand() *cli.Command {
	return &cli.Command{
		Name:      "host",
		Usage:     "run a statement of Exim's on the host database",
		ArgsUsage: "STATEMENT",
		Description: `For an Exim that is built without SQLite: 10-acl/15-acl-connect-hosts calls it
with the SQL that another Exim runs itself. Prints the row that the
statement ends in, as one line of name=value pairs, or

  trouble="why"

and exits with status 0 in either case. It waits no more than 0.3 s for a lock,
and never makes a file.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "database", Required: true, Usage: "the host database `FILE`"},
		},
		HideHelpCommand: true,
		Action: func(c *cli.Context) error {
			debug.SetGCPercent(-1) // the process is gone before a collection could pay
			answer, err := "", fmt.Errorf("one statement is needed, not %d", c.NArg())
			if c.NArg() == 1 {
				answer, err = hosts.Answer(c.Context, c.String("database"), c.Args().First())
			}
			if err != nil {
				answer = "trouble=" + quoted(err.Error(), maxSkipped)
			}
			fmt.Fprintln(c.App.Writer, answer)
			return nil
		},
	}
}
