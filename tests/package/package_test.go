// Package packaging tests the two Debian packages as files: what is in them,
// that they are built alike everywhere, and what Debian's own checkers say.
// What they do on a system is tested in tests/lifecycle.
package packaging

import (
	"bytes"
	"debug/elf"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"symbiosis-connect-acl/tests/deb"
	"symbiosis-connect-acl/tests/lab"
)

var platforms = deb.Platforms

var commands = []string{"connect-check", "connect-db", "connect-patterns", "connect-setup"}

// source is the checkout's top directory.
var source = lab.SourceDir()

func needs(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err == nil {
			continue
		}
		if os.Getenv("CONNECT_ACL_LAB") == "require" {
			t.Fatalf("this test needs %s", p)
		}
		t.Skipf("this test needs %s", p)
	}
}

func run(t testing.TB, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// built gives the path of one platform's package.
func built(t testing.TB, platform string) string {
	t.Helper()
	return deb.Build(t, platform, "")
}

func TestMain(m *testing.M) {
	code := m.Run()
	deb.Clean()
	os.Exit(code)
}

// unpack gives a directory with the package's files, and its control files
// under DEBIAN.
func unpack(t testing.TB, file string) string {
	t.Helper()
	dir := t.TempDir()
	run(t, "/", nil, "dpkg-deb", "-R", file, dir)
	return dir
}

// snippets lists the files of symbiosis.d, relative to it.
func snippets(t testing.TB) []string {
	t.Helper()
	var list []string
	tree := filepath.Join(source, "symbiosis.d")
	err := filepath.WalkDir(tree, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			rel, _ := filepath.Rel(tree, p)
			list = append(list, rel)
		}
		return err
	})
	if err != nil || len(list) == 0 {
		t.Fatal("no snippets", err)
	}
	return list
}

func TestContents(t *testing.T) {
	for _, platform := range platforms {
		t.Run(platform, func(t *testing.T) {
			dir := unpack(t, built(t, platform))
			pkg := platform + "-connect-acl"
			want := []string{
				"etc/cron.d/" + pkg,
				"etc/default/" + pkg,
				"usr/share/" + pkg + "/marker.conf",
				"usr/share/" + pkg + "/patterns.d/exim4.patterns",
				"usr/share/doc/" + pkg + "/copyright",
				"usr/share/doc/" + pkg + "/changelog.gz",
				"usr/share/doc/" + pkg + "/README.Debian",
				"usr/share/doc/" + pkg + "/NEWS.Debian.gz",
				"usr/share/man/man5/" + pkg + ".5.gz",
				"etc/" + platform + "/monit.d/connect-acl",
				"etc/logcheck/ignore.d.server/" + pkg,
			}
			for _, s := range snippets(t) {
				want = append(want, "etc/exim4/"+platform+".d/"+s)
			}
			for _, c := range commands {
				name := platform + "-" + c
				want = append(want, "usr/sbin/"+name, "usr/share/man/man8/"+name+".8.gz",
					"usr/share/bash-completion/completions/"+name)
			}
			for _, f := range want {
				if _, err := os.Stat(filepath.Join(dir, f)); err != nil {
					t.Errorf("missing: %v", err)
				}
			}
		})
	}
}

// Everything below /etc is a configuration file, or dpkg would overwrite what
// the administrator wrote there.
func TestConffiles(t *testing.T) {
	for _, platform := range platforms {
		dir := unpack(t, built(t, platform))
		data, err := os.ReadFile(filepath.Join(dir, "DEBIAN/conffiles"))
		if err != nil {
			t.Fatal(err)
		}
		listed := strings.Fields(string(data))
		var found []string
		filepath.WalkDir(filepath.Join(dir, "etc"), func(p string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				found = append(found, strings.TrimPrefix(p, dir))
			}
			return err
		})
		slices.Sort(listed)
		slices.Sort(found)
		if !slices.Equal(listed, found) {
			t.Errorf("%s: conffiles %q; files in /etc %q", platform, listed, found)
		}
	}
}

