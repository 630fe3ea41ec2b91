package publish

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/zone"
)

// A Watcher tells when something happens to the files of a directory.
type Watcher struct {
	Changes <-chan struct{} // one for any number of changes
	file    *os.File
}

// Watch watches the directory at path, which must exist.
func Watch(path string) (*Watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init", err)
	}
	const events = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
	if _, err := unix.InotifyAddWatch(fd, path, events|unix.IN_ONLYDIR); err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "inotify_add_watch", Path: path, Err: err}
	}
	changes := make(chan struct{}, 1)
	w := &Watcher{Changes: changes, file: os.NewFile(uintptr(fd), "inotify")}
	go func() {
		defer close(changes)
		buf := make([]byte, 1<<16)
		for {
			// Which file it was does not matter: Reader knows whether it counts.
			if n, err := w.file.Read(buf); err != nil || n == 0 {
				return
			}
			select {
			case changes <- struct{}{}:
			default:
			}
		}
	}()
	return w, nil
}

// Close ends the watch.
func (w *Watcher) Close() error { return w.file.Close() }

// A Reader keeps hosts.db open between two readings. Whoever opens and closes it
// changes its files, and would be woken by himself.
type Reader struct {
	path     string
	requests chan request
	done     chan error
	opened   os.FileInfo
	times    int64 // that it was opened
}

type request struct {
	ctx      context.Context
	criteria *zone.Criteria // nil: only whether something has changed
	answer   chan<- reply
}

type reply struct {
	entries []zone.Entry
	version int64
	err     error
}

// NewReader gives a reader of the database at path, which need not exist yet.
func NewReader(path string) *Reader { return &Reader{path: path} }

// Version gives a number that differs from an earlier one when somebody has
// written to the database, or another was put in its place.
func (r *Reader) Version(ctx context.Context) (int64, error) {
	got := r.ask(request{ctx: ctx})
	return got.version, got.err
}

// Entries gives the list as it is now, and the number that Version gives for it.
func (r *Reader) Entries(ctx context.Context, c zone.Criteria) ([]zone.Entry, int64, error) {
	got := r.ask(request{ctx: ctx, criteria: &c})
	return got.entries, got.version, got.err
}

// Close closes the database.
func (r *Reader) Close() {
	if r.requests != nil {
		close(r.requests)
		<-r.done
		r.requests = nil
	}
}

func (r *Reader) ask(q request) reply {
	// A copy that was put back is another file.
	now, err := os.Stat(r.path)
	if err != nil || r.opened == nil || !os.SameFile(now, r.opened) {
		r.Close()
		r.opened = now
	}
	if r.requests == nil {
		requests, done := make(chan request), make(chan error, 1)
		go func() {
			done <- hosts.With(r.path, func(d *hosts.DB) error {
				for q := range requests {
					q.answer <- serve(d, q)
				}
				return nil
			})
		}()
		r.requests, r.done = requests, done
		r.times++
	}
	answer := make(chan reply, 1)
	q.answer = answer
	select {
	case r.requests <- q:
		got := <-answer
		got.version += r.times << 32
		return got
	case err := <-r.done:
		r.requests = nil
		if err == nil {
			err = errors.New("the database was closed")
		}
		return reply{err: err}
	}
}

func serve(d *hosts.DB, q request) (r reply) {
	// Before the rows are read: who writes meanwhile is seen the next time.
	if r.version, r.err = d.Changed(q.ctx); r.err != nil || q.criteria == nil {
		return r
	}
	for e, err := range q.criteria.Entries(q.ctx, d) {
		if err != nil {
			r.err = err
			return r
		}
		r.entries = append(r.entries, e)
	}
	return r
}

// Dir is the directory to watch.
func (r *Reader) Dir() string { return filepath.Dir(r.path) }
