package blacklist

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"symbiosis-connect-acl/internal/blacklist/blacklisttest"
)

// onlyAppends says yes if and only if rows were added at the end and nothing
// else was done to the table, whatever the file looks like; and then the patch
// makes the copy equal to the file.
func TestOnlyAppends(t *testing.T) {
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 3))
		dir := t.TempDir()
		path, copied := filepath.Join(dir, "db"), filepath.Join(dir, "copy")
		db := rw(t, path)
		exec := func(format string, args ...any) {
			t.Helper()
			if _, err := db.Exec(fmt.Sprintf(format, args...)); err != nil {
				t.Fatalf("seed %d: %s: %v", seed, fmt.Sprintf(format, args...), err)
			}
		}
		insert := func(n int) {
			exec(`INSERT INTO blacklist WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < %d)
				SELECT '192.0.' || abs(random() %% 250) || '.' || abs(random() %% 250), %d + i, i %% 7 FROM n`, n, r.IntN(1e9))
		}
		pageSize, rows, more, indexed := 512<<r.IntN(5), 1+r.IntN(1+r.IntN(20_000)), r.IntN(1+r.IntN(3000)), r.IntN(2) == 0
		if seed == 0 { // more pages of an index change than a patch holds
			pageSize, rows, more, indexed = 512, 100_000, 6000, true
		}
		exec("PRAGMA page_size = %d", pageSize)
		exec("PRAGMA auto_vacuum = %d", r.IntN(3))
		exec(blacklisttest.CreateTable)
		if indexed {
			exec(createIndex)
		}
		insert(rows)
		if r.IntN(2) == 0 { // free pages
			exec("DELETE FROM blacklist WHERE rowid %% %d < %d", 100+r.IntN(2000), r.IntN(400))
		}
		if r.IntN(4) == 0 {
			exec("DELETE FROM blacklist WHERE rowid > %d", 1+r.IntN(rows))
		}
		var last, root, n int64
		if err := db.QueryRow(`SELECT coalesce(max(rowid), 0), (SELECT rootpage FROM sqlite_master WHERE name = 'blacklist'), count(*)
			FROM blacklist`).Scan(&last, &root, &n); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(copied, b, 0o600); err != nil {
			t.Fatal(err)
		}

		some := func() string {
			return fmt.Sprintf("rowid IN (SELECT rowid FROM blacklist WHERE rowid <= %d LIMIT 1 OFFSET %d)", last, r.Int64N(max(n, 1)))
		}
		what := "rows added"
		insert(more)
		if n > 1 && seed > 0 && r.IntN(3) > 0 {
			switch what = []string{"changed", "deleted", "many deleted", "one in between", "the last one replaced", "all deleted"}[r.IntN(6)]; what {
			case "changed":
				exec("UPDATE blacklist SET count = count + 1 WHERE %s", some())
			case "deleted":
				exec("DELETE FROM blacklist WHERE %s", some())
			case "many deleted":
				from := r.Int64N(last)
				exec("DELETE FROM blacklist WHERE rowid > %d AND rowid <= %d AND rowid <= %d", from, from+1+r.Int64N(last), last)
			case "one in between":
				if r.IntN(2) == 0 {
					exec("INSERT INTO blacklist (rowid, ip, timestamp, count) VALUES (-5, '192.0.2.1', 1, 1)")
				} else {
					exec("UPDATE blacklist SET rowid = -rowid WHERE %s", some())
				}
			case "the last one replaced":
				exec("DELETE FROM blacklist WHERE rowid = %d", last)
				exec("INSERT INTO blacklist (rowid, ip, timestamp, count) VALUES (%d, '192.0.2.1', 7, 777)", last)
			case "all deleted":
				exec("DELETE FROM blacklist")
			}
		}
		changed := what != "rows added"
		if changed {
			// What the copy has and the file has not.
			db2, err := openCopy(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db2.Exec("ATTACH ? AS old", dsn(copied, "mode=ro&immutable=1")); err != nil {
				t.Fatal(err)
			}
			var differ int
			if err := db2.QueryRow(`SELECT (SELECT count(*) FROM (SELECT rowid, * FROM old.blacklist EXCEPT SELECT rowid, * FROM main.blacklist))
				+ (SELECT count(*) FROM main.blacklist WHERE rowid <= ? AND rowid NOT IN (SELECT rowid FROM old.blacklist))`, last).Scan(&differ); err != nil {
				t.Fatal(err)
			}
			db2.Close()
			changed = differ > 0
		}
		if r.IntN(2) == 0 {
			insert(1 + r.IntN(5))
		}

		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		c, err := os.OpenFile(copied, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		h, err := readHeader(f)
		if err != nil {
			t.Fatal(err)
		}
		size, _ := f.Seek(0, io.SeekEnd)
		p, err := comparePages(f, c, h.pageSize, size)
		if err == nil {
			err = p.onlyAppends(root, last)
		}
		if seed == 0 && len(p.pages) <= maxChanged {
			t.Errorf("only %d pages have changed", len(p.pages))
		}
		switch {
		case changed && !errors.Is(err, errUnsteady):
			t.Errorf("seed %d, %d rows, %s: got %v", seed, rows, what, err)
		case !changed && err != nil:
			t.Errorf("seed %d, %d rows, nothing but rows added: %v", seed, rows, err)
		case !changed:
			if err := p.apply(); err != nil {
				t.Fatal(err)
			}
			a, _ := os.ReadFile(path)
			if b, _ := os.ReadFile(copied); string(a) != string(b) {
				t.Errorf("seed %d: the patch did not make the copy equal", seed)
			}
		}
		f.Close()
		c.Close()
		db.Close()
	}
}

