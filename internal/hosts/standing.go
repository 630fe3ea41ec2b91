package hosts

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/rules"
)

// A Policy holds the numbers that a host's standing is judged by: those of the
// macros in force.
type Policy struct {
	Threshold      int64         // a history over this refuses
	Refuses        bool          // it does; false where that rule is off or only learns
	RecentOffences int64         // more offences than this in 24 hours refuse
	Parole         time.Duration // so long after the last real offence the history refuses no more; 0 means never
}

// Defaults are the numbers as the package installs them.
var Defaults = Policy{Threshold: 10, Refuses: true, RecentOffences: 3, Parole: 90 * 24 * time.Hour}

// NoLimit is a number that nothing is above.
const NoLimit = math.MaxInt64

// PolicyOf takes the numbers from the macros in force, by name. One that is not
// there is as the package installs it. One that its rule cannot use refuses
// nobody, and gives no parole.
func PolicyOf(macros map[string]string) Policy {
	p := Defaults
	for macro, to := range map[string]*int64{rules.Threshold: &p.Threshold, rules.RecentOffences: &p.RecentOffences} {
		if v, ok := macros[macro]; ok {
			*to = NoLimit
			if f, _ := rules.FormOf(macro); f.Fits(v) {
				*to, _ = strconv.ParseInt(v, 10, 64)
			}
		}
	}
	if v, ok := macros[rules.Parole]; ok {
		p.Parole = 0
		if f, _ := rules.FormOf(rules.Parole); f.Fits(v) {
			p.Parole = time.Duration(min(rules.Seconds(v), math.MaxInt32)) * time.Second
		}
	}
	state := func(macro string) string { return cmp.Or(strings.TrimSpace(macros[macro]), string(rules.Enforce)) }
	p.Refuses = rules.Milder(state(rules.StateSuite), rules.StateHistory, state(rules.StateHistory)) == rules.Enforce
	return p
}

// SenderFactor is how many times the threshold a sender's history may be.
const SenderFactor = 10

// Day is for how long offences add up, and a guesser is one.
const Day = 24 * time.Hour

// Standing is what a host has earned, as of a moment. Several may be true at
// once.
type Standing struct {
	User     bool `json:"user"`     // somebody has logged in from it within a month
	Sender   bool `json:"sender"`   // it has delivered on two days of the month, and done no wrong since
	Guesser  bool `json:"guesser"`  // it has guessed passwords within a day
	Offender bool `json:"offender"` // it has too many offences of a day, or too long a history
	Parole   bool `json:"parole"`   // its history is too long, but its last offence long ago
}

// Standings are the words for each.
var Standings = []string{"user", "sender", "guesser", "offender", "parole"}

// Is reports whether the standing is the one that the word says.
func (s Standing) Is(word string) bool { return slices.Contains(s.Words(), word) }

// Words gives the words for all that are true, in the order of Standings.
func (s Standing) Words() []string {
	words := []string{}
	for i, is := range []bool{s.User, s.Sender, s.Guesser, s.Offender, s.Parole} {
		if is {
			words = append(words, Standings[i])
		}
	}
	return words
}

// Proven reports whether the host is one that its behaviour speaks for.
func (s Standing) Proven() bool { return s.User || s.Sender }

// LastOffence is the last time at which the host did what it was not refused
// for anyway: what the firewall counts of a host that is refused are knocks.
func (r Row) LastOffence() time.Time { return later(r.Offence, r.HistoryPassed) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Standing judges the host as Exim does at a connection.
func (r Row) Standing(p Policy, now time.Time) Standing {
	within := func(t time.Time, d time.Duration) bool { return !t.IsZero() && now.Sub(t) < d }
	over := r.History > p.Threshold
	// A host whose logins fail with five different names has no login any more:
	// Exim sets that to 0.
	return Standing{
		User:    within(r.Login, Month),
		Guesser: within(r.Guesser, Day),
		Sender: within(r.Delivered, Month) && within(r.DeliveredBefore, Month) &&
			r.Delivered.After(r.Offence) && r.DeliveredBefore.After(r.Offence),
		Offender: over || r.Offences > p.RecentOffences && within(r.OffencesSince, Day),
		Parole:   over && p.Parole > 0 && !r.LastOffence().IsZero() && now.Sub(r.LastOffence()) > p.Parole,
	}
}
