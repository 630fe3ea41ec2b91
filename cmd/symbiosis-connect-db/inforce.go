package main

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/exim"
	"symbiosis-connect-acl/internal/rules"
)

// inForce gives the flags that were not set the values that the connect check
// has in Exim's configuration in force, so that what is shown here is what Exim
// does. Where there is no such configuration, or it does not have the checks,
// the flags keep the values of the checks as they are shipped. It returns what
// the history check does with a host that is above the threshold.
func inForce(c *cli.Context, p place, macroOf map[string]string) rules.State {
	x := exim.Installation{Platform: p.platform}
	macros, err := x.Macros(c.Context, x.Config())
	if err != nil {
		return rules.Enforce
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
	return stateOf(macros[rules.StateSuite], macros[rules.StateHistory])
}

// stateOf gives what the history check does. One that is not there does what
// it does as it is shipped.
func stateOf(suite, own string) rules.State {
	const shipped = string(rules.Enforce)
	return rules.Milder(cmp.Or(strings.TrimSpace(suite), shipped), rules.StateHistory, cmp.Or(strings.TrimSpace(own), shipped))
}
