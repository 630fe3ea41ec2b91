package deb

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A history has three releases; each version's last commit is the release,
// unless a tag says otherwise.
func TestCopyRelease(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("this test needs git")
	}
	repo := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Dir = repo
		cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org",
			"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org", "GIT_CONFIG_GLOBAL=/dev/null")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(repo, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	changelog := ""
	commit := func(version, what string) {
		t.Helper()
		if !strings.HasPrefix(changelog, "p ("+version+")") {
			changelog = "p (" + version + ") unstable; urgency=low\n\n  * x\n\n" + changelog
			write("debian/changelog", changelog)
		}
		write("what", what)
		run("add", "-A")
		run("commit", "-q", "-m", what)
	}
	run("init", "-q", "-b", "main")
	commit("0.1.0", "first")
	commit("0.1.0", "first, ready")
	commit("0.2.0", "second")
	changelog = strings.Replace(changelog, "* x", "* x\n  * y", 1)
	write("debian/changelog", changelog)
	commit("0.2.0", "second, with a word in its entry")
	commit("0.2.0", "second, ready")
	commit("0.3.0", "third")

	check := func(version, want string) {
		t.Helper()
		dir := t.TempDir()
		if _, err := CopyRelease(repo, version, dir); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "what"))
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", version, got, err, want)
		}
		if top := Versions(t, dir)[0]; top != version {
			t.Errorf("%s: the changelog begins with %s", version, top)
		}
	}
	check("0.1.0", "first, ready")
	check("0.2.0", "second, ready")

	// The new version stands in the tree, and no commit has it yet.
	write("debian/changelog", "p (0.4.0) unstable; urgency=low\n\n"+changelog)
	if got := Versions(t, repo); strings.Join(got, " ") != "0.4.0 0.3.0 0.2.0 0.1.0" {
		t.Errorf("versions %q", got)
	}
	check("0.3.0", "third")

	run("tag", "v0.1.0", "main~5") // a bookmark is no release
	check("0.1.0", "first, ready")
	run("tag", "-f", "-a", "-m", "released", "v0.1.0", "main~5")
	check("0.1.0", "first")

	if _, err := CopyRelease(repo, "0.0.9", t.TempDir()); err == nil {
		t.Error("a version that never was has a commit")
	}
	shallow := filepath.Join(t.TempDir(), "shallow")
	run("clone", "-q", "--depth=1", "--no-tags", "file://"+repo, shallow)
	if got, err := CopyRelease(shallow, "0.2.0", t.TempDir()); err == nil {
		t.Errorf("a clone without history gives %s", got)
	}
	if got, err := CopyRelease(t.TempDir(), "0.2.0", t.TempDir()); err == nil {
		t.Errorf("a directory without git gives %s", got)
	}
}
