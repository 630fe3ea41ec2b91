package deb

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var entryLine = regexp.MustCompile(`(?m)^\S+ \((.*?)\)`)

// versions lists the versions of a changelog, the newest first.
func versions(changelog []byte) []string {
	var all []string
	for _, m := range entryLine.FindAllSubmatch(changelog, -1) {
		all = append(all, string(m[1]))
	}
	return all
}

// Versions lists the versions in the changelog of the tree in dir, the newest
// first. There is at least one.
func Versions(t testing.TB, dir string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "debian/changelog"))
	if err != nil {
		t.Fatal(err)
	}
	all := versions(data)
	if len(all) == 0 {
		t.Fatalf("%s/debian/changelog has no version", dir)
	}
	return all
}

// CopyRelease lays the source of an earlier version out in the directory to,
// as the commit had it that was released, and names that commit: the one with
// an annotated or signed tag v<version>, or else the last one whose changelog
// had the version on top. It gives an error where git does not know, as in an
// unpacked tarball and in a clone that does not go back so far.
func CopyRelease(source, version, to string) (commit string, err error) {
	if commit, err = releaseCommit(source, version); err != nil {
		return "", err
	}
	archive := filepath.Join(to, ".archive.tar")
	if _, err := git(source, "archive", "--output="+archive, commit); err != nil {
		return "", err
	}
	if out, err := exec.Command("tar", "-xf", archive, "-C", to).CombinedOutput(); err != nil {
		return "", fmt.Errorf("tar: %w: %s", err, out)
	}
	return commit, os.Remove(archive)
}

func releaseCommit(source, version string) (string, error) {
	tag := "refs/tags/v" + version
	if kind, err := git(source, "cat-file", "-t", tag); err == nil && kind == "tag" {
		return git(source, "rev-parse", tag+"^{commit}")
	}
	// Along the first parents: what a branch calls itself before it is merged
	// is no release.
	log, err := git(source, "log", "--first-parent", "--format=%H", "--", "debian/changelog")
	if err != nil {
		return "", err
	}
	last := "HEAD"
	for _, changed := range strings.Fields(log) {
		if text, err := git(source, "show", changed+":./debian/changelog"); err == nil {
			if all := versions([]byte(text)); len(all) > 0 && all[0] == version {
				return git(source, "rev-parse", "--verify", last)
			}
		}
		last = changed + "^"
	}
	return "", fmt.Errorf("git knows no commit of version %s", version)
}

// git runs git on the tree in dir, whomever it belongs to: a test that needs
// root's rights reads the checkout of somebody else.
func git(dir string, args ...string) (string, error) {
	cmd := exec.Command("git", append([]string{"-c", "safe.directory=*", "-C", dir}, args...)...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(string(out)), nil
}