func TestOwnersAndModes(t *testing.T) {
	for _, platform := range platforms {
		for _, line := range strings.Split(strings.TrimSpace(run(t, "/", nil, "dpkg-deb", "-c", built(t, platform))), "\n") {
			f := strings.Fields(line)
			mode, owner, path := f[0], f[1], f[5]
			want := "-rw-r--r--"
			switch {
			case mode[0] == 'd', strings.Contains(path, "/sbin/"), strings.Contains(path, "/monit.d/"):
				want = mode[:1] + "rwxr-xr-x"
			case mode[0] == 'l': // a link's mode means nothing
				want = mode
			}
			if mode != want || owner != "root/root" {
				t.Errorf("%s: %s %s %s; want %s root/root", platform, path, mode, owner, want)
			}
		}
	}
}

// Debian 9's dpkg has to read the archive: no zstd.
func TestCompression(t *testing.T) {
	needs(t, "ar")
	for _, platform := range platforms {
		got := strings.Fields(run(t, "/", nil, "ar", "t", built(t, platform)))
		if want := []string{"debian-binary", "control.tar.gz", "data.tar.xz"}; !slices.Equal(got, want) {
			t.Errorf("%s: the archive has %q; want %q", platform, got, want)
		}
	}
}

// One package runs on every Debian: nothing to load, and nothing of a
// processor newer than the architecture's first.
func TestBinariesAreStatic(t *testing.T) {
	dir := unpack(t, built(t, "symbiosis"))
	for _, c := range commands {
		path := filepath.Join(dir, "usr/sbin/symbiosis-"+c)
		f, err := elf.Open(path)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
				t.Errorf("%s has a %v segment: something would have to be loaded", c, p.Type)
			}
		}
		f.Close()
	}
}

// The Sympl package says nothing of Symbiosis but the names that are the same
// on both: macros, and the snippet with the article's name.
func TestSymplNames(t *testing.T) {
	dir := unpack(t, built(t, "sympl"))
	allowed := regexp.MustCompile(`check-symbiosis-db|^(Conflicts|Maintainer): .*|^ -- .*`)
	filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.Contains(p, "/sbin/") {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if strings.HasSuffix(p, ".gz") {
			data = []byte(run(t, "/", nil, "zcat", p))
		}
		rel := strings.TrimPrefix(p, dir)
		for n, line := range strings.Split(rel+"\n"+string(data), "\n") {
			rest := allowed.ReplaceAllString(line, "")
			if strings.Contains(rest, "symbiosis") || strings.Contains(rest, "Symbiosis") {
				t.Errorf("%s:%d: %s", rel, n, line)
			}
		}
		return nil
	})
}

func TestControl(t *testing.T) {
	for i, platform := range platforms {
		file := built(t, platform)
		field := func(name string) string {
			return strings.TrimSpace(run(t, "/", nil, "dpkg-deb", "-f", file, name))
		}
		other := platforms[1-i] + "-connect-acl"
		if got := field("Conflicts"); got != other {
			t.Errorf("%s: Conflicts: %q; want %q", platform, got, other)
		}
		// Neither platform can be had from Debian's archive.
		if got := field("Depends") + field("Pre-Depends"); strings.Contains(got, "symbiosis") || strings.Contains(got, "sympl") {
			t.Errorf("%s: Depends: %q: Debian has no such package", platform, got)
		}
		if got := field("Recommends"); !strings.Contains(got, platform+"-firewall") {
			t.Errorf("%s: Recommends: %q", platform, got)
		}
		triggers, err := os.ReadFile(filepath.Join(unpack(t, file), "DEBIAN/triggers"))
		if want := "interest-noawait /etc/exim4/" + platform + ".d\n"; err != nil || string(triggers) != want {
			t.Errorf("%s: triggers %q, %v; want %q", platform, triggers, err, want)
		}
	}
}

