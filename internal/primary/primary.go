// Package primary owns the conversation with the primary name server of a shared
// list: what stands there (AXFR), and how it is changed (RFC 2136), all of it
// signed (TSIG) and over TCP. It knows nothing of hosts.db.
package primary

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/miekg/dns"

	"symbiosis-connect-acl/internal/tsig"
	"symbiosis-connect-acl/internal/zone"
)

// A Server is a primary name server and one of its zones.
type Server struct {
	Addr string // host and port
	Zone string // without the final dot
	Key  tsig.Key
}

const (
	// patience is how long the server may take for one message.
	patience = 10 * time.Second
	// fudge is how far, in seconds, the clocks of the two may be apart.
	fudge = 300
)

// A Refusal is a server's answer that says no.
type Refusal struct {
	Server string
	Rcode  int
}

func (r *Refusal) Error() string {
	what := fmt.Sprintf("%s answers %s", r.Server, dns.RcodeToString[r.Rcode])
	switch r.Rcode {
	case dns.RcodeNotAuth:
		return what + ": it does not take the key, or its clock differs, or it is not the primary of the zone"
	case dns.RcodeRefused:
		return what + ": the key may not do this there"
	case dns.RcodeServerFailure:
		return what + ": look into its log; its disk may be full"
	}
	return what
}

var errUnsigned = errors.New("the answer is not signed: is it the name server that has the key?")

// A Session is an open connection.
type Session struct {
	Server
	conn   net.Conn
	client dns.Client
}

// Dial connects.
func (s Server) Dial(ctx context.Context) (*Session, error) {
	d := net.Dialer{Timeout: patience}
	c, err := d.DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return nil, err
	}
	return &Session{Server: s, conn: c, client: dns.Client{Net: "tcp", Timeout: patience, TsigSecret: s.secrets()}}, nil
}

func (s Server) secrets() map[string]string {
	return map[string]string{s.Key.Name: string(s.Key.Secret)}
}

// Close ends the connection.
func (s *Session) Close() error { return s.conn.Close() }

// exchange sends a message and gives the answer. One that is not signed is none,
// but for a refusal: a server that does not know the key cannot sign with it.
func (s *Session) exchange(ctx context.Context, m *dns.Msg) (*dns.Msg, error) {
	stop := context.AfterFunc(ctx, func() { s.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	// The machine's own time: the name server compares it with its.
	m.SetTsig(s.Key.Name, s.Key.Algorithm, fudge, time.Now().Unix())
	// A dns.Conn signs a second message as if it were a part of the first.
	answer, _, err := s.client.ExchangeWithConnContext(ctx, m, &dns.Conn{Conn: s.conn, TsigSecret: s.client.TsigSecret})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if answer != nil && answer.Rcode == dns.RcodeNotAuth {
		return answer, nil // signed with nothing, as BADKEY and BADSIG are
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Addr, err)
	}
	if answer.IsTsig() == nil && answer.Rcode == dns.RcodeSuccess {
		return nil, fmt.Errorf("%s: %w", s.Addr, errUnsigned)
	}
	return answer, nil
}

// Serial gives the zone's serial number.
func (s *Session) Serial(ctx context.Context) (uint32, error) {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(s.Zone), dns.TypeSOA)
	answer, err := s.exchange(ctx, m)
	if err != nil {
		return 0, err
	}
	if answer.Rcode != dns.RcodeSuccess {
		return 0, &Refusal{s.Addr, answer.Rcode}
	}
	for _, rr := range answer.Answer {
		if soa, ok := rr.(*dns.SOA); ok {
			return soa.Serial, nil
		}
	}
	return 0, fmt.Errorf("%s has no zone %s", s.Addr, s.Zone)
}

// texts gives the texts at a name, which is below the zone.
func (s *Session) texts(ctx context.Context, name string) ([]string, error) {
	m := new(dns.Msg)
	m.SetQuestion(s.full(name), dns.TypeTXT)
	answer, err := s.exchange(ctx, m)
	if err != nil {
		return nil, err
	}
	if answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError {
		return nil, &Refusal{s.Addr, answer.Rcode}
	}
	var texts []string
	for _, rr := range answer.Answer {
		if t, ok := rr.(*dns.TXT); ok && t.Hdr.Name == s.full(name) {
			texts = append(texts, text(t))
		}
	}
	return texts, nil
}

func (s Server) full(name string) string { return name + "." + dns.Fqdn(s.Zone) }

// text gives the text of a record as one.
func text(t *dns.TXT) (s string) {
	for _, part := range t.Txt {
		s += part
	}
	return s
}

// A Record is one that Transfer gives: a text, or a code when Text is "".
type Record struct {
	Name string // below the zone
	Text string
}

// Transfer gives every text and every code of the zone but the test entries'. It
// tells whether these are there.
func (s Server) Transfer(ctx context.Context, each func(Record) error) (tests bool, serial uint32, err error) {
	m := new(dns.Msg)
	m.SetAxfr(dns.Fqdn(s.Zone))
	m.SetTsig(s.Key.Name, s.Key.Algorithm, fudge, time.Now().Unix())
	t := &dns.Transfer{DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, TsigSecret: s.secrets()}
	envelopes, err := t.In(m, s.Addr)
	if err != nil {
		return false, 0, fmt.Errorf("%s: %w", s.Addr, err)
	}
	seen := 0
	suffix := "." + dns.Fqdn(s.Zone)
	for e := range envelopes {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil && e.Error != nil {
			err = fmt.Errorf("%s: transfer of %s: %w", s.Addr, s.Zone, e.Error)
		}
		if err != nil {
			t.Close()
			continue // to the end, so that nobody is left who sends
		}
		for _, rr := range e.RR {
			if soa, ok := rr.(*dns.SOA); ok {
				serial = soa.Serial
				continue
			}
			full := rr.Header().Name
			if len(full) <= len(suffix) || full[len(full)-len(suffix):] != suffix {
				continue
			}
			r := Record{Name: full[:len(full)-len(suffix)]}
			if r.Name == zone.TestNames[0] || r.Name == zone.TestNames[1] {
				seen++
				continue
			}
			switch rr := rr.(type) {
			case *dns.TXT:
				r.Text = text(rr)
			case *dns.A:
			default:
				continue
			}
			if err = each(r); err != nil {
				break
			}
		}
	}
	return seen >= 2*len(zone.TestNames), serial, err
}
