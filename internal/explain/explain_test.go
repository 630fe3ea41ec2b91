package explain

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func TestFindLine(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::5")
	for _, tt := range []struct {
		text     string
		host     netip.Addr
		tolerant bool
		want     int
	}{
		{"# 192.0.2.7\n192.0.2.7\n", v4, true, 2},
		{"192.0.2.0/24 the office\n", v4, true, 1},
		{"  192.0.2.7: friend\n", v4, true, 1},
		{"2001:db8::5\n", v6, true, 1},
		{"2001:db8::/32:\n", v6, true, 1},
		{"\"2001:db8::/32\": friend\n", v6, true, 1},
		{"mail.example.org\n192.0.2.8\n", v4, true, 0},
		// What net-iplsearch finds.
		{"192.0.2.8\n192.0.2.7: x\n", v4, false, 2},
		{"192.0.2.0/24\n", v4, false, 1},
		{"\"2001:db8::/32\": x\n", v6, false, 1},
		{"2001:db8::5\n", v6, false, 0},
		{"", v4, true, 0},
	} {
		path := filepath.Join(t.TempDir(), "list")
		if err := os.WriteFile(path, []byte(tt.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, _ := findLine(path, tt.host, tt.tolerant); got != tt.want {
			t.Errorf("%q for %s: line %d; want %d", tt.text, tt.host, got, tt.want)
		}
	}
	if n, _ := findLine("/nonexistent", v4, true); n != 0 {
		t.Error("a line in a file that is not there")
	}
}
