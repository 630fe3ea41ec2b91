package hosts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"symbiosis-connect-acl/internal/address"
)

// An account that is nobody's, for Exim's user.
const owner = 64_901

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func key(t *testing.T, s string) address.Key {
	t.Helper()
	k, err := address.Parse(s)
	must(t, err)
	return k
}

// place makes a database of a user who is not root, in a directory of root's.
func place(t *testing.T) string {
	t.Helper()
	base := t.TempDir()
	for d := base; d != "/" && os.Geteuid() == 0; d = filepath.Dir(d) {
		must(t, os.Chmod(d, 0o755|os.ModeSticky&modeOf(t, d)|0o022&modeOf(t, d)))
	}
	path := filepath.Join(base, "hosts", "hosts.db")
	uid, gid := uint32(os.Getuid()), uint32(os.Getgid())
	if uid == 0 {
		uid, gid = owner, owner
	}
	o, err := Create(t.Context(), path, uid, gid, false)
	must(t, err)
	if o != Made {
		t.Fatalf("made: %v", o)
	}
	return path
}

func modeOf(t *testing.T, path string) fs.FileMode {
	t.Helper()
	st, err := os.Stat(path)
	must(t, err)
	return st.Mode()
}

func with(t *testing.T, path string, do func(*DB) error) {
	t.Helper()
	must(t, With(path, do))
}

func visit(t *testing.T, path, host string, login int64) {
	t.Helper()
	with(t, path, func(d *DB) error {
		return d.Exec(context.Background(), "insert into host (net, first, last, login) values (?1, 1, ?2, ?2)"+
			" on conflict(net) do update set last = excluded.last, login = excluded.login", key(t, host).String(), login)
	})
}

func TestCreate(t *testing.T) {
	path := place(t)
	if os.Geteuid() == 0 {
		visit(t, path, "192.0.2.1", 5) // so that -wal and -shm are made
		for _, f := range []string{filepath.Dir(path), path} {
			var st syscall.Stat_t
			must(t, syscall.Lstat(f, &st))
			if st.Uid != owner || st.Gid != owner || st.Mode&0o007 != 0 {
				t.Errorf("%s: owner %d:%d, mode %o", f, st.Uid, st.Gid, st.Mode)
			}
		}
	}
	with(t, path, func(d *DB) error {
		var mode string
		must(t, d.db.QueryRow("pragma journal_mode").Scan(&mode))
		if mode != "wal" {
			t.Errorf("journal mode %s", mode)
		}
		at, err := d.Lost(t.Context())
		if !at.IsZero() {
			t.Errorf("a first installation has lost something at %v", at)
		}
		return err
	})
	// Once more changes nothing.
	o, err := Create(t.Context(), path, uint32(os.Getuid()), uint32(os.Getgid()), false)
	must(t, err)
	if o != Sound {
		t.Errorf("made again: %v", o)
	}
}

