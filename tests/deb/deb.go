// Package deb gives the tests the two Debian packages, built by the Makefile
// from what is in the source tree now.
package deb

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"symbiosis-connect-acl/tests/lab"
)

// Platforms are the hosting systems that there is a package for.
var Platforms = []string{"symbiosis", "sympl"}

// ingredients are the parts of the source tree that end up in the packages.
var ingredients = []string{"Makefile", "cmd", "debian", "docs/man", "go.mod", "go.sum", "internal", "nfpm.yaml", "patterns.d", "symbiosis.d", "tools"}

var (
	mu    sync.Mutex
	built = map[string]string{} // by architecture: the directory with copies
)

// Arch is this machine's architecture in Debian's words.
func Arch(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("dpkg", "--print-architecture").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// Version is the version that the tree in dir builds.
func Version(t testing.TB, dir string) string {
	t.Helper()
	return Versions(t, dir)[0]
}

// Out is where the tree in dir puts a package: as make deb does, each platform
// and each foreign architecture in a directory of its own.
func Out(t testing.TB, dir, platform, version, arch string) string {
	t.Helper()
	parts := []string{dir, "dist"}
	if arch != Arch(t) {
		parts = append(parts, arch)
	}
	if platform != "symbiosis" {
		parts = append(parts, platform)
	}
	return filepath.Join(append(parts, File(platform, version, arch))...)
}

// File names a package of a version, as make deb does.
func File(platform, version, arch string) string {
	return fmt.Sprintf("%s-connect-acl_%s_%s.deb", platform, version, arch)
}

// Build gives the path of one platform's package for arch ("" is this
// machine's). It builds what is older than its source, once for all tests that
// run at the same time, and gives each test program its own copies.
func Build(t testing.TB, platform, arch string) string {
	t.Helper()
	for _, p := range []string{"gcc", "make", "dpkg-deb"} {
		if _, err := exec.LookPath(p); err == nil {
			continue
		}
		if os.Getenv("CONNECT_ACL_LAB") == "require" {
			t.Fatalf("building a package needs %s", p)
		}
		t.Skipf("building a package needs %s", p)
	}
	if arch == "" {
		arch = Arch(t)
	}
	mu.Lock()
	defer mu.Unlock()
	source := lab.SourceDir()
	version := Version(t, source)
	if built[arch] == "" {
		built[arch] = build(t, source, version, arch)
	}
	return filepath.Join(built[arch], File(platform, version, arch))
}

func build(t testing.TB, source, version, arch string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(source, "build"), 0o755); err != nil {
		t.Fatal(err)
	}
	// The Makefile takes the same lock.
	lock, err := os.OpenFile(filepath.Join(source, "build/lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	newest := time.Time{}
	for _, i := range ingredients {
		filepath.WalkDir(filepath.Join(source, i), func(_ string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil // not there: the build will say so
			}
			if info, err := d.Info(); err == nil && info.ModTime().After(newest) {
				newest = info.ModTime()
			}
			return nil
		})
	}
	current := true
	for _, p := range Platforms {
		info, err := os.Stat(Out(t, source, p, version, arch))
		current = current && err == nil && info.ModTime().After(newest)
	}
	if !current {
		Make(t, source, "deb-unlocked", "ARCH="+arch)
	}
	// Not a test's own directory: it outlives the test that comes first.
	dir, err := os.MkdirTemp("", "connect-acl-debs-")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range Platforms {
		data, err := os.ReadFile(Out(t, source, p, version, arch))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, File(p, version, arch)), data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Clean removes the copies; a test program's TestMain calls it at its end.
func Clean() {
	mu.Lock()
	defer mu.Unlock()
	for arch, dir := range built {
		os.RemoveAll(dir)
		delete(built, arch)
	}
}

// Make runs the Makefile of the tree in dir.
func Make(t testing.TB, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("make", append([]string{"-s"}, args...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make %s in %s: %v\n%s", strings.Join(args, " "), dir, err, out)
	}
}

// CopySource copies the source tree, without git's data and what was built.
func CopySource(t testing.TB, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		switch rel {
		case ".git", "build", "dist":
			if !d.IsDir() {
				return nil // a worktree's .git is a file
			}
			return fs.SkipDir
		}
		switch {
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, info.Mode().Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
}
