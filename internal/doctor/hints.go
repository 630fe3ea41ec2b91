package doctor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// hintsPatience is how long one process may hold the lock of Exim's hints before
// it is in everybody's way.
const hintsPatience = time.Second

// hints looks at what Exim remembers of rates, which the rate rule on port 25
// asks. Whatever is wrong there, nobody is refused for it, but Exim can wait
// long.
func (d *doctor) hints() {
	spool, err := d.exim.Option(d.ctx, d.exim.Config(), "spool_directory")
	if err != nil {
		d.fail("hints", d.build(), "%v", err)
		return
	}
	dir := filepath.Join(d.Root, spool, "db")
	inside := func(name string) string { return d.exim.Inside(filepath.Join(dir, name)) }
	// What a full disk leaves behind: Berkeley DB, in Exim up to 4.98, turns in
	// circles on it, with the lock held.
	const draft = "__db.ratelimit"
	if st, err := os.Lstat(filepath.Join(dir, draft)); err == nil && st.Size() == 0 && time.Since(st.ModTime()) > hintsPatience {
		d.fail("hints", "run: rm "+inside(draft), "%s is empty, as a full disk leaves it: Exim waits 100 s at every connection to port 25", inside(draft))
		return
	}
	for _, name := range []string{"ratelimit", "ratelimit.lockfile"} {
		var st syscall.Stat_t
		err := syscall.Lstat(filepath.Join(dir, name), &st)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			d.warn("hints", "see that "+d.user.Name+" has its directory "+inside(""), "%s: %v", inside(name), err)
			return
		case st.Mode&syscall.S_IFMT != syscall.S_IFREG || st.Uid != d.user.UID && st.Mode&0o006 != 0o006:
			d.warn("hints", "run: rm "+inside(name), "%s cannot be used by %s: the rate rule asks nobody", inside(name), d.user.Name)
			return
		}
	}
	if pid := holder(filepath.Join(dir, "ratelimit.lockfile"), hintsPatience); pid > 0 {
		d.fail("hints", "see what process it is (ps "+"-p PID) and end it", "process %d holds Exim's hints: every connection to port 25 waits for it, up to 2 min", pid)
		return
	}
	d.ok("hints", "Exim's hints, which the rate rule on port 25 asks, are in order")
}

// holder tells which process holds the lock on a file all the time; 0 for none.
func holder(path string, patience time.Duration) int {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	first := 0
	for deadline := time.Now().Add(patience); ; time.Sleep(patience / 50) { // between two looks at a condition
		lock := unix.Flock_t{Type: unix.F_WRLCK}
		if unix.FcntlFlock(uintptr(fd), unix.F_GETLK, &lock) != nil || lock.Type == unix.F_UNLCK {
			return 0
		}
		if first == 0 {
			first = int(lock.Pid)
		}
		if int(lock.Pid) != first {
			return 0
		}
		if time.Now().After(deadline) {
			return first
		}
	}
}
