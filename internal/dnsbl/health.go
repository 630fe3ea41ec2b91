package dnsbl

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// The entries that RFC 5782 section 5 has for tests: each list has the first
// of a pair and does not have the second. The IPv6 ones are asked for as such,
// ::ffff:7f00:2 and ::ffff:7f00:1, not as the IPv4 addresses that they map.
const (
	listed4 = iota
	unlisted4
	listed6
	unlisted6
	testEntries
)

func testEntry(i int) netip.Addr {
	a := addr127001
	if i == listed4 || i == listed6 {
		a = addr127002
	}
	if i == listed6 || i == unlisted6 {
		return netip.AddrFrom16(a.As16())
	}
	return a
}

// A Condition is how a list does in the test of RFC 5782 section 5.
type Condition int

const (
	Alive          Condition = iota // it answers as it should
	Dead                            // it does not have its test entry, or it is not a list any more
	ListsEveryone                   // it has the entry that no list may have: it would deny every host
	Unanswered                      // it could not be asked: silence, SERVFAIL, REFUSED
	RefusesQueries                  // it answers with an error code
)

// String names the condition in a few words.
func (c Condition) String() string {
	switch c {
	case Alive:
		return "alive"
	case Dead:
		return "dead"
	case ListsEveryone:
		return "lists the whole world"
	case Unanswered:
		return "no usable answer"
	case RefusesQueries:
		return "refuses our queries"
	}
	return fmt.Sprintf("Condition(%d)", int(c))
}

// A Health is the state of one zone.
type Health struct {
	Zone      string // with any key hidden
	Condition Condition
	Problem   string   // what was seen and what to do; empty when alive
	IPv6      bool     // it has the IPv6 test entry too
	Notes     []string // worth knowing, not wrong
}

// OK reports whether the zone may be used.
func (h Health) OK() bool { return h.Condition == Alive }

// CheckHealth tests each zone of lists, once however many items name it, in
// the order of the lists. Of the options the resolvers and the timeout count;
// the timeout is for all zones together.
//
// A zone that is used as an allow list only is not called dead for want of
// the test entry: some allow lists do not have it, and an allow list that is
// silent denies nobody. That is a note then. IPv6 is a note as well, except
// for a list that has every IPv6 host.
//
// An error means that nothing was asked.
func CheckHealth(ctx context.Context, lists []List, o Options) ([]Health, error) {
	deadline := time.Now().Add(o.timeout())
	var tests []*zoneTest
	for _, l := range lists {
		i := slices.IndexFunc(tests, func(t *zoneTest) bool { return t.zone == l.Zone })
		if i < 0 {
			i = len(tests)
			tests = append(tests, &zoneTest{zone: l.Zone, allow: true})
		}
		tests[i].lists = append(tests[i].lists, l)
		tests[i].allow = tests[i].allow && l.Weight < 0
	}
	if len(tests) == 0 {
		return nil, nil
	}
	resolvers, err := o.resolvers()
	if err != nil {
		return nil, err
	}
	x := newExchange(resolvers, deadline)
	defer x.close()
	for _, t := range tests {
		for i := range t.outcomes {
			q, err := newQuestion(reversed(testEntry(i))+t.zone+".", dnsmessage.TypeA)
			if err != nil { // ParseLists leaves no such zone
				return nil, fmt.Errorf("dnsbl: the name of %s is too long", MaskKeys(t.zone))
			}
			x.ask(q, 0, func(out outcome) {
				if out.fail == nil {
					slices.SortFunc(out.addrs, netip.Addr.Compare)
					out.fail = answerFailure(t.zone, out.addrs)
				}
				t.outcomes[i] = out
			})
		}
	}
	x.run(ctx, func() bool { return false })
	x.expire(o.timeout())
	var out []Health
	for _, t := range tests {
		out = append(out, t.health())
	}
	return out, nil
}

type zoneTest struct {
	zone     string
	lists    []List
	allow    bool // every item has a negative weight
	outcomes [testEntries]outcome
}

func (t *zoneTest) has(i int) bool {
	return t.outcomes[i].fail == nil && len(t.outcomes[i].addrs) > 0
}

func (t *zoneTest) health() Health {
	h := Health{Zone: MaskKeys(t.zone), IPv6: t.has(listed6)}
	problem := func(c Condition, text string) Health {
		h.Condition, h.Problem = c, text
		return h
	}
	for _, i := range []int{unlisted4, unlisted6} {
		if t.has(i) {
			codes := t.outcomes[i].addrs
			if len(codes) == 1 && codes[0] == addr127001 && !t.anyMatch(codes) {
				return problem(RefusesQueries, refusedBy127001().Error())
			}
			whom, effect := "every host", "deny"
			if i == unlisted6 {
				whom = "every IPv6 host"
			}
			if t.allow {
				effect = "let in"
			}
			return problem(ListsEveryone, fmt.Sprintf("it lists %s, which no list may, and would %s %s: take the list out now",
				testEntry(i), effect, whom))
		}
	}
	for _, i := range []int{listed4, unlisted4} {
		if f := t.outcomes[i].fail; f != nil {
			switch f.Kind {
			case ErrorCode:
				return problem(RefusesQueries, f.Error())
			case NotAList:
				return problem(Dead, f.Error())
			}
			return problem(Unanswered, f.Error())
		}
	}
	if !t.has(listed4) {
		const what = "it does not list its test entry 127.0.0.2"
		if !t.allow {
			return problem(Dead, what+": the list is gone, or its name is mistyped; take it out or correct it")
		}
		h.Notes = append(h.Notes, what+", as some allow lists do not; see by an address that it is known to list that it is alive")
	} else if codes := t.outcomes[listed4].addrs; !t.anyMatch(codes) {
		h.Notes = append(h.Notes, fmt.Sprintf("its test entry answers %s, of which no item asks for any: see that the codes are right", join(codes)))
	}
	switch f := t.outcomes[listed6].fail; {
	case f != nil:
		h.Notes = append(h.Notes, "its IPv6 test entry could not be asked for: "+f.Reason)
	case !h.IPv6:
		h.Notes = append(h.Notes, "it does not list the IPv6 test entry: expect nothing of it for IPv6 hosts")
	}
	return h
}

func (t *zoneTest) anyMatch(codes []netip.Addr) bool {
	return slices.ContainsFunc(t.lists, func(l List) bool { return slices.ContainsFunc(codes, l.Codes.Match) })
}

func join(addrs []netip.Addr) string {
	var parts []string
	for _, a := range addrs {
		parts = append(parts, a.String())
	}
	return strings.Join(parts, ", ")
}
