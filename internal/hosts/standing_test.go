package hosts

import (
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
		"a user's host that bots use":      {Row{Login: ago(h), Guesser: ago(23 * h)}, Standing{Guesser: true}},
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
