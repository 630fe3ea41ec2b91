package address

import (
	"net/netip"
	"testing"
)

func TestNetworks(t *testing.T) {
	var n Networks
	if got := n.Find(netip.MustParsePrefix("192.0.2.1/32")); got != "" {
		t.Errorf("in no network: %q", got)
	}
	for _, s := range []string{"9.9.9.0/24", "9.9.0.0/16", "8.8.8.8/32", "::ffff:5.5.5.5/128", "2a01:7e00:1:2::5/128", "2a02::/32"} {
		n.Add(netip.MustParsePrefix(s), s)
	}
	n.Add(netip.MustParsePrefix("8.8.8.8/32"), "again")
	n.Add(netip.Prefix{}, "none")
	for p, want := range map[string]string{
		"9.9.9.9/32":           "9.9.0.0/16",
		"9.9.1.1/32":           "9.9.0.0/16",
		"9.8.1.1/32":           "",
		"8.8.8.8/32":           "8.8.8.8/32",
		"8.8.8.0/24":           "8.8.8.8/32",
		"8.8.9.0/24":           "",
		"5.5.5.5/32":           "::ffff:5.5.5.5/128",
		"2a01:7e00:1:2::/64":   "2a01:7e00:1:2::5/128",
		"2a01:7e00:1:2::6/128": "2a01:7e00:1:2::5/128",
		"2a01:7e00:1:3::/64":   "",
		"2a01:7e00:1::/48":     "2a01:7e00:1:2::5/128",
		"2a02:0:5::/64":        "2a02::/32",
		"::/0":                 "2a01:7e00:1:2::5/128 2a02::/32",
	} {
		if got := n.Find(netip.MustParsePrefix(p)); got != want && (got == "" || p != "::/0") {
			t.Errorf("%s: %q; want %q", p, got, want)
		}
	}
	if got := n.Find(netip.Prefix{}); got != "" {
		t.Errorf("nobody: %q", got)
	}
}
