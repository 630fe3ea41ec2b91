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
		text string
		host netip.Addr
		want int
	}{
		// What net-iplsearch finds.
		{"192.0.2.8\n192.0.2.7: x\n", v4, 2},
		{"192.0.2.0/24\n", v4, 1},
		{"\"2001:db8::/32\": x\n", v6, 1},
		{"2001:db8::5\n", v6, 0},
		{"", v4, 0},
	} {
		path := filepath.Join(t.TempDir(), "list")
		if err := os.WriteFile(path, []byte(tt.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, _ := findLine(path, tt.host); got != tt.want {
			t.Errorf("%q for %s: line %d; want %d", tt.text, tt.host, got, tt.want)
		}
	}
	if n, _ := findLine("/nonexistent", v4); n != 0 {
		t.Error("a line in a file that is not there")
	}
}
