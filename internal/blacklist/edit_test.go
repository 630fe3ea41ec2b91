package blacklist

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
