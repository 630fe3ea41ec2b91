package powercut

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// calls are the system calls that change files or make them durable, and some
// that the recorder does not know and must not miss. Not every architecture
// has every call.
const calls = "?open,?creat,openat,?openat2,write,pwrite64,writev,pwritev,?pwritev2,ftruncate,?truncate,fallocate," +
	"fsync,fdatasync,?sync_file_range,sync,syncfs,?rename,renameat,?renameat2,?link,linkat,?symlink,symlinkat," +
	"?unlink,unlinkat,?mkdir,mkdirat,?rmdir,?chmod,fchmod,fchmodat,?chown,?lchown,fchown,fchownat,setxattr,lsetxattr,fsetxattr," +
	"copy_file_range,sendfile,splice,mmap,lseek"

// maxString is the longest write that strace records whole.
const maxString = 1 << 20

// A recorder makes operations of what strace wrote about a run that worked
// below dir.
type recorder struct {
	dir  string
	live disk // as the programs saw it
	ops  []op

	unfinished map[string]begun // by process
	offsets    map[handle]int64
}

type begun struct {
	text string
	at   int // operations before it
}

// A handle is a descriptor of a file. Two processes may share a number; what
// they make of it is found out when the recorded disk is compared with the
// real one.
type handle struct {
	fd   string
	file int
}

// record reads the trace of a run that found the disk before below dir.
func record(trace io.Reader, dir string, before disk) ([]op, error) {
	c := &recorder{dir: dir, live: before.clone(), unfinished: map[string]begun{}, offsets: map[handle]int64{}}
	in := bufio.NewReader(trace)
	for {
		line, err := in.ReadString('\n')
		if err == io.EOF && line == "" {
			return c.ops, nil
		} else if err != nil {
			return nil, err
		}
		if err := c.line(strings.TrimSuffix(line, "\n")); err != nil {
			return nil, fmt.Errorf("%w, in %.300s", err, line)
		}
	}
}

var (
	resumed = regexp.MustCompile(`^<\.\.\. \w+ resumed>`)
	whole   = regexp.MustCompile(`^(\w+)\((.*)\)\s+= (-?\d+)`)
)

func (c *recorder) line(line string) error {
	pid, text, _ := strings.Cut(line, " ")
	text = strings.TrimLeft(text, " ")
	at := len(c.ops)
	if strings.HasPrefix(text, "---") || strings.HasPrefix(text, "+++") {
		return nil
	}
	if head, ok := strings.CutSuffix(text, "<unfinished ...>"); ok {
		c.unfinished[pid] = begun{head, at}
		return nil
	}
	if m := resumed.FindString(text); m != "" {
		b := c.unfinished[pid]
		delete(c.unfinished, pid)
		text, at = b.text+text[len(m):], b.at
	}
	m := whole.FindStringSubmatch(text)
	if m == nil {
		if strings.Contains(text, " = ?") || strings.HasSuffix(text, "<detached ...>") {
			return nil // the process ended in it
		}
		return errors.New("a line that is not understood")
	}
	result, err := strconv.ParseInt(m[3], 10, 64)
	if err != nil || result < 0 {
		return err // it failed and changed nothing
	}
	return c.call(m[1], split(m[2]), result, at)
}

// split splits the arguments of a call. Strings and paths are all in
// hexadecimal, so that nothing in them looks like a comma or a bracket.
func split(s string) []string {
	var all []string
	depth, from := 0, 0
	for i, r := range s {
		switch r {
		case '[', '{', '(':
			depth++
		case ']', '}', ')':
			depth--
		case ',':
			if depth == 0 {
				all = append(all, strings.TrimSpace(s[from:i]))
				from = i + 1
			}
		}
	}
	return append(all, strings.TrimSpace(s[from:]))
}

func unhex(s string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(s, `\x`, ""))
	if err != nil {
		return ""
	}
	return string(b)
}

// content gives the bytes of an argument that is a string.
func content(arg string) (string, error) {
	if len(arg) < 2 || arg[0] != '"' || arg[len(arg)-1] != '"' {
		return "", fmt.Errorf("%.40s is not a whole string", arg)
	}
	return unhex(arg[1 : len(arg)-1]), nil
}

// descriptor splits 5</path> and AT_FDCWD</path>.
func descriptor(arg string) (fd, path string) {
	fd, rest, _ := strings.Cut(arg, "<")
	path, deleted, _ := strings.Cut(rest, ">")
	if deleted != "" {
		return fd, "" // it has no name any more
	}
	return fd, unhex(path)
}

// lookup finds a path. file is 0 when there is none, inside is false when it
// does not lie below the recorded directory.
func (c *recorder) lookup(path string) (dir int, name string, file int, inside bool) {
	rel, err := filepath.Rel(c.dir, path)
	if path == "" || err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return 0, "", 0, false
	}
	if rel == "." {
		return 0, ".", root, true
	}
	file = root
	for _, part := range strings.Split(rel, "/") {
		dir, name = file, part
		if dir == 0 {
			return 0, "", 0, true
		}
		file = c.live[dir].names[part]
	}
	return dir, name, file, true
}

