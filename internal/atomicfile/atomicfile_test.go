package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestWriteKeepsOwnerAndMode(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(path, 123, 456); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("f", link); err != nil {
		t.Fatal(err)
	}
	if err := Write(link, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != "new" {
		t.Fatalf("%q, %v", got, err)
	}
	st, err := os.Lstat(path)
	if err != nil || st.Mode() != 0o640 {
		t.Fatalf("mode %v, %v; want 0640", st.Mode(), err)
	}
	if sys := st.Sys().(*syscall.Stat_t); os.Getuid() == 0 && (sys.Uid != 123 || sys.Gid != 456) {
		t.Errorf("owner %d:%d; want 123:456", sys.Uid, sys.Gid)
	}
	if st, err := os.Lstat(link); err != nil || st.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v, %v", st, err)
	}
}

func TestWriteNewFileAndFailure(t *testing.T) {
	dir := t.TempDir()
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	path := filepath.Join(dir, "f")
	if err := Write(path, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode() != 0o644 {
		t.Errorf("mode %v, %v; want 0644", st.Mode(), err)
	}
	// What cannot be written to its end leaves the old content.
	full := errors.New("full")
	if err := WriteFrom(path, 0o644, func(w io.Writer) error { io.WriteString(w, "half"); return full }); err != full {
		t.Errorf("got %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
	// A directory cannot be replaced by a file: nothing may be left behind.
	target := filepath.Join(dir, "d")
	if err := os.MkdirAll(filepath.Join(target, "full"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Write(target, []byte("x"), 0o644); err == nil {
		t.Error("wrote over a directory")
	}
	names, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(names) != 0 {
		t.Errorf("left behind: %v, %v", names, err)
	}
}

// With an access control list the mode's bits of the group are its mask: a file
// that lost the list and kept the mode would be open to its group.
func TestWriteKeepsAccessList(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	list := func(group byte) string {
		const nobody = "\xff\xff\xff\xff"
		return "\x02\x00\x00\x00" +
			"\x01\x00\x06\x00" + nobody + // the owner
			"\x02\x00\x06\x00" + "\xe8\x03\x00\x00" + // user 1000
			"\x04\x00" + string(group) + "\x00" + nobody + // the group
			"\x10\x00\x06\x00" + nobody + // the mask
			"\x20\x00\x00\x00" + nobody // others
	}
	for _, c := range []struct{ directory, file string }{
		{"", list(0)}, {list(4), list(0)}, {list(4), ""},
	} {
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, a := range []struct{ path, name, list string }{
			{path, "system.posix_acl_access", c.file}, {dir, "system.posix_acl_default", c.directory},
		} {
			syscall.Removexattr(a.path, a.name)
			if a.list == "" {
				continue
			}
			if err := syscall.Setxattr(a.path, a.name, []byte(a.list), 0); errors.Is(err, syscall.EOPNOTSUPP) {
				t.Skip("this file system has no access control lists")
			} else if err != nil {
				t.Fatal(err)
			}
		}
		before, _ := os.Stat(path)
		if err := Write(path, []byte("new"), 0o644); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 1000)
		n, _ := syscall.Getxattr(path, "system.posix_acl_access", got)
		if string(got[:max(n, 0)]) != c.file {
			t.Errorf("the list is %q; want %q", got[:max(n, 0)], c.file)
		}
		if after, err := os.Stat(path); err != nil || after.Mode() != before.Mode() {
			t.Errorf("mode %v, %v; want %v", after.Mode(), err, before.Mode())
		}
	}
}
