// Package nftfw tests the suite beside nftfw, which may have taken the place of
// the platform's firewall: in its own folders, with its own database, and with a
// scanner that reads as it reads.
package nftfw

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	_ "github.com/mattn/go-sqlite3"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/doctor"
	"symbiosis-connect-acl/internal/explain"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/setup"
	"symbiosis-connect-acl/tests/corpus"
	"symbiosis-connect-acl/tests/lab"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What nftfw's author has published for Exim, in its form.
const published = `# Exim
file = /var/log/exim4/mainlog
ports = 25,465,587

\[__IP__\].*I=.*AUTH command used when not advertised.*$
`

// A log of a real Exim is scanned with the patterns that setup has merged into
// nftfw's folder; then the tools and Exim's rule say the same about every host
// in it.
func TestBesideNftfw(t *testing.T) {
	lab.SkipUnlessReady(t)
	for _, c := range []struct{ platform, prefix string }{{"symbiosis", "usr/local/"}, {"sympl", ""}} {
		t.Run(c.platform, func(t *testing.T) {
			t.Parallel()
			beside(t, c.platform, c.prefix)
		})
	}
}

func beside(t *testing.T, name, prefix string) {
	r := lab.NewRoot(t, lab.DefaultSuite, name)
	lab.Unpack(t, r)
	etc, v := prefix+"etc/nftfw", prefix+"var/lib/nftfw"
	for _, dir := range []string{etc + "/patterns.d", etc + "/blacklist.d", etc + "/whitelist.d", v} {
		must(t, os.MkdirAll(r.Path(dir), 0o755))
	}
	patterns := etc + "/patterns.d/exim4.patterns"
	r.Write(patterns, published, 0o644)
	r.Make("exim4.conf")
	ctx, opt := context.Background(), setup.Options{Root: r.Dir}
	must(t, setup.Apply(ctx, opt))
	if merged := r.Read(patterns); !strings.Contains(merged, "connect-acl: refused HELO from") || strings.Contains(merged, "\n\\[__IP__") {
		t.Fatalf("ours are not merged into nftfw's:\n%s", merged)
	}
	p, err := platform.Find(r.Dir)
	must(t, err)

	// What the same log counts by our own reading of the pattern file, by host.
	lines := log(t)
	r.Write("var/log/exim4/mainlog", strings.Join(lines, "\n")+"\n", 0o640)
	engines := corpus.Engines("../corpus")
	hits, err := engines[len(engines)-1].Apply(p.OurPatterns(), lines)
	must(t, err)
	want := map[address.Key]int64{}
	for _, h := range hits {
		if len(h) > 0 {
			k, err := address.Parse(h[0].Address)
			must(t, err)
			if a, _ := netip.ParseAddr(h[0].Address); !strings.HasPrefix(a.String(), "192.0.2.") {
				want[k] += 3 // ports
			}
		}
	}
	scan := func() {
		t.Helper()
		cmd := exec.Command("python3", "scanner.py", r.Path(etc), r.Path(v))
		cmd.Env = append(os.Environ(), "ROOT="+r.Dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	scan()
	bin := build(t)
	run := func(command string, args ...string) string {
		t.Helper()
		out, err := exec.Command(filepath.Join(bin, command), append(args, "--root", r.Dir)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", command, args, err, out)
		}
		return string(out)
	}
	db := func(args ...string) string { t.Helper(); return run("symbiosis-connect-db", args...) }
	db("sync")

	// list, hosts.db and the log agree on every host, and nobody else is there.
	type record struct {
		Address  string
		Count    int64
		Denied   bool
		Firewall []struct{ Net string }
	}
	var listed []record
	must(t, json.Unmarshal([]byte(db("list", "--format", "json")), &listed))
	if len(listed) != len(want) || len(want) < 50 {
		t.Errorf("%d hosts are listed, and the log has %d offenders", len(listed), len(want))
	}
	exim, err := sql.Open("sqlite3", "file:"+p.HostsDatabase+"?mode=ro")
	must(t, err)
	defer exim.Close()
	history := func(k address.Key) (n int64) {
		t.Helper()
		err := exim.QueryRow("select coalesce((select history from host where net = ?), 0)", k.String()).Scan(&n)
		must(t, err)
		return n
	}
	blocked := 0
	for _, l := range listed {
		k, err := address.Parse(l.Address)
		must(t, err)
		if l.Count != want[k] || history(k) != want[k] || l.Denied != (want[k] > 10) {
			t.Errorf("%s: list has %d and denied %v, hosts.db has %d, the log %d", k, l.Count, l.Denied, history(k), want[k])
		}
		if len(l.Firewall) > 0 {
			blocked++
		}
	}
	if blocked == 0 {
		t.Error("list does not see nftfw's blacklist.d")
	}

	// Of a host with two keys in its /64, of one of IPv4, and of one with little.
	for addr, deny := range map[string]bool{six: true, "45.80.250.1": true, "45.80.250.2": false, "2a0e:21::1": false} {
		a := netip.MustParseAddr(addr)
		k := address.FromAddr(a)
		if (want[k] > 10) != deny || want[k] == 0 {
			t.Fatalf("%s has %d", addr, want[k])
		}
		shown := db("show", addr)
		if !strings.Contains(shown, fmt.Sprintf("count       %d,", want[k])) || strings.Contains(shown, "connect     denied") != deny {
			t.Errorf("show says of %s with %d:\n%s", addr, want[k], shown)
		}
		report, err := explain.Explain(ctx, p, a)
		must(t, err)
		for _, rule := range report.Rules {
			if said := strings.Join(rule.Evidence, "; "); rule.Name == "history" && (strings.Contains(said, "meanwhile") || strings.Contains(said, "cannot be read")) {
				t.Errorf("explain says of %s: %s", addr, said)
			}
			if rule.History != nil && rule.History.Count != want[k] || rule.Name == "history" && (rule.Findings[0].Verdict == explain.Deny) != deny {
				t.Errorf("explain says of %s with %d: %+v %+v", addr, want[k], rule, rule.History)
			}
			if inNftfw := strings.Contains(strings.Join(rule.Evidence, " "), "/"+etc+"/blacklist.d/"); rule.Name == "firewall" && inNftfw != deny {
				t.Errorf("explain says of %s: %+v", addr, rule)
			}
		}
		cmd := r.Command("exim4", "-bh", addr)
		cmd.Stdin = strings.NewReader("QUIT\r\n")
		said, _ := cmd.CombinedOutput()
		if refused := regexp.MustCompile(`(?m)^550 .*history`).Match(said); refused != deny {
			t.Errorf("Exim says to %s with %d:\n%s", addr, want[k], said)
		}
	}

	// A white list saves whom it names, and its neighbours in the list not.
	friends := r.Path("etc/exim4/whitelist_connect_hosts")
	must(t, os.WriteFile(friends, []byte("# ours\n45.80.250.1\n2a0e:20::/64\n"), 0o644))
	white := regexp.MustCompile(`(?m)^(\S+) .* white-listed`)
	var saved []string
	for _, m := range white.FindAllStringSubmatch(db("list"), -1) {
		saved = append(saved, m[1])
	}
	slices.Sort(saved)
	if fmt.Sprint(saved) != "[2a0e:20::/64 45.80.250.1]" {
		t.Errorf("list says white-listed of %v", saved)
	}
	for _, addr := range []string{six, "45.80.250.1"} {
		if shown := db("show", addr); !strings.Contains(shown, "not checked, because it is white-listed: +whitelist_connection_check has it") {
			t.Errorf("show says of %s, which is white-listed:\n%s", addr, shown)
		}
		cmd := r.Command("exim4", "-bh", addr)
		cmd.Stdin = strings.NewReader("QUIT\r\n")
		if said, _ := cmd.CombinedOutput(); !regexp.MustCompile(`(?m)^220 `).Match(said) {
			t.Errorf("Exim says to %s, which is white-listed:\n%s", addr, said)
		}
	}
	must(t, os.Remove(friends))

	// The doctor reads nftfw's.
	found, err := doctor.Check(ctx, doctor.Options{Root: r.Dir})
	must(t, err)
	for _, f := range found {
		if (f.Topic == "patterns" || f.Topic == "database") && f.Level != doctor.OK && !strings.HasPrefix(f.Text, "not finished") {
			t.Errorf("%+v", f)
		}
	}
	if !slices.ContainsFunc(found, func(f doctor.Finding) bool { return strings.Contains(f.Text, "in the layout of nftfw") }) {
		t.Errorf("nothing is said about nftfw's database: %+v", found)
	}

	// What is deleted is gone for all of them, and what is removed as well.
	said := db("delete", six, "--yes", "--firewall")
	if strings.Count(said, "removed ") != 2 || !strings.Contains(said, "deleted 2 rows") {
		t.Errorf("delete says:\n%s", said)
	}
	db("sync")
	if k := address.FromAddr(netip.MustParseAddr(six)); history(k) != 0 || !strings.Contains(db("show", six), "no report") {
		t.Errorf("after delete: %d, %s", history(k), db("show", six))
	}
	must(t, setup.Remove(ctx, opt))
	if got := r.Read(patterns); got != published {
		t.Errorf("after remove nftfw's patterns are\n%s", got)
	}
}

// six is a host of which two addresses have offended, one of them in another
// /112 than the other.
const six = "2a0e:20::5"

// log gives the lines of a recorded Exim, and some of the same form for hosts
// that the recording does not have.
func log(t *testing.T) (lines []string) {
	t.Helper()
	entries, err := corpus.Load("../corpus/corpus.tsv")
	must(t, err)
	template := ""
	for _, e := range entries {
		if e.Version != "4.96" || e.Set != "suite" {
			continue
		}
		lines = append(lines, e.Line)
		if e.Want == "auth-failed" && template == "" && strings.Contains(e.Line, "connect-acl: failed login from ["+e.Peer.String()+"]") {
			template = strings.ReplaceAll(e.Line, "["+e.Peer.String()+"]", "[%s]")
		}
	}
	if template == "" {
		t.Fatal("the recording has no failed login")
	}
	for addr, n := range map[string]int{six: 10, "2a0e:20::7:1": 11, "45.80.250.1": 12, "45.80.250.2": 2, "2a0e:21::1": 1} {
		for range n {
			lines = append(lines, fmt.Sprintf(template, addr))
		}
	}
	return lines
}

// build builds the commands as the package has them.
func build(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	cmd := exec.Command("go", "build", "-C", lab.SourceDir(), "-o", dir, "./cmd/symbiosis-connect-db")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}
