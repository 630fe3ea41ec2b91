package blacklist

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"symbiosis-connect-acl/internal/blacklist/blacklisttest"
)

// The file keeps what belongs to its owner: mode, owner, the table's text, the
// journal mode, other settings, and a link that leads to it.
func TestMaintainKeepsTheFileAsItIs(t *testing.T) {
	path := generated(t, blacklisttest.Spec{Seed: 5, Rows: 60_000})
	execAll(t, path, "PRAGMA user_version = 42", "PRAGMA application_id = 7", "CREATE INDEX theirs ON blacklist (timestamp)")
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(path, 12, 34); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	look := func() string {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		s := fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid)
		for _, q := range []string{"PRAGMA user_version", "PRAGMA application_id", "PRAGMA journal_mode", "PRAGMA page_size", "PRAGMA encoding",
			"SELECT sql FROM sqlite_master WHERE name = 'blacklist'", "SELECT sql FROM sqlite_master WHERE name = 'theirs'"} {
			var v string
			db := ro(t, path)
			if err := db.QueryRow(q).Scan(&v); err != nil {
				t.Fatal(q, err)
			}
			db.Close()
			s += "\n" + v
		}
		return s
	}
	before := look()
	r, err := Maintain(context.Background(), link, maintainOptions())
	if err != nil || !r.Rewritten || !r.Indexed || r.Pruned == 0 || r.BytesAfter >= r.BytesBefore {
		t.Fatalf("%+v, %v", r, err)
	}
	if after := look(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if st, err := os.Lstat(link); err != nil || st.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v", err)
	}
	if e, _ := os.ReadDir(filepath.Dir(path)); len(e) != 1 {
		t.Errorf("left behind: %v", e)
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	path := generated(t, blacklisttest.Spec{Seed: 6, Rows: 20_000})
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	o := maintainOptions()
	o.DryRun = true
	would, err := Maintain(context.Background(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(after, before) {
		t.Error("a dry run changed the file")
	}
	o.DryRun = false
	did, err := Maintain(context.Background(), path, o)
	if err != nil || would.Pruned != did.Pruned || would.Merged != did.Merged || would.Indexed != did.Indexed || did.Pruned == 0 || did.Merged == 0 {
		t.Errorf("would %+v\ndid   %+v, %v", would, did, err)
	}
}

// Rows that no known writer stores are nobody's to touch.
func TestOddRowsAreKept(t *testing.T) {
	path := small(t, "('192.0.2.1','yesterday',3)", "('192.0.2.1',1000.5,3)", "('192.0.2.1',-5,3)", "('192.0.2.1',-6,3)",
		"(x'01',1000,3)", "(x'01',1001,3)", "('192.0.2.1',1000,'many')", "('192.0.2.1',1001,2.5)",
		"('192.0.2.1',1000,9223372036854775807)", "('192.0.2.1',1001,9223372036854775807)",
		"('192.0.2.1',1002,3)", "('192.0.2.1',1003,3)")
	r, err := Maintain(context.Background(), path, Options{Now: now, Compact: true, Reclaim: true, Force: true, Index: true, Pause: 1})
	if err != nil || r.Merged != 1 {
		t.Errorf("%+v, %v; one row should have been merged", r, err)
	}
	var n int
	if err := ro(t, path).QueryRow("SELECT count(*) FROM blacklist WHERE ip != '192.0.2.1' OR count != 6").Scan(&n); err != nil || n != 10 {
		t.Errorf("%d odd rows left of 10, %v", n, err)
	}
}

func TestSecondRunIsTold(t *testing.T) {
	path := small(t, "('192.0.2.1',1000,3)")
	unlock, err := lockRuns(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Maintain(context.Background(), path, maintainOptions()); !errors.Is(err, ErrRunning) {
		t.Errorf("got %v; want ErrRunning", err)
	}
	unlock()
	if _, err := Maintain(context.Background(), path, maintainOptions()); err != nil {
		t.Error(err)
	}
}

func TestQuietMinutes(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.TimeOnly, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, tt := range []struct {
		at   string
		want time.Duration
	}{
		{"12:04:56", 0}, {"12:04:57", 18 * time.Second}, {"12:05:00", 15 * time.Second}, {"12:05:14", time.Second},
		{"12:05:15", 0}, {"12:43:00", 0}, {"12:34:59", 16 * time.Second},
	} {
		if got := untilQuiet(at(tt.at), WriterMinutes); got != tt.want {
			t.Errorf("at %s: %v, want %v", tt.at, got, tt.want)
		}
		if got := untilQuiet(at(tt.at), nil); got != 0 {
			t.Errorf("without minutes: %v", got)
		}
	}
}

// A full disk stops maintenance before it has begun.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a file system")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=30m"); err != nil {
		t.Skipf("cannot mount a file system here: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	path := filepath.Join(dir, "db")
	if err := blacklisttest.Generate(path, blacklisttest.Spec{Seed: 8, Rows: 200_000, Now: now}); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path)
	for _, fill := range []int64{0, 12 << 20, 20 << 20} {
		if err := os.WriteFile(filepath.Join(dir, "fill"), make([]byte, fill), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := Maintain(context.Background(), path, maintainOptions())
		if err == nil {
			if fill == 0 {
				return // there was room after all
			}
			t.Fatal("a full disk was no error")
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(after, before) {
			t.Error("the database was changed")
		}
		if e, _ := os.ReadDir(dir); len(e) != 2 {
			t.Errorf("left behind: %v", e)
		}
	}
}

// A disk that is full in the middle of it costs no row, leaves nothing behind,
// and the next run, with room, does the work.
func TestDiskFullMeanwhile(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a file system")
	}
	for _, way := range []string{"new file", "in place"} {
		for _, when := range []string{"reading", "writing", "putting", "deleting", "summing up", "building"} {
			if (way == "in place") != slices.Contains([]string{"reading", "deleting", "summing up", "building"}, when) && when != "reading" {
				continue
			}
			t.Run(way+", "+when, func(t *testing.T) {
				dir := t.TempDir()
				if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=32m"); err != nil {
					t.Skipf("cannot mount a file system here: %v", err)
				}
				t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
				path, fill := filepath.Join(dir, "db"), filepath.Join(dir, "fill")
				if err := blacklisttest.Generate(path, blacklisttest.Spec{Seed: 19, Rows: 40_000, Now: now, Span: 320 * Day}); err != nil {
					t.Fatal(err)
				}
				if way == "in place" {
					execAll(t, path, "CREATE TABLE other (x)")
				}
				o := maintainOptions()
				full := false
				o.Progress = func(s string) {
					if !strings.HasPrefix(s, when) || full {
						return
					}
					full = true
					if when == "putting" { // what came meanwhile does not fit in
						execAll(t, path, `INSERT INTO blacklist WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 3000)
							SELECT '203.0.113.3', 1773000000, 1 FROM n`)
					}
					f, err := os.Create(fill)
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					for b := make([]byte, 4096); err == nil; {
						_, err = f.Write(b)
					}
					if !errors.Is(err, unix.ENOSPC) {
						t.Fatal(err)
					}
				}
				want := kept(t, path)
				_, err := Maintain(context.Background(), path, o)
				if when == "putting" {
					want["203.0.113.3"] = 3000
				}
				if !full || err == nil || !strings.Contains(err.Error(), "disk is full") && !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), dir) {
					t.Errorf("full is %v, and it says: %v", full, err)
				}
				if got := kept(t, path); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Error("the sums differ")
				}
				if e, _ := os.ReadDir(dir); len(e) != 2 {
					t.Errorf("left behind: %v", e)
				}
				if err := os.Remove(fill); err != nil {
					t.Fatal(err)
				}
				if _, err := Maintain(context.Background(), path, o); err != nil {
					t.Error(err)
				}
				if got := kept(t, path); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Error("after the next run the sums differ")
				}
				if ok, err := HasIndex(context.Background(), path); !ok || err != nil {
					t.Errorf("there is no index: %v", err)
				}
				if err := IntegrityCheck(context.Background(), path); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// The platform's writer and Exim's lookup go on while maintenance runs: the
// writer opens, adds and closes, the reader opens, asks and closes all the
// time. Neither fails, and no sum is ever seen that is not the right one.
func TestNobodyIsKeptOut(t *testing.T) {
	for _, way := range []string{"new file", "in place"} {
		t.Run(way, func(t *testing.T) {
			path := generated(t, blacklisttest.Spec{Seed: 9, Rows: 300_000})
			at := now
			before := inode(t, path)
			if way == "in place" { // a day's work on a database in shape
				if err := maintainer(t, path).Run(); err != nil {
					t.Fatal(err)
				}
				at = now.Add(Day)
				before = inode(t, path)
				execAll(t, path, "CREATE TABLE other (x)") // not ours to move
			}
			want := keptAt(t, path, at)
			// A host whose rows are all young enough, with days to sum up.
			host := key(t, "203.0.113.9")
			execAll(t, path, fmt.Sprintf("INSERT INTO blacklist VALUES ('%[1]s', %[2]d, 5), ('%[1]s', %[3]d, 6)", host, at.Add(-60*time.Hour).Unix(), at.Add(-61*time.Hour).Unix()))
			var stop atomic.Bool
			var wg sync.WaitGroup
			var longest time.Duration
			reads := 0
			wg.Go(func() {
				for !stop.Load() {
					begin := time.Now()
					n, err := Sum(context.Background(), path, host)
					longest = max(longest, time.Since(begin))
					reads++
					if n != 11 || err != nil {
						t.Errorf("a reader got %d, %v; want 11", n, err)
						return
					}
				}
			})
			c := maintainer(t, path)
			c.Env = append(c.Env, fmt.Sprintf("%s=%d", childNowEnv, at.Unix()))
			wg.Go(func() {
				defer stop.Store(true)
				if err := c.Run(); err != nil {
					t.Error(err)
				}
			})
			writes := 0
			other := blacklisttest.Key(17).String()
			for !stop.Load() {
				// A program of its own: locks are a process's. A reader at the
				// moment of its commit would make it fail without a timeout,
				// with or without maintenance.
				if out, err := exec.Command("sqlite3", path, ".timeout 5000",
					fmt.Sprintf("INSERT INTO blacklist VALUES ('%s', %d, 9)", other, at.Unix())).CombinedOutput(); err != nil {
					t.Errorf("write %d failed: %s", writes, out)
				} else {
					want[other] += 9
					writes++
				}
				time.Sleep(30 * time.Millisecond) // the writer's own pace
			}
			wg.Wait()
			t.Logf("%d reads, the longest %v; %d writes", reads, longest, writes)
			want[host.String()] = 11
			if got := keptAt(t, path, at); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Error("the sums differ")
			}
			if (inode(t, path) != before) != (way == "new file") {
				t.Errorf("it was not done by way of %s", way)
			}
		})
	}
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func TestRecover(t *testing.T) {
	ctx := context.Background()
	path := generated(t, blacklisttest.Spec{Seed: 11, Rows: 20_000})
	execAll(t, path, createIndex)
	all := map[string]int64{}
	for ip, s := range allSums(t, path) {
		all[ip] = s.total
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Pages in the middle, as a bad disk would leave them.
	for _, page := range []int{60, 61, 70} {
		copy(b[page*4096:], bytes.Repeat([]byte{0xa5}, 4096))
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := IntegrityCheck(ctx, path); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("the check says %v", err)
	}
	if _, err := Maintain(ctx, path, maintainOptions()); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("maintenance says %v", err)
	}
	if now, _ := os.ReadFile(path); !bytes.Equal(now, b) {
		t.Fatal("maintenance changed a corrupt file")
	}
	rec, err := Recover(ctx, path, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := IntegrityCheck(ctx, path); err != nil {
		t.Error(err)
	}
	if keptBytes, _ := os.ReadFile(rec.Kept); !bytes.Equal(keptBytes, b) {
		t.Error("the damaged file was not kept")
	}
	// Three pages hold some 450 rows.
	if rec.Gaps == 0 || rec.Rows < 19_000 || rec.Rows >= 20_000 {
		t.Errorf("%+v", rec)
	}
	for ip, s := range allSums(t, path) {
		if s.total > all[ip] {
			t.Errorf("%s has %d, had %d", ip, s.total, all[ip])
		}
	}
	// One that is no database at all stays where it is.
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 5000), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Recover(ctx, path, false); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}

func TestList(t *testing.T) {
	ts := func(days int) int64 { return now.Unix() - int64(days)*daySeconds }
	path := small(t, fmt.Sprintf("('192.0.2.1',%d,3),('192.0.2.1',%d,9)", ts(10), ts(3)), fmt.Sprintf("('192.0.2.2',%d,30)", ts(5)),
		fmt.Sprintf("('2001:db8:1::/64',%d,6)", ts(1)), fmt.Sprintf("('nonsense',%d,1)", ts(20)))
	for _, tt := range []struct {
		f    Filter
		want string
	}{
		{Filter{}, "2001:db8:1::/64 192.0.2.1 192.0.2.2 nonsense"},
		{Filter{Order: ByCount}, "192.0.2.2 192.0.2.1 2001:db8:1::/64 nonsense"},
		{Filter{MinCount: 7}, "192.0.2.1 192.0.2.2"},
		{Filter{Since: now.Add(-4 * Day)}, "2001:db8:1::/64 192.0.2.1"},
		{Filter{Before: now.Add(-4 * Day)}, "192.0.2.2 nonsense"},
		{Filter{Net: key(t, "192.0.2.1").Prefix()}, "192.0.2.1"},
		{Filter{Top: 1}, "2001:db8:1::/64"},
		{Filter{Order: ByAddress, Keep: func(h Host) bool { return !h.Key.Is6() }}, "nonsense 192.0.2.1 192.0.2.2"},
	} {
		hosts, err := List(context.Background(), path, tt.f)
		var got []string
		for _, h := range hosts {
			got = append(got, h.IP)
		}
		if s := strings.Join(got, " "); err != nil || s != tt.want {
			t.Errorf("%+v: got %q, %v; want %q", tt.f, s, err, tt.want)
		}
	}
	hosts, err := List(context.Background(), path, Filter{Net: key(t, "192.0.2.1").Prefix()})
	if err != nil || hosts[0].Count != 12 || hosts[0].Reports != 2 || hosts[0].Last.Unix() != ts(3) || hosts[0].First.Unix() != ts(10)-12*3600 {
		t.Errorf("%+v, %v", hosts, err)
	}
}

// Deleting and bringing back gives the same rows, however often it is done.
func TestDeleteAndRestore(t *testing.T) {
	ctx := context.Background()
	path := generated(t, blacklisttest.Spec{Seed: 12, Rows: 4000, Hosts: 5})
	execAll(t, path, "INSERT INTO blacklist SELECT * FROM blacklist LIMIT 20") // equal rows are reports of their own
	want := allSums(t, path)
	host := blacklisttest.Key(0)
	rows, err := History(ctx, path, host)
	if err != nil || len(rows) < 600 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if n, err := DeleteRows(ctx, path, rows); err != nil || n != int64(len(rows)) {
		t.Fatalf("deleted %d, %v", n, err)
	}
	if n, err := Sum(ctx, path, host); err != nil || n != 0 {
		t.Fatalf("the sum is %d, %v", n, err)
	}
	for _, wantN := range []int64{int64(len(rows)), 0} {
		if n, err := InsertMissing(ctx, path, rows); err != nil || n != wantN {
			t.Fatalf("restored %d, %v; want %d", n, err, wantN)
		}
	}
	same(t, "after restoring", allSums(t, path), want)
}

// Whoever lists or exports a big table while the firewall scans waits for the
// end of that; a lock would meet the scan, which does not wait for one.
func TestReadersMeetNoScan(t *testing.T) {
	ctx := context.Background()
	path := generated(t, blacklisttest.Spec{Seed: 14, Rows: 200_000})
	for name, read := range map[string]func() error{
		"list":   func() error { _, err := List(ctx, path, Filter{}); return err },
		"export": func() error { return Export(ctx, path, func(Row) error { return nil }) },
	} {
		c := exec.Command("sh", "-c", `for i in $(seq 60); do echo "INSERT INTO blacklist VALUES ('203.0.113.8', $2, 1);"; sleep 0.02; done | sqlite3 -bail "$1"`,
			"scan", path, fmt.Sprint(now.Unix()))
		var out strings.Builder
		c.Stdout, c.Stderr = &out, &out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		over := make(chan error, 1)
		go func() { over <- c.Wait() }()
		for running := true; running; {
			if err := read(); err != nil {
				t.Error(err)
			}
			select {
			case err := <-over:
				if running = false; err != nil {
					t.Errorf("%s: the scan failed: %v %s", name, err, out.String())
				}
			default:
			}
		}
	}
	if sum, err := Sum(ctx, path, key(t, "203.0.113.8")); err != nil || sum != 120 {
		t.Errorf("the scans counted %d, %v; want 120", sum, err)
	}
}

func TestExportAndImport(t *testing.T) {
	ctx := context.Background()
	path := generated(t, blacklisttest.Spec{Seed: 13, Rows: 3000})
	want := allSums(t, path)
	for _, format := range []string{"json", "csv"} {
		var b bytes.Buffer
		w, err := NewRowWriter(&b, format)
		if err != nil {
			t.Fatal(err)
		}
		if err := Export(ctx, path, w.Write); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		rows, err := ReadRows(&b)
		if err != nil || len(rows) != 3000 {
			t.Fatalf("%s: %d rows, %v", format, len(rows), err)
		}
		empty := small(t)
		if n, err := InsertMissing(ctx, empty, rows); err != nil || n != 3000 {
			t.Fatalf("%s: %d stored, %v", format, n, err)
		}
		same(t, format, allSums(t, empty), want)
	}
}

func TestExportTakesSeveralSteps(t *testing.T) {
	path := generated(t, blacklisttest.Spec{Seed: 12, Rows: 40_000}) // the second step is full too
	var sum int64
	n := 0
	if err := Export(context.Background(), path, func(r Row) error { n++; sum += r.Count; return nil }); err != nil {
		t.Fatal(err)
	}
	var want int64
	for _, s := range allSums(t, path) {
		want += s.total
	}
	if n != 40_000 || sum != want {
		t.Errorf("%d rows with the sum %d; want 40000 with %d", n, sum, want)
	}
}

func FuzzReadRows(f *testing.F) {
	for _, s := range []string{
		"[]", "[\n]\n", `[{"ip":"192.0.2.1","timestamp":1700000000,"count":3}]`, "ip,timestamp,count\n192.0.2.1,1700000000,3\n",
		"ip,timestamp,count\r\n\"2001:db8::/64\",1,-1\r\n", "", "  [", `[{"ip":"192.0.2.1"}]`, `[{"ip":"x","timestamp":1,"count":1}]`,
		"ip,timestamp\n", `[{"ip":"192.0.2.1","timestamp":1e3,"count":1}]`, `[1]`, `[] []`, "ip,timestamp,count\n1.2.3.4,99999999999999999999,1",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, err := ReadRows(bytes.NewReader(b))
		if err != nil {
			if rows != nil {
				t.Error("an error with rows")
			}
			return
		}
		for _, format := range []string{"json", "csv"} {
			var out bytes.Buffer
			w, _ := NewRowWriter(&out, format)
			for _, r := range rows {
				if r.check() != nil || key(t, r.IP).String() != r.IP {
					t.Errorf("a bad row got through: %+v", r)
				}
				if err := w.Write(r); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			again, err := ReadRows(&out)
			if err != nil || fmt.Sprint(again) != fmt.Sprint(rows) {
				t.Errorf("%s: %v became %v, %v", format, rows, again, err)
			}
		}
	})
}

func TestReadRowsNamesTheLine(t *testing.T) {
	for in, want := range map[string]string{
		"ip,timestamp,count\n192.0.2.1,1,1\n192.0.2.300,1,1\n":            "line 3",
		"ip,timestamp,count\n192.0.2.1,x,1\n":                             "line 2",
		"address,count\n":                                                 "line 1",
		`[{"ip":"192.0.2.1","timestamp":1,"count":1},{"ip":"192.0.2.1"}]`: "row 2",
		`[{"ip":"192.0.2.1","timestamp":1,"count":1,"more":1}]`:           "row 1",
		`[{"ip":"192.0.2.1","timestamp":-1,"count":1}]`:                   "row 1",
		`[{"ip":"192.0.2.1","timestamp":1,"count":1}] x`:                  "after row 1",
		`[{"ip":"192.0.2.1","timestamp":1,"count":1}`:                     "after row 1",
		`[{"ip":"192.0.2.0/24","timestamp":1,"count":1}]`:                 "several IPv4 addresses",
		" \n": "nothing to read",
	} {
		if rows, err := ReadRows(strings.NewReader(in)); err == nil || rows != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v; want an error with %q", in, rows, err, want)
		}
	}
}
