// Package exim knows the Exim configuration tree of Symbiosis and Sympl: its
// snippets, how they are built, tested and put in force, what the real Exim
// says about a candidate, and how a candidate greets a host at run time.
package exim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"symbiosis-connect-acl/internal/platform"
)

// An Installation is the Exim of one hosting system. Programs run inside the
// platform's root: through chroot(2), which needs the superuser, when it is
// not "/".
type Installation struct {
	platform.Platform
}

// Every program has a deadline, so that a hanging one cannot hold up dpkg.
const (
	buildDeadline   = 60 * time.Second
	restartDeadline = 3 * time.Minute
	// Exim tries again to take its port half a minute after it could not.
	upDeadline    = 45 * time.Second
	queryDeadline = 30 * time.Second
)

// Config gives the path of the configuration in force.
func (x Installation) Config() string { return filepath.Join(x.EximDir, "exim4.conf") }

// Draft gives the path where the Makefile builds the next configuration.
func (x Installation) Draft() string { return filepath.Join(x.EximDir, "exim4.conf.tmp") }

// Inside gives a path as programs inside the root see it.
func (x Installation) Inside(path string) string {
	if rel, err := filepath.Rel(x.Root, path); err == nil {
		return "/" + rel
	}
	return path
}

// Snippets lists the snippets that the Makefile joins, as absolute paths, in
// the order in which it joins them (the byte order of the paths).
func (x Installation) Snippets() ([]string, error) {
	var all []string
	err := filepath.WalkDir(x.SnippetDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Type().IsRegular() && ValidName(d.Name()) {
			all = append(all, path)
		}
		return nil
	})
	sort.Strings(all)
	return all, err
}

// Join builds a configuration as the Makefile does, with the content in over
// in place of a snippet's own; nil leaves the snippet out. The keys of over
// are absolute paths. It serves questions about a tree that is not on the
// disk; what is put in force, the Makefile builds.
func (x Installation) Join(over map[string][]byte) ([]byte, error) {
	paths, err := x.Snippets()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, p := range paths {
		data, ok := over[p]
		if ok && data == nil {
			continue
		}
		if !ok {
			if data, err = os.ReadFile(p); err != nil {
				return nil, err
			}
		}
		fmt.Fprintf(&b, "# ----\n# %s\n# ----\n\n%s", x.Inside(p), data)
	}
	return b.Bytes(), nil
}

// ErrNoMake says that the make program, which builds the configuration, is not
// installed.
var ErrNoMake = errors.New("make is not installed: apt-get install make")

// ErrNoExim says that there is no Exim to ask.
var ErrNoExim = errors.New("/usr/sbin/exim4 is not installed: apt-get install exim4-daemon-heavy")

func (x Installation) program(missing error, candidates ...string) (string, error) {
	for _, c := range candidates {
		if st, err := os.Stat(filepath.Join(x.Root, c)); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return c, nil
		}
	}
	return "", missing
}

