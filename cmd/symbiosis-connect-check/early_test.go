package main

import (
	"strings"
	"testing"

	"symbiosis-connect-acl/internal/address"
)

// The C code may leave an address to the Go code, but must never read it
// differently.
func FuzzEarlyKey(f *testing.F) {
	for _, s := range []string{"192.0.2.1", "2a01:7e00::1", "2001:0:0:1::5", "::", "::1", "::ffff:192.0.2.1", "0:0:0:1:2:3:4:5",
		"2001:41c8:0001:0012:0000:0000:0000:0005", "1:0:2:0:3:0:4:0", "010.0.0.1", "::1.2.3.4", "fe80::1%eth0", "1.2.3", "", "1:2:3:4:5:6:1.2.3.4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsRune(s, 0) {
			t.Skip("no argument of a program has a NUL")
		}
		early := earlyKey(s)
		k, err := address.Parse(s)
		switch {
		case early == "":
			// Left to Go.
		case err != nil:
			t.Errorf("%q: C gives %q, Go %v", s, early, err)
		case early != k.String():
			t.Errorf("%q: C gives %q, Go %q", s, early, k)
		}
	})
}

func TestEarlyKeyTakesWhatEximWrites(t *testing.T) {
	for _, s := range []string{"192.0.2.1", "2a01:7e00::1", "2001:41c8:0001:0012:0000:0000:0000:0005"} {
		if earlyKey(s) == "" {
			t.Errorf("%q is left to the slow path", s)
		}
	}
}
