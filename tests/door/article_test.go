package door

import (
	"os"
	"strings"
	"testing"

	"symbiosis-connect-acl/tests/article"
	"symbiosis-connect-acl/tests/lab"
)

// The traps are real, and the questions that the other tests ask of our rules
// find them: put to the article's own files, each gets the wrong answer.
func TestArticleHasTheTraps(t *testing.T) {
	everyStock := func(f func(t *testing.T, d *door)) {
		for _, suite := range lab.Suites {
			t.Run(suite.Exim, func(t *testing.T) {
				t.Parallel()
				r := lab.NewRoot(t, suite.Name, "symbiosis")
				n := lab.NewNet(t)
				d := &door{DNS: lab.StartDNS(t, n), t: t}
				sqlite(t, r.Path(database), goodSchema+goodRows)
				article.LayOver(t, r)
				r.Make("exim4.conf")
				d.Exim = lab.StartExim(t, r, n)
				f(t, d)
			})
		}
	}
	everyStock(func(t *testing.T, d *door) {
		d.expect(t, bad4, 25, "550", history)
		d.expect(t, innocent4, 25, "220", "")

		// 3: a known bad host whose /64 ends in zero groups.
		d.expect(t, bad6, 25, "220", "")
		d.expect(t, badOther6, 25, "220", "")

		// 6: a list's error code.
		d.DNS.Behave(zen, lab.AlwaysA("127.255.255.254"))
		d.expect(t, innocent4, 25, "550", "is blacklisted at "+zen)
		d.DNS.Behave(zen, nil)

		// 8: the PBL on the users' port.
		d.DNS.List(t, zen, homeUser, "127.0.0.10", "PBL")
		d.expect(t, homeUser, 587, "550", "")

		// 1: no database, and one that cannot be read.
		db := d.Root.Path(database)
		if err := os.Rename(db, db+".away"); err != nil {
			t.Fatal(err)
		}
		d.expect(t, innocent4, 25, "451", "")
		if err := os.Rename(db+".away", db); err != nil {
			t.Fatal(err)
		}
		os.Chmod(db, 0o600)
		d.expect(t, innocent4, 25, "451", "")
		os.Chmod(db, 0o644)

		// 20: a bot that does not wait.
		c, err := d.Net.Dial("6.6.6.6", 25)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Write([]byte("EHLO bot.example\r\n"))
		buf := make([]byte, 3)
		if _, err := c.Read(buf); err != nil || string(buf) != "220" {
			t.Errorf("a bot that does not wait: %q, %v; want 220", buf, err)
		}

		// 9: a log line in which the article's pattern finds 8.8.8.8.
		mark := len(d.Log())
		h := d.Connect(innocent4, 587)
		h.Cmd("EHLO evil) [8.8.4.4]: 535 Incorrect authentication data")
		h.StartTLS("evil) [8.8.4.4]: 535 Incorrect authentication data", "mail.example.org")
		h.AuthPlain("user@example.org", "guess")
		h.Quit()
		// Since 4.99 "H=" stands before the name, so the article's pattern finds
		// nobody at all there.
		line := "authenticator failed for (evil) [8.8.4.4]: 535 Incorrect authentication data"
		if d.Root.Suite.Exim == "4.100.1" {
			line = strings.Replace(line, "for ", "for H=", 1)
		}
		d.LogSince(t, mark, line)

		// 5: log_selector twice. 4.100 takes it without a word and obeys the last.
		d.Root.Append(d.Root.SnippetDir()+"/00-main/50-tls-options", "log_selector = +tls_sni\n")
		if out, code := d.Root.Try("make", "-s", "-C", "/etc/exim4", "test"); (code == 0 || !strings.Contains(out, "log_selector")) && d.Root.Suite.Exim != "4.100.1" {
			t.Errorf("make test with two log_selectors: exit code %d, %q", code, out)
		}
		d.Root.Write(d.Root.SnippetDir()+"/00-main/50-tls-options", strings.ReplaceAll(
			d.Root.Read(d.Root.SnippetDir()+"/00-main/50-tls-options"), "log_selector = +tls_sni\n", ""), 0o644)

		// 4 and 15: the macro that the article forgets, which make test does
		// not miss.
		os.Remove(d.Root.Snippet("00-main/22-threshold"))
		d.Rebuild()
		d.expect(t, innocent4, 25, "451", "")
	})
}
