package whitelist

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// Exim reads the file by the expressions of here. tests/door puts the two beside
// each other.
func TestExpressionsAreTheSnippets(t *testing.T) {
	data, err := os.ReadFile("../../symbiosis.d/00-main/21-connect-check")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(data), "\nhostlist whitelist_connection_file =")
	list, _, _ = strings.Cut(list, "\nhostlist ")
	var got []string
	for _, m := range regexp.MustCompile(`\\N(.*?)\\N`).FindAllStringSubmatch(list, -1) {
		got = append(got, m[1])
	}
	octets := strings.NewReplacer(dashes, `\xE2\x80[\x90-\x95]`)
	want := []string{`^\xEF\xBB\xBF|` + comment, octets.Replace(dash), separator, word, exact4, exact6}
	if !slices.Equal(got, want) {
		t.Errorf("the snippet has\n%s\nand here is\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What is passed over is told with what to write, and that is understood when
// it is written.
func TestRemedies(t *testing.T) {
	for text, want := range map[string]string{
		"45.80.2.*":                    "write 45.80.2.0/24",
		"45.80.*.*":                    "write 45.80.0.0/16",
		"45.80.2.":                     "write 45.80.2.0/24",
		"45.80/16":                     "write 45.80.0.0/16",
		"45.80.2.0/255.255.255.0":      "write 45.80.2.0/24",
		"45.80.2.9/255.255.255.255":    "write 45.80.2.9",
		"045.080.002.003":              "write 45.80.2.3, without the leading zeros",
		"::ffff:45.80.2.0/120":         "write 45.80.2.0/24",
		"::ffff:2d50:203":              "write 45.80.2.3",
		"0:0:0:0:0:ffff:45.80.2.3":     "write 45.80.2.3",
		"45.80.2.9-45.80.2.3":          "write 45.80.2.3-45.80.2.9",
		"45.80.2.3-9":                  "write 45.80.2.3-45.80.2.9",
		"45.80.2.3/8x":                 "write 45.80.2.3, or a network with a length from 0 to 32 behind the /",
		"45.80.2.3/33":                 "write 45.80.2.3, or a network with a length from 0 to 32 behind the /",
		"2001:db8::/129":               "write 2001:db8::, or a network with a length from 0 to 128 behind the /",
		"fe80::1%eth0":                 "take the % and what follows it out",
		"45.80.2.3\u00a0home":          "write 45.80.2.3, and only plain letters, figures and blanks beside it",
		"\u200b45.80.2.0/24":           "write 45.80.2.0/24, and only plain letters, figures and blanks beside it",
		"!45.80.2.3":                   "take it out: nobody can be excluded here; write the networks around it instead",
		"*.example.org":                "write the full name of each host: a name is looked up, and a * cannot be",
		"friend@example.org":           "write the host's address or name: mail addresses mean nothing here",
		"home.example.org/24":          "write the name alone: a / belongs to an address",
		"the office":                   "put # before a comment; an entry is an address, a network such as 192.0.2.0/24, or a full host name",
		"45.80.2.0/255.0.255.0":        "write the network with its length, such as 192.0.2.0/24",
		"0.0.0.0/0":                    "take it out; to check nobody, set CONNECT_STATE_SUITE == off",
		"::/0":                         "take it out; to check nobody, set CONNECT_STATE_SUITE == off",
		"45.0.0.0/7":                   "write only the networks that you mean",
		"2001::/15":                    "write only the networks that you mean",
		"1.0.0.0 - 2.255.255.255":      "write only the networks that you mean",
		"0.0.0.0-255.255.255.255":      "take it out; to check nobody, set CONNECT_STATE_SUITE == off",
		"4\x005.80.2.3":                "save it as plain text (UTF-8)",
		"\xff\xfe4\x005\x00.\x008\x00": "save it as plain text (UTF-8)",
	} {
		f := Parse([]byte(text + "\n"))
		if len(f.Notes) == 0 || f.Notes[0].Remedy != want {
			t.Errorf("%q: %+v; want %q", text, f.Notes, want)
			continue
		}
		written, ok := strings.CutPrefix(want, "write ")
		written, _, _ = strings.Cut(written, ",")
		if ok && !strings.Contains(written, " ") {
			if f := Parse([]byte(written + "\n")); len(f.Notes) != 0 || len(f.Entries) != 1 {
				t.Errorf("%q: what the remedy says gives %+v", written, f)
			}
		}
	}
	for _, text := range []string{"", "# x", "45.0.0.0/8", "2001::/16", "192.0.2.1 # home", " - 192.0.2.1", "192.0.2.1:\r", "home.example.org # my home", "* 192.0.2.1 *"} {
		if f := Parse([]byte(text + "\n")); len(f.Notes) != 0 {
			t.Errorf("%q: %+v", text, f.Notes)
		}
	}
}

func TestRanges(t *testing.T) {
	for text, want := range map[string]string{
		"45.80.2.3 - 45.80.2.9":                      "45.80.2.3/32 45.80.2.4/30 45.80.2.8/31",
		"45.80.2.0–45.80.2.255":                      "45.80.2.0/24",
		"[45.80.2.3] - [45.80.2.3]":                  "45.80.2.3/32",
		"0.0.0.0-255.255.255.255":                    "0.0.0.0/0",
		"2001:db8::a - 2001:db8::f":                  "2001:db8::a/127 2001:db8::c/126",
		"::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": "::/0",
	} {
		f := Parse([]byte(text))
		if len(f.Entries) != 1 || !f.Entries[0].Range {
			t.Errorf("%q: %+v", text, f)
			continue
		}
		var got []string
		for _, p := range f.Entries[0].Nets {
			got = append(got, p.String())
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%q: %s; want %s", text, s, want)
		}
	}
}

// The times at which a name is looked up, and how long an answer holds.
func TestDerive(t *testing.T) {
	f := Parse([]byte("home.example.org\nHome.Example.Org.  # again\n45.80.2.3 - 45.80.2.4\n"))
	start := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	asked := 0
	addrs, ttl, fail := []netip.Addr{netip.MustParseAddr("45.80.2.3"), netip.MustParseAddr("0.0.0.0")}, time.Hour, error(nil)
	ask := func(_ context.Context, name string, kind Kind) ([]netip.Addr, time.Duration, error) {
		if name != "home.example.org" {
			t.Errorf("asked for %q", name)
		}
		if kind == AAAA {
			return nil, ttl, fail
		}
		asked++
		return addrs, ttl, fail
	}
	var d Derived
	// at derives at a time, from what was written to the file before.
	at := func(after time.Duration) (string, int) {
		t.Helper()
		asked = 0
		old := ParseDerived(d.Format("test"))
		d = f.Derive(t.Context(), old, start.Add(after), ask)
		var all []string
		for _, x := range d.Answers {
			for _, a := range x.Addrs {
				all = append(all, a.String())
			}
		}
		return strings.Join(all, " "), asked
	}
	for _, c := range []struct {
		after time.Duration
		do    func()
		addrs string
		asked int
	}{
		{0, nil, "45.80.2.3", 1},
		{4 * time.Minute, nil, "45.80.2.3", 0},
		{5 * time.Minute, func() { ttl = time.Second; addrs[0] = netip.MustParseAddr("45.80.2.4") }, "45.80.2.4", 1},
		{5*time.Minute + 30*time.Second, nil, "45.80.2.4", 0}, // no sooner than a minute
		{6 * time.Minute, func() { fail = errors.New("SERVFAIL\nfrom nobody") }, "45.80.2.4", 1},
		{7 * time.Minute, nil, "45.80.2.4", 1},
		{24 * time.Hour, nil, "45.80.2.4", 1},
		{24*time.Hour + 5*time.Minute, nil, "", 1}, // since the last good answer
		{24*time.Hour + 6*time.Minute, func() { fail = nil }, "45.80.2.4", 1},
		{24*time.Hour + 7*time.Minute, func() { addrs = nil }, "", 1}, // the name is gone, which is an answer
		{-time.Hour, nil, "", 1},                                      // a clock that was set back
	} {
		if c.do != nil {
			c.do()
		}
		old := d
		if got, n := at(c.after); got != c.addrs || n != c.asked {
			t.Errorf("after %v: %q, asked %d times; want %q and %d\n%s", c.after, got, n, c.addrs, c.asked, d.Format("test"))
		}
		if lapsed := len(Lapsed(old, d)); lapsed != map[bool]int{true: 1}[c.after == 24*time.Hour+5*time.Minute] {
			t.Errorf("after %v: %d lapsed", c.after, lapsed)
		}
	}
	if len(d.Ranges) != 1 || len(d.Answers) != 2 {
		t.Errorf("%+v", d)
	}
}
