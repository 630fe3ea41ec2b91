package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/blocks"
	"symbiosis-connect-acl/internal/remedy"
	"symbiosis-connect-acl/internal/words"
)

func releaseCommand() *cli.Command {
	return &cli.Command{
		Name: "release", Usage: "end the firewall's automatic blocks of hosts at once", ArgsUsage: "ADDRESS...",
		Description: `It removes the file that the firewall's scan wrote in blacklist.d, and has the
platform's firewall follow. Files that you wrote stay, and it names them. What
the host has on record stays too, unless you add --history: then it is deleted as
the delete command does it.`,
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "history", Usage: "also delete what is on record about the hosts"}},
		Action: release,
	}
}

func release(c *cli.Context) error {
	if c.NArg() == 0 {
		return usagef("release: which address?")
	}
	keys, err := parseKeys(c.Args().Slice())
	if err != nil {
		return err
	}
	p, _, err := where(c)
	if err != nil && !errors.Is(err, errNoDatabase) {
		return err
	}
	removed, manual, err := blocks.Release(p.platform, keys)
	for _, file := range removed {
		fmt.Printf("removed blacklist.d/%s\n", filepath.Base(file))
	}
	if err != nil {
		return err
	}
	if len(removed) > 0 {
		who, err := blocks.Reload(c.Context, p.platform)
		if err != nil {
			return fmt.Errorf("the file is gone, and the firewall follows within the hour, because this failed: %w", err)
		}
		switch who {
		case blocks.Us:
			fmt.Println("the firewall lets it in from now on")
		case blocks.Incron:
			fmt.Println("the firewall follows in some seconds")
		case blocks.Cron:
			fmt.Println("the firewall follows at its next reload, within the hour")
		}
	}
	if c.Bool("history") {
		args := []string{c.App.Name, "delete", "--yes", "--root", c.String("root")}
		if c.IsSet("database") {
			args = append(args, "--database", c.String("database"))
		}
		if err := app().RunContext(c.Context, append(append(args, "--"), c.Args().Slice()...)); err != nil {
			return err
		}
	}
	if len(manual) > 0 {
		for _, file := range manual {
			fmt.Printf("left alone, because an administrator wrote it: blacklist.d/%s\n", words.Printable(filepath.Base(file)))
		}
		return cli.Exit("still blocked: remove the file yourself", 1)
	}
	if len(removed) == 0 && nftfw(c.Context, p) != "" {
		return remedy.Add(errors.New("no file in the platform's blacklist.d blocks it; nftfw has blocks of its own"), "run: nftfwedit -d %s", keys[0])
	}
	if len(removed) == 0 {
		fmt.Println("nothing to release: no file in blacklist.d blocks it")
	}
	return nil
}
