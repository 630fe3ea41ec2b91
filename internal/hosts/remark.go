package hosts

import (
	"fmt"
	"time"
)

// A Remark says in words what a host's standing rests on.
type Remark struct {
	Standing string    `json:"standing"`       // one of Standings
	Since    time.Time `json:"since,omitzero"` // of a user or sender, the last time that it was earned again
	Until    time.Time `json:"until,omitzero"` // when it ends by itself, if nothing happens
	Because  string    `json:"because"`
	Change   string    `json:"change"` // what else would change it
}

// Offences are the words of offence_kind, in other words.
var offences = map[string]string{
	"helo":             "a HELO name that is refused",
	"no-tls":           "AUTH without TLS",
	"forged-auth":      "a malformed AUTH command",
	"auth-not-offered": "AUTH where it is not offered",
	"guesser":          "guessing passwords",
}

// Kind says in words what the host's last offence was.
func (r Row) Kind() string {
	if text, ok := offences[r.OffenceKind]; ok {
		return text
	}
	return "an offence"
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") + " UTC" }

// span spells a time of whole days as days.
func span(d time.Duration) string {
	if days := d / Day; days > 0 && d%Day == 0 {
		return fmt.Sprintf("%d days", days)
	}
	return d.String()
}

// Remarks tells of each standing that the host has what it rests on, since when
// and until when, and what would change it.
func (r Row) Remarks(p Policy, now time.Time) (all []Remark) {
	s := r.Standing(p, now)
	add := func(word string, since, until time.Time, because, change string) {
		all = append(all, Remark{word, since.UTC(), until.UTC(), because, change})
	}
	if s.User {
		add("user", r.Login, r.Login.Add(Month), "somebody has logged in from it",
			"it lasts 30 days from the last login; five different names that fail within an hour end it")
	}
	if s.Sender {
		add("sender", r.DeliveredBefore, r.DeliveredBefore.Add(Month), "it has delivered mail on two different days, and done no wrong since",
			"each day of delivery prolongs it; an offence ends it")
	}
	if s.Guesser {
		change := "it is refused for 24 hours"
		if s.User {
			change = "for 24 hours it is refused on 25, and on 465 and 587 only names are heard that have logged in from it before"
		}
		add("guesser", r.Guesser, r.Guesser.Add(Day), "too many different logins from it have failed", change)
	}
	if r.Offences > p.RecentOffences && r.OffencesSince.After(now.Add(-Day)) {
		add("offender", r.OffencesSince, r.OffencesSince.Add(Day),
			fmt.Sprintf("%d offences within 24 hours, the last %s: %s", r.Offences, stamp(r.Offence), r.Kind()),
			fmt.Sprintf("more than %d refuse it until 24 hours after the first", p.RecentOffences))
	}
	over := fmt.Sprintf("its history of %d is above the threshold of %d", r.History, p.Threshold)
	last := r.LastOffence()
	switch {
	case r.History <= p.Threshold:
	case s.Parole:
		add("parole", last.Add(p.Parole), time.Time{}, fmt.Sprintf("%s, but its last offence was long ago: %s", over, stamp(last)),
			"it is let in; its next offence refuses it at once for another "+span(p.Parole))
	case p.Parole == 0:
		add("offender", last, time.Time{}, over, "there is no parole (CONNECT_PAROLE is 0); only delete ends it")
	case last.IsZero():
		add("offender", last, time.Time{}, over, "sync is about to find out when its last offence was")
	default:
		add("offender", last, last.Add(p.Parole), over, fmt.Sprintf("it is let in on parole %s after its last offence; delete ends it at once", span(p.Parole)))
	}
	return all
}

// Prospect says of a host what would give it a standing.
func (r Row) Prospect(p Policy, now time.Time) string {
	recent := func(t time.Time) bool { return t.After(now.Add(-Month)) }
	switch {
	case recent(r.Delivered) && r.Delivered.After(r.Offence):
		return "accepted mail on one more day makes it a sender, and a login a user's host"
	case r.Offences > 0 && r.OffencesSince.After(now.Add(-Day)):
		return fmt.Sprintf("offences of the 24 hours since %s: %d; more than %d refuse it", stamp(r.OffencesSince), r.Offences, p.RecentOffences)
	}
	return "a login makes it a user's host, accepted mail on two days a sender"
}
