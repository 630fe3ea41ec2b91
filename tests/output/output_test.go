// Package output runs every option that names a file to write on what is no
// regular file, in a root of its own: /dev/null, /dev/stdout, /dev/full, a pipe.
package output

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"

	"symbiosis-connect-acl/internal/blacklist/blacklisttest"
	"symbiosis-connect-acl/tests/lab"
)

// What a command does with the file that an option names.
type use int

const (
	reads   use = iota
	output      // writes the output, which is all rows, into it, whatever it is
	small       // likewise, but the output is small
	edits       // works on it, so it must be a regular file
	answers     // likewise, but says in its output what is wrong
	zones       // writes a zone into it: see zone_test.go
)

// files are the options that name a file. A new one has to be added here.
var files = map[string]use{
	"check dnsbl --resolv-conf":   reads,
	"check host --database":       answers,
	"db add --database":           edits,
	"db check --database":         edits,
	"db delete --database":        edits,
	"db export --database":        edits,
	"db export --output":          output,
	"db import --database":        edits,
	"db list --database":          edits,
	"db maintain --database":      edits,
	"db prune --database":         edits,
	"db publish --database":       zones, // refused, whatever it is
	"db publish --key":            reads,
	"db report --log":             reads,
	"db report --output":          small,
	"db report --prometheus":      small,
	"db release --database":       edits,
	"db restore --database":       edits,
	"db show --database":          edits,
	"db stats --database":         edits,
	"db zone --database":          zones, // refused, whatever it is
	"db zone --output":            zones,
	"patterns install --file":     edits,
	"patterns install --patterns": reads,
	"patterns remove --file":      edits,
	"patterns test --log":         reads,
}

// arguments are what a command needs besides.
var arguments = map[string][]string{
	"db add":      {"--count", "1", "192.0.2.1"},
	"db delete":   {"--yes", "192.0.2.1"},
	"db import":   {"/rows.json"},
	"db report":   {"--log", "/mainlog"},
	"db release":  {"--history", "192.0.2.1"},
	"db restore":  {"/rows.json"},
	"db show":     {"192.0.2.1"},
	"db maintain": {"--verbose"},
	"check host":  {"select 1"},
}

// noFiles are the words that --help has for values that are no names of files.
// --root names the system to work on, and no file in it.
var noFiles = strings.Fields("ADDRESS CIDR COUNT DAYS DIR FORMAT HOST[:PORT] LISTS MINUTES N NAME ORDER ORIGIN SCORE TIME VARIABLE WHAT WHEN")

var commands = []string{"check", "db", "patterns", "setup"}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// root is a directory with the commands, devices, and a platform in it.
func root(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make devices")
	}
	dir := t.TempDir()
	for _, d := range []string{"bin", "dev", "proc", "tmp", "etc/exim4/symbiosis.d/00-main", "etc/symbiosis/firewall/patterns.d",
		"usr/share/symbiosis-connect-acl/patterns.d", "var/lib/symbiosis"} {
		must(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	for _, f := range []string{"etc/exim4/Makefile", "etc/exim4/symbiosis.d/00-main/30-acl-definitions"} {
		must(t, os.WriteFile(filepath.Join(dir, f), nil, 0o644))
	}
	must(t, os.WriteFile(dir+"/rows.json", []byte(`[{"ip":"192.0.2.1","timestamp":1700000000,"count":1}]`+"\n"), 0o644))
	must(t, os.WriteFile(dir+"/mainlog", nil, 0o644))
	ours, err := os.ReadFile(filepath.Join(lab.SourceDir(), "patterns.d/exim4.patterns"))
	must(t, err)
	must(t, os.WriteFile(dir+"/usr/share/symbiosis-connect-acl/patterns.d/exim4.patterns", ours, 0o644))
	must(t, blacklisttest.Generate(dir+"/var/lib/symbiosis/firewall-blacklist-count.db", blacklisttest.Spec{Seed: 1, Rows: 2000, Now: time.Now()}))
	for name, minor := range map[string]uint32{"null": 3, "full": 7} {
		must(t, unix.Mknod(dir+"/dev/"+name, unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))))
		must(t, os.Chmod(dir+"/dev/"+name, 0o666))
	}
	must(t, unix.Mkfifo(dir+"/dev/pipe", 0o600))
	must(t, os.Symlink("/proc/self/fd/1", dir+"/dev/stdout"))
	must(t, os.Symlink("/proc/self/fd", dir+"/dev/fd"))
	if f, err := os.OpenFile(dir+"/dev/null", os.O_WRONLY, 0); err != nil {
		t.Skipf("no device can be used below %s: %v", dir, err)
	} else {
		f.Close()
	}
	for _, c := range commands {
		// Static, because there is nothing else in the root.
		build := exec.Command("go", "build", "-tags", "netgo,osusergo,sqlite_omit_load_extension,urfave_cli_no_docs",
			"-ldflags", "-linkmode external -extldflags -static", "-o", dir+"/bin/", "./cmd/symbiosis-connect-"+c)
		build.Dir = lab.SourceDir()
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	return dir
}

