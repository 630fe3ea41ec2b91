package report

import (
	"bytes"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"time"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/eximlog"
	"symbiosis-connect-acl/internal/words"
)

// A Tally adds up what a log tells, in memory that grows with the hosts that
// have met a rule, by some 100 octets each, and hardly with anything else.
type Tally struct {
	// Port is the one port on which a rule acts, where that is so: the log does not
	// say on which port a host came, unless +incoming_interface is set.
	Port [eximlog.Rules]int
	// Period is the one of the rate limit.
	Period time.Duration

	v4    map[uint32]uint32 // to the number of the host
	v6    map[uint64]uint32
	hosts [][]host // in pieces, so that growing copies nothing
	n     uint32

	cells    map[cell]*counts
	hours    [7][24]int64 // refused or put off, by local time, Monday first
	first    int64        // events
	last     int64
	skipped  map[reason]*span
	dead     map[string]*span
	lists    map[string]*listCount
	names    map[string]*nameCount
	pairs    map[pair]struct{} // which host has tried which name
	tooMany  bool              // more names or pairs than are kept
	spared   int64
	failed   int64
	offences int64
	measured int64

	day     int64 // the local day of the last event: from when to when
	dayEnds int64
	dayName int32 // days since 1970
	dayHour int64
	weekday int
}

// How much is kept of what clients choose.
const (
	maxNames   = 20000
	maxPairs   = 200000
	maxReasons = 200
)

// A host is what the log says of one. It has no pointers: the garbage collector
// need not look into a million of them.
type host struct {
	key             uint64 // IPv4 address, or the upper half of an IPv6 one
	refused, putOff uint32
	would           uint32
	delivered       uint32
	guesses         uint32 // failed logins
	guessesBefore   uint32 // of them before it was first refused
	met454          uint32
	firstRefused    uint32 // times in seconds since 1970
	lastRefused     uint32
	firstWould      uint32
	firstOffence    uint32
	firstStopped    uint32 // first refused for what it had done before
	firstDelivered  uint32
	lastDelivered   uint32
	lastLogin       uint32
	rate, rateMost  float32 // as Exim's ratelimit smooths it
	rateAt          uint32
	exims, eximsAt  uint32 // failed logins that Exim's own lines told, which a line of ours may tell again
	rules, wouldBe  uint16 // bits: which refused it, or would have
	is              flags
}

type flags uint16

const (
	isV6 flags = 1 << iota
	inDatabase
	user
	sender
	guesser
	offender
	parole
)

func (h *host) proven() bool { return h.is&(user|sender) != 0 || h.lastLogin != 0 }

func (h *host) address() address.Key {
	if h.is&isV6 != 0 {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:], h.key)
		return address.FromAddr(netip.AddrFrom16(b))
	}
	return address.FromAddr(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(h.key)))))
}

type cell struct {
	day  int32
	rule eximlog.Rule
	port uint16
}

type counts struct{ refused, putOff, would, delays int64 }

type reason struct{ check, why string }

type span struct{ times, first, last int64 }

func (s *span) add(at int64) {
	if s.times == 0 {
		s.first = at
	}
	s.times, s.last = s.times+1, at
}

type listCount struct{ refused, would int64 }

type nameCount struct{ id, tries, hosts uint32 }

type pair struct{ name, host uint32 }

// NewTally gives an empty one.
func NewTally() *Tally {
	return &Tally{v4: map[uint32]uint32{}, v6: map[uint64]uint32{}, cells: map[cell]*counts{}, skipped: map[reason]*span{},
		dead: map[string]*span{}, lists: map[string]*listCount{}, names: map[string]*nameCount{}, pairs: map[pair]struct{}{}}
}

const piece = 4096

func (t *Tally) at(n uint32) *host { return &t.hosts[n/piece][n%piece] }

