package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"symbiosis-connect-acl/internal/hosts"
)

// A log is a syslog daemon's end of /dev/log, which a command has that is run
// with it.
type log struct {
	t    *testing.T
	dir  string
	conn net.PacketConn
}

func listen(t *testing.T) *log {
	t.Helper()
	if _, err := exec.LookPath("unshare"); os.Getuid() != 0 || err != nil {
		if os.Getenv("CONNECT_ACL_LAB") == "require" {
			t.Fatal("a /dev of one's own needs root's rights and unshare")
		}
		t.Skip("a /dev of one's own needs root's rights and unshare")
	}
	dir, err := os.MkdirTemp("", "dev") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	conn, err := net.ListenPacket("unixgram", filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &log{t: t, dir: dir, conn: conn}
}

// run runs the command where /dev is the log's, and gives the lines that it
// sent as well.
func (l *log) run(c *exec.Cmd) (stdout, stderr string, code int, lines []string) {
	l.t.Helper()
	args := append([]string{"unshare", "-m", "--propagation", "private", "sh", "-ec", `mount --bind "$0" /dev; exec "$@"`, l.dir, c.Path}, c.Args[1:]...)
	stdout, stderr, code = finish(l.t, exec.Command(args[0], args[1:]...))
	b := make([]byte, 1<<16)
	for {
		// Whatever it sent is in the queue by now.
		l.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		n, _, err := l.conn.ReadFrom(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return stdout, stderr, code, lines
		} else if err != nil {
			l.t.Fatal(err)
		}
		lines = append(lines, string(b[:n]))
	}
}

func TestMaintainWritesOneLineToSyslog(t *testing.T) {
	s := newSite(t)
	l := listen(t)
	s.generate(2999) // none is a year old just now
	quiet := func(code int, want string, args ...string) {
		t.Helper()
		stdout, stderr, got, lines := l.run(s.command(append(args, "--writer-minutes=")...))
		if got != code || stdout != "" || (stderr != "") != (code != 0) {
			t.Errorf("%s: exit status %d, standard output %q, standard error %q", args, got, stdout, stderr)
		}
		if want == "" && len(lines) == 0 {
			return
		}
		if len(lines) != 1 || !regexp.MustCompile(want).MatchString(lines[0]) {
			t.Errorf("%s: %q does not match %s", args, lines, want)
		}
	}
	const cronInfo, cronErr = "^<78>", "^<75>"
	stdout, _, _, lines := l.run(s.command("maintain", "--dry-run", "--writer-minutes="))
	if !strings.HasPrefix(stdout, "would delete 1500 old rows of ") || len(lines) > 0 {
		t.Errorf("what is only said is no news for syslog: %q, %q", stdout, lines)
	}
	quiet(0, cronInfo+`.* connect-acl\[\d+\]: maintain: .*\.db: deleted \d\d+ old rows$`, "maintain")
	quiet(0, cronInfo+`.*: maintain: .*: deleted 0 old rows$`, "maintain")
	quiet(0, cronInfo+`.*: prune: .*: deleted \d+ old rows$`, "prune", "--retention-days", "20")

	stdout, stderr, code, lines := l.run(s.command("maintain", "--verbose", "--writer-minutes="))
	if code != 0 || stderr != "" || !strings.HasSuffix(stdout, ": deleted 0 old rows\n") || len(lines) != 1 {
		t.Errorf("exit status %d\n%s%s%q", code, stdout, stderr, lines)
	}

	if err := os.WriteFile(s.db, []byte(strings.Repeat("this is no database ", 1000)), 0o644); err != nil {
		t.Fatal(err)
	}
	quiet(3, cronErr+`.*: maintain: .*the database is corrupt`, "maintain")
	// Before the firewall's first scan there is nothing worth a line.
	if err := os.Remove(s.db); err != nil {
		t.Fatal(err)
	}
	quiet(0, "", "maintain")
}

// Cron runs sync each minute, and mails what it prints: an error that stays is
// told once an hour, whatever it is.
func TestSyncTellsAnErrorOnceAnHour(t *testing.T) {
	s := newSite(t)
	settings := filepath.Join(s.root, "etc/default/symbiosis-connect-acl")
	if err := os.MkdirAll(filepath.Dir(settings), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"CONNECT_ACL_DATABASES=$HOME/a.db\n", "CONNECT_ACL_DATABASES=a.db\n"} {
		if err := os.WriteFile(settings, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		before := time.Now().Minute()
		stdout, stderr, code := s.run("sync")
		now := time.Now().Minute()
		if code != 1 || stdout != "" || stderr != "" && before != 0 && now != 0 {
			t.Errorf("exit status %d\n%s%s", code, stdout, stderr)
		}
		if _, stderr, code := s.run("sync", "--verbose"); code != 1 || !strings.Contains(stderr, settings) {
			t.Errorf("exit status %d\n%s", code, stderr)
		}
	}
}

// A report that is added while sync runs counts once: sync must not see the one
// database with it and the other without.
func TestAddWaitsForSync(t *testing.T) {
	s := newSite(t)
	s.exec(createTable)
	path := filepath.Join(s.root, "var/lib/symbiosis-connect-acl/hosts/hosts.db")
	if err := os.MkdirAll(filepath.Dir(filepath.Dir(path)), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := hosts.Create(t.Context(), path, uint32(os.Getuid()), uint32(os.Getgid()), false); err != nil {
		t.Fatal(err)
	}
	unlock, err := hosts.Lock(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := s.command("add", "192.0.2.1", "--count", "5")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for begin, waits := time.Now(), false; !waits; {
		select {
		case err := <-ended:
			t.Fatalf("it did not wait: %v", err)
		case <-time.After(time.Millisecond):
		}
		open, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", c.Process.Pid))
		for _, fd := range open {
			to, _ := os.Readlink(fd)
			waits = waits || to == filepath.Dir(path)
		}
		if time.Since(begin) > guard {
			c.Process.Kill()
			t.Fatal("it neither waits nor ends")
		}
	}
	if n := s.number("SELECT count(*) FROM blacklist"); n != 0 {
		t.Errorf("%d rows before its turn", n)
	}
	unlock()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n := s.number("SELECT count(*) FROM blacklist"); n != 1 {
		t.Errorf("%d rows", n)
	}
}

func TestExitStatus(t *testing.T) {
	s := newSite(t)
	s.exec(createTable, threeHosts)
	for _, tt := range []struct {
		args string
		code int
		says string // on standard error
	}{
		{"list", 0, ""},
		{"check", 0, ""},
		{"show 203.0.113.1", 0, ""},
		{"delete 203.0.113.1 --yes", 0, ""},
		{"lost", 2, `there is no command "lost"`},
		{"list --colour", 2, "colour"},
		{"list --min-count many", 2, "min-count"},
		{"list 192.0.2.1", 2, `unexpected argument "192.0.2.1"`},
		{"list --top -1", 2, "--top"},
		{"show", 2, "which address"},
		{"show 192.0.2.256", 2, `"192.0.2.256" is not an IP address`},
		{"show -- --net", 2, `"--net" is not an IP address`},
		{"add 192.0.2.1", 2, "--count must be given"},
		{"add --count 5", 2, "one address"},
		{"add 192.0.2.1 --count 0", 2, "1 or more"},
		{"add 192.0.2.1 --count 5 --time 2999-01-01", 2, "yet to come"},
		{"delete 192.0.2.1", 2, "--yes"},
		{"restore", 2, "one file is needed"},
		{"export --format xml", 2, "json and csv"},
		{"stats --format csv", 2, "text and json"},
		{"list --dnsbl --lists =", 2, "--lists"},
		{"list --dnsbl --server nowhere", 2, "--server"},
		{"list --database /nowhere.db", 1, "/nowhere.db: there is no such database; look at --database"},
		{"import /nowhere.csv", 1, "/nowhere.csv: no such file"},
		{"export -o /nowhere/rows.json", 1, "/nowhere"},
	} {
		stdout, stderr, code := s.run(strings.Fields(tt.args)...)
		if code != tt.code || !strings.Contains(stderr, tt.says) || (tt.says == "") != (stderr == "") || tt.code != 0 && stdout != "" {
			t.Errorf("%s: exit status %d, want %d\n%s%s", tt.args, code, tt.code, stdout, stderr)
		}
	}
	if n := s.number("SELECT count(*) FROM blacklist"); n != 4 {
		t.Errorf("%d rows are left", n)
	}
}

// What only reads goes on beside a writer, and never asks for a lock that would
// keep one out.
func TestReadingTakesNoWriteLock(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("CONNECT_ACL_LAB") == "require" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	s := newSite(t)
	s.exec(createTable, threeHosts)
	for _, args := range []string{"list", "show 192.0.2.1", "stats", "export", "check", "delete --dry-run 192.0.2.1",
		"add --dry-run --count 3 192.0.2.1", "maintain --dry-run --writer-minutes="} {
		trace := filepath.Join(t.TempDir(), "trace")
		c := s.command(strings.Fields(args)...)
		c = exec.Command(strace, append([]string{"-f", "-qq", "-y", "-e", "trace=fcntl,openat", "-o", trace, c.Path}, c.Args[1:]...)...)
		if _, stderr, code := finish(t, c); code != 0 {
			t.Errorf("%s: exit status %d\n%s", args, code, stderr)
		}
		text, err := os.ReadFile(trace)
		if err != nil || len(text) == 0 {
			t.Fatalf("%s: no trace, %v", args, err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, filepath.Base(s.db)+">") || strings.Contains(line, filepath.Base(s.db)+"\"") {
				if strings.Contains(line, "F_WRLCK") || strings.Contains(line, "O_RDWR") || strings.Contains(line, "O_WRONLY") {
					t.Errorf("%s: %s", args, line)
				}
			}
		}
	}
}

// A minute without change reads the header of the firewall's database and
// nothing else, and a minute with one asks for no lock on it.
func TestSyncDisturbsNobody(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("CONNECT_ACL_LAB") == "require" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	s := newSite(t)
	s.generate(3000)
	path := filepath.Join(s.root, "var/lib/symbiosis-connect-acl/hosts/hosts.db")
	if err := os.MkdirAll(filepath.Dir(filepath.Dir(path)), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := hosts.Create(t.Context(), path, uint32(os.Getuid()), uint32(os.Getgid()), false); err != nil {
		t.Fatal(err)
	}
	for _, changed := range []bool{true, false} {
		trace := filepath.Join(t.TempDir(), "trace")
		c := s.command("sync", "--verbose")
		c = exec.Command(strace, append([]string{"-f", "-qq", "-y", "-e", "trace=fcntl,openat,read,pread64", "-o", trace, c.Path}, c.Args[1:]...)...)
		stdout, stderr, code := finish(t, c)
		if code != 0 || strings.HasPrefix(stdout, "nothing has changed") == changed {
			t.Errorf("exit status %d\n%s%s", code, stdout, stderr)
		}
		text, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		bytes := 0
		for line := range strings.Lines(string(text)) {
			if !strings.Contains(line, filepath.Base(s.db)) {
				continue
			}
			if strings.Contains(line, "_RDLCK") || strings.Contains(line, "_WRLCK") || strings.Contains(line, "O_RDWR") || strings.Contains(line, "O_WRONLY") {
				t.Error(line)
			}
			if m := regexp.MustCompile(`read(?:64)?\(.* = (\d+)$`).FindStringSubmatch(strings.TrimSpace(line)); m != nil {
				n, _ := strconv.Atoi(m[1])
				bytes += n
			}
		}
		if !changed && bytes != 100 {
			t.Errorf("%d bytes of the firewall's database were read", bytes)
		}
		if changed && bytes < 4096 {
			t.Errorf("the trace shows no reading: %d bytes", bytes)
		}
	}
}
