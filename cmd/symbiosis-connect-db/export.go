package main

import (
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/atomicfile"
	"symbiosis-connect-acl/internal/blacklist"
)

func exportCommand() *cli.Command {
	return &cli.Command{
		Name: "export", Usage: "write all rows as JSON or CSV",
		Description: "--output replaces a file when all is written. A device, a pipe or a socket is written into.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Value: "json", Usage: "`FORMAT`: json or csv"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE` instead of standard output"},
		},
		Action: export,
	}
}

func export(c *cli.Context) error {
	p, err := need(c, 0)
	if err != nil {
		return err
	}
	// Nftfw's has sums only. Where there is no other, Export says so.
	databases, err := p.own(c.Context)
	if err != nil {
		return err
	}
	if len(databases) == 0 {
		databases = p.databases
	}
	write := func(out io.Writer) error {
		w, err := newRowWriter(out, c.String("format"))
		if err != nil {
			return usagef("--format: %v", err)
		}
		for _, path := range databases {
			if err := blacklist.Export(c.Context, path, w.Write); err != nil {
				return err
			}
		}
		return w.Close()
	}
	if o := c.String("output"); o != "" {
		return atomicfile.Output(c.Context, o, 0o600, write)
	}
	return write(os.Stdout)
}
