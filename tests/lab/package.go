package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
)

var buildOnce = sync.OnceValues(func() (string, error) {
	if d := os.Getenv("CONNECT_ACL_DIST"); d != "" {
		return d, nil // make has built them already
	}
	// Several test programs run at once; they must not build over each other.
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "connect-acl-build.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	cmd := exec.Command("make", "-s", "deb")
	cmd.Dir = SourceDir()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), err
	}
	return filepath.Join(SourceDir(), "dist"), nil
})

// Package gives the path of the .deb of a platform for this machine's
// architecture, built if need be.
func Package(t testing.TB, platform string) string {
	t.Helper()
	dist, err := buildOnce()
	if err != nil {
		t.Fatalf("make deb: %v\n%s", err, dist)
	}
	if platform != "symbiosis" {
		dist = filepath.Join(dist, platform) // the two exclude each other
	}
	found, err := filepath.Glob(filepath.Join(dist, platform+"-connect-acl_*_"+runtime.GOARCH+".deb"))
	if err != nil || len(found) != 1 {
		t.Fatalf("packages of %s in %s: %v, %v; want one", platform, dist, found, err)
	}
	return found[0]
}

// Install installs the platform's package with dpkg, as an administrator does,
// and gives what that prints.
func (r *Root) Install() string {
	r.t.Helper()
	deb := Package(r.t, r.Platform)
	data, err := os.ReadFile(deb)
	must(r.t, err)
	inside := "/tmp/" + filepath.Base(deb)
	r.Write(inside, string(data), 0o644)
	return r.Run("dpkg", "--install", inside)
}

// Local writes the administrator's own snippet of macro values, which is how
// the documentation tells them to change a number.
func (r *Root) Local(lines ...string) {
	r.t.Helper()
	r.Write(filepath.Join(r.SnippetDir(), "00-main/22-connect-check-local"), strings.Join(lines, "\n")+"\n", 0o644)
}
