package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/words"
)

func pruneCommand() *cli.Command {
	return &cli.Command{
		Name: "prune", Usage: "delete rows older than the retention from the firewall's database",
		Flags: nightlyFlags(),
		Action: func(c *cli.Context) error {
			return nightly(c, func(p place, o options) (string, error) { return prune(c.Context, p, o) })
		},
	}
}

func prune(ctx context.Context, p place, o options) (string, error) {
	return p.each(func(path string) (string, error) {
		if ok, err := blacklist.Writable(ctx, path); err != nil || !ok || o.before.IsZero() {
			return "", err
		}
		n, err := blacklist.Prune(ctx, path, o.before, o.minutes, o.dryRun)
		if o.dryRun {
			return fmt.Sprintf("would delete %s of %s", words.Plural(n, "old row"), path), err
		}
		return fmt.Sprintf("%s: deleted %s", path, words.Plural(n, "old row")), err
	})
}

// each does something with every database, and goes on with the others where
// something is wrong with one.
func (p place) each(do func(path string) (string, error)) (string, error) {
	var done []string
	var errs []error
	for _, path := range p.databases {
		text, err := do(path)
		if err != nil {
			errs = append(errs, err)
		}
		if text != "" {
			done = append(done, text)
		}
	}
	return strings.Join(done, ", "), errors.Join(errs...)
}
