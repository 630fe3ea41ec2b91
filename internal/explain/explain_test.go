package explain

import (
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
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

func TestSeconds(t *testing.T) {
	for s, want := range map[string]float64{"15m": 900, "1h30m": 5400, "30d": 2592000, "1w": 604800, "10s": 10, "": 0, "15": 0, "m": 0, "15 m": 0, "1y": 0} {
		if got := seconds(s); got != want {
			t.Errorf("seconds(%q) = %v; want %v", s, got, want)
		}
	}
}

func TestRate(t *testing.T) {
	now := time.Unix(1800000000, 0)
	e := &examiner{rates: map[string]remembered{"15m/per_conn/connect-": {8, now.Add(-15 * time.Minute)}}}
	r := e.rate("15m", "per_conn/connect-", 1, now)
	// After one period, 1/e of the rate is left, and one event adds 1 - 1/e.
	if math.Abs(r.Now-8/math.E) > 1e-6 || math.Abs(r.Next-(1-1/math.E+8/math.E)) > 1e-6 {
		t.Errorf("%+v", r)
	}
	// An event after a long silence counts whole.
	if r := e.rate("15m", "per_conn/connect-", 1, now.Add(24*time.Hour)); r.Next != 1 {
		t.Errorf("after a day: %+v", r)
	}
	// A clock that went back does no harm.
	if r := e.rate("15m", "per_conn/connect-", 1, now.Add(-time.Hour)); math.Abs(r.Next-9) > 1e-6 {
		t.Errorf("before the last event: %+v", r)
	}
	if r := e.rate("15m", "per_cmd/other-", 0, now); r.Now != 0 || r.Next != 0 || !r.Last.IsZero() {
		t.Errorf("nothing remembered: %+v", r)
	}
}
