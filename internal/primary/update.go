package primary

import (
	"context"
	"fmt"
	"net"

	"github.com/miekg/dns"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/zone"
)

// A Change is what one origin has to say anew about one host. An entry whose
// Reason is 0 is none.
type Change struct {
	Key      address.Key
	Old, New zone.Entry
	Unsure   bool // whether Old is what stands there: ask
}

const (
	// most is how many records a message has at most, in both of its sections.
	most = 500
	// mostOctets leaves room for the key and the names that are not shortened.
	mostOctets = 60000
	// tries is how often one name is tried that somebody else changes meanwhile.
	tries = 100
)

// A part is one change as records. Either all parts of a message are done, or
// none: the server looks at the conditions first.
type part struct {
	used, unused    []dns.RR // conditions: the set is this, there is none
	removeSet       []dns.RR
	remove          []dns.RR
	insert          []dns.RR
	records, octets int
	change          Change
}

func (p *part) conditional() bool { return len(p.used)+len(p.unused) > 0 }

func (p *part) count() {
	for _, set := range [][]dns.RR{p.used, p.unused, p.removeSet, p.remove, p.insert} {
		for _, rr := range set {
			p.records++
			p.octets += dns.Len(rr)
		}
	}
}

func (s Server) txt(name, text string) dns.RR {
	return &dns.TXT{Hdr: dns.RR_Header{Name: s.full(name), Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: zone.TTL}, Txt: []string{text}}
}

func (s Server) a(name string, r zone.Reason) dns.RR {
	return &dns.A{Hdr: dns.RR_Header{Name: s.full(name), Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: zone.TTL}, A: net.IP(r.Code().AsSlice())}
}

// guess makes the part of a change for the usual case: that nobody else lists the
// host, or that nothing has to go. What must not be done otherwise has a
// condition.
func (s Server) guess(origin string, c Change) *part {
	name := zone.Name(c.Key)
	p := &part{change: c}
	old, new := c.Old.Reason != 0, c.New.Reason != 0
	if old && (!new || c.Old.Reason != c.New.Reason) {
		// The code goes, so nobody else may stand for it.
		p.used = append(p.used, s.txt(name, c.Old.Text(origin)))
		p.removeSet = append(p.removeSet, s.txt(name, ""), s.a(name, c.Old.Reason))
	} else if old {
		p.remove = append(p.remove, s.txt(name, c.Old.Text(origin)))
	}
	if new {
		p.insert = append(p.insert, s.txt(name, c.New.Text(origin)), s.a(name, c.New.Reason))
	}
	p.count()
	return p
}

// exact makes the part of a change where the texts at the name are known. It is
// done only if they are still the same.
func (s Server) exact(origin string, c Change, texts []string) *part {
	name := zone.Name(c.Key)
	p := &part{change: c}
	if len(texts) == 0 {
		p.unused = append(p.unused, s.txt(name, ""))
	}
	stay, strange := []string{}, false
	for _, t := range texts {
		p.used = append(p.used, s.txt(name, t))
		if o, _, _, ok := zone.ParseText(t); !ok || o != origin {
			stay = append(stay, t)
			strange = strange || !ok
		}
	}
	if c.New.Reason != 0 {
		stay = append(stay, c.New.Text(origin))
	}
	p.removeSet = append(p.removeSet, s.txt(name, ""))
	if !strange { // a text of somebody else's may stand for any code
		p.removeSet = append(p.removeSet, s.a(name, zone.History))
	}
	var codes [len(zone.Reasons) + 1]bool
	for _, t := range stay {
		p.insert = append(p.insert, s.txt(name, t))
		if _, r, _, ok := zone.ParseText(t); ok && !codes[r] {
			codes[r] = true
			p.insert = append(p.insert, s.a(name, r))
		}
	}
	p.count()
	return p
}

// Apply makes the changes. done is called for each message that the server has
// taken, with its changes; begin before each that is sent.
func (s *Session) Apply(ctx context.Context, origin string, changes []Change, begin, done func([]Change) error) error {
	for len(changes) > 0 {
		var parts []*part
		records, octets := 0, 0
		for _, c := range changes {
			p := s.guess(origin, c)
			if c.Unsure {
				texts, err := s.texts(ctx, zone.Name(c.Key))
				if err != nil {
					return err
				}
				p = s.exact(origin, c, texts)
			}
			if len(parts) > 0 && (records+p.records > most || octets+p.octets > mostOctets) {
				break
			}
			records, octets = records+p.records, octets+p.octets
			parts = append(parts, p)
		}
		batch := changes[:len(parts)]
		changes = changes[len(parts):]
		if err := begin(batch); err != nil {
			return err
		}
		if err := s.send(ctx, origin, parts); err != nil {
			return err
		}
		if err := done(batch); err != nil {
			return err
		}
	}
	return nil
}

// send sends one message. When a condition does not hold, it asks what stands at
// the names that have one, and tries again in halves: of one name somebody may
// be changing the texts at this moment, and the others need not wait for it.
func (s *Session) send(ctx context.Context, origin string, parts []*part) error {
	for range tries {
		rcode, err := s.update(ctx, parts)
		if err != nil {
			return err
		}
		switch rcode {
		case dns.RcodeSuccess:
			return nil
		case dns.RcodeNXRrset, dns.RcodeYXRrset, dns.RcodeNameError, dns.RcodeYXDomain:
		default:
			return &Refusal{s.Addr, rcode}
		}
		for i, p := range parts {
			if !p.conditional() {
				continue
			}
			texts, err := s.texts(ctx, zone.Name(p.change.Key))
			if err != nil {
				return err
			}
			parts[i] = s.exact(origin, p.change, texts)
		}
		if half := len(parts) / 2; half > 0 {
			if err := s.send(ctx, origin, parts[:half]); err != nil {
				return err
			}
			return s.send(ctx, origin, parts[half:])
		}
	}
	return fmt.Errorf("%s: somebody else changes %s all the time", s.Addr, zone.Name(parts[0].change.Key))
}

func (s *Session) update(ctx context.Context, parts []*part) (rcode int, err error) {
	m := new(dns.Msg)
	m.SetUpdate(dns.Fqdn(s.Zone))
	for _, p := range parts {
		// The library gives the records their meaning by changing their class:
		// each message gets records of its own.
		m.Used(copies(p.used))
		m.RRsetNotUsed(copies(p.unused))
		m.RemoveRRset(copies(p.removeSet))
		m.Remove(copies(p.remove))
		m.Insert(copies(p.insert))
	}
	m.Compress = true
	answer, err := s.exchange(ctx, m)
	if err != nil {
		return 0, err
	}
	return answer.Rcode, nil
}

func copies(all []dns.RR) []dns.RR {
	out := make([]dns.RR, len(all))
	for i, rr := range all {
		out[i] = dns.Copy(rr)
	}
	return out
}

// AddTests puts the test entries there.
func (s *Session) AddTests(ctx context.Context) error {
	p := &part{}
	for _, name := range zone.TestNames {
		p.insert = append(p.insert, s.txt(name, zone.TestText), s.a(name, zone.History))
	}
	rcode, err := s.update(ctx, []*part{p})
	if err == nil && rcode != dns.RcodeSuccess {
		err = &Refusal{s.Addr, rcode}
	}
	return err
}
