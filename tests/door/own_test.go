package door

import (
	"os"
	"strings"
	"testing"
	"time"

	"symbiosis-connect-acl/tests/lab"
)

// A zone of one's own servers: it counts on every port and at each connection,
// and never for a host that this server knows better.
func TestOwnLists(t *testing.T) {
	const own, text = "bl.example.org", "origin=mail1.example.org date=2026-11-26 reason=guesser"
	const caught = "unwanted activity at another of our servers"
	everySuite(t, func(t *testing.T, d *door) {
		hosts := map[string]string{"bad": "8.8.4.4", "bad6": "2a03:b0c0::7", "white": "9.1.0.1", "relay": "9.1.0.2", "user": "9.1.0.3", "sender": "9.1.0.4"}
		for _, h := range hosts {
			d.DNS.List(t, own, h, "127.0.0.3", text)
		}
		d.Root.Write("etc/exim4/whitelist_connect_hosts", hosts["white"]+"\n", 0o644)
		d.Root.Write("etc/exim4/relay_from_hosts", hosts["relay"]+"\n", 0o644)
		d.Root.Hosts("insert into host (net, login) values ('9.1.0.3', unixepoch()-86400);" +
			"insert into host (net, delivered, delivered_before) values ('9.1.0.4', unixepoch()-86400, unixepoch()-3*86400);" +
			"insert into host (net, first, last, greeted, lists_passed) values ('8.8.4.4', unixepoch(), unixepoch(), unixepoch(), unixepoch());")
		d.expect(t, hosts["bad"], 25, "220", "") // nobody asks yet
		if n := d.DNS.Questions(own); n > 0 {
			t.Errorf("a zone that is not named is asked %d times", n)
		}
		d.with(t, func() {
			for _, port := range []int{25, 587} {
				d.expect(t, hosts["bad"], port, "550", caught)
				d.expect(t, hosts["bad6"], port, "550", caught)
				for _, friend := range []string{"white", "relay", "user", "sender"} {
					d.expect(t, hosts[friend], port, "220", "")
				}
				d.expect(t, innocent4, port, "220", "")
			}
			if l := d.Log(); !strings.Contains(l, "["+hosts["bad"]+`] rejected connection in "connect" ACL: Blacklisted: caught by another of our servers: `+own+" (127.0.0.3, "+text+")") {
				t.Errorf("the log does not name server and reason:\n%s", l)
			}

			// Whatever breaks, nobody is refused.
			d.DNS.Behave(own, lab.Rcode(2))
			d.expect(t, hosts["bad"], 587, "220", "")
			d.LogSince(t, 0, "own DNS lists: "+own)
			// An answer that would do for the public lists is too late for a user.
			d.DNS.Behave(own, lab.Late(1500*time.Millisecond, lab.AlwaysA("127.0.0.3")))
			for _, port := range []int{465, 587} {
				mark := len(d.Log())
				d.expect(t, hosts["bad"], port, "220", "")
				d.LogSince(t, mark, "own DNS lists: "+own+": no answer within 500ms")
			}
			d.DNS.Behave(own, nil)
			d.expect(t, hosts["bad"], 587, "550", caught)
			db := d.Root.Path(d.Root.HostsDatabase())
			must := func(err error) {
				if err != nil {
					t.Fatal(err)
				}
			}
			must(os.Rename(db, db+".away"))
			d.expect(t, hosts["bad"], 25, "220", "")
			must(os.Rename(db+".away", db))
			helper := d.Root.Path("usr/sbin/symbiosis-connect-check")
			must(os.Rename(helper, helper+".away"))
			d.expect(t, hosts["bad"], 25, "220", "")
			d.LogSince(t, 0, "own DNS lists: symbiosis-connect-check did not run")
			must(os.Rename(helper+".away", helper))
			d.Root.Hosts("insert or replace into state values ('lost', unixepoch()-3600);")
			d.expect(t, hosts["bad"], 25, "550", caught)
			d.expect(t, hosts["bad"], 587, "220", "") // nobody knows who is a user
			d.Root.Hosts("delete from state where name = 'lost';")
			d.expect(t, hosts["bad"], 587, "550", caught)
		}, "CONNECT_OWN_DNSBLS == "+own+"=127.0.0.[2..4]")
		d.with(t, func() {
			d.expect(t, hosts["bad"], 25, "220", "")
			d.LogSince(t, 0, "would deny: caught by another of our servers: "+own)
		}, "CONNECT_OWN_DNSBLS == "+own, "CONNECT_OWN_RESOLVER == "+lab.Resolver, "CONNECT_STATE_OWN_DNSBLS == learn")
	})
}
