// Package door tests the rules on real Exims: who gets in, who does not, what
// the log says, and that nothing which breaks harms an innocent host.
package door

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"symbiosis-connect-acl/tests/lab"
)

// Hosts of the tests. The addresses are public ones, because the rules accept
// private ones first; they exist only in the lab's namespaces.
const (
	innocent4 = "193.0.6.139"
	innocent6 = "2001:67c:2e8:22::c100:68b"
	bad4      = "8.8.8.8"
	bad6      = "2a01:7e00::5"     // its /64 ends in zero groups: 2a01:7e00::/64
	neighbour = "2a01:7e00:0:1::5" // another /64
	badOther6 = "2600:3c00::f03c:1"
	listed4   = "185.220.101.1" // on a list
	homeUser  = "86.1.2.3"      // on the PBL, as homes are
)

const (
	database   = "/var/lib/symbiosis/firewall-blacklist-count.db"
	zen        = "zen.spamhaus.org"
	barracuda  = "b.barracudacentral.org"
	spamcop    = "bl.spamcop.net"
	history    = "Blacklisted: Denied access - history of unwanted activity"
	goodSchema = "CREATE TABLE blacklist (ip TEXT NOT NULL, timestamp INTEGER NOT NULL, count INTEGER NOT NULL);"
	goodRows   = `INSERT INTO blacklist SELECT column1, strftime('%s','now') - column2, column3 FROM (VALUES
 ('8.8.8.8',90000,9),('8.8.8.8',89100,21),('2a01:7e00::/64',90000,30),('2600:3c00::/64',90000,30),
 ('9.9.9.9',90000,10),('9.9.9.10',90000,11));`
)

// A door is one installed server with its Exim, network and resolver.
type door struct {
	*lab.Exim
	DNS *lab.DNS
	t   testing.TB
}

// open installs the package on a suite's Symbiosis. Strangers are greeted at
// once, and nobody is too hasty: these two rules have tests of their own.
func open(t testing.TB, suite string) *door {
	t.Helper()
	return openOn(t, lab.NewRoot(t, suite, "symbiosis"))
}

// openOn does so in a root in which an administrator has been at work before.
func openOn(t testing.TB, r *lab.Root) *door {
	t.Helper()
	n := lab.NewNet(t)
	d := &door{DNS: lab.StartDNS(t, n), t: t}
	d.DNS.List(t, zen, listed4, "127.0.0.4", "https://www.spamhaus.org/query/ip/"+listed4)
	d.DNS.List(t, zen, homeUser, "127.0.0.10", "https://www.spamhaus.org/query/ip/"+homeUser)
	d.DNS.Add(t,
		lab.Reverse(innocent4)+".in-addr.arpa. 60 IN PTR mx.innocent.example.", "mx.innocent.example. 60 IN A "+innocent4,
		lab.Reverse(innocent6)+".ip6.arpa. 60 IN PTR mx6.innocent.example.", "mx6.innocent.example. 60 IN AAAA "+innocent6)
	sqlite(t, r.Path(database), goodSchema+goodRows)
	r.Install()
	r.Local("CONNECT_STATE_GREETING == off", "CONNECT_STATE_RATELIMIT == off")
	r.Make("exim4.conf")
	d.Exim = lab.StartExim(t, r, n)
	return d
}

// everySuite runs a test on every Exim that the package is for.
func everySuite(t *testing.T, f func(t *testing.T, d *door)) {
	for _, suite := range lab.Suites {
		t.Run(suite.Exim, func(t *testing.T) {
			t.Parallel()
			f(t, open(t, suite.Name))
		})
	}
}

// with runs f with other macro values and puts the old ones back.
func (d *door) with(t *testing.T, f func(), lines ...string) {
	t.Helper()
	const local = "etc/exim4/symbiosis.d/00-main/22-connect-check-local"
	old := d.Root.Read(local)
	d.Root.Write(local, old+strings.Join(lines, "\n")+"\n", 0o644)
	d.Rebuild()
	defer func() {
		d.Root.Write(local, old, 0o644)
		d.Rebuild()
	}()
	f()
}

