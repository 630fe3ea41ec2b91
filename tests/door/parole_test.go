package door

import "testing"

// On parole no host becomes a sender, and one that is a sender stays one.
func TestParoleEarnsNoProof(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		deliver := func(host string) {
			c := d.Connect(host, 25)
			for _, line := range []string{"EHLO mx.sender.example", "MAIL FROM:<a@sender.example>", "RCPT TO:<user@example.org>", "DATA", "Subject: hello\r\n\r\nhello\r\n."} {
				if reply := c.Cmd("%s", line); reply[0] > '3' {
					t.Fatalf("%s: %s", line, reply)
				}
			}
			c.Quit()
			d.settled()
		}
		const day = "strftime('%s','now') - 86400*"
		for host, x := range map[string]struct{ columns, values, on string }{
			"7.8.1.1": {"history, history_passed", "30, " + day + "91", "0"},
			"7.8.1.2": {"history, history_passed, delivered, delivered_before", "30, " + day + "91, " + day + "1, " + day + "3", "1"},
			"7.8.1.3": {"history, history_passed", "3, 0", "1"},
		} {
			d.Root.Hosts("insert into host (net, " + x.columns + ") values ('" + host + "', " + x.values + ");")
			deliver(host)
			if got := d.Root.Hosts("select delivered > strftime('%s','now') - 3600 from host where net = '" + host + "';"); got != x.on {
				t.Errorf("%s (%s): the delivery is remembered: %s; want %s", host, x.columns, got, x.on)
			}
		}
	})
}
