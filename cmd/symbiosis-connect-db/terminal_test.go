package main

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"symbiosis-connect-acl/internal/blacklist/blacklisttest"
)

// guard is far beyond what anything here takes.
const guard = 30 * time.Second

// A site is a root laid out as Symbiosis is.
type site struct {
	t    *testing.T
	root string
	db   string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, root: t.TempDir()}
	if err := layOut(s.root); err != nil {
		t.Fatal(err)
	}
	s.db = filepath.Join(s.root, "var/lib/symbiosis/firewall-blacklist-count.db")
	return s
}

// exec runs statements on the database as another program would.
func (s *site) exec(statements ...string) {
	s.t.Helper()
	db, err := sql.Open("sqlite3", s.db)
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	for _, q := range statements {
		if _, err := db.Exec(times(q)); err != nil {
			s.t.Fatalf("%s: %v", q, err)
		}
	}
}

// number gives what a statement finds.
func (s *site) number(q string) (n int) {
	s.t.Helper()
	db, err := sql.Open("sqlite3", s.db)
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow(q).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *site) generate(rows int) {
	s.t.Helper()
	if err := blacklisttest.Generate(s.db, blacklisttest.Spec{Seed: 1, Rows: rows, Now: time.Now()}); err != nil {
		s.t.Fatal(err)
	}
}

// command is the real command on the site, as a process of its own.
func (s *site) command(args ...string) *exec.Cmd {
	return exec.Command("symbiosis-connect-db", append(args, "--root", s.root)...)
}

// run runs it with nothing on a terminal.
func (s *site) run(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	return finish(s.t, s.command(args...))
}

func finish(t *testing.T, c *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil && c.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

// A terminalSession is a real terminal with a process on it.
type terminalSession struct {
	t      *testing.T
	cmd    *exec.Cmd
	master *os.File
	ended  chan struct{} // everything that it showed has been read

	mu    sync.Mutex
	shown bytes.Buffer
	more  *sync.Cond
}

// onTerminal starts the command on a terminal with so many columns. Streams
// that it has set already stay off the terminal.
func onTerminal(t *testing.T, columns int, c *exec.Cmd) *terminalSession {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: uint16(columns)}); err != nil {
		t.Fatal(err)
	}
	// At an interrupt the terminal throws away what is on its way to the screen,
	// and does so after it has sent the signal: the program's last words too.
	tio, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	tio.Lflag |= unix.NOFLSH
	if err := unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, tio); err != nil {
		t.Fatal(err)
	}
	s := &terminalSession{t: t, cmd: c, master: master, ended: make(chan struct{})}
	s.more = sync.NewCond(&s.mu)
	if c.Stdin == nil {
		c.Stdin = slave
	}
	if c.Stdout == nil {
		c.Stdout = slave
	}
	if c.Stderr == nil {
		c.Stderr = slave
	}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: c.Stdin == slave}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			s.mu.Lock()
			s.shown.Write(b[:n])
			s.more.Broadcast()
			s.mu.Unlock()
			if err != nil { // EIO when the last process is gone
				return
			}
		}
	}()
	stuck := time.AfterFunc(guard, func() { c.Process.Kill() })
	t.Cleanup(func() { stuck.Stop() })
	return s
}

// expect waits until the terminal has shown text.
func (s *terminalSession) expect(text string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !strings.Contains(s.shown.String(), text) {
		select {
		case <-s.ended:
			s.t.Fatalf("the terminal never showed %q, but %q", text, s.shown.String())
		default:
		}
		s.more.Wait()
	}
}

