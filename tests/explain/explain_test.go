// Package explain tests that "symbiosis-connect-check explain" tells the truth:
// for every kind of host, what it says is what the door of a real Exim does.
package explain

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"symbiosis-connect-acl/internal/explain"
	"symbiosis-connect-acl/tests/lab"
)

// Hosts of the tests. They are public addresses, because the rules accept
// private ones first; they exist only in the lab's namespaces.
const (
	innocent4 = "193.0.6.139"
	innocent6 = "2001:67c:2e8:22::c100:68b"
	bad4      = "8.8.8.8"
	bad6      = "2a01:7e00::5" // its /64 ends in zero groups
	neighbour = "2a01:7e00:0:1::5"
	friend4   = "9.9.9.10"          // in the database and in whitelist_connect_hosts
	friend6   = "2600:3c00::f03c:1" // likewise, by its network
	white4    = "7.1.1.1"           // in the database and in whitelist/by_ip
	relay4    = "7.2.2.2"           // known only by relay_from_hosts
	listed4   = "185.220.101.1"     // on a list
	homeUser  = "86.1.2.3"          // on the PBL, as homes are
	nameless  = "6.6.6.6"           // has no reverse name
	walled    = "5.4.3.2"           // in the firewall
)

const (
	database = "/var/lib/symbiosis/firewall-blacklist-count.db"
	program  = "/usr/sbin/symbiosis-connect-check"
	zen      = "zen.spamhaus.org"
)

// counted is when the firewall has counted the bad hosts for the first time: so
// lately that none is on parole.
var counted = time.Now().Add(-48 * time.Hour).Truncate(time.Second)

func rows() string {
	return strings.NewReplacer("FIRST", fmt.Sprint(counted.Unix()), "LAST", fmt.Sprint(counted.Unix()+900)).Replace(
		`CREATE TABLE blacklist (ip TEXT NOT NULL, timestamp INTEGER NOT NULL, count INTEGER NOT NULL);
INSERT INTO blacklist VALUES ('8.8.8.8',FIRST,9),('8.8.8.8',LAST,21),
 ('2a01:7e00::/64',FIRST,30),('2600:3c00::/64',FIRST,30),('9.9.9.10',FIRST,30),
 ('7.1.1.1',FIRST,30),('7.2.2.2',FIRST,30),('9.9.9.9',FIRST,10);`)
}

type door struct {
	*lab.Exim
	DNS *lab.DNS
}

// open installs the package on a suite's Symbiosis. Strangers are greeted at
// once, and nobody is too hasty, unless a test wants it.
func open(t *testing.T, suite string) *door { t.Helper(); return openOn(t, suite, "symbiosis") }

func openOn(t *testing.T, suite, platform string) *door {
	t.Helper()
	r := lab.NewRoot(t, suite, platform)
	n := lab.NewNet(t)
	d := &door{DNS: lab.StartDNS(t, n)}
	d.DNS.List(t, zen, listed4, "127.0.0.4", "https://www.spamhaus.org/query/ip/"+listed4)
	d.DNS.List(t, zen, homeUser, "127.0.0.10", "https://www.spamhaus.org/query/ip/"+homeUser)
	for _, host := range []string{innocent4, bad4, listed4, homeUser} {
		d.DNS.Add(t, lab.Reverse(host)+".in-addr.arpa. 60 IN PTR host.example.")
	}
	for _, host := range []string{innocent6, bad6, neighbour} {
		d.DNS.Add(t, lab.Reverse(host)+".ip6.arpa. 60 IN PTR host6.example.")
	}
	cmd := exec.Command("sqlite3", r.Path("var/lib", platform, "firewall-blacklist-count.db"))
	cmd.Stdin = strings.NewReader(rows())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sqlite3: %v\n%s", err, out)
	}
	r.Install()
	r.Write("etc/exim4/whitelist_connect_hosts", "# friends\n9.9.9.10\n2600:3c00::/32\n", 0o644)
	r.Write("etc/exim4/whitelist/by_ip", "# white\n7.1.1.1\n", 0o644)
	r.Write("etc/exim4/relay_from_hosts", "7.2.2.2\n", 0o644)
	r.Local("CONNECT_STATE_GREETING == off", "CONNECT_STATE_RATELIMIT == off")
	r.Make("exim4.conf")
	d.Exim = lab.StartExim(t, r, n)
	return d
}

