// Command symbiosis-connect-patterns merges our firewall patterns into the
// platform's pattern file, takes them out again, and tries pattern files on
// logs.
package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/cmd/internal/command"
)

const own = "symbiosis-connect-patterns"

func main() { os.Exit(command.Report(own, app().Run(os.Args))) }

func app() *cli.App {
	root := &cli.StringFlag{Name: "root", Usage: "work on the system below `DIR`", Value: "/"}
	dryRun := &cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "print what would change, as a unified diff, and change nothing"}
	quiet := &cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print nothing but errors"}
	file := &cli.StringFlag{Name: "file", Usage: "the pattern file is `FILE`, not the platform's exim4.patterns"}
	ours := &cli.StringFlag{Name: "patterns", Usage: "our patterns are in `FILE`, not in the package's directory"}
	return command.New(own, "merge our firewall patterns into the platform's, take them out, try patterns on a log", &cli.Command{
		Name:  "install",
		Usage: "merge our patterns into the platform's exim4.patterns",
		Description: "Ours become one marked block. A line outside it that ours supersede is commented out with a marker, " +
			"so that nothing counts twice, and so that no pattern stays which an attacker can turn against others. " +
			"All other patterns that are live for the same log, in any file, are tried on recorded attacks. " +
			"Those that can be used to block others are named. " +
			"The file's own \"file =\" and \"ports =\" stay in force. A second run changes nothing.",
		Flags:  []cli.Flag{root, file, ours, dryRun, quiet},
		Action: install,
	}, &cli.Command{
		Name:  "remove",
		Usage: "take our patterns out again",
		Description: "The file comes back byte for byte as it was before install; edits made since then stay. " +
			"A file that install made, and that holds nothing else, is deleted.",
		Flags:  []cli.Flag{root, file, dryRun, quiet},
		Action: remove,
	}, &cli.Command{
		Name:      "test",
		Usage:     "try pattern files on logs",
		ArgsUsage: "[PATTERN-FILE]...",
		Description: "Shows for every pattern how often it matches, which addresses it takes, and which lines count twice. " +
			"A pattern can be used to have others blocked when it takes an address that is not the one Exim wrote: that is shown too. " +
			"Without PATTERN-FILE it tries the platform's exim4.patterns, without --log the log that the pattern file names. " +
			"With --attacks it tries them on recorded attacks instead: lines that real Exims have logged of clients that write " +
			"somebody else's address where they can. Without PATTERN-FILE it then tries every pattern that is live for the log of exim4.patterns. " +
			"Changes nothing. Exits with 0 when all is well, with 1 when something could not be read to its end or is no log of Exim's, " +
			"and with 2 when a pattern does not compile, is too slow, or takes an address that may be somebody else's.",
		Flags: []cli.Flag{root,
			&cli.StringSliceFlag{Name: "log", Aliases: []string{"l"}, Usage: "read `FILE`, which may be packed with gzip, or - for standard input (may be repeated)"},
			&cli.BoolFlag{Name: "attacks", Usage: "try the patterns on recorded attacks, not on a log"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "print the expressions too, not only what the comments above them say"},
			&cli.IntFlag{Name: "top", Usage: "name the `N` most frequent addresses of each pattern", Value: 5},
			&cli.BoolFlag{Name: "json", Usage: "print JSON, for programs"},
		},
		Action: test,
	})
}
