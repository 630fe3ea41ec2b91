package main

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/exim"
	"symbiosis-connect-acl/internal/history"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/rules"
)

// defaultThreshold is that of the connect check as it is shipped.
const defaultThreshold = 10

func thresholdFlag() cli.Flag {
	return &cli.Int64Flag{Name: "threshold", Value: defaultThreshold,
		Usage: "the `COUNT` above which the connect check denies a host, if not SYMBIOSIS_INCIDENT_THRESHOLD in Exim's configuration in force"}
}

// A judge knows what the connect check does with a count.
type judge struct {
	hosts.Policy
	state rules.State
	now   time.Time
}

// denies tells whether a host with that count and standing is denied on port 25:
// yes or no; sender or parole where that saves it; learn or off where it would
// be denied if the check were not in that state.
func (j judge) denies(count int64, s hosts.Standing) string {
	switch {
	case count <= j.Threshold:
		return "no"
	case s.Parole:
		return "parole"
	case s.Sender && count <= hosts.SenderFactor*j.Threshold:
		return "sender"
	case j.state != rules.Enforce:
		return string(j.state)
	}
	return "yes"
}

// readSettings takes from Exim's configuration what decides about a host.
func readSettings(c *cli.Context, p place) judge {
	settings := map[string]string{"threshold": rules.Threshold}
	if c.Bool("dnsbl") {
		settings["lists"], settings["score"] = rules.ConnectLists, rules.DNSBLThreshold
	}
	macros := inForce(c, p, settings)
	j := judge{Policy: hosts.PolicyOf(macros), state: stateOf(macros[rules.StateSuite], macros[rules.StateHistory]), now: clock.Now()}
	j.Threshold = c.Int64("threshold")
	return j
}

// inForce gives the flags that were not set the values that the connect check
// has in Exim's configuration in force, so that what is shown here is what Exim
// does. Where there is no such configuration, or it does not have the checks,
// the flags keep the values of the checks as they are shipped. It returns the
// macros in force.
func inForce(c *cli.Context, p place, macroOf map[string]string) map[string]string {
	x := exim.Installation{Platform: p.platform}
	macros, err := x.Macros(c.Context, x.Config())
	if err != nil {
		return nil
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
	return macros
}

// stateOf gives what the history check does. One that is not there does what
// it does as it is shipped.
func stateOf(suite, own string) rules.State {
	const shipped = string(rules.Enforce)
	return rules.Milder(cmp.Or(strings.TrimSpace(suite), shipped), rules.StateHistory, cmp.Or(strings.TrimSpace(own), shipped))
}

// historyRules gives what decides which of the firewall's rows is an offence.
func historyRules(c *cli.Context, p place) history.Rules {
	return history.Rules{File: exim.Installation{Platform: p.platform}.Config(), Policy: func() *hosts.Policy { return policy(c, p) }}
}

// policy gives the numbers by which a host's standing is judged, nil where there
// is no configuration in force that could say.
func policy(c *cli.Context, p place) *hosts.Policy {
	x := exim.Installation{Platform: p.platform}
	macros, err := x.Macros(c.Context, x.Config())
	if err != nil {
		return nil
	}
	found := hosts.PolicyOf(macros)
	return &found
}