func everySuite(t *testing.T, f func(t *testing.T, d *door)) {
	for _, suite := range lab.Suites {
		t.Run(suite.Exim, func(t *testing.T) {
			t.Parallel()
			f(t, open(t, suite.Name))
		})
	}
}

// with runs f with other macro values and puts the old ones back.
func (d *door) with(f func(), lines ...string) {
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

// run runs the command where the resolver and Exim are.
func (d *door) run(t *testing.T, args ...string) (string, int) {
	t.Helper()
	inner := d.Root.Command("/usr/sbin/"+d.Root.Platform+"-connect-check", append([]string{"explain"}, args...)...)
	cmd := exec.Command("ip", append([]string{"netns", "exec", d.Net.Server}, inner.Args...)...)
	cmd.Env = inner.Env
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out) + errs.String(), cmd.ProcessState.ExitCode()
}

func (d *door) explain(t *testing.T, host string) explain.Report {
	t.Helper()
	out, code := d.run(t, "--json", host)
	var r explain.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("explain %s: exit status %d: %v\n%s", host, code, err, out)
	}
	if want := map[bool]int{true: 0, false: 3}[r.LetIn()]; code != want {
		t.Errorf("explain %s: exit status %d; want %d", host, code, want)
	}
	return r
}

func rule(t *testing.T, r explain.Report, name string) explain.Rule {
	t.Helper()
	i := slices.IndexFunc(r.Rules, func(x explain.Rule) bool { return x.Name == name })
	if i < 0 {
		t.Fatalf("no rule %q in the report", name)
	}
	return r.Rules[i]
}

// agree asks explain first, then the door, and compares, for each host and
// port, the replies and what the log says.
func (d *door) agree(t *testing.T, hosts ...string) {
	t.Helper()
	for _, host := range hosts {
		d.agreed(t, host)
	}
}

// agreed does so for one host, and gives the report.
func (d *door) agreed(t *testing.T, host string) explain.Report {
	t.Helper()
	r := d.explain(t, host)
	hopeless := slices.ContainsFunc(r.Notes, func(s string) bool { return strings.Contains(s, "no list of known hosts helps") })
	if r.LetIn() != (len(r.Commands) == 0) && !hopeless {
		t.Errorf("%s: let in: %v; commands %q", host, r.LetIn(), r.Commands)
	}
	for i, port := range explain.Ports {
		o := r.Outcomes[i]
		mark := len(d.Log())
		c := d.Connect(host, port)
		code := lab.Code(c.Greeting)
		if port == 465 && o.Rule == "offences" && code == "220" {
			code = lab.Code(c.Cmd("EHLO client.example")) // there Exim can say why
		}
		c.Quit()
		// On 465 4.98 refuses in plain text before TLS, so no reply is seen.
		if o.LetIn != (code == "220") {
			t.Errorf("%s on port %d: explain says %q, the door %q", host, port, o.How, code)
		}
		for name, words := range map[string]string{"history": "would deny: history", "offences": "would deny: recent offences", "dnsbl": "would deny: listed at",
			"rate": "would defer: rate", "reverse": "would deny: no reverse name", "greeting": "would delay: first visit"} {
			f := rule(t, r, name).Findings[i]
			would := strings.HasPrefix(string(f.Verdict), "would") && f.Reached
			if logged := strings.Contains(d.Log()[mark:], words); would != logged {
				t.Errorf("%s on port %d: explain says %s: %q (reached: %v); log:\n%s", host, port, name, f.Verdict, f.Reached, d.Log()[mark:])
			}
		}
		if !o.LetIn && port == 25 {
			words := map[string]string{"history": "Blacklisted: Denied access", "offences": "Blacklisted: Denied access", "dnsbl": "is blacklisted at",
				"rate": "Sender deferred", "reverse": "no reverse name"}[o.Rule]
			if words == "" {
				t.Errorf("%s: explain says that %q refuses it", host, o.Rule)
			}
			d.LogSince(t, mark, words) // Exim logs it after the reply
		}
	}
	return r
}

