// Package safepath opens files below folders that somebody else owns, without
// being led astray by symbolic links there.
//
// The firewall's folder belongs to an unprivileged user (admin, or sympl), and
// root reads and writes in it. Were root to follow that user's links, the user
// could have any file on the system read or replaced.
//
// The rule: a symbolic link is followed where only root, or the user that this
// process runs as, could have made it. From the first directory on that
// somebody else owns or may write to, no link is followed any more, at any
// level: a *LinkError names the link. In a directory with the sticky bit, such
// as /tmp, the owner of the link itself decides. So an administrator may keep
// /etc/symbiosis elsewhere and link to it, and /etc/symbiosis/firewall/patterns.d
// must be a directory.
//
// A path is walked one name at a time, each opened relative to the directory
// before it, with O_NOFOLLOW. That is what openat2's RESOLVE_NO_SYMLINKS does,
// and kernels older than that call can do it too. Everything is then done
// relative to the open directory (a Dir), so that a link swapped in later
// changes nothing.
package safepath

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var (
	// ErrNotRegular says that a name stands for a device, a pipe, a socket or a
	// directory where a regular file is needed.
	ErrNotRegular = errors.New("is no regular file: put one there, or name another")
	// ErrDescriptor says that a path, such as /dev/stdout, leads to a file that
	// a process has open, and not to a name in a directory.
	ErrDescriptor = errors.New("stands for a file that a process has open: name a file")
)

// A LinkError is a symbolic link that is not followed.
type LinkError struct {
	Link   string
	Folder string // the directory, at or above the link, that others may change
}

func (e *LinkError) Error() string {
	return fmt.Sprintf("%s is a symbolic link in a folder that others than root may change (%s), so it is not followed: put the file or folder itself there", e.Link, e.Folder)
}

// A Dir is an open directory. The names that its methods take are those of
// files in it, without a slash, and a symbolic link is never followed.
type Dir struct {
	f      *os.File
	path   string // with links resolved
	owner  uint32
	sticky bool   // only a name's owner can take it away, or put a link there
	folder string // the first directory on the way that others may change, "" for none
}

