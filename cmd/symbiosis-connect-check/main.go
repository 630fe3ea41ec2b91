// Command symbiosis-connect-check answers Exim's questions about a connecting
// host: dnsbl asks the DNS lists, host asks the host database for an Exim that
// cannot, and explain tells the administrator what every rule says.
package main

import (
	"os"

	"symbiosis-connect-acl/cmd/internal/command"
)

func main() {
	const own = "symbiosis-connect-check"
	app := command.New(own, "answer Exim's questions about a connecting host", dnsblCommand(), hostCommand(), explainCommand())
	os.Exit(command.Report(own, app.Run(os.Args)))
}
