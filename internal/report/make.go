package report

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/eximlog"
	"symbiosis-connect-acl/internal/hosts"
)

// shown is how many of many are in a report.
const shown = 20

// Make makes the report of what a tally has. It changes nothing.
func Make(ctx context.Context, t *Tally, o Options) (*Report, error) {
	r := &Report{Server: o.Server, Since: o.Since, Until: o.Until, Made: o.Now, Hours: t.hours}
	if t.first != 0 {
		r.First, r.Last = time.Unix(t.first, 0), time.Unix(t.last, 0)
	}
	r.Standing.Threshold = o.Policy.Threshold
	if o.Hosts != "" {
		err := hosts.With(o.Hosts, func(d *hosts.DB) error { return r.join(ctx, t, d, o) })
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil && ctx.Err() != nil:
			return nil, err
		case err != nil: // the log is still worth a report
			r.Problems = append(r.Problems, err.Error())
		}
	}
	r.count(t)
	r.worry(t, o)
	r.learn(t, o)
	r.networks(t)
	if o.Names {
		r.accounts(t)
	}
	r.guesses(t)
	if err := r.lists(t, o); err != nil {
		return nil, err
	}
	r.rates(t, o)
	r.files(o)
	r.advise(o)
	return r, nil
}

// join marks the hosts of the log with what hosts.db knows, and counts them all.
func (r *Report) join(ctx context.Context, t *Tally, d *hosts.DB, o Options) error {
	s := &r.Standing
	s.youngest = -1
	for row, err := range d.All(ctx) {
		if err != nil {
			return err
		}
		if !row.Key.IsValid() {
			continue
		}
		st := row.Standing(o.Policy, o.Now)
		s.Hosts++
		var is flags
		for _, x := range []struct {
			yes bool
			is  flags
			n   *int64
		}{
			{st.User, user, &s.Users}, {st.Sender, sender, &s.Senders}, {st.Guesser, guesser, &s.Guessers},
			{st.Offender, offender, &s.Offenders}, {st.Parole, parole, &s.Parole},
		} {
			if x.yes {
				is |= x.is
				*x.n++
			}
		}
		if st.Proven() {
			s.Highest = max(s.Highest, row.History)
			need := row.History // the lowest threshold that lets it in everywhere
			if st.Sender {
				need = (need + hosts.SenderFactor - 1) / hosts.SenderFactor
			}
			s.Needed = max(s.Needed, need)
			if need > o.Policy.Threshold && !st.Parole {
				s.Over++
				if last := row.LastOffence(); !last.IsZero() {
					if age := o.Now.Sub(last); s.youngest < 0 || age < s.youngest {
						s.youngest = age
					}
				}
			}
		}
		n, ok := t.find(row.Key.Prefix().Addr(), false)
		if !ok {
			continue
		}
		h := t.at(n)
		h.is |= is | inDatabase
		if !row.Delivered.IsZero() { // from before the period, perhaps
			at := uint32(row.Delivered.Unix())
			h.lastDelivered = max(h.lastDelivered, at)
			if before := row.DeliveredBefore; !before.IsZero() {
				at = uint32(before.Unix())
			}
			if h.firstDelivered == 0 || at < h.firstDelivered {
				h.firstDelivered = at
			}
		}
	}
	return nil
}

func (r *Report) count(t *Tally) {
	rules := map[eximlog.Rule]*Counts{}
	ports := map[int]*Counts{}
	days := map[int32]*Day{}
	for k, c := range t.cells {
		n := Counts{c.refused, c.putOff, c.would, c.delays}
		if rules[k.rule] == nil {
			rules[k.rule] = new(Counts)
		}
		if ports[int(k.port)] == nil {
			ports[int(k.port)] = new(Counts)
		}
		if days[k.day] == nil {
			days[k.day] = &Day{Day: time.Unix(int64(k.day)*86400, 0).UTC().Format(time.DateOnly)}
		}
		rules[k.rule].add(n)
		ports[int(k.port)].add(n)
		d := days[k.day]
		d.Total.add(n)
		d.Rules = append(d.Rules, Cell{k.rule.String(), int(k.port), n})
		r.Totals.Refused += n.Refused
		r.Totals.PutOff += n.PutOff
		r.Totals.Would += n.Would
		r.Totals.Delays += n.Delays
	}
	r.Rules, r.Ports, r.Days = []RuleCount{}, []PortCount{}, []Day{}
	for rule := range eximlog.Rules {
		if c := rules[rule]; c != nil {
			r.Rules = append(r.Rules, RuleCount{rule.String(), *c})
		}
	}
	for port, c := range ports {
		r.Ports = append(r.Ports, PortCount{port, *c})
	}
	slices.SortFunc(r.Ports, func(a, b PortCount) int { return cmp.Compare(a.Port, b.Port) })
	for _, d := range days {
		slices.SortFunc(d.Rules, func(a, b Cell) int { return cmp.Or(strings.Compare(a.Rule, b.Rule), cmp.Compare(a.Port, b.Port)) })
		r.Days = append(r.Days, *d)
	}
	slices.SortFunc(r.Days, func(a, b Day) int { return strings.Compare(a.Day, b.Day) })
	r.fillDays()
	r.Totals.Spared, r.Totals.FailedLogins = t.spared, t.failed
	for _, s := range t.skipped {
		r.Totals.Skipped += s.times
	}
	t.all(func(_ uint32, h *host) {
		if h.firstRefused != 0 {
			r.Totals.Hosts++
		}
	})
}

// fillDays adds the days on which nothing happened, so that a row of days is one.
func (r *Report) fillDays() {
	if len(r.Days) < 2 {
		return
	}
	day, _ := time.Parse(time.DateOnly, r.Days[0].Day)
	var all []Day
	for i := 0; i < len(r.Days) && len(all) < 4000; day = day.AddDate(0, 0, 1) {
		name := day.Format(time.DateOnly)
		if r.Days[i].Day == name {
			all = append(all, r.Days[i])
			i++
		} else {
			all = append(all, Day{Day: name, Rules: []Cell{}})
		}
	}
	r.Days = all
}
