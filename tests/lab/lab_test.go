package lab

import (
	"strings"
	"testing"
)

// The lab itself: the stock tree lets everyone in, from any address, on every
// port, and delivers mail. What the other tests prove rests on this.
func TestStockTreeServesEveryone(t *testing.T) {
	for _, suite := range Suites {
		t.Run(suite.Name, func(t *testing.T) {
			t.Parallel()
			r := NewRoot(t, suite.Name, "symbiosis")
			if v := r.Run("exim4", "-bV"); !strings.Contains(v, "Exim version "+suite.Exim+" ") {
				t.Fatalf("not Exim %s:\n%s", suite.Exim, v)
			}
			n := NewNet(t)
			StartDNS(t, n)
			e := StartExim(t, r, n)
			for _, from := range []string{"8.8.8.8", "203.0.113.9", "2a01:7e00::5"} {
				for _, port := range []int{25, 465, 587} {
					if g := e.Greet(from, port); Code(g) != "220" {
						t.Errorf("%s on port %d: %q", from, port, g)
					}
				}
			}
			c := e.Connect("8.8.8.8", 587)
			c.Cmd("EHLO client.example")
			c.StartTLS("client.example", "mail.example.org")
			if got := c.AuthPlain("user@example.org", "wrong"); Code(got) != "535" {
				t.Errorf("a wrong password: %q", got)
			}
			if got := c.AuthPlain("user@example.org", "correct horse"); Code(got) != "235" {
				t.Errorf("the right password: %q", got)
			}
			c.Quit()
			e.LogSince(t, 0, "535 Incorrect authentication data")
		})
	}
}
