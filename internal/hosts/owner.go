package hosts

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"symbiosis-connect-acl/internal/safepath"
)

// asOwner runs do with the rights of the directory's owner and group.
func asOwner(dir string, do func() error) error {
	var st syscall.Stat_t
	if err := syscall.Lstat(dir, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFDIR {
		return fmt.Errorf("%s is not a directory", dir)
	}
	return safepath.AsUser(st.Uid, st.Gid, do)
}

// bind ties the database to this thread, if that has the rights of another.
func (d *DB) bind() {
	if u, _ := unix.SetfsuidRetUid(-1); u != os.Geteuid() {
		d.thread = unix.Gettid()
	}
}

// here gives the context that a statement is to be run with. The SQLite driver
// runs one that can be cancelled on another thread, which would be one with
// root's rights; so With's cannot, and what takes long looks at ctx itself.
func (d *DB) here(ctx context.Context) context.Context {
	if d.thread == 0 {
		return ctx
	}
	if unix.Gettid() != d.thread {
		panic("hosts: used outside the function that With calls")
	}
	return context.WithoutCancel(ctx)
}