// find gives the host's number; made says whether to make it one.
func (t *Tally) find(a netip.Addr, made bool) (n uint32, ok bool) {
	var key uint64
	v6 := a.Is6()
	if v6 {
		b := a.As16()
		key = binary.BigEndian.Uint64(b[:8])
		n, ok = t.v6[key]
	} else {
		b := a.As4()
		key = uint64(binary.BigEndian.Uint32(b[:]))
		n, ok = t.v4[uint32(key)]
	}
	if ok || !made {
		return n, ok
	}
	n = t.n
	if n%piece == 0 {
		t.hosts = append(t.hosts, make([]host, piece))
	}
	t.n++
	h := t.at(n)
	if h.key = key; v6 {
		h.is |= isV6
		t.v6[key] = n
	} else {
		t.v4[uint32(key)] = n
	}
	return n, true
}

// setDay finds out which local day and hour it is, for the events to come.
func (t *Tally) setDay(at int64) {
	l := time.Unix(at, 0)
	y, m, d := l.Date()
	begin := time.Date(y, m, d, l.Hour(), 0, 0, 0, time.Local).Unix()
	if begin > at || at-begin >= 3600 { // where a clock is changed
		begin = at - int64(l.Minute()*60+l.Second())
	}
	t.day, t.dayEnds = begin, begin+3600
	t.dayName = int32(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400)
	t.weekday, t.dayHour = (int(l.Weekday())+6)%7, int64(l.Hour())
}

// Add adds an event.
func (t *Tally) Add(e *eximlog.Event) {
	if e.At < t.day || e.At >= t.dayEnds {
		t.setDay(e.At)
	}
	if t.first == 0 {
		t.first = e.At
	}
	t.last = max(t.last, e.At)
	at := uint32(e.At)
	switch e.Kind {
	case eximlog.Skipped:
		t.skip(reason{string(e.Check), short(e.Detail)}, e.At)
		return
	case eximlog.DeadLists:
		t.deadLists(e.Detail, e.At)
		return
	case eximlog.None, eximlog.Noted:
		return
	}
	if !e.Host.IsValid() {
		return
	}
	n, _ := t.find(e.Host, true)
	h := t.at(n)
	if e.Rate > 0 {
		h.rateMost = max(h.rateMost, float32(e.Rate))
	}
	switch e.Kind {
	case eximlog.Refused, eximlog.PutOff:
		c := t.cell(e)
		if e.Kind == eximlog.PutOff {
			c.putOff++
			h.putOff++
		} else {
			c.refused++
			h.refused++
		}
		t.hours[t.weekday][t.dayHour]++
		if h.firstRefused == 0 {
			h.firstRefused = at
		}
		h.lastRefused = at
		h.rules |= 1 << e.Rule
		switch e.Rule {
		case eximlog.History, eximlog.Offences, eximlog.Auth, eximlog.Account:
			if e.Rule == eximlog.Auth {
				h.met454++
			}
			if h.firstStopped == 0 {
				h.firstStopped, h.guessesBefore = at, h.guesses
			}
		case eximlog.DNSBL:
			t.list(e)
		case eximlog.HELO, eximlog.Command, eximlog.Greeting:
			h.offended(at)
		}
	case eximlog.Would:
		t.cell(e).would++
		h.would++
		if h.firstWould == 0 {
			h.firstWould = at
		}
		h.wouldBe |= 1 << e.Rule
		if e.Rule == eximlog.DNSBL {
			t.list(e)
		}
	case eximlog.Delay:
		t.cell(e).delays++
	case eximlog.Spared:
		t.spared++
	case eximlog.Failed:
		if h.toldAgain(e.Ours, at) {
			return
		}
		t.failed++
		h.guesses++
		h.offended(at)
		t.name(e.Detail, n)
	case eximlog.Offence:
		t.offences++
		h.offended(at)
	case eximlog.Measured:
		t.measured++
	case eximlog.LoggedIn:
		h.lastLogin = at
	case eximlog.Delivered:
		h.delivered++
		if h.firstDelivered == 0 {
			h.firstDelivered = at
		}
		h.lastDelivered = at
		t.smooth(h, at)
	}
}

// toldAgain reports whether a line is about a failed login that is counted
// already.
func (h *host) toldAgain(ours bool, at uint32) bool {
	if at-h.eximsAt > 3600 {
		h.exims = 0
	}
	switch {
	case !ours:
		h.exims, h.eximsAt = h.exims+1, at
		return false
	case h.exims > 0:
		h.exims--
		return true
	}
	return false
}