// press types keys.
func (s *terminalSession) press(keys string) {
	s.t.Helper()
	if _, err := s.master.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// wait gives what was shown, with plain ends of lines, when the command has ended.
func (s *terminalSession) wait() (shown string, code int) {
	s.t.Helper()
	s.cmd.Wait()
	<-s.ended
	return strings.ReplaceAll(s.shown.String(), "\r\n", "\n"), s.cmd.ProcessState.ExitCode()
}

const createTable = blacklisttest.CreateTable

// threeHosts are rows of two hosts that are denied and one that is not.
const threeHosts = "INSERT INTO blacklist VALUES ('192.0.2.1',{now-9d},3), ('192.0.2.1',{now-3d},9), ('192.0.2.2',{now-5d},10), ('2001:db8:1:2::/64',{now-1d},30)"

func TestDeleteAsks(t *testing.T) {
	for _, tt := range []struct {
		name, keys string
		left, code int
		says       string
	}{
		{"y", "y\n", 2, 0, "deleted 2 rows"},
		{"yes, in any case", " Yes \n", 2, 0, "deleted 2 rows"},
		{"n", "n\n", 4, 0, "nothing was deleted"},
		{"just return", "\n", 4, 0, "nothing was deleted"},
		{"another word", "yesterday\n", 4, 0, "nothing was deleted"},
		{"end of input", "\x04", 4, 0, "nothing was deleted"},
		{"interrupted", "\x03", 4, 1, "interrupted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			s.exec(createTable, threeHosts)
			// What it says may go into a file; what it asks may not.
			out, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			c := s.command("delete", "192.0.2.1")
			c.Stdout = out
			term := onTerminal(t, 80, c)
			term.expect("delete them? [y/N] ")
			if n := s.number("SELECT count(*) FROM blacklist"); n != 4 {
				t.Errorf("%d rows are left before the answer", n)
			}
			term.press(tt.keys)
			shown, code := term.wait()
			said, err := os.ReadFile(out.Name())
			if err != nil {
				t.Fatal(err)
			}
			if code != tt.code || !strings.Contains(string(said)+shown, tt.says) || !strings.Contains(string(said), "  192.0.2.1: 2 rows, count 12\nto delete: 2 rows of 1 host\n") {
				t.Errorf("exit status %d\n%s\n%s", code, said, shown)
			}
			if n := s.number("SELECT count(*) FROM blacklist"); n != tt.left {
				t.Errorf("%d rows are left, want %d", n, tt.left)
			}
			saved, err := filepath.Glob(filepath.Join(s.root, "var/lib/symbiosis-connect-acl/*"))
			if err != nil || len(saved) != (4-tt.left)/2 {
				t.Errorf("saved are %v, %v", saved, err)
			}
			if tt.left == 4 {
				return
			}
			_, undo, _ := strings.Cut(string(said), "To undo it: ")
			if out, err := exec.Command("sh", "-c", undo).CombinedOutput(); err != nil || !strings.Contains(string(out), "stored 2 rows, 0 were") {
				t.Errorf("%s: %v\n%s", undo, err, out)
			}
			if n := s.number("SELECT count(*) FROM blacklist"); n != 4 {
				t.Errorf("%d rows after it was undone", n)
			}
		})
	}
}

func TestListFitsTheTerminal(t *testing.T) {
	s := newSite(t)
	s.exec(createTable, threeHosts)
	ports := "25\n465\n587\n993\n995\n2525\n"
	if err := os.WriteFile(filepath.Join(s.root, "etc/symbiosis/firewall/blacklist.d/192.0.2.1.auto"), []byte(ports), 0o644); err != nil {
		t.Fatal(err)
	}
	const red = "\x1b[31m"
	for _, columns := range []int{40, 60, 100, 140} {
		shown, code := onTerminal(t, columns, s.command("list")).wait()
		if code != 0 || strings.Count(shown, "\n") != 4 {
			t.Errorf("exit status %d\n%s", code, shown)
		}
		for _, line := range strings.Split(shown, "\n") {
			plain := strings.NewReplacer(red, "", "\x1b[0m", "").Replace(line)
			if len(plain) > columns {
				t.Errorf("%d columns: %q", columns, line)
			}
			if denied := strings.HasPrefix(plain, "192.0.2.1 ") || strings.HasPrefix(plain, "2001"); denied != strings.HasPrefix(line, red) {
				t.Errorf("who is denied is red, and nobody else: %q", line)
			}
		}
		if all := strings.Contains(shown, "25,465,587,993,995,2525"); all != (columns == 140) {
			t.Errorf("%d columns:\n%s", columns, shown)
		}
	}
	for _, env := range []string{"NO_COLOR=1", "TERM=dumb"} {
		c := s.command("list")
		c.Env = append(os.Environ(), env)
		if shown, _ := onTerminal(t, 80, c).wait(); strings.Contains(shown, "\x1b") || !strings.Contains(shown, "192.0.2.2") {
			t.Errorf("%s: %q", env, shown)
		}
	}
	// A program that reads the other formats wants no colour, even here.
	for _, format := range []string{"csv", "json"} {
		if shown, _ := onTerminal(t, 40, s.command("list", "--format", format)).wait(); strings.Contains(shown, "\x1b") || !strings.Contains(shown, "2001:db8:1:2::/64") {
			t.Errorf("%s: %q", format, shown)
		}
	}
	if shown, _, _ := s.run("list"); strings.Contains(shown, "\x1b") || !strings.Contains(shown, "25,465,587,993,995,2525") {
		t.Errorf("in a pipe: %q", shown)
	}
}

func TestShowFitsTheTerminal(t *testing.T) {
	s := newSite(t)
	s.exec(createTable, threeHosts)
	shown, _ := onTerminal(t, 50, s.command("show", "192.0.2.1")).wait()
	_, chart, _ := strings.Cut(shown, "\n\n")
	longest := 0
	for _, line := range strings.Split(chart, "\n") {
		longest = max(longest, len(line))
	}
	if longest < 46 || longest > 50 {
		t.Errorf("the longest bar ends at column %d of 50:\n%s", longest, shown)
	}
}