// refused are the ports on which explain says the host is refused.
func refused(r explain.Report) string {
	var ports []string
	for _, o := range r.Outcomes {
		if !o.LetIn {
			ports = append(ports, fmt.Sprint(o.Port))
		}
	}
	return strings.Join(ports, " ")
}

func TestWhatExplainSaysIsWhatTheDoorDoes(t *testing.T) {
	t.Parallel()
	everySuite(t, func(t *testing.T, d *door) {
		all := []string{innocent4, innocent6, bad4, bad6, neighbour, friend4, friend6, white4, relay4, listed4, homeUser, nameless, "9.9.9.9", "10.1.2.3"}
		d.agree(t, all...)
		for host, want := range map[string]string{innocent4: "", bad4: "25 465 587", bad6: "25 465 587", listed4: "25", homeUser: "25", friend4: "", relay4: ""} {
			if got := refused(d.explain(t, host)); got != want {
				t.Errorf("%s is refused on %q; want %q", host, got, want)
			}
		}

		h := rule(t, d.explain(t, bad4), "history").History
		if h == nil || h.Count != 30 || h.Rows != 2 || !h.First.Equal(counted) || !h.Last.Equal(counted.Add(900*time.Second)) {
			t.Errorf("history of %s: %+v", bad4, h)
		}
		for host, want := range map[string]explain.KnownBy{
			friend4: {List: "whitelist_connection_check", File: "/etc/exim4/whitelist_connect_hosts", Line: 2, Text: "9.9.9.10"},
			friend6: {List: "whitelist_connection_check", File: "/etc/exim4/whitelist_connect_hosts", Line: 3, Text: "2600:3c00::/32"},
			white4:  {List: "whitelisted_hosts_by_ip", File: "/etc/exim4/whitelist/by_ip", Line: 2, Text: "7.1.1.1"},
			relay4:  {List: "relay_from_hosts", File: "/etc/exim4/relay_from_hosts", Line: 1, Text: "7.2.2.2"},
		} {
			if got := rule(t, d.explain(t, host), "known").Known; len(got) != 1 || got[0] != want {
				t.Errorf("%s is known by %+v; want %+v", host, got, want)
			}
		}
		rounds := rule(t, d.explain(t, listed4), "dnsbl").DNSBL
		if len(rounds) != 1 || rounds[0].Score != 1 || rounds[0].Lists[0].Code != "127.0.0.4" || !strings.Contains(rounds[0].Lists[0].Text, listed4) {
			t.Errorf("the lists on %s: %+v", listed4, rounds)
		}

		d.with(func() { d.agree(t, all...) }, "CONNECT_STATE_SUITE == learn", "CONNECT_STATE_REVERSE == enforce", "CONNECT_STATE_GREETING == enforce")
		d.with(func() { d.agree(t, bad4, listed4, nameless) }, "CONNECT_STATE_SUITE == off")
		d.with(func() { d.agree(t, bad4, listed4, nameless, innocent4, homeUser) }, "CONNECT_STATE_REVERSE == enforce", "CONNECT_STATE_HISTORY == lern",
			"CONNECT_STATE_DNSBLS == learn", "CONNECT_PORTS_HISTORY == 25 : 587")
		d.with(func() { d.agree(t, bad4, homeUser, listed4, "9.9.9.9") }, "SYMBIOSIS_INCIDENT_THRESHOLD == 9",
			"CHECK_SUBMISSION_IP_DNSBLS == zen.spamhaus.org=127.0.0.[2..4]", "CHECK_CONNECT_IP_DNSBLS == zen.spamhaus.org=127.0.0.4*3",
			"CHECK_CONNECT_DNSBL_THRESHOLD == 2")
		d.with(func() { d.agree(t, bad4, listed4) }, "SYMBIOSIS_INCIDENT_THRESHOLD == ten", "CHECK_CONNECT_DNSBL_THRESHOLD == two")
		d.with(func() { d.agree(t, bad4, innocent4) }, "SYMBIOSIS_INCIDENT_THRESHOLD ==", "CHECK_CONNECT_RATELIMIT == 1 / 15m", "CONNECT_STATE_RATELIMIT == enforce")
		d.with(func() { d.agree(t, bad4, innocent4) }, "SYMBIOSIS_INCIDENT_THRESHOLD == -1", "CHECK_CONNECT_RATELIMIT == 10 / 0m", "CONNECT_STATE_RATELIMIT == enforce")
	})
}

