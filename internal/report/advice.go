package report

import (
	"fmt"
	"math"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/rules"
	"symbiosis-connect-acl/internal/words"
)

// advise says which numbers would have refused or put off none of the proven
// hosts in the period.
func (r *Report) advise(o Options) {
	r.Advice = []Advice{}
	say := func(about, text, line string) { r.Advice = append(r.Advice, Advice{about, text, line}) }

	proven := int64(0)
	for _, b := range r.Rates.Buckets {
		proven += b.Proven
	}
	switch least := max(math.Floor(r.Rates.Highest)+1, 2); {
	case proven == 0:
		say("rate", "No proven host connected in the period: keep the limit.", "")
	case least > o.Limit:
		say("rate", fmt.Sprintf("The busiest of %s reached %.1f in %s, the limit is %g. The lowest that puts none of them off is %.0f.",
			words.Plural(proven, "proven host"), r.Rates.Highest, o.Period, o.Limit, least), fmt.Sprintf("%s == %.0f / %s", rules.Ratelimit, least, o.Period))
	default:
		say("rate", fmt.Sprintf("The busiest of %s reached %.1f in %s. The limit of %g puts none of them off; %.0f is the lowest that would not either.",
			words.Plural(proven, "proven host"), r.Rates.Highest, o.Period, o.Limit, least), "")
	}

	switch s := r.Standing; {
	case s.Threshold >= hosts.NoLimit:
		say("threshold", "The threshold in force is no number that the rule can use, so a history refuses nobody.", rules.Threshold+" == 10")
	case s.Over > 0:
		say("threshold", fmt.Sprintf("A history keeps %s out; the highest is %d, the threshold %d (for senders ten times that). The lowest that keeps out none:",
			words.Plural(s.Over, "proven host"), s.Highest, s.Threshold), fmt.Sprintf("%s == %d", rules.Threshold, s.Needed))
	default:
		say("threshold", fmt.Sprintf("A history keeps no proven host out: the highest is %d, the threshold %d (for senders ten times that). Keep it.", s.Highest, s.Threshold), "")
	}
	s := r.Standing
	if days := int((s.youngest - time.Second) / (24 * time.Hour)); s.Over > 0 && s.youngest > 0 && days >= 1 && time.Duration(days)*24*time.Hour < o.Policy.Parole {
		say("memory", fmt.Sprintf("Their last offences are %s old or older. With so short a memory they would all be let in:", words.Plural(days, "day")),
			fmt.Sprintf("%s == %dd", rules.Parole, days))
	}
	r.adviseLists(o, say)
}

// enough is how many times it takes to say that a list adds nothing.
const enough = 20

// adviseLists says which lists to drop.
func (r *Report) adviseLists(o Options, say func(about, text, line string)) {
	if len(o.Lists) == 0 {
		return
	}
	count := map[string]ListCount{}
	for _, l := range r.Lists {
		count[l.List] = l
	}
	var keep, drop []string
	hidden := false
	for _, l := range o.Lists {
		name := l.DisplayName()
		c := count[name]
		hidden = hidden || name != l.Zone
		switch {
		case c.Failed >= enough && c.Refused+c.Would == 0:
			drop = append(drop, fmt.Sprintf("%s did not answer %d times and decided nothing", name, c.Failed))
		case l.Weight > 0 && r.Asked >= enough && c.Alone == 0:
			drop = append(drop, fmt.Sprintf("of %d hosts that were refused, %s names none that no other list names", r.Asked, name))
		default:
			keep = append(keep, l.String())
		}
	}
	switch {
	case len(drop) == 0 && o.Ask == nil:
		say("lists", "No list is dead. With --dnsbl the report asks which of them adds nothing of its own.", "")
	case len(drop) == 0 && r.Asked < enough:
		say("lists", fmt.Sprintf("The lists refused %s: too few to say which adds nothing of its own.", words.Plural(r.Asked, "host")), "")
	case len(drop) == 0:
		say("lists", "Every list names hosts that no other does: keep them.", "")
	case hidden || len(keep) == 0: // the line would lack a key
		say("lists", strings.Join(drop, "; ")+". Drop such a list from "+rules.ConnectLists+".", "")
	default:
		say("lists", strings.Join(drop, "; ")+".", rules.ConnectLists+" == "+strings.Join(keep, " : "))
	}
}