// Whatever lies in the directory of Exim's user, root reads, writes and makes
// nothing through it that this user could not.
func TestLinksLeadRootNowhere(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("for root")
	}
	for _, name := range []string{"hosts.db", "hosts.db.copy", "hosts.db.new", "hosts.db-wal", "hosts.db.copy.new", "hosts.db.corrupt"} {
		for _, exists := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s %v", name, exists), func(t *testing.T) {
				path := place(t)
				visit(t, path, "192.0.2.1", 5)
				// Root's own database of this very kind: what could be most easily
				// written to, or put in the place of the other.
				secret := filepath.Join(t.TempDir(), "secret")
				var before []byte
				if exists {
					must(t, begin(t.Context(), secret, time.Unix(77, 0)))
					must(t, os.Chmod(secret, 0o600))
					var err error
					before, err = os.ReadFile(secret)
					must(t, err)
				}
				link := filepath.Join(filepath.Dir(path), name)
				os.Remove(link)
				must(t, os.Symlink(secret, link))
				// Each as far as it comes.
				Ensure(t.Context(), path)
				With(path, func(d *DB) error {
					d.Exec(t.Context(), "insert into host (net) values ('192.0.2.9')")
					return d.Keep(t.Context())
				})
				Replace(t.Context(), path)
				Create(t.Context(), path, owner, owner, false)
				if b, err := os.ReadFile(secret); exists && !bytes.Equal(b, before) || !exists && !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("root was led out of the directory (%v)", err)
				}
				if all, _ := filepath.Glob(secret + "-*"); len(all) > 0 {
					t.Errorf("root made %v", all)
				}
				With(path, func(d *DB) error {
					if lost, err := d.Lost(t.Context()); lost.Unix() == 77 {
						t.Errorf("what is root's was given away (%v)", err)
					}
					return nil
				})
			})
		}
	}
	// The directory itself.
	base := t.TempDir()
	must(t, os.Mkdir(filepath.Join(base, "other"), 0o700))
	must(t, os.Symlink("other", filepath.Join(base, "hosts")))
	if _, err := Create(t.Context(), filepath.Join(base, "hosts", "hosts.db"), owner, owner, false); err == nil {
		t.Error("made in a directory behind a link")
	}
	if st := modeOf(t, filepath.Join(base, "other")); st.Perm() != 0o700 {
		t.Errorf("the directory behind the link has mode %v", st)
	}
}

// The rights are those of one thread, while it works there.
func TestRightsOfOneThread(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("for root")
	}
	path := place(t)
	status := func() []byte {
		b, err := os.ReadFile("/proc/thread-self/status")
		must(t, err)
		return b
	}
	inside, over := make(chan bool), make(chan bool)
	go func() {
		defer close(over)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		<-inside
		if s := line(status(), "Uid:"); s != "Uid:\t0\t0\t0\t0" {
			t.Errorf("another thread has %s", s)
		}
	}()
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, nil, 0o600))
	with(t, path, func(d *DB) error {
		s := status()
		for want, begin := range map[string]string{"Uid:\t0\t0\t0\t64901": "Uid:", "Gid:\t0\t0\t0\t64901": "Gid:", "Groups:\t64901 ": "Groups:"} {
			if got := line(s, begin); got != want {
				t.Errorf("%q, not %q", got, want)
			}
		}
		if _, err := os.ReadFile(secret); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("a file of root's can be read: %v", err)
		}
		inside <- true
		<-over
		// And it is of no use to another.
		failed := make(chan any)
		go func() {
			defer func() { failed <- recover() }()
			d.Get(t.Context(), key(t, "192.0.2.1"))
		}()
		if <-failed == nil {
			t.Error("another goroutine may use it")
		}
		return nil
	})
	if s := line(status(), "Uid:"); s != "Uid:\t0\t0\t0\t0" {
		t.Errorf("afterwards %s", s)
	}
}

func line(text []byte, begin string) string {
	for _, l := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(l, begin) {
			return l
		}
	}
	return ""
}

