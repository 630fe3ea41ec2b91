package hosts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"

	"symbiosis-connect-acl/internal/clock"
)

// The files beside the database.
func copyOf(path string) string    { return path + ".copy" }
func corruptOf(path string) string { return path + ".corrupt" }
func draftOf(path string) string   { return path + ".new" }

// Copy is the name of the nightly copy of the database at path.
func Copy(path string) string { return copyOf(path) }

// An Outcome says what Ensure found and did.
type Outcome int

// The outcomes.
const (
	Sound    Outcome = iota // there was nothing to do
	Made                    // made for the first time
	Restored                // it was lost or corrupt, and the copy was put back
	Anew                    // it was lost or corrupt, and begun anew for want of a copy
)

// Create makes the database's directory for Exim's user, and in it the database
// (see Ensure). Its parent is root's. upgraded says that this server was
// judging hosts before it had this database: then it does not know yet who is a
// user, and begins as after a loss.
func Create(ctx context.Context, path string, uid, gid uint32, upgraded bool) (o Outcome, err error) {
	dir := filepath.Dir(path)
	first := false
	if err := os.Mkdir(dir, 0o750); err == nil {
		first = true
	} else if !errors.Is(err, fs.ErrExist) {
		return o, err
	}
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return o, err
	}
	defer f.Close()
	if os.Geteuid() == 0 {
		if err := errors.Join(f.Chown(int(uid), int(gid)), f.Chmod(0o750)); err != nil {
			return o, err
		}
	}
	if o, err = Ensure(ctx, path); err != nil || o != Anew || !first {
		return o, err
	}
	if upgraded {
		return Anew, nil
	}
	return Made, With(path, func(d *DB) error { return d.Exec(ctx, "delete from state where name = 'lost'") })
}

// Ensure sees to it that there is a database that can be used: when it is lost
// or corrupt it puts the nightly copy back, or begins it anew and remembers
// when that was. A corrupt file is kept under another name. One that an older
// version has made is upgraded in place. One that cannot be used for another
// reason is an error, and left alone.
func Ensure(ctx context.Context, path string) (o Outcome, err error) {
	err = asOwner(filepath.Dir(path), func() error {
		err := usable(path)
		if err == nil || !lost(err) {
			return err
		}
		o, err = renew(ctx, path)
		return err
	})
	return o, err
}

// lost reports whether an error of Open means that there is nothing left to
// lose.
func lost(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrEmpty) || errors.Is(err, ErrCorrupt)
}

func usable(path string) error {
	d, err := open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	d.bind()
	return d.upgrade(context.Background())
}

// Replace does what Ensure does for a database that has been found corrupt
// since it was opened.
func Replace(ctx context.Context, path string) (o Outcome, err error) {
	err = asOwner(filepath.Dir(path), func() error {
		o, err = renew(ctx, path)
		return err
	})
	return o, err
}

// renew puts the copy in the place of a database that is lost, or begins it
// anew. It does not throw away a good copy for want of room: that comes back.
func renew(ctx context.Context, path string) (Outcome, error) {
	err := restore(ctx, path)
	if err == nil {
		return Restored, nil
	}
	var se sqlite3.Error
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.As(err, &se) && se.Code == sqlite3.ErrFull {
		return Sound, fmt.Errorf("%s is lost or damaged; make room, so that its copy can be put back: %w", path, err)
	}
	if err := begin(ctx, path, clock.Now()); err != nil {
		return Sound, err
	}
	return Anew, nil
}

// copyFresh is how old a copy may be that knows who is a user: one night may
// have been missed.
const copyFresh = 2 * 24 * time.Hour

// restore puts the copy in place, if it is sound. An old one does not know who
// has become a user since, so then the loss is remembered too.
func restore(ctx context.Context, path string) error {
	draft := draftOf(path)
	defer os.Remove(draft)
	if err := duplicate(copyOf(path), draft); err != nil {
		return err
	}
	st, err := os.Stat(copyOf(path))
	if err != nil {
		return err
	}
	marked := ""
	if now := clock.Now(); now.Sub(st.ModTime()) > copyFresh {
		marked = markLost(now)
	}
	if err := ready(ctx, draft, marked); err != nil {
		return err
	}
	return exchange(path)
}

// markLost gives the statement that remembers when the database was lost.
func markLost(at time.Time) string {
	return fmt.Sprintf("insert into state values ('lost', %d) on conflict(name) do update set value = excluded.value", at.Unix())
}

// begin makes a new one.
func begin(ctx context.Context, path string, at time.Time) error {
	draft := draftOf(path)
	if err := discard(draft); err != nil {
		return err
	}
	f, err := os.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	err = errors.Join(f.Chmod(0o640), f.Close())
	defer os.Remove(draft)
	if err != nil {
		return err
	}
	if err := ready(ctx, draft, strings.Join(layouts[:], "")+markLost(at)); err != nil {
		return err
	}
	return exchange(path)
}

