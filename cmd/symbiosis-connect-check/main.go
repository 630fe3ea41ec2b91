// Command symbiosis-connect-check answers Exim's questions about a connecting
// host: db asks the count database, dnsbl asks the DNS lists, and explain tells
// the administrator what every rule says.
package main

import (
	"os"

	"symbiosis-connect-acl/cmd/internal/command"
)

func main() {
	// Exim runs this at a connection, so the one question that is asked most is
	// answered before anything is set up that it does not need.
	if len(os.Args) > 1 && os.Args[1] == "db" {
		if code, done := runDB(os.Args[2:]); done {
			os.Exit(code)
		}
	}
	const own = "symbiosis-connect-check"
	app := command.New(own, "answer Exim's questions about a connecting host", dbCommand(), dnsblCommand(), explainCommand())
	os.Exit(command.Report(own, app.Run(os.Args)))
}
