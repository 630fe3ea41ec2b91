package door

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"symbiosis-connect-acl/tests/deb"
	"symbiosis-connect-acl/tests/lab"
)

// At an upgrade dpkg keeps the snippets that the administrator has edited. So
// any of the release before may stand among those of this one, and the other
// way round: who is innocent gets in and logs in, and who is bad does not.
func TestSnippetsOfTwoReleases(t *testing.T) {
	d := open(t, lab.DefaultSuite)
	versions := deb.Versions(t, lab.SourceDir())
	if len(versions) < 2 {
		t.Skip("there is no release before this one")
	}
	before := t.TempDir()
	if _, err := deb.CopyRelease(lab.SourceDir(), versions[1], before); err != nil {
		t.Skip(err)
	}
	type snippet struct {
		path     string // in the root
		old, now []byte
	}
	var all []snippet
	tree := filepath.Join(before, "symbiosis.d")
	err := filepath.WalkDir(tree, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		s := snippet{path: d.Root.Snippet(strings.TrimPrefix(p, tree))}
		if s.old, err = os.ReadFile(p); err != nil {
			return err
		}
		if s.now, err = os.ReadFile(s.path); err != nil {
			return err
		}
		if !bytes.Equal(s.old, s.now) {
			all = append(all, s)
		}
		return nil
	})
	if err != nil || len(all) == 0 {
		t.Fatalf("%d snippets have changed since %s: %v", len(all), versions[1], err)
	}
	put := func(path string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The rule for DNS lists and the call of its helper are one thing in two files.
	apart := map[string]bool{"10-acl/10-acl-check-connect/60-check-dnsbls": true, "10-acl/11-acl-connect-helper": true}
	check := func(t *testing.T, name string) {
		t.Helper()
		d.forget()
		d.Rebuild()
		mark := len(d.Log())
		for _, port := range []int{25, 465, 587} {
			d.expect(t, innocent4, port, "220", "")
			d.expect(t, innocent6, port, "220", "")
		}
		if got := d.login(innocent4); lab.Code(got) != "235" {
			t.Errorf("a login: %q", got)
		}
		c := d.Connect(innocent4, 25)
		defer c.Quit()
		for _, cmd := range []string{"EHLO mx.innocent.example", "MAIL FROM:<friend@innocent.example>", "RCPT TO:<user@example.org>"} {
			if got := c.Cmd("%s", cmd); lab.Code(got) != "250" {
				t.Errorf("%s: %q", cmd, got)
			}
		}
		d.expect(t, bad4, 25, "550", history)
		d.expect(t, bad6, 587, "550", history)
		if apart[name] {
			if lab.Code(d.Greet(listed4, 25)) == "220" {
				d.LogSince(t, mark, "statement skipped: condition test deferred")
			}
			return
		}
		d.expect(t, listed4, 25, "550", "is blacklisted at")
		if l := d.Log()[mark:]; strings.Contains(l, "skipped") || strings.Contains(l, "failed to expand") {
			t.Errorf("a check was skipped with everything in order:\n%s", l)
		}
	}
	for _, s := range all {
		name, _ := filepath.Rel(d.Root.Snippet(""), s.path)
		t.Run("old "+name, func(t *testing.T) {
			put(s.path, s.old)
			check(t, name)
			put(s.path, s.now)
		})
	}
	for _, s := range all {
		put(s.path, s.old)
	}
	for _, s := range all {
		name, _ := filepath.Rel(d.Root.Snippet(""), s.path)
		t.Run("new "+name, func(t *testing.T) {
			put(s.path, s.now)
			check(t, name)
			put(s.path, s.old)
		})
	}
}
