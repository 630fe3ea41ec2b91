package safepath

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// AsUser runs do so that whatever it does with files it does with the rights of
// a user and a group, if the process is root's. These are the rights of one
// thread (setfsuid(2), which takes the capabilities that override a file's mode
// away as well). do gets that thread to itself, and it ends with do; the rest of
// the process goes on with root's.
func AsUser(uid, gid uint32, do func() error) error {
	if os.Geteuid() != 0 || uid == 0 {
		return do()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread does not outlive this
		err := become(uid, gid)
		if err != nil {
			err = fmt.Errorf("take on the rights of user %d: %w", uid, err)
		} else {
			err = do()
		}
		done <- err
	}()
	return <-done
}

// AsOwner is AsUser for the user and group whom the directory belongs to.
func (d *Dir) AsOwner(do func() error) error {
	uid, gid, err := d.Owner()
	if err != nil {
		return err
	}
	return AsUser(uint32(uid), uint32(gid), do)
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

// SetTime sets the time at which the regular file with that name was modified.
// It does not open the file: incron takes the closing of a file that was open
// for writing for a change of it.
func (d *Dir) SetTime(name string, t time.Time) error {
	st, err := d.Lstat(name)
	if err != nil {
		return err
	}
	if st.Mode().Type() == fs.ModeSymlink {
		return &LinkError{d.Path(name), cmp.Or(d.folder, d.path)}
	}
	if !st.Mode().IsRegular() {
		return &fs.PathError{Op: "utimensat", Path: d.Path(name), Err: ErrNotRegular}
	}
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(t.UnixNano())}
	if err := unix.UtimesNanoAt(int(d.f.Fd()), name, ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "utimensat", Path: d.Path(name), Err: err}
	}
	return nil
}
