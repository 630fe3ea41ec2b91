package door

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"symbiosis-connect-acl/internal/doctor"
	"symbiosis-connect-acl/internal/explain"
	"symbiosis-connect-acl/internal/whitelist"
	"symbiosis-connect-acl/tests/lab"
)

// The spellings of one line of whitelist_connect_hosts: whom it lets in, and
// whom not. Each has addresses of its own, so that all can be in one file.
// Ranges and names are let in by the second file, which is made before.
var spellings = []struct {
	line    string
	in, out string // addresses
	warned  bool
}{
	// Plain.
	{"45.0.2.3", "45.0.2.3", "45.0.2.4 45.0.2.2", false},
	{"45.1.2.0/24", "45.1.2.0 45.1.2.255", "45.1.3.0 45.1.1.255", false},
	{"45.2.2.9/24", "45.2.2.1 45.2.2.9", "45.2.3.1", false}, // host bits set
	{"45.3.2.3/32", "45.3.2.3", "45.3.2.2", false},
	{"45.4.0.0/17", "45.4.127.1", "45.4.128.1", false},
	{"2a02:5::5", "2a02:5::5", "2a02:5::6", false},
	{"2A02:6::A", "2a02:6::a", "2a02:6::b", false},
	{"2a02:0007:0000:0000:0000:0000:0000:0005", "2a02:7::5", "2a02:7::6", false},
	{"2a02:8::/32", "2a02:8:ffff::1", "2a02:9::1", false},
	{"2a02:a:0:1::77/64", "2a02:a:0:1::1", "2a02:a:0:2::1", false},
	{"2a02:b::/128", "2a02:b::", "2a02:b::1", false},
	{"2a02:c::45.12.2.3", "2a02:c::2d0c:203", "45.12.2.3", false},
	// Blanks, line ends, comments.
	{"  45.13.2.3\t", "45.13.2.3", "45.13.2.4", false},
	{"45.14.2.3\r", "45.14.2.3", "45.14.2.4", false},
	{"45.15.2.3 # home", "45.15.2.3", "", false},
	{"45.16.2.3# home", "45.16.2.3", "", false},
	{"# 45.17.2.3", "", "45.17.2.3", false},
	{"45.18.2.3 the office", "45.18.2.3", "", true},
	{"45.19.2.3 - the office", "45.19.2.3", "", true},
	{"the office 45.20.2.3", "45.20.2.3", "", true},
	{"- 45.21.2.3", "45.21.2.3", "", false},
	{"\xef\xbb\xbf45.22.2.3", "", "45.22.2.3", true}, // a mark that is not at the beginning
	{"45.23.2.3\u00a0home", "", "45.23.2.3", true},   // a blank that is none
	// Several on a line.
	{"45.24.2.3 45.24.2.5", "45.24.2.3 45.24.2.5", "45.24.2.4", false},
	{"45.25.2.3,45.25.2.5, 2a02:19::5", "45.25.2.3 45.25.2.5 2a02:19::5", "45.25.2.4", false},
	{"45.26.2.3; 45.26.2.5;", "45.26.2.3 45.26.2.5", "45.26.2.4", false},
	{"45.27.2.3 : 45.27.2.5", "45.27.2.3 45.27.2.5", "45.27.2.4", false},
	{"45.28.2.3:45.28.2.5", "", "45.28.2.3 45.28.2.5", true},
	// Quotation marks, brackets, ports.
	{`"45.29.2.3"`, "45.29.2.3", "45.29.2.4", false},
	{`'45.30.2.0/24'`, "45.30.2.9", "45.30.3.9", false},
	{`"2a02:1f::5": yes`, "2a02:1f::5", "2a02:1f::6", true},
	{`"2a02:20::/32":`, "2a02:20::5", "2a02:21::5", false},
	{"45.33.2.3:", "45.33.2.3", "45.33.2.4", false},
	{"45.34.2.3:25", "45.34.2.3", "45.34.2.4", false},
	{"[45.35.2.3]", "45.35.2.3", "45.35.2.4", false},
	{"[45.36.2.3]:25", "45.36.2.3", "45.36.2.4", false},
	{"[2a02:25::5]:587", "2a02:25::5", "2a02:25::6", false},
	{"[2a02:26::]/32", "2a02:26::5", "2a02:27::5", false}, // as Postfix has it
	{"[45.39.0.0/16]", "45.39.9.9", "45.40.9.9", false},
	{"(45.41.2.3)", "45.41.2.3", "", false},
	{"<45.42.2.3>", "45.42.2.3", "", false},
	{"2a02:2b::5:25", "2a02:2b::5:25", "2a02:2b::5", false}, // an address of its own
	// IPv4 as IPv6.
	{"::ffff:45.44.2.3", "45.44.2.3", "45.44.2.4", false},
	{"[::FFFF:45.45.2.3]", "45.45.2.3", "45.45.2.4", false},
	{"::ffff:45.46.2.0/120", "", "45.46.2.0 45.46.2.3", true},
	{"::ffff:2d2f:203", "", "45.47.2.3", true},
	{"0:0:0:0:0:ffff:45.48.2.3", "", "45.48.2.3", true},
	// Ranges.
	{"45.49.2.3-45.49.2.9", "45.49.2.3 45.49.2.6 45.49.2.9", "45.49.2.2 45.49.2.10", false},
	{"45.50.2.3 - 45.50.2.9", "45.50.2.3 45.50.2.6 45.50.2.9", "45.50.2.2 45.50.2.10", false},
	{"45.51.2.3- 45.51.2.9", "45.51.2.3 45.51.2.6", "45.51.2.2 45.51.2.10", false},
	{"45.52.2.3 – 45.52.2.9", "45.52.2.6", "45.52.2.10", false},
	{`"45.53.2.3" - "45.53.2.9"`, "45.53.2.6", "45.53.2.10", false},
	{"2a02:36::a - 2a02:36::f", "2a02:36::c", "2a02:36::9 2a02:36::10", false},
	{"45.55.2.9 - 45.55.2.3", "", "45.55.2.3 45.55.2.6 45.55.2.9", true},
	{"45.56.2.3-9", "", "45.56.2.3 45.56.2.6", true},
	// What is nothing, and must let in nobody.
	{"45.57.2.3/8x", "", "45.57.2.3 45.200.1.1", true},
	{"45.58.2.3/33", "", "45.58.2.3", true},
	{"45.59.2.3/", "", "45.59.2.3", true},
	{"45.60.2.3//24", "", "45.60.2.3", true},
	{"45.61.2.3/24/8", "", "45.61.2.3 45.201.1.1", true},
	{"45.62.2.0/255.255.255.0", "", "45.62.2.0 45.62.2.9", true},
	{"45.63.2.*", "", "45.63.2.3", true},
	{"45.64.2.", "", "45.64.2.3", true},
	{"45.65/16", "", "45.65.2.3 0.0.45.65", true},
	{"045.066.002.003", "", "45.66.2.3 37.54.2.3", true},
	{"45.67.2.03", "", "45.67.2.3", true},
	{"45.68.2.256", "", "45.68.2.0 45.68.2.25", true},
	{"45.69.2.3.4", "", "45.69.2.3", true},
	{"45.70.2.3/08", "", "45.70.2.3", true},
	{"!45.71.2.3", "", "45.71.2.3", true},
	{"45.72.2.3x", "", "45.72.2.3", true},
	{"x45.73.2.3", "", "45.73.2.3", true},
	{"45.74.2.3%eth0", "", "45.74.2.3", true},
	{"2a02:4b::/129", "", "2a02:4b::", true},
	{"2a02:4c:::5", "", "2a02:4c::5", true},
	{"2a02:4d::1::5", "", "2a02:4d::5 2a02:4d::1:0:0:5", true},
	{"2a02:4e:0:0:0:0:0:0:5", "", "2a02:4e::5", true},
	{"2a02:4f::12345", "", "2a02:4f::2345", true},
	{"fe80::50%eth0", "", "fe80::50", true},
	{"2a02:51:", "", "2a02:51::", true},
	{"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7:1", false},
	{"1:2:3:4:5:6:8::9", "", "", true}, // no zero group for the :: to stand for
	{"net-iplsearch;/etc/exim4/relay_from_hosts", "", "45.85.2.3", true},
	{"+relay_from_hosts", "", "45.85.2.3", true},
	{"${readfile{/etc/exim4/relay_from_hosts}}", "", "45.85.2.3", true},
	{"*", "", "45.202.1.1 2a02:5000::1", false},
	// Names.
	{"home.example.org", "45.86.2.3 2a02:56::5", "45.86.2.4", false},
	{"two.example.org, Three.Example.org.", "45.87.2.3 45.87.2.4 45.88.2.3", "", false},
	{`"four.example.org:25" # a port`, "45.89.2.3", "", false},
	{"alias.example.org", "45.86.2.3", "", false},
	{"*.example.net", "", "45.90.2.3", true},
	{"host", "", "45.90.2.3", true},
	{"five.example.org/24", "", "45.90.2.3", true},
	{"cafe.be", "45.91.2.3", "", false}, // all hexadecimal
}