// command prepares a program inside the root. The sorting of snippets and the
// language of messages depend on the locale, and the variables of a make that
// called us would change what ours does.
func (x Installation) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = x.Inside(x.EximDir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if x.Root != "/" {
		cmd.SysProcAttr.Chroot = x.Root
	}
	for _, kv := range os.Environ() {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MAKEFILES", "LANG", "LANGUAGE", "LC_ALL", "PATH", "PWD":
		default:
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "LC_ALL=C", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// A daemon that inherits our pipes must not keep us waiting for their end.
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// run runs a program to its end and gives what it wrote to both outputs.
func (x Installation) run(ctx context.Context, limit time.Duration, program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var out bytes.Buffer
	cmd := x.command(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("it did not end within %v", limit)
	}
	return out.Bytes(), err
}

func (x Installation) make(ctx context.Context, limit time.Duration, args ...string) error {
	program, err := x.program(ErrNoMake, "/usr/bin/make", "/bin/make")
	if err != nil {
		return err
	}
	if _, err := x.program(ErrNoExim, "/usr/sbin/exim4"); err != nil {
		return err
	}
	// What make writes shall be no more open than what is there, and no more
	// closed because of whoever called us.
	// The restart inherits the mask, so it is one of the usual three.
	mask, st := 0o022, syscall.Stat_t{}
	inForce := syscall.Stat(x.Config(), &st) == nil
	switch {
	case inForce && st.Mode&0o044 == 0:
		mask = 0o077
	case inForce && st.Mode&0o004 == 0:
		mask = 0o027
	}
	// Symbiosis moves with "mv -fb", which keeps the configuration before this
	// one as exim4.conf~. After remove that would be one with our rules in it,
	// in the place of the administrator's own.
	shell := fmt.Sprintf(`umask %04o; VERSION_CONTROL=none exec "$@"`, mask)
	out, err := x.run(ctx, limit, "/bin/sh", append([]string{"-c", shell, "sh", program}, args...)...)
	if now := (syscall.Stat_t{}); inForce && syscall.Stat(x.Config(), &now) == nil && now.Ino != st.Ino {
		if now.Uid != st.Uid || now.Gid != st.Gid {
			err = errors.Join(err, os.Chown(x.Config(), int(st.Uid), int(st.Gid)))
		}
	}
	if err == nil {
		return nil
	}
	if ce := x.configError(out); ce != nil {
		return ce
	}
	return fmt.Errorf("make %s in %s: %w: %s", strings.Join(args, " "), x.EximDir, err, oneLine(tail(out, 400)))
}

// BuildDraft runs "make test": it builds Draft from the snippets and lets Exim
// check its syntax. A configuration that Exim does not take gives a
// *ConfigError. No string is expanded: see Greet.
//
// The Makefile's shell loop does not notice when a snippet could not be
// written, as on a full disk, and what is left may pass Exim's test. So Draft
// is compared with the snippets.
func (x Installation) BuildDraft(ctx context.Context) error {
	err := x.make(ctx, buildDeadline, "test")
	if errors.Is(err, ErrNoMake) || errors.Is(err, ErrNoExim) {
		return err
	}
	// A draft cut short explains whatever Exim says of it.
	if short := x.complete(); short != nil {
		return short
	}
	return err
}

// complete reports a draft that lacks a snippet.
func (x Installation) complete() error {
	rest, err := os.ReadFile(x.Draft())
	if errors.Is(err, fs.ErrNotExist) {
		return nil // make has said why
	}
	if err != nil {
		return err
	}
	paths, err := x.Snippets()
	if err != nil {
		return err
	}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		// Its name stands before it; what lies between is a rule or so.
		name := []byte("# " + x.Inside(p) + "\n")
		if i := bytes.Index(rest, name); i >= 0 {
			rest = rest[i+len(name):]
		}
		i := bytes.Index(rest, data)
		if i < 0 || i > 200 {
			return fmt.Errorf("make did not write all of %s into %s: is the disk full?", p, x.Draft())
		}
		rest = rest[i+len(data):]
	}
	return nil
}

// Install builds and tests the configuration once more and moves it over
// Config, without a restart.
func (x Installation) Install(ctx context.Context) error {
	return x.make(ctx, buildDeadline, "exim4.conf")
}

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

// Check lets Exim check the syntax of the file at path, which must lie below
// the root.
func (x Installation) Check(ctx context.Context, path string) error {
	program, err := x.program(ErrNoExim, "/usr/sbin/exim4")
	if err != nil {
		return err
	}
	out, err := x.run(ctx, queryDeadline, program, "-bV", "-C", x.Inside(path))
	if err == nil {
		return nil
	}
	if ce := x.configError(out); ce != nil {
		return ce
	}
	return fmt.Errorf("exim4 -bV -C %s: %w: %s", path, err, oneLine(out))
}

// Version gives Exim's version, such as "4.96".
func (x Installation) Version(ctx context.Context) (string, error) {
	program, err := x.program(ErrNoExim, "/usr/sbin/exim4")
	if err != nil {
		return "", err
	}
	// The version is printed before the configuration is read, so a broken
	// configuration is no obstacle.
	out, err := x.run(ctx, queryDeadline, program, "-bV", "-C", "/dev/null")
	if _, rest, ok := strings.Cut(string(out), "Exim version "); ok {
		if f := strings.Fields(rest); len(f) > 0 {
			return f[0], nil
		}
	}
	if err == nil {
		err = errors.New("it names no version")
	}
	return "", fmt.Errorf("exim4 -bV: %w: %s", err, oneLine(out))
}

// bP asks Exim about the configuration at path, whose syntax must have been
// checked: Exim writes a paniclog entry when it is asked about one that it
// cannot read, and Debian sends mail about that every day.
func (x Installation) bP(ctx context.Context, path string, args ...string) (string, error) {
	args = append([]string{"-C", x.Inside(path), "-bP"}, args...)
	out, err := x.run(ctx, queryDeadline, "/usr/sbin/exim4", args...)
	if err != nil {
		return "", fmt.Errorf("exim4 %s: %w: %s", strings.Join(args, " "), err, oneLine(out))
	}
	return string(out), nil
}

// Option gives the value of a main option in the configuration at path, with
// its macros resolved, as "exim4 -bP" prints it; "" where it is not set.
func (x Installation) Option(ctx context.Context, path, name string) (string, error) {
	if err := x.Check(ctx, path); err != nil {
		return "", err
	}
	values, err := x.options(ctx, path, name)
	if err != nil {
		return "", err
	}
	return values[0], nil
}

// options asks for several options at once. It does not check the syntax.
func (x Installation) options(ctx context.Context, path string, names ...string) ([]string, error) {
	out, err := x.bP(ctx, path, names...)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != len(names) {
		return nil, fmt.Errorf("exim4 -bP %s printed %q", strings.Join(names, " "), out)
	}
	for i, name := range names {
		rest, ok := strings.CutPrefix(lines[i], name)
		if !ok {
			return nil, fmt.Errorf("exim4 -bP %s printed %q", strings.Join(names, " "), out)
		}
		value, _ := strings.CutPrefix(strings.TrimSpace(rest), "=")
		lines[i] = strings.TrimSpace(value)
	}
	return lines, nil
}

// Macros gives every macro that is in force in the configuration at path, by
// name, with the macros inside its value resolved. Built-in macros, whose
// names start with "_", are among them.
func (x Installation) Macros(ctx context.Context, path string) (map[string]string, error) {
	if err := x.Check(ctx, path); err != nil {
		return nil, err
	}
	out, err := x.bP(ctx, path, "macros")
	if err != nil {
		return nil, err
	}
	macros := map[string]string{}
	for _, line := range strings.Split(out, "\n") {
		if name, value, ok := strings.Cut(line, "="); ok {
			macros[name] = value
		}
	}
	return macros, nil
}

// A User is the account that Exim runs as.
type User struct {
	Name     string
	UID, GID uint32
}

// User gives the account of the Exim whose configuration is at path. The
// configuration's syntax must have been checked.
func (x Installation) User(ctx context.Context, path string) (User, error) {
	values, err := x.options(ctx, path, "exim_user", "exim_group")
	if err != nil {
		return User{}, err
	}
	name, group := values[0], values[1]
	// The ids are those of the root, not of the system that we run on.
	uid, err := x.id("passwd", name)
	if err != nil {
		return User{}, err
	}
	gid, err := x.id("group", group)
	if err != nil {
		return User{}, err
	}
	return User{name, uid, gid}, nil
}

func (x Installation) id(file, name string) (uint32, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	path := filepath.Join(x.Root, "etc", file)
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(data), "\n") {
		if f := strings.Split(line, ":"); len(f) > 2 && f[0] == name {
			n, err := strconv.ParseUint(f[2], 10, 32)
			return uint32(n), err
		}
	}
	return 0, fmt.Errorf("%s has no entry for %q", path, name)
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

func oneLine(out []byte) string {
	return strings.Join(strings.Fields(string(out)), " ")
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

// RunAs runs a program inside the root with the rights that Exim's own
// programs have: the user's, its one group, and no other. It gives what the
// program wrote to each output.
func (x Installation) RunAs(ctx context.Context, u User, limit time.Duration, program string, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := x.command(ctx, program, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: []uint32{u.GID}}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("it did not end within %v", limit)
	}
	return out.String(), errs.String(), err
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

// Selected reports whether a log_selector value has the selector on, for one
// that Exim has off by default. Of contradicting items the later counts.
func Selected(value, selector string) bool {
	on := false
	for _, item := range strings.Fields(strings.NewReplacer("+", " +", "-", " -").Replace(value)) {
		switch item[1:] {
		case "all", selector:
			on = item[0] == '+'
		}
	}
	return on
}
