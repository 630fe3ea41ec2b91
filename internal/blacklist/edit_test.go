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
