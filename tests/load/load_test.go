// Package load tests that maintenance of a big count database keeps nobody
// out: not Exim, whose connections go on being judged, and not the firewall,
// whose scan does not wait for a lock.
package load

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/blacklist/blacklisttest"
	"symbiosis-connect-acl/tests/lab"
)

const (
	innocent = "193.0.6.139"
	database = "/var/lib/symbiosis/firewall-blacklist-count.db"
	// The firewall scans every 15 minutes. Here it does so all the time but for
	// this.
	pace = 500 * time.Millisecond
)

// A phase is a time in which either maintenance runs or nothing but the
// readers and the writer, who have it to compare with.
type phase struct {
	name    string
	took    time.Duration
	replies []time.Duration // how long each reader waited for the reply
	// The firewall's scans: those that wait for no lock while nobody connects,
	// those that do not wait while everybody connects, and those that wait.
	alone, among, waiting scans
}

// scans sums scans up.
type scans struct {
	n, busy int
	longest time.Duration // that one statement took
}

func (s scans) String() string {
	if s.n == 0 {
		return "0"
	}
	return fmt.Sprintf("%d of %d (%d ms)", s.busy, s.n, s.longest.Milliseconds())
}

func (p *phase) row() string {
	slices.Sort(p.replies)
	at := func(q float64) time.Duration { return p.replies[min(len(p.replies)-1, int(q*float64(len(p.replies))))] }
	if len(p.replies) == 0 {
		p.replies = []time.Duration{0}
	}
	return fmt.Sprintf("| %s | %.1f s | %d | %.1f ms | %.1f ms | %.1f ms | %v | %v | %v |", p.name, p.took.Seconds(), len(p.replies),
		at(0.5).Seconds()*1e3, at(0.99).Seconds()*1e3, at(1).Seconds()*1e3, p.alone, p.among, p.waiting)
}

// A scene is what happens beside maintenance.
type scene struct {
	mu    sync.Mutex
	came  sync.Cond // something was added to the phase
	phase *phase
	wrong []string
	over  bool
}

func (s *scene) add(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.came.Broadcast()
}

func (s *scene) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// begin begins a phase.
func (s *scene) begin(name string) *phase {
	p := &phase{name: name}
	s.add(func() { s.phase = p })
	return p
}

// await waits until the phase has so many replies and rounds of scans.
func (s *scene) await(p *phase, replies, rounds int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for (len(p.replies) < replies || min(p.alone.n, p.among.n, p.waiting.n) < rounds) && len(s.wrong) == 0 {
		s.came.Wait()
	}
}

// connect makes one connection, whose reply is to begin with want.
func (s *scene) connect(n *lab.Net, from, want string) {
	s.mu.Lock()
	p := s.phase
	s.mu.Unlock()
	begin := time.Now()
	fail := func(what string) { s.add(func() { s.wrong = append(s.wrong, from+": "+what) }) }
	c, err := n.Dial(from, 25)
	if err != nil {
		fail(err.Error())
		return
	}
	defer c.Close()
	c.SetDeadline(begin.Add(60 * time.Second))
	in := bufio.NewReader(c)
	line, err := in.ReadString('\n')
	took := time.Since(begin)
	if !strings.HasPrefix(line, want) {
		fail(fmt.Sprintf("%q %v", line, err))
	}
	s.add(func() { p.replies = append(p.replies, took) })
	fmt.Fprint(c, "QUIT\r\n")
	for err == nil {
		_, err = in.ReadString('\n')
	}
}

// A writer is the firewall's, writer.rb.
type writer struct {
	in      io.Writer
	out     *bufio.Reader
	counted int64 // for 203.0.113.1
}

func startWriter(t *testing.T, path string) *writer {
	t.Helper()
	cmd := exec.Command("ruby", filepath.Join(lab.SourceDir(), "tests/load/writer.rb"), path)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	return &writer{in: in, out: bufio.NewReader(out)}
}

// scan makes one scan, which waits for a lock for so many milliseconds, and
// adds it to one of the sums of the phase. It reports whether the writer lives.
func (w *writer) scan(s *scene, wait int, to func(*phase) *scans) bool {
	s.mu.Lock()
	p := s.phase
	s.mu.Unlock()
	fmt.Fprintln(w.in, wait)
	line, err := w.out.ReadString('\n')
	var ms int
	var outcome string
	if err == nil {
		_, err = fmt.Sscan(line, &w.counted, &ms, &outcome)
	}
	s.add(func() {
		if err != nil {
			s.wrong = append(s.wrong, "the firewall's scan: "+err.Error())
			return
		}
		sum := to(p)
		sum.n++
		sum.longest = max(sum.longest, time.Duration(ms)*time.Millisecond)
		if outcome != "done" {
			sum.busy++
		}
	})
	return err == nil
}