func TestRow(t *testing.T) {
	path := place(t)
	k := key(t, "2001:db8:1:2::5")
	with(t, path, func(d *DB) error {
		if r, err := d.Get(t.Context(), k); err != nil || r.Known() || r.Key != k {
			t.Errorf("unknown host: %+v %v", r, err)
		}
		if err := d.Exec(t.Context(), "insert into host values ('2001:db8:1:2::/64', 12, 100, 1, 2, 3, 4, 5, 6, 7, 8, 101, 9, 10, 'helo', 11, 12, 13, 14, 15, 16.5, 17);"+
			"insert into guess (net, name, response, at, tries) values ('2001:db8:1:2::/64', 1, 2, 3, 4), ('192.0.2.8', 1, 2, 3, 4)"); err != nil {
			return err
		}
		r, err := d.Get(t.Context(), k)
		at := func(n int64) time.Time { return time.Unix(n, 0).UTC() }
		if want := (Row{k, 12, at(100), at(101), at(1), at(2), at(3), at(4), at(5), at(6), at(9), 7, at(8), at(10), "helo", 11, at(12), at(13), 14, at(15), 16.5, at(17)}); r != want {
			t.Errorf("%+v, not %+v", r, want)
		}
		if err != nil {
			return err
		}
		n := 0
		for r, err := range d.All(t.Context()) {
			must(t, err)
			if n++; r.Key != k {
				t.Errorf("%+v", r)
			}
		}
		if n != 1 {
			t.Errorf("%d rows", n)
		}
		if n, err := d.Forget(t.Context(), []address.Key{k, key(t, "192.0.2.7")}); n != 1 || err != nil {
			t.Errorf("forgot %d: %v", n, err)
		}
		r, err = d.Get(t.Context(), k)
		if want := (Row{Key: k, First: at(1), Last: at(2), Greeted: at(3), ListsPassed: at(4), Login: at(5), Delivered: at(6), DeliveredBefore: at(9),
			Lost: 14, LostSince: at(15), Rate: 16.5, RateAt: at(17)}); r != want {
			t.Errorf("forgotten: %+v", r)
		}
		var guesses string
		must(t, d.db.QueryRow("select group_concat(net) from guess").Scan(&guesses))
		if guesses != "192.0.2.8" {
			t.Errorf("guesses of %s are left", guesses)
		}
		return err
	})
}

func TestSetHistory(t *testing.T) {
	path := place(t)
	visit(t, path, "192.0.2.1", 5)
	with(t, path, func(d *DB) error {
		set := func(want int, h map[address.Key]History) {
			t.Helper()
			if n, err := d.SetHistory(t.Context(), h); err != nil || n != want {
				t.Errorf("%d rows written, not %d: %v", n, want, err)
			}
		}
		history := func(host string) int64 {
			r, err := d.Get(t.Context(), key(t, host))
			must(t, err)
			return r.History
		}
		many := func() map[address.Key]History {
			m := map[address.Key]History{key(t, "192.0.2.1"): {3, 7, 0}}
			for i := range 2 * most {
				m[key(t, fmt.Sprintf("10.0.%d.%d", i>>8, i&255))] = History{int64(i + 1), 9, 8}
			}
			return m
		}
		set(2*most+1, many())
		set(0, many())
		m := many()
		m[key(t, "10.0.0.3")] = History{1000, 9, 8}
		delete(m, key(t, "192.0.2.1"))
		set(2, m)
		if history("10.0.0.3") != 1000 || history("192.0.2.1") != 0 || history("10.0.0.2") != 3 {
			t.Error("the history is not what was set")
		}
		// Rows under names that Exim never asks for have none, and take none away.
		must(t, d.Exec(t.Context(), "insert into host (net, history) values ('2001:DB8::/64', 6), ('nobody', 6)"))
		m = many()
		m[key(t, "2001:db8::/64")] = History{6, 9, 8}
		set(2+1+2, m) // what is set back, too
		if history("2001:db8::/64") != 6 {
			t.Error("the host whose name somebody has spelled otherwise has no history")
		}
		r, err := d.Get(t.Context(), key(t, "192.0.2.1"))
		if r.Login.Unix() != 5 {
			t.Errorf("what Exim wrote is gone: %+v", r)
		}
		return err
	})
}