func (c *recorder) short(path string) string {
	rel, _ := filepath.Rel(c.dir, path)
	return rel
}

func (c *recorder) add(o op) {
	if o.kind == opName {
		for name, n := range o.names {
			if n == 0 {
				delete(c.live[o.on].names, name)
			} else {
				c.live[o.on].names[name] = n
			}
		}
	} else if o.kind != opSync {
		c.live.apply(&o, nil)
	}
	c.ops = append(c.ops, o)
}

func absolute(arg string) (string, error) {
	path, err := content(arg)
	if err == nil && !filepath.IsAbs(path) {
		err = errors.New("a relative path")
	}
	return path, err
}

// at is a path that is relative to the directory before it among the arguments.
func at(args []string, i int) (string, error) {
	name, err := content(args[i+1])
	if err != nil || filepath.IsAbs(name) {
		return name, err
	}
	_, dir := descriptor(args[i])
	return filepath.Join(dir, name), nil
}

func (c *recorder) call(name string, args []string, result int64, began int) error {
	one := func() (string, error) { return absolute(args[0]) }
	switch name {
	case "openat":
		path, err := at(args, 0)
		if err != nil {
			return err
		}
		return c.open(path, args[2:], result)
	case "open":
		path, err := one()
		if err != nil {
			return err
		}
		return c.open(path, args[1:], result)
	case "write", "pwrite64":
		return c.write(args, result)
	case "copy_file_range", "sendfile":
		return c.copy(name, args, result)
	case "lseek":
		fd, path := descriptor(args[0])
		if _, _, file, inside := c.lookup(path); inside {
			c.offsets[handle{fd, file}] = result
		}
		return nil
	case "ftruncate":
		_, path := descriptor(args[0])
		size, err := strconv.ParseInt(args[1], 10, 64)
		if _, _, file, inside := c.lookup(path); inside && err == nil {
			c.add(op{kind: opTruncate, on: file, size: size, text: fmt.Sprintf("truncate %s to %d", c.short(path), size)})
		}
		return err
	case "fsync", "fdatasync":
		_, path := descriptor(args[0])
		if _, _, file, inside := c.lookup(path); inside {
			c.add(op{kind: opSync, on: file, before: began, text: "sync " + c.short(path)})
		}
		return nil
	case "rename":
		from, err := one()
		to, err2 := absolute(args[1])
		return errors.Join(err, err2, c.rename(from, to))
	case "renameat", "renameat2":
		if len(args) > 4 && args[4] != "0" && args[4] != "RENAME_NOREPLACE" {
			return errors.New("an unknown sort of rename")
		}
		from, err := at(args, 0)
		to, err2 := at(args, 2)
		return errors.Join(err, err2, c.rename(from, to))
	case "link":
		from, err := one()
		to, err2 := absolute(args[1])
		return errors.Join(err, err2, c.link(from, to))
	case "linkat":
		from, err := at(args, 0)
		to, err2 := at(args, 2)
		return errors.Join(err, err2, c.link(from, to))
	case "unlink", "rmdir":
		path, err := one()
		return errors.Join(err, c.unlink(path))
	case "unlinkat":
		path, err := at(args, 0)
		return errors.Join(err, c.unlink(path))
	case "mkdir":
		path, err := one()
		return errors.Join(err, c.create(path, true, args[1]))
	case "mkdirat":
		path, err := at(args, 0)
		return errors.Join(err, c.create(path, true, args[2]))
	case "chmod", "chown", "lchown", "setxattr", "lsetxattr":
		path, err := one()
		return errors.Join(err, c.mode(path, args[1:]))
	case "fchmod", "fchown", "fsetxattr":
		_, path := descriptor(args[0])
		return c.mode(path, args[1:])
	case "fchmodat", "fchownat":
		path, err := at(args, 0)
		return errors.Join(err, c.mode(path, args[2:]))
	case "mmap":
		if strings.Contains(args[2], "PROT_WRITE") && strings.Contains(args[3], "MAP_SHARED") {
			return c.unknown(args)
		}
		return nil
	}
	return c.unknown(args)
}

// unknown refuses a call that the recorder cannot follow, if it is about the
// recorded directory.
func (c *recorder) unknown(args []string) error {
	for i, a := range args {
		_, path := descriptor(a)
		if s, err := content(a); err == nil {
			path = s
		}
		if i+1 < len(args) && strings.HasPrefix(a, "AT_FDCWD") {
			path, _ = at(args, i)
		}
		if _, _, _, inside := c.lookup(path); inside {
			return errors.New("a call that the recorder does not know")
		}
	}
	return nil
}