func TestMaintenanceUnderLoad(t *testing.T) {
	lab.SkipUnlessReady(t)
	if out, err := exec.Command("ruby", "-e", `require "sqlite3"`).CombinedOutput(); err != nil {
		if os.Getenv("CONNECT_ACL_LAB") == "require" {
			t.Fatalf("the writer needs ruby-sqlite3: %v\n%s", err, out)
		}
		t.Skip("the writer needs ruby-sqlite3")
	}
	rows := 300_000
	if s := os.Getenv("CONNECT_ACL_LOAD_ROWS"); s != "" {
		var err error
		if rows, err = strconv.Atoi(s); err != nil || rows < 1 {
			t.Fatalf("CONNECT_ACL_LOAD_ROWS is %q; it takes a number of rows", s)
		}
	}
	r := lab.NewRoot(t, lab.DefaultSuite, "symbiosis")
	n := lab.NewNet(t)
	lab.StartDNS(t, n)
	r.Install()
	// The other checks have nothing to do with the database.
	r.Local("CONNECT_STATE_GREETING == off", "CONNECT_STATE_RATELIMIT == off", "CONNECT_STATE_DNSBLS == off")
	r.Make("exim4.conf")
	e := lab.StartExim(t, r, n)
	path := r.Path(database)
	// As the firewall leaves it after years: no index, rows of two years.
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := blacklisttest.Generate(path, blacklisttest.Spec{Seed: 5, Rows: rows, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	bad4, bad6 := blacklisttest.Key(1).String(), strings.TrimSuffix(blacklisttest.Key(4).String(), "/64")+"5"

	w := startWriter(t, path)

	// SQLite gives a writer that does not wait an error when somebody reads at
	// the very moment at which it commits, maintenance or not. So that it is
	// clear whom a failure is to be blamed on, there are three kinds of scans,
	// in turn: one that does not wait while nobody connects, which has to do
	// with maintenance alone and must not fail; one that waits, while everybody
	// connects, which must not fail either; and one that does not wait, among
	// all the others, which fails as often as Exim's lookups make it.
	s := &scene{}
	s.came.L = &s.mu
	s.begin("")
	var pause sync.RWMutex
	var busy sync.WaitGroup
	for from, want := range map[string]string{innocent: "220", bad4: "550", bad6: "550"} {
		busy.Go(func() {
			for !s.isOver() {
				pause.RLock()
				s.connect(n, from, want)
				pause.RUnlock()
			}
		})
	}
	busy.Go(func() {
		for alive := true; alive && !s.isOver(); time.Sleep(pace) {
			pause.Lock()
			alive = w.scan(s, 0, func(p *phase) *scans { return &p.alone })
			pause.Unlock()
			alive = alive && w.scan(s, 30_000, func(p *phase) *scans { return &p.waiting })
			alive = alive && w.scan(s, 0, func(p *phase) *scans { return &p.among })
		}
	})
	// First the index, as the package's installation makes it: until it is
	// there every reader reads the whole table, and waits for that. Then all
	// the rest, with readers that would wait for nothing but a lock. Before
	// each, what readers and writer have to wait for without it.
	var phases []*phase
	for _, step := range []struct {
		without, with   string
		replies, rounds int
		command         []string
	}{
		{"no index, no maintenance", "`index` at work", 3, 1, []string{"index"}},
		{"indexed, no maintenance", "`maintain` at work", 300, 5, []string{"maintain"}},
		{"in shape, no maintenance", "`maintain` the night after", 300, 5, []string{"maintain", "--retention-days", "364"}},
	} {
		begin := time.Now()
		p := s.begin(step.without)
		s.await(p, step.replies, step.rounds)
		p.took = time.Since(begin)
		phases = append(phases, p)

		begin = time.Now()
		p = s.begin(step.with)
		said := r.Run("symbiosis-connect-db", append(step.command, "--verbose", "--writer-minutes", "", "--database", database)...)
		p.took = time.Since(begin)
		phases = append(phases, p)
		t.Logf("%s, %d rows: %.1f s\n%s", strings.Join(step.command, " "), rows, p.took.Seconds(), said)
	}
	// Everybody once more on what it left behind.
	begin := time.Now()
	p := s.begin("afterwards")
	s.await(p, 100, 2)
	p.took = time.Since(begin)
	phases = append(phases, p)
	s.add(func() { s.over = true })
	busy.Wait()

	for _, p := range phases {
		if p.alone.busy > 0 {
			t.Errorf("%s: %d of %d scans failed while nobody connected", p.name, p.alone.busy, p.alone.n)
		}
		if p.waiting.busy > 0 {
			t.Errorf("%s: %d of %d scans that wait for a lock failed", p.name, p.waiting.busy, p.waiting.n)
		}
	}
	if len(s.wrong) > 0 {
		t.Errorf("%d things went wrong; the first: %s", len(s.wrong), s.wrong[0])
	}
	for _, l := range strings.Split(e.Log(), "\n") {
		if strings.Contains(l, "skipped") || strings.Contains(l, "failed to expand") {
			t.Errorf("Exim's log: %s", l)
		}
	}
	key, err := address.Parse("203.0.113.1")
	if err != nil {
		t.Fatal(err)
	}
	if sum, err := blacklist.Sum(context.Background(), path, key); err != nil || sum != w.counted || sum == 0 {
		t.Errorf("the writer counted %d, and the database has %d (%v)", w.counted, sum, err)
	}
	if ok, err := blacklist.HasIndex(context.Background(), path); err != nil || !ok {
		t.Errorf("no index after maintenance (%v)", err)
	}
	table := []string{"| phase | time | replies | median | 99th percentile | longest | scans alone: failed of (longest statement) | among readers, not waiting | among readers, waiting |",
		"| --- | --- | --- | --- | --- | --- | --- | --- | --- |"}
	for _, p := range phases {
		table = append(table, p.row())
	}
	t.Logf("%d rows\n%s", rows, strings.Join(table, "\n"))
}
