// Package report tells what happened at the door in a period: whom the rules
// turned away, whether anybody innocent was among them, and which number to
// change. It adds up Exim's log (internal/eximlog) and what hosts.db knows, and
// writes the result as text, JSON, a page or metrics.
package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/dnsbl"
	"symbiosis-connect-acl/internal/eximlog"
	"symbiosis-connect-acl/internal/firewall"
	"symbiosis-connect-acl/internal/hosts"
)

// A Report is what is told, in its order.
type Report struct {
	Server   string    `json:"server"`
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until"`
	Made     time.Time `json:"made"`
	First    time.Time `json:"first_event"` // zero when there was none
	Last     time.Time `json:"last_event"`
	Logs     []string  `json:"logs"`
	Problems []string  `json:"problems"` // what could not be read
	Totals   Totals    `json:"totals"`

	Worry Worry `json:"worry"`

	Rules    []RuleCount  `json:"rules"`
	Days     []Day        `json:"days"`
	Ports    []PortCount  `json:"ports"`
	Hours    [7][24]int64 `json:"hours"` // refused or put off; Monday first, local time
	Learn    Learn        `json:"learn"`
	Networks []Network    `json:"worst_networks"`
	Accounts *Accounts    `json:"accounts,omitempty"` // nil where names are not wanted
	Guesses  Guesses      `json:"guesses"`
	Reaction Reaction     `json:"reaction"`
	Lists    []ListCount  `json:"lists"`
	Rates    Rates        `json:"rates"`
	Standing Standing     `json:"standing"`
	Advice   []Advice     `json:"advice"`

	Databases []Database `json:"databases"`
	LastScan  time.Time  `json:"last_scan"` // when the firewall's database was last written; zero where there is none
	Blocked   Blocked    `json:"firewall"`
}

// Totals are of the whole period.
type Totals struct {
	Refused      int64 `json:"refused"`
	PutOff       int64 `json:"put_off"`
	Would        int64 `json:"would"` // by rules in learn mode
	Delays       int64 `json:"would_delay"`
	Spared       int64 `json:"spared"` // proven hosts that a history did not keep out
	FailedLogins int64 `json:"failed_logins"`
	Skipped      int64 `json:"skipped_checks"`
	Hosts        int64 `json:"hosts"` // that were refused or put off
}

// Worry is what to look at first.
type Worry struct {
	Hosts   Some[HostLine] `json:"hosts"`         // refused or put off, and something speaks for them
	Users   Some[HostLine] `json:"users_put_off"` // users' hosts that met 454
	Skipped []Skipped      `json:"skipped"`
	Dead    []DeadList     `json:"dead_lists"`
}

// Some are the first of many.
type Some[T any] struct {
	All   int64 `json:"all"`
	First []T   `json:"first"`
}

// A HostLine is one host.
type HostLine struct {
	Host      string    `json:"host"`
	Refused   int64     `json:"refused"`
	PutOff    int64     `json:"put_off"`
	Would     int64     `json:"would"`
	Rules     []string  `json:"rules"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	Delivered int64     `json:"delivered"`
	For       []string  `json:"for"` // what speaks for it
	Command   string    `json:"command"`
}

// Skipped is one reason for which a check was not made.
type Skipped struct {
	Check   string    `json:"check"`
	Reason  string    `json:"reason"`
	Times   int64     `json:"times"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	Command string    `json:"command"`
}

