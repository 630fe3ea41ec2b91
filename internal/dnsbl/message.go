package dnsbl

import (
	"errors"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// udpSize is the largest answer that we take over UDP: what passes any path
// without being cut into fragments.
const udpSize = 1232

// maxChain is how many CNAME records are followed within one answer.
const maxChain = 8

// A question is one name and type to be asked for.
type question struct {
	name dnsmessage.Name
	typ  dnsmessage.Type
}

func newQuestion(name string, typ dnsmessage.Type) (question, error) {
	n, err := dnsmessage.NewName(name)
	return question{n, typ}, err
}

// pack builds the query with a 2-octet length before it, as TCP wants it; UDP
// takes what follows.
func (q question) pack(id uint16, edns bool) ([]byte, error) {
	b := dnsmessage.NewBuilder(make([]byte, 2, 2+udpSize/2), dnsmessage.Header{ID: id, RecursionDesired: true})
	err := b.StartQuestions()
	if err == nil {
		err = b.Question(dnsmessage.Question{Name: q.name, Type: q.typ, Class: dnsmessage.ClassINET})
	}
	if err == nil && edns {
		var h dnsmessage.ResourceHeader
		if err = h.SetEDNS0(udpSize, dnsmessage.RCodeSuccess, false); err == nil {
			if err = b.StartAdditionals(); err == nil {
				err = b.OPTResource(h, dnsmessage.OPTResource{})
			}
		}
	}
	if err != nil {
		return nil, err
	}
	msg, err := b.Finish()
	if err != nil {
		return nil, err
	}
	n := len(msg) - 2
	msg[0], msg[1] = byte(n>>8), byte(n)
	return msg, nil
}

// A reply is what matters of an answer that belongs to a question.
type reply struct {
	rcode     dnsmessage.RCode
	truncated bool
	malformed bool // the answer to the question cannot be read
	referral  bool // the server points elsewhere instead of asking for us
	addrs     []netip.Addr
	texts     []string // one per TXT record, its strings joined
}

// cutShort reports whether the answer has to be asked for again over TCP.
func (r reply) cutShort() bool { return r.truncated && r.rcode == dnsmessage.RCodeSuccess }

// messageID gives the id of a message that may be an answer.
func messageID(msg []byte) (uint16, bool) {
	if len(msg) < 12 || msg[2]&0x80 == 0 {
		return 0, false
	}
	return uint16(msg[0])<<8 | uint16(msg[1]), true
}

// parseReply reads msg as the answer to q. ours is false when it is none, and
// the wait for the right one must go on; the caller has compared the id. A server that does not know EDNS may send its FORMERR back without the
// question (RFC 6891 section 7).
func parseReply(msg []byte, q question) (r reply, ours bool) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || !h.Response || h.OpCode != 0 {
		return reply{}, false
	}
	r = reply{rcode: h.RCode, truncated: h.Truncated}
	questions, err := p.AllQuestions()
	if err != nil {
		return reply{}, false
	}
	if len(questions) == 0 && h.RCode == dnsmessage.RCodeFormatError {
		return r, true
	}
	if len(questions) != 1 || questions[0].Type != q.typ || questions[0].Class != dnsmessage.ClassINET ||
		!sameName(questions[0].Name, q.name) {
		return reply{}, false
	}
	if r.truncated || r.rcode != dnsmessage.RCodeSuccess {
		return r, true
	}
	answers, err := parseAnswers(&p)
	if err != nil {
		return reply{rcode: r.rcode, malformed: true}, true
	}
	owner := q.name
	for i := 0; i < maxChain; i++ {
		next, found := answers.alias(owner)
		if !found {
			break
		}
		owner = next
	}
	for _, a := range answers {
		if !sameName(a.owner, owner) {
			continue
		}
		switch body := a.body.(type) {
		case *dnsmessage.AResource:
			if q.typ == dnsmessage.TypeA {
				r.addrs = append(r.addrs, netip.AddrFrom4(body.A))
			}
		case *dnsmessage.TXTResource:
			if q.typ == dnsmessage.TypeTXT {
				r.texts = append(r.texts, strings.Join(body.TXT, ""))
			}
		}
	}
	if len(answers) == 0 {
		r.referral = isReferral(&p, h)
	}
	return r, true
}

type record struct {
	owner dnsmessage.Name
	body  dnsmessage.ResourceBody
}

type records []record

func (rs records) alias(owner dnsmessage.Name) (dnsmessage.Name, bool) {
	for _, r := range rs {
		if c, ok := r.body.(*dnsmessage.CNAMEResource); ok && sameName(r.owner, owner) {
			return c.CNAME, true
		}
	}
	return dnsmessage.Name{}, false
}

// parseAnswers reads the answer section, without the records of other types
// and classes.
func parseAnswers(p *dnsmessage.Parser) (records, error) {
	var rs records
	for {
		h, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return rs, nil
		}
		if err != nil {
			return nil, err
		}
		var body dnsmessage.ResourceBody
		if h.Class == dnsmessage.ClassINET {
			switch h.Type {
			case dnsmessage.TypeA:
				var a dnsmessage.AResource
				if a, err = p.AResource(); err == nil {
					body = &a
				}
			case dnsmessage.TypeCNAME:
				var c dnsmessage.CNAMEResource
				if c, err = p.CNAMEResource(); err == nil {
					body = &c
				}
			case dnsmessage.TypeTXT:
				var t dnsmessage.TXTResource
				if t, err = p.TXTResource(); err == nil {
					body = &t
				}
			default:
				err = p.SkipAnswer()
			}
		} else {
			err = p.SkipAnswer()
		}
		if err != nil {
			return nil, err
		}
		if body != nil {
			rs = append(rs, record{h.Name, body})
		}
	}
}

// isReferral tells "there is none" from "ask those over there": the authority
// section of the latter has name servers and no SOA (RFC 2308 section 2.2).
func isReferral(p *dnsmessage.Parser, h dnsmessage.Header) bool {
	if h.Authoritative || h.RecursionAvailable {
		return false
	}
	ns := false
	for {
		a, err := p.AuthorityHeader()
		if err != nil {
			return ns
		}
		switch a.Type {
		case dnsmessage.TypeSOA:
			return false
		case dnsmessage.TypeNS:
			ns = true
		}
		if p.SkipAuthority() != nil {
			return ns
		}
	}
}

// sameName compares names as the DNS does, in either case (RFC 4343).
func sameName(a, b dnsmessage.Name) bool {
	if a.Length != b.Length {
		return false
	}
	for i := range a.Data[:a.Length] {
		if lower(a.Data[i]) != lower(b.Data[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}
