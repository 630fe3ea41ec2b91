package main

import (
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/exim"
)

// inForce gives the flags that were not set the values that the connect check
// has in Exim's configuration in force, so that what is shown here is what Exim
// does. Where there is no such configuration, or it does not have the checks,
// the flags keep the values of the checks as they are shipped.
func inForce(c *cli.Context, p place, macroOf map[string]string) {
	x := exim.Installation{Platform: p.platform}
	macros, err := x.Macros(c.Context, x.Config())
	if err != nil {
		return
	}
	for flag, macro := range macroOf {
		value := strings.TrimSpace(macros[macro])
		if c.IsSet(flag) || value == "" {
			continue
		}
		// A number that Exim could not use either is the doctor's business.
		if flag != "lists" {
			if _, err := strconv.Atoi(value); err != nil {
				continue
			}
		}
		c.Set(flag, value)
	}
}
