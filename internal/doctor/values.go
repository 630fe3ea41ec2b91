package doctor

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// What each macro must look like. The rules pass over a value that they cannot
// use, so that a slip refuses nobody: here it is told.
var (
	stateName  = regexp.MustCompile(`^CONNECT_STATE_`)
	portsName  = regexp.MustCompile(`^CONNECT_PORTS_`)
	portsValue = regexp.MustCompile(`^\s*(\d+\s*(:\s*\d+\s*)*)?$`)
	countValue = regexp.MustCompile(`^\d{1,9}$`)
	rateValue  = regexp.MustCompile(`^\s*(?:[2-9]|[1-9]\d{1,5})(?:\.\d{1,3})?\s*/\s*` + period + `\s*$`)
	scoreValue = regexp.MustCompile(`^[1-9]\d{0,8}$`)
	delayValue = regexp.MustCompile(`^(?:0|[1-9]\d?)$`)
	loginValue = regexp.MustCompile(`^[1-9]\d{0,5}$`)
	timeValue  = regexp.MustCompile(`^` + period + `$`)
)

// A period that Exim's ratelimit can work with: not 0, and no more than fits
// into a number of seconds.
const period = `(?:[1-9]\d{0,5}[ms]|[1-9]\d{0,3}h|[1-9]\d{0,2}[dw]){1,3}`

// values looks at what the macros in force say.
func (d *doctor) values() {
	bad := 0
	fault := func(name, want string) {
		bad++
		d.fail("values", fmt.Sprintf("write %s == %s into 00-main/22-connect-check-local and %s", name, want, d.build()),
			"%s is %q, which its rule cannot use", name, d.macros[name])
	}
	for _, name := range sortedKeys(d.macros) {
		value := strings.TrimSpace(d.macros[name])
		switch {
		case stateName.MatchString(name):
			switch {
			case value == "enforce" || value == "learn" || value == "off":
			case value == "measure" && name == "CONNECT_STATE_RATELIMIT":
			default:
				fault(name, "enforce, learn or off")
			}
		case portsName.MatchString(name) && !portsValue.MatchString(value):
			fault(name, "a list of ports such as 25 : 465 : 587")
		}
	}
	for name, c := range map[string]struct {
		form *regexp.Regexp
		want string
	}{
		"SYMBIOSIS_INCIDENT_THRESHOLD":  {countValue, "a whole number from 0 to 999999999"},
		"CHECK_CONNECT_RATELIMIT":       {rateValue, "a number from 2 to 999999 and a period such as 10 / 15m (CONNECT_STATE_RATELIMIT == off switches the check off)"},
		"CHECK_CONNECT_DNSBL_THRESHOLD": {scoreValue, "a whole number of 1 or more"},
		"CONNECT_GREETING_DELAY":        {delayValue, "a whole number of seconds from 0 to 99"},
		"CONNECT_GREETING_BUSY":         {countValue, "a whole number of connections"},
		"CONNECT_AUTH_FAILURES":         {loginValue, "a whole number from 1 to 999999 (CONNECT_STATE_AUTH == off switches the check off)"},
		"CONNECT_AUTH_LENIENCY":         {loginValue, "a whole number from 1 to 999999 (CONNECT_STATE_AUTH == off switches the check off)"},
		"CONNECT_AUTH_PERIOD":           {timeValue, "a period such as 1h"},
	} {
		if value, ok := d.macros[name]; ok && !c.form.MatchString(value) {
			fault(name, c.want)
		}
	}
	if value, ok := d.macros["CHECK_CONNECT_DNSBL_TIMEOUT"]; ok {
		if t, err := time.ParseDuration(strings.TrimSpace(value)); err != nil || t <= 0 {
			fault("CHECK_CONNECT_DNSBL_TIMEOUT", "a time such as 2s")
		}
	}
	if bad > 0 {
		return
	}
	switch strings.TrimSpace(d.macros["CONNECT_STATE_SUITE"]) {
	case "learn":
		d.warn("values", "when the log shows only what you want refused, set CONNECT_STATE_SUITE == enforce", "the whole suite only learns: nobody is refused")
	case "off":
		d.warn("values", "set CONNECT_STATE_SUITE == enforce or learn", "the whole suite is off")
	default:
		d.ok("values", "the macros in force have values that the rules understand")
	}
}