// run runs a command in the root, with /proc there for as long as it runs.
func run(dir string, stdout any, command string, args ...string) (stderr string, code int) {
	const script = `mount -t proc proc "$0/proc" && exec chroot "$0" "$@"`
	name := "/bin/symbiosis-connect-" + command
	cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-c", script, dir, name}, args...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	switch out := stdout.(type) {
	case *os.File:
		cmd.Stdout = out
	case *bytes.Buffer:
		cmd.Stdout = out
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err.Error(), -1
	}
	return errs.String(), cmd.ProcessState.ExitCode()
}

var (
	subcommand = regexp.MustCompile(`(?m)^   ([a-z]+)  `)
	option     = regexp.MustCompile(`(?m)^   (--[a-z-]+)(?: ([^\s,]+))?(?:,|  | \[)`)
)

// options gives the options of all commands that take a value, with the word
// that --help has for it.
func options(t *testing.T, dir string) map[string]string {
	t.Helper()
	help := func(args ...string) string {
		out, err := exec.Command(dir+"/bin/symbiosis-connect-"+args[0], append(args[1:], "--help")...).Output()
		must(t, err)
		return string(out)
	}
	all := map[string]string{}
	for _, c := range commands {
		_, list, found := strings.Cut(help(c), "COMMANDS:\n")
		list, _, _ = strings.Cut(list, "\n\n")
		if !found || len(subcommand.FindAllString(list, -1)) == 0 {
			t.Fatalf("%s --help names no commands", c)
		}
		for _, sub := range subcommand.FindAllStringSubmatch(list, -1) {
			_, list, _ := strings.Cut(help(c, sub[1]), "OPTIONS:\n")
			for _, m := range option.FindAllStringSubmatch(list, -1) {
				if m[2] != "" {
					all[c+" "+sub[1]+" "+m[1]] = m[2]
				}
			}
		}
	}
	return all
}

// type and number of everything below /dev; the inodes show what was replaced.
func devices(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir + "/dev")
	must(t, err)
	for _, e := range entries {
		var st unix.Stat_t
		must(t, unix.Lstat(dir+"/dev/"+e.Name(), &st))
		all = append(all, strings.Join([]string{e.Name(), e.Type().String(), time.Duration(st.Rdev).String(), time.Duration(st.Ino).String()}, " "))
	}
	return all
}

func machineIsWell(t *testing.T) {
	t.Helper()
	if st, err := os.Lstat("/dev/null"); err != nil || st.Mode().Type() != fs.ModeDevice|fs.ModeCharDevice {
		t.Fatalf("this machine's /dev/null: %v, %v", st, err)
	}
}

