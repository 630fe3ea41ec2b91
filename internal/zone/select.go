package zone

import (
	"context"
	"iter"
	"net/netip"
	"sync"
	"time"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/hosts"
)

// Criteria say which hosts are worth sharing.
type Criteria struct {
	Policy   hosts.Policy
	MinCount int64         // the history from which on a host is listed
	MaxAge   time.Duration // since its last offence
	Now      time.Time
	Spared   address.Networks // the administrator's friends, who are never listed
}

// MinCountFactor times the threshold is the history from which on a host is
// listed. What one server takes for reason enough to refuse a host is not enough
// to have all others refuse it.
const MinCountFactor = 2

// MaxAge is how long a host stays on the list after its last offence.
const MaxAge = 30 * hosts.Day

// Judge tells whether the host is to be on the list, and why.
func (c Criteria) Judge(r hosts.Row) (e Entry, listed bool) {
	// Behind an address from which a user logs in there are others, who have done
	// nothing. So a login counts here even if somebody guesses there too.
	if !r.Key.IsValid() || r.Standing(c.Policy, c.Now).Proven() || c.Now.Sub(r.Login) < hosts.Month {
		return e, false
	}
	fresh := func(t time.Time) bool { return !t.IsZero() && c.Now.Sub(t) < c.MaxAge }
	e.Key = r.Key
	switch {
	case fresh(r.Guesser):
		e.Reason, e.Day = Guesser, DayOf(r.Guesser)
	case r.History >= c.MinCount && r.History > 0 && fresh(r.HistoryLast):
		e.Reason, e.Day = History, DayOf(r.HistoryLast)
	case r.Offences > c.Policy.RecentOffences && fresh(r.Offence):
		e.Reason, e.Day = Bot, DayOf(r.Offence)
	default:
		return Entry{}, false
	}
	if Special(r.Key) || c.Spared.Find(r.Key.Prefix()) != "" {
		return Entry{}, false
	}
	return e, true
}

// Entries gives the hosts on the list, sorted by the spelling of their keys.
func (c Criteria) Entries(ctx context.Context, d *hosts.DB) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for r, err := range d.Suspects(ctx, c.MinCount, c.Policy.RecentOffences) {
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if e, listed := c.Judge(r); listed && !yield(e, nil) {
				return
			}
		}
	}
}

// special are the networks whose addresses are nobody's on the Internet, or
// behind which there are many hosts: RFC 6890, multicast, and what translates
// from IPv4, where a /64 holds a part of the Internet.
var special = sync.OnceValue(func() *address.Networks {
	var n address.Networks
	for _, p := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
		"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
	} {
		n.Add(netip.MustParsePrefix(p), p)
	}
	return &n
})

var (
	global6 = netip.MustParsePrefix("2000::/3") // all other IPv6 addresses are special
	notOne6 = []netip.Prefix{
		netip.MustParsePrefix("2001::/23"),     // protocols, Teredo among them
		netip.MustParsePrefix("2001:db8::/32"), // for texts
		netip.MustParsePrefix("2002::/16"),     // 6to4
	}
)

// Special reports whether the key is of a private or special address, and so of
// no host on the Internet.
func Special(k address.Key) bool {
	a := k.Prefix().Addr()
	if !k.Is6() {
		return special().Find(k.Prefix()) != ""
	}
	if !global6.Contains(a) {
		return true
	}
	for _, p := range notOne6 {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