// The manual of the macros cannot fall behind the snippet that defines them:
// each is there, with its default.
func TestMacroManual(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(source, "docs/man/symbiosis-connect-acl.5"))
	if err != nil {
		t.Fatal(err)
	}
	plain := strings.ReplaceAll(string(page), `\-`, "-")
	macro := regexp.MustCompile(`^\s*([A-Z][A-Z0-9_]+)\s*=[ \t]*(.*)$`)
	found := 0
	for _, s := range snippets(t) {
		data, err := os.ReadFile(filepath.Join(source, "symbiosis.d", s))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(data), "\n") {
			m := macro.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			found++
			name, value := m[1], strings.TrimSpace(m[2])
			entry := regexp.MustCompile(`(?m)^\.BR ` + name + ` " \((.*)\)"$`).FindStringSubmatch(plain)
			if entry == nil {
				t.Errorf("%s of %s is not in symbiosis-connect-acl(5)", name, s)
				continue
			}
			// A list of zones or words is given by its names, or in words when
			// it is empty or long.
			said := entry[1]
			switch {
			case value == "":
				if said != "none" && said != "empty" {
					t.Errorf("%s: the manual says %q; it is empty", name, said)
				}
			case said == value, said == "see below":
			default:
				for _, zone := range strings.Split(said, ", ") {
					if !strings.Contains(value, zone) {
						t.Errorf("%s: the manual says %q; it is %q", name, said, value)
					}
				}
			}
		}
	}
	if found < 5 {
		t.Errorf("only %d macros found in the snippets", found)
	}
}

// They say of which version they are, too.
func TestManualPagesHaveNoWarnings(t *testing.T) {
	needs(t, "man")
	for _, platform := range platforms {
		dir := unpack(t, built(t, platform))
		pages, _ := filepath.Glob(filepath.Join(dir, "usr/share/man/man?/*.gz"))
		if len(pages) != len(commands)+1 {
			t.Errorf("%s: %d manual pages; want %d", platform, len(pages), len(commands)+1)
		}
		for _, p := range pages {
			out := run(t, "/", []string{"LC_ALL=C.UTF-8", "MANROFFSEQ="}, "sh", "-c",
				`man --warnings -E UTF-8 -l -Tutf8 -Z "$1" 2>&1 >/dev/null`, "sh", p)
			if out != "" {
				t.Errorf("%s: %s", filepath.Base(p), out)
			}
			head := regexp.MustCompile(`(?m)^\.TH .*`).FindString(run(t, "/", nil, "zcat", p))
			if plain := strings.ReplaceAll(head, `\-`, "-"); !strings.Contains(plain, `"`+platform+"-connect-acl "+deb.Version(t, source)+`"`) {
				t.Errorf("%s is not of this version: %s", filepath.Base(p), head)
			}
		}
	}
}

// Two builds of one source, in different folders, years, time zones, locales
// and with another umask, are the same bytes, for this machine and for another.
// The second one compiles everything anew when CONNECT_ACL_LONG is set.
func TestReproducible(t *testing.T) {
	needs(t, "gcc", "make", "faketime", "dpkg-deb")
	frozen := t.TempDir() // the two must not see an edit between them
	deb.CopySource(t, source, frozen)
	first := []string{"TZ=UTC", "LC_ALL=C"}
	second := []string{"TZ=Asia/Tokyo", "LC_ALL=C.UTF-8"}
	if os.Getenv("CONNECT_ACL_LONG") != "" {
		second = append(second, "GOCACHE="+t.TempDir())
	}
	host := deb.Arch(t)
	for arch, compiler := range map[string]string{"amd64": "x86_64-linux-gnu-gcc", "arm64": "aarch64-linux-gnu-gcc"} {
		t.Run(arch, func(t *testing.T) {
			if arch != host {
				needs(t, compiler)
			}
			build := func(dir string, env []string, umask, clock string) (all []byte) {
				t.Helper()
				deb.CopySource(t, frozen, dir)
				scatterTimes(t, dir)
				run(t, dir, env, "sh", "-c", `umask `+umask+`; exec faketime "$1" make -s deb ARCH="$2"`, "sh", clock, arch)
				for _, p := range platforms {
					data, err := os.ReadFile(deb.Out(t, dir, p, deb.Version(t, dir), arch))
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, data...)
				}
				return all
			}
			a := build(filepath.Join(t.TempDir(), "a"), first, "022", "2026-12-24 12:00:00")
			b := build(filepath.Join(t.TempDir(), "some other place", "b"), second, "077", "2029-02-03 04:05:06")
			if bytes.Equal(a, b) {
				return
			}
			t.Error("the two builds differ; with CONNECT_ACL_LAB_KEEP set they are kept")
			if os.Getenv("CONNECT_ACL_LAB_KEEP") != "" {
				for name, data := range map[string][]byte{"a": a, "b": b} {
					os.WriteFile(filepath.Join(os.TempDir(), "reproducible-"+arch+"-"+name), data, 0o644)
				}
			}
		})
	}
}

