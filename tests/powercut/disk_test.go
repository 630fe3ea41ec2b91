package powercut

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// sector is what a disk writes whole or not at all. SQLite assumes as much.
const sector = 512

// A kind is what an operation does.
type kind string

const (
	opWrite    kind = "write"
	opTruncate kind = "truncate"
	opMode     kind = "mode" // or owner, or extended attribute
	opName     kind = "name" // creates, links, renames or removes names in a directory
	opSync     kind = "sync"
)

// An op is one change of a recorded run, or a sync, in the order in which they
// came to their end.
type op struct {
	kind kind
	on   int    // the file, or for names the directory
	text string // for messages

	off  int64 // write
	data []byte
	size int64       // truncate
	mode os.FileMode // mode; 0 leaves it
	uid  int         // -1 leaves it
	gid  int

	// The names that change, all of them at once, and the files they then
	// have; 0 is none. made is the file, as yet empty, that has just been
	// created.
	names map[string]int
	made  *file

	// A sync makes durable what came to its end before the sync began: the
	// operations before this one.
	before int
}

// A file is a file or a directory, as far as the tests look at it.
type file struct {
	dir      bool
	mode     os.FileMode
	uid, gid int
	data     []byte
	names    map[string]int
}

func (f *file) clone() *file {
	c := *f
	c.data = bytes.Clone(f.data)
	c.names = maps.Clone(f.names)
	return &c
}

// root is the number of the directory that is recorded.
const root = 1

// A disk is what would be found after a loss of power. Files have numbers; a
// file without a name is lost.
type disk map[int]*file

func (d disk) clone() disk {
	c := disk{}
	for n, f := range d {
		c[n] = f.clone()
	}
	return c
}

// readDisk reads the directory dir.
func readDisk(dir string) (disk, error) {
	d := disk{}
	var read func(path string) (int, error)
	read = func(path string) (int, error) {
		st, err := os.Lstat(path)
		if err != nil {
			return 0, err
		}
		f := &file{dir: st.IsDir(), mode: st.Mode().Perm()}
		if sys, ok := st.Sys().(*syscall.Stat_t); ok {
			f.uid, f.gid = int(sys.Uid), int(sys.Gid)
		}
		n := len(d) + 1
		d[n] = f
		if !f.dir {
			if !st.Mode().IsRegular() {
				return 0, fmt.Errorf("%s is no regular file", path)
			}
			f.data, err = os.ReadFile(path)
			return n, err
		}
		f.names = map[string]int{}
		list, err := os.ReadDir(path)
		if err != nil {
			return 0, err
		}
		for _, e := range list {
			if f.names[e.Name()], err = read(filepath.Join(path, e.Name())); err != nil {
				return 0, err
			}
		}
		return n, nil
	}
	_, err := read(dir)
	return d, err
}

// write lays the disk out below dir, which exists.
func (d disk) write(dir string) error {
	var lay func(path string, f *file) error
	lay = func(path string, f *file) error {
		for name, n := range f.names {
			at, c := filepath.Join(path, name), d[n]
			var err error
			if c.dir {
				if err = os.Mkdir(at, 0o700); err == nil {
					err = lay(at, c)
				}
			} else {
				err = os.WriteFile(at, c.data, 0o600)
			}
			if err != nil {
				return err
			}
			if err := os.Chmod(at, c.mode); err != nil {
				return err
			}
			if os.Getuid() == 0 {
				if err := os.Chown(at, c.uid, c.gid); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return lay(dir, d[root])
}

// list spells the tree, with what the files hold, to compare two disks.
func (d disk) list() map[string]string {
	all := map[string]string{}
	var walk func(path string, f *file)
	walk = func(path string, f *file) {
		for name, n := range f.names {
			c := d[n]
			all[path+"/"+name] = fmt.Sprintf("%v %v %d:%d %s", c.dir, c.mode, c.uid, c.gid, c.data)
			walk(path+"/"+name, c)
		}
	}
	walk("", d[root])
	return all
}

// find gives the file with that path, spelled as list does; "" is none.
func (d disk) find(path string) string { return d.list()["/"+path] }

// make brings the file into being that o creates, which has no name yet.
func (d disk) make(o *op) {
	if o.made != nil {
		for _, n := range o.names {
			d[n] = o.made.clone()
		}
	}
}

// apply makes the change of o. keep tells of each sector of a write whether the
// new bytes come; nil is all of them.
func (d disk) apply(o *op, keep func() fate) {
	f := d[o.on]
	switch o.kind {
	case opName:
		for name, n := range o.names {
			if n == 0 {
				delete(f.names, name)
			} else {
				f.names[name] = n
			}
		}
	case opTruncate:
		f.data = resize(f.data, o.size)
	case opMode:
		if o.mode != 0 {
			f.mode = o.mode
		}
		if o.uid >= 0 {
			f.uid = o.uid
		}
		if o.gid >= 0 {
			f.gid = o.gid
		}
	case opWrite:
		for from := int64(0); from < int64(len(o.data)); {
			to := min(int64(len(o.data)), from+sector-(o.off+from)%sector)
			how := written
			if keep != nil {
				how = keep()
			}
			end := o.off + to
			if how != lost && int64(len(f.data)) < end {
				f.data = resize(f.data, end)
			}
			switch how {
			case written:
				copy(f.data[o.off+from:end], o.data[from:to])
			case garbage:
				for i := o.off + from; i < end; i++ {
					f.data[i] = byte(i * 2654435761 >> 13)
				}
			}
			from = to
		}
	}
}

func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size]
	}
	return append(b, make([]byte, size-int64(len(b)))...)
}

