// Package lab builds what the tests need of the real world: throwaway Debian
// roots with a real Exim in them, laid out as Symbiosis or Sympl lay them out,
// a network of two namespaces in which any address can be a client, and DNS
// servers that play the lists. It needs root, mmdebstrap and iproute2.
package lab

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Suites are the Debian releases that the package is for, with their Exims; the
// last is the next release.
var Suites = []Suite{
	{Name: "bullseye", Exim: "4.94.2"},
	{Name: "bookworm", Exim: "4.96"},
	{Name: "trixie", Exim: "4.98.2"},
	{Name: "forky", Exim: "4.100.1"},
}

// DefaultSuite is where tests run that need only one release.
const DefaultSuite = "bookworm"

// A Suite is one Debian release.
type Suite struct {
	Name string // as in /etc/os-release
	Exim string // the version of its exim4-daemon-heavy, without Debian's revision
}

// What the base roots have beyond Debian's essential packages. A change gives
// the cached roots another name. Debian installs one mail server at a time, so
// Postfix has a root of its own.
var (
	include        = []string{"exim4-daemon-heavy", "make", "cron", "logrotate"}
	includePostfix = []string{"postfix"}
	includeDovecot = append(include[:len(include):len(include)], "dovecot-core")
)

// A Root is one throwaway Debian root.
type Root struct {
	Dir      string
	Suite    Suite
	Platform string // "symbiosis", "sympl", or "" for a plain Debian
	t        testing.TB
}

// SkipUnlessReady skips the test where the machine cannot run it, and says
// what is missing. With CONNECT_ACL_LAB=require, as make test sets it, it
// fails instead: there nothing may be skipped in silence.
func SkipUnlessReady(t testing.TB) {
	t.Helper()
	missing := ""
	if os.Getuid() != 0 {
		missing = "root's rights"
	}
	for _, p := range []string{"mmdebstrap", "ip", "mount"} {
		if _, err := exec.LookPath(p); err != nil {
			missing = p
		}
	}
	switch {
	case missing == "":
	case os.Getenv("CONNECT_ACL_LAB") == "require":
		t.Fatalf("the lab needs %s", missing)
	default:
		t.Skipf("the lab needs %s", missing)
	}
}

