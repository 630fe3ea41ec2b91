package blacklist

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// errUnsteady says that the file was written to while it was read without a lock.
var errUnsteady = errors.New("the database was written to meanwhile")

// A stamp is what tells that a file has not been written to. The kernel sets
// the modification time before it takes the new bytes, so whoever saw new
// bytes sees a new stamp. The time has the grain of the kernel's tick, so a
// stamp proves something only once it is older than that.
type stamp struct {
	ino   uint64
	size  int64
	mtime unix.Timespec
}

const tick = 25 * time.Millisecond

// steady gives the file's stamp if nobody is in the middle of writing to it:
// there is no journal and the last write is a while ago.
func steady(path string) (stamp, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return stamp{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if hasJournal(path) {
		return stamp{}, errUnsteady
	}
	if age := time.Since(time.Unix(st.Mtim.Sec, st.Mtim.Nsec)); age >= 0 && age < tick {
		return stamp{}, errUnsteady
	}
	return stamp{ino: st.Ino, size: st.Size, mtime: st.Mtim}, nil
}

// hasJournal reports whether a rollback journal with content lies beside the
// file. (An empty or zeroed one is what the journal modes TRUNCATE and PERSIST
// leave behind.) SQLite names it after the file that links lead to.
func hasJournal(path string) bool {
	f, err := os.Open(path + "-journal")
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	defer f.Close()
	var b [1]byte
	n, _ := f.Read(b[:])
	return n == 1 && b[0] != 0
}

// withoutLocks runs read on the database without taking any lock, so that a
// scan of millions of rows keeps no writer out. If the file was written to
// meanwhile, what read gave is worth nothing, and it is run again; after a few
// times it is run with SQLite's ordinary lock for readers. read must therefore
// begin from nothing at each call.
func withoutLocks(ctx context.Context, path string, read func(*sql.DB) error) error {
	if err := regular(path); err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	for range 3 {
		before, err := steady(real)
		if errors.Is(err, errUnsteady) {
			if err := sleep(ctx, 2*tick); err != nil {
				return err
			}
			continue
		} else if err != nil {
			return err
		}
		db, err := open(real, "mode=ro&immutable=1&cache=private&_cache_size=-8192")
		if err != nil {
			return err
		}
		err = read(db)
		db.Close()
		after, serr := steady(real)
		if serr == nil && after == before {
			return explain(path, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	db, err := openReadOnly(real)
	if err != nil {
		return err
	}
	defer db.Close()
	return explain(path, read(db))
}

// A header is the part of a database file's first page that this package
// reads itself (SQLite file format, section 1.3).
type header struct {
	pageSize      int64
	wal           bool   // journal mode WAL
	changeCounter uint32 // grows by one with every transaction
	schemaCookie  uint32
}

func readHeader(r io.ReaderAt) (header, error) {
	var b [100]byte
	if _, err := r.ReadAt(b[:], 0); err != nil {
		return header{}, fmt.Errorf("%w: the file is too short", ErrCorrupt)
	}
	if string(b[:16]) != "SQLite format 3\x00" {
		return header{}, fmt.Errorf("%w: not an SQLite database", ErrCorrupt)
	}
	h := header{
		pageSize:      int64(binary.BigEndian.Uint16(b[16:])),
		wal:           b[18] == 2 || b[19] == 2,
		changeCounter: binary.BigEndian.Uint32(b[24:]),
		schemaCookie:  binary.BigEndian.Uint32(b[40:]),
	}
	if h.pageSize == 1 {
		h.pageSize = 65536
	}
	return h, nil
}

// snapshot copies the database at path, whose last element is no link, to the
// new file to without taking a lock: it copies, asks whether the file was
// written to meanwhile, and begins again if so. It gives up with errUnsteady.
func snapshot(ctx context.Context, path, to string) (h header, err error) {
	src, err := os.Open(path)
	if err != nil {
		return h, err
	}
	defer src.Close()
	for try := range 3 {
		if try > 0 {
			if err := sleep(ctx, time.Duration(try)*4*tick); err != nil {
				return h, err
			}
		}
		before, err := steady(path)
		if errors.Is(err, errUnsteady) {
			continue
		} else if err != nil {
			return h, err
		}
		if err := copyTo(to, src); err != nil {
			return h, err
		}
		h, err = readHeader(src)
		after, serr := steady(path)
		if serr == nil && after == before {
			return h, err
		}
	}
	return h, errUnsteady
}

// copyTo makes to a copy of src that only its owner can read, sharing the
// blocks on the disk where the file system can.
func copyTo(to string, src *os.File) error {
	dst, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())); err != nil {
		if _, err := src.Seek(0, io.SeekStart); err != nil {
			dst.Close()
			return err
		}
		if _, err := io.Copy(dst, src); err != nil {
			dst.Close()
			return fmt.Errorf("copy the database to %s: %w", to, err)
		}
	}
	return dst.Close()
}

// copyRows makes the new file to a copy of the database at path when snapshot
// has given up, because the file is written to all the time: it reads the rows
// that there are at the beginning in short steps, each under SQLite's lock for
// readers for about as long as some of Exim's lookups. Damage in the table is
// an error; an index is not read but made anew.
func copyRows(ctx context.Context, path, to string) (h header, d layout, err error) {
	// The descriptor is opened before and closed after the connection: see
	// takeLease.
	f, err := os.Open(path)
	if err != nil {
		return h, d, err
	}
	defer f.Close()
	src, err := openReadOnly(path)
	if err != nil {
		return h, d, err
	}
	defer src.Close()
	var maxRowid int64
	begin, err := src.BeginTx(ctx, nil)
	if err != nil {
		return h, d, err
	}
	defer begin.Rollback()
	if err := writable(ctx, begin); err != nil {
		return h, d, err
	}
	others, err := otherObjects(ctx, begin)
	if err != nil {
		return h, d, err
	}
	if others > 0 {
		return h, d, errUnsteady
	}
	if err := begin.QueryRowContext(ctx, "SELECT coalesce(max(rowid), 0) FROM "+Table).Scan(&maxRowid); err != nil {
		return h, d, err
	}
	if h, err = readHeader(f); err != nil {
		return h, d, err
	}
	if d, err = layoutOf(ctx, begin, "main"); err != nil {
		return h, d, err
	}
	if err := begin.Rollback(); err != nil {
		return h, d, err
	}

	os.Remove(to)
	dst, err := sql.Open("sqlite3", dsn(to, "mode=rwc&_journal_mode=OFF&_locking_mode=EXCLUSIVE&_sync=OFF&_cache_size=-16384"))
	if err != nil {
		return h, d, err
	}
	defer dst.Close()
	dst.SetMaxOpenConns(1)
	for _, s := range d.table {
		if _, err := dst.ExecContext(ctx, s); err != nil {
			return h, d, err
		}
	}
	const step, many = 2000, 50
	insert := "INSERT INTO " + Table + " (rowid, ip, timestamp, count) VALUES (?,?,?,?)"
	bulk := insert + strings.Repeat(",(?,?,?,?)", many-1)
	tx, err := dst.BeginTx(ctx, nil)
	if err != nil {
		return h, d, err
	}
	defer tx.Rollback()
	st, err := tx.PrepareContext(ctx, bulk)
	if err != nil {
		return h, d, err
	}
	defer st.Close()
	last := int64(-1 << 63)
	for {
		rows, err := src.QueryContext(ctx, "SELECT rowid, ip, timestamp, count FROM "+Table+" WHERE rowid > ? AND rowid <= ? ORDER BY rowid LIMIT ?",
			last, maxRowid, step)
		if err != nil {
			return h, d, err
		}
		part := make([]any, 0, 4*step)
		for rows.Next() {
			var v [4]any
			if err := rows.Scan(&v[0], &v[1], &v[2], &v[3]); err != nil {
				rows.Close()
				return h, d, err
			}
			part = append(part, v[:]...)
		}
		rows.Close() // the lock ends here
		if err := rows.Err(); err != nil {
			return h, d, err
		}
		if len(part) == 0 {
			break
		}
		last = part[len(part)-4].(int64)
		for len(part) >= 4*many {
			if _, err := st.ExecContext(ctx, part[:4*many]...); err != nil {
				return h, d, err
			}
			part = part[4*many:]
		}
		for ; len(part) > 0; part = part[4:] {
			if _, err := tx.ExecContext(ctx, insert, part[:4]...); err != nil {
				return h, d, err
			}
		}
	}
	st.Close()
	if err := tx.Commit(); err != nil {
		return h, d, err
	}
	return h, d, nil
}
