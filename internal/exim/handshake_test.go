package exim

import (
	"fmt"
	"testing"
)

func TestOwnAddresses(t *testing.T) {
	for list, want := range map[string]string{
		"":                            "[127.0.0.1 ::1]",
		"<; ::0 ; 0.0.0.0":            "[127.0.0.1 ::1]",
		"192.0.2.1":                   "[192.0.2.1]",
		"192.0.2.1.25 : 127.0.0.1":    "[192.0.2.1 127.0.0.1]",
		"[192.0.2.1]::25 : 192.0.2.2": "[192.0.2.1 192.0.2.2]",
		"2001::db8::::1 : 192.0.2.1":  "[2001:db8::1 192.0.2.1]",
		"<; 2001:db8::1 ; 192.0.2.1":  "[2001:db8::1 192.0.2.1]",
		"<; [2001:db8::1]:25;":        "[2001:db8::1]",
		"eth0":                        "[127.0.0.1 ::1]",
	} {
		if got := fmt.Sprint(ownAddresses(list)); got != want {
			t.Errorf("%q: %s; want %s", list, got, want)
		}
	}
}

func TestHasPort(t *testing.T) {
	for list, want := range map[string]bool{"": false, "465": true, "4650": false, "25 : 465": true, "<, 4650, 465": true, "submissions": true} {
		if got := hasPort(list, 465); got != want {
			t.Errorf("%q: %v; want %v", list, got, want)
		}
	}
}
