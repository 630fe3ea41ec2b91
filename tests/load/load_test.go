// Package load tests that nothing of ours makes the firewall's scan fail, which
// waits for no lock, while Exim judges and history comes over; what it costs to
// bring it over; and that it can be killed at any moment.
package load

import (
	"bufio"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/tests/lab"
)

const (
	innocent = "193.0.6.139"
	database = "/var/lib/symbiosis/firewall-blacklist-count.db"
	hostsDB  = "/var/lib/symbiosis-connect-acl/hosts/hosts.db"
	scans    = 100 // of the firewall, of 20 rows each, with no pause
)

// A scene is what happens while the firewall scans.
type scene struct {
	mu      sync.Mutex
	replies []time.Duration // how long each client waited for the reply
	wrong   []string
	over    bool
}

func (s *scene) add(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *scene) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// connect makes one connection, whose reply is to begin with want.
func (s *scene) connect(n *lab.Net, from, want string) {
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
	s.add(func() { s.replies = append(s.replies, took) })
	fmt.Fprint(c, "QUIT\r\n")
	for err == nil {
		_, err = in.ReadString('\n')
	}
}

// slowest gives the reply that so great a part was not slower than.
func (s *scene) slowest(q float64) time.Duration {
	slices.Sort(s.replies)
	return s.replies[min(len(s.replies)-1, int(q*float64(len(s.replies))))]
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

// scan makes one scan, which waits for no lock, and reports whether it met one.
func (w *writer) scan(t *testing.T) (busy bool) {
	t.Helper()
	fmt.Fprintln(w.in, 0)
	line, err := w.out.ReadString('\n')
	var ms int
	var outcome string
	if err == nil {
		_, err = fmt.Sscan(line, &w.counted, &ms, &outcome)
	}
	if err != nil {
		t.Fatalf("the firewall's scan: %v", err)
	}
	return outcome != "done"
}

// rows is how many the test works with; make load sets it.
func rows(t *testing.T) int {
	t.Helper()
	n := 300_000
	if s := os.Getenv("CONNECT_ACL_LOAD_ROWS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 1 {
			t.Fatalf("CONNECT_ACL_LOAD_ROWS is %q; it takes a number of rows", s)
		}
	}
	return n
}

func needRuby(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("ruby", "-e", `require "sqlite3"`).CombinedOutput(); err != nil {
		if os.Getenv("CONNECT_ACL_LAB") == "require" {
			t.Fatalf("the writer needs ruby-sqlite3: %v\n%s", err, out)
		}
		t.Skip("the writer needs ruby-sqlite3")
	}
}

// The firewall scans without a pause while Exim judges, history comes over and
// the night's maintenance runs again and again. No scan fails.
func TestNoScanFails(t *testing.T) {
	lab.SkipUnlessReady(t)
	needRuby(t)
	r := lab.NewRoot(t, lab.DefaultSuite, "symbiosis")
	n := lab.NewNet(t)
	lab.StartDNS(t, n)
	path := r.Path(database)
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := blacklisttest.Generate(path, blacklisttest.Spec{Seed: 5, Rows: rows(t), Now: time.Now(), Span: 300 * blacklist.Day}); err != nil {
		t.Fatal(err)
	}
	r.Install() // which brings the history over
	r.Local("CONNECT_STATE_GREETING == off", "CONNECT_STATE_RATELIMIT == off", "CONNECT_STATE_DNSBLS == off")
	r.Make("exim4.conf")
	e := lab.StartExim(t, r, n)
	bad4, bad6 := blacklisttest.Key(1).String(), strings.TrimSuffix(blacklisttest.Key(4).String(), "/64")+"5"
	w := startWriter(t, path)

	s := &scene{}
	var others sync.WaitGroup
	for from, want := range map[string]string{innocent: "220", bad4: "550", bad6: "550"} {
		others.Go(func() {
			for !s.isOver() {
				s.connect(n, from, want)
			}
		})
	}
	runs, unsteady := 0, 0
	for _, args := range [][]string{{"sync", "--verbose"}, {"maintain", "--writer-minutes="}} {
		others.Go(func() {
			for !s.isOver() {
				out, err := exec.Command("chroot", append([]string{r.Dir, "symbiosis-connect-db"}, args...)...).CombinedOutput()
				s.add(func() {
					switch runs++; {
					case err != nil && strings.Contains(string(out), "written to all the time"):
						unsteady++ // it has read while the scans went on, and thrown that away
					case err != nil:
						s.wrong = append(s.wrong, fmt.Sprintf("%v: %v: %s", args, err, out))
					}
				})
			}
		})
	}
	failed := 0
	for range scans {
		if w.scan(t) {
			failed++
		}
	}
	s.add(func() { s.over = true })
	others.Wait()
	if failed > 0 {
		t.Errorf("%d of %d scans failed", failed, scans)
	}
	if len(s.wrong) > 0 {
		t.Errorf("%d things went wrong; the first: %s", len(s.wrong), s.wrong[0])
	}
	for _, l := range strings.Split(e.Log(), "\n") {
		if strings.Contains(l, "skipped") || strings.Contains(l, "failed to expand") {
			t.Errorf("Exim's log: %s", l)
		}
	}
	t.Logf("%d rows, %d scans, %d runs of sync and maintain beside them, %d of which found no moment without a scan; %d connections: median %v, 99 %% %v, longest %v", rows(t), scans, runs, unsteady,
		len(s.replies), s.slowest(0.5), s.slowest(0.99), s.slowest(1))
	r.Run("symbiosis-connect-db", "sync")
	if got := history(t, r.Path(hostsDB), "203.0.113.1"); got != w.counted || got != 3*scans {
		t.Errorf("the firewall counted %d in %d scans, and hosts.db has %d", w.counted, scans, got)
	}
	asThePlatform(t, path, r.Path(hostsDB))
}

