package known

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"symbiosis-connect-acl/internal/platform"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestLookup(t *testing.T) {
	for line, want := range map[string]string{
		"192.0.2.7":          "192.0.2.7/32",
		"192.0.2.7: x":       "192.0.2.7/32",
		"192.0.2.7\t# home":  "192.0.2.7/32",
		"192.0.2.7\r":        "192.0.2.7/32",
		"192.0.2.7/24":       "192.0.2.0/24",
		`"192.0.2.7": x`:     "192.0.2.7/32",
		`"2001:db8::/32": x`: "2001:db8::/32",
		`"2001:db8::5"`:      "2001:db8::5/128",
		"2001:db8::5":        "",
		" 192.0.2.7":         "",
		"192.0.2.7, 8.8.8.8": "",
		`"::ffff:192.0.2.7"`: "",
		`"fe80::1%eth0"`:     "",
		"# 192.0.2.7":        "",
		"mail.example.org":   "",
		"999.0.2.7":          "",
		"192.0.2.0/33":       "",
		"*":                  "",
		"":                   "",
	} {
		p, ok := lookup(line)
		if got := p.String(); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %s, %v; want %q", line, got, ok, want)
		}
	}
}

func TestRead(t *testing.T) {
	p := platform.Symbiosis(t.TempDir())
	if n, err := Read(p); err != nil || n.Find(netip.MustParsePrefix("0.0.0.0/0")) != "" {
		t.Fatalf("without a file: %v", err)
	}
	write(t, filepath.Join(p.EximDir, Connect), "# friends\n9.9.1.1, 9.9.1.2:25\n[2a01:7e00:1:2::5]\n9.9.1.8 - 9.9.1.9\nhome.example.org\n")
	write(t, p.WhitelistDNS, "# home.example.org A answered 2026-11-27T12:00:00Z, next 2026-11-27T12:05:00Z\n9.9.1.20\n"+
		"# old.example.org A answered 2026-11-27T12:00:00Z, next 2026-11-27T12:05:00Z\n9.9.1.21\n")
	write(t, filepath.Join(p.EximDir, ByIP), "9.9.2.1: x\n")
	write(t, filepath.Join(p.EximDir, Relay), "9.9.3.1\n\"2a02::/32\"\n")
	write(t, filepath.Join(p.FirewallDir, "whitelist.d", "9.9.4.1.auto"), "25\n")
	nftfw := p.Root + "/etc/nftfw"
	write(t, nftfw+"/whitelist.d/9.9.5.1", "")
	n, err := Read(p)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{
		"9.9.1.1/32": Connect, "9.9.1.2/32": Connect, "9.9.1.9/32": Connect, "9.9.1.10/32": "", "2a01:7e00:1:2::/64": Connect,
		"9.9.1.20/32": Connect, "9.9.1.21/32": Connect, // Exim reads all that was written down
		"9.9.2.1/32": ByIP, "9.9.3.1/32": Relay, "2a02:0:1::/64": Relay,
		"9.9.4.1/32": "whitelist.d: 9.9.4.1.auto", "9.9.5.1/32": "whitelist.d: 9.9.5.1", "9.9.6.1/32": "",
	} {
		if got := n.Find(netip.MustParsePrefix(host)); got != want {
			t.Errorf("%s: %q; want %q", host, got, want)
		}
	}
	entries, err := ReadFile(p, Connect)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		want := map[string]Entry{
			"9.9.1.2/32":  {Line: 2, Text: "9.9.1.1, 9.9.1.2:25"},
			"9.9.1.20/32": {Line: 5, Text: "home.example.org, which had this address in the DNS at 2026-11-27 12:00 UTC"},
			"9.9.1.21/32": {Line: 0, Text: "old.example.org, which had this address in the DNS at 2026-11-27 12:00 UTC"},
		}[e.Net.String()]
		if want.Text != "" && (e.Line != want.Line || e.Text != want.Text) {
			t.Errorf("%s: line %d: %s", e.Net, e.Line, e.Text)
		}
	}

	// A file that cannot be read has nobody in it, so all of them say so.
	for _, path := range []string{filepath.Join(p.EximDir, Connect), p.WhitelistDNS, filepath.Join(p.EximDir, ByIP), filepath.Join(p.EximDir, Relay), nftfw + "/whitelist.d"} {
		if err := os.Rename(path, path+".away"); err != nil {
			t.Fatal(err)
		}
		if filepath.Base(path) == "whitelist.d" {
			write(t, path, "")
		} else if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(p); err == nil {
			t.Errorf("%s cannot be read, and nobody says so", path)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".away", path); err != nil {
			t.Fatal(err)
		}
	}
}