// Resolve opens the directory in which path lies, and gives the file's name
// there. Links are followed, the last one too, where the package's rule allows
// it; the name then is none of a link. There may be no file of that name.
func Resolve(path string) (*Dir, string, error) {
	d, name, err := walk(path)
	if err == nil && name == "" {
		d.Close()
		err = &fs.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	if err != nil {
		return nil, "", err
	}
	return d, name, nil
}

// OpenDir opens the directory at path.
func OpenDir(path string) (*Dir, error) {
	d, name, err := walk(path)
	if err != nil || name == "" {
		return d, err
	}
	defer d.Close()
	f, st, err := d.lookup(name)
	if err != nil {
		return nil, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return d.enter(name, f, st), nil
	case unix.S_IFLNK: // put there since walk has looked
		err = &LinkError{d.Path(name), cmp.Or(d.folder, d.path)}
	default:
		err = &fs.PathError{Op: "open", Path: path, Err: syscall.ENOTDIR}
	}
	f.Close()
	return nil, err
}

// RealPath gives the path with its links resolved. It is for programs that
// cannot work relative to an open directory.
func RealPath(path string) (string, error) {
	d, name, err := Resolve(path)
	if err != nil {
		return "", err
	}
	defer d.Close()
	return d.Path(name), nil
}

// Open opens the regular file at path to read it.
func Open(path string) (*os.File, error) {
	d, name, err := Resolve(path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Open(name)
}

// ReadFile reads the regular file at path, to write it anew there. Where others
// may change the directory, it refuses what its owner cannot read and may have
// put there by a hard link: the new file could be his to read.
func ReadFile(path string) ([]byte, error) {
	d, name, err := Resolve(path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	f, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if d.folder != "" && st.Nlink > 1 && st.Uid != d.owner && st.Mode&0o004 == 0 {
		return nil, fmt.Errorf("%s has a second name, perhaps that of a file that is none of the folder's owner's business: put a copy of it there", path)
	}
	return io.ReadAll(f)
}

// maxLinks is the kernel's own limit.
const maxLinks = 40

// walk is Resolve; the name is empty for a path that ends in a directory that
// it has gone through: "/", or "..".
func walk(path string) (_ *Dir, name string, err error) {
	if path == "" {
		return nil, "", &fs.PathError{Op: "open", Path: path, Err: syscall.ENOENT}
	}
	full := path
	if !filepath.IsAbs(full) {
		wd, err := os.Getwd()
		if err != nil {
			return nil, "", err
		}
		full = wd + "/" + path // ".." is the parent of what a link leads to, so nothing is cleaned
	}
	root, err := openRoot()
	if err != nil {
		return nil, "", err
	}
	// The directories on the way: ".." goes back to the one before.
	way := []*Dir{root}
	defer func() {
		if err == nil {
			way = way[:len(way)-1]
		}
		for _, d := range way {
			d.Close()
		}
	}()
	links := 0
	for rest := names(full); len(rest) > 0; {
		dir, part := way[len(way)-1], rest[0]
		rest = rest[1:]
		if part == ".." {
			if len(way) > 1 {
				dir.Close()
				way = way[:len(way)-1]
			}
			continue
		}
		f, st, err := dir.lookup(part)
		if errors.Is(err, fs.ErrNotExist) && len(rest) == 0 {
			return dir, part, nil
		} else if err != nil {
			return nil, "", err
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			target, err := dir.follow(part, f, st)
			f.Close()
			if err != nil {
				return nil, "", err
			}
			if links++; links > maxLinks {
				return nil, "", &fs.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
			}
			if filepath.IsAbs(target) {
				for _, d := range way[1:] {
					d.Close()
				}
				way = way[:1]
			}
			rest = append(names(target), rest...)
		case unix.S_IFDIR:
			if len(rest) == 0 {
				f.Close()
				return dir, part, nil
			}
			way = append(way, dir.enter(part, f, st))
		default:
			f.Close()
			if len(rest) > 0 {
				return nil, "", &fs.PathError{Op: "open", Path: dir.Path(part), Err: syscall.ENOTDIR}
			}
			return dir, part, nil
		}
	}
	return way[len(way)-1], "", nil
}

func names(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" || s == "." })
}

func openRoot() (*Dir, error) {
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: "/", Err: err}
	}
	f := os.NewFile(uintptr(fd), "/")
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "stat", Path: "/", Err: err}
	}
	return (&Dir{}).enter("/", f, &st), nil
}

// lookup opens what has the name, a link itself if it is one, for nothing but
// to be looked at or walked through.
func (d *Dir) lookup(name string) (*os.File, *unix.Stat_t, error) {
	f, err := d.OpenFile(name, unix.O_PATH, 0)
	if err != nil {
		return nil, nil, err
	}
	st := new(unix.Stat_t)
	if err := unix.Fstat(int(f.Fd()), st); err != nil {
		f.Close()
		return nil, nil, &fs.PathError{Op: "stat", Path: d.Path(name), Err: err}
	}
	return f, st, nil
}

// enter makes a Dir of the directory f in d.
func (d *Dir) enter(name string, f *os.File, st *unix.Stat_t) *Dir {
	in := &Dir{f: f, path: d.Path(name), owner: st.Uid, folder: d.folder}
	if in.folder != "" {
		return in
	}
	// Only an unprivileged user's own group is his alone.
	group := st.Mode&0o020 != 0 && (os.Getegid() == 0 || int(st.Gid) != os.Getegid())
	switch others := group || st.Mode&0o002 != 0; {
	case !ours(st.Uid), others && st.Mode&unix.S_ISVTX == 0:
		in.folder = in.path
	case others:
		in.sticky = true
	}
	return in
}

func ours(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }

// follow reads the link f in d, if it may be followed.
func (d *Dir) follow(name string, f *os.File, st *unix.Stat_t) (string, error) {
	if d.folder != "" {
		return "", &LinkError{d.Path(name), d.folder}
	}
	if d.sticky && !ours(st.Uid) {
		return "", &LinkError{d.Path(name), d.path}
	}
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(f.Fd()), "", b)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: d.Path(name), Err: err}
	}
	// The links in /proc/PID/fd only look like paths.
	var fsys unix.Statfs_t
	if filepath.Base(d.path) == "fd" && unix.Fstatfs(int(f.Fd()), &fsys) == nil && fsys.Type == unix.PROC_SUPER_MAGIC {
		return "", &fs.PathError{Op: "open", Path: d.Path(name), Err: ErrDescriptor}
	}
	return string(b[:n]), nil
}

