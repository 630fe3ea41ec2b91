package explain

import (
	"fmt"
	"strings"
	"testing"

	"symbiosis-connect-acl/internal/explain"
)

// What a host has earned is weighed by explain as by the door.
func TestStanding(t *testing.T) {
	t.Parallel()
	everySuite(t, func(t *testing.T, d *door) {
		const now, day = "strftime('%s','now')", 86400
		for i, tt := range []struct {
			who, columns, values string
			refused, standing    string // on which ports; words of what it is
		}{
			{"a history", "history, history_passed", "30, NOW-10*DAY", "25 465 587", "offender"},
			{"an old history", "history, history_passed", "30, NOW-89*DAY", "25 465 587", "offender"},
			{"on parole", "history, history_passed, history_last", "30, NOW-91*DAY, NOW", "", "parole"},
			{"an offence on parole", "history, history_passed, offence, offences, offences_since", "30, NOW-91*DAY, NOW-60, 1, NOW-60", "25 465 587", "offender"},
			{"nobody knows since when", "history", "30", "25 465 587", "offender"},
			{"a sender with a history", "history, history_passed, delivered, delivered_before", "100, NOW-5*DAY, NOW-3600, NOW-3*DAY", "465 587", "sender offender"},
			{"with too long a one", "history, history_passed, delivered, delivered_before", "101, NOW-5*DAY, NOW-3600, NOW-3*DAY", "25 465 587", "sender offender"},
			{"delivered once", "history, history_passed, delivered", "30, NOW-5*DAY, NOW-3600", "25 465 587", "offender"},
			{"an offence between", "history, history_passed, delivered, delivered_before, offence", "30, NOW-5*DAY, NOW-3600, NOW-3*DAY, NOW-2*DAY", "25 465 587", "offender"},
			{"three offences", "offence, offences, offences_since, offence_kind", "NOW-60, 3, NOW-3600, 'helo'", "", ""},
			{"four", "offence, offences, offences_since, offence_kind", "NOW-60, 4, NOW-3600, 'helo'", "25 465 587", "offender"},
			{"four, a day ago", "offence, offences, offences_since, offence_kind", "NOW-60, 4, NOW-DAY-60, 'helo'", "", ""},
			{"a user's four", "offence, offences, offences_since, offence_kind, login", "NOW-60, 4, NOW-3600, 'helo', NOW-DAY", "25", "user offender"},
			{"a guesser", "guesser", "NOW-3600", "25 465 587", "guesser"},
			{"a user's guesser", "guesser, login", "NOW-3600, NOW-DAY", "25", "user guesser"},
			{"a guesser of yesterday", "guesser", "NOW-DAY-60", "", ""},
			{"a user's history", "history, history_passed, login", "30, NOW-DAY, NOW-29*DAY", "25", "user offender"},
		} {
			host := fmt.Sprintf("5.6.7.%d", i+1)
			values := strings.NewReplacer("NOW", now, "DAY", fmt.Sprint(day)).Replace(tt.values)
			d.Root.Hosts("insert into host (net, first, last, " + tt.columns + ") values ('" + host + "', " + now + "-900, " + now + "-900, " + values + ");")
			r := d.agreed(t, host)
			if got := refused(r); got != tt.refused {
				t.Errorf("%s: explain says that it is refused on %q; want %q", tt.who, got, tt.refused)
			}
			var words []string
			for _, m := range r.Standing {
				words = append(words, m.Standing)
			}
			if got := strings.Join(words, " "); got != tt.standing {
				t.Errorf("%s: it is %q; want %q", tt.who, got, tt.standing)
			}
		}
		// Without parole, and with more offences allowed.
		d.with(func() { d.agree(t, "5.6.7.3"); d.agree(t, "5.6.7.11") }, "CONNECT_PAROLE == 0", "CONNECT_RECENT_OFFENCES == 4")
		d.with(func() {
			d.agree(t, "5.6.7.11")
			if v := rule(t, d.explain(t, "5.6.7.11"), "offences").Findings[0].Verdict; v != explain.WouldDeny {
				t.Errorf("a rule that learns says %q", v)
			}
		}, "CONNECT_STATE_OFFENCES == learn")
		for _, values := range []string{"CONNECT_RECENT_OFFENCES == few", "CONNECT_PAROLE == soon"} {
			d.with(func() { d.agree(t, "5.6.7.3"); d.agree(t, "5.6.7.11") }, values)
		}
		// A proven host has ten times the room, one that has delivered three times.
		d.with(func() {
			for host, tt := range map[string]struct {
				columns, values string
				room            float64
			}{
				"5.6.8.1": {"login", now + "-60", 50}, "5.6.8.2": {"delivered, delivered_before", now + "-60, " + now + "-86400", 50},
				"5.6.8.3": {"delivered", now + "-60", 15}, "5.6.8.4": {"greeted", now + "-60", 5},
			} {
				d.Root.Hosts("insert into host (net, rate, rate_at, " + tt.columns + ") values ('" + host + "', " + fmt.Sprint(tt.room-1.5) + ", " + now + ", " + tt.values + ");")
				for range 3 {
					d.agreeOn25(t, host)
				}
				r := d.explain(t, host)
				if rate := rule(t, r, "rate").Rate; rate == nil || rate.Limit != tt.room || refused(r) != "25" {
					t.Errorf("%s: %+v, refused on %q", host, rate, refused(r))
				}
			}
		}, "CONNECT_STATE_RATELIMIT == enforce", "CHECK_CONNECT_RATELIMIT == 5 / 15m")
	})
}