func TestEveryOption(t *testing.T) {
	dir := root(t)
	defer machineIsWell(t)
	before := devices(t, dir)
	unharmed := func(what string) {
		t.Helper()
		if now := devices(t, dir); !slices.Equal(now, before) {
			t.Fatalf("%s: /dev is now %q; was %q", what, now, before)
		}
	}
	found := options(t, dir)
	for o, word := range found {
		if _, known := files[o]; !known && !slices.Contains(noFiles, word) {
			t.Errorf("%s %s is not in the list of this test: does it name a file that is written?", o, word)
		}
	}
	var rows bytes.Buffer
	if errs, code := run(dir, &rows, "db", "export"); code != 0 || rows.Len() < 10000 {
		t.Fatalf("export: %d, %s", code, errs)
	}
	for o, u := range files {
		if found[o] != "FILE" {
			t.Errorf("there is no %s FILE", o)
			continue
		}
		part := strings.Fields(o)
		with := func(file string) []string {
			return append([]string{part[1], part[2], file}, arguments[part[0]+" "+part[1]]...)
		}
		switch u {
		case edits:
			for _, file := range []string{"/dev/null", "/dev/stdout", "/dev/full", "/dev/pipe", "/proc/self/fd/1"} {
				var out bytes.Buffer
				errs, code := run(dir, &out, part[0], with(file)...)
				if code == 0 || !regexp.MustCompile(`no regular file|not a regular file|that a process has open`).MatchString(errs) {
					t.Errorf("%s %s: %d, %s", o, file, code, errs)
				}
				unharmed(o + " " + file)
			}
		case answers:
			for _, file := range []string{"/dev/null", "/dev/stdout", "/dev/full", "/dev/pipe", "/proc/self/fd/1"} {
				var out bytes.Buffer
				if errs, code := run(dir, &out, part[0], with(file)...); code != 0 || !strings.Contains(out.String(), "not a regular file") {
					t.Errorf("%s %s: %d, %s%s", o, file, code, out.String(), errs)
				}
				unharmed(o + " " + file)
			}
		case small:
			for file, writes := range map[string]bool{"/dev/null": false, "/dev/stdout": true, "/proc/self/fd/1": true} {
				var out bytes.Buffer
				if errs, code := run(dir, &out, part[0], with(file)...); code != 0 || out.Len() > 0 != writes {
					t.Errorf("%s %s: %d, %d bytes: %s", o, file, code, out.Len(), errs)
				}
				unharmed(o + " " + file)
			}
			if errs, code := run(dir, nil, part[0], with("/dev/full")...); code != 1 || !strings.Contains(errs, "no space left on device") {
				t.Errorf("%s /dev/full: %d, %s", o, code, errs)
			}
			unharmed(o + " /dev/full")
		case output:
			for _, file := range []string{"/dev/null", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"} {
				var out bytes.Buffer
				want := rows.String()
				if file == "/dev/null" {
					want = ""
				}
				if errs, code := run(dir, &out, part[0], with(file)...); code != 0 || out.String() != want {
					t.Errorf("%s %s: %d, %d bytes, want %d: %s", o, file, code, out.Len(), len(want), errs)
				}
				unharmed(o + " " + file)
			}
			if errs, code := run(dir, nil, part[0], with("/dev/full")...); code != 1 || !strings.Contains(errs, "no space left on device") {
				t.Errorf("%s /dev/full: %d, %s", o, code, errs)
			}
			unharmed(o + " /dev/full")
			read := make(chan string)
			go func() {
				data, _ := os.ReadFile(dir + "/dev/pipe")
				read <- string(data)
			}()
			if errs, code := run(dir, nil, part[0], with("/dev/pipe")...); code != 0 {
				t.Errorf("%s, a pipe: %d, %s", o, code, errs)
			}
			unharmed(o + " /dev/pipe")
			if got := <-read; got != rows.String() {
				t.Errorf("%s, a pipe: %d bytes came, want %d", o, len(got), rows.Len())
			}
			interrupted(t, dir, part[0], with("/dev/pipe"))
			unharmed(o + " /dev/pipe and a signal")
			intoOpenFiles(t, dir, part[0], with("/dev/stdout"), rows.String())
		}
	}
}

// intoOpenFiles runs a command that writes to its standard output by name,
// where that is a file that has something in it already, and a socket.
func intoOpenFiles(t *testing.T, dir, command string, args []string, want string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out")
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	_, err = f.WriteString("before\n")
	must(t, err)
	if errs, code := run(dir, f, command, args...); code != 0 {
		t.Errorf("%v into a file: %d, %s", args, code, errs)
	}
	_, err = f.WriteString("after\n")
	must(t, err)
	if data, err := os.ReadFile(path); err != nil || string(data) != "before\n"+want+"after\n" {
		t.Errorf("%v into a file: %d bytes, %v", args, len(data), err)
	}

	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	ours, its := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "its")
	defer ours.Close()
	read := make(chan string)
	go func() {
		var b bytes.Buffer
		b.ReadFrom(ours)
		read <- b.String()
	}()
	errs, code := run(dir, its, command, args...)
	its.Close()
	if got := <-read; code != 0 || got != want {
		t.Errorf("%v into a socket: %d, %d bytes, want %d: %s", args, code, len(got), len(want), errs)
	}
}

// interrupted runs a command that writes to a pipe of which nobody reads on: a
// signal ends it.
func interrupted(t *testing.T, dir, command string, args []string) {
	t.Helper()
	errs, err := os.Create(filepath.Join(t.TempDir(), "errors"))
	must(t, err)
	defer errs.Close()
	cmd := exec.Command("chroot", append([]string{dir, "/bin/symbiosis-connect-" + command}, args...)...)
	cmd.Stderr = errs
	must(t, cmd.Start())
	reader, err := os.OpenFile(dir+"/dev/pipe", os.O_RDONLY, 0) // waits until it has opened the pipe
	must(t, err)
	defer reader.Close()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if n, err := unix.IoctlGetInt(int(reader.Fd()), unix.TIOCINQ); err != nil || time.Now().After(end) {
			cmd.Process.Kill()
			t.Fatalf("the pipe does not fill: %d bytes, %v", n, err)
		} else if n > 32<<10 {
			break // it cannot come to its end any more
		}
	}
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	cmd.Wait()
	if text, err := os.ReadFile(errs.Name()); err != nil || !strings.Contains(string(text), "interrupted") || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("%v, and a signal: %v, %q, %v", args, cmd.ProcessState, text, err)
	}
}
