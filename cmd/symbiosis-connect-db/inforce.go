package main

import (
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/exim"
)

// inForce gives the flags that were not set the values that the connect check
// has in Exim's configuration in force, so that what is shown here is what Exim
// does. Where there is no such configuration, or it does not have the checks,
// the flags keep the values of the checks as they are shipped. It returns what
// the history check does with a host that is above the threshold.
func inForce(c *cli.Context, p place, macroOf map[string]string) state {
	x := exim.Installation{Platform: p.platform}
	macros, err := x.Macros(c.Context, x.Config())
	if err != nil {
		return enforce
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
	return stateOf(macros["CONNECT_STATE_SUITE"], macros["CONNECT_STATE_HISTORY"])
}

// A state is what a check does.
type state string

const (
	enforce state = "enforce"
	learn   state = "learn" // it only writes to the log whom it would deny
	off     state = "off"
)

// stateOf gives the milder of the suite's state and the check's own. As in the
// check, a word that is none of these only learns.
func stateOf(suite, own string) state {
	all := []state{state(strings.TrimSpace(suite)), state(strings.TrimSpace(own))}
	switch {
	case slices.Contains(all, off):
		return off
	case slices.ContainsFunc(all, func(s state) bool { return s != enforce && s != "" }):
		return learn
	}
	return enforce
}