// scatterTimes dates every file of a tree at random.
func scatterTimes(t testing.TB, dir string) {
	t.Helper()
	n := time.Now().UnixNano()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n = n*6364136223846793005 + 1442695040888963407
		when := time.Unix(1.5e9+(n>>1&0x7ffffff), 0)
		return os.Chtimes(p, when, when)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The binaries of the cross-built package run, on an emulated processor.
func TestArm64(t *testing.T) {
	needs(t, "aarch64-linux-gnu-gcc", "qemu-aarch64-static", "dpkg-deb")
	for _, platform := range platforms {
		file := deb.Build(t, platform, "arm64")
		if got := strings.TrimSpace(run(t, "/", nil, "dpkg-deb", "-f", file, "Architecture")); got != "arm64" {
			t.Errorf("%s: Architecture: %s", file, got)
		}
		dir := unpack(t, file)
		for _, c := range commands {
			name := platform + "-" + c
			out := run(t, "/", nil, "qemu-aarch64-static", filepath.Join(dir, "usr/sbin", name), "--help")
			if !strings.Contains(out, name) {
				t.Errorf("%s --help does not name itself: %s", name, out)
			}
		}
		// Not only the help: SQLite is the part in C.
		db := filepath.Join(t.TempDir(), "count.db")
		needs(t, "sqlite3")
		run(t, "/", nil, "sqlite3", db, "CREATE TABLE blacklist (ip TEXT NOT NULL, timestamp INTEGER NOT NULL, count INTEGER NOT NULL);"+
			"INSERT INTO blacklist VALUES ('192.0.2.1', 1, 40), ('192.0.2.1', 2, 2)")
		got := strings.TrimSpace(run(t, "/", nil, "qemu-aarch64-static", filepath.Join(dir, "usr/sbin", platform+"-connect-check"),
			"host", "--database", db, "select sum(count) n from blacklist where ip='192.0.2.1'"))
		if got != "n=42" {
			t.Errorf("%s: host: %q; want n=42", platform, got)
		}
	}
}

// Lintian has nothing to say but what an override answers, and no override is
// left over.
func TestLintian(t *testing.T) {
	needs(t, "lintian")
	for _, platform := range platforms {
		out := run(t, "/", nil, "lintian", "--allow-root", "--pedantic", "-E", "-I",
			"--fail-on", "error,warning,info,pedantic,experimental", built(t, platform))
		if strings.Contains(out, "unused-override") {
			t.Error(out)
		}
	}
}

// An override without its reason is a secret.
func TestOverridesHaveReasons(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(source, "debian/lintian-overrides"))
	if err != nil {
		t.Fatal(err)
	}
	comment := false
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		if strings.HasPrefix(line, "#") {
			comment = true
			continue
		}
		if !comment {
			t.Errorf("no comment says why: %s", line)
		}
		comment = false
	}
}

// Maintainer scripts are called with what Policy 6.5 lists and nothing else.
// A call that must do nothing has to succeed although no command of ours is
// there.
func TestMaintainerScriptCalls(t *testing.T) {
	dir := filepath.Join(unpack(t, built(t, "symbiosis")), "DEBIAN")
	for _, call := range []struct {
		script string
		args   []string
		ok     bool
	}{
		{"postinst", []string{"abort-upgrade", "0.2.0"}, true},
		{"postinst", []string{"triggered", "/etc/exim4/symbiosis.d"}, true},
		{"postinst", []string{"configure", ""}, false}, // no setup tool: dpkg has to know
		{"postinst", []string{"install"}, false},
		{"preinst", []string{"abort-upgrade", "0.2.0"}, true},
		{"preinst", []string{"configure"}, false},
		{"prerm", []string{"upgrade", "0.2.0"}, true},
		{"prerm", []string{"failed-upgrade", "0.0.9"}, true},
		{"prerm", []string{"remove"}, false},
		{"prerm", []string{"purge"}, false},
		{"postrm", []string{"remove"}, true},
		{"postrm", []string{"upgrade", "0.2.0"}, true},
		{"postrm", []string{"failed-upgrade", "0.0.9"}, true},
		{"postrm", []string{"abort-install"}, true},
		{"postrm", []string{"abort-install", "0.0.9", "0.1.0"}, true},
		{"postrm", []string{"abort-upgrade", "0.0.9", "0.1.0"}, true},
		{"postrm", []string{"disappear", "other", "1.0"}, true},
		{"postrm", []string{"configure"}, false},
	} {
		cmd := exec.Command("sh", append([]string{filepath.Join(dir, call.script)}, call.args...)...)
		cmd.Env = []string{"PATH=/usr/bin:/bin"}
		out, err := cmd.CombinedOutput()
		if (err == nil) != call.ok {
			t.Errorf("%s %q: %v; want success %v\n%s", call.script, call.args, err, call.ok, out)
		}
	}
}

