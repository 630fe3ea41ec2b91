package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"symbiosis-connect-acl/tests/lab"
)

// The test binary is also the command.
func TestMain(m *testing.M) {
	if os.Getenv("SYMBIOSIS_CONNECT_SETUP_MAIN") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func self(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "SYMBIOSIS_CONNECT_SETUP_MAIN=1")
	return cmd
}

func try(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := self(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestUsage(t *testing.T) {
	empty := t.TempDir()
	for _, c := range []struct {
		args   string
		code   int
		stdout string
		stderr string
	}{
		{"", 0, "apply", ""},
		{"--help", 0, "status", ""},
		{"aply", 1, "", `no command "aply"`},
		{"apply now", 1, "", `apply takes no argument "now"`},
		{"apply --forse", 1, "", "-forse: see --help"},
		{"apply --root " + empty, 0, "neither Symbiosis nor Sympl", ""},
		{"check now", 2, "", `check takes no argument "now"`},
		{"check --forse", 2, "", "-forse: see --help"},
		{"apply --quiet --root " + empty, 0, "", ""},
		{"apply --dry-run --root " + empty, 0, "nothing would change", ""},
		{"remove --root " + empty, 0, "neither Symbiosis nor Sympl", ""},
		{"check --root " + empty, 0, "neither Symbiosis nor Sympl", ""},
		{"status --root " + empty, 0, "platform: none", ""},
	} {
		out, errs, code := try(t, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(out, c.stdout) || !strings.Contains(errs, c.stderr) {
			t.Errorf("%q: code %d, stdout %q, stderr %q", c.args, code, out, errs)
		}
		if c.code != 0 && (out != "" || strings.Count(errs, "\n") != 1) {
			t.Errorf("%q: an error is one line on standard error: stdout %q, stderr %q", c.args, out, errs)
		}
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func root(t *testing.T) *lab.Root {
	t.Helper()
	r := lab.NewRoot(t, lab.DefaultSuite, "symbiosis")
	source := lab.SourceDir()
	for from, to := range map[string]string{
		"symbiosis.d/.":             "/etc/exim4/symbiosis.d/",
		"patterns.d":                "/usr/share/symbiosis-connect-acl/",
		"debian/marker.conf":        "/usr/share/symbiosis-connect-acl/",
		"debian/refused-helo-names": "/usr/share/symbiosis-connect-acl/",
	} {
		if err := os.MkdirAll(r.Path(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("cp", "-r", source+"/"+from, r.Path(to)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	r.Make("exim4.conf")
	return r
}

func TestWhole(t *testing.T) {
	r := root(t)
	r.Append("etc/exim4/symbiosis.d/00-main/50-tls-options", "log_selector = +tls_sni\n")
	r.Make("exim4.conf")

	out, errs, code := try(t, "apply", "--dry-run", "--root", r.Dir)
	for _, want := range []string{
		"--- " + r.Snippet("00-main/50-tls-options") + "\n+++ ",
		"\n-log_selector = +tls_sni\n+#symbiosis-connect-acl# log_selector = +tls_sni\n",
		"--- /dev/null\n+++ " + r.Snippet("00-main/20-connect-acl-enabled"),
		"\n+CONNECT_LOG_SELECTOR_EXTRA = +tls_sni\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("dry-run lacks %q:\n%s%s", want, out, errs)
		}
	}
	if _, err := os.Stat(r.Snippet("00-main/20-connect-acl-enabled")); code != 0 || err == nil {
		t.Errorf("dry-run: code %d, and the snippet is there: %v", code, err == nil)
	}

	// Ages are by the clock that all our programs have.
	earlier := time.Now().Add(-48 * time.Hour).UTC()
	if out, errs, code = try(t, "--now", earlier.Format(time.RFC3339), "apply", "--root", r.Dir); code != 0 || !strings.Contains(out, "is in force") || errs != "" {
		t.Fatalf("apply: code %d, %s%s", code, out, errs)
	}
	if out, _, _ = try(t, "apply", "--dry-run", "--root", r.Dir); out != "nothing would change\n" {
		t.Errorf("dry-run after apply: %s", out)
	}
	if out, errs, code = try(t, "status", "--root", r.Dir); code != 0 || !strings.Contains(out, "in force: yes\n") || !strings.Contains(out, "since: "+earlier.Format(time.DateOnly)) || !strings.Contains(out, "log_selector taken over: +tls_sni") {
		t.Errorf("status: code %d, %s%s", code, out, errs)
	}
	var status map[string]any
	if out, _, code = try(t, "status", "--json", "--root", r.Dir); code != 0 || json.Unmarshal([]byte(out), &status) != nil || status["in_force"] != true {
		t.Errorf("status --json: code %d, %s", code, out)
	}
	// No Exim runs, so check has something to say.
	if out, _, code = try(t, "check", "--quiet", "--root", r.Dir); code != 2 || !strings.Contains(out, "FAIL  daemon: Exim does not run -> run: service exim4 start\n") || strings.Contains(out, "OK") {
		t.Errorf("check: code %d, %s", code, out)
	}
	var found []struct{ Level, Topic, Remedy string }
	if out, _, code = try(t, "check", "--json", "--root", r.Dir); code != 2 || json.Unmarshal([]byte(out), &found) != nil || len(found) < 10 {
		t.Errorf("check --json: code %d, %s", code, out)
	}
	if b, err := exec.Command("sqlite3", r.Path("var/lib/symbiosis/firewall-blacklist-count.db"), "create table blacklist (ip text, timestamp integer, count integer)").CombinedOutput(); err != nil {
		t.Fatalf("sqlite3: %v: %s", err, b)
	}
	later := time.Now().Add(30*24*time.Hour + time.Minute).UTC().Format(time.RFC3339)
	if out, _, _ = try(t, "--now", later, "check", "--quiet", "--root", r.Dir); !strings.Contains(out, "is empty, and was made 30 days ago") {
		t.Errorf("check 30 days later: %s", out)
	}

	// Whoever waits sees for what, in one line that is gone in the end.
	shown := atTerminal(t, "check", "--root", r.Dir)
	blank := "\r" + strings.Repeat(" ", columns-1) + "\r"
	if !strings.Contains(shown, "\rlooking at: ") || !strings.HasSuffix(shown, blank) || strings.Contains(shown, "\n") {
		t.Errorf("check shows on a terminal: %q", shown)
	}
	if _, errs, _ = try(t, "check", "--quiet", "--root", r.Dir); errs != "" {
		t.Errorf("check shows where there is no terminal: %q", errs)
	}

	r.Write("etc/exim4/symbiosis.d/00-main/95-mine", "no_such_option = 1\n", 0o644)
	if _, errs, code = try(t, "remove", "--root", r.Dir); code != exitNotRebuilt || !strings.Contains(errs, "95-mine:1") {
		t.Errorf("remove with a broken snippet: code %d, %s; want %d", code, errs, exitNotRebuilt)
	}
	_, errs, code = try(t, "apply", "--root", r.Dir)
	problem, hint, _ := strings.Cut(errs, "\n")
	if code != 1 || !strings.HasPrefix(problem, own+": error: ") || !strings.Contains(problem, "95-mine:1") || !strings.Contains(problem, "before this tool") ||
		!strings.HasPrefix(hint, own+": hint: mend that snippet") || strings.Count(hint, "\n") != 1 {
		t.Errorf("apply with a broken snippet: code %d, %s", code, errs)
	}
}

const columns = 60

// atTerminal runs the command with its messages on a terminal, and gives these.
func atTerminal(t *testing.T, args ...string) string {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must(err)
	defer master.Close()
	must(unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	must(err)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	must(err)
	must(unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}))
	cmd := self(args...)
	cmd.Stderr = slave
	must(cmd.Start())
	slave.Close()
	// The end is an error when the last writer has closed a terminal.
	shown, _ := io.ReadAll(master)
	cmd.Wait()
	return string(shown)
}

// Whoever stops a run with a signal finds everything as it was.
func TestSignal(t *testing.T) {
	r := root(t)
	stock := r.Read("etc/symbiosis/firewall/patterns.d/exim4.patterns")
	// An Exim that hangs in the second test, when our changes have been made.
	real := r.Read("usr/sbin/exim4")
	r.Write("usr/sbin/exim4.real", real, 0o755)
	r.Write("usr/sbin/exim4", "#!/bin/sh\nif grep -q '^.include_if_exists /usr/share' /etc/exim4/exim4.conf.tmp; then touch /tmp/hangs; sleep 600; fi\nexec /usr/sbin/exim4.real \"$@\"\n", 0o755)
	cmd := self("apply", "--root", r.Dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(r.Path("tmp/hangs")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			cmd.Process.Kill()
			t.Fatalf("never came to the test: %s", out.String())
		}
	}
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(out.String(), "Every file is as it was") {
		t.Errorf("code %d, %s", code, out.String())
	}
	if got := r.Read("etc/symbiosis/firewall/patterns.d/exim4.patterns"); got != stock {
		t.Errorf("the patterns are %q", got)
	}
	for _, path := range []string{"etc/exim4/symbiosis.d/00-main/20-connect-acl-enabled", "etc/exim4/exim4.conf.tmp", "var/lib/symbiosis-connect-acl"} {
		if _, err := os.Stat(r.Path(path)); err == nil {
			t.Errorf("%s is left", path)
		}
	}
}
