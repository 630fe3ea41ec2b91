package zone

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strconv"

	"symbiosis-connect-acl/internal/address"
)

// TTL is how many seconds an answer may be kept, and the answer that a host is
// not listed too.
const TTL = 60

// The other times of the SOA record, in seconds. A change is told by NOTIFY; a
// secondary that has missed it asks after refresh.
const (
	refresh = 300
	retry   = 60
	expire  = 7 * 86400
)

// A Head is what a zone is called, and by whom.
type Head struct {
	Zone   string
	Origin string // the server that the entries are from
}

// An Output is what a zone is written to. WriteSerial writes the serial number.
type Output interface {
	WriteString(s string) (int, error)
	Write(p []byte) (int, error)
	WriteSerial() error
}

// A Format is a way to write a zone.
type Format string

// The formats.
const (
	RFC1035 Format = "rfc1035" // a zone file, for BIND, NSD, Knot and PowerDNS
	Rbldnsd Format = "rbldnsd" // a file of the type combined, for rbldnsd
)

// Write writes the zone with the entries, which must be sorted as Entries gives
// them.
func (f Format) Write(w Output, h Head, entries iter.Seq2[Entry, error]) error {
	switch f {
	case RFC1035:
		return writeRFC1035(w, h, entries)
	case Rbldnsd:
		return writeRbldnsd(w, h, entries)
	}
	return fmt.Errorf("there is no format %q: write %s or %s", string(f), Rbldnsd, RFC1035)
}

// texts spells the text of each reason and day once.
type texts struct {
	origin string
	known  map[Entry]string
}

func (t *texts) of(e Entry) string {
	e.Key = address.Key{}
	s, ok := t.known[e]
	if !ok {
		s = e.Text(t.origin)
		t.known[e] = s
	}
	return s
}

func writeRFC1035(w Output, h Head, entries iter.Seq2[Entry, error]) error {
	fmt.Fprintf(w, "; written by symbiosis-connect-db zone: an edit is lost\n$ORIGIN %s.\n$TTL %d\n@ IN SOA %s. hostmaster.%s. ", h.Zone, TTL, h.Origin, h.Origin)
	if err := w.WriteSerial(); err != nil {
		return err
	}
	fmt.Fprintf(w, " %d %d %d %d\n@ IN NS %s.\n", refresh, retry, expire, TTL, h.Origin)
	for _, name := range TestNames {
		fmt.Fprintf(w, "%s A %s\n\tTXT %q\n", name, History.Code(), TestText)
	}
	t := texts{h.Origin, map[Entry]string{}}
	for e, err := range entries {
		if err != nil {
			return err
		}
		if _, err := w.WriteString(Name(e.Key)); err != nil {
			return err
		}
		w.WriteString("\tA 127.0.0.")
		w.WriteString(strconv.Itoa(1 + int(e.Reason)))
		w.WriteString("\n\tTXT \"")
		w.WriteString(t.of(e))
		w.WriteString("\"\n")
	}
	return nil
}

// A group are the hosts with one reason and one day, which rbldnsd stores best:
// code and text once, and of each host its number.
type group struct {
	reason Reason
	day    Day
	v4     []uint32
	v6     []uint64
}

func gather(entries iter.Seq2[Entry, error]) ([]*group, error) {
	found := map[Entry]*group{}
	var all []*group
	for e, err := range entries {
		if err != nil {
			return nil, err
		}
		k := Entry{Reason: e.Reason, Day: e.Day}
		g := found[k]
		if g == nil {
			g = &group{reason: e.Reason, day: e.Day}
			found[k] = g
			all = append(all, g)
		}
		if a := e.Key.Prefix().Addr(); a.Is4() {
			b := a.As4()
			g.v4 = append(g.v4, binary.BigEndian.Uint32(b[:]))
		} else {
			b := a.As16()
			g.v6 = append(g.v6, binary.BigEndian.Uint64(b[:]))
		}
	}
	slices.SortFunc(all, func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.reason, b.reason), cmp.Compare(a.day, b.day))
	})
	for _, g := range all {
		slices.Sort(g.v4)
		slices.Sort(g.v6)
	}
	return all, nil
}

func writeRbldnsd(w Output, h Head, entries iter.Seq2[Entry, error]) error {
	groups, err := gather(entries)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "# written by symbiosis-connect-db zone: an edit is lost\n# rbldnsd reads it as %s:combined:FILE\n$SOA %d %s hostmaster.%s ", h.Zone, TTL, h.Origin, h.Origin)
	if err := w.WriteSerial(); err != nil {
		return err
	}
	fmt.Fprintf(w, " %d %d %d %d\n$NS %d %s\n$TTL %d\n", refresh, retry, expire, TTL, TTL, h.Origin, TTL)
	fmt.Fprintf(w, "$DATASET ip4set:v4 @\n:%s:%s\n127.0.0.2\n", History.Code(), TestText)
	var b []byte
	text := func(g *group) string {
		return ":" + g.reason.Code().String() + ":" + Entry{Reason: g.reason, Day: g.day}.Text(h.Origin) + "\n"
	}
	for _, g := range groups {
		if len(g.v4) == 0 {
			continue
		}
		w.WriteString(text(g))
		for _, n := range g.v4 {
			b = netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n))).AppendTo(b[:0])
			b = append(b, '\n')
			if _, err := w.Write(b); err != nil {
				return err
			}
		}
	}
	// The mapped test address is in ::/64, and a set of this type has nothing
	// smaller. Its neighbour must not be listed.
	fmt.Fprintf(w, "$DATASET ip6tset:test @\n:%s:%s\n0:0:0:0\n!0:0:0:0:0:ffff:7f00:1\n", History.Code(), TestText)
	for _, g := range groups {
		if len(g.v6) == 0 {
			continue
		}
		fmt.Fprintf(w, "$DATASET ip6tset:%s-%s @\n%s", g.reason, g.day, text(g))
		for _, n := range g.v6 {
			b = b[:0]
			for shift := 48; shift >= 0; shift -= 16 {
				b = strconv.AppendUint(b, n>>shift&0xffff, 16)
				b = append(b, ':')
			}
			b[len(b)-1] = '\n'
			if _, err := w.Write(b); err != nil {
				return err
			}
		}
	}
	return nil
}

// serialWidth is how many digits a serial number is written with.
const serialWidth = 10

// serialIn finds the serial number in the head of a zone that Write wrote.
func serialIn(head []byte) (serial uint32, ok bool) {
	s := bufio.NewScanner(bytes.NewReader(head))
	for s.Scan() {
		f := bytes.Fields(s.Bytes())
		for i, word := range f {
			if (string(word) == "SOA" || string(word) == "$SOA") && i+3 < len(f) {
				at := i + 3
				if string(word) == "$SOA" {
					at = i + 4
				}
				if at >= len(f) || len(f[at]) != serialWidth {
					return 0, false
				}
				n, err := strconv.ParseUint(string(f[at]), 10, 32)
				return uint32(n), err == nil
			}
		}
	}
	return 0, false
}