// A database that is lost comes back from its copy; without one it is begun
// anew, and says when.
func TestEnsure(t *testing.T) {
	damages := []struct {
		name string
		make func(t *testing.T, path string)
	}{
		{"absent", func(t *testing.T, path string) { must(t, os.Remove(path)) }},
		{"empty", func(t *testing.T, path string) { must(t, os.Truncate(path, 0)) }},
		{"dangling link", func(t *testing.T, path string) {
			must(t, os.Remove(path))
			must(t, os.Symlink("nowhere", path))
		}},
		{"not a database", func(t *testing.T, path string) {
			must(t, os.WriteFile(path, []byte(strings.Repeat("not a database\n", 500)), 0o640))
		}},
	}
	for _, d := range damages {
		for _, copied := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, copy %v", d.name, copied), func(t *testing.T) {
				path := place(t)
				visit(t, path, "192.0.2.1", 5)
				if copied {
					with(t, path, func(d *DB) error { return d.Keep(t.Context()) })
				}
				d.make(t, path)
				want := Anew
				if copied {
					want = Restored
				}
				if o, err := Ensure(t.Context(), path); o != want || err != nil {
					t.Fatalf("%v %v", o, err)
				}
				with(t, path, func(d *DB) error {
					r, err := d.Get(t.Context(), key(t, "192.0.2.1"))
					must(t, err)
					lost, err := d.Lost(t.Context())
					if r.Known() != copied || lost.IsZero() != copied {
						t.Errorf("row %+v, lost %v", r, lost)
					}
					return err
				})
				if o, err := Ensure(t.Context(), path); o != Sound || err != nil {
					t.Errorf("the second time: %v %v", o, err)
				}
			})
		}
	}
	t.Run("not to be lost", func(t *testing.T) {
		path := place(t)
		with(t, path, func(d *DB) error { return d.Exec(t.Context(), "pragma user_version = 9") })
		if _, err := Ensure(t.Context(), path); !errors.Is(err, ErrVersion) {
			t.Errorf("another version: %v", err)
		}
	})
}

// An old copy brings back what it has, and does not know who is a user.
func TestOldCopy(t *testing.T) {
	for age, grace := range map[time.Duration]bool{25 * time.Hour: false, 4 * 24 * time.Hour: true} {
		path := place(t)
		visit(t, path, "192.0.2.1", 5)
		with(t, path, func(d *DB) error { return d.Keep(t.Context()) })
		at := time.Now().Add(-age)
		must(t, os.Chtimes(Copy(path), at, at))
		must(t, os.Remove(path))
		if o, err := Ensure(t.Context(), path); o != Restored || err != nil {
			t.Fatalf("%v %v", o, err)
		}
		with(t, path, func(d *DB) error {
			r, err := d.Get(t.Context(), key(t, "192.0.2.1"))
			must(t, err)
			lost, err := d.Lost(t.Context())
			if !r.Known() || lost.IsZero() == grace {
				t.Errorf("a copy of %v ago: row %+v, lost %v", age, r, lost)
			}
			return err
		})
	}
}

// A disk that has room for a new database, but not for the copy, does not cost
// the copy.
func TestNoRoomForTheCopy(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("for root, who can mount a small disk")
	}
	path := place(t)
	dir := filepath.Dir(path)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=4m,mode=750,uid=%d,gid=%d", owner, owner)); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	_, err := Ensure(t.Context(), path)
	must(t, err)
	with(t, path, func(d *DB) error {
		m := map[address.Key]History{}
		for i := range 20_000 {
			m[key(t, fmt.Sprintf("10.0.%d.%d", i>>8, i&255))] = History{int64(i + 1), 9, 8}
		}
		_, err := d.SetHistory(t.Context(), m)
		return errors.Join(err, d.Exec(t.Context(), "pragma wal_checkpoint(truncate)"), d.Keep(t.Context()))
	})
	must(t, os.Remove(path))
	var st syscall.Statfs_t
	must(t, syscall.Statfs(dir, &st))
	filling := filepath.Join(dir, "filling")
	must(t, os.WriteFile(filling, make([]byte, int64(st.Bavail)*st.Bsize-300<<10), 0o600))
	if o, err := Ensure(t.Context(), path); o != Sound || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("without room: %v %v", o, err)
	}
	must(t, os.Remove(filling))
	if o, err := Ensure(t.Context(), path); o != Restored || err != nil {
		t.Errorf("with room: %v %v", o, err)
	}
}