// forget makes everyone a stranger who has no history, and ends the rates that
// Exim remembers.
func (d *door) forget() {
	d.t.Helper()
	d.ClearHints()
	d.Root.Hosts("delete from host where history = 0;" +
		"update host set first = 0, last = 0, greeted = 0, lists_passed = 0, login = 0, failures = 0, failures_since = 0, offence = 0, offences = 0, guesser = 0;" +
		"delete from guess; delete from known; delete from doubt; delete from account;")
}

// expect connects and checks the greeting's code and a part of its text.
func (d *door) expect(t *testing.T, from string, port int, code, text string) {
	t.Helper()
	g := d.Greet(from, port)
	if lab.Code(g) != code || !strings.Contains(g, text) {
		t.Errorf("%s on port %d: %q; want %s with %q", from, port, g, code, text)
	}
}

func sqlite(t testing.TB, path, sql string) {
	t.Helper()
	cmd := exec.Command("sqlite3", path)
	cmd.Stdin = strings.NewReader(sql)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sqlite3: %v\n%s", err, out)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
}

// The table of the article: each kind of host, on each port.
func TestWhoGetsIn(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		d.Root.Write("etc/exim4/whitelist_connect_hosts", "# friends\n9.9.9.10\n2600:3c00::/32\n", 0o644)
		for _, port := range []int{25, 465, 587} {
			d.expect(t, innocent4, port, "220", "")
			d.expect(t, innocent6, port, "220", "")
			d.expect(t, "9.9.9.9", port, "220", "") // exactly the threshold
			d.expect(t, neighbour, port, "220", "")
			d.expect(t, "9.9.9.10", port, "220", "") // in the database, but a friend
			d.expect(t, badOther6, port, "220", "")  // likewise, by network
			d.expect(t, "10.1.2.3", port, "220", "") // private
			d.expect(t, homeUser, port, map[int]string{25: "550", 465: "220", 587: "220"}[port], "")
			if port == 465 {
				continue // see below
			}
			d.expect(t, bad4, port, "550", history)
			d.expect(t, bad6, port, "550", history)
		}
		d.expect(t, listed4, 25, "550", listed4+" is blacklisted at "+zen+".")
		d.expect(t, listed4, 25, "550", "Please see https://www.spamhaus.org/query/ip/"+listed4)
		d.expect(t, listed4, 587, "220", "")

		// An administrator's trial without a port is one on port 25.
		if out, _ := d.Root.Try("exim4", "-C", "/etc/exim4/exim4.conf", "-bh", bad4); !strings.Contains(out, "\n550 "+history) {
			t.Errorf("exim4 -bh %s: %s", bad4, out)
		}

		// On 465 4.98 refuses in plain text before TLS, older ones inside it.
		mark := len(d.Log())
		if g := d.Greet(bad4, 465); lab.Code(g) == "220" {
			t.Errorf("%s on port 465: %q", bad4, g)
		}
		if l := d.LogSince(t, mark, history); !strings.Contains(l, "H=["+bad4+"] ") {
			t.Errorf("the log does not name %s:\n%s", bad4, l)
		}

		l := d.Log()
		for _, want := range []string{
			`[8.8.8.8] rejected connection in "connect" ACL: ` + history + " (count 30, threshold 10)",
			`[185.220.101.1] rejected connection in "connect" ACL: 185.220.101.1 is blacklisted at zen.spamhaus.org (127.0.0.4, score 1)`,
		} {
			if !strings.Contains(l, want) {
				t.Errorf("the log has no %q", want)
			}
		}
		if strings.Contains(l, "skipped") || strings.Contains(l, "failed to expand") {
			t.Errorf("a check was skipped with everything in order:\n%s", l)
		}
	})
}

func TestThresholdCanBeOverridden(t *testing.T) {
	d := open(t, lab.DefaultSuite)
	d.with(t, func() {
		d.expect(t, "9.9.9.10", 25, "220", "")
		d.expect(t, bad4, 25, "550", history)
		if out := d.Root.Run("symbiosis-connect-db", "show", "9.9.9.10"); !strings.Contains(out, "threshold of 11") {
			t.Errorf("symbiosis-connect-db does not know the threshold in force:\n%s", out)
		}
	}, "SYMBIOSIS_INCIDENT_THRESHOLD == 11")
	d.expect(t, "9.9.9.10", 25, "550", history)
}