// Rates are remembered from visit to visit: explain foretells the connection
// that is put off.
func TestRates(t *testing.T) {
	t.Parallel()
	everySuite(t, func(t *testing.T, d *door) {
		d.with(func() {
			for i := 1; i <= 7; i++ {
				d.agreeOn25(t, innocent4)
				d.agreeOn25(t, "2a02:1:2:3::"+fmt.Sprint(i))
			}
			r := d.explain(t, innocent4)
			if refused(r) != "25" {
				t.Errorf("a hasty host is refused on %q", refused(r))
			}
			if rate := rule(t, r, "rate").Rate; rate == nil || rate.Now < 4 || rate.Next <= 5 || rate.Limit != 5 {
				t.Errorf("rate %+v", rate)
			}
		}, "CONNECT_STATE_RATELIMIT == enforce", "CHECK_CONNECT_RATELIMIT == 5 / 15m")

		// Greeting: strangers wait, those who have been here do not.
		d.with(func() {
			if v := rule(t, d.explain(t, innocent6), "greeting").Findings[0].Verdict; v != explain.Delay {
				t.Errorf("a stranger: %q", v)
			}
			c := d.Connect(innocent6, 25)
			c.Cmd("EHLO client.example")
			c.Quit()
			d.settled()
			if v := rule(t, d.explain(t, innocent6), "greeting").Findings[0].Verdict; v != explain.Pass {
				t.Errorf("a host that has waited: %q", v)
			}
		}, "CONNECT_STATE_GREETING == enforce")

		// A user's address that has a history is let in where users come in.
		c := d.Connect("5.5.5.7", 587)
		c.Cmd("EHLO client.example")
		c.StartTLS("client.example", "mail.example.org")
		c.AuthPlain("user@example.org", "correct horse")
		c.Quit()
		d.settled()
		d.Root.History("5.5.5.7", 45)
		d.agree(t, "5.5.5.7")
		if got := refused(d.explain(t, "5.5.5.7")); got != "25" {
			t.Errorf("a user's host with a history is refused on %q; want 25", got)
		}

		// When the host database was lost, nobody knows who is a user.
		d.Root.Hosts("insert into state values ('lost', strftime('%s','now') - 86400);")
		d.agree(t, bad4, innocent4)
		if got := refused(d.explain(t, bad4)); got != "25" {
			t.Errorf("after a loss a host with a history is refused on %q; want 25", got)
		}
		d.Root.Hosts("delete from state where name = 'lost';")

		// Who has passed the DNS lists is not asked about, whatever they say now.
		d.Root.Hosts("insert into host (net, lists_passed) values ('" + listed4 + "', strftime('%s','now') - 1800);")
		d.agree(t, listed4)
		if got := refused(d.explain(t, listed4)); got != "" {
			t.Errorf("a host that has just passed the lists is refused on %q", got)
		}
		d.with(func() { d.agree(t, listed4) }, "CONNECT_DNSBL_MEMORY == 20m")
		d.with(func() { d.agree(t, listed4) }, "CONNECT_DNSBL_MEMORY == soon")
		// On the users' ports he is asked about, whatever he passed on port 25.
		d.with(func() {
			d.agree(t, listed4)
			if got := refused(d.explain(t, listed4)); got != "465 587" {
				t.Errorf("with lists on the users' ports too he is refused on %q; want 465 587", got)
			}
		}, "CHECK_SUBMISSION_IP_DNSBLS == CHECK_CONNECT_IP_DNSBLS")

		// Guesses: what explain says before each try is what the try meets. After the
		// tenth it meets it at the connection already.
		for i := 1; i <= 12; i++ {
			f := rule(t, d.explain(t, "5.5.5.5"), "auth").Findings[2]
			c := d.Connect("5.5.5.5", 587)
			got := lab.Code(c.Greeting)
			if got == "220" {
				c.Cmd("EHLO client.example")
				c.StartTLS("client.example", "mail.example.org")
				got = lab.Code(c.AuthPlain("user@example.org", fmt.Sprint("guess ", i)))
			}
			c.Close()
			d.settled()
			if out := got == "454" || got == "550"; (f.Verdict == explain.Defer) != out || i == 12 && !out {
				t.Errorf("try %d: explain says %q, the reply is %s", i, f.Verdict, got)
			}
		}
	})
}