// Pages that were given back to the list of free ones keep what was in them:
// only the tree tells that their rows are gone.
func TestOnlyAppendsSeesFreedPages(t *testing.T) {
	path := generated(t, blacklisttest.Spec{Seed: 16, Rows: 6000})
	execAll(t, path, "DELETE FROM blacklist WHERE rowid <= 1000") // the list has room then
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copied := path + ".copy"
	if err := os.WriteFile(copied, b, 0o600); err != nil {
		t.Fatal(err)
	}
	execAll(t, path, "DELETE FROM blacklist")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := os.OpenFile(copied, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, err := comparePages(f, c, 4096, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.onlyAppends(2, 6000); !errors.Is(err, errUnsteady) {
		t.Errorf("got %v", err)
	}
}

// restless starts a program that adds a row to the database again and again,
// opening it anew for each, with a pause of so many seconds, and gives what
// stops it and tells how many it added.
func restless(t *testing.T, path, ip, pause string) (stop func() int) {
	t.Helper()
	over := filepath.Join(t.TempDir(), "over")
	c := exec.Command("sh", "-c", `n=0; while [ ! -e "$5" ]; do
		sqlite3 "$1" "INSERT INTO blacklist VALUES ('$2', $3, 1)" || { echo failed; exit 1; }; n=$((n+1)); sleep "$4"; done; echo $n`,
		"restless", path, ip, fmt.Sprint(now.Unix()), pause, over)
	var out strings.Builder
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceValue(func() (n int) {
		if err := os.WriteFile(over, nil, 0o600); err != nil {
			t.Error(err)
		}
		c.Wait()
		if _, err := fmt.Sscan(out.String(), &n); err != nil {
			t.Errorf("a writer that does not wait: %s", out.String())
		}
		return n
	})
	t.Cleanup(func() { stop() })
	return stop
}

// A writer that is never quiet for as long as a copy without a lock needs makes
// maintenance wait for the gaps between its visits; it is met nowhere, though
// it does not wait for a lock.
func TestRestlessWriter(t *testing.T) {
	path := generated(t, blacklisttest.Spec{Seed: 15, Rows: 100_000})
	before := inode(t, path)
	want := kept(t, path)
	other := "203.0.113.77"
	stop := restless(t, path, other, "0.015")
	for days := 350; days >= 300; days -= 10 {
		r, err := Maintain(context.Background(), path, Options{Now: now, Index: true, Compact: true, Retention: time.Duration(days) * Day})
		if err != nil {
			t.Fatal(err)
		}
		if !r.Rewritten || r.Pruned == 0 {
			t.Errorf("%+v", r)
		}
	}
	want[other] = int64(stop())
	if got := kept(t, path); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the sums differ: %d of %s, want %d", got[other], other, want[other])
	}
	if inode(t, path) == before || want[other] == 0 {
		t.Errorf("%d rows were written, and the file is the same: %v", want[other], inode(t, path) == before)
	}
}

// What others delete or change while the new file is written is not undone.
func TestChangesMeanwhileAreKept(t *testing.T) {
	for _, change := range []string{"DELETE FROM blacklist WHERE rowid = 59000", "UPDATE blacklist SET count = count + 100 WHERE rowid = 58000",
		// As many transactions as rows that were added.
		"DELETE FROM blacklist WHERE rowid = 59000; INSERT INTO blacklist VALUES ('203.0.113.5', 1773000000, 1), ('203.0.113.6', 1773000000, 1)"} {
		path := generated(t, blacklisttest.Spec{Seed: 16, Rows: 60_000})
		o := Options{Now: now, Index: true}
		done := 0
		var want map[string]sums
		o.Progress = func(s string) {
			if strings.HasPrefix(s, "writing") {
				if done++; done == 1 {
					execAll(t, path, change)
					want = allSums(t, path)
				}
			}
		}
		r, err := Maintain(context.Background(), path, o)
		if err != nil || !r.Rewritten || done != 2 {
			t.Errorf("%s: begun %d times, %+v, %v", change, done, r, err)
		}
		same(t, change, allSums(t, path), want)
	}
}

// A program that keeps the file open for writing all the time would go on
// writing to the old file. What can be done beside it is done.
func TestProgramThatNeverClosesTheFile(t *testing.T) {
	for _, rows := range []int{20_000, 60_000} {
		path := generated(t, blacklisttest.Spec{Seed: 17, Rows: rows, Span: 310 * Day})
		before := inode(t, path)
		db := rw(t, path)
		write := func() {
			t.Helper()
			if _, err := db.Exec("INSERT INTO blacklist VALUES ('203.0.113.9', ?, 1)", now.Unix()); err != nil {
				t.Fatal(err)
			}
		}
		write()
		o := maintainOptions()
		o.Wait = tick
		writing := false
		o.Progress = func(s string) {
			if strings.HasPrefix(s, "writing") {
				writing = true
				write() // while the new file is made
			}
		}
		want := kept(t, path)
		want["203.0.113.9"]++
		r, err := Maintain(context.Background(), path, o)
		if big := rows > indexInPlace; big != errors.Is(err, ErrNoIndex) || !big && err != nil || r.Rewritten || r.Indexed == big || r.Pruned == 0 || r.Merged == 0 || !writing {
			t.Errorf("%d rows: %+v, %v", rows, r, err)
		}
		write()
		want["203.0.113.9"]++
		if got := kept(t, path); fmt.Sprint(got) != fmt.Sprint(want) || inode(t, path) != before {
			t.Errorf("%d rows: the sums differ, or the file is another one", rows)
		}
		if e, _ := os.ReadDir(filepath.Dir(path)); len(e) != 1 {
			t.Errorf("left behind: %v", e)
		}
	}
}

// A writer that died in the middle of a transaction leaves a file that is half
// changed and a journal with which SQLite undoes that. A copy without a lock
// must not be made of the one without the other.
func TestHotJournal(t *testing.T) {
	path := generated(t, blacklisttest.Spec{Seed: 18, Rows: 60_000})
	want := kept(t, path)
	c := exec.Command("sqlite3", path)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	// More pages than the cache holds: some are written before the commit.
	fmt.Fprintln(in, "PRAGMA cache_size = 5; BEGIN; UPDATE blacklist SET count = count + 1000; SELECT 'ready';")
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	// As long as it lives, there is nothing to copy.
	o := maintainOptions()
	o.Wait = tick
	if r, err := Maintain(context.Background(), path, o); !errors.Is(err, errUnsteady) {
		t.Fatalf("%+v, %v", r, err)
	}
	c.Process.Kill()
	c.Wait()
	if !hasJournal(path) {
		t.Fatal("there is no journal")
	}
	half, err := sql.Open("sqlite3", "file:"+path+"?mode=ro&immutable=1")
	if err != nil {
		t.Fatal(err)
	}
	var changed int
	if err := half.QueryRow("SELECT count(*) FROM blacklist WHERE count >= 1000").Scan(&changed); err != nil || changed == 0 {
		t.Fatalf("%d rows changed, %v", changed, err)
	}
	half.Close()
	r, err := Maintain(context.Background(), path, maintainOptions())
	if err != nil || !r.Rewritten {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := kept(t, path); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Error("the sums differ")
	}
	if e, _ := os.ReadDir(filepath.Dir(path)); len(e) != 1 {
		t.Errorf("left behind: %v", e)
	}
}

// A writer that has found the old file by its name, and opens it only after the
// rename, makes that be taken back; it is held up until then.
func TestRenameIsTakenBack(t *testing.T) {
	for range 200 { // the moment to meet is short
		path := small(t, "('192.0.2.1',1000,3)")
		s := swapper{path: path, fresh: workFile(path, "new")}
		if err := os.WriteFile(s.fresh, []byte("the new one"), 0o600); err != nil {
			t.Fatal(err)
		}
		before, fresh := inode(t, path), inode(t, s.fresh)
		l, err := takeLease(path)
		if err != nil || !l.granted {
			t.Skipf("there are no leases here: %v", err)
		}
		met := make(chan error)
		go func() {
			for inode(t, path) == before {
			}
			fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", l.file.Fd()), unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
			if err == nil {
				unix.Close(fd)
			}
			met <- err
		}()
		err = s.replace(l)
		took := inode(t, path) != before
		if !took { // let the other one come to its end, if it did not see the rename
			os.Rename(s.fresh, path)
		}
		late := <-met
		l.giveUp()
		switch {
		case err == nil && took:
			continue // it came too late
		case !errors.Is(err, ErrBusy) || took || late != unix.EWOULDBLOCK:
			t.Fatalf("%v; the file is the new one: %v; the writer got %v", err, took, late)
		}
		if inode(t, path) != fresh {
			t.Error("the new file is gone")
		}
		if e, _ := os.ReadDir(filepath.Dir(path)); len(e) != 1 {
			t.Errorf("left behind: %v", e)
		}
		return
	}
	t.Error("the rename was never met")
}
