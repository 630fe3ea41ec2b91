package main

import (
	"context"
	"fmt"

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
	ok, err := ours(ctx, p)
	if err != nil || !ok || o.before.IsZero() {
		return "", err
	}
	n, err := blacklist.Prune(ctx, p.database, o.before, o.minutes, o.dryRun)
	if o.dryRun {
		return fmt.Sprintf("would delete %s", words.Plural(n, "old row")), err
	}
	return fmt.Sprintf("%s: deleted %s", p.database, words.Plural(n, "old row")), err
}
