package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/hosts"
)

func checkCommand() *cli.Command {
	return &cli.Command{
		Name: "check", Usage: "check both databases for damage",
		Action: func(c *cli.Context) error {
			p, counted, err := either(c, 0)
			if err != nil {
				return err
			}
			if counted {
				for _, path := range p.databases {
					if err := blacklist.Check(c.Context, path); err != nil {
						return err
					}
				}
			}
			if p.hosts != "" {
				err := hosts.With(p.hosts, func(d *hosts.DB) error { return d.Check(c.Context) })
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			}
			fmt.Println("ok")
			return nil
		},
	}
}
