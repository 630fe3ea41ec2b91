// Package atomicfile replaces a file whole or not at all: a reader, or a
// machine that loses power, sees the old content or the new, never a part.
//
// Only regular files are replaced. A device that was replaced by a file would
// be gone for every program on the machine. Which symbolic links are followed
// on the way to the file is package safepath's rule.
package atomicfile

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"symbiosis-connect-acl/internal/safepath"
)

// Write replaces the content of path with data, as WriteFrom does.
func Write(path string, data []byte, perm fs.FileMode) error {
	return write(path, perm, false, put(data))
}

// WriteFrom replaces the content of path with what write writes. The new
// content is written to a temporary file in the same directory, synced and
// renamed over path, and the directory is synced. An existing file keeps its
// owner, group, mode and access control list; a new one is owned by the caller
// and gets perm, whatever the umask. A symbolic link is followed: the file it points to is
// replaced and the link stays. What is no regular file is left alone, with an
// error that wraps safepath.ErrNotRegular. On an error, which may be write's, path is as it
// was and no temporary file is left behind.
//
// The temporary file's name starts with a dot and ends in ".tmp", which none
// of the directories that Symbiosis scans takes for a file of its own.
func WriteFrom(path string, perm fs.FileMode, put func(io.Writer) error) error {
	return write(path, perm, false, put)
}

// WriteAsNeighbour is Write, but a new file belongs to whom its directory belongs to.
func WriteAsNeighbour(path string, data []byte, perm fs.FileMode) error {
	return write(path, perm, true, put(data))
}

func put(data []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
}

func write(path string, perm fs.FileMode, neighbour bool, put func(io.Writer) error) (err error) {
	dir, name, err := safepath.Resolve(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	had, err := propertiesOf(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		had = properties{mode: uint32(perm.Perm()), uid: -1, gid: -1, isNew: true}
		if neighbour && os.Geteuid() == 0 {
			if had.uid, had.gid, err = dir.Owner(); err != nil {
				return err
			}
		}
	} else if err != nil {
		return err
	}
	temporary := "." + name + "." + rand.Text()[:10] + ".tmp"
	f, err := dir.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			dir.Remove(temporary)
		}
	}()
	if err = put(f); err != nil {
		return err
	}
	if err = had.give(f); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = dir.Rename(temporary, name); err != nil {
		return err
	}
	return dir.Sync()
}

// properties are what the new file takes over from the old one.
type properties struct {
	uid, gid int // -1: the caller's
	mode     uint32
	acl      []byte
	isNew    bool
}

func propertiesOf(dir *safepath.Dir, name string) (p properties, err error) {
	f, err := dir.Open(name)
	if err != nil {
		return p, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return p, &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	p = properties{uid: int(st.Uid), gid: int(st.Gid), mode: st.Mode & 0o7777}
	p.acl, err = accessList(f)
	return p, err
}

func (p properties) give(f *os.File) error {
	fd := int(f.Fd())
	if p.uid >= 0 { // before the mode: chown clears the set-id bits
		if err := f.Chown(p.uid, p.gid); err != nil {
			return err
		}
	}
	if !p.isNew {
		// The directory may have given it a list that the old one did not have.
		unix.Fremovexattr(fd, accessListName)
	}
	if err := unix.Fchmod(fd, p.mode); err != nil {
		return &fs.PathError{Op: "chmod", Path: f.Name(), Err: err}
	}
	if len(p.acl) > 0 {
		// With a list, the mode's bits of the group are the list's mask: without
		// it they would be what the group may do.
		if err := unix.Fsetxattr(fd, accessListName, p.acl, 0); err != nil {
			return &fs.PathError{Op: "setxattr", Path: f.Name(), Err: err}
		}
	}
	return nil
}

// accessListName is the attribute in which Linux keeps a file's access control
// list, see acl(5).
const accessListName = "system.posix_acl_access"

// accessList gives the access control list of a file, nil where it has none.
func accessList(f *os.File) ([]byte, error) {
	list := make([]byte, 64<<10) // no attribute is longer
	n, err := unix.Fgetxattr(int(f.Fd()), accessListName, list)
	switch {
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.EOPNOTSUPP):
		return nil, nil
	case err != nil:
		return nil, &fs.PathError{Op: "getxattr", Path: f.Name(), Err: err}
	}
	return list[:n], nil
}

// Remove removes the file at path, and makes that durable. Where Write follows
// a symbolic link so does Remove: the link is left, and leads to nothing.
func Remove(path string) error {
	dir, name, err := safepath.Resolve(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Remove(name); err != nil {
		return err
	}
	return dir.Sync()
}

// SyncDir makes the names in dir durable, so that a file created, renamed or
// removed there stays so after a loss of power.
func SyncDir(dir string) error {
	d, err := safepath.OpenDir(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
