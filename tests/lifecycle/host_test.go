// Package lifecycle tests what the packages do to a system: installed,
// configured, upgraded, removed, reinstalled and purged on every Debian that
// they are for, with a running Exim that real clients connect to, and with the
// accidents that happen on the way.
package lifecycle

import (
	"bufio"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"

	"symbiosis-connect-acl/tests/deb"
	"symbiosis-connect-acl/tests/lab"
)

func TestMain(m *testing.M) {
	code := m.Run()
	deb.Clean()
	for _, o := range []*older{&released, &altered} {
		if o.dir != "" {
			os.RemoveAll(o.dir)
		}
	}
	os.Exit(code)
}

// Who connects. The bad ones have a history in the database.
var (
	innocent = []string{"8.8.8.8", "2a00:1450:4009:81f::200e"}
	bad      = []string{"185.14.30.66", "2a01:7e00::66"}
)

// A host is a server with the platform on it and a running Exim.
type host struct {
	*lab.Root
	t   *testing.T
	net *lab.Net
	dns *lab.DNS
	pkg string
}

// newHost lays out a server. Its Exim is started by its own init script, so
// that "make" restarts it as on a server.
func newHost(t *testing.T, suite, platform string) *host {
	t.Helper()
	h := &host{Root: lab.NewRoot(t, suite, platform), t: t, pkg: platform + "-connect-acl"}
	h.net = lab.NewNet(t)
	h.dns = lab.StartDNS(t, h.net)
	h.Write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 0\n", 0o755) // scripts may restart Exim
	// The script rests two seconds in every restart.
	script := h.Read("etc/init.d/exim4")
	h.Write("etc/init.d/exim4", strings.Replace(script, "sleep 2", "sleep 0.1", 1), 0o755)
	h.database()
	// The platform's Makefile keeps what was in force before. This one is the
	// administrator's and stays, whatever we build.
	h.Write("etc/exim4/exim4.conf~", "# the administrator's backup\n", 0o644)
	t.Cleanup(h.killAll)
	h.run("/etc/init.d/exim4", "start")
	return h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (h *host) dbPath() string {
	return h.Path("var/lib", h.Platform, "firewall-blacklist-count.db")
}

// database makes the firewall's count database as the firewall does.
func (h *host) database() {
	h.t.Helper()
	db, err := sql.Open("sqlite3", h.dbPath())
	must(h.t, err)
	defer db.Close()
	_, err = db.Exec(`CREATE TABLE blacklist (ip TEXT NOT NULL, timestamp INTEGER NOT NULL, count INTEGER NOT NULL)`)
	must(h.t, err)
	now := time.Now().Unix()
	for _, ip := range []string{"185.14.30.66", "2a01:7e00::/64"} {
		_, err = db.Exec(`INSERT INTO blacklist VALUES (?, ?, 30), (?, ?, 3)`, ip, now, ip, now-60)
		must(h.t, err)
	}
	must(h.t, os.Chmod(h.dbPath(), 0o644))
}

// rows counts what the firewall wrote, which nobody may touch.
func (h *host) rows() (n int) {
	h.t.Helper()
	db, err := sql.Open("sqlite3", h.dbPath())
	must(h.t, err)
	defer db.Close()
	must(h.t, db.QueryRow(`SELECT count(*) FROM blacklist`).Scan(&n))
	return n
}

// try runs a command inside the root and in the server's network.
func (h *host) try(args ...string) (string, int) {
	h.t.Helper()
	return h.tryWith(nil, "", args...)
}

func (h *host) tryWith(env []string, stdin string, args ...string) (string, int) {
	h.t.Helper()
	inner := h.Command(args[0], args[1:]...)
	// "ip netns exec" would also make a mount namespace for each command, in
	// which another's root directory looks like another place.
	cmd := exec.Command("nsenter", append([]string{"--net=/run/netns/" + h.net.Server}, inner.Args...)...)
	cmd.Env = append(inner.Env, env...)
	cmd.Stdin = strings.NewReader(stdin)
	// A file and not a pipe: a daemon that is started may hold it open.
	out, err := os.CreateTemp(h.t.TempDir(), "out")
	must(h.t, err)
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	text, readErr := os.ReadFile(out.Name())
	must(h.t, readErr)
	if ee, ok := err.(*exec.ExitError); ok {
		return string(text), ee.ExitCode()
	}
	must(h.t, err)
	return string(text), 0
}

// run runs a command that must succeed.
func (h *host) run(args ...string) string {
	h.t.Helper()
	out, code := h.try(args...)
	if code != 0 {
		h.t.Fatalf("%s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// fail runs a command that must not succeed.
func (h *host) fail(args ...string) string {
	h.t.Helper()
	out, code := h.try(args...)
	if code == 0 {
		h.t.Fatalf("%s succeeded\n%s", strings.Join(args, " "), out)
	}
	return out
}

// put copies a package into the root and gives its path there.
func (h *host) put(file string) string {
	h.t.Helper()
	data, err := os.ReadFile(file)
	must(h.t, err)
	inside := "/root/" + filepath.Base(file)
	h.Write(inside, string(data), 0o644)
	return inside
}

func (h *host) current() string  { h.t.Helper(); return h.put(deb.Build(h.t, h.Platform, "")) }
func (h *host) previous() string { h.t.Helper(); return h.put(previousPackage(h.t, h.Platform)) }
func (h *host) altered() string  { h.t.Helper(); return h.put(alteredPackage(h.t, h.Platform)) }

// dpkg installs as apt does for a machine that nobody watches: where the
// administrator has edited a file, the edited one stays.
func (h *host) dpkg(args ...string) string {
	h.t.Helper()
	return h.run(append([]string{"dpkg", "--force-confdef", "--force-confold"}, args...)...)
}

func (h *host) pid() int {
	data, err := os.ReadFile(h.Path("run/exim4/exim.pid"))
	if err != nil {
		return 0
	}
	var pid int
	fmt.Sscan(string(data), &pid)
	if pid > 0 && syscall.Kill(pid, 0) != nil {
		return 0
	}
	return pid
}

// killAll ends whatever still runs in the root.
func (h *host) killAll() {
	for running := true; running; {
		running = false
		procs, _ := filepath.Glob("/proc/[0-9]*")
		for _, p := range procs {
			if root, err := os.Readlink(p + "/root"); err == nil && root == h.Dir {
				var pid int
				fmt.Sscan(filepath.Base(p), &pid)
				running = syscall.Kill(pid, syscall.SIGKILL) == nil || running
			}
		}
	}
}

// stop ends the daemon and waits for its end.
func (h *host) stop() {
	pid := h.pid()
	if pid == 0 {
		return
	}
	syscall.Kill(pid, syscall.SIGTERM)
	for deadline := time.Now().Add(20 * time.Second); syscall.Kill(pid, 0) == nil && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond) // between two looks at a condition
	}
}

// greet connects from an address and gives the first line of the reply.
func (h *host) greet(from string, port int) string {
	h.t.Helper()
	var conn interface {
		Close() error
		SetDeadline(time.Time) error
		Read([]byte) (int, error)
		Write([]byte) (int, error)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		c, err := h.net.Dial(from, port)
		if err == nil {
			conn = c
			break
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("Exim does not listen on port %d: %v", port, err)
		}
		time.Sleep(10 * time.Millisecond) // between two looks at a condition
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil && line == "" {
		return "no reply: " + err.Error()
	}
	fmt.Fprint(conn, "QUIT\r\n")
	return strings.TrimSpace(line)
}

// bh imagines a connection to a port. Unlike a real one it is never delayed.
func (h *host) bh(from string, port int) string {
	h.t.Helper()
	local := lab.ServerV4
	if strings.Contains(from, ":") {
		local = lab.ServerV6
	}
	out, _ := h.tryWith(nil, "QUIT\r\n", "exim4", "-oMi", fmt.Sprintf("%s.%d", local, port), "-bh", from)
	return out
}

// serves checks that the configuration in force is valid, that the tree
// builds, that the running Exim lets innocent hosts in, and that it refuses
// bad ones exactly if the rules are in force.
func (h *host) serves(step string, protected bool) {
	h.t.Helper()
	h.run("make", "-s", "-C", "/etc/exim4", "test")
	must(h.t, os.RemoveAll(h.Path("etc/exim4/exim4.conf.tmp")))
	h.judges(step, protected)
}

// judges is serves where the tree itself may be broken.
func (h *host) judges(step string, protected bool) {
	h.t.Helper()
	h.run("exim4", "-bV", "-C", "/etc/exim4/exim4.conf")
	// After an upgrade from a release without hosts.db history refuses nobody on
	// the users' ports for some days. This is about what comes then.
	if _, err := os.Stat(h.Path(h.HostsDatabase())); err == nil {
		h.Hosts("delete from state where name = 'lost';")
	}
	// Exim counts imagined connections as well: a test that has many steps would
	// make its innocent hosts busy senders.
	must(h.t, os.RemoveAll(h.Path("var/spool/exim4/db")))
	for _, from := range innocent {
		if got := h.greet(from, 587); lab.Code(got) != "220" {
			h.t.Errorf("%s: innocent %s: %q", step, from, got)
		}
		for _, port := range []int{25, 465} {
			if out := h.bh(from, port); !strings.Contains(out, "\n220 ") && !strings.HasPrefix(out, "220 ") {
				h.t.Errorf("%s: innocent %s on port %d: %s", step, from, port, out)
			}
		}
	}
	want := "220"
	if protected {
		want = "550"
	}
	for _, from := range bad {
		if got := h.greet(from, 587); lab.Code(got) != want {
			h.t.Errorf("%s: bad %s: %q; want %s", step, from, got, want)
		}
	}
	if got := h.rows(); got != 4 {
		h.t.Errorf("%s: the database has %d rows; want 4", step, got)
	}
}

// A snapshot describes every file of the places that the package may change.
type snapshot map[string]string

func (h *host) snapshot() snapshot {
	h.t.Helper()
	s := snapshot{}
	for _, top := range []string{"etc", "srv", "root", "usr/sbin", "usr/share", "usr/lib", "usr/bin", "var/lib/" + h.Platform, "var/lib/" + h.pkg, "var/log", "var/cache", "var/spool/cron"} {
		err := filepath.WalkDir(h.Path(top), func(p string, d fs.DirEntry, err error) error {
			if os.IsNotExist(err) {
				return nil
			}
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(h.Dir, p)
			info, err := d.Info()
			if err != nil {
				return err
			}
			st := info.Sys().(*syscall.Stat_t)
			text := fmt.Sprintf("%v %d:%d", info.Mode(), st.Uid, st.Gid)
			switch {
			case strings.HasPrefix(rel, "root/"), strings.HasPrefix(rel, "var/log/"), strings.HasPrefix(rel, "var/cache/debconf/"),
				strings.HasPrefix(rel, "var/cache/ldconfig"), rel == "etc/exim4/exim4.conf.tmp",
				strings.HasPrefix(rel, "var/lib/"+h.pkg+"/hosts/"):
				// packages to install, logs, what dpkg and make do for themselves, and
				// what Exim remembers
				return nil
			case rel == "var/lib/"+h.Platform+"/firewall-blacklist-count.db", rel == "var/lib/"+h.pkg+"/state.json":
				// An index that goes is one change, the time of day in the state another.
			case d.Type().IsRegular():
				if strings.HasPrefix(rel, "usr/") && st.Dev != 0 && info.Size() > 1<<20 {
					text += fmt.Sprint(" ", info.Size(), info.ModTime().Unix())
					break
				}
				data, err := os.ReadFile(p)
				if err != nil {
					return err
				}
				text += fmt.Sprintf(" %x", sha256.Sum256(data))
			case d.Type()&fs.ModeSymlink != 0:
				to, err := os.Readlink(p)
				if err != nil {
					return err
				}
				text += " -> " + to
			}
			s[rel] = text
			return nil
		})
		must(h.t, err)
	}
	return s
}

// changes lists what differs between two snapshots, but for the paths that
// allowed lets pass.
func changes(before, after snapshot, allowed func(path string) bool) []string {
	var list []string
	for _, p := range slices.Sorted(maps.Keys(after)) {
		if allowed != nil && allowed(p) {
			continue
		}
		switch old, ok := before[p]; {
		case !ok:
			list = append(list, "new: "+p)
		case old != after[p]:
			list = append(list, "changed: "+p+" ("+old+" became "+after[p]+")")
		}
	}
	for _, p := range slices.Sorted(maps.Keys(before)) {
		if _, ok := after[p]; !ok && (allowed == nil || !allowed(p)) {
			list = append(list, "gone: "+p)
		}
	}
	return list
}

func (h *host) same(step string, before snapshot, allowed func(path string) bool) {
	h.t.Helper()
	if c := changes(before, h.snapshot(), allowed); len(c) > 0 {
		h.t.Errorf("%s:\n%s", step, strings.Join(c, "\n"))
	}
}

// conffiles lists the configuration files of the installed package, without
// the leading slash.
func (h *host) conffiles() []string {
	h.t.Helper()
	var list []string
	for _, line := range strings.Split(h.run("dpkg-query", "-W", "-f", "${Conffiles}\n", h.pkg), "\n") {
		if f := strings.Fields(line); len(f) == 2 {
			list = append(list, strings.TrimPrefix(f[0], "/"))
		}
	}
	if len(list) == 0 {
		h.t.Fatal("the package has no configuration files")
	}
	return list
}

// within allows the given paths, their parents that are directories of the
// package, and nothing else.
func within(paths ...string) func(string) bool {
	return func(p string) bool {
		for _, allowed := range paths {
			if p == allowed || strings.HasPrefix(p, strings.TrimSuffix(allowed, "/")+"/") && strings.HasSuffix(allowed, "/") ||
				strings.HasPrefix(allowed, p+"/") {
				return true
			}
		}
		return false
	}
}

// An older release is built once for all the tests of a run.
type older struct {
	mu   sync.Mutex
	dir  string
	debs map[string]string // by platform
}

var released, altered older

// build gives the package of one platform, made of the source that layOut puts
// into a directory.
func (o *older) build(t *testing.T, platform string, layOut func(dir string)) string {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.debs == nil {
		dir, err := os.MkdirTemp("", "connect-acl-older-")
		must(t, err)
		o.dir = dir
		layOut(dir)
		version := deb.Version(t, dir)
		deb.Make(t, dir, "deb")
		o.debs = map[string]string{}
		for _, p := range deb.Platforms {
			o.debs[p] = deb.Out(t, dir, p, version, deb.Arch(t))
		}
	}
	return o.debs[platform]
}

// previousPackage gives the package of the release before this one, built from
// the commit that released it. Where git does not know that commit, as in an
// unpacked tarball, alteredPackage has to do.
func previousPackage(t *testing.T, platform string) string {
	t.Helper()
	return released.build(t, platform, func(dir string) {
		t.Helper()
		source := lab.SourceDir()
		versions := deb.Versions(t, source)
		if len(versions) > 1 {
			commit, err := deb.CopyRelease(source, versions[1], dir)
			if err == nil {
				t.Logf("the previous release is %s, commit %s", versions[1], commit)
				return
			}
			t.Logf("the source of %s cannot be had: %v", versions[1], err)
		}
		t.Log("the previous release stands in as this source with every configuration file altered")
		layOutAltered(t, dir)
	})
}

// alteredPackage gives a package of this source under a lower version, in which
// every configuration file differs from the present one.
func alteredPackage(t *testing.T, platform string) string {
	t.Helper()
	return altered.build(t, platform, func(dir string) { t.Helper(); layOutAltered(t, dir) })
}

func layOutAltered(t *testing.T, dir string) {
	t.Helper()
	deb.CopySource(t, lab.SourceDir(), dir)
	edit := func(path string, change func(string) string) {
		t.Helper()
		data, err := os.ReadFile(path)
		must(t, err)
		must(t, os.WriteFile(path, []byte(change(string(data))), 0o644))
	}
	version := "(" + deb.Version(t, dir)
	edit(filepath.Join(dir, "debian/changelog"), func(s string) string { return strings.Replace(s, version, version+"~", 1) })
	files := []string{"cron.d", "default", "logcheck.ignore.server", "monit"}
	for i, f := range files {
		files[i] = filepath.Join(dir, "debian", f)
	}
	must(t, filepath.WalkDir(filepath.Join(dir, "symbiosis.d"), func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, p)
		}
		return err
	}))
	for _, f := range files {
		edit(f, func(s string) string { return s + "# As the release before this one said it.\n" })
	}
}
