package explain

import (
	"math"
	"strconv"
	"strings"

	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/rules"
)

func (e *examiner) ratelimit() Rule {
	r, ask := e.rule("rate", snippetRatelimit, rules.StateRatelimit, rules.PortsRatelimit)
	if !any3(ask) {
		return r
	}
	if e.noRow != "" {
		r.set(ask, e.forgets())
		r.tell("rate not known: %s", e.noRow)
		return r
	}
	setting := e.value(rules.Ratelimit)
	valid := e.ask(askLimit, e.rateValid())[0]
	limit, period, _ := strings.Cut(setting, "/")
	period = strings.TrimSpace(period)
	most, err := strconv.ParseFloat(strings.TrimSpace(limit), 64)
	if valid.text != "yes" || err != nil {
		r.set(ask, Skipped)
		r.tell("%s", unfit(rules.Ratelimit, setting))
		return r
	}
	now, why := clock.Now(), ""
	switch s := e.row.Standing(hosts.PolicyOf(e.macros), now); {
	case s.User:
		most, why = 10*most, ", ten times as many as a stranger, because it is a user's host"
	case s.Sender:
		most, why = 10*most, ", ten times as many as a stranger, because it is a sender"
	case within(e.row.Delivered, month):
		most, why = 3*most, ", three times as many as a stranger, because it has delivered mail"
	}
	// Each connection counts less the longer ago it was, and after a period no
	// more.
	left := math.Max(0, 1-math.Max(0, float64(now.Unix()-e.row.RateAt.Unix()))/rules.Seconds(period))
	rate := Rate{Limit: most, Period: period, Last: e.row.RateAt}
	if !e.row.RateAt.IsZero() {
		rate.Now = e.row.Rate * left
	}
	rate.Next = rate.Now + 1
	r.Rate = &rate
	if rate.Last.IsZero() {
		r.tell("no connection remembered; put off above %s / %s%s", trim(most), period, why)
	} else {
		r.tell("%.1f / %s now, %.1f with the next connection, last %s; put off above %s%s", rate.Now, period, rate.Next, stamp(rate.Last), trim(most), why)
	}
	if r.State == rules.Measure || rate.Next <= most {
		r.set(ask, Pass)
	} else {
		r.set(ask, Defer)
	}
	return r
}

func trim(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
