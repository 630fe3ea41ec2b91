package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An Exim is a running daemon in a root and a namespace.
type Exim struct {
	Root *Root
	Net  *Net
	Env  []string // of the daemon, beside its usual environment
	cmd  *exec.Cmd
	out  *bytes.Buffer
	t    testing.TB
}

// StartExim starts the root's Exim in the foreground of the server's namespace
// and waits until it listens on all three ports.
func StartExim(t testing.TB, r *Root, n *Net) *Exim {
	t.Helper()
	e := &Exim{Root: r, Net: n, t: t}
	e.Start()
	t.Cleanup(func() {
		e.Stop()
		if t.Failed() {
			t.Logf("Exim's mainlog:\n%s", tail(e.Log(), 60))
		}
	})
	return e
}

// NewExim gives a daemon of the root, not started yet, with variables of its
// environment.
func NewExim(t testing.TB, r *Root, n *Net, env ...string) *Exim {
	return &Exim{Root: r, Net: n, Env: env, t: t}
}

// Start starts a daemon that was stopped.
func (e *Exim) Start() {
	e.t.Helper()
	inner := e.Root.Command("exim4", "-bdf", "-q5m")
	e.cmd = exec.Command("ip", append([]string{"netns", "exec", e.Net.Server}, inner.Args...)...)
	e.cmd.Env = append(inner.Env, e.Env...)
	e.out = new(bytes.Buffer)
	e.cmd.Stdout, e.cmd.Stderr = e.out, e.out
	// A group of its own, so that Stop reaches the children that serve clients.
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(e.t, e.cmd.Start())
	for _, port := range []int{25, 465, 587} {
		e.waitFor(port)
	}
}

func (e *Exim) waitFor(port int) {
	e.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		// A TCP connection that sends nothing: from a private address, so that
		// no rule counts it.
		c, err := e.Net.Dial(clientV4, port)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			e.t.Fatalf("Exim does not listen on port %d: %v\n%s", port, err, e.out)
		}
		time.Sleep(10 * time.Millisecond) // between two looks at a condition
	}
}

// Stop ends the daemon and waits for its end.
func (e *Exim) Stop() {
	if e.cmd == nil {
		return
	}
	syscall.Kill(-e.cmd.Process.Pid, syscall.SIGTERM)
	e.cmd.Wait()
	syscall.Kill(-e.cmd.Process.Pid, syscall.SIGKILL)
	e.cmd = nil
}

// Restart makes the daemon read its configuration again.
func (e *Exim) Restart() { e.t.Helper(); e.Stop(); e.Start() }

// Rebuild builds the configuration with the platform's Makefile and restarts.
func (e *Exim) Rebuild() { e.t.Helper(); e.Root.Make("exim4.conf"); e.Restart() }

// Log gives Exim's main log so far.
func (e *Exim) Log() string {
	b, err := os.ReadFile(e.Root.Path("var/log/exim4/mainlog"))
	if err != nil {
		return ""
	}
	return string(b)
}

// LogSince gives the lines that were logged after mark, which an earlier
// len(Log()) gave, as soon as one of them contains want.
func (e *Exim) LogSince(t testing.TB, mark int, want string) string {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		l := e.Log()
		if len(l) >= mark && strings.Contains(l[mark:], want) {
			return l[mark:]
		}
		if time.Now().After(deadline) {
			t.Errorf("the log has no %q; it has:\n%s", want, l[min(mark, len(l)):])
			return l[min(mark, len(l)):]
		}
		time.Sleep(5 * time.Millisecond) // between two looks at a condition
	}
}

// Serving tells how many children of the daemon are serving clients.
func (e *Exim) Serving() int {
	out, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", e.cmd.Process.Pid, e.cmd.Process.Pid))
	if err != nil {
		e.t.Fatal(err)
	}
	n := 0
	for _, pid := range strings.Fields(string(out)) {
		// One that has ended serves nobody, and a daemon can miss its end for a while.
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if _, state, ok := strings.Cut(string(stat), ") "); err == nil && ok && !strings.HasPrefix(state, "Z") {
			n++
		}
	}
	return n
}

// ClearHints forgets the rates that Exim remembers.
func (e *Exim) ClearHints() {
	e.t.Helper()
	must(e.t, os.RemoveAll(e.Root.Path("var/spool/exim4/db")))
}

func tail(s string, lines int) string {
	l := strings.SplitAfter(s, "\n")
	if len(l) > lines {
		l = append([]string{fmt.Sprintf("(%d lines before)\n", len(l)-lines)}, l[len(l)-lines:]...)
	}
	return strings.Join(l, "")
}
