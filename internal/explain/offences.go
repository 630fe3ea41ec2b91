package explain

import (
	"strings"

	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/rules"
	"symbiosis-connect-acl/internal/words"
)

// offences looks at those of the last 24 hours.
func (e *examiner) offences() Rule {
	r, ask := e.rule("offences", snippetOffences, rules.StateOffences, rules.PortsOffences)
	if !any3(ask) {
		return r
	}
	if e.noRow != "" {
		r.set(ask, e.forgets())
		r.tell("offences unknown: %s", e.noRow)
		return r
	}
	p := hosts.PolicyOf(e.macros)
	if !within(e.row.OffencesSince, hosts.Day) {
		r.set(ask, Pass)
		r.tell("no offence within 24 hours; refused above %d", p.RecentOffences)
		return r
	}
	r.tell("%s since %s, the last %s: %s; refused above %d", words.Plural(e.row.Offences, "offence"), stamp(e.row.OffencesSince),
		stamp(e.row.Offence), e.row.Kind(), p.RecentOffences)
	if setting := strings.TrimSpace(e.value(rules.RecentOffences)); !wholeNumber(setting) {
		r.set(ask, Skipped)
		r.tell("%s is %q: not a whole number", rules.RecentOffences, setting)
		return r
	}
	if e.row.Offences <= p.RecentOffences {
		r.set(ask, Pass)
		return r
	}
	r.set(ask, Deny)
	if on := users(ask); any3(on) && e.row.Standing(p, clock.Now()).User {
		r.set(on, Pass)
		r.tell("passed over on the users' ports, because somebody has logged in from there, last %s", stamp(e.row.Login))
	}
	return r
}

// wholeNumber reports whether the snippets can compare with it.
func wholeNumber(s string) bool {
	return len(s) > 0 && len(s) <= 9 && strings.Trim(s, "0123456789") == ""
}