func (d *door) agreeOn25(t *testing.T, host string) {
	t.Helper()
	r := d.explain(t, host)
	if code := lab.Code(d.Greet(host, 25)); r.Outcomes[0].LetIn != (code == "220") {
		t.Errorf("%s: explain says %q, the door %q; %+v", host, r.Outcomes[0].How, code, rule(t, r, "rate").Rate)
	}
}

func (d *door) settled() {
	deadline := time.Now().Add(10 * time.Second)
	for d.Serving() > 0 && time.Now().Before(deadline) {
		time.Sleep(2 * time.Millisecond) // between two looks at a condition
	}
}

// What is broken or switched off shows as such.
func TestBrokenParts(t *testing.T) {
	t.Parallel()
	everySuite(t, func(t *testing.T, d *door) {
		for name, breakIt := range map[string]func(path string) error{
			"missing":    os.Remove,
			"unreadable": func(p string) error { return os.Chown(p, 0, 0) },
			"garbage":    func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("garbage ", 1000)), 0o640) },
			"no table":   func(p string) error { return os.WriteFile(p, nil, 0o640) },
		} {
			t.Run(name, func(t *testing.T) {
				path := d.Root.Path(d.Root.HostsDatabase())
				if out, err := exec.Command("cp", "-a", path, path+".good").CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				defer os.Rename(path+".good", path)
				if err := breakIt(path); err != nil {
					t.Fatal(err)
				}
				d.agree(t, bad4, innocent4)
				for _, f := range rule(t, d.explain(t, bad4), "history").Findings {
					if f.Verdict != explain.Skipped {
						t.Errorf("history on %d: %q; want skipped", f.Port, f.Verdict)
					}
				}
			})
		}

		snippets := []string{"20-accept-known", "20-look-up-host", "30-check-symbiosis-db"}
		if d.Root.Suite.Name == lab.DefaultSuite {
			snippets = append(snippets, "15-connect-variables", "60-check-dnsbls", "../11-acl-connect-helper", "../14-acl-connect-state", "../15-acl-connect-hosts")
		}
		for _, name := range snippets {
			t.Run("without "+filepath.Base(name), func(t *testing.T) {
				path := d.Root.Snippet("10-acl/10-acl-check-connect/" + name)
				if err := os.Rename(path, path+".disabled"); err != nil {
					t.Fatal(err)
				}
				d.Rebuild()
				defer func() {
					os.Rename(path+".disabled", path)
					d.Rebuild()
				}()
				d.agree(t, bad4, listed4, friend4)
				if f := rule(t, d.explain(t, bad4), "auth").Findings[2]; (strings.HasPrefix(name, "15-connect") || strings.HasSuffix(name, "-state")) && f.Verdict != explain.Off {
					t.Errorf("failed logins: %q; want off: nobody knows the port", f.Verdict)
				}
			})
		}

		// The firewall stands before Exim.
		file := "/etc/symbiosis/firewall/blacklist.d/" + walled + ".auto"
		d.Root.Write(file, "25\n587\n", 0o644)
		r := d.explain(t, walled)
		if refused(r) != "25 587" || len(r.Commands) != 1 || r.Commands[0] != "rm '"+file+"'" {
			t.Errorf("in the firewall: refused on %q, commands %q", refused(r), r.Commands)
		}

		// A rule of the administrator's own is not explained, but named.
		d.Root.Write("etc/exim4/symbiosis.d/10-acl/10-acl-check-connect/40-mine", "  warn\n", 0o644)
		d.Rebuild()
		if r := d.explain(t, innocent4); !slices.ContainsFunc(r.Notes, func(s string) bool { return strings.Contains(s, "40-mine") }) {
			t.Errorf("notes %q", r.Notes)
		}

		// Without the marker file nothing acts.
		if err := os.Remove(d.Root.Path("usr/share/symbiosis-connect-acl/marker.conf")); err != nil {
			t.Fatal(err)
		}
		d.Restart()
		d.agree(t, bad4, listed4)
		if r := d.explain(t, bad4); r.Active || !r.LetIn() {
			t.Errorf("without the marker: active %v, let in %v", r.Active, r.LetIn())
		}
	})
}