// SuiteNamed gives the suite of that name.
func SuiteNamed(t testing.TB, name string) Suite {
	t.Helper()
	for _, s := range Suites {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no suite named %s", name)
	return Suite{}
}

func cacheDir() string {
	if d := os.Getenv("CONNECT_ACL_LAB_CACHE"); d != "" {
		return d
	}
	return "/var/cache/symbiosis-connect-acl-lab"
}

// Base makes, once per machine, the root that the throwaway ones are layers on,
// and gives its directory, in which nothing may be changed.
func Base(t testing.TB, suite Suite) string {
	t.Helper()
	return base(t, suite, include)
}

// PostfixBase does the same for a root of DefaultSuite with Debian's Postfix
// instead of Exim.
func PostfixBase(t testing.TB) string {
	t.Helper()
	return base(t, SuiteNamed(t, DefaultSuite), includePostfix)
}

func base(t testing.TB, suite Suite, include []string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(strings.Join(include, ",")))
	dir := filepath.Join(cacheDir(), fmt.Sprintf("%s-%x", suite.Name, sum[:4]))
	if err := os.MkdirAll(cacheDir(), 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close() // gives the lock back
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	t.Logf("building a Debian %s root in %s", suite.Name, dir)
	tmp := dir + ".new"
	os.RemoveAll(tmp)
	// A mirror may hold lists that nobody has renewed for weeks: for a root that is
	// thrown away they are as good.
	out, err := exec.Command("mmdebstrap", "--quiet", "--variant=apt", `--aptopt=Acquire::Check-Valid-Until "false"`,
		"--include="+strings.Join(include, ","), suite.Name, tmp).CombinedOutput()
	if err != nil {
		t.Fatalf("mmdebstrap %s: %v\n%s", suite.Name, err, out)
	}
	// No init runs in a root: daemons are started by the test that needs them.
	must(t, os.WriteFile(filepath.Join(tmp, "usr/sbin/policy-rc.d"), []byte("#!/bin/sh\nexit 101\n"), 0o755))
	must(t, os.Rename(tmp, dir))
	return dir
}

// NewRoot gives a throwaway root with Debian's Exim and, unless platform is
// "", the fixture tree of that platform laid over it, built and in force. It
// is gone when the test ends.
func NewRoot(t testing.TB, suite, platform string) *Root {
	t.Helper()
	return newRoot(t, suite, platform, include)
}

func newRoot(t testing.TB, suite, platform string, include []string) *Root {
	t.Helper()
	SkipUnlessReady(t)
	r := &Root{Suite: SuiteNamed(t, suite), Platform: platform, t: t}
	lower := base(t, r.Suite, include)
	top, err := os.MkdirTemp("", "connect-acl-root-")
	must(t, err)
	r.Dir = filepath.Join(top, "root")
	for _, d := range []string{"root", "upper", "work"} {
		must(t, os.Mkdir(filepath.Join(top, d), 0o755))
	}
	must(t, os.Chmod(top, 0o755)) // Exim's user walks through it
	if out, err := exec.Command("mount", "-t", "overlay", "overlay", "-o",
		fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", lower, top, top), r.Dir).CombinedOutput(); err != nil {
		t.Logf("no overlay here (%s): copying the root", bytes.TrimSpace(out))
		if out, err := exec.Command("cp", "-a", "--reflink=auto", lower+"/.", r.Dir).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v\n%s", err, out)
		}
	}
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("CONNECT_ACL_LAB_KEEP") != "" {
			t.Logf("kept %s", r.Dir)
			return
		}
		exec.Command("umount", "-l", filepath.Join(r.Dir, "proc")).Run()
		exec.Command("umount", "-l", r.Dir).Run()
		os.RemoveAll(top)
	})
	// dpkg's scripts and Exim look at /proc.
	if out, err := exec.Command("mount", "-t", "proc", "proc", filepath.Join(r.Dir, "proc")).CombinedOutput(); err != nil {
		t.Fatalf("mount /proc: %v\n%s", err, out)
	}
	r.Write("etc/mailname", "mail.example.org\n", 0o644)
	r.Write("etc/hosts", "127.0.0.1 localhost mail.example.org\n::1 localhost\n", 0o644)
	r.Write("etc/resolv.conf", "nameserver "+Resolver+"\n", 0o644)
	r.certificate()
	if platform != "" {
		r.layOut()
	}
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// SourceDir is the checkout's top directory.
func SourceDir() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

func (r *Root) layOut() {
	r.t.Helper()
	fixture := filepath.Join(SourceDir(), "tests", "fixture", "symbiosis")
	rename := strings.NewReplacer("symbiosis", r.Platform)
	must(r.t, filepath.WalkDir(fixture, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == fixture {
			return err
		}
		rel, err := filepath.Rel(fixture, p)
		if err != nil {
			return err
		}
		to := filepath.Join(r.Dir, rename.Replace(rel))
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return os.WriteFile(to, []byte(rename.Replace(string(data))), 0o644)
	}))
	if r.Platform == "sympl" {
		r.Append("etc/exim4/sympl.d/00-main/50-tls-options", "\nlog_selector = +tls_sni\n")
	}
	// Symbiosis gives its firewall's directory to a user of its own.
	owner := map[string]string{"symbiosis": "admin", "sympl": "sympl"}[r.Platform]
	// By hand: not every Debian has useradd among its essential packages.
	r.Append("etc/passwd", owner+":x:1000:1000::/home/"+owner+":/bin/sh\n")
	r.Append("etc/group", owner+":x:1000:\n")
	for _, d := range []string{"incoming.d", "outgoing.d", "local.d", "whitelist.d", "blacklist.d"} {
		must(r.t, os.MkdirAll(r.Path("etc", r.Platform, "firewall", d), 0o755))
	}
	r.Run("chown", "-R", owner+":"+owner, "/etc/"+r.Platform+"/firewall")
	must(r.t, os.MkdirAll(r.Path("var/lib", r.Platform), 0o755))
	r.Run("chown", "-R", "Debian-exim:Debian-exim", "/srv/example.org/mailboxes")
	r.Make("exim4.conf")
}