// A page in the middle is found by the check, and the copy replaces it.
func TestDamagedPage(t *testing.T) {
	path := place(t)
	with(t, path, func(d *DB) error {
		m := map[address.Key]History{}
		for i := range 3000 {
			m[key(t, fmt.Sprintf("10.0.%d.%d", i>>8, i&255))] = History{int64(i + 1), 9, 8}
		}
		_, err := d.SetHistory(t.Context(), m)
		return errors.Join(err, d.Keep(t.Context()), d.Exec(t.Context(), "pragma wal_checkpoint(truncate)"))
	})
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt([]byte(strings.Repeat("x", 4096)), 8*4096)
	must(t, errors.Join(err, f.Close()))
	if err := With(path, func(d *DB) error { return d.Check(t.Context()) }); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("the check says %v", err)
	}
	if o, err := Replace(t.Context(), path); o != Restored || err != nil {
		t.Fatalf("%v %v", o, err)
	}
	with(t, path, func(d *DB) error {
		r, err := d.Get(t.Context(), key(t, "10.0.0.3"))
		if r.History != 4 {
			t.Errorf("%+v", r)
		}
		return errors.Join(err, d.Check(t.Context()))
	})
}

func TestPrune(t *testing.T) {
	path := place(t)
	with(t, path, func(d *DB) error {
		for i := range most + 10 {
			must(t, d.Exec(t.Context(), "insert into host (net, last) values (?, 50)", fmt.Sprintf("10.0.%d.%d", i>>8, i&255)))
		}
		must(t, d.Exec(t.Context(), "insert into host (net, last, history) values ('192.0.2.1', 50, 3), ('192.0.2.2', 200, 0)"))
		kept := []string{"first", "greeted", "lists_passed", "login", "delivered", "delivered_before", "failures_since", "offence", "offences_since",
			"guesser", "lost_since", "rate_at"}
		for i, column := range kept {
			must(t, d.Exec(t.Context(), fmt.Sprintf("insert into host (net, last, %s) values ('192.0.2.%d', 50, 200)", column, 10+i)))
		}
		now := time.Unix(100, 0).Add(Memory)
		must(t, d.Exec(t.Context(), "insert into guess (net, name, response, at, tries) values ('192.0.2.1', 1, 2, ?, 1), ('192.0.2.1', 1, 3, ?, 1)",
			now.Add(-25*time.Hour).Unix(), now.Add(-23*time.Hour).Unix()))
		n, err := d.Prune(t.Context(), now)
		if n != most+10 {
			t.Errorf("%d pruned", n)
		}
		var guesses string
		must(t, d.db.QueryRow("select group_concat(response) from guess").Scan(&guesses))
		if guesses != "3" {
			t.Errorf("guess %s is left", guesses)
		}
		s, err2 := d.Stats(t.Context(), time.Unix(150, 0).Add(Month))
		if s.Hosts != int64(2+len(kept)) || s.History != 1 || s.Logins != 1 {
			t.Errorf("%+v", s)
		}
		return errors.Join(err, err2)
	})
}

// Readers and writers at once meet no error.
func TestManyAtOnce(t *testing.T) {
	path := place(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 20 {
				if err := With(path, func(d *DB) error {
					return d.AddHistory(context.Background(), key(t, "192.0.2.1"), 1, time.Unix(int64(n), 0))
				}); err != nil {
					t.Errorf("%d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
	with(t, path, func(d *DB) error {
		r, err := d.Get(t.Context(), key(t, "192.0.2.1"))
		if r.History != 160 {
			t.Errorf("%+v", r)
		}
		return err
	})
}

func TestLock(t *testing.T) {
	path := place(t)
	unlock, err := Lock(t.Context(), path, 0)
	must(t, err)
	if _, err := Lock(t.Context(), path, 0); !errors.Is(err, ErrRunning) {
		t.Errorf("twice: %v", err)
	}
	unlock()
	unlock, err = Lock(t.Context(), path, 0)
	must(t, err)
	unlock()
}
