package hosts

import (
	"strings"
	"testing"
	"time"
)

func TestStanding(t *testing.T) {
	now := time.Unix(1_800_000_000, 0).UTC()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	const day, h = Day, time.Hour
	for name, tt := range map[string]struct {
		row  Row
		want Standing
	}{
		"nobody":                           {Row{}, Standing{}},
		"a user":                           {Row{Login: ago(29 * day)}, Standing{User: true}},
		"a user of old":                    {Row{Login: ago(30 * day)}, Standing{}},
		"a user's host that guesses":       {Row{Login: ago(h), Guesser: ago(23 * h)}, Standing{User: true, Guesser: true}},
		"a day later":                      {Row{Login: ago(h), Guesser: ago(24 * h)}, Standing{User: true}},
		"delivered once":                   {Row{Delivered: ago(h)}, Standing{}},
		"a sender":                         {Row{Delivered: ago(h), DeliveredBefore: ago(29 * day)}, Standing{Sender: true}},
		"a sender of old":                  {Row{Delivered: ago(h), DeliveredBefore: ago(30 * day)}, Standing{}},
		"an offence before":                {Row{Delivered: ago(h), DeliveredBefore: ago(2 * day), Offence: ago(3 * day)}, Standing{Sender: true}},
		"an offence in between":            {Row{Delivered: ago(h), DeliveredBefore: ago(2 * day), Offence: ago(day)}, Standing{}},
		"an offence at that time":          {Row{Delivered: ago(h), DeliveredBefore: ago(2 * day), Offence: ago(2 * day)}, Standing{}},
		"three offences":                   {Row{Offences: 3, OffencesSince: ago(h)}, Standing{}},
		"four":                             {Row{Offences: 4, OffencesSince: ago(23 * h)}, Standing{Offender: true}},
		"four, a day ago":                  {Row{Offences: 4, OffencesSince: ago(day)}, Standing{}},
		"at the threshold":                 {Row{History: 10, HistoryPassed: ago(h)}, Standing{}},
		"over it":                          {Row{History: 12, HistoryPassed: ago(90 * day)}, Standing{Offender: true}},
		"over it, nobody knows since when": {Row{History: 12}, Standing{Offender: true}},
		"on parole":                        {Row{History: 12, HistoryLast: ago(h), HistoryPassed: ago(90*day + 1)}, Standing{Offender: true, Parole: true}},
		"an offence on parole":             {Row{History: 12, HistoryPassed: ago(200 * day), Offence: ago(h)}, Standing{Offender: true}},
	} {
		if got := tt.row.Standing(Defaults, now); got != tt.want {
			t.Errorf("%s: %+v, not %+v", name, got, tt.want)
		}
	}
	never := Defaults
	never.Parole = 0
	if s := (Row{History: 12, HistoryPassed: ago(999 * day)}).Standing(never, now); s.Parole {
		t.Error("on parole, which is switched off")
	}
}

// Each word has its remark, with the times that its rule goes by.
func TestRemarks(t *testing.T) {
	now := time.Unix(1_800_000_000, 0).UTC()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, tt := range map[string]struct {
		row   Row
		words string
	}{
		"nobody":           {Row{}, ""},
		"a user":           {Row{Login: ago(Day)}, "user"},
		"all good":         {Row{Login: ago(Day), Delivered: ago(Day), DeliveredBefore: ago(2 * Day)}, "user sender"},
		"a user's guesser": {Row{Login: ago(Day), Guesser: ago(time.Hour)}, "user guesser"},
		"four offences":    {Row{Offence: ago(time.Minute), OffenceKind: "helo", Offences: 4, OffencesSince: ago(time.Hour)}, "offender"},
		"a history":        {Row{History: 12, HistoryPassed: ago(Day)}, "offender"},
		"both":             {Row{History: 12, HistoryPassed: ago(Day), Offences: 4, OffencesSince: ago(time.Hour)}, "offender offender"},
		"parole":           {Row{History: 12, HistoryPassed: ago(91 * Day)}, "parole"},
	} {
		var got []string
		for _, m := range tt.row.Remarks(Defaults, now) {
			got = append(got, m.Standing)
			if m.Because == "" || m.Change == "" || m.Since.IsZero() || m.Since.After(now) || !m.Until.IsZero() && !m.Until.After(now) {
				t.Errorf("%s: %+v", name, m)
			}
			if !tt.row.Standing(Defaults, now).Is(m.Standing) {
				t.Errorf("%s: a remark about %s, which it is not", name, m.Standing)
			}
		}
		if strings.Join(got, " ") != tt.words {
			t.Errorf("%s: %v, not %s", name, got, tt.words)
		}
	}
}

func TestPolicyOf(t *testing.T) {
	day := 24 * time.Hour
	for _, tt := range []struct {
		macros map[string]string
		want   Policy
	}{
		{nil, Defaults},
		{map[string]string{"SYMBIOSIS_INCIDENT_THRESHOLD": "30", "CONNECT_RECENT_OFFENCES": "5", "CONNECT_PAROLE": "4w"}, Policy{30, true, 5, 28 * day}},
		{map[string]string{"SYMBIOSIS_INCIDENT_THRESHOLD": "-1", "CONNECT_RECENT_OFFENCES": "", "CONNECT_PAROLE": "never"}, Policy{NoLimit, true, NoLimit, 0}},
		{map[string]string{"CONNECT_PAROLE": "0", "CONNECT_STATE_SUITE": "learn"}, Policy{10, false, 3, 0}},
		{map[string]string{"CONNECT_STATE_HISTORY": "off"}, Policy{10, false, 3, 90 * day}},
	} {
		if got := PolicyOf(tt.macros); got != tt.want {
			t.Errorf("%v: %+v, not %+v", tt.macros, got, tt.want)
		}
	}
}

// What somebody gains who wants to look good: docs/standing.md has the table.
func TestCheapProof(t *testing.T) {
	now := time.Date(2026, 6, 2, 0, 5, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, tt := range map[string]struct {
		row  Row
		want string
	}{
		"mail to oneself":                  {Row{Delivered: ago(time.Minute)}, ""},
		"twice, around midnight":           {Row{Delivered: ago(time.Minute), DeliveredBefore: ago(10 * time.Minute)}, "sender"},
		"and then an offence":              {Row{Delivered: ago(2 * time.Minute), DeliveredBefore: ago(10 * time.Minute), Offence: ago(time.Minute)}, ""},
		"an offence on the day between":    {Row{Delivered: ago(time.Minute), DeliveredBefore: ago(3 * Day), Offence: ago(Day)}, ""},
		"a stolen account":                 {Row{Login: ago(time.Minute)}, "user"},
		"and then ten guesses":             {Row{Login: ago(time.Minute), Guesser: now}, "user guesser"},
		"and then five names":              {Row{Guesser: now}, "guesser"}, // Exim has set login to 0
		"patience":                         {Row{History: 30, HistoryPassed: ago(91 * Day)}, "offender parole"},
		"patience with knocks":             {Row{History: 3000, HistoryPassed: ago(91 * Day), HistoryLast: ago(time.Minute)}, "offender parole"},
		"patience, and then one offence":   {Row{History: 33, HistoryPassed: ago(91 * Day), Offence: ago(time.Minute)}, "offender"},
		"three closed before the greeting": {Row{Lost: 3, LostSince: ago(time.Minute)}, ""},
	} {
		if got := strings.Join(tt.row.Standing(Defaults, now).Words(), " "); got != tt.want {
			t.Errorf("%s: %q, not %q", name, got, tt.want)
		}
	}
}
