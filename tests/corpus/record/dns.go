package main

import (
	"net"
	"strings"

	"github.com/miekg/dns"
)

// reverseNames gives hosts a name, and the name the host's address, so that
// Exim believes it. The names are in the DNS's own escaped form.
var reverseNames = map[string]string{}

// listed are the addresses on the DNS list bl.example.net.
var listed = map[string]bool{}

func startDNS() (stop func(), err error) {
	scenarios() // fills the two maps
	pc, err := net.ListenPacket("udp", "127.0.0.1:53")
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:53")
	if err != nil {
		return nil, err
	}
	reverseNames[postfixRelay] = "mx.relay.example."
	ptr, forward, lists := map[string]string{}, map[string]string{}, map[string]bool{}
	for addr, name := range reverseNames {
		rev, err := dns.ReverseAddr(addr)
		if err != nil {
			return nil, err
		}
		ptr[rev] = name
		forward[dns.CanonicalName(name)] = addr
	}
	for addr := range listed {
		rev, err := dns.ReverseAddr(addr)
		if err != nil {
			return nil, err
		}
		rev = strings.TrimSuffix(strings.TrimSuffix(rev, "in-addr.arpa."), "ip6.arpa.")
		lists[rev+"bl.example.net."] = true
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		name := dns.CanonicalName(q.Question[0].Name)
		header := func(t uint16) dns.RR_Header {
			return dns.RR_Header{Name: q.Question[0].Name, Rrtype: t, Class: dns.ClassINET, Ttl: 60}
		}
		known := true
		switch addr, isForward := forward[name]; {
		case ptr[name] != "":
			if q.Question[0].Qtype == dns.TypePTR {
				m.Answer = append(m.Answer, &dns.PTR{Hdr: header(dns.TypePTR), Ptr: ptr[name]})
			}
		case isForward:
			ip := net.ParseIP(addr)
			switch {
			case q.Question[0].Qtype == dns.TypeA && ip.To4() != nil:
				m.Answer = append(m.Answer, &dns.A{Hdr: header(dns.TypeA), A: ip})
			case q.Question[0].Qtype == dns.TypeAAAA && ip.To4() == nil:
				m.Answer = append(m.Answer, &dns.AAAA{Hdr: header(dns.TypeAAAA), AAAA: ip})
			}
		case lists[name]:
			switch q.Question[0].Qtype {
			case dns.TypeA:
				m.Answer = append(m.Answer, &dns.A{Hdr: header(dns.TypeA), A: net.IPv4(127, 0, 0, 2)})
			case dns.TypeTXT:
				m.Answer = append(m.Answer, &dns.TXT{Hdr: header(dns.TypeTXT), Txt: []string{`H=(x) [8.8.8.8]: 535 Incorrect authentication data`}})
			}
		case name == "mail.example.org." || name == "mail6.example.org.":
			ip := net.ParseIP(map[bool]string{true: server6, false: server4}[name == "mail6.example.org."])
			switch {
			case q.Question[0].Qtype == dns.TypeA && ip.To4() != nil:
				m.Answer = append(m.Answer, &dns.A{Hdr: header(dns.TypeA), A: ip})
			case q.Question[0].Qtype == dns.TypeAAAA && ip.To4() == nil:
				m.Answer = append(m.Answer, &dns.AAAA{Hdr: header(dns.TypeAAAA), AAAA: ip})
			}
		case name == "example.org.", name == "example.net.", strings.HasSuffix("."+name, "."+attackerDomain+"."):
			if q.Question[0].Qtype == dns.TypeMX {
				mx := "mail.example.org."
				if name == attackerDomain6+"." {
					mx = "mail6.example.org."
				}
				m.Answer = append(m.Answer, &dns.MX{Hdr: header(dns.TypeMX), Preference: 10, Mx: mx})
			}
		default:
			known = false
		}
		if !known {
			m.Rcode = dns.RcodeNameError
		}
		w.WriteMsg(m)
	})
	udp, tcp := &dns.Server{PacketConn: pc, Handler: handler}, &dns.Server{Listener: ln, Handler: handler}
	go udp.ActivateAndServe()
	go tcp.ActivateAndServe()
	return func() { udp.Shutdown(); tcp.Shutdown() }, nil
}
