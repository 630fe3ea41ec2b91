package exim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"symbiosis-connect-acl/internal/remedy"
)

// ErrNotUp says that the daemon was started and does not serve.
var ErrNotUp = errors.New("Exim was started and listens on no port: /var/log/exim4/mainlog and paniclog say why")

// ErrUnderWay says that a restart takes longer than we wait for it. It goes on
// by itself.
var ErrUnderWay = errors.New("the restart is not finished and goes on by itself")

// Restart restarts the daemon as the platform does, and waits until it listens:
// the daemon reads its configuration only when it starts. One that waits for DNS
// longer than patience gives ErrUnderWay. It is never ended half-way: Exim would be
// left stopped.
func (x Installation) Restart(ctx context.Context, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	program, err := x.program(errors.New("invoke-rc.d is not installed"), "/usr/sbin/invoke-rc.d")
	if err != nil {
		return err
	}
	cmd := x.command(context.WithoutCancel(ctx), program, "exim4", "restart")
	// A file and not a pipe: whoever writes to a pipe that we have left is ended.
	// Without one the restart says nothing.
	out, err := os.CreateTemp("", x.Package+"-restart-")
	if err == nil {
		defer out.Close()
		os.Remove(out.Name())
		cmd.Stdout, cmd.Stderr = out, out
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended, never := make(chan error, 1), time.After(restartDeadline)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			if err != nil {
				text, _ := io.ReadAll(io.NewSectionReader(out, 0, 4000))
				return fmt.Errorf("invoke-rc.d exim4 restart: %w: %s", err, oneLine(text))
			}
			return x.up(ctx, deadline)
		case <-never:
			return fmt.Errorf("invoke-rc.d exim4 restart has not ended after %v", restartDeadline)
		case <-time.After(100 * time.Millisecond):
		}
		if time.Until(deadline) < 0 && x.waitsForDNS() {
			return underWay()
		}
	}
}

// up waits until the daemon that was just started listens. When it cannot, as
// at an address in local_interfaces that this machine does not have, neither
// the init script nor systemd tells: the start has succeeded by then. One that
// waits for DNS is not waited for after the deadline.
func (x Installation) up(ctx context.Context, deadline time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, upDeadline)
	defer cancel()
	for {
		pid, running := x.Running()
		switch {
		case running && listens(pid):
			return nil
		case running && time.Until(deadline) < 0 && asksDNS(pid):
			return underWay()
		}
		select {
		case <-ctx.Done():
			return ErrNotUp
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// underWay gives ErrUnderWay with what to do.
func underWay() error {
	host, _ := os.Hostname()
	return remedy.Add(fmt.Errorf("%w: Exim waits for DNS, which it asks for the name of this machine", ErrUnderWay), "write %s into /etc/hosts", host)
}

// waitsForDNS reports whether an Exim of this root does.
func (x Installation) waitsForDNS() bool {
	all, _ := os.ReadDir("/proc")
	for _, e := range all {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && isExim(pid) && x.isInside(pid) && asksDNS(pid) {
			return true
		}
	}
	return false
}

// listens reports whether the process has a socket that listens. Where that
// cannot be seen, as in some containers, it does.
func listens(pid int) bool {
	// The fourth field is the state, 0A for one that listens.
	found, seen := socket(pid, []string{"tcp", "tcp6"}, func(f []string) bool { return f[3] == "0A" })
	return found || !seen
}

// asksDNS reports whether the process has a socket for an answer of a resolver.
func asksDNS(pid int) bool {
	// The third field is the other side, with its port.
	found, _ := socket(pid, []string{"udp", "udp6", "tcp", "tcp6"}, func(f []string) bool { return strings.HasSuffix(f[2], ":0035") })
	return found
}

// socket looks for a socket of the process in tables of /proc/net. seen is false
// where its sockets cannot be seen.
func socket(pid int, tables []string, is func(fields []string) bool) (found, seen bool) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	fds, err := os.ReadDir(dir + "fd")
	if _, e := os.Stat("/proc/self"); e != nil || errors.Is(err, fs.ErrPermission) {
		return false, false
	}
	own := map[string]bool{}
	for _, fd := range fds {
		if to, err := os.Readlink(dir + "fd/" + fd.Name()); err == nil {
			own[to] = true
		}
	}
	for _, table := range tables {
		data, _ := os.ReadFile(dir + "net/" + table)
		for _, line := range strings.Split(string(data), "\n") {
			// The tenth field is the socket's number.
			if f := strings.Fields(line); len(f) > 9 && own["socket:["+f[9]+"]"] && is(f) {
				return true, true
			}
		}
	}
	return false, true
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
	return listens && x.isInside(pid) && !isExim(parent(pid))
}

// isInside reports whether the process has this root.
func (x Installation) isInside(pid int) bool {
	root, err := os.Stat(fmt.Sprintf("/proc/%d/root/", pid))
	if err != nil {
		return false
	}
	ours, err := os.Stat(x.Root)
	return err == nil && os.SameFile(root, ours)
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
