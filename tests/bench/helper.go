package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"symbiosis-connect-acl/internal/blacklist/blacklisttest"
	"symbiosis-connect-acl/internal/history"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/tests/lab"
)

// process runs a program to its end and gives the time that took.
func process(program string, args ...string) (time.Duration, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	begin := time.Now()
	p, err := os.StartProcess(program, append([]string{program}, args...), &os.ProcAttr{
		Env: []string{"PATH=/usr/bin:/bin", "HOME=/nonexistent"}, Files: []*os.File{null, null, null}})
	if err != nil {
		return 0, err
	}
	st, err := p.Wait()
	took := time.Since(begin)
	if err == nil && !st.Success() {
		err = fmt.Errorf("%s: %v", program, st)
	}
	return took, err
}

// empties builds programs that do nothing, as the floor: one in Go built as
// the Makefile builds the commands, one as a bare "go build" does, one in C.
func (b *bench) empties() (same, bare, c string) {
	dir := filepath.Join(b.dir, "empty")
	b.must(os.MkdirAll(dir, 0o755))
	b.Cleanup(func() { os.RemoveAll(dir) })
	same, bare, c = filepath.Join(dir, "same"), filepath.Join(dir, "bare"), filepath.Join(dir, "c")
	b.must(os.WriteFile(same+".go", []byte("package main\n\nimport \"C\"\n\nfunc main() {}\n"), 0o644))
	b.must(os.WriteFile(bare+".go", []byte("package main\n\nfunc main() {}\n"), 0o644))
	b.must(os.WriteFile(c+".c", []byte("int main(void) { return 0; }\n"), 0o644))
	for _, args := range [][]string{
		{"go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -linkmode external -extldflags -static", "-o", same, same + ".go"},
		{"go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bare, bare + ".go"},
		{"gcc", "-O2", "-s", "-o", c, c + ".c"},
	} {
		build := exec.Command(args[0], args[1:]...)
		build.Env = append(os.Environ(), "CGO_ENABLED=1")
		if out, err := build.CombinedOutput(); err != nil {
			b.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	return same, bare, c
}

func helper(b *bench) string {
	rows := b.rows[min(1, len(b.rows)-1)]
	db := filepath.Join(b.dir, "helper", "hosts.db")
	_, err := hosts.Create(context.Background(), db, uint32(os.Getuid()), uint32(os.Getgid()), false)
	b.must(err)
	b.Cleanup(func() { os.RemoveAll(filepath.Dir(db)) })
	_, err = history.Sync(context.Background(), db, []string{b.plain(rows)}, history.Rules{})
	b.must(err)
	question := "select 'yes' done, coalesce(history,0) history from (select 1) left join host on net='" + blacklisttest.Key(7).String() + "'"
	emptyGo, bareGo, emptyC := b.empties()
	sqlite, err := exec.LookPath("sqlite3")
	b.must(err)
	type program struct {
		name string
		args []string
	}
	programs := []program{
		{"symbiosis-connect-check host", []string{b.program("symbiosis-connect-check"), "host", "--database", db, question}},
		{"sqlite3, the same query", []string{sqlite, "-readonly", db, question}},
		{"empty Go program, built as ours are", []string{emptyGo}},
		{"empty Go program, a bare go build", []string{bareGo}},
		{"empty C program", []string{emptyC}},
	}
	// What is printed is not looked at while it is timed: done=yes history=21,
	// and yes|21.
	want, err := exec.Command(programs[1].args[0], programs[1].args[1:]...).Output()
	b.must(err)
	_, count, _ := strings.Cut(strings.TrimSpace(string(want)), "|")
	if got, err := exec.Command(programs[0].args[0], programs[0].args[1:]...).Output(); err != nil || count == "0" || !strings.Contains(string(got), "history="+count) {
		b.Fatalf("%s: got %q, %v; sqlite3 finds %q", programs[0].name, got, err, want)
	}
	const each = 200
	rounds := make([][]time.Duration, len(programs)) // each round's median
	all := make([][]time.Duration, len(programs))
	for round := range b.rounds + 1 {
		took := make([][]time.Duration, len(programs))
		for range each {
			for i, p := range programs { // in turn, one run each
				d, err := process(p.args[0], p.args[1:]...)
				b.must(err)
				took[i] = append(took[i], d)
			}
		}
		if round == 0 {
			continue // reading the files from the disk
		}
		for i := range programs {
			rounds[i] = append(rounds[i], median(took[i]))
			all[i] = append(all[i], took[i]...)
		}
	}
	against := func(i, j int) (s spread) {
		for r := range rounds[i] {
			s = append(s, float64(rounds[i][r])/float64(rounds[j][r]))
		}
		return s
	}
	t := newTable("program", "× sqlite3", "× empty Go program", "median", "99 %")
	for i, p := range programs {
		t.row(p.name, against(i, 1).String(), against(i, 2).String(), ms(median(all[i])), ms(quantile(all[i], 0.99)))
	}
	toGo := against(0, 2).median()
	return fmt.Sprintf("The whole life of the process, from starting it to its end, on a database of %s\nrows; %d runs each. This is what Exims without SQLite pay at a connection.\n\n", rowsText(rows), each*b.rounds) +
		t.String() + fmt.Sprintf("\nTarget: at most 1.8 times the empty Go program that is built as ours are: %s (%s).\n", number(toGo), met(toGo <= 1.8))
}

// dnsLists compares one round of our helper with Exim's own dnslists.
func dnsLists(b *bench) string {
	const count = 8
	zones := make([]string, count)
	for i := range zones {
		zones[i] = fmt.Sprintf("list%d.example", i+1)
	}
	theirs := b.base("dnslists")
	theirs.Root.Write(theirs.Root.SnippetDir()+"/10-acl/10-acl-check-connect/60-check-dnsbls",
		"  deny dnslists = "+strings.Join(zones, " : ")+"\n", 0o644)
	theirs.start(b)
	answers := "CHECK_CONNECT_IP_DNSBLS == " + strings.Join(zones, "=127.0.0.2 : ") + "=127.0.0.2"
	ours := b.ours("ours", answers, "CONNECT_STATE_GREETING == off", "CONNECT_STATE_RATELIMIT == off")
	program := b.program("symbiosis-connect-check")
	lists := strings.TrimPrefix(answers, "CHECK_CONNECT_IP_DNSBLS == ")

	t := newTable("the lists answer after", "ideal", "helper process − ideal", "greeting, ours − ideal", "greeting, Exim's dnslists", "dnslists ÷ ours")
	notListed := lab.Rcode(dns.RcodeNameError)
	for _, c := range []struct {
		delay  time.Duration
		silent bool
		rounds int
	}{{0, false, 4 * b.rounds}, {20 * time.Millisecond, false, 2 * b.rounds}, {100 * time.Millisecond, false, b.rounds}, {20 * time.Millisecond, true, 2}} {
		for _, s := range []*server{theirs, ours} {
			for i, z := range zones {
				answer := lab.Late(c.delay, notListed)
				if c.silent && i == 3 {
					answer = lab.Silent
				}
				s.dns.Behave(z, answer)
			}
		}
		ideal := c.delay
		if c.silent {
			ideal = 2 * time.Second // CHECK_CONNECT_DNSBL_TIMEOUT
		}
		var helper, native, through []time.Duration
		var ratio spread
		questions := func(s *server) (all []int) {
			for _, z := range zones {
				all = append(all, s.dns.Questions(z))
			}
			return all
		}
		before := map[*server][]int{theirs: questions(theirs), ours: questions(ours)}
		for range c.rounds {
			var one time.Duration
			b.must(lab.Enter(ours.Net.Server, func() (err error) {
				one, err = process(program, "dnsbl", "--lists", lists, "--timeout", "2s", "--resolv-conf", ours.Root.Path("etc/resolv.conf"), innocent(1).String())
				return err
			}))
			helper = append(helper, one-ideal)
			greet := func(s *server) time.Duration {
				r, err := load{clients: 1, n: 1, addr: s.innocents()}.run(s.Net)
				b.must(err)
				s.shift++
				if r.codes["220"] != 1 {
					b.Fatalf("%s: %v", s.name, r.codes)
				}
				return r.waits[0]
			}
			o, n := greet(ours), greet(theirs)
			through, native = append(through, o-ideal), append(native, n)
			ratio = append(ratio, float64(n)/float64(o))
		}
		// Our helper asks twice in a round, once by itself and once for Exim.
		for s, least := range map[*server]int{theirs: c.rounds, ours: 2 * c.rounds} {
			for i, n := range questions(s) {
				if n -= before[s][i]; n < least {
					b.Fatalf("%s: %s was asked %d times; want %d", s.name, zones[i], n, least)
				}
			}
		}
		what := ms(c.delay)
		if c.silent {
			what += ", one is silent"
			if len(ours.skips()) != c.rounds {
				b.Fatalf("%s: the silent list was not waited for each time\n%s", ours.name, ours.Log())
			}
		}
		theirs.asked(b)
		ours.asked(b)
		t.row(what, ms(ideal), ms(median(helper)), ms(median(through)), ms(median(native)), ratio.String())
		b.Logf("%s: ours %v over the ideal, dnslists %v", what, median(slices.Clone(through)), median(slices.Clone(native)))
	}
	return fmt.Sprintf(`%d lists, none of which has the host. The ideal is the slowest answer, or the
deadline of 2 s when a list is silent. Exim's own dnslists asks one list after
the other.

`, count) + t.String()
}
