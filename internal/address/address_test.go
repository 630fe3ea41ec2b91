package address

import (
	"net/netip"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"192.0.2.1", "192.0.2.1"},
		{" 192.0.2.1\n", "192.0.2.1"},
		{"[192.0.2.1]", "192.0.2.1"},
		{"192.0.2.1/32", "192.0.2.1"},
		{"::ffff:192.0.2.1", "192.0.2.1"},
		{"::ffff:192.0.2.1/128", "192.0.2.1"},
		{"2a01:7e00:0:0:1:2:3:4", "2a01:7e00::/64"},
		{"2a01:7e00:0000:0000:0001:0002:0003:0004", "2a01:7e00::/64"},
		{"2A01:7E00::1", "2a01:7e00::/64"},
		{"2001:41c8:0001:0012:0000:0000:0000:0005", "2001:41c8:1:12::/64"},
		{"2001:41c8:1:12::/64", "2001:41c8:1:12::/64"},
		{"2001:41c8:1:12::|64", "2001:41c8:1:12::/64"},
		{"2001:41c8:1:12::5/128", "2001:41c8:1:12::/64"},
		{"[2001:0:0:1::]", "2001:0:0:1::/64"},
		{"::1", "::/64"},
	} {
		k, err := Parse(tt.in)
		if err != nil || k.String() != tt.want {
			t.Errorf("Parse(%q) = %q, %v; want %q", tt.in, k, err, tt.want)
		}
		again, err := Parse(k.String())
		if err != nil || again != k {
			t.Errorf("Parse(%q) = %q, %v; want the same key again", k, again, err)
		}
		fromFile, err := Parse(k.FileName())
		if err != nil || fromFile != k {
			t.Errorf("Parse(%q) = %q, %v; want the same key again", k.FileName(), fromFile, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, in := range []string{
		"", "host.example", "192.0.2", "192.0.2.1.5", "192.0.2.0/24", "192.0.2.1/33", "010.0.0.1",
		"2001:db8::/48", "2001:db8::/129", "fe80::1%eth0", "1.2.3.4'; drop table blacklist; --", "[192.0.2.1",
		"::ffff:192.0.2.0/120",
	} {
		if k, err := Parse(in); err == nil {
			t.Errorf("Parse(%q) = %q; want an error", in, k)
		}
	}
	if (Key{}).IsValid() || (Key{}).String() != "" || (Key{}).Prefix().IsValid() {
		t.Error("the zero Key must name no host")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"192.0.2.1", "2a01:7e00::/64", "::ffff:1.2.3.4", "[2001:db8::]", "2001:db8::|64", "/", "|"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(k.String())
		if err != nil || again != k {
			t.Fatalf("Parse(%q) gives %q, which parses as %q, %v", s, k, again, err)
		}
		if k.FileName() == "" || !k.Prefix().Contains(k.Prefix().Addr()) {
			t.Fatalf("Parse(%q) gives a key without a file name or prefix", s)
		}
	})
}

func TestFromAddrDropsZone(t *testing.T) {
	if k := FromAddr(netip.MustParseAddr("fe80::1%eth0")); k.String() != "fe80::/64" {
		t.Errorf("got %q", k)
	}
}
