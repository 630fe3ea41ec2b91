package blacklist

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"symbiosis-connect-acl/internal/safepath"
)

// A Stamp is what tells that a database was not written to: the change counter
// in its header, which grows with every transaction, and its size. The file's
// number tells it from another under the same name.
type Stamp struct {
	Inode   uint64
	Size    int64
	Counter uint32
}

func (s Stamp) String() string { return fmt.Sprintf("%d %d %d", s.Inode, s.Size, s.Counter) }

// header is as much of the file as ReadStamp reads (SQLite's file format,
// section 1.3).
const headerBytes = 100

// ReadStamp reads the stamp, and nothing else of the file. It returns ErrWAL for
// a database in WAL mode, whose file does not have the latest rows.
func ReadStamp(path string) (s Stamp, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return s, err
	}
	defer f.Close()
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		return s, &os.PathError{Op: "fstat", Path: path, Err: err}
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return s, &os.PathError{Op: "open", Path: path, Err: ErrNotFile}
	}
	s = Stamp{Inode: st.Ino, Size: st.Size}
	if st.Size == 0 {
		return s, nil // as the firewall's writer makes it, a moment before it makes the table
	}
	var b [headerBytes]byte
	if n, _ := f.ReadAt(b[:], 0); n < len(b) || string(b[:16]) != "SQLite format 3\x00" {
		return s, fmt.Errorf("%s: %w: it does not begin as an SQLite database does", path, ErrCorrupt)
	}
	if b[18] == 2 || b[19] == 2 {
		return s, fmt.Errorf("%s: %w", path, ErrWAL)
	}
	// A whole number of pages, whose size is a power of two (65536 is written 1).
	if page := int64(binary.BigEndian.Uint16(b[16:])); page > 1 && st.Size%page != 0 {
		return s, fmt.Errorf("%s: %w: its last page is cut off", path, ErrCorrupt)
	}
	s.Counter = binary.BigEndian.Uint32(b[24:])
	return s, nil
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

// How often a reader begins again because of a writer, and how long it waits
// before that.
const (
	readTries = 20
	readPause = 100 * time.Millisecond
)

// unlocked runs read on the database without any lock: the firewall's writer
// waits for none, so a lock of ours could make its scan fail. What was read
// counts only if nobody has written meanwhile; otherwise read is run again, and
// must therefore begin from nothing at each call. After a few seconds of that
// it gives up with ErrUnsteady. It gives the stamp of what was read.
func unlocked(ctx context.Context, path string, read func(*sql.DB) error) (s Stamp, err error) {
	if err := regular(path); err != nil {
		return s, err
	}
	real, err := safepath.RealPath(path)
	if err != nil {
		return s, err
	}
	for try := range readTries {
		if try > 0 {
			if err := sleep(ctx, readPause); err != nil {
				return s, err
			}
		}
		// The counter first and the journal second: a transaction that ends
		// between the two has ended before anything is read.
		if s, err = ReadStamp(real); err != nil {
			return s, err
		}
		if hasJournal(real) {
			continue
		}
		err := once(real, read)
		if ctx.Err() != nil {
			return s, ctx.Err()
		}
		// Then in reverse order: one that has written while we read has a
		// journal still, or has changed the counter.
		if hasJournal(real) {
			continue
		}
		if after, serr := ReadStamp(real); serr == nil && after == s {
			return s, explain(path, err)
		}
	}
	return s, fmt.Errorf("%s: %w: try again in a minute", path, ErrUnsteady)
}

func once(path string, read func(*sql.DB) error) error {
	db, err := open(path, "mode=ro&immutable=1&cache=private&_cache_size=-2048")
	if err != nil {
		return err
	}
	defer db.Close()
	return read(db)
}

// Check runs SQLite's integrity check. ErrCorrupt says that it did not pass,
// with what was found.
func Check(ctx context.Context, path string) error {
	_, err := unlocked(ctx, path, func(db *sql.DB) error {
		if _, err := schemaOf(ctx, db); err != nil {
			return err
		}
		rows, err := db.QueryContext(ctx, "PRAGMA integrity_check(5)")
		if err != nil {
			return err
		}
		defer rows.Close()
		var found []string
		for rows.Next() {
			var s string
			if err := rows.Scan(&s); err != nil {
				return err
			}
			if s != "ok" {
				found = append(found, strings.Join(strings.Fields(s), " "))
			}
		}
		if len(found) > 0 {
			return fmt.Errorf("%w: %s", ErrCorrupt, strings.Join(found, "; "))
		}
		return rows.Err()
	})
	return err
}

// Recipe says what to do with a corrupt database.
func Recipe(path string) string {
	return fmt.Sprintf("mv %[1]s %[1]s.corrupt && sqlite3 %[1]s.corrupt .recover | sqlite3 %[1]s", path)
}
