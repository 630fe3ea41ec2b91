package rules

import "testing"

func TestSeconds(t *testing.T) {
	for s, want := range map[string]float64{"15m": 900, "1h30m": 5400, "30d": 2592000, "1w": 604800, "10s": 10, "": 0, "15": 0, "m": 0, "15 m": 0, "1y": 0} {
		if got := Seconds(s); got != want {
			t.Errorf("Seconds(%q) = %v; want %v", s, got, want)
		}
	}
}