// The command that is shown does let the host in.
func TestTheCommandLetsTheHostIn(t *testing.T) {
	t.Parallel()
	d := open(t, lab.DefaultSuite)
	for _, host := range []string{bad4, bad6, listed4} {
		r := d.explain(t, host)
		if len(r.Commands) != 1 {
			t.Fatalf("%s: commands %q; want one", host, r.Commands)
		}
		d.Root.Run("sh", "-c", r.Commands[0])
		if r := d.explain(t, host); !r.LetIn() {
			t.Errorf("%s after %q: %+v", host, r.Commands, r.Outcomes)
		}
		d.agree(t, host)
	}
}

// What people see, and what a wrong call gives.
func TestText(t *testing.T) {
	t.Parallel()
	d := open(t, lab.DefaultSuite)
	out, code := d.run(t, bad4)
	for _, want := range []string{"port 25   refused: 30-check-symbiosis-db", "count 30 in 2 rows, first " + counted.UTC().Format("2006-01-02 15:04") + ", last ",
		"offender, since " + counted.Add(900*time.Second).UTC().Format("2006-01-02 15:04"),
		"To let it in:\n    echo 8.8.8.8 >> /etc/exim4/whitelist_connect_hosts\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if code != 3 || strings.Contains(out, "\x1b") {
		t.Errorf("exit status %d, colours in a pipe: %v", code, strings.Contains(out, "\x1b"))
	}
	for _, line := range strings.Split(out, "\n") {
		if len(line) > 80 {
			t.Errorf("a line of %d characters: %s", len(line), line)
		}
	}
	t.Log("\n" + out)
	if out, _ := d.run(t, listed4); true {
		t.Log("\n" + out)
	}
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 64, "expected one ADDRESS"},
		{[]string{"8.8.8.8", "9.9.9.9"}, 64, "expected one ADDRESS"},
		{[]string{"mail.example.org"}, 64, "is not an IP address"},
		{[]string{"--nonsense", "8.8.8.8"}, 64, "nonsense"},
		{[]string{"8.8.8.8", "--nonsense"}, 64, "nonsense"},
		{[]string{"8.8.8.8", "--root", "/tmp"}, 1, "no Symbiosis or Sympl here"},
		{[]string{innocent4, "--json"}, 0, `"let_in": true`},
	} {
		if out, code := d.run(t, tt.args...); code != tt.code || !strings.Contains(out, tt.want) {
			t.Errorf("explain %q: exit status %d, %q; want %d with %q", tt.args, code, out, tt.code, tt.want)
		}
	}
}

