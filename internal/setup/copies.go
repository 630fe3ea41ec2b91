package setup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"symbiosis-connect-acl/internal/exim"
	"symbiosis-connect-acl/internal/remedy"
)

// dpkg puts our snippets into the platform's tree. Where the Makefile builds from
// a tree of the administrator's, they have no effect there, so that tree gets
// copies of them. Like the first lines of all our files, theirs tell whose they are.

// copied reports whether the build reads another tree than dpkg writes.
func (r *run) copied() bool { return r.SnippetDir != r.PackageDir }

// packaged lists our snippets in the platform's tree, by their names in it.
func (r *run) packaged() (map[string][]byte, error) {
	all := map[string][]byte{}
	err := filepath.WalkDir(r.PackageDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !exim.ValidName(d.Name()) {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && r.isOurs(data) && path != filepath.Join(r.PackageDir, enablingSnippet) {
			all[strings.TrimPrefix(path, r.PackageDir+"/")] = data
		}
		return err
	})
	return all, err
}

// planCopies plans the copies, and moves what stands under their names aside. It
// gives the content that the tree will have by that.
func (r *run) planCopies(pl *plan, old State) (over map[string][]byte, err error) {
	over = map[string][]byte{}
	if !r.copied() {
		return over, nil
	}
	ours, err := r.packaged()
	if err != nil {
		return nil, err
	}
	pl.state.Copies = map[string]string{}
	before := len(pl.changes)
	for _, name := range slices.Sorted(maps.Keys(ours)) {
		data := ours[name]
		path := filepath.Join(r.SnippetDir, name)
		now, err := readIfThere(path)
		if err != nil {
			return nil, err
		}
		pl.state.Copies[name] = digest(data)
		c := Change{Step: "copy", Path: path, Old: now, New: data}
		switch {
		case bytes.Equal(now, data) && now != nil:
			continue
		case now == nil || old.Copies[name] == digest(now):
		case r.isOurs(now):
			r.note("%s is edited, so it stays as it is: edit %s, of which it is a copy, and then delete it", path, filepath.Join(r.PackageDir, name))
			pl.state.Copies[name] = old.Copies[name]
			continue
		default:
			c.aside = r.aside(path)
			c.done = path + " is yours: it is " + c.aside + " now"
			if _, err := os.Lstat(c.aside); !errors.Is(err, fs.ErrNotExist) {
				return nil, remedy.Add(fmt.Errorf("%s and %s are yours, and only one of them can be kept", path, c.aside), "delete one of them, then run: %s apply", r.program())
			}
		}
		over[path] = data
		pl.changes = append(pl.changes, c)
	}
	for name, sum := range old.Copies {
		path := filepath.Join(r.SnippetDir, name)
		if now, err := os.ReadFile(path); ours[name] == nil && err == nil && digest(now) == sum {
			over[path] = nil
			pl.changes = append(pl.changes, Change{Step: "copy", Path: path, Old: now})
		}
	}
	if n := len(pl.changes) - before; n > 0 {
		r.note("make builds from %s: %d of our snippets are copied there from %s", r.SnippetDir, n, r.PackageDir)
	}
	return over, nil
}

// planCopiesRemoved plans to take the copies out and to bring back what stood
// there. What was carried over goes as well: it names macros of ours.
func (r *run) planCopiesRemoved(pl *plan) error {
	if !r.copied() {
		return nil
	}
	if data, err := os.ReadFile(r.local()); err == nil && !slices.ContainsFunc(pl.changes, func(c Change) bool { return c.Path == r.local() }) {
		pl.add("carry over", r.local(), data, r.uncarried(data), "")
	}
	return filepath.WalkDir(r.SnippetDir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == r.SnippetDir {
			return fs.SkipAll
		}
		if err != nil || !d.Type().IsRegular() || !exim.ValidName(d.Name()) || path == r.enabling() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil || !r.isOurs(data) {
			return err
		}
		c := Change{Step: "copy", Path: path, Old: data}
		if _, err := os.Lstat(r.aside(path)); err == nil {
			c.back = r.aside(path)
			c.done = path + " is as it was before"
		}
		pl.changes = append(pl.changes, c)
		return nil
	})
}
