package blacklist

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"symbiosis-connect-acl/internal/blacklist/blacklisttest"
)

// What compaction has summed up is not stored beside its own sum: that would
// count each offence twice and could deny an innocent host.
func TestStoringAgainAfterCompaction(t *testing.T) {
	ctx := context.Background()
	path := generated(t, blacklisttest.Spec{Seed: 21, Rows: 4000, Hosts: 20, Span: 60 * Day})
	want := allSums(t, path)
	var rows []Row
	if err := Export(ctx, path, func(r Row) error { rows = append(rows, r); return nil }); err != nil {
		t.Fatal(err)
	}
	// The first nights cut the days in two, the last one has them whole.
	for _, at := range []time.Time{now.Add(-3*Day + 5*time.Hour), now.Add(-5 * time.Hour), now.Add(9 * Day)} {
		r, err := Maintain(ctx, path, Options{Now: at, Compact: true, Pause: 1})
		if err != nil || r.Merged == 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		if n, err := CountMissing(ctx, path, rows); err != nil || n != 0 {
			t.Errorf("%d rows would be stored, %v", n, err)
		}
		if n, err := InsertMissing(ctx, path, rows); err != nil || n != 0 {
			t.Errorf("%d rows were stored, %v", n, err)
		}
	}
	for ip, s := range allSums(t, path) {
		if s.total != want[ip].total {
			t.Errorf("%s has %d, had %d", ip, s.total, want[ip].total)
		}
	}
}

func TestAbsent(t *testing.T) {
	row := func(timestamp, count int64) Row { return Row{"192.0.2.1", timestamp, count} }
	for _, c := range []struct{ have, day, want []Row }{
		{nil, []Row{row(1, 3), row(2, 3)}, []Row{row(1, 3), row(2, 3)}},
		{[]Row{row(1, 3)}, []Row{row(1, 3), row(1, 3)}, []Row{row(1, 3)}},
		{[]Row{row(2, 6)}, []Row{row(1, 3), row(2, 3)}, nil},
		{[]Row{row(2, 6)}, []Row{row(1, 3), row(2, 3), row(3, 9)}, []Row{row(3, 9)}},
		{[]Row{row(2, 6), row(3, 9)}, []Row{row(1, 3), row(2, 3), row(3, 9)}, nil},
		{[]Row{row(2, 6)}, []Row{row(1, 3), row(2, 4)}, []Row{row(1, 3), row(2, 4)}},
		{[]Row{row(2, 6)}, []Row{row(2, 3)}, []Row{row(2, 3)}},
	} {
		if got := absent(c.have, c.day); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("with %v of %v: %v; want %v", c.have, c.day, got, c.want)
		}
	}
}

// Without an index each row to delete or to store is looked for in the whole
// table, and the firewall's writer is kept out all that time.
func TestEditsOfABigTableMakeTheIndex(t *testing.T) {
	ctx := context.Background()
	for _, do := range []func(string, []Row) error{
		func(path string, rows []Row) error { _, err := DeleteRows(ctx, path, rows); return err },
		func(path string, rows []Row) error { _, err := InsertMissing(ctx, path, rows); return err },
	} {
		path := generated(t, blacklisttest.Spec{Seed: 22, Rows: 20_000, Hosts: 200})
		rows, err := History(ctx, path, blacklisttest.Key(0))
		if err != nil || len(rows) < 50 {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		if err := do(path, rows[:50]); err != nil {
			t.Fatal(err)
		}
		if ok, err := HasIndex(ctx, path); err != nil || !ok {
			t.Errorf("the index is there: %v, %v", ok, err)
		}
	}
}

// One row that somebody put in by hand hides no other host, and what would have
// to be told wrong about it says which row it is.
func TestOddRowIsNamed(t *testing.T) {
	ctx := context.Background()
	path := small(t, "('192.0.2.1',1000,3)", "('192.0.2.2','2026-03-15 12:00',3)", "('192.0.2.3',1000,2.5)", "('192.0.2.4',1000,'many')")
	hosts, err := List(ctx, path, Filter{})
	if err != nil || len(hosts) != 4 {
		t.Errorf("%d hosts, %v", len(hosts), err)
	}
	if s, err := ReadStats(ctx, path); err != nil || s.Addresses != 4 {
		t.Errorf("%+v, %v", s, err)
	}
	_, showing := History(ctx, path, key(t, "192.0.2.3"))
	exporting := Export(ctx, path, func(Row) error { return nil })
	for err, row := range map[error]string{showing: "row 3", exporting: "row 2"} {
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), row+" ") {
			t.Errorf("%v; want %s of %s", err, row, path)
		}
	}
}

