// Package atomicfile replaces a file whole or not at all: a reader, or a
// machine that loses power, sees the old content or the new, never a part.
package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Write replaces the content of path with data, as WriteFrom does.
func Write(path string, data []byte, perm fs.FileMode) error {
	return WriteFrom(path, perm, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// WriteFrom replaces the content of path with what write writes. The new
// content is written to a temporary file in the same directory, synced and
// renamed over path, and the directory is synced. An existing file keeps its
// owner, group, mode and access control list; a new one is owned by the caller
// and gets perm, whatever the umask. A symbolic link is followed: the file it points to is
// replaced and the link stays. On an error, which may be write's, path is as it
// was and no temporary file is left behind.
//
// The temporary file's name starts with a dot and ends in ".tmp", which none
// of the directories that Symbiosis scans takes for a file of its own.
func WriteFrom(path string, perm fs.FileMode, write func(io.Writer) error) (err error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	uid, gid := -1, -1
	var acl []byte
	st, err := os.Stat(path)
	switch {
	case err == nil:
		perm = st.Mode().Perm() | st.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky)
		if sys, ok := st.Sys().(*syscall.Stat_t); ok {
			uid, gid = int(sys.Uid), int(sys.Gid)
		}
		if acl, err = accessList(path); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err = write(f); err != nil {
		return err
	}
	if uid >= 0 { // before Chmod: chown clears the set-id bits
		if err = f.Chown(uid, gid); err != nil {
			return err
		}
	}
	if uid >= 0 {
		// The directory may have given it a list that the old one did not have.
		syscall.Removexattr(f.Name(), accessListName)
	}
	if err = f.Chmod(perm); err != nil {
		return err
	}
	if len(acl) > 0 {
		// With a list, the mode's bits of the group are the list's mask: without
		// it they would be what the group may do.
		if err = syscall.Setxattr(f.Name(), accessListName, acl, 0); err != nil {
			return err
		}
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// accessListName is the attribute in which Linux keeps a file's access control
// list, see acl(5).
const accessListName = "system.posix_acl_access"

// accessList gives the access control list of a file, nil where it has none.
func accessList(path string) ([]byte, error) {
	list := make([]byte, 64<<10) // no attribute is longer
	n, err := syscall.Getxattr(path, accessListName, list)
	switch {
	case errors.Is(err, syscall.ENODATA), errors.Is(err, syscall.EOPNOTSUPP):
		return nil, nil
	case err != nil:
		return nil, &fs.PathError{Op: "getxattr", Path: path, Err: err}
	}
	return list[:n], nil
}

// SyncDir makes the names in dir durable, so that a file created, renamed or
// removed there stays so after a loss of power.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
