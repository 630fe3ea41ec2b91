package report

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/eximlog"
)

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
}

// asked is about how many hosts the lists are asked at most.
const asked = 200

func (r *Report) lists(t *Tally, o Options) error {
	all := map[string]*ListCount{}
	get := func(zone string) *ListCount {
		if all[zone] == nil {
			all[zone] = &ListCount{List: zone}
		}
		return all[zone]
	}
	for _, l := range o.Lists {
		get(l.DisplayName())
	}
	for zone, l := range t.lists {
		c := get(zone)
		c.Refused, c.Would = l.refused, l.would
	}
	for zone, s := range t.dead {
		get(zone).Failed = s.times
	}
	if o.Ask != nil {
		ns := t.sortedBy(func(h *host) bool { return (h.rules|h.wouldBe)>>eximlog.DNSBL&1 != 0 }, byRefusals)
		var keys []address.Key
		for _, n := range ns[:min(len(ns), asked)] {
			keys = append(keys, t.at(n).address())
		}
		answers, err := o.Ask(keys)
		if err != nil {
			return err
		}
		r.Asked = int64(len(keys))
		for _, zones := range answers {
			for _, zone := range zones {
				if get(zone).Named++; len(zones) == 1 {
					get(zone).Alone++
				}
			}
		}
	}
	r.Lists = []ListCount{}
	for _, c := range all {
		r.Lists = append(r.Lists, *c)
	}
	slices.SortFunc(r.Lists, func(a, b ListCount) int {
		return cmp.Or(cmp.Compare(b.Refused+b.Would, a.Refused+a.Would), strings.Compare(a.List, b.List))
	})
	return nil
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
