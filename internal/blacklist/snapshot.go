package blacklist

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"symbiosis-connect-acl/internal/safepath"
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

// young reports whether the file may have been written to since without another
// stamp.
func (s stamp) young() bool {
	age := time.Since(time.Unix(s.mtime.Sec, s.mtime.Nsec))
	return age >= 0 && age < tick
}

// stampOf gives the file's stamp if nobody is in the middle of writing to it:
// there is no journal.
func stampOf(path string) (stamp, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return stamp{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if hasJournal(path) {
		return stamp{}, errUnsteady
	}
	return stamp{ino: st.Ino, size: st.Size, mtime: st.Mtim}, nil
}

// steady is stampOf if the last write is a while ago.
func steady(path string) (stamp, error) {
	s, err := stampOf(path)
	if err == nil && s.young() {
		err = errUnsteady
	}
	return s, err
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

// How long a reader that takes no lock begins again because of a writer.
const readerWait = 10 * time.Second

// withoutLocks runs read on the database without taking any lock, so that a
// scan of millions of rows keeps no writer out. If the file was written to
// meanwhile, what read gave is worth nothing, and it is run again; beside a
// writer that does not come to an end it is run with SQLite's ordinary lock for
// readers after a while. read must therefore begin from nothing at each call.
func withoutLocks(ctx context.Context, path string, read func(*sql.DB) error) error {
	if err := regular(path); err != nil {
		return err
	}
	real, err := safepath.RealPath(path)
	if err != nil {
		return err
	}
	// A journal that nobody is writing is a dead writer's: waiting is no use.
	begin := time.Now()
	for try := 0; try < 3 || time.Since(begin) < readerWait && openForWriting(real); try++ {
		if try > 0 {
			if err := sleep(ctx, 2*tick); err != nil {
				return err
			}
		}
		before, err := steady(real)
		if errors.Is(err, errUnsteady) {
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

// A shot is what is known of the file at the moment of which a copy has it.
type shot struct {
	header
	stamp
	waited time.Duration // for writers
}

// snapshot copies the database at path, whose last element is no link, to the
// new file to without taking a lock: it copies, asks whether the file was
// written to meanwhile, and if so reads it again. Of a file that is written to
// again and again it has a copy that is nearly right by then, and puts that
// right during a pause of the writer, who is held up by a lease if it comes
// back just then. It waits for such a pause for as long as wait, and gives up
// with errUnsteady.
func snapshot(ctx context.Context, path, to string, wait time.Duration) (s shot, err error) {
	src, err := os.Open(path)
	if err != nil {
		return s, err
	}
	defer src.Close()
	rest := func(d time.Duration) error {
		s.waited += d
		return sleep(ctx, d)
	}
	copied := false
	for try := range 4 {
		if try > 0 {
			if err := rest(time.Duration(try) * 2 * tick); err != nil {
				return s, err
			}
		}
		before, berr := steady(path)
		if berr != nil && !errors.Is(berr, errUnsteady) {
			return s, berr
		}
		if berr != nil && try == 0 {
			continue // it is as a rule steady a moment later
		}
		if copied {
			err = mendFrom(to, src)
		} else {
			err = copyTo(to, src)
		}
		if err != nil {
			return s, err
		}
		copied = true
		s.header, err = readHeader(src)
		after, aerr := steady(path)
		if berr == nil && aerr == nil && after == before {
			s.stamp = before
			return s, err
		}
	}
	for begin := time.Now(); time.Since(begin) < wait; {
		if ok, err := awaitNoWriter(ctx, path, nil, wait-time.Since(begin)); err != nil || !ok {
			return s, errors.Join(err, errUnsteady)
		}
		ok, err := s.underLease(path, to)
		if err != nil || ok {
			s.waited += time.Since(begin)
			return s, err
		}
		if err := sleep(ctx, tick); err != nil {
			return s, err
		}
	}
	return s, errUnsteady
}

// underLease mends the copy while no other program can open the file for
// writing. It reports whether that was so.
func (s *shot) underLease(path, to string) (bool, error) {
	l, err := takeLease(path)
	if err != nil {
		return false, err
	}
	defer l.giveUp()
	if !l.granted && !l.busy {
		return false, errUnsteady // there are no leases here
	}
	if l.busy {
		return false, nil
	}
	before, err := stampOf(path)
	if err != nil {
		return false, ignoreUnsteady(err)
	}
	if err := mendFrom(to, l.file); err != nil {
		return false, err
	}
	if s.header, err = readHeader(l.file); err != nil {
		return false, err
	}
	// The kernel takes a lease away after a while (45 s).
	after, err := stampOf(path)
	if err != nil || after != before {
		return false, ignoreUnsteady(err)
	}
	if s.stamp = after; s.stamp.young() {
		s.stamp = stamp{}
	}
	return true, nil
}

func ignoreUnsteady(err error) error {
	if errors.Is(err, errUnsteady) {
		return nil
	}
	return err
}

// soonSteady is steady for a file that nobody writes to now, but somebody may
// have written to a moment ago. With a lease nobody can have.
func soonSteady(ctx context.Context, path string, l *lease) (stamp, error) {
	if l != nil && l.granted {
		return stampOf(path)
	}
	s, err := steady(path)
	for range 2 {
		if !errors.Is(err, errUnsteady) {
			break
		}
		if err := sleep(ctx, tick); err != nil {
			return s, err
		}
		s, err = steady(path)
	}
	return s, err
}

// mendFrom makes the copy to equal to src.
func mendFrom(to string, src *os.File) error {
	dst, err := os.OpenFile(to, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer dst.Close()
	h, err := readHeader(src)
	if err != nil {
		return err
	}
	st, err := src.Stat()
	if err != nil {
		return err
	}
	if err := mend(src, dst, h.pageSize, st.Size()); err != nil {
		return fmt.Errorf("copy the database to %s: %w", to, err)
	}
	return dst.Close()
}

// copyTo makes the new file to a copy of src that only its owner can read, sharing the
// blocks on the disk where the file system can.
func copyTo(to string, src *os.File) error {
	dst, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
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