// One file, three readers: Exim at the door, explain, and the doctor, with the
// parser that the last two share.
func TestSpellingsOfTheWhiteList(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		d.DNS.Add(t, "home.example.org. 60 IN A 45.86.2.3", "home.example.org. 60 IN AAAA 2a02:56::5",
			"two.example.org. 60 IN A 45.87.2.3", "two.example.org. 60 IN A 45.87.2.4", "three.example.org. 60 IN A 45.88.2.3",
			"four.example.org. 60 IN A 45.89.2.3", "five.example.org. 60 IN A 45.90.2.3", "cafe.be. 60 IN A 45.91.2.3",
			"host.example.net. 60 IN A 45.90.2.3")
		d.DNS.Behave("alias.example.org", chain(t, "alias.example.org. 300 IN CNAME home.example.org.", "home.example.org. 60 IN A 45.86.2.3"))
		d.Root.Write("etc/exim4/relay_from_hosts", "45.85.2.4\n", 0o644)
		text := "\xef\xbb\xbf45.99.2.3\n" // the mark of Windows' editors
		var addrs []string
		wanted := map[string]bool{"45.99.2.3": true}
		for _, s := range spellings {
			text += s.line + "\n"
			for _, a := range strings.Fields(s.in) {
				wanted[a] = true
			}
			for _, a := range strings.Fields(s.out) {
				if _, ok := wanted[a]; !ok {
					wanted[a] = false
				}
			}
		}
		for a := range wanted {
			addrs = append(addrs, a)
		}
		slices.Sort(addrs)
		d.Root.Write("etc/exim4/whitelist_connect_hosts", text, 0o644)
		d.names(t)

		// Exim.
		var questions []string
		for _, a := range addrs {
			questions = append(questions, "${if match_ip{"+a+"}{+whitelist_connection_check}{yes}{no}}")
		}
		answers := strings.Fields(d.Root.Run("exim4", append([]string{"-be"}, questions...)...))
		if len(answers) != len(addrs) {
			t.Fatalf("%d answers to %d questions", len(answers), len(addrs))
		}
		f := whitelist.Parse([]byte(text))
		derived := whitelist.ParseDerived([]byte(d.Root.Read(namesFile)))
		for i, a := range addrs {
			if got := answers[i] == "yes"; got != wanted[a] {
				t.Errorf("Exim lets %s in: %v; want %v", a, got, wanted[a])
			}
			addr := netip.MustParseAddr(a)
			_, plain := f.Find(addr)
			_, named := derived.Find(addr)
			if got := plain || named; got != wanted[a] {
				t.Errorf("the parser lets %s in: %v; want %v", a, got, wanted[a])
			}
		}

		// The doctor: each line that has something to it, and no other.
		var found []doctor.Finding
		if err := json.Unmarshal([]byte(d.inside(t, 1, "symbiosis-connect-setup", "check", "--json")), &found); err != nil {
			t.Fatal(err)
		}
		for i, s := range spellings {
			place := fmt.Sprintf("whitelist_connect_hosts:%d: ", i+2)
			n := slices.IndexFunc(found, func(f doctor.Finding) bool { return strings.Contains(f.Text, place) })
			if (n >= 0) != s.warned {
				t.Errorf("%q: the doctor warns: %v; want %v", s.line, n >= 0, s.warned)
			}
			if n >= 0 && (found[n].Remedy == "" || found[n].Level != doctor.WARN) {
				t.Errorf("%q: %+v", s.line, found[n])
			}
		}

		// At the door and by explain, one of each kind.
		d.Root.Run("sh", "-c", "sed -i 's/^45.0.2.3$/8.8.8.8/' /etc/exim4/whitelist_connect_hosts")
		for host, text := range map[string]string{bad4: "45.0.2.3", "45.50.2.6": "45.50.2.3 - 45.50.2.9", "45.57.2.3": "", "45.86.2.3": "home.example.org", "2a02:56::5": "home.example.org"} {
			line := 0
			for i, s := range spellings {
				if s.line == text {
					line = i + 2
				}
			}
			mark := len(d.Log())
			d.expect(t, host, 25, "220", "")
			r := d.explained(t, host)
			i := slices.IndexFunc(r.Rules, func(x explain.Rule) bool { return x.Name == "known" })
			known := r.Rules[i].Known
			if (line > 0) != (len(known) == 1) || line > 0 && known[0].Line != line {
				t.Errorf("explain %s: %+v; want line %d", host, known, line)
			}
			if l := d.Log()[mark:]; strings.Contains(l, "skipped") || strings.Contains(l, "failed") {
				t.Errorf("%s: the log:\n%s", host, l)
			}
		}
		d.Root.Write("etc/exim4/whitelist_connect_hosts", "45.0.0.0/8x", 0o644) // no line end
		d.expect(t, bad4, 25, "550", history)                                   // at once

		// What explain advises, typed as it stands.
		r := d.explained(t, bad4)
		d.Root.Run("sh", "-c", r.Commands[len(r.Commands)-1])
		d.expect(t, bad4, 25, "220", "")
	})
}