// A DeadList is a DNS list that gave no answer.
type DeadList struct {
	List    string    `json:"list"`
	Times   int64     `json:"times"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	Command string    `json:"command"`
}

// Counts are numbers of refusals.
type Counts struct {
	Refused int64 `json:"refused"`
	PutOff  int64 `json:"put_off"`
	Would   int64 `json:"would"`
	Delays  int64 `json:"would_delay"`
}

func (c *Counts) add(d Counts) {
	c.Refused, c.PutOff, c.Would, c.Delays = c.Refused+d.Refused, c.PutOff+d.PutOff, c.Would+d.Would, c.Delays+d.Delays
}

// Stopped is how often a host was refused or put off.
func (c Counts) Stopped() int64 { return c.Refused + c.PutOff }

// A RuleCount is one rule's part.
type RuleCount struct {
	Rule string `json:"rule"`
	Counts
}

// A PortCount is one port's part; 0 is what the log does not say.
type PortCount struct {
	Port int `json:"port"`
	Counts
}

// A Day is one day's part, by local time.
type Day struct {
	Day   string `json:"day"`
	Total Counts `json:"total"`
	Rules []Cell `json:"rules"`
}

// A Cell is what a rule did on a port.
type Cell struct {
	Rule string `json:"rule"`
	Port int    `json:"port"`
	Counts
}

// Learn is what rules in learn mode would have done.
type Learn struct {
	Hosts     int64          `json:"hosts"`
	Delivered Some[HostLine] `json:"delivered"` // of them, those whose mail was accepted
}

// A Network is a /24 or /48.
type Network struct {
	Net     string `json:"net"`
	Refused int64  `json:"refused"` // or put off
	Hosts   int64  `json:"hosts"`
}

// Accounts are those under attack.
type Accounts struct {
	Worst   []Account `json:"worst"`
	Known   int64     `json:"known"`
	AtLeast bool      `json:"at_least"` // there were more than are counted
}

// An Account is one name that was tried.
type Account struct {
	Name  string `json:"name"`
	Tries int64  `json:"tries"`
	Hosts int64  `json:"hosts"`
}

// Guesses are failed logins of hosts that were refused for them, or for their
// history, before that happened.
type Guesses struct {
	Hosts     int64 `json:"hosts"` // that failed to log in and were then refused
	Before    int64 `json:"before"`
	Median    int64 `json:"median"`
	Most      int64 `json:"most"`
	Unstopped int64 `json:"unstopped_hosts"` // failed to log in, and met no refusal for it
	Their     int64 `json:"unstopped_guesses"`
}

// Reaction is the time from a host's first offence in the log to its first
// refusal for what it had done, in seconds.
type Reaction struct {
	Hosts   int64 `json:"hosts"`
	Median  int64 `json:"median_seconds"`
	Nine    int64 `json:"p90_seconds"` // of nine hosts in ten
	Longest int64 `json:"longest_seconds"`
}

// A ListCount is what one DNS list decided. The log names the list that decided
// and the sum of all.
type ListCount struct {
	List    string `json:"list"`
	Refused int64  `json:"refused"`
	Would   int64  `json:"would"`
	Alone   int64  `json:"alone"` // no other list named the host
	Failed  int64  `json:"failed"`
}

// Rates are the highest rates of hosts, as the rate rule counts.
type Rates struct {
	Limit    float64  `json:"limit"` // in force
	Period   string   `json:"period"`
	Measured bool     `json:"measured"` // from the rate rule; otherwise from the messages of each host
	Highest  float64  `json:"highest_proven"`
	Buckets  []Bucket `json:"buckets"`
}

// A Bucket is how many hosts have a highest rate over From and up to To.
type Bucket struct {
	From   float64 `json:"from"`
	To     float64 `json:"to"`
	Proven int64   `json:"proven"`
	Others int64   `json:"others"`
}

// Standing is how many hosts of hosts.db there are of each kind.
type Standing struct {
	Hosts     int64 `json:"hosts"`
	Users     int64 `json:"users"`
	Senders   int64 `json:"senders"`
	Guessers  int64 `json:"guessers"`
	Offenders int64 `json:"offenders"`
	Parole    int64 `json:"parole"`
	Highest   int64 `json:"highest_proven_history"`
	Over      int64 `json:"proven_over_threshold"`
	Threshold int64 `json:"threshold"`

	youngest time.Duration // of proven hosts over the threshold: since their last offence
}

// Advice is one number to change, or why not.
type Advice struct {
	About string `json:"about"`
	Text  string `json:"text"`
	Line  string `json:"line,omitempty"` // for 22-connect-check-local
}

// A Database is one file.
type Database struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// Blocked is what stands in blacklist.d.
type Blocked struct {
	Automatic int64 `json:"automatic"`
	Manual    int64 `json:"manual"`
}

// Options are what a report is made from.
type Options struct {
	Server       string
	Since, Until time.Time
	Now          time.Time
	Names        bool                      // whether names of accounts are wanted
	Policy       hosts.Policy              // in force
	Limit        float64                   // the rate limit in force
	Period       string                    // its period
	Lists        []dnsbl.List              // that are asked on port 25
	ListsSum     int                       // at which a host is refused
	LocalSnippet string                    // where macros are set
	Listed       func(netip.Prefix) string // names the white list that has a host, "" for none; may be nil
	Commands     string                    // our commands begin with it: symbiosis-connect

	Hosts     string   // hosts.db; "" for none
	Firewalls []string // the firewalls' databases
	Blacklist firewall.Entries
}

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
			if row.History > o.Policy.Threshold {
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

func (t *Tally) line(n uint32) HostLine {
	h := t.at(n)
	l := HostLine{Host: h.address().String(), Refused: int64(h.refused), PutOff: int64(h.putOff), Would: int64(h.would), Delivered: int64(h.delivered),
		First: time.Unix(int64(h.firstRefused), 0), Last: time.Unix(int64(h.lastRefused), 0), Rules: []string{}, For: []string{}}
	bits := h.rules
	if h.firstRefused == 0 {
		bits, l.First, l.Last = h.wouldBe, time.Unix(int64(h.firstWould), 0), time.Unix(int64(h.firstWould), 0)
	}
	for rule := range eximlog.Rules {
		if bits>>rule&1 != 0 {
			l.Rules = append(l.Rules, rule.String())
		}
	}
	return l
}

// speaksFor gives what speaks for a host that was refused or put off.
func (t *Tally) speaksFor(h *host, listed string) []string {
	var all []string
	if h.is&user != 0 || h.lastLogin != 0 {
		all = append(all, "a user has logged in from it")
	}
	if h.is&sender != 0 {
		all = append(all, "a proven sender")
	}
	if h.firstDelivered != 0 && h.firstDelivered < h.lastRefused {
		all = append(all, "delivered before")
	}
	if h.lastDelivered > h.firstRefused {
		all = append(all, "delivered after")
	}
	if listed != "" {
		all = append(all, "in "+listed)
	}
	return all
}

func first[T any](all []T) Some[T] {
	s := Some[T]{All: int64(len(all)), First: all[:min(len(all), shown)]}
	if s.First == nil {
		s.First = []T{}
	}
	return s
}

// firstHosts makes lines of the first of the hosts.
func (t *Tally) firstHosts(ns []uint32, finish func(*HostLine, *host)) Some[HostLine] {
	s := Some[HostLine]{All: int64(len(ns)), First: []HostLine{}}
	for _, n := range ns[:min(len(ns), shown)] {
		l := t.line(n)
		finish(&l, t.at(n))
		s.First = append(s.First, l)
	}
	return s
}

func byRefusals(a, b *host) int {
	return cmp.Or(cmp.Compare(b.refused+b.putOff, a.refused+a.putOff), cmp.Compare(a.firstRefused, b.firstRefused), cmp.Compare(a.key, b.key))
}

func (r *Report) worry(t *Tally, o Options) {
	listed := func(h *host) string {
		if o.Listed == nil {
			return ""
		}
		return o.Listed(h.address().Prefix())
	}
	w := &r.Worry
	ns := t.sortedBy(func(h *host) bool {
		return h.firstRefused != 0 && len(t.speaksFor(h, listed(h))) > 0
	}, byRefusals)
	w.Hosts = t.firstHosts(ns, func(l *HostLine, h *host) {
		in := listed(h)
		if l.For = t.speaksFor(h, in); in != "" {
			l.Command = o.Commands + "-check explain " + hostArgument(h.address())
		} else {
			l.Command = "echo " + hostArgument(h.address()) + " >> /etc/exim4/whitelist_connect_hosts"
		}
	})
	ns = t.sortedBy(func(h *host) bool { return h.met454 > 0 && h.proven() }, byRefusals)
	w.Users = t.firstHosts(ns, func(l *HostLine, h *host) {
		l.For = t.speaksFor(h, "")
		l.Command = o.Commands + "-db show " + hostArgument(h.address())
	})
	w.Skipped, w.Dead = []Skipped{}, []DeadList{}
	for k, s := range t.skipped {
		w.Skipped = append(w.Skipped, Skipped{k.check, k.why, s.times, time.Unix(s.first, 0), time.Unix(s.last, 0), o.Commands + "-setup check"})
	}
	slices.SortFunc(w.Skipped, func(a, b Skipped) int {
		return cmp.Or(cmp.Compare(b.Times, a.Times), strings.Compare(a.Check+a.Reason, b.Check+b.Reason))
	})
	for zone, s := range t.dead {
		w.Dead = append(w.Dead, DeadList{zone, s.times, time.Unix(s.first, 0), time.Unix(s.last, 0), o.Commands + "-check explain 127.0.0.2"})
	}
	slices.SortFunc(w.Dead, func(a, b DeadList) int { return cmp.Or(cmp.Compare(b.Times, a.Times), strings.Compare(a.List, b.List)) })
}

// hostArgument spells a host for a command line.
func hostArgument(k address.Key) string { return k.String() }

func (r *Report) learn(t *Tally, o Options) {
	t.all(func(_ uint32, h *host) {
		if h.would > 0 {
			r.Learn.Hosts++
		}
	})
	ns := t.sortedBy(func(h *host) bool { return h.would > 0 && h.delivered > 0 }, func(a, b *host) int {
		return cmp.Or(cmp.Compare(b.delivered, a.delivered), cmp.Compare(a.key, b.key))
	})
	r.Learn.Delivered = t.firstHosts(ns, func(l *HostLine, h *host) {
		l.Rules = []string{}
		for rule := range eximlog.Rules {
			if h.wouldBe>>rule&1 != 0 {
				l.Rules = append(l.Rules, rule.String())
			}
		}
		l.Command = o.Commands + "-check explain " + hostArgument(h.address())
	})
}

// networks finds the ten with the most refusals: /24s and /48s.
func (r *Report) networks(t *Tally) {
	of := func(h *host) (key uint64, v6 bool) {
		if h.is&isV6 != 0 {
			return h.key >> 16, true
		}
		return h.key >> 8, false
	}
	ns := t.sortedBy(func(h *host) bool { return h.firstRefused != 0 }, func(a, b *host) int {
		return cmp.Or(cmp.Compare(a.is&isV6, b.is&isV6), cmp.Compare(a.key, b.key))
	})
	var worst []Network
	for i := 0; i < len(ns); {
		h := t.at(ns[i])
		key, v6 := of(h)
		n := Network{}
		for ; i < len(ns); i++ {
			h := t.at(ns[i])
			if k, is6 := of(h); k != key || is6 != v6 {
				break
			}
			n.Hosts++
			n.Refused += int64(h.refused) + int64(h.putOff)
		}
		if len(worst) == 10 && n.Refused <= worst[9].Refused {
			continue
		}
		bits := 24
		if v6 {
			bits = 48
		}
		n.Net = netip.PrefixFrom(h.address().Prefix().Addr(), bits).Masked().String()
		worst = append(worst, n)
		slices.SortStableFunc(worst, func(a, b Network) int { return cmp.Compare(b.Refused, a.Refused) })
		worst = worst[:min(len(worst), 10)]
	}
	if r.Networks = worst; worst == nil {
		r.Networks = []Network{}
	}
}

func (r *Report) accounts(t *Tally) {
	a := &Accounts{Worst: []Account{}, Known: int64(len(t.names)), AtLeast: t.tooMany}
	for name, c := range t.names {
		a.Worst = append(a.Worst, Account{name, int64(c.tries), int64(c.hosts)})
	}
	slices.SortFunc(a.Worst, func(a, b Account) int { return cmp.Or(cmp.Compare(b.Tries, a.Tries), strings.Compare(a.Name, b.Name)) })
	a.Worst = a.Worst[:min(len(a.Worst), 10)]
	r.Accounts = a
}

func (r *Report) guesses(t *Tally) {
	var before, took []int64
	t.all(func(_ uint32, h *host) {
		if h.guesses > 0 && h.firstStopped != 0 && h.guessesBefore > 0 {
			before = append(before, int64(h.guessesBefore))
			r.Guesses.Before += int64(h.guessesBefore)
		} else if h.guesses > 0 && h.firstStopped == 0 && h.lastLogin == 0 && h.is&user == 0 {
			r.Guesses.Unstopped++
			r.Guesses.Their += int64(h.guesses)
		}
		if h.firstOffence != 0 && h.firstStopped >= h.firstOffence {
			took = append(took, int64(h.firstStopped-h.firstOffence))
		}
	})
	slices.Sort(before)
	slices.Sort(took)
	r.Guesses.Hosts, r.Guesses.Median = int64(len(before)), percentile(before, 0.5)
	r.Reaction = Reaction{Hosts: int64(len(took)), Median: percentile(took, 0.5), Nine: percentile(took, 0.9)}
	if len(before) > 0 {
		r.Guesses.Most = before[len(before)-1]
	}
	if len(took) > 0 {
		r.Reaction.Longest = took[len(took)-1]
	}
	r.Lists = []ListCount{}
	for zone, l := range t.lists {
		c := ListCount{List: zone, Refused: l.refused, Would: l.would, Alone: l.alone}
		if d := t.dead[zone]; d != nil {
			c.Failed = d.times
		}
		r.Lists = append(r.Lists, c)
	}
	slices.SortFunc(r.Lists, func(a, b ListCount) int {
		return cmp.Or(cmp.Compare(b.Refused+b.Would, a.Refused+a.Would), strings.Compare(a.List, b.List))
	})
}

// edges are where the buckets of the rates end.
var edges = []float64{1, 2, 3, 5, 10, 20, 50, 100, 1000, 1e6}

func (r *Report) rates(t *Tally, o Options) {
	r.Rates = Rates{Limit: o.Limit, Period: o.Period, Measured: t.measured > 0}
	from := 0.0
	for _, to := range edges {
		r.Rates.Buckets = append(r.Rates.Buckets, Bucket{From: from, To: to})
		from = to
	}
	t.all(func(_ uint32, h *host) {
		if h.rateMost == 0 {
			return
		}
		rate := float64(h.rateMost)
		i := 0
		for i < len(edges)-1 && rate > edges[i] {
			i++
		}
		if h.proven() {
			r.Rates.Buckets[i].Proven++
			r.Rates.Highest = max(r.Rates.Highest, rate)
		} else {
			r.Rates.Buckets[i].Others++
		}
	})
	last := 0
	for i, b := range r.Rates.Buckets {
		if b.Proven+b.Others > 0 || b.From < o.Limit {
			last = i
		}
	}
	r.Rates.Buckets = r.Rates.Buckets[:last+1]
}

func (r *Report) files(o Options) {
	r.Databases = []Database{}
	size := func(name, path string) {
		if st, err := os.Stat(path); err == nil {
			r.Databases = append(r.Databases, Database{name, st.Size()})
		}
	}
	if o.Hosts != "" {
		size("hosts", o.Hosts)
	}
	for i, path := range o.Firewalls {
		name := "firewall"
		if i > 0 {
			name = fmt.Sprintf("firewall%d", i+1)
		}
		size(name, path)
		if st, err := os.Stat(path); err == nil && st.ModTime().After(r.LastScan) {
			r.LastScan = st.ModTime()
		}
	}
	for _, e := range o.Blacklist {
		if e.Automatic {
			r.Blocked.Automatic++
		} else {
			r.Blocked.Manual++
		}
	}
}
