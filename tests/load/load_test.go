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
)

// A reader is somebody who keeps connecting.
type reader struct {
	from        string
	want        string // how the reply begins
	connections int
	before      int // connections of the steps before this one
	longest     time.Duration
	wrong       []string
}

func (r *reader) connect(n *lab.Net) {
	begin := time.Now()
	c, err := n.Dial(r.from, 25)
	if err != nil {
		r.wrong = append(r.wrong, err.Error())
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(60 * time.Second))
	in := bufio.NewReader(c)
	line, err := in.ReadString('\n')
	r.longest = max(r.longest, time.Since(begin))
	r.connections++
	if !strings.HasPrefix(line, r.want) {
		r.wrong = append(r.wrong, fmt.Sprintf("%q %v", line, err))
	}
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
// gives the longest time in milliseconds that a statement took.
func (w *writer) scan(wait int) (longest int64, err error) {
	fmt.Fprintln(w.in, wait)
	line, err := w.out.ReadString('\n')
	if err == nil {
		_, err = fmt.Sscan(line, &w.counted, &longest)
	}
	return longest, err
}

// scanning sums scans up.
type scanning struct {
	n       int
	longest int64
	err     error
}

func (s *scanning) add(longest int64, err error) {
	s.n++
	s.longest = max(s.longest, longest)
	if s.err == nil {
		s.err = err
	}
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

	// Everybody connects once before, all the time while it runs, and once
	// after it. SQLite gives a writer that does not wait an error when somebody
	// reads at the very moment it commits, maintenance or not. So that it is
	// clear whom a failure is to be blamed on, every other scan is one that
	// does not wait, and nobody connects during it; in the other ones all
	// three are at it at once, and the scan waits for readers.
	readers := []*reader{{from: innocent, want: "220"}, {from: bad4, want: "550"}, {from: bad6, want: "550"}}
	started, over := make(chan struct{}, len(readers)+1), make(chan struct{})
	var pause sync.RWMutex
	var busy sync.WaitGroup
	for _, rd := range readers {
		busy.Add(1)
		go func() {
			defer busy.Done()
			connect := func() {
				pause.RLock()
				defer pause.RUnlock()
				rd.connect(n)
			}
			connect()
			started <- struct{}{}
			for {
				select {
				case <-over:
					connect()
					return
				default:
					connect()
				}
			}
		}()
	}
	// The firewall scans every 15 minutes. Maintenance begins again when the
	// database was written to while it was read, and gives up after some tries,
	// so a big one needs a pace that is nearer to that.
	pace := 100 * time.Millisecond
	if rows >= 1_000_000 {
		pace = time.Duration(rows) * 10 * time.Microsecond
	}
	var alone, among scanning
	busy.Add(1)
	go func() {
		defer busy.Done()
		for i := 0; ; i++ {
			pause.Lock()
			alone.add(w.scan(0))
			pause.Unlock()
			among.add(w.scan(10_000))
			if i == 0 {
				started <- struct{}{}
			}
			select {
			case <-over:
				return
			case <-time.After(pace):
			}
		}
	}()
	for range cap(started) {
		<-started
	}
	// First the index, as the package's installation makes it: until it is
	// there every reader reads the whole table, and waits for that. Then all
	// the rest, with readers that would wait for nothing but a lock.
	for _, step := range []string{"index", "maintain"} {
		begin := time.Now()
		said := r.Run("symbiosis-connect-db", step, "--verbose", "--writer-minutes", "", "--database", database)
		took := time.Since(begin)
		pause.Lock() // nobody is connecting
		var longest time.Duration
		connections := 0
		for _, rd := range readers {
			longest, connections = max(longest, rd.longest), connections+rd.connections-rd.before
			rd.longest, rd.before = 0, rd.connections
		}
		t.Logf("%s, %d rows: %.1f s; of %d connections meanwhile the longest waited %d ms for its reply\n%s",
			step, rows, took.Seconds(), connections, longest.Milliseconds(), said)
		pause.Unlock()
	}
	close(over)
	busy.Wait()
	for _, s := range []*scanning{&alone, &among} {
		if s.err != nil {
			t.Errorf("the firewall's scan failed: %v", s.err)
		}
	}

	for _, rd := range readers {
		if len(rd.wrong) > 0 {
			t.Errorf("%s: %d of %d connections went wrong; the first: %s", rd.from, len(rd.wrong), rd.connections, rd.wrong[0])
		}
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
	t.Logf("%d scans of the firewall that wait for no lock, the longest statement took %d ms; %d that do, %d ms", alone.n, alone.longest, among.n, among.longest)
}