const namesFile = "var/lib/symbiosis-connect-acl/whitelist_connect_names"

// A name is followed as it changes, and holds while nobody can be asked.
func TestNamesInTheWhiteList(t *testing.T) {
	d := open(t, lab.DefaultSuite)
	if err := os.WriteFile(d.Root.Path("etc/exim4/whitelist_connect_hosts"), []byte("home.example.org # changes\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	d.expect(t, bad4, 25, "550", history)
	d.names(t)
	d.expect(t, bad4, 25, "550", history)
	if l := d.Root.Read(namesFile); !strings.Contains(l, "# home.example.org A answered 2") || strings.Contains(l, "\n4") {
		t.Errorf("a name that does not exist:\n%s", l)
	}
	// later makes it some minutes later for the names.
	later := func() {
		t.Helper()
		d.Root.Run("sed", "-i", "s/, next [-0-9T:Z]*/, next 2020-01-01T00:00:00Z/", "/"+namesFile)
		d.names(t)
	}
	d.DNS.Add(t, "home.example.org. 60 IN A "+bad4)
	asked := d.DNS.Questions("home.example.org")
	d.names(t)
	if now := d.DNS.Questions("home.example.org"); now != asked {
		t.Errorf("asked %d times within a minute", now-asked)
	}
	later()
	d.expect(t, bad4, 25, "220", "")
	d.expect(t, bad4, 587, "220", "")
	if now := d.DNS.Questions("home.example.org"); now != asked+2 {
		t.Errorf("asked %d times, and not only by the cron job, once for each kind of address", now-asked)
	}
	d.DNS.Behave("home.example.org", lab.Rcode(dns.RcodeServerFailure))
	later()
	d.expect(t, bad4, 25, "220", "")
	if l := d.Root.Read(namesFile); !strings.Contains(l, "failed: SERVFAIL from 127.0.0.53") {
		t.Errorf("the failure is not written down:\n%s", l)
	}
	// A day later.
	d.Root.Run("sed", "-i", "s/ answered [-0-9T:Z]*/ answered 2020-01-01T00:00:00Z/", "/"+namesFile)
	later()
	d.expect(t, bad4, 25, "550", history)
	d.DNS.Behave("home.example.org", nil)
	later()
	d.expect(t, bad4, 25, "220", "")
	d.Root.Write("etc/exim4/whitelist_connect_hosts", "# nobody\n", 0o644)
	d.names(t)
	d.expect(t, bad4, 25, "550", history)
	if _, err := os.Stat(d.Root.Path(namesFile)); err == nil {
		t.Error("the file with the addresses is still there")
	}
}

// chain answers with an alias, and with what it stands for.
func chain(t *testing.T, alias, addr string) lab.Behaviour {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		for _, text := range []string{alias, addr} {
			rr, err := dns.NewRR(text)
			if err != nil {
				t.Error(err)
				return
			}
			if typ := rr.Header().Rrtype; typ == dns.TypeCNAME || typ == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
		w.WriteMsg(m)
	}
}

// names runs what cron runs each minute.
func (d *door) names(t *testing.T) {
	t.Helper()
	if out := d.inside(t, 0, "symbiosis-connect-db", "names"); out != "" {
		t.Errorf("names: %s", out)
	}
}

func (d *door) explained(t *testing.T, host string) (r explain.Report) {
	t.Helper()
	code := 0
	if lab.Code(d.Greet(host, 25)) != "220" {
		code = 3
	}
	if err := json.Unmarshal([]byte(d.inside(t, code, "symbiosis-connect-check", "explain", "--json", host)), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// inside runs a command where the resolver is, which must end with the code.
func (d *door) inside(t *testing.T, code int, name string, args ...string) string {
	t.Helper()
	inner := d.Root.Command(name, args...)
	cmd := exec.Command("ip", append([]string{"netns", "exec", d.Net.Server}, inner.Args...)...)
	cmd.Env = inner.Env
	out, err := cmd.Output()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		t.Fatalf("%s: %v; want exit code %d\n%s", name, err, code, out)
	}
	return string(out)
}
