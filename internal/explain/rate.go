package explain

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/rules"
)

// remembered is an average in Exim's hints database.
type remembered struct {
	rate float64
	at   time.Time
}

// readRates reads what Exim remembers about the host, with Exim's own tool.
func (e *examiner) readRates() {
	e.rates = map[string]remembered{}
	a := e.ask(askLimit, questionSpool)[0]
	if a.failed() {
		e.noRates = a.text
		return
	}
	spool := a.text
	db := filepath.Join(spool, "db")
	if _, err := os.Stat(filepath.Join(e.Root, db, "ratelimit")); errors.Is(err, fs.ErrNotExist) {
		return // nobody has been counted yet
	} else if err != nil {
		e.noRates = err.Error()
		return
	}
	const tool = "/usr/sbin/exim_dumpdb"
	if _, err := os.Stat(filepath.Join(e.Root, tool)); err != nil {
		e.noRates = tool + " is not installed (it is in exim4-base)"
		return
	}
	out, err := e.asExim(askLimit, "/usr/bin/env", "TZ=UTC", tool, spool, "ratelimit")
	if err != nil {
		e.noRates = err.Error()
		return
	}
	net := strings.TrimSuffix(e.key.String(), "/64")
	for _, line := range strings.Split(out, "\n") {
		// 23-Nov-2026 13:42:47.272229 rate:      3.000 key: 15m/per_conn/connect-192.0.2.1
		when, rest, ok := strings.Cut(line, " rate: ")
		value, key, ok2 := strings.Cut(rest, " key: ")
		if !ok || !ok2 || !strings.HasSuffix(key, "-"+net) {
			continue
		}
		at, err := time.Parse("02-Jan-2006 15:04:05", strings.TrimSpace(when))
		if err != nil {
			continue
		}
		rate, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			continue
		}
		e.rates[strings.TrimSuffix(key, net)] = remembered{rate, at}
	}
}

// rate gives the average of one kind of event, such as "15m/per_conn/connect-",
// now and with count more events, by the formula in Exim's manual: an average
// that sinks exponentially with the period as its time constant.
func (e *examiner) rate(period, what string, count float64, now time.Time) Rate {
	r := Rate{Next: count, Period: period}
	m, ok := e.rates[period+"/"+what]
	p := rules.Seconds(period)
	if !ok || p <= 0 {
		return r
	}
	r.Last = m.at
	// As Exim does, do not divide by zero and do not go back in time.
	x := math.Max(now.Sub(m.at).Seconds(), 1e-9) / p
	a := math.Exp(-x)
	r.Now = a * m.rate
	r.Next = math.Max((1-a)*count/x+a*m.rate, count)
	return r
}
