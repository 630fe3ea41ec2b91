package dnsbl

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// DefaultTimeout is the deadline of a round.
	DefaultTimeout = 2 * time.Second
	// DefaultThreshold is the score from which a host is denied.
	DefaultThreshold = 1
)

// Options are the settings of a round. The zero value has the defaults.
type Options struct {
	Threshold  int              // the score from which a host is denied; less than 1 means DefaultThreshold
	Timeout    time.Duration    // from the call to its return; 0 or less means DefaultTimeout
	Servers    []netip.AddrPort // resolvers to ask in order; none means those of ResolvConf
	ResolvConf string           // empty means DefaultResolvConf

	// All makes Check wait for every list, and for the text of each that has
	// the host, up to the deadline: for a report, not for a connection.
	All bool
}

func (o Options) threshold() int {
	if o.Threshold < 1 {
		return DefaultThreshold
	}
	return o.Threshold
}

func (o Options) timeout() time.Duration {
	if o.Timeout <= 0 {
		return DefaultTimeout
	}
	return o.Timeout
}

func (o Options) resolvers() (Resolvers, error) {
	if len(o.Servers) > 0 {
		r := Resolvers{Timeout: defaultResolverTimeout, Attempts: defaultResolverAttempts}
		for _, s := range o.Servers {
			r.add(s)
		}
		return r, nil
	}
	path := o.ResolvConf
	if path == "" {
		path = DefaultResolvConf
	}
	return ReadResolvConf(path)
}

// A Status is what became of one list in a round.
type Status int

const (
	NotAwaited Status = iota // the result was settled without it
	NotListed                // the list does not have the host, or not with a code that counts
	Listed                   // an answer counts
	Failed                   // the list could not be asked
)

// String names the status.
func (s Status) String() string {
	switch s {
	case NotAwaited:
		return "not awaited"
	case NotListed:
		return "not listed"
	case Listed:
		return "listed"
	case Failed:
		return "failed"
	}
	return fmt.Sprintf("Status(%d)", int(s))
}

// An Answer is what one list said.
type Answer struct {
	List    List
	Status  Status
	Code    netip.Addr   // the lowest answer that counts, when listed
	Codes   []netip.Addr // everything that the zone answered, sorted
	Text    string       // the zone's TXT record when it was asked for, fit for a reply; may be empty
	Failure *Failure     // set when Status is Failed
}

// A Result is the outcome of a round.
type Result struct {
	Score     int
	Threshold int
	Deny      bool     // Score is at least Threshold, whatever the allow lists that failed have
	Answers   []Answer // one for each list, in the order of the lists
	Deciding  *Answer  // of those that have the host the one that weighs most, when Deny is set
}

// Failures are the answers of the lists that could not be asked, each zone
// once.
func (r Result) Failures() []Answer {
	var out []Answer
	for _, a := range r.Answers {
		if a.Status == Failed && !slices.ContainsFunc(out, func(b Answer) bool { return b.List.Zone == a.List.Zone }) {
			out = append(out, a)
		}
	}
	return out
}

// Check asks all lists about addr at once and returns when the score is
// settled: when the threshold is reached and no allow list that has yet to
// answer can pull it back, or when the threshold is out of reach. At the
// deadline the score so far counts. A list that has the host counts once,
// whatever the number of answers that match; a list that fails adds nothing.
// A host that an allow list could have saved is not denied when that fails.
//
// TXT is asked for as soon as a block list has the host, while the others are
// still awaited, and only the deciding list's is waited for.
//
// An error means that nothing was asked: an address that is none, or
// resolvers that cannot be read. The result then denies nothing.
func Check(ctx context.Context, addr netip.Addr, lists []List, o Options) (Result, error) {
	deadline := time.Now().Add(o.timeout())
	result := Result{Threshold: o.threshold()}
	for _, l := range lists {
		result.Answers = append(result.Answers, Answer{List: l})
	}
	if !addr.IsValid() {
		return result, errors.New("dnsbl: no address to ask about")
	}
	if len(lists) == 0 {
		return result, nil
	}
	resolvers, err := o.resolvers()
	if err != nil {
		return result, err
	}
	x := newExchange(resolvers, deadline)
	defer x.close()
	r := &round{x: x, addr: addr.Unmap().WithZone(""), o: o, result: &result, zones: make(map[string]*zoneState)}
	r.askAll()
	x.run(ctx, r.stop)
	r.end()
	return result, nil
}

// A round is one run of Check.
type round struct {
	x      *exchange
	addr   netip.Addr
	o      Options
	result *Result
	zones  map[string]*zoneState
	order  []*zoneState
}