// Close closes the directory.
func (d *Dir) Close() error { return d.f.Close() }

// Path is the path of the file with that name.
func (d *Dir) Path(name string) string { return filepath.Join(d.path, name) }

// Owner gives the user and group whom the directory belongs to.
func (d *Dir) Owner() (uid, gid int, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(d.f.Fd()), &st); err != nil {
		return 0, 0, &fs.PathError{Op: "stat", Path: d.path, Err: err}
	}
	return int(st.Uid), int(st.Gid), nil
}

// OpenFile opens a file as os.OpenFile does.
func (d *Dir) OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error) {
	fd, err := 0, error(nil)
	for {
		fd, err = unix.Openat(int(d.f.Fd()), name, flag|unix.O_NOFOLLOW|unix.O_CLOEXEC, uint32(perm.Perm()))
		if err != unix.EINTR {
			break
		}
	}
	if err == unix.ELOOP {
		return nil, &LinkError{d.Path(name), cmp.Or(d.folder, d.path)}
	} else if err != nil {
		return nil, &fs.PathError{Op: "open", Path: d.Path(name), Err: err}
	}
	return os.NewFile(uintptr(fd), d.Path(name)), nil
}

// Open opens a regular file to read it.
func (d *Dir) Open(name string) (*os.File, error) {
	// A device may do something when it is opened, so it is looked at first.
	if st, err := d.Lstat(name); err != nil {
		return nil, err
	} else if st.Mode().Type() != 0 && st.Mode().Type() != fs.ModeSymlink {
		return nil, &fs.PathError{Op: "open", Path: d.Path(name), Err: ErrNotRegular}
	}
	f, err := d.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = ErrNotRegular
	}
	if err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "open", Path: d.Path(name), Err: err}
	}
	return f, nil
}

// ReadFile reads a file that Open opens.
func (d *Dir) ReadFile(name string) ([]byte, error) {
	f, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// Lstat describes the file with that name.
func (d *Dir) Lstat(name string) (fs.FileInfo, error) {
	f, err := d.OpenFile(name, unix.O_PATH, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Stat()
}

// Names lists the directory.
func (d *Dir) Names() ([]string, error) {
	f, err := d.OpenFile(".", os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// Link gives a file a second name, which must be free.
func (d *Dir) Link(old, new string) error {
	if err := unix.Linkat(int(d.f.Fd()), old, int(d.f.Fd()), new, 0); err != nil {
		return &os.LinkError{Op: "link", Old: d.Path(old), New: d.Path(new), Err: err}
	}
	return nil
}

// Rename renames a file, over another of the new name if there is one.
func (d *Dir) Rename(old, new string) error {
	if err := unix.Renameat(int(d.f.Fd()), old, int(d.f.Fd()), new); err != nil {
		return &os.LinkError{Op: "rename", Old: d.Path(old), New: d.Path(new), Err: err}
	}
	return nil
}

// Remove removes a file. It removes no directory.
func (d *Dir) Remove(name string) error {
	if err := unix.Unlinkat(int(d.f.Fd()), name, 0); err != nil {
		return &fs.PathError{Op: "remove", Path: d.Path(name), Err: err}
	}
	return nil
}

// Sync makes the names in the directory durable.
func (d *Dir) Sync() error {
	f, err := d.OpenFile(".", os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// SetTime sets the time at which an open file was modified.
func SetTime(f *os.File, t time.Time) error {
	ts := [2]unix.Timespec{}
	for i := range ts {
		ts[i] = unix.NsecToTimespec(t.UnixNano())
	}
	// By its descriptor, which needs neither a name nor /proc.
	_, _, e := unix.Syscall6(unix.SYS_UTIMENSAT, f.Fd(), 0, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	if e != 0 {
		return &fs.PathError{Op: "utimensat", Path: f.Name(), Err: e}
	}
	return nil
}
