package hosts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// asOwner runs do so that whatever it does with files it does with the rights of
// the directory's owner and group, if the process is root's. These are the rights
// of one thread (setfsuid(2), which takes the capabilities that override a
// file's mode away as well). do gets that thread to itself, and it ends with do;
// the rest of the process goes on with root's.
func asOwner(dir string, do func() error) error {
	var st syscall.Stat_t
	if err := syscall.Lstat(dir, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFDIR {
		return fmt.Errorf("%s is not a directory", dir)
	}
	if os.Geteuid() != 0 || st.Uid == 0 {
		return do()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread does not outlive this
		err := become(st.Uid, st.Gid)
		if err != nil {
			err = fmt.Errorf("take on the rights of the owner of %s: %w", dir, err)
		} else {
			err = do()
		}
		done <- err
	}()
	return <-done
}

// become gives this thread the file rights of a user and a group, and no others.
// The system calls are made directly: the library's change every thread.
func become(uid, gid uint32) error {
	groups := [1]uint32{gid}
	if _, _, e := syscall.RawSyscall(unix.SYS_SETGROUPS, 1, uintptr(unsafe.Pointer(&groups[0])), 0); e != 0 {
		return e
	}
	unix.SetfsgidRetGid(int(gid))
	unix.SetfsuidRetUid(int(uid))
	// Neither says whether it was done, but for giving what was in force.
	g, _ := unix.SetfsgidRetGid(-1)
	u, _ := unix.SetfsuidRetUid(-1)
	if uint32(g) != gid || uint32(u) != uid {
		return errors.New("the kernel does not do it")
	}
	return nil
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
