package doctor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"symbiosis-connect-acl/internal/clock"
)

// hintsPatience is how long one process may hold the lock of Exim's hints before
// it is in everybody's way.
const hintsPatience = time.Second

// hints looks at what Exim remembers in its hints. Of our rules the rate on port
// 25 asks them; Exim itself, at deliveries and callouts. Whatever is wrong there,
// nobody is refused for it, but Exim can wait long.
func (d *doctor) hints() {
	spool, err := d.exim.Option(d.ctx, d.exim.Config(), "spool_directory")
	if err != nil {
		d.fail("hints", d.build(), "%v", err)
		return
	}
	dir := filepath.Join(d.Root, spool, "db")
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.warn("hints", "see that "+d.user.Name+" has its directory "+d.exim.Inside(dir), "%v", err)
		return
	}
	before := len(d.found)
	var usable []string
	for _, f := range files {
		if d.hint(filepath.Join(dir, f.Name())) {
			usable = append(usable, filepath.Join(dir, f.Name()))
		}
	}
	for path, pid := range holders(usable, hintsPatience) {
		who := "whoever wants them waits for it, up to 2 min"
		if ofRates(path) {
			who = "every connection to port 25 waits for it, up to 2 min"
		}
		d.fail("hints", "see what process it is (ps -p PID) and end it", "process %d holds Exim's hints %s: %s", pid, d.exim.Inside(path), who)
	}
	if len(d.found) == before {
		d.ok("hints", "Exim's hints, which the rate rule on port 25 asks, are in order")
	}
}

// ofRates reports whether a file of the hints is one that our rate rule asks.
func ofRates(path string) bool { return strings.Contains(filepath.Base(path), "ratelimit") }

// hint looks at one file of the hints, and reports whether Exim can use it.
func (d *doctor) hint(path string) bool {
	inside := d.exim.Inside(path)
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		return false // gone meanwhile
	}
	age := clock.Since(time.Unix(st.Mtim.Unix()))
	switch draft := strings.HasPrefix(filepath.Base(path), "__db."); {
	// What a full disk leaves behind: Berkeley DB, in Exim up to 4.98, turns in
	// circles on it, with the lock held.
	case draft && st.Size == 0 && age > hintsPatience:
		when := "each time that it wants these hints"
		if ofRates(path) {
			when = "at every connection to port 25"
		}
		d.fail("hints", "run: rm "+inside, "%s is empty, as a full disk leaves it: Exim waits 100 s %s", inside, when)
	case draft && age > time.Hour:
		d.warn("hints", "run: rm "+inside, "%s is left over from a database that was never finished", inside)
	case draft:
	case st.Mode&syscall.S_IFMT != syscall.S_IFREG || st.Uid != d.user.UID && st.Mode&0o006 != 0o006:
		effect := "Exim forgets at once what belongs there"
		if ofRates(path) {
			effect = "the rate rule asks nobody"
		}
		d.warn("hints", "run: rm "+inside, "%s cannot be used by %s: %s", inside, d.user.Name, effect)
	default:
		return true
	}
	return false
}

// holders tells which process holds a lock on each file all the time, whatever
// part of it: Berkeley DB has a file for that beside it, SQLite locks some bytes
// of its own.
func holders(paths []string, patience time.Duration) map[string]int {
	files, first := map[string]int{}, map[string]int{}
	defer func() {
		for _, fd := range files {
			unix.Close(fd)
		}
	}()
	for _, path := range paths {
		if fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err == nil {
			files[path] = fd
		}
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(patience / 50) { // between two looks at a condition
		for path, fd := range files {
			lock := unix.Flock_t{Type: unix.F_WRLCK}
			err := unix.FcntlFlock(uintptr(fd), unix.F_GETLK, &lock)
			if pid, seen := first[path]; err != nil || lock.Type == unix.F_UNLCK || seen && pid != int(lock.Pid) {
				unix.Close(fd)
				delete(files, path)
				delete(first, path)
				continue
			}
			first[path] = int(lock.Pid)
		}
		if len(files) == 0 || time.Now().After(deadline) {
			return first
		}
	}
}