// A fate is what becomes of a sector that nobody has synced.
type fate int

const (
	lost    fate = iota
	written      // as if it had been synced
	empty        // the file is as long as it should be, the bytes are not there (or, where there were some, the old ones)
	garbage      // something else altogether, as SQLite's own crash tests have it
)

// A temper is how a disk loses power: how probable it is that an unsynced
// change of each sort has come to the disk all the same.
type temper struct {
	name            string
	names, contents float64
	torn            float64 // of the contents: written in part
	garbage         float64 // of the sectors of those
}

var tempers = []temper{
	{name: "nothing unsynced is there"},
	{name: "names, no contents", names: 1},
	{name: "some names, no contents", names: 0.5},
	{name: "contents, no names", contents: 1},
	{name: "contents, some names", names: 0.5, contents: 1},
	{name: "some of all", names: 0.5, contents: 0.5},
	{name: "names, torn contents", names: 1, contents: 0.7, torn: 0.5},
	{name: "all torn", names: 0.5, contents: 0.8, torn: 0.8},
	{name: "all torn, with garbage", names: 0.5, contents: 0.8, torn: 0.5, garbage: 0.2},
	{name: "nearly all", names: 0.9, contents: 0.95, torn: 0.1},
}

// crash gives the disk after a loss of power when the first n operations have
// been made. fates tells what became of those that were not synced.
func crash(before disk, ops []op, n int, t temper, r *rand.Rand) (d disk, fates []string) {
	d = before.clone()
	pending := map[int][]int{} // by file, operations that are not durable
	for i := range ops[:n] {
		o := &ops[i]
		if o.kind != opSync {
			d.make(o)
			pending[o.on] = append(pending[o.on], i)
			continue
		}
		var still []int
		for _, j := range pending[o.on] {
			if j < o.before {
				d.apply(&ops[j], nil)
			} else {
				still = append(still, j)
			}
		}
		pending[o.on] = still
	}
	chance := func(p float64) bool { return r.Float64() < p }
	// In one order, for the sake of the seed.
	for _, on := range slices.Sorted(maps.Keys(pending)) {
		for _, j := range pending[on] {
			o := &ops[j]
			says := "lost"
			switch {
			case o.kind == opName:
				if chance(t.names) {
					d.apply(o, nil)
					says = "done"
				}
			case !chance(t.contents):
				if o.kind == opWrite && chance(0.3) {
					d.apply(o, func() fate { return empty })
					says = "lost, but for the length"
				}
			case o.kind == opWrite && chance(t.torn):
				d.apply(o, func() fate {
					switch {
					case chance(t.garbage):
						return garbage
					case chance(0.5):
						return written
					case chance(0.3):
						return empty
					}
					return lost
				})
				says = "torn"
			default:
				d.apply(o, nil)
				says = "done"
			}
			fates = append(fates, fmt.Sprintf("%4d %s: %s", j, o.text, says))
		}
	}
	return d, fates
}

// after gives the disk after all operations, with nothing lost.
func after(before disk, ops []op) disk {
	d := before.clone()
	for i := range ops {
		if ops[i].kind != opSync {
			d.make(&ops[i])
			d.apply(&ops[i], nil)
		}
	}
	return d
}

// difference tells what two disks do not have in common.
func difference(got, want disk) string {
	a, b := got.list(), want.list()
	var all []string
	for name := range a {
		if _, ok := b[name]; !ok {
			all = append(all, name+" should not be there")
		}
	}
	for name, is := range b {
		if had, ok := a[name]; !ok {
			all = append(all, name+" is missing")
		} else if had != is {
			all = append(all, fmt.Sprintf("%s is not the same (%.40q, want %.40q)", name, had, is))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}