// ready runs statements on a draft, checks it, and leaves it in WAL mode with
// nothing beside it.
func ready(ctx context.Context, draft, statements string) error {
	d, err := open(draft)
	if err != nil {
		return err
	}
	defer d.Close()
	d.bind()
	if err := d.Exec(ctx, statements+";pragma journal_mode = wal"); err != nil {
		return err
	}
	if err := d.upgrade(ctx); err != nil {
		return err
	}
	if err := d.Check(ctx); err != nil {
		return err
	}
	if err := d.Close(); err != nil {
		return err
	}
	return syncPath(draft)
}

// exchange puts the draft in the place of the database. The old one goes first,
// and its log with it: SQLite would read that log into the new file. A process
// that has the old one open goes on with it, and harms nothing.
func exchange(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(path+suffix, corruptOf(path)+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// Whoever connected at this moment may have made an empty one.
	if err := os.Rename(draftOf(path), path); err != nil {
		return err
	}
	return syncPath(filepath.Dir(path))
}

// discard removes what a killed run left under the name of a draft.
func discard(draft string) error {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(draft + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func duplicate(from, to string) error {
	if err := discard(to); err != nil {
		return err
	}
	in, err := os.OpenFile(from, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	if st, err := in.Stat(); err != nil || !st.Mode().IsRegular() {
		return errors.Join(err, fmt.Errorf("%s is not a regular file", from))
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(0o640), out.Close())
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// Check runs SQLite's integrity check. ErrCorrupt says that it did not pass,
// with what was found.
func (d *DB) Check(ctx context.Context) error {
	rows, err := d.db.QueryContext(d.here(ctx), "pragma integrity_check(5)")
	if err != nil {
		return explain(d.path, err)
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return explain(d.path, err)
		}
		if s != "ok" {
			found = append(found, strings.Join(strings.Fields(s), " "))
		}
	}
	if err := rows.Err(); err != nil {
		return explain(d.path, err)
	}
	if len(found) > 0 {
		return fmt.Errorf("%s: %w: %s", d.path, ErrCorrupt, strings.Join(found, "; "))
	}
	return nil
}

// Keep writes the copy that is put back when the file is lost. Nobody waits for
// it: it reads beside all others.
func (d *DB) Keep(ctx context.Context) error {
	draft := copyOf(d.path) + ".new"
	if err := discard(draft); err != nil {
		return err
	}
	defer os.Remove(draft)
	if err := d.Exec(ctx, "vacuum into ?", draft); err != nil {
		return err
	}
	if err := errors.Join(os.Chmod(draft, 0o640), syncPath(draft)); err != nil {
		return err
	}
	if err := os.Rename(draft, copyOf(d.path)); err != nil {
		return err
	}
	return syncPath(filepath.Dir(d.path))
}

// Memory is for how long a host is remembered that has no history: longer than
// anything counts that is remembered of it.
const Memory = 35 * 24 * time.Hour

// guessMemory is for how long a guess is kept at most. Exim asks for those within
// CONNECT_AUTH_PERIOD only.
const guessMemory = 24 * time.Hour

// Prune deletes the hosts that have no history, and that nothing was heard of
// for the time of Memory, all guesses older than a day, and the names that have
// not logged in for that time.
func (d *DB) Prune(ctx context.Context, now time.Time) (n int64, err error) {
	const old = "history = 0 and max(first, last, greeted, lists_passed, login, delivered, delivered_before, failures_since," +
		" offence, offences_since, guesser, lost_since, rate_at) < ?"
	before := now.Add(-Memory)
	for table, keep := range map[string]time.Duration{"guess": guessMemory, "account": guessMemory, "doubt": guessMemory, "known": Memory} {
		if err := d.Exec(ctx, "delete from "+table+" where at < ?", now.Add(-keep).Unix()); err != nil {
			return 0, err
		}
	}
	for from, more := "", true; more; {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		// One part of the table at a time, from key to key.
		var to string
		if err := d.db.QueryRowContext(d.here(ctx), "select coalesce(max(net), '') from (select net from host where net > ? order by net limit ?)", from, most).
			Scan(&to); err != nil {
			return n, explain(d.path, err)
		}
		if more = to != ""; more {
			res, err := d.db.ExecContext(d.here(ctx), "delete from host where net > ? and net <= ? and "+old, from, to, before.Unix())
			if err != nil {
				return n, explain(d.path, err)
			}
			gone, err := res.RowsAffected()
			if err != nil {
				return n, explain(d.path, err)
			}
			n, from = n+gone, to
		}
	}
	return n, nil
}

// Lock keeps other runs of root's tools away from the database. It waits for
// another one as long as that, and returns ErrRunning then. It ends with the
// process.
func Lock(ctx context.Context, path string, wait time.Duration) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Dir(path), os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	for begin := time.Now(); ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return func() { f.Close() }, nil
		case !errors.Is(err, unix.EWOULDBLOCK):
			err = fmt.Errorf("lock %s: %w", filepath.Dir(path), err)
		case time.Since(begin) >= wait:
			err = fmt.Errorf("%s: %w", path, ErrRunning)
		default:
			select {
			case <-ctx.Done():
				err = ctx.Err()
			case <-time.After(10 * time.Millisecond):
				continue
			}
		}
		f.Close()
		return nil, err
	}
}