// postrm takes our patterns out where prerm was not called, and follows no link
// of the user whose folder they are in.
func TestPostrmPatterns(t *testing.T) {
	const merged = "file = x\n# superseded by symbiosis-connect-acl: his\n# BEGIN symbiosis-connect-acl\nours\n# END symbiosis-connect-acl\n"
	scripts := map[string]string{}
	for _, platform := range platforms {
		script, err := os.ReadFile(filepath.Join(unpack(t, built(t, platform)), "DEBIAN", "postrm"))
		if err != nil {
			t.Fatal(err)
		}
		scripts[platform] = string(script)
	}
	for name, c := range map[string]struct {
		link   func(folder, outside string) error
		merged string
		want   string
		says   string
	}{
		"merged":    {nil, merged, "file = x\nhis\n", ""},
		"only ours": {nil, "# BEGIN symbiosis-connect-acl\nours\n# END symbiosis-connect-acl\n", "", ""},
		"a link to a file": {func(folder, outside string) error {
			return errors.Join(os.Remove(folder+"/exim4.patterns"), os.Symlink(outside+"/exim4.patterns", folder+"/exim4.patterns"))
		}, merged, merged, "symbolic link"},
		"a link to a folder": {func(folder, outside string) error {
			return errors.Join(os.RemoveAll(folder), os.Symlink(outside, folder))
		}, merged, merged, "symbolic link"},
	} {
		for _, platform := range platforms {
			t.Run(platform+"/"+name, func(t *testing.T) {
				dir, err := filepath.EvalSymlinks(t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				folder, outside := dir+"/etc/"+platform+"/firewall/patterns.d", dir+"/outside"
				tree := dir + "/etc/exim4/" + platform + ".d/00-main"
				for _, d := range []string{folder, outside, tree} {
					if err := os.MkdirAll(d, 0o755); err != nil {
						t.Fatal(err)
					}
				}
				for _, f := range []string{folder + "/exim4.patterns", outside + "/exim4.patterns", tree + "/20-connect-acl-enabled"} {
					if err := os.WriteFile(f, []byte(c.merged), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				if c.link != nil {
					if err := c.link(folder, outside); err != nil {
						t.Fatal(err)
					}
				}
				before, _ := os.Stat(outside + "/exim4.patterns")
				moved := regexp.MustCompile(`/(etc|var|run)/`).ReplaceAllString(scripts[platform], dir+"/$1/")
				out, err := exec.Command("sh", "-c", moved, "postrm", "remove").CombinedOutput()
				if err != nil || !strings.Contains(string(out), c.says) || c.says == "" && len(out) > 0 {
					t.Errorf("%v, %s; want %q", err, out, c.says)
				}
				got, err := os.ReadFile(folder + "/exim4.patterns")
				if string(got) != c.want || c.want == "" && err == nil {
					t.Errorf("%q, %v; want %q", got, err, c.want)
				}
				after, err := os.Stat(outside + "/exim4.patterns")
				if err != nil || !os.SameFile(before, after) || !after.ModTime().Equal(before.ModTime()) {
					t.Errorf("the file outside was replaced: %v", err)
				}
			})
		}
	}
}

// Completion offers what the commands have, and finds it under every name.
func TestBashCompletion(t *testing.T) {
	needs(t, "bash")
	for _, platform := range platforms {
		dir := unpack(t, built(t, platform))
		for command, want := range map[string][]string{
			"connect-check ":               {"host", "dnsbl"},
			"connect-db ma":                {"maintain"},
			"connect-db maintain --retent": {"--retention-days"},
			"connect-db sy":                {"sync"},
			"connect-patterns ":            {"install", "remove", "test"},
			"connect-setup a":              {"apply"},
			"connect-setup apply --dr":     {"--dry-run"},
			"connect-setup apply --":       {"--dry-run", "--no-restart"},
			"connect-setup status -- ":     {},
		} {
			words := strings.Split(platform+"-"+command, " ")
			file := filepath.Join(dir, "usr/share/bash-completion/completions", words[0])
			out := run(t, dir, []string{"PATH=" + filepath.Join(dir, "usr/sbin") + ":/usr/bin:/bin"}, "bash", append([]string{"-uec", `
				. "$1"; shift
				COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
				set -- $(complete -p "$1")
				while [ "$1" != -F ]; do shift; done
				"$2"
				printf "%s\n" "${COMPREPLY[@]}"`, "bash", file}, words...)...)
			if len(want) == 0 && strings.TrimSpace(out) != "" {
				t.Errorf("%q completes to %q; want nothing", words, strings.Fields(out))
			}
			for _, w := range want {
				if !slices.Contains(strings.Fields(out), w) {
					t.Errorf("%q completes to %q; want %q", words, strings.Fields(out), w)
				}
			}
		}
	}
}

// The routine line of the nightly job is ignored by logcheck, in both forms of
// time, and a failure is not.
func TestLogcheck(t *testing.T) {
	for _, platform := range platforms {
		dir := unpack(t, built(t, platform))
		rules := filepath.Join(dir, "etc/logcheck/ignore.d.server", platform+"-connect-acl")
		routine := "connect-acl[412]: maintain: /var/lib/" + platform + "/firewall-blacklist-count.db: "
		for line, ignored := range map[string]bool{
			"Nov 23 04:43:01 mail " + routine + "deleted 1 old row": true,
			"2026-11-23T04:43:01.123456+00:00 mail.example.org " + "connect-acl[412]: maintain: hosts.db: deleted 12 hosts, /var/lib/" + platform + "/firewall-blacklist-count.db: deleted 0 old rows": true,
			"Nov 23 04:43:01 mail connect-acl[412]: maintain: hosts.db: deleted 1 host after the copy was put back, because it was lost or damaged":                                                    false,
			"Nov 23 04:43:01 mail " + routine + "database disk image is malformed":                                                                                                                     false,
			"Nov 23 04:43:01 mail " + "connect-acl[9]: db: check skipped: no such table":                                                                                                               false,
		} {
			cmd := exec.Command("grep", "-qEf", rules)
			cmd.Stdin = strings.NewReader(line + "\n")
			if err := cmd.Run(); (err == nil) != ignored {
				t.Errorf("ignored is %v; want %v: %s", err == nil, ignored, line)
			}
		}
	}
}

// piuparts installs and purges each package on its platform and looks for
// everything that is left behind or was changed.
func TestPiuparts(t *testing.T) {
	needs(t, "piuparts")
	for _, platform := range platforms {
		t.Run(platform, func(t *testing.T) {
			file := built(t, platform)
			root := lab.NewRoot(t, lab.DefaultSuite, platform)
			// The root is copied file by file, where /proc/kcore would fill the
			// disk, and apt asks for package lists in the copy.
			run(t, "/", nil, "umount", root.Path("proc"))
			resolver, err := os.ReadFile("/etc/resolv.conf")
			if err != nil {
				t.Fatal(err)
			}
			root.Write("etc/resolv.conf", string(resolver), 0o644)
			// The files of a package are where they always were, whatever name
			// a merged /usr has for the place.
			out := run(t, "/", nil, "timeout", "-k", "10", "300", "piuparts", "--existing-chroot="+root.Dir, "--distribution="+lab.DefaultSuite,
				"--tmpdir="+t.TempDir(), "--no-eatmydata", "--warn-on-usr-move=disabled", "--log-level=info", file)
			if !strings.Contains(out, "PASS: Installation and purging test") {
				t.Error(out)
			}
			if !strings.Contains(out, "PASS: All tests") {
				t.Error(out)
			}
		})
	}
}
