package publish

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"time"

	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/zone"
)

// Whoever watches is woken by each writer, and not by his own reading.
func TestWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts", "hosts.db")
	_, err := hosts.Create(t.Context(), path, uint32(os.Getuid()), uint32(os.Getgid()), false)
	must(t, err)
	w, err := Watch(filepath.Dir(path))
	must(t, err)
	defer w.Close()
	r := NewReader(path)
	defer r.Close()
	c := zone.Criteria{Policy: hosts.Defaults, MinCount: 20, MaxAge: zone.MaxAge, Now: time.Unix(1_800_000_000, 0)}
	catch := func(net string) {
		t.Helper()
		db, err := sql.Open("sqlite3", path)
		must(t, err)
		defer db.Close()
		_, err = db.ExecContext(context.Background(), "insert into host (net, history, history_last) values (?, 30, 1799999999)", net)
		must(t, err)
	}
	read := func(want int) (version int64) {
		t.Helper()
		entries, version, err := r.Entries(t.Context(), c)
		must(t, err)
		if len(entries) != want {
			t.Errorf("%d entries; want %d", len(entries), want)
		}
		return version
	}
	version := read(0)
	for i, net := range []string{"8.8.8.8", "2a01:7e00::/64", "9.9.9.9"} {
		select {
		case <-w.Changes: // of what was done before
		default:
		}
		catch(net)
		select {
		case <-w.Changes:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: nobody says that it was written", net)
		}
		for now := version; now == version; { // the first that is told may be the file's opening
			var err error
			now, err = r.Version(t.Context())
			must(t, err)
		}
		version = read(i + 1)
		if now, err := r.Version(t.Context()); err != nil || now != version {
			t.Errorf("reading counts as writing: %d, then %d, %v", version, now, err)
		}
	}
	// Another database is put in its place.
	must(t, os.Rename(path, path+".away"))
	os.Remove(path + "-wal")
	os.Remove(path + "-shm")
	_, err = hosts.Ensure(t.Context(), path)
	must(t, err)
	if now, err := r.Version(t.Context()); err != nil || now == version {
		t.Errorf("another database: %d again, %v", now, err)
	}
	read(0)
}
