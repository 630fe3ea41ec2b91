package dnsbl

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseLists(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []string // as String spells them
	}{
		{"", nil},
		{" : :", nil},
		{"zen.spamhaus.org", []string{"zen.spamhaus.org"}},
		{"ZEN.Spamhaus.ORG.", []string{"zen.spamhaus.org"}},
		{"a.example*1", []string{"a.example"}},
		{"a.example*3 : b.example*-4:c.example*+2", []string{"a.example*3", "b.example*-4", "c.example*2"}},
		{"a.example=127.0.0.2", []string{"a.example=127.0.0.2"}},
		{"a.example=127.0.0.2,127.0.0.3", []string{"a.example=127.0.0.2,127.0.0.3"}},
		{" a.example = 127.0.0.2 , 127.0.0.3 * 2 ", []string{"a.example=127.0.0.2,127.0.0.3*2"}},
		{"zone.example=127.0.0.[2;3;4..7]*2", []string{"zone.example=127.0.0.[2..7]*2"}},
		{"zone.example=127.0.0.[9..11;2;4]", []string{"zone.example=127.0.0.[2;4;9..11]"}},
		{"list.dnswl.org=127.0.[0..255].[1..3]*-2", []string{"list.dnswl.org=127.0.[0..255].[1..3]*-2"}},
		{"list.dnswl.org=127.0.[2..15].0*-2:list.dnswl.org=127.0.[2..15].1*-3",
			[]string{"list.dnswl.org=127.0.[2..15].0*-2", "list.dnswl.org=127.0.[2..15].1*-3"}},
		{"a.example=[127].0.0.[2]", []string{"a.example=127.0.0.2"}},
		{"a.example\n:\tb.example", []string{"a.example", "b.example"}},
		{"a.example=127.0.0.(2;4..7)", []string{"a.example=127.0.0.[2;4..7]"}},
		{"my_list.example", []string{"my_list.example"}},
		{"abcdefghij0123456789klmnop.zen.dq.spamhaus.net=127.0.0.2", []string{"***.zen.dq.spamhaus.net=127.0.0.2"}},
	} {
		lists, err := ParseLists(tt.in)
		if err != nil {
			t.Errorf("ParseLists(%q): %v", tt.in, err)
			continue
		}
		var got []string
		for _, l := range lists {
			got = append(got, l.String())
		}
		if strings.Join(got, " : ") != strings.Join(tt.want, " : ") {
			t.Errorf("ParseLists(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestParseListsRefuses(t *testing.T) {
	for _, tt := range []struct{ in, item, expected string }{
		{"ok.example : a b.example", "a b.example", "separated by colons"},
		{"a.example,b.example", "a.example,b.example", "separated by colons: write a.example : b.example"},
		{"=127.0.0.2", "=127.0.0.2", "before the codes"},
		{"a..example", "a..example", "labels"},
		{"a.example-", "a.example-", "labels"},
		{"-a.example", "-a.example", "labels"},
		{"bücher.example", "b??cher.example", "labels"},
		{strings.Repeat("a", 64) + ".example", "***.example", "labels"},
		{strings.Repeat("a.", 100) + "example", "", "at most 189 characters"},
		{"a.example=127.0.0.2 : 127.0.0.3", "127.0.0.3", "commas"},
		{"a.example=", "a.example=", "127.0.0.2"},
		{"a.example=127.0.0", "a.example=127.0.0", "four numbers"},
		{"a.example=127.0.0.2.3", "a.example=127.0.0.2.3", "four numbers"},
		{"a.example=127.0.0.256", "a.example=127.0.0.256", "four numbers"},
		{"a.example=127.0.0.02", "a.example=127.0.0.02", "four numbers"},
		{"a.example=127.0.0.-2", "a.example=127.0.0.-2", "four numbers"},
		{"a.example=127.0.0.2,", "a.example=127.0.0.2,", "between lists: write a.example=127.0.0.2"},
		{"a.example=127.0.0.2..4", "a.example=127.0.0.2..4", "four numbers"},
		{"a.example=127.0.0.[2", "a.example=127.0.0.(2", "bracket to be closed"},
		{"a.example=127.0.0.[]", "a.example=127.0.0.()", "four numbers"},
		{"a.example=127.0.0.[7..4]", "a.example=127.0.0.(7..4)", "smaller number first"},
		{"a.example=10.0.0.2", "a.example=10.0.0.2", "127.0.0.0/8"},
		{"a.example=127.255.255.254", "a.example=127.255.255.254", "127.255.255.0/24"},
		{"a.example*", "a.example*", "whole number"},
		{"a.example*0", "a.example*0", "whole number"},
		{"a.example*1.5", "a.example*1.5", "whole number"},
		{"a.example*2*3", "a.example*2*3", "whole number"},
		{"a.example*9999999", "a.example*9999999", "whole number"},
		{"a.example*2=127.0.0.2", "a.example*2=127.0.0.2", "whole number"},
		{"a.example&0.0.0.2", "a.example&0.0.0.2", "& and !"},
		{"a.example!=127.0.0.2", "a.example!=127.0.0.2", "& and !"},
		{"a.example=127.0.0.0/24", "a.example=127.0.0.0/24", "range of codes"},
		{"a.example/$sender_address", "a.example/_sender_address", "range of codes"},
		{"<; a.example ; b.example", "<; a.example ; b.example", "write a.example : b.example"},
		{"a.example : a.example", "a.example", "stands twice"},
		{"a.example=127.0.0.[2;3] : A.example.=127.0.0.[2..3]*4", "A.example.=127.0.0.(2..3)*4", "stands twice"},
	} {
		lists, err := ParseLists(tt.in)
		if err == nil || lists != nil {
			t.Errorf("ParseLists(%q) = %v, %v; want an error", tt.in, lists, err)
			continue
		}
		e, ok := err.(*SyntaxError)
		if !ok || tt.item != "" && e.Item != tt.item || !strings.Contains(e.Expected, tt.expected) {
			t.Errorf("ParseLists(%q): %v; want item %q and %q", tt.in, err, tt.item, tt.expected)
		}
	}
}

// What other programs write is told with what to write here. That is read as it
// stands, also as a log line has it, and each of its lists is one of those.
func TestPastedLists(t *testing.T) {
	const key = "abcdefghij0123456789klmnop"
	for _, tt := range []struct{ in, why, better string }{
		{"zen.spamhaus.org*3, bl.spamcop.net*2", "lists are separated by colons", "zen.spamhaus.org*3 : bl.spamcop.net*2"},
		{"zen.spamhaus.org*3\n  bl.spamcop.net*2\n", "lists are separated by colons", "zen.spamhaus.org*3 : bl.spamcop.net*2"},
		{"zen.spamhaus.org=127.0.0.[10;11]*8\n\tzen.spamhaus.org=127.0.0.[4..7]*6,\n\tlist.dnswl.org=127.0.[0..255].1*-3", "lists are separated by colons",
			"zen.spamhaus.org=127.0.0.(10;11)*8 : zen.spamhaus.org=127.0.0.(4..7)*6 : list.dnswl.org=127.0.(0..255).1*-3"},
		{"a.example=127.0.0.2,127.0.0.3,b.example", "lists are separated by colons", "a.example=127.0.0.2,127.0.0.3 : b.example"},
		{"a.example = 127.0.0.2 127.0.0.3 ; b.example * 2", "lists are separated by colons", "a.example=127.0.0.2,127.0.0.3 : b.example*2"},
		{"reject_rbl_client zen.spamhaus.org, reject_rbl_client bl.spamcop.net", "lists are separated by colons", "zen.spamhaus.org : bl.spamcop.net"},
		{"zen.spamhaus.org=127.0.0.[2..11] # the best: of all", "a comment needs a line of its own", "zen.spamhaus.org=127.0.0.(2..11)"},
		{"a.example : b.example*2# was 1", "a comment needs a line of its own", "a.example : b.example*2"},
		{`"a.example" : "b.example"`, "no quotation marks belong here", "a.example : b.example"},
		{key + ".zen.dq.spamhaus.net=127.0.0.2, b.example", "lists are separated by colons", "***.zen.dq.spamhaus.net=127.0.0.2 : b.example (with your key for ***)"},
	} {
		_, err := ParseLists(tt.in)
		e, ok := err.(*SyntaxError)
		if !ok || e.Expected != tt.why+": write "+tt.better {
			t.Errorf("ParseLists(%q): %v", tt.in, err)
			continue
		}
		if text := err.Error(); Sanitize(MaskKeys(text), 10000) != text {
			t.Errorf("the log has another advice than the terminal: %s", text)
		}
		if _, err := ParseLists(tt.better); err != nil && !strings.Contains(tt.better, "***") {
			t.Errorf("what is advised: %v", err)
		}
	}
}

func TestSyntaxErrorHidesTheKey(t *testing.T) {
	const key = "abcdefghij0123456789klmnop"
	for _, in := range []string{
		key + ".zen.dq.spamhaus.net=1",
		key + ".zen.dq.spamhaus.net*x",
		key + ".zen.dq.spamhaus.net : " + key + ".zen.dq.spamhaus.net",
		"https://" + key + ".zen.dq.spamhaus.net",
	} {
		_, err := ParseLists(in)
		if err == nil || strings.Contains(err.Error(), key) {
			t.Errorf("ParseLists(%q): %v", in, err)
		}
	}
}

func TestCodesMatch(t *testing.T) {
	for _, tt := range []struct {
		codes string
		hits  string
		miss  string
	}{
		{"", "127.0.0.2 127.0.0.10 127.0.1.1 127.1.2.3 127.255.254.255 127.255.0.255",
			"127.0.0.1 127.255.255.0 127.255.255.252 127.255.255.254 127.255.255.255 10.0.0.2 128.0.0.2 0.0.0.0 ::7f00:2"},
		{"=127.0.0.1", "127.0.0.1", "127.0.0.2"},
		{"=127.0.0.[2;3;4..7]", "127.0.0.2 127.0.0.3 127.0.0.4 127.0.0.7", "127.0.0.1 127.0.0.8 127.0.1.2"},
		{"=127.0.0.2,127.0.0.9", "127.0.0.2 127.0.0.9", "127.0.0.3"},
		{"=127.[0..255].[0..255].[0..255]", "127.0.0.1 127.255.254.1", "127.255.255.254"},
		{"=[0..255].0.0.2", "127.0.0.2", "10.0.0.2"},
	} {
		lists, err := ParseLists("a.example" + tt.codes)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range strings.Fields(tt.hits) {
			if !lists[0].Codes.Match(netip.MustParseAddr(s)) {
				t.Errorf("%q does not match %s", tt.codes, s)
			}
		}
		for _, s := range strings.Fields(tt.miss) {
			if lists[0].Codes.Match(netip.MustParseAddr(s)) {
				t.Errorf("%q matches %s", tt.codes, s)
			}
		}
	}
}

func TestQueryName(t *testing.T) {
	for _, tt := range []struct{ addr, want string }{
		{"192.0.2.99", "99.2.0.192.bad.example.com."},
		{"::ffff:192.0.2.99", "99.2.0.192.bad.example.com."},
		// The example of RFC 5782 section 2.4.
		{"2001:db8:1:2:3:4:567:89ab", "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bad.example.com."},
	} {
		for _, zone := range []string{"bad.example.com", "bad.example.com."} {
			if got := QueryName(netip.MustParseAddr(tt.addr), zone); got != tt.want {
				t.Errorf("QueryName(%s) = %s, want %s", tt.addr, got, tt.want)
			}
		}
	}
	// The IPv6 test entries are IPv6, though they map an IPv4 address.
	if got, want := reversed(testEntry(listed6)), "2.0.0.0.0.0.f.7.f.f.f.f."+strings.Repeat("0.", 20); got != want {
		t.Errorf("IPv6 test entry: %s, want %s", got, want)
	}
}

func FuzzParseLists(f *testing.F) {
	for _, s := range []string{"", "a.example", "zone=127.0.0.[2;3;4..7]*-2 : b=127.0.0.2,127.0.0.3", "a=[0..255].[1;2].0.1*7", "*", "=", "a=[", "a=127.0.0.[2..", "a*-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		lists, err := ParseLists(s)
		if err != nil {
			if lists != nil {
				t.Errorf("%q: lists and an error", s)
			}
			checkSafe(t, s, err.(*SyntaxError).Item, 100)
			return
		}
		for _, l := range lists {
			if l.Weight == 0 || l.Zone == "" || len(QueryName(netip.IPv6Unspecified(), l.Zone)) > 254 {
				t.Errorf("%q: %+v", s, l)
			}
			// What an item is spelt as is read as the same item.
			if l.DisplayName() != l.Zone {
				continue
			}
			again, err := ParseLists(l.String())
			if err != nil || len(again) != 1 || again[0].String() != l.String() || again[0].Weight != l.Weight {
				t.Errorf("%q: %q read again as %v, %v", s, l, again, err)
			}
		}
	})
}
