package blacklist

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// WriterMinutes are the minutes of the hour at which Symbiosis and Sympl start
// the scan that writes to the database.
var WriterMinutes = []int{5, 20, 35, 50}

// Around a start of the scan nothing is written: from a little before, for the
// clocks of cron, until it has surely opened the database. From then on it is
// seen by its open file.
const (
	quietBefore = 3 * time.Second
	quietAfter  = 15 * time.Second
)

// untilQuiet tells how long to wait at the time now for the start of the
// platform's scan to be over.
func untilQuiet(now time.Time, minutes []int) time.Duration {
	for _, start := range []time.Time{now.Truncate(time.Minute), now.Truncate(time.Minute).Add(time.Minute)} {
		if !slices.Contains(minutes, start.Minute()) {
			continue
		}
		if from, to := start.Add(-quietBefore), start.Add(quietAfter); !now.Before(from) && now.Before(to) {
			return to.Sub(now)
		}
	}
	return 0
}

// A lease is a read lease on a file (fcntl(2), F_SETLEASE). The kernel grants it
// only while no process at all, of whatever user, container or namespace, has
// the file open for writing.
type lease struct {
	file    *os.File
	granted bool
	busy    bool // not granted, because the file is open for writing
}

// takeLease asks for a lease on the file behind path. Where leases are not to
// be had it is neither granted nor busy.
//
// Closing any descriptor of a file drops all POSIX locks that the process has
// on it, SQLite's among them: a lease must not be given up between the first
// and the last statement of a transaction on that file.
func takeLease(path string) (*lease, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	return &lease{file: f, granted: err == nil, busy: errors.Is(err, unix.EAGAIN)}, nil
}

// broken reports whether somebody has asked to open the file for writing since
// the lease was granted.
func (l *lease) broken() bool {
	kind, err := unix.FcntlInt(l.file.Fd(), unix.F_GETLEASE, 0)
	return l.granted && (err != nil || kind != unix.F_RDLCK)
}

func (l *lease) giveUp() {
	if l.granted {
		unix.FcntlInt(l.file.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	}
	l.file.Close()
}

// openForWriting reports whether some process, this one included, has the file
// open for writing, as far as the kernel tells.
func openForWriting(path string) bool {
	l, err := takeLease(path)
	if err != nil {
		return false
	}
	defer l.giveUp()
	return l.busy
}

// awaitNoWriter waits until it is away from the given minutes and no process
// has the file open for writing, but at most limit for the latter. It reports
// whether that came.
func awaitNoWriter(ctx context.Context, path string, minutes []int, limit time.Duration) (bool, error) {
	var waited time.Duration
	for {
		if d := untilQuiet(time.Now(), minutes); d > 0 {
			if err := sleep(ctx, d); err != nil {
				return false, err
			}
		}
		if !openForWriting(path) {
			return true, nil
		}
		if waited >= limit {
			return false, nil
		}
		const step = 5 * time.Millisecond
		if err := sleep(ctx, step); err != nil {
			return false, err
		}
		waited += step
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// editWait bounds how long a single change waits for another writer to be
// done. Then it relies on SQLite's own locking.
const editWait = 10 * time.Second

// shortWrite makes one small change: it waits until no other program has the
// file open for writing, checks that the table is one that may be changed, and
// runs do in one transaction, which it undoes when do fails.
func shortWrite(ctx context.Context, path string, do func(querier) error) error {
	if err := regular(path); err != nil {
		return err
	}
	if _, err := awaitNoWriter(ctx, path, nil, editWait); err != nil {
		return err
	}
	db, err := openWrite(path)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = writeOn(ctx, path, db, do)
	return err
}

// writeOn runs do in a transaction on db. It returns how long the transaction
// kept other writers out.
func writeOn(ctx context.Context, path string, db *sql.DB, do func(querier) error) (held time.Duration, err error) {
	begin := time.Now()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return 0, explain(path, err)
	}
	defer tx.Rollback()
	if err := writable(ctx, tx); err != nil {
		return time.Since(begin), explain(path, err)
	}
	if err := do(tx); err != nil {
		return time.Since(begin), explain(path, err)
	}
	err = tx.Commit()
	return time.Since(begin), explain(path, err)
}

// lockRuns makes this the one maintenance run on the databases in path's
// directory, or returns ErrRunning. The lock is on the directory itself, so
// that it leaves no file behind, and ends with the process.
func lockRuns(path string) (unlock func(), err error) {
	dir := filepath.Dir(path)
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", path, ErrRunning)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}
