package explain

import (
	"fmt"

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
	limit := fmt.Sprint(p.RecentOffences)
	if p.RecentOffences == hosts.NoLimit {
		limit = "no number"
	}
	recent := within(e.row.OffencesSince, hosts.Day) && e.row.Offences > 0
	guesser := within(e.row.Guesser, hosts.Day)
	if recent {
		r.tell("%s since %s, the last %s: %s; refused above %s", words.Plural(e.row.Offences, "offence"), stamp(e.row.OffencesSince),
			stamp(e.row.Offence), e.row.Kind(), limit)
	} else {
		r.tell("no offence within 24 hours; refused above %s", limit)
	}
	if guesser {
		r.tell("it has guessed passwords, %s", stamp(e.row.Guesser))
	}
	switch {
	case guesser, recent && e.row.Offences > p.RecentOffences:
		r.set(ask, Deny)
	case recent && p.RecentOffences == hosts.NoLimit:
		r.set(ask, Skipped)
		r.tell("%s", unfit(rules.RecentOffences, e.value(rules.RecentOffences)))
	default:
		r.set(ask, Pass)
	}
	if on := users(ask); (guesser || recent) && any3(on) && within(e.row.Login, month) {
		r.set(on, Pass)
		r.tell("passed over on the users' ports, because somebody has logged in from there, last %s", stamp(e.row.Login))
	}
	return r
}