// Why Exim does not ask the firewall's database: whoever opens it, asks and
// closes, as Exim's lookup does, makes scans fail. This is the measurement that
// docs/architecture.md names, and it proves that the test above can fail.
func TestReadersMakeScansFail(t *testing.T) {
	needRuby(t)
	path := filepath.Join(t.TempDir(), "count.db")
	if err := blacklisttest.Generate(path, blacklisttest.Spec{Seed: 5, Rows: 300_000, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	w := startWriter(t, path)
	for _, indexed := range []bool{false, true} {
		if indexed {
			ask(t, path, "CREATE INDEX i ON blacklist (ip)")
		}
		for _, perSecond := range []int{0, 5, 50} {
			over := make(chan struct{})
			var reader sync.WaitGroup
			if perSecond > 0 {
				reader.Go(func() {
					tick := time.NewTicker(time.Second / time.Duration(perSecond))
					defer tick.Stop()
					for {
						select {
						case <-over:
							return
						case <-tick.C:
							ask(t, path, "SELECT coalesce(sum(count),0) FROM blacklist WHERE ip = '192.0.2.1'")
						}
					}
				})
			}
			failed := 0
			for range scans {
				if w.scan(t) {
					failed++
				}
			}
			close(over)
			reader.Wait()
			t.Logf("300000 rows, index %v, %d lookups a second: %d of %d scans failed", indexed, perSecond, failed, scans)
			if (failed > 0) != (perSecond > 0) && (!indexed || failed > 0) {
				t.Errorf("%d scans failed with %d lookups a second", failed, perSecond)
			}
		}
	}
}

// ask opens, asks and closes, as one of Exim's processes does.
func ask(t *testing.T, path, query string) (n int64) {
	db, err := sql.Open("sqlite3", "file:"+path+"?_busy_timeout=5000")
	if err != nil {
		t.Error(err)
		return 0
	}
	defer db.Close()
	if err := db.QueryRow(query).Scan(&n); err != nil && err != sql.ErrNoRows {
		t.Error(err)
	}
	return n
}

func history(t *testing.T, path, host string) (n int64) {
	t.Helper()
	k, err := address.Parse(host)
	if err == nil {
		err = hosts.With(path, func(d *hosts.DB) error {
			row, err := d.Get(t.Context(), k)
			n = row.History
			return err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// asThePlatform compares hosts.db with the platform's sums.
func asThePlatform(t *testing.T, counts, path string) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+counts+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("SELECT ip, sum(count) FROM blacklist GROUP BY ip")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	want := map[string]int64{}
	for rows.Next() {
		var ip string
		var n int64
		if err := rows.Scan(&ip, &n); err != nil {
			t.Fatal(err)
		}
		want[ip] = n
	}
	if err := hosts.With(path, func(d *hosts.DB) error {
		for r, err := range d.All(t.Context()) {
			if err != nil {
				return err
			}
			if r.History != want[r.Key.String()] {
				t.Errorf("%s has %d, the platform %d", r.Key, r.History, want[r.Key.String()])
			}
			delete(want, r.Key.String())
		}
		return d.Check(t.Context())
	}); err != nil {
		t.Fatal(err)
	}
	if len(want) > 0 {
		t.Errorf("hosts.db lacks %d hosts", len(want))
	}
}

// A site is a root with nothing but what the command looks at, in which hosts.db
// belongs to a user who is not root.
func site(t *testing.T) (root, program string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("for root")
	}
	root, err := os.MkdirTemp("", "load")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	program = filepath.Join(root, "symbiosis-connect-db")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, "./cmd/symbiosis-connect-db")
	build.Dir = lab.SourceDir()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, f := range []string{"etc/exim4/Makefile", "etc/exim4/symbiosis.d/00-main/30-acl-definitions", "var/lib/symbiosis-connect-acl/x", database} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, f)), 0o755); err != nil {
			t.Fatal(err)
		}
		if f != database {
			if err := os.WriteFile(filepath.Join(root, f), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := hosts.Create(t.Context(), filepath.Join(root, hostsDB), 64_902, 64_902, false); err != nil {
		t.Fatal(err)
	}
	return root, program
}

// sync and maintain are killed 200 times, wherever they are. The next run has
// every sum right, and both files are sound.
func TestKilledAnywhere(t *testing.T) {
	root, program := site(t)
	counts, path := filepath.Join(root, database), filepath.Join(root, hostsDB)
	// Rows of two years, of which maintain prunes one.
	if err := blacklisttest.Generate(counts, blacklisttest.Spec{Seed: 8, Rows: 60_000, Hosts: 12_000, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	whole := 100 * time.Millisecond // how long a run takes that is not killed
	for i := range 200 {
		// A few thousand hosts that differ, so that there is much to write.
		change := exec.Command("sqlite3", counts, fmt.Sprintf("UPDATE blacklist SET count = count + 3 WHERE rowid %% 9 = %d", i%9))
		if out, err := change.CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		args := []string{"sync", "--root", root}
		if i%2 == 1 {
			args = []string{"maintain", "--writer-minutes=", "--root", root}
		}
		c := exec.Command(program, args...)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(random.Int64N(int64(whole))), func() { c.Process.Kill() })
		err := c.Wait()
		timer.Stop()
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() >= 0 {
			t.Fatalf("%v: %v", args, err)
		}
		if err == nil {
			whole = max(whole*9/10, 20*time.Millisecond)
		} else {
			whole = whole * 11 / 10
		}
		if i%20 != 19 {
			continue
		}
		for _, args := range [][]string{{"sync"}, {"check"}} {
			if out, err := exec.Command(program, append(args, "--root", root)...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %v %s", args, err, out)
			}
		}
		asThePlatform(t, counts, path)
	}
	if h := history(t, path, blacklisttest.Key(0).String()); h == 0 {
		t.Error("nothing has come over")
	}
}

// What bringing the history over takes.
func TestWhatSyncTakes(t *testing.T) {
	root, program := site(t)
	if _, err := exec.LookPath("time"); err != nil {
		t.Skip("there is no time(1)")
	}
	counts, n := filepath.Join(root, database), rows(t)
	if err := blacklisttest.Generate(counts, blacklisttest.Spec{Seed: 8, Rows: n, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"all of it", "nothing changed"} {
		figures := filepath.Join(root, "figures")
		c := exec.Command("time", "-f", "%M %U %S %e", "-o", figures, program, "sync", "--root", root)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		text, err := os.ReadFile(figures)
		if err != nil {
			t.Fatal(err)
		}
		var memory int
		var user, system, wall float64
		if _, err := fmt.Sscan(string(text), &memory, &user, &system, &wall); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d rows, %s: %.2f s of work in %.2f s, %d MiB", n, what, user+system, wall, memory>>10)
		// Memory does not depend on how busy the machine is.
		if most := 64 + 236*max(0, n-1_000_000)/9_000_000; memory>>10 > most {
			t.Errorf("%d MiB; at %d rows it is to be %d at most", memory>>10, n, most)
		}
	}
}
