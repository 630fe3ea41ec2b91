// Package load tests that nothing of ours makes the firewall's scan fail, which
// waits for no lock, while Exim judges and history comes over; what it costs to
// bring it over; and that it can be killed at any moment.
//
// make test runs it small, and checks no time: its machine may be busy. make load
// runs it whole, and holds the times to what they are to be.
package load

import (
	"bufio"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
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
	replies spread // how long each client waited for the greeting or the refusal
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

// cron starts what cron does each minute: a run that stays with hosts.db open.
func (s *scene) cron(t *testing.T, r *lab.Root) {
	var running []*exec.Cmd
	for minute := -1; !s.isOver(); time.Sleep(50 * time.Millisecond) { // between two looks at a condition
		if now := time.Now().Minute(); now != minute {
			minute = now
			c := r.Command("symbiosis-connect-db", "sync", "--stay")
			if err := c.Start(); err != nil {
				t.Error(err)
				return
			}
			running = append(running, c)
		}
	}
	for _, c := range running {
		c.Process.Signal(syscall.SIGTERM)
		c.Wait()
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

// whole says that make load runs this.
var whole = os.Getenv("CONNECT_ACL_LOAD") != ""

// atMost holds a time to what it is to be, when make load runs this.
func atMost(t *testing.T, what string, got, most time.Duration) {
	t.Helper()
	if whole && got > most {
		t.Errorf("%s: %v; it is to be %v at most", what, got, most)
	}
}

// A spread is how long something took, each time.
type spread []time.Duration

// slowest gives the time that so great a part did not exceed.
func (s spread) slowest(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	slices.Sort(s)
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

// over gives how many there are that took longer.
func (s spread) over(d time.Duration) (n int) {
	for _, t := range s {
		if t > d {
			n++
		}
	}
	return n
}

func (s spread) String() string {
	return fmt.Sprintf("%d: median %v, 99 %% %v, longest %v", len(s), s.slowest(0.5), s.slowest(0.99), s.slowest(1))
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
	const rows = 300_000
	bots := []int{1, 4} // the latter is an IPv6 host
	if whole {
		bots = []int{1, 2, 3, 4, 6, 7, 8, 9}
	}
	if err := blacklisttest.Generate(path, blacklisttest.Spec{Seed: 5, Rows: rows, Now: time.Now(), Span: 300 * blacklist.Day}); err != nil {
		t.Fatal(err)
	}
	r.Install() // which brings the history over
	// A connection that is not refused reads hosts.db and writes to it.
	r.Local("CONNECT_STATE_GREETING == off", "CHECK_CONNECT_RATELIMIT == 999999 / 15m", "CONNECT_STATE_DNSBLS == off")
	const rule = "/10-acl/10-acl-check-connect/"
	r.Write(r.SnippetDir()+rule+"22-load", "  warn logwrite = load: lookup $acl_c_connect_hosts_spent\n", 0o644)
	r.Write(r.SnippetDir()+rule+"51-load", "  warn logwrite = load: both $acl_c_connect_hosts_spent\n", 0o644)
	if whole {
		// The same question to a copy that nobody writes to: what it takes to get the
		// processor, on a machine that has none to spare.
		r.Run("cp", "-a", hostsDB, filepath.Dir(hostsDB)+"/quiet.db")
		r.Write(r.SnippetDir()+rule+"23-quiet", "  warn set acl_c_load = $tod_epoch_l\n"+
			"       set acl_c_load_answer = ${lookup sqlite {"+filepath.Dir(hostsDB)+"/quiet.db "+
			"select coalesce(history,0) from (select 1) left join host on net='$acl_c_connect_key';}}\n"+
			"       logwrite = load: quiet ${eval10:$tod_epoch_l - $acl_c_load}\n", 0o644)
	}
	r.Make("exim4.conf")
	e := lab.StartExim(t, r, n)
	w := startWriter(t, path)

	s := &scene{}
	var others sync.WaitGroup
	clients := map[string]string{innocent: "220"}
	for _, bot := range bots {
		from, is6 := strings.CutSuffix(blacklisttest.Key(bot).String(), "/64")
		if is6 {
			from += "5"
		}
		clients[from] = "550"
	}
	for from, want := range clients {
		others.Go(func() {
			for !s.isOver() {
				s.connect(n, from, want)
			}
		})
	}
	others.Go(func() { s.cron(t, r) })
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
	t.Logf("%d rows, %d scans, %d runs of sync and maintain beside them, %d of which found no moment without a scan", rows, scans, runs, unsteady)
	t.Logf("replies to %d clients, %v", len(clients), s.replies)
	lookups, both := spent(t, e.Log(), "lookup"), spent(t, e.Log(), "both")
	t.Logf("Exim's lookups in hosts.db, %v", lookups)
	t.Logf("the same with a write, %v", both)
	if len(lookups) < scans || len(both) < scans {
		t.Error("Exim has hardly asked")
	}
	if whole {
		// What is slow there, too, has waited for the processor.
		const most = 100 * time.Millisecond
		quiet := spent(t, e.Log(), "quiet")
		t.Logf("the same lookup in a file that nobody writes to, %v", quiet)
		t.Logf("over %v: %d in hosts.db, %d in the other", most, lookups.over(most), quiet.over(most))
		if n := lookups.over(most); n > 2*quiet.over(most) {
			t.Errorf("%d lookups took over %v", n, most)
		}
		held(t, n, e, r.Path(hostsDB), 10*time.Second, quiet.slowest(1))
	}
	r.Run("symbiosis-connect-db", "sync")
	if got := history(t, r.Path(hostsDB), "203.0.113.1"); got != w.counted || got != 3*scans {
		t.Errorf("the firewall counted %d in %d scans, and hosts.db has %d", w.counted, scans, got)
	}
	asThePlatform(t, path, r.Path(hostsDB))
}

// held has somebody hold the lock of hosts.db for some time. Who connects meanwhile
// waits a second for it at most, and is greeted. (Waiting for the processor comes
// on top of that.)
func held(t *testing.T, n *lab.Net, e *lab.Exim, path string, d, processor time.Duration) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path+"?_txlock=immediate&_busy_timeout=5000")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	mark, begin := len(e.Log()), time.Now()
	s := &scene{}
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for time.Since(begin) < d {
				s.connect(n, fmt.Sprint("193.0.6.", 10+i), "220")
			}
		})
	}
	clients.Wait()
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	if len(s.wrong) > 0 {
		t.Errorf("%d things went wrong; the first: %s", len(s.wrong), s.wrong[0])
	}
	if skipped := strings.Count(e.Log()[mark:], "host database skipped"); skipped != len(s.replies) {
		t.Errorf("the log says of %d connections that the database was skipped; there were %d", skipped, len(s.replies))
	}
	t.Logf("replies while somebody holds the lock for %v, %v", d, s.replies)
	atMost(t, "the longest reply", s.replies.slowest(1), time.Second+processor)
}

// spent gives the times that Exim has logged under a word.
func spent(t *testing.T, log, word string) (all spread) {
	t.Helper()
	for _, m := range regexp.MustCompile(`load: `+word+` (\d+)`).FindAllStringSubmatch(log, -1) {
		us, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, time.Duration(us)*time.Microsecond)
	}
	return all
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
