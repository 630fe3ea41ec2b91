package setup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"symbiosis-connect-acl/internal/atomicfile"
	"symbiosis-connect-acl/internal/remedy"
	"symbiosis-connect-acl/internal/safepath"
)

// An entry of the journal is the undo of one change. It is on the disk before
// the change is made.
type entry struct {
	Step string
	// Path is the file that changes, with symbolic links resolved. An entry
	// without one stands for an action that cannot be undone by a file, and
	// Step names it.
	Path string `json:",omitempty"`
	// Backup is a second name of the old file in the same directory: undoing
	// is renaming it back, which needs no space on a full disk and brings back
	// content, owner, mode and times. Empty when there was no file.
	Backup string `json:",omitempty"`
	// New is the SHA-256 of the content that the change writes, empty when it
	// removes the file. What is neither the old nor the new content is
	// somebody's edit.
	New string `json:",omitempty"`
}

// A transaction makes changes to files one after the other, so that all of
// them stay or none. One directory holds its journal; there is no second
// transaction while that directory exists.
type transaction struct {
	dir     string
	log     *os.File
	entries []entry
	tag     string // part of the backups' names
	faults  *faults
}

const (
	openLog = "log"      // the changes in it are to be undone
	doneLog = "log.done" // the changes in it stay; backups are to be removed
)

// begin starts a transaction whose journal is in dir, which must not exist.
func begin(dir, tag string, f *faults) (*transaction, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(dir, openLog), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err == nil {
		err = atomicfile.SyncDir(dir)
	}
	if err == nil {
		err = atomicfile.SyncDir(filepath.Dir(dir))
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	t := &transaction{dir: dir, log: log, tag: tag, faults: f}
	return t, f.point("begin")
}

func (t *transaction) record(e entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if _, err := t.log.Write(append(line, '\n')); err != nil {
		return err
	}
	if err := t.log.Sync(); err != nil {
		return err
	}
	t.entries = append(t.entries, e)
	return t.faults.point(e.Step + " with its undo recorded")
}

// prepare records the undo of a change to path that somebody else will make.
// data is the content that it will have, nil when it will be removed.
func (t *transaction) prepare(step, path string, data []byte) (resolved string, err error) {
	dir, name, err := safepath.Resolve(path)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	path = dir.Path(name)
	e := entry{Step: step, Path: path}
	if data != nil {
		e.New = digest(data)
	}
	backup := "." + name + "." + t.tag + ".undo"
	_, err = dir.Lstat(name)
	switch {
	case err == nil:
		e.Backup = dir.Path(backup)
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	if err := t.record(e); err != nil {
		return "", err
	}
	if e.Backup != "" {
		// A name left over from a run whose journal is gone has no meaning.
		if err := dir.Remove(backup); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if err := keep(dir, name, backup); err != nil {
			return "", err
		}
	}
	return path, t.faults.point(step + " with its backup in place")
}

// keep gives the file a second name, or copies it where the file system has no
// hard links. The name must be free: the directory may be one in which others
// put links.
func keep(dir *safepath.Dir, name, backup string) error {
	err := dir.Link(name, backup)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = copyFile(dir, name, backup)
	}
	if err != nil {
		return err
	}
	return dir.Sync()
}

// copyFile copies a file with its owner, mode and time to a name that is free.
func copyFile(dir *safepath.Dir, name, to string) (err error) {
	from, err := dir.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	st, err := from.Stat()
	if err != nil {
		return err
	}
	f, err := dir.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
		if err != nil {
			dir.Remove(to)
		}
	}()
	if _, err = io.Copy(f, from); err != nil {
		return err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		if err = f.Chown(int(sys.Uid), int(sys.Gid)); err != nil {
			return err
		}
	}
	if err = f.Chmod(st.Mode()); err != nil {
		return err
	}
	if err = safepath.SetTime(f, st.ModTime()); err != nil {
		return err
	}
	return f.Sync()
}

// write gives the file at path the content data. A new file gets perm.
func (t *transaction) write(step, path string, data []byte, perm fs.FileMode) error {
	path, err := t.prepare(step, path, data)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(path, data, perm); err != nil {
		return err
	}
	return t.faults.point(step + " when done")
}

// move gives the file at from the name to, which must be free. Owner, mode and
// time stay.
func (t *transaction) move(step, from, to string) error {
	data, err := safepath.ReadFile(from)
	if err != nil {
		return err
	}
	if to, err = t.prepare(step, to, data); err != nil {
		return err
	}
	source, name, err := safepath.Resolve(from)
	if err != nil {
		return err
	}
	defer source.Close()
	if err := keep(source, name, filepath.Base(to)); err != nil {
		return err
	}
	return t.remove(step, from)
}