func (h *host) offended(at uint32) {
	if h.firstOffence == 0 {
		h.firstOffence = at
	}
}

// smooth counts a message as a connection, with Exim's own formula. It gives
// too much where a connection brings several, and so puts nobody off.
func (t *Tally) smooth(h *host, at uint32) {
	if h.rateAt == 0 || at < h.rateAt {
		h.rate = 1
	} else {
		x := max(float64(at-h.rateAt)/max(t.Period.Seconds(), 1), 1e-9)
		a := math.Exp(-x)
		h.rate = float32((1-a)/x + a*float64(h.rate))
	}
	h.rateAt, h.rateMost = at, max(h.rateMost, h.rate)
}

func (t *Tally) cell(e *eximlog.Event) *counts {
	port := e.Port
	if port == 0 {
		port = t.Port[e.Rule]
	}
	k := cell{t.dayName, e.Rule, uint16(port)}
	c := t.cells[k]
	if c == nil {
		c = new(counts)
		t.cells[k] = c
	}
	return c
}

func (t *Tally) list(e *eximlog.Event) {
	l := t.lists[string(e.Detail)]
	if l == nil {
		if len(t.lists) >= maxReasons {
			return
		}
		l = new(listCount)
		t.lists[string(e.Detail)] = l
	}
	if e.Kind == eximlog.Would {
		l.would++
	} else {
		l.refused++
	}
}

func (t *Tally) name(name []byte, n uint32) {
	if len(name) == 0 {
		return
	}
	c := t.names[string(name)]
	if c == nil {
		if len(t.names) >= maxNames {
			t.tooMany = true
			return
		}
		c = &nameCount{id: uint32(len(t.names))}
		t.names[string(name)] = c
	}
	c.tries++
	if _, known := t.pairs[pair{c.id, n}]; known {
		return
	}
	if c.hosts++; len(t.pairs) < maxPairs {
		t.pairs[pair{c.id, n}] = struct{}{}
	} else {
		t.tooMany = true
	}
}

func (t *Tally) skip(r reason, at int64) {
	s := t.skipped[r]
	if s == nil {
		if len(t.skipped) >= maxReasons {
			r.why = "other reasons"
		}
		if s = t.skipped[r]; s == nil {
			s = new(span)
			t.skipped[r] = s
		}
	}
	s.add(at)
}

// median and the like: the value below which a part of the sorted values is.
func percentile(sorted []int64, part float64) int64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(part*float64(len(sorted))), len(sorted)-1)]
}

// all calls do for every host.
func (t *Tally) all(do func(n uint32, h *host)) {
	for n := range t.n {
		do(n, t.at(n))
	}
}

// sortedBy gives the numbers of the hosts that keep keeps, in the order of less.
func (t *Tally) sortedBy(keep func(*host) bool, compare func(a, b *host) int) []uint32 {
	var ns []uint32
	t.all(func(n uint32, h *host) {
		if keep(h) {
			ns = append(ns, n)
		}
	})
	slices.SortFunc(ns, func(a, b uint32) int { return compare(t.at(a), t.at(b)) })
	return ns
}

// short gives a reason without what makes every one different: numbers, and
// what is too long.
func short(b []byte) string {
	if i := bytes.Index(b, []byte("it took ")); i >= 0 {
		b = append(append([]byte{}, b[:i]...), "it took too long"...)
	}
	if len(b) > 160 {
		b = b[:160]
	}
	return words.Printable(string(b))
}

// deadLists reads what the helper says of lists that did not answer: "ZONE:
// failure | ZONE: failure"; or why it asked none.
func (t *Tally) deadLists(detail []byte, at int64) {
	for _, part := range bytes.Split(detail, []byte(" | ")) {
		zone, _, ok := bytes.Cut(part, []byte(": "))
		if !ok || bytes.IndexByte(zone, ' ') >= 0 || bytes.IndexByte(zone, '.') < 0 {
			t.skip(reason{"DNSBL check", short(part)}, at)
			continue
		}
		s := t.dead[string(zone)]
		if s == nil {
			if len(t.dead) >= maxReasons {
				continue
			}
			s = new(span)
			t.dead[string(zone)] = s
		}
		s.add(at)
	}
}