type zoneState struct {
	zone     string
	answered bool
	haveTXT  bool // the TXT record is there, or never will be
	text     string
}

func (r *round) askAll() {
	for _, a := range r.result.Answers {
		if r.zones[a.List.Zone] == nil {
			z := &zoneState{zone: a.List.Zone}
			r.zones[z.zone] = z
			r.order = append(r.order, z)
		}
	}
	for _, z := range r.order {
		q, err := newQuestion(QueryName(r.addr, z.zone), dnsmessage.TypeA)
		if err != nil { // ParseLists leaves no such zone
			r.answer(z, outcome{fail: &Failure{Kind: ServerFailed, Reason: "the name is too long", Remedy: "correct the name"}})
			continue
		}
		r.x.ask(q, 0, func(o outcome) { r.answer(z, o) })
	}
}

// answer enters what zone z said.
func (r *round) answer(z *zoneState, o outcome) {
	z.answered = true
	codes := slices.Clone(o.addrs)
	slices.SortFunc(codes, netip.Addr.Compare)
	codes = slices.Compact(codes)
	fail := o.fail
	if fail == nil {
		fail = answerFailure(z.zone, codes)
	}
	blocks := false
	for i := range r.result.Answers {
		a := &r.result.Answers[i]
		if a.List.Zone != z.zone {
			continue
		}
		a.Codes = codes
		if fail != nil {
			a.Status, a.Failure = Failed, fail
			continue
		}
		a.Status = NotListed
		if hit := slices.IndexFunc(codes, a.List.Codes.Match); hit >= 0 {
			a.Status, a.Code = Listed, codes[hit]
			r.result.Score += a.List.Weight
			blocks = blocks || a.List.Weight > 0
		} else if len(a.List.Codes) == 0 && slices.Contains(codes, addr127001) {
			a.Status, a.Failure = Failed, refusedBy127001()
		}
	}
	if blocks || r.o.All && fail == nil && len(codes) > 0 {
		r.askTXT(z, o.server)
	}
}

// askTXT asks for the text of a zone, at the resolver that knew its codes.
func (r *round) askTXT(z *zoneState, server int) {
	q, err := newQuestion(QueryName(r.addr, z.zone), dnsmessage.TypeTXT)
	if err != nil {
		z.haveTXT = true
		return
	}
	r.x.ask(q, server, func(o outcome) {
		z.haveTXT = true
		texts := slices.Clone(o.texts)
		// The order of records in an answer changes from one to the next.
		slices.Sort(texts)
		z.text = cleanText(strings.Join(slices.Compact(texts), " / "), z.zone)
	})
}

// bounds are the lowest and the highest score that can still come of it, with
// the allow lists that failed taken to have the host: their trouble must not be
// the host's.
func (r *round) bounds() (low, high int) {
	low, high = r.result.Score, r.result.Score
	for _, a := range r.result.Answers {
		switch {
		case a.Status == Failed:
			low += min(a.List.Weight, 0)
			high += min(a.List.Weight, 0)
		case !r.zones[a.List.Zone].answered:
			low += min(a.List.Weight, 0)
			high += max(a.List.Weight, 0)
		}
	}
	return low, high
}

// stop reports whether nothing that may still come can change the result.
func (r *round) stop() bool {
	if r.o.All {
		return false
	}
	switch low, high := r.bounds(); {
	case high < r.result.Threshold:
		return true
	case low >= r.result.Threshold:
		return r.zones[r.deciding().List.Zone].haveTXT
	}
	return false
}

// deciding is the answer that weighs most, the first of equals. There is one
// whenever the score is positive.
func (r *round) deciding() *Answer {
	var best *Answer
	for i := range r.result.Answers {
		a := &r.result.Answers[i]
		if a.Status == Listed && a.List.Weight > 0 && (best == nil || a.List.Weight > best.List.Weight) {
			best = a
		}
	}
	return best
}

// end draws the conclusion. Where the round was cut off by its deadline, the
// lists that did not answer have failed; where it was settled, they were not
// waited for.
func (r *round) end() {
	settled := r.stop()
	if low, high := r.bounds(); !r.o.All && (low >= r.result.Threshold || high < r.result.Threshold) {
		settled = true // only a text was missing
	}
	if !settled {
		r.x.expire(r.o.timeout())
	}
	for i := range r.result.Answers {
		a := &r.result.Answers[i]
		if a.Status == Listed {
			a.Text = r.zones[a.List.Zone].text
		}
	}
	// What has not been awaited could not pull the score below the threshold.
	if low, _ := r.bounds(); low >= r.result.Threshold {
		r.result.Deny = true
		r.result.Deciding = r.deciding()
	}
}