// damaged makes a database with a page that cannot be read.
func damaged(t *testing.T, rows int) string {
	t.Helper()
	path := generated(t, blacklisttest.Spec{Seed: 23, Rows: rows})
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(strings.Repeat("damaged ", 512)), 5*4096); err != nil {
		t.Fatal(err)
	}
	return path
}

// A run that was killed after it had given the damaged file its second name
// does not stop the next one.
func TestRecoverAfterAKilledRun(t *testing.T) {
	ctx := context.Background()
	path := damaged(t, 5000)
	if err := os.Link(path, path+".corrupt-20260315-120000"); err != nil {
		t.Fatal(err)
	}
	other := path + ".corrupt-20260314-120000" // of another time, and kept
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	rec, err := Recover(ctx, path, false)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob(path + ".corrupt-*")
	if err != nil || fmt.Sprint(kept) != fmt.Sprint([]string{other, rec.Kept}) {
		t.Errorf("kept are %v, %v", kept, err)
	}
}

// The firewall may add rows while a damaged file is read.
func TestRecoverBesideTheFirewall(t *testing.T) {
	path := damaged(t, 100_000)
	added := make(chan error)
	go func() {
		for {
			if _, err := os.Stat(workFile(path, "new")); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		db := rw(t, path)
		_, err := db.Exec("INSERT INTO blacklist VALUES ('203.0.113.9', 1000, 9)")
		added <- errors.Join(err, db.Close())
	}()
	if _, err := Recover(context.Background(), path, false); err != nil {
		t.Fatal(err)
	}
	if err := <-added; err != nil {
		t.Fatal(err)
	}
	if n, err := Sum(context.Background(), path, key(t, "203.0.113.9")); err != nil || n != 9 {
		t.Errorf("the row that came meanwhile counts %d, %v", n, err)
	}
}

// Private files are never somebody else's: a link in their place is not
// followed.
func TestWorkFilesFollowNoLink(t *testing.T) {
	for step, what := range map[string]string{"reading the database": "copy", "writing a new database": "new"} {
		path := generated(t, blacklisttest.Spec{Seed: 24, Rows: 2000})
		victim := filepath.Join(t.TempDir(), "victim")
		if err := os.WriteFile(victim, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		o := maintainOptions()
		o.Progress = func(s string) {
			if s == step {
				if err := os.Symlink(victim, workFile(path, what)); err != nil {
					t.Error(err)
				}
			}
		}
		if _, err := Maintain(context.Background(), path, o); !errors.Is(err, os.ErrExist) {
			t.Errorf("%s: %v", what, err)
		}
		if b, err := os.ReadFile(victim); err != nil || len(b) > 0 {
			t.Errorf("%s: wrote %d bytes through the link, %v", what, len(b), err)
		}
	}
}

// A file that is bind-mounted into a container cannot be replaced.
func TestMountedFileIsNamed(t *testing.T) {
	path := generated(t, blacklisttest.Spec{Seed: 25, Rows: 2000})
	place := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(place, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(path, place, "", unix.MS_BIND, ""); err != nil {
		t.Skip("cannot mount here: ", err)
	}
	defer unix.Unmount(place, unix.MNT_DETACH)
	want := allSums(t, path)
	if _, err := Maintain(context.Background(), place, maintainOptions()); err == nil || !strings.Contains(err.Error(), "mount its directory") {
		t.Errorf("got %v", err)
	}
	same(t, "after that", allSums(t, path), want)
}