// From outside the root the report is the same. Exim tells its settings only to
// root: anybody else is told so, and gets the rest.
func TestOtherCallers(t *testing.T) {
	t.Parallel()
	d := open(t, lab.DefaultSuite)
	for _, host := range []string{bad4, bad6, friend4, listed4} {
		inside, code := d.run(t, "--json", host)
		cmd := exec.Command("ip", "netns", "exec", d.Net.Server, d.Root.Path(program), "explain", "--json", "--root", d.Root.Dir, host)
		outside, _ := cmd.Output()
		if string(outside) != inside || cmd.ProcessState.ExitCode() != code {
			t.Errorf("%s with --root: exit status %d; want %d\n%s\nwant\n%s", host, cmd.ProcessState.ExitCode(), code, outside, inside)
		}
	}
	for _, mode := range []os.FileMode{0o644, 0o640} { // Exim's configuration readable or not
		if err := os.Chmod(d.Root.Path("etc/exim4/exim4.conf"), mode); err != nil {
			t.Fatal(err)
		}
		inner := d.Root.Command("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", program, "explain", bad4)
		cmd := exec.Command("ip", append([]string{"netns", "exec", d.Net.Server}, inner.Args...)...)
		cmd.Env = inner.Env
		out, _ := cmd.CombinedOutput()
		t.Logf("mode %o, exit status %d:\n%s", mode, cmd.ProcessState.ExitCode(), out)
		if code := cmd.ProcessState.ExitCode(); code != 1 {
			t.Errorf("exit status %d; want 1, because the settings could not be read", code)
		}
		for _, want := range []string{"run it as root", "not known", "count 30 in 2 rows", "reverse name "} {
			if !strings.Contains(string(out), want) || strings.Contains(string(out), "no reverse name") {
				t.Errorf("no %q in what somebody who is not root is told", want)
			}
		}
	}
}

// A resolver that fails or is silent does not mean that there is no name, and
// a list in trouble counts for nothing.
func TestResolverTrouble(t *testing.T) {
	t.Parallel()
	d := open(t, lab.DefaultSuite)
	d.DNS.Behave("2.6.6.in-addr.arpa", lab.Rcode(dns.RcodeServerFailure))
	d.DNS.Behave("3.6.6.in-addr.arpa", lab.Silent)
	d.with(func() {
		d.agree(t, "6.6.2.1", nameless)
		rev := rule(t, d.explain(t, "6.6.3.1"), "reverse")
		if rev.Findings[0].Verdict != explain.Pass || !strings.Contains(strings.Join(rev.Evidence, ""), "unknown") {
			t.Errorf("with a silent resolver: %+v", rev)
		}
	}, "CONNECT_STATE_REVERSE == enforce")
	for words, behave := range map[string]lab.Behaviour{"SERVFAIL": lab.Rcode(dns.RcodeServerFailure), "public resolver": lab.AlwaysA("127.255.255.254"), "no answer": lab.Silent} {
		d.DNS.Behave(zen, behave)
		d.agree(t, bad4, listed4)
		if r := rule(t, d.explain(t, listed4), "dnsbl"); !strings.Contains(strings.ToLower(strings.Join(r.Evidence, "")), strings.ToLower(words)) {
			t.Errorf("a list in trouble, %s: %q", words, r.Evidence)
		}
	}
	d.DNS.Behave(zen, nil)
}

// Sympl has the same rules under other paths.
func TestSympl(t *testing.T) {
	t.Parallel()
	d := openOn(t, "trixie", "sympl")
	d.agree(t, innocent4, bad4, bad6, friend4, listed4, homeUser)
	r := d.explain(t, bad6)
	if r.Platform != "sympl" || refused(r) != "25 465 587" || len(r.Notes) > 0 {
		t.Errorf("platform %s, refused on %q, notes %q", r.Platform, refused(r), r.Notes)
	}
}
