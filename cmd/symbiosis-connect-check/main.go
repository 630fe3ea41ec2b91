// Command symbiosis-connect-check answers Exim's questions about a connecting
// host: db asks the count database, dnsbl asks the DNS lists, and explain tells
// the administrator what every rule says.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
)

func main() {
	// Exim runs this at a connection, so the one question that is asked most is
	// answered before anything is set up that it does not need.
	if len(os.Args) > 1 && os.Args[1] == "db" {
		if code, done := runDB(os.Args[2:]); done {
			os.Exit(code)
		}
	}
	app := &cli.App{
		Name:                 filepath.Base(os.Args[0]), // the Sympl package has another
		Usage:                "answer Exim's questions about a connecting host",
		HideHelpCommand:      true,
		EnableBashCompletion: true,
		Commands:             []*cli.Command{dbCommand(), dnsblCommand(), explainCommand()},
	}
	if err := app.Run(os.Args); err != nil {
		fmt.Fprintf(os.Stderr, "symbiosis-connect-check: %v\n", err)
		os.Exit(1)
	}
}
