package whitelist

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// How often a name is looked up, whatever its records say, and how long the
// last good answer holds while the resolver fails.
const (
	Soonest = time.Minute
	Latest  = 5 * time.Minute
	Kept    = 24 * time.Hour

	// early is how much too early a look-up may come: cron is not on the second.
	early = 20 * time.Second
	// mostAddrs bounds what one name can let in.
	mostAddrs = 32
	// atOnce is how many questions are asked at the same time.
	atOnce = 8
)

// A Kind is that of the addresses that a name is looked up for.
type Kind string

// The kinds.
const (
	A    Kind = "A"    // IPv4
	AAAA Kind = "AAAA" // IPv6
)

// An Answer is what the DNS has said of a name's addresses of one kind.
type Answer struct {
	Name    string
	Kind    Kind
	Addrs   []netip.Addr
	Good    time.Time // when this was answered; zero: never
	Next    time.Time // when it is to be asked again
	Failure string    // why the last question had no answer; "" when it had one
}

// A Derived is the content of the second file that Exim reads: the addresses of
// the names and ranges in whitelist_connect_hosts.
type Derived struct {
	Ranges  []Entry
	Answers []Answer
}

// Empty reports whether there is nothing to be written.
func (d Derived) Empty() bool { return len(d.Ranges) == 0 && len(d.Answers) == 0 }

// Find gives the answer that lets the address in.
func (d Derived) Find(a netip.Addr) (Answer, bool) {
	for _, x := range d.Answers {
		if slices.Contains(x.Addrs, a) {
			return x, true
		}
	}
	return Answer{}, false
}

// An Ask looks a name up. No addresses and no error say that it has none.
type Ask func(ctx context.Context, name string, kind Kind) (addrs []netip.Addr, ttl time.Duration, err error)

// Derive gives what follows from the file now: its ranges, and the answers for its
// names. An answer of old that is still good is taken over; the others are asked
// for. One that fails keeps its addresses for a day.
func (f File) Derive(ctx context.Context, old Derived, now time.Time, ask Ask) Derived {
	var d Derived
	for _, e := range f.Entries {
		if e.Range {
			d.Ranges = append(d.Ranges, e)
		}
	}
	for _, name := range f.Names() {
		for _, kind := range []Kind{A, AAAA} {
			x := Answer{Name: name, Kind: kind}
			if i := slices.IndexFunc(old.Answers, func(o Answer) bool { return o.Name == name && o.Kind == kind }); i >= 0 {
				x = old.Answers[i]
			}
			d.Answers = append(d.Answers, x)
		}
	}
	var wg sync.WaitGroup
	free := make(chan struct{}, atOnce)
	for i := range d.Answers {
		// A clock that was set back must not put everything off.
		x := &d.Answers[i]
		if now.Add(early).Before(x.Next) && x.Next.Sub(now) <= Latest {
			continue
		}
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			x.renew(ctx, now, ask)
		})
	}
	wg.Wait()
	return d
}

func (x *Answer) renew(ctx context.Context, now time.Time, ask Ask) {
	addrs, ttl, err := ask(ctx, x.Name, x.Kind)
	if err != nil {
		x.Failure, x.Next = oneLine(err.Error()), now.Add(Soonest)
		if now.Sub(x.Good) >= Kept {
			x.Addrs = nil
		}
		return
	}
	x.Addrs, x.Failure, x.Good, x.Next = nil, "", now, now.Add(min(max(ttl, Soonest), Latest))
	for _, a := range addrs {
		// 0.0.0.0 and the like are how a filtering resolver says no.
		if a = a.Unmap(); a.IsGlobalUnicast() && len(x.Addrs) < mostAddrs {
			x.Addrs = append(x.Addrs, a)
		}
	}
	slices.SortFunc(x.Addrs, netip.Addr.Compare)
	x.Addrs = slices.Compact(x.Addrs)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

const head = `# What the host names and ranges in whitelist_connect_hosts stand for. Exim reads
# this at every connection. "%s", which cron runs each minute, writes it.
`

// Format gives the file's text. What is remembered of each answer stands in
// comments. command is what writes the file.
func (d Derived) Format(command string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, head, command)
	for _, e := range d.Ranges {
		fmt.Fprintf(&b, "\n# %s\n", e.Text)
		for _, p := range e.Nets {
			fmt.Fprintln(&b, p)
		}
	}
	for _, x := range d.Answers {
		good := "never"
		if !x.Good.IsZero() {
			good = x.Good.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(&b, "\n# %s %s answered %s, next %s", x.Name, x.Kind, good, x.Next.UTC().Format(time.RFC3339))
		if x.Failure != "" {
			fmt.Fprintf(&b, ", failed: %s", x.Failure)
		}
		b.WriteByte('\n')
		for _, a := range x.Addrs {
			fmt.Fprintln(&b, a)
		}
	}
	return []byte(b.String())
}

var answerExpr = expression(`^# (\S+) (A|AAAA) answered (\S+), next (\S+?)(?:, failed: (.*))?$`)

// ParseDerived reads the answers in a text that Format has made. What it cannot
// read it leaves out: the names are looked up again then.
func ParseDerived(text []byte) Derived {
	var d Derived
	inside := false // of an answer
	for _, line := range strings.Split(string(text), "\n") {
		if m := answerExpr().FindStringSubmatch(line); m != nil {
			x := Answer{Name: m[1], Kind: Kind(m[2]), Failure: m[5]}
			x.Good, _ = time.Parse(time.RFC3339, m[3]) // "never" is none
			x.Next, _ = time.Parse(time.RFC3339, m[4])
			d.Answers, inside = append(d.Answers, x), true
		} else if a, err := netip.ParseAddr(line); err == nil && inside {
			x := &d.Answers[len(d.Answers)-1]
			x.Addrs = append(x.Addrs, a)
		} else if strings.HasPrefix(line, "#") {
			inside = false
		}
	}
	return d
}

// Lapsed gives the names that had addresses in old and have none now because
// nobody could be asked.
func Lapsed(old, now Derived) []Answer {
	var all []Answer
	for _, x := range now.Answers {
		if x.Failure != "" && len(x.Addrs) == 0 && slices.ContainsFunc(old.Answers, func(o Answer) bool {
			return o.Name == x.Name && o.Kind == x.Kind && len(o.Addrs) > 0
		}) {
			all = append(all, x)
		}
	}
	return all
}

// Of gives the answers for a name.
func (d Derived) Of(name string) []Answer {
	var all []Answer
	for _, x := range d.Answers {
		if x.Name == name {
			all = append(all, x)
		}
	}
	return all
}
