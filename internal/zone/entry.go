// Package zone owns the list of hosts that this server shares with others: who
// is on it and why, and how it is written as a DNS list (RFC 5782) for the name
// servers that exist. It asks no name server; see package primary.
package zone

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/address"
)

// A Reason says why a host is listed.
type Reason uint8

// The reasons.
const (
	History Reason = iota + 1 // the firewall has counted it often
	Guesser                   // it has guessed passwords
	Bot                       // offences that only bots make, several in a day
)

// Reasons are all of them.
var Reasons = [...]Reason{History, Guesser, Bot}

var reasonWords = [...]string{History: "history", Guesser: "guesser", Bot: "bot"}

// String names the reason.
func (r Reason) String() string { return reasonWords[r] }

// Code is the answer of the list for hosts that are on it for this reason.
func (r Reason) Code() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 1 + byte(r)}) }

// A Day is a day in UTC, as the number of days since 1970.
type Day int32

// DayOf gives the day of a time.
func DayOf(t time.Time) Day { return Day(t.Unix() / 86400) }

// String spells the day as 2026-03-15.
func (d Day) String() string { return time.Unix(int64(d)*86400, 0).UTC().Format(time.DateOnly) }

// An Entry is one host on the list.
type Entry struct {
	Key    address.Key
	Reason Reason
	Day    Day // of the last offence
}

// Text is what the list says about the host beside the code. It names no person
// and nothing that the host said.
func (e Entry) Text(origin string) string {
	return "origin=" + origin + " date=" + e.Day.String() + " reason=" + e.Reason.String()
}

// ParseText reads a Text. ok is false for one that is none.
func ParseText(s string) (origin string, reason Reason, day Day, ok bool) {
	f := strings.Split(s, " ")
	if len(f) != 3 {
		return "", 0, 0, false
	}
	origin, ok1 := strings.CutPrefix(f[0], "origin=")
	date, ok2 := strings.CutPrefix(f[1], "date=")
	word, ok3 := strings.CutPrefix(f[2], "reason=")
	at, err := time.Parse(time.DateOnly, date)
	if !ok1 || !ok2 || !ok3 || err != nil || CheckDomain(origin) != nil {
		return "", 0, 0, false
	}
	for _, r := range Reasons {
		if r.String() == word {
			return origin, r, DayOf(at), true
		}
	}
	return "", 0, 0, false
}

const hex = "0123456789abcdef"

// Name is the name of the host's records, below the zone (RFC 5782, sections 2.1
// and 2.4). An IPv6 host is a whole /64, for which a wildcard stands.
func Name(k address.Key) string {
	var b []byte
	addr := k.Prefix().Addr()
	if addr.Is4() {
		a := addr.As4()
		for i := 3; i >= 0; i-- {
			b = strconv.AppendUint(b, uint64(a[i]), 10)
			b = append(b, '.')
		}
		return string(b[:len(b)-1])
	}
	a := addr.As16()
	b = append(b, '*')
	for i := 7; i >= 0; i-- {
		b = append(b, '.', hex[a[i]&15], '.', hex[a[i]>>4])
	}
	return string(b)
}

// ParseName gives the host whose Name it is. ok is false for any other name, as
// for one that is spelled in another way.
func ParseName(name string) (k address.Key, ok bool) {
	var labels []string
	if rest, is6 := strings.CutPrefix(name, "*."); is6 {
		labels = strings.Split(rest, ".")
		var a [16]byte
		if len(labels) != 16 {
			return k, false
		}
		for i, l := range labels {
			n := strings.Index(hex, l)
			if len(l) != 1 || n < 0 {
				return k, false
			}
			a[7-i/2] |= byte(n) << (4 * (i % 2))
		}
		k = address.FromAddr(netip.AddrFrom16(a))
	} else {
		labels = strings.Split(name, ".")
		if len(labels) != 4 {
			return k, false
		}
		a, err := netip.ParseAddr(labels[3] + "." + labels[2] + "." + labels[1] + "." + labels[0])
		if err != nil {
			return k, false
		}
		k = address.FromAddr(a)
	}
	return k, Name(k) == name
}

// TestNames are the names of the entries by which a list shows that it works
// (RFC 5782, section 5): 127.0.0.2 and the same mapped into IPv6.
var TestNames = [...]string{
	"2.0.0.127",
	"2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0",
}

// TestText is their text.
const TestText = "test entry"

// CheckDomain tells what is wrong with the name of a zone or of a server, which
// must be one that stands in a file of any name server without quotation marks.
func CheckDomain(name string) error {
	const most = 253 - 64 // a reversed IPv6 address stands before it
	if name == "" || len(name) > most {
		return fmt.Errorf("%q is not a domain name of 1 to %d characters", name, most)
	}
	for _, label := range strings.Split(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" || label[0] == '-' {
			return fmt.Errorf("%q is not a domain name: write letters, digits, - and _ in labels of 1 to 63, with dots between them", name)
		}
	}
	return nil
}

// Domain brings a name into the form that CheckDomain wants: in small letters,
// without the final dot.
func Domain(name string) (string, error) {
	name = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(name), "."))
	return name, CheckDomain(name)
}
