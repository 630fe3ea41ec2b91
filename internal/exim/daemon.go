package exim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrNotUp says that the daemon was started and does not serve.
var ErrNotUp = errors.New("Exim was started and listens on no port: /var/log/exim4/mainlog and paniclog say why")

// Restart runs the Makefile's default target: as Install, then the restart as
// the platform does it. The daemon reads its configuration only when it
// starts.
func (x Installation) Restart(ctx context.Context) error {
	if err := x.make(ctx, restartDeadline); err != nil {
		return err
	}
	return x.up(ctx)
}

// up waits until the daemon that was just started listens. When it cannot, as
// at an address in local_interfaces that this machine does not have, neither
// the init script nor systemd tells: the start has succeeded by then.
func (x Installation) up(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, upDeadline)
	defer cancel()
	for {
		if pid, running := x.Running(); running && listens(pid) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ErrNotUp
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// listens reports whether the process has a socket that listens. Where that
// cannot be seen, as in some containers, it does.
func listens(pid int) bool {
	dir := fmt.Sprintf("/proc/%d/", pid)
	fds, err := os.ReadDir(dir + "fd")
	if _, e := os.Stat("/proc/self"); e != nil || errors.Is(err, fs.ErrPermission) {
		return true
	}
	own := map[string]bool{}
	for _, fd := range fds {
		if to, err := os.Readlink(dir + "fd/" + fd.Name()); err == nil {
			own[to] = true
		}
	}
	for _, table := range []string{"tcp", "tcp6"} {
		data, _ := os.ReadFile(dir + "net/" + table)
		for _, line := range strings.Split(string(data), "\n") {
			// Of the fields the fourth is the state, 0A for one that listens, and
			// the tenth the socket's number.
			if f := strings.Fields(line); len(f) > 9 && f[3] == "0A" && own["socket:["+f[9]+"]"] {
				return true
			}
		}
	}
	return false
}

// Running reports whether the Exim daemon of this root runs: by its process
// number file, or else by looking at every process, because the directory of
// that file does not outlive a restart of the machine and not every way to
// start Exim makes it.
func (x Installation) Running() (pid int, ok bool) {
	if data, err := os.ReadFile(filepath.Join(x.Root, "run/exim4/exim.pid")); err == nil {
		if pid, err = strconv.Atoi(strings.TrimSpace(string(data))); err == nil && pid > 0 && x.isDaemon(pid) {
			return pid, true
		}
	}
	all, err := os.ReadDir("/proc")
	if err != nil {
		return 0, false
	}
	for _, e := range all {
		if pid, err := strconv.Atoi(e.Name()); err == nil && x.isDaemon(pid) {
			return pid, true
		}
	}
	return 0, false
}

// isDaemon reports whether the process is an Exim of this root that listens,
// and not one of its children. Without /proc, being there has to do.
func (x Installation) isDaemon(pid int) bool {
	if _, err := os.Stat("/proc/self"); err != nil {
		err := syscall.Kill(pid, 0)
		return err == nil || errors.Is(err, syscall.EPERM)
	}
	if !isExim(pid) {
		return false
	}
	listens := false
	cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	for _, arg := range strings.Split(string(cmdline), "\x00") {
		listens = listens || arg == "-bd" || arg == "-bdf"
	}
	root, err := os.Stat(fmt.Sprintf("/proc/%d/root/", pid))
	if err != nil || !listens {
		return false
	}
	ours, err := os.Stat(x.Root)
	if err != nil || !os.SameFile(root, ours) {
		return false
	}
	return !isExim(parent(pid))
}

func isExim(pid int) bool {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return err == nil && strings.HasPrefix(string(comm), "exim4")
}

func parent(pid int) int {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	if f := strings.Fields(rest); len(f) > 1 {
		n, _ := strconv.Atoi(f[1])
		return n
	}
	return 0
}

// RestartOnly restarts the daemon as the platform does, without building
// anything.
func (x Installation) RestartOnly(ctx context.Context) error {
	program, err := x.program(errors.New("invoke-rc.d is not installed"), "/usr/sbin/invoke-rc.d")
	if err != nil {
		return err
	}
	if out, err := x.run(ctx, restartDeadline, program, "exim4", "restart"); err != nil {
		return fmt.Errorf("invoke-rc.d exim4 restart: %w: %s", err, oneLine(out))
	}
	return x.up(ctx)
}

// Started tells since when the daemon runs, to the second.
func (x Installation) Started() (time.Time, bool) {
	pid, ok := x.Running()
	if !ok {
		return time.Time{}, false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return time.Time{}, false
	}
	// proc(5): the name in parentheses may hold spaces; the start is field 22,
	// in ticks, of which Linux has 100 to the second for every program.
	_, rest, ok := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return time.Time{}, false
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	all, err := os.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}, false
	}
	for _, line := range strings.Split(string(all), "\n") {
		if text, ok := strings.CutPrefix(line, "btime "); ok {
			boot, err := strconv.ParseInt(text, 10, 64)
			return time.Unix(boot+ticks/100, 0), err == nil
		}
	}
	return time.Time{}, false
}