func (r *Root) certificate() {
	r.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(r.t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "mail.example.org"},
		DNSNames:     []string{"mail.example.org"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(30 * 24 * time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	must(r.t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(r.t, err)
	must(r.t, os.MkdirAll(r.Path("etc/ssl"), 0o755))
	r.Write("etc/ssl/ssl.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})), 0o644)
	r.Write("etc/ssl/ssl.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), 0o640)
	r.Run("chgrp", "Debian-exim", "/etc/ssl/ssl.key")
}

// Path gives the path outside of what the root calls /a/b.
func (r *Root) Path(parts ...string) string {
	return filepath.Join(append([]string{r.Dir}, parts...)...)
}

// SnippetDir is the tree of snippets, seen from inside the root.
func (r *Root) SnippetDir() string { return "/etc/exim4/" + r.Platform + ".d" }

// Snippet gives the outside path of a snippet, such as "00-main/25-logging".
func (r *Root) Snippet(name string) string { return r.Path(r.SnippetDir(), name) }

// Write makes or replaces a file of the root.
func (r *Root) Write(path, content string, mode fs.FileMode) {
	r.t.Helper()
	p := r.Path(path)
	must(r.t, os.MkdirAll(filepath.Dir(p), 0o755))
	must(r.t, os.WriteFile(p, []byte(content), mode))
	must(r.t, os.Chmod(p, mode))
}

// Append adds to a file of the root.
func (r *Root) Append(path, content string) {
	r.t.Helper()
	f, err := os.OpenFile(r.Path(path), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	must(r.t, err)
	_, err = f.WriteString(content)
	must(r.t, err)
	must(r.t, f.Close())
}

// Read gives a file of the root.
func (r *Root) Read(path string) string {
	r.t.Helper()
	b, err := os.ReadFile(r.Path(path))
	must(r.t, err)
	return string(b)
}

// Command prepares a command that runs inside the root.
func (r *Root) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("chroot", append([]string{r.Dir, name}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	return cmd
}

// Try runs a command inside the root and gives its output, standard error
// included, and its exit code.
func (r *Root) Try(name string, args ...string) (string, int) {
	r.t.Helper()
	out, err := r.Command(name, args...).CombinedOutput()
	if ee, ok := err.(*exec.ExitError); ok {
		return string(out), ee.ExitCode()
	}
	must(r.t, err)
	return string(out), 0
}

// Run runs a command inside the root, which must succeed, and gives its output.
func (r *Root) Run(name string, args ...string) string {
	r.t.Helper()
	out, code := r.Try(name, args...)
	if code != 0 {
		r.t.Fatalf("%s %s: exit code %d\n%s", name, strings.Join(args, " "), code, out)
	}
	return out
}

// Make runs the platform's Makefile.
func (r *Root) Make(target string) { r.t.Helper(); r.Run("make", "-s", "-C", "/etc/exim4", target) }

// Bh judges a connection from addr on port with exim4 -bh, without any
// network, and gives everything that Exim prints.
func (r *Root) Bh(addr string, port int) string {
	r.t.Helper()
	local := "127.0.0.1"
	if strings.Contains(addr, ":") {
		local = "::1"
	}
	cmd := r.Command("exim4", "-C", "/etc/exim4/exim4.conf", "-oMi", fmt.Sprintf("%s.%d", local, port), "-bh", addr)
	cmd.Stdin = strings.NewReader("EHLO client.example\r\nQUIT\r\n")
	out, _ := cmd.CombinedOutput()
	return string(out)
}
