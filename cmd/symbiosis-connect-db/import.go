package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/history"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/words"
)

func importCommand() *cli.Command {
	return &cli.Command{
		Name: "import", Usage: "add rows as export writes them, JSON or CSV; - reads standard input", ArgsUsage: "FILE",
		Description: "All of the file is checked before anything is stored. Rows that the database has already are left out.",
		Flags:       []cli.Flag{dryRunFlag()},
		Action:      importRows,
	}
}

func restoreCommand() *cli.Command {
	return &cli.Command{
		Name: "restore", Usage: "bring back what delete saved", ArgsUsage: "FILE",
		Description: "Rows that the database has already are left out, so that it can be run twice.",
		Flags:       []cli.Flag{dryRunFlag()},
		Action:      importRows,
	}
}

func importRows(c *cli.Context) error {
	if c.NArg() != 1 {
		return usagef("%s: one file is needed", c.Command.Name)
	}
	file := c.Args().First()
	in := os.Stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	rows, err := unlessInterrupted(c.Context, func() ([]blacklist.Row, error) { return readRows(in) })
	if err != nil {
		return fmt.Errorf("%s: %w; nothing was stored", file, err)
	}
	p, err := need(c, -1)
	if err != nil {
		return err
	}
	database, err := p.writable(c.Context)
	if err != nil {
		return err
	}
	if c.Bool("dry-run") {
		n, err := blacklist.CountMissing(c.Context, database, rows)
		if err != nil {
			return err
		}
		fmt.Printf("would store %s, %d are there already\n", words.Plural(n, "row"), len(rows)-n)
		return nil
	}
	n, err := blacklist.InsertMissing(c.Context, database, rows)
	if err != nil && n > 0 {
		// %v, because of a damaged file the exit status would say that nothing was changed.
		return fmt.Errorf("%v; %s stored before that, and the same command stores the rest", err, words.Plural(n, "row"))
	} else if err != nil {
		return err
	}
	fmt.Printf("stored %s, %d were there already\n", words.Plural(n, "row"), int64(len(rows))-n)
	if p.hosts == "" || !exists(filepath.Dir(p.hosts)) {
		return nil
	}
	// Cron does it within the minute, if it is at it now.
	if _, err := history.Sync(c.Context, p.hosts, p.sources, historyRules(c, p)); err != nil && !errors.Is(err, hosts.ErrRunning) {
		return err
	}
	return nil
}
