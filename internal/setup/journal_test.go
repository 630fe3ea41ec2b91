package setup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"symbiosis-connect-acl/internal/safepath"
	"symbiosis-connect-acl/internal/safepath/safepathtest"
)

func TestCopyFile(t *testing.T) {
	dir := t.TempDir()
	path, to := filepath.Join(dir, "f"), filepath.Join(dir, "g")
	must(t, os.WriteFile(path, []byte("text"), 0o600))
	must(t, os.Chmod(path, 0o640))
	if os.Geteuid() == 0 {
		must(t, os.Chown(path, 12, 34))
	}
	old := time.Unix(1e9, 5e8)
	must(t, os.Chtimes(path, old, old))
	d, err := safepath.OpenDir(dir)
	must(t, err)
	defer d.Close()
	must(t, copyFile(d, "f", "g"))
	a, err := os.Stat(path)
	must(t, err)
	b, err := os.Stat(to)
	must(t, err)
	sa, sb := a.Sys().(*syscall.Stat_t), b.Sys().(*syscall.Stat_t)
	if data, err := os.ReadFile(to); err != nil || string(data) != "text" || a.Mode() != b.Mode() || !b.ModTime().Equal(old) || sa.Uid != sb.Uid || sa.Gid != sb.Gid {
		t.Errorf("%q, %v: %v %v, %v %v", data, err, a.Mode(), a.ModTime(), b.Mode(), b.ModTime())
	}

	// A name that somebody has taken is not followed.
	victim := filepath.Join(dir, "victim")
	must(t, os.WriteFile(victim, []byte("precious"), 0o644))
	link := filepath.Join(dir, "link")
	must(t, os.Symlink(victim, link))
	for _, f := range []func(*safepath.Dir, string, string) error{copyFile, keep} {
		if err := f(d, "f", "link"); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%v; want that the name is taken", err)
		}
	}
	if data, err := os.ReadFile(victim); err != nil || string(data) != "precious" {
		t.Errorf("the link was followed: %q, %v", data, err)
	}
}

// A journal that was cut short, or that ends in zeros after a loss of power,
// is read as far as it goes.
func TestTornJournal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	whole := `{"Step":"one","Path":"/a"}` + "\n"
	for _, c := range []struct {
		name, text string
		entries    int
		err        bool
	}{
		{"empty", "", 0, false},
		{"whole", whole + whole, 2, false},
		{"cut", whole + `{"Step":"tw`, 1, false},
		{"zeros", whole + "\x00\x00\x00\x00", 1, false},
		{"nonsense", whole + "nonsense", 1, true},
	} {
		must(t, os.RemoveAll(dir))
		must(t, os.Mkdir(dir, 0o700))
		must(t, os.WriteFile(filepath.Join(dir, openLog), []byte(c.text), 0o600))
		entries, committed, found, err := journal(dir)
		if !found || committed || (err != nil) != c.err || err == nil && len(entries) != c.entries {
			t.Errorf("%s: %v, %v, %v, %v", c.name, entries, committed, found, err)
		}
	}
	must(t, os.RemoveAll(dir))
	if _, _, found, err := journal(dir); found || err != nil {
		t.Errorf("no journal: %v, %v", found, err)
	}
}

// Undoing what was begun, done, edited, lost, and new.
func TestUndo(t *testing.T) {
	dir := t.TempDir()
	j := filepath.Join(dir, "journal")
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"done", "edited", "lost", "removed"} {
		must(t, os.WriteFile(at(name), []byte("old "+name), 0o640))
	}
	tx, err := begin(j, "tag", &faults{})
	must(t, err)
	for _, name := range []string{"done", "edited", "lost", "new", "new-edited"} {
		must(t, tx.write(name, at(name), []byte("ours"), 0o644))
	}
	must(t, tx.remove("removed", at("removed")))
	must(t, os.WriteFile(at("edited"), []byte("ours and an edit"), 0o644))
	must(t, os.WriteFile(at("new-edited"), []byte("ours and an edit"), 0o644))
	must(t, os.Remove(at("lost")))

	entries, _, _, err := journal(j)
	must(t, err)
	asked := 0
	reconcile := func(path string, now []byte) []byte {
		asked++
		return []byte("an edit")
	}
	for range 2 { // undoing is taken up again when it was interrupted
		must(t, undo(j, entries, &faults{}, nil, reconcile))
	}
	for name, want := range map[string]string{"done": "old done", "edited": "an edit", "lost": "old lost", "removed": "old removed", "new-edited": "an edit"} {
		if data, err := os.ReadFile(at(name)); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v; want %q", name, data, err, want)
		}
	}
	if _, err := os.Stat(at("new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("new: %v", err)
	}
	left, err := filepath.Glob(at(".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}

// A user who swaps links in while the setup tool, as root, changes and puts
// back a file of his folder has nothing outside of it changed.
func TestUserSwapsLinks(t *testing.T) {
	p := safepathtest.New(t, "old")
	j := filepath.Join(t.TempDir(), "journal")
	none := func(string, []byte) []byte { return nil }
	p.Try(func() error {
		tx, err := begin(j, "tag", &faults{})
		if err != nil {
			return err
		}
		defer os.RemoveAll(j)
		defer tx.log.Close()
		if err := tx.write("change", p.File, []byte("ours"), 0o644); err != nil {
			return errors.Join(err, undone(undo(j, tx.entries, &faults{}, nil, none)))
		}
		if err := tx.remove("removal", p.File); err != nil {
			return errors.Join(err, undone(undo(j, tx.entries, &faults{}, nil, none)))
		}
		return undo(j, tx.entries, &faults{}, nil, none)
	}, fs.ErrNotExist, fs.ErrExist)
}

// undone leaves out that an undo met the same links.
func undone(err error) error {
	var link *safepath.LinkError
	if errors.As(err, &link) {
		return nil
	}
	return err
}
