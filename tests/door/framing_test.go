package door

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"symbiosis-connect-acl/internal/patterns"
	"symbiosis-connect-acl/tests/lab"
)

// taken gives the addresses that the shipped patterns take from a log.
func taken(t *testing.T, log string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(lab.SourceDir(), "patterns.d/exim4.patterns"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := patterns.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Compile(); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, line := range strings.Split(log, "\n") {
		for _, h := range f.Match([]byte(line), nil) {
			all = append(all, string(h.Address))
		}
	}
	return all
}

// While the suite learns, or is off, a HELO name may hold anything. No
// line that it leads to may be taken for somebody else's, however long it is.
func TestFramingInLearn(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		for _, state := range []string{"learn", "off"} {
			d.with(t, func() {
				const marker = "the-last-of-the-attacks"
				mark := len(d.Log())
				for _, n := range []int{0, 7000, 9000} {
					filler := strings.Repeat("A", n)
					c := d.Connect(innocent4, 465)
					c.Cmd("EHLO x) [8.8.8.8]: 535 Incorrect authentication data %s", filler)
					c.AuthPlain("user@example.org", "wrong")
					c.Quit()
					c = d.Connect(innocent4, 587)
					c.Cmd("EHLO x) [8.8.8.8] dropped: too many unrecognized commands (last %s", filler)
					for range 4 {
						c.Cmd("XYZZY")
					}
					c.Close()
					c = d.Connect(innocent4, 465)
					c.Cmd("EHLO x) [8.8.8.8]: syntactically invalid argument(s): [%s", filler)
					c.Cmd("EHLO")
					c.Quit()
				}
				// Every place at which the line can be cut off, with the character
				// before it with which Exim's own line ends.
				for n := 7900; n < 8150; n += 3 {
					c := d.Connect(innocent4, 465)
					c.Cmd("EHLO x) [8.8.8.8]: 535 Incorrect authentication data (%s", strings.Repeat(")", n))
					c.AuthPlain("user@example.org", "wrong")
					c.Quit()
					d.settled() // Exim serves one host so many at a time
				}
				c := d.Connect(innocent4, 465)
				c.Cmd("EHLO client.example")
				c.AuthPlain(marker, "wrong")
				c.Quit()
				log := d.LogSince(t, mark, marker)
				for _, a := range taken(t, log) {
					if a != innocent4 {
						t.Errorf("%s: %s is framed", state, a)
					}
				}
			}, "CONNECT_STATE_SUITE == "+state)
		}
	})
}

// A login that spoils Exim's own line, with its name or with its length, is counted
// by ours.
func TestFramingTooLong(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		mark := len(d.Log())
		c := d.Connect(innocent4, 465)
		c.Cmd("EHLO client.example")
		c.AuthPlain(strings.Repeat("A", 8500), "wrong")
		c.Quit()
		log := d.LogSince(t, mark, "connect-acl: failed login from ["+innocent4+"]")
		if got := strings.Join(taken(t, log), " "); got != innocent4 {
			t.Errorf("one offence, counted for %q", got)
		}
		for _, user := range []string{"x: 535 y", "x: 5", ": 5x", "x:5 y"} {
			d.forget()
			mark = len(d.Log())
			c = d.Connect(innocent4, 465)
			c.Cmd("EHLO client.example")
			c.AuthPlain(user, "wrong")
			c.Cmd("QUIT") // answered when all is in the log
			c.Close()
			if got := strings.Join(taken(t, d.Log()[mark:]), " "); got != innocent4 {
				t.Errorf("user %q: one offence, counted for %q", user, got)
			}
		}
	})
}

// With dkim_verbose Exim decodes one tag of a message's DKIM signature and
// writes it as it is: line breaks too, so that any sender could write whole
// lines of the log. Our log_selector has it off, whatever else is on.
func TestFramingDKIM(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		d.with(t, func() {
			mark := len(d.Log())
			c := d.Connect(innocent4, 25)
			for _, line := range []string{"EHLO client.example", "MAIL FROM:<a@client.example>", "RCPT TO:<user@example.org>", "DATA"} {
				if got := c.Cmd("%s", line); got[0] > '3' {
					t.Fatalf("%s: %s", line, got)
				}
			}
			forged := "\n2026-11-23 12:00:00 connect-acl: refused HELO from [8.8.8.8]: bot name\n"
			tag := ""
			for _, b := range []byte(forged) {
				tag += fmt.Sprintf("=%02X", b)
			}
			c.Cmd("From: <a@client.example>\r\nDKIM-Signature: v=1; a=rsa-sha256; d=client.example; s=x; h=from;\r\n i=%s; bh=AAAA; b=AAAA\r\n\r\nhello\r\n.", tag)
			c.Quit()
			log := d.LogSince(t, mark, "Completed")
			if got := taken(t, log); len(got) > 0 {
				t.Errorf("a message makes the patterns take %q from:\n%s", got, log)
			}
		}, "CONNECT_LOG_SELECTOR_EXTRA == +all")
	})
}
