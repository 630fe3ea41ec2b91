package hosts

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
)

// becoming lets one call at a time change the rights of the process.
var becoming sync.Mutex

// asOwner runs do with the rights of the directory's owner and group, and no
// others, if the process is root's. It is the whole process that has them
// meanwhile, every thread. The real user id stays root's, so that the owner can
// neither signal nor trace it.
func asOwner(dir string, do func() error) (err error) {
	var st syscall.Stat_t
	if err := syscall.Lstat(dir, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFDIR {
		return fmt.Errorf("%s is not a directory", dir)
	}
	uid, gid := int(st.Uid), int(st.Gid)
	if os.Geteuid() != 0 || uid == 0 {
		return do()
	}
	becoming.Lock()
	defer becoming.Unlock()
	groups, err := syscall.Getgroups()
	if err != nil {
		return err
	}
	back := func() error {
		return errors.Join(syscall.Setresuid(-1, 0, -1), syscall.Setresgid(-1, 0, -1), syscall.Setgroups(groups))
	}
	if err := errors.Join(syscall.Setgroups([]int{gid}), syscall.Setresgid(-1, gid, -1), syscall.Setresuid(-1, uid, -1)); err != nil {
		return errors.Join(fmt.Errorf("take on the rights of the owner of %s: %w", dir, err), back())
	}
	defer func() {
		if e := back(); e != nil {
			panic(e) // the process has no rights that it could go on with
		}
	}()
	return do()
}