func (c *recorder) open(path string, args []string, fd int64) error {
	flags := args[0]
	_, _, file, inside := c.lookup(path)
	if !inside {
		return nil
	}
	if strings.Contains(flags, "O_TMPFILE") || strings.Contains(flags, "O_APPEND") {
		return errors.New("a way to open that the recorder does not know")
	}
	if file == 0 {
		if err := c.create(path, false, args[1]); err != nil {
			return err
		}
		_, _, file, _ = c.lookup(path)
	} else if strings.Contains(flags, "O_TRUNC") {
		c.add(op{kind: opTruncate, on: file, text: "empty " + c.short(path)})
	}
	c.offsets[handle{strconv.FormatInt(fd, 10), file}] = 0
	return nil
}

// umask is that of the recorded programs.
const umask = 0o022

func (c *recorder) create(path string, dir bool, mode string) error {
	parent, name, _, inside := c.lookup(path)
	if !inside {
		return nil
	}
	if parent == 0 {
		return errors.New("no such directory")
	}
	bits, err := strconv.ParseUint(mode, 8, 32)
	if err != nil {
		return err
	}
	n := len(c.live) + 1
	made := &file{dir: dir, mode: os.FileMode(bits).Perm() &^ umask, uid: os.Getuid(), gid: os.Getgid()}
	if dir {
		made.names = map[string]int{}
	}
	c.live[n] = made.clone()
	c.add(op{kind: opName, on: parent, names: map[string]int{name: n}, made: made, text: "create " + c.short(path)})
	return nil
}

func (c *recorder) write(args []string, result int64) error {
	fd, path := descriptor(args[0])
	_, _, file, inside := c.lookup(path)
	if !inside {
		return nil
	}
	if file == 0 {
		return errors.New("no such file")
	}
	data, err := content(args[1])
	if err != nil {
		return err
	}
	h := handle{fd, file}
	off := c.offsets[h]
	if len(args) > 3 {
		if off, err = strconv.ParseInt(args[3], 10, 64); err != nil {
			return err
		}
	} else {
		c.offsets[h] = off + result
	}
	c.add(op{kind: opWrite, on: file, off: off, data: []byte(data)[:result],
		text: fmt.Sprintf("write %s, %d bytes at %d", c.short(path), result, off)})
	return nil
}

func (c *recorder) copy(name string, args []string, result int64) error {
	in, out := args[0], args[2]
	inOff, outOff := args[1], args[3]
	if name == "sendfile" {
		in, out = args[1], args[0]
		inOff, outOff = args[2], "NULL"
	}
	outFD, outPath := descriptor(out)
	_, _, to, inside := c.lookup(outPath)
	if !inside {
		return nil
	}
	inFD, inPath := descriptor(in)
	_, _, from, known := c.lookup(inPath)
	if !known || inOff != "NULL" || outOff != "NULL" {
		return errors.New("a copy that the recorder cannot follow")
	}
	src, dst := handle{inFD, from}, handle{outFD, to}
	data := c.live[from].data[c.offsets[src]:][:result]
	c.add(op{kind: opWrite, on: to, off: c.offsets[dst], data: append([]byte(nil), data...),
		text: fmt.Sprintf("copy to %s, %d bytes at %d", c.short(outPath), result, c.offsets[dst])})
	c.offsets[src] += result
	c.offsets[dst] += result
	return nil
}

func (c *recorder) rename(a, b string) error {
	dir, old, file, inside := c.lookup(a)
	dir2, name, _, inside2 := c.lookup(b)
	if !inside && !inside2 {
		return nil
	}
	if dir != dir2 || file == 0 {
		return errors.New("a rename that the recorder cannot follow")
	}
	c.add(op{kind: opName, on: dir, names: map[string]int{old: 0, name: file}, text: "rename " + c.short(a) + " to " + c.short(b)})
	return nil
}

func (c *recorder) link(a, b string) error {
	_, _, file, _ := c.lookup(a)
	dir, name, _, inside := c.lookup(b)
	if !inside {
		return nil
	}
	if file == 0 || dir == 0 {
		return errors.New("a link that the recorder cannot follow")
	}
	c.add(op{kind: opName, on: dir, names: map[string]int{name: file}, text: "link " + c.short(a) + " as " + c.short(b)})
	return nil
}

func (c *recorder) unlink(path string) error {
	dir, name, file, inside := c.lookup(path)
	if !inside {
		return nil
	}
	if file == 0 {
		return errors.New("no such file")
	}
	c.add(op{kind: opName, on: dir, names: map[string]int{name: 0}, text: "unlink " + c.short(path)})
	return nil
}

// mode notes a change of mode (one number in octal) or owner (two numbers).
func (c *recorder) mode(path string, args []string) error {
	_, _, file, inside := c.lookup(path)
	if !inside {
		return nil
	}
	if file == 0 {
		return errors.New("no such file")
	}
	o := op{kind: opMode, on: file, uid: -1, gid: -1, text: "change the mode or owner of " + c.short(path)}
	if mode, err := strconv.ParseUint(args[0], 8, 32); err == nil && strings.HasPrefix(args[0], "0") && len(args[0]) > 1 {
		o.mode = os.FileMode(mode).Perm()
	} else if uid, err := strconv.Atoi(args[0]); err == nil && len(args) > 1 {
		gid, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		o.uid, o.gid = uid, gid
	}
	c.add(o)
	return nil
}