// remove removes the file at path.
func (t *transaction) remove(step, path string) error {
	path, err := t.prepare(step, path, nil)
	if err != nil {
		return err
	}
	if err := atomicfile.Remove(path); err != nil {
		return err
	}
	return t.faults.point(step + " when done")
}

// commit makes the changes stay.
func (t *transaction) commit() error {
	if err := t.faults.point("commit"); err != nil {
		return err
	}
	t.log.Close()
	if err := os.Rename(filepath.Join(t.dir, openLog), filepath.Join(t.dir, doneLog)); err != nil {
		return err
	}
	if err := atomicfile.SyncDir(t.dir); err != nil {
		return err
	}
	if err := t.faults.point("after commit"); err != nil {
		return nil // what is left is cleaning up, which the next run does
	}
	return finish(t.dir, t.entries)
}

// finish removes what a transaction leaves behind.
func finish(dir string, entries []entry) error {
	var errs []error
	for _, e := range entries {
		if e.Backup == "" {
			continue
		}
		if err := e.removeBackup(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, os.RemoveAll(dir))...)
}

// undo takes back what the journal in dir says, the last change first, and
// removes the journal. action is called for each entry without a path, and told
// whether a file was put back before. reconcile is asked about a file that somebody has edited since: it gives the
// content that takes back our change and keeps the edit, or nil to leave the
// file alone. Every entry is tried, whatever becomes of the others; when one
// cannot be undone, the journal stays for the next run.
func undo(dir string, entries []entry, f *faults, action func(e entry, putBack bool) error, reconcile func(path string, now []byte) []byte) error {
	var errs []error
	putBack := false
	for i := len(entries) - 1; i >= 0; i-- {
		if err := f.point("undo of " + entries[i].Step); err != nil {
			return err
		}
		var err error
		if e := entries[i]; e.Path == "" {
			err = action(e, putBack)
		} else {
			var changed bool
			changed, err = e.undo(reconcile)
			putBack = putBack || changed
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("undo of %q: %w", entries[i].Step, err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return finish(dir, entries)
}

func (e entry) removeBackup() error {
	dir, _, err := safepath.Resolve(e.Path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Remove(filepath.Base(e.Backup))
}

func (e entry) undo(reconcile func(string, []byte) []byte) (changed bool, err error) {
	dir, name, err := safepath.Resolve(e.Path)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	now, err := dir.ReadFile(name)
	exists := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if e.Backup == "" {
		if !exists {
			return false, nil
		}
		if digest(now) != e.New {
			return false, reconciled(e.Path, reconcile)
		}
		if err := dir.Remove(name); err != nil {
			return false, err
		}
		return true, dir.Sync()
	}
	backup := filepath.Base(e.Backup)
	old, err := dir.ReadFile(backup)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // the change was never begun, or is undone already
	}
	if err != nil {
		return false, err
	}
	// A file that is gone without our having removed it was lost on the way,
	// as when a Makefile that makes a backup is stopped between two renames.
	ours := !exists || e.New != "" && digest(now) == e.New
	if !ours && !bytes.Equal(now, old) {
		return false, reconciled(e.Path, reconcile)
	}
	if err := dir.Rename(backup, name); err != nil {
		return false, err
	}
	// Two names of one file are not renamed: nothing was changed then.
	if err := dir.Remove(backup); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, dir.Sync()
}

func reconciled(path string, reconcile func(string, []byte) []byte) error {
	now, err := safepath.ReadFile(path)
	if err != nil {
		return err
	}
	data := reconcile(path, now)
	if data == nil || bytes.Equal(data, now) {
		return nil
	}
	return atomicfile.Write(path, data, 0o644)
}

// journal reads the journal in dir. committed says that its changes are to
// stay. A journal that is not there has no entries and found is false.
func journal(dir string) (entries []entry, committed, found bool, err error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, false, false, nil
	}
	data, err := os.ReadFile(filepath.Join(dir, openLog))
	if errors.Is(err, fs.ErrNotExist) {
		committed = true
		if data, err = os.ReadFile(filepath.Join(dir, doneLog)); errors.Is(err, fs.ErrNotExist) {
			return nil, true, true, nil
		}
	}
	if err != nil {
		return nil, false, true, err
	}
	// After a loss of power a file may end in zeros.
	data, _, _ = bytes.Cut(data, []byte{0})
	dec := json.NewDecoder(bytes.NewReader(data))
	for {
		var e entry
		err := dec.Decode(&e)
		// A line cut short was being written when the run ended, so the
		// change that it announces was not begun.
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			return entries, committed, true, nil
		}
		if err != nil {
			return nil, false, true, remedy.Add(fmt.Errorf("%s is damaged (%w)", filepath.Join(dir, openLog), err), "put what it names right by hand, move %s away, and run this again", dir)
		}
		entries = append(entries, e)
	}
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
