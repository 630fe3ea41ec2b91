package safepath

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make folders of another user's")
	}
}

// Which links are followed is decided by who may change the directories on the
// way, not by where the link leads.
func TestRule(t *testing.T) {
	needRoot(t)
	const user = 1000
	for _, c := range []struct {
		name    string
		prepare func(dir string)
		path    string
		leads   string // "" when a link is refused
	}{
		{"root's link to a file", func(d string) { os.Symlink("real/file", d+"/a") }, "a", "real/file"},
		{"root's link to a folder", func(d string) { os.Symlink(d+"/real", d+"/a") }, "a/file", "real/file"},
		{"root's link to what is not there", func(d string) { os.Symlink("real/new", d+"/a") }, "a", "real/new"},
		{"root's chain of links", func(d string) { os.Symlink("b", d+"/a"); os.Symlink("./real/../real/file", d+"/b") }, "a", "real/file"},
		{"the parent of what a link leads to", func(d string) { os.Symlink("real/in", d+"/a") }, "a/../file", "real/file"},
		{"no link below a user's folder", func(d string) { os.Mkdir(d+"/u", 0o755); os.Chown(d+"/u", user, user) }, "u/../real/file", "real/file"},
		{"root's link to a user's folder", func(d string) { os.Chown(d+"/real", user, user); os.Symlink("real", d+"/a") }, "a/file", "real/file"},
		{"a user's link to a file", func(d string) {
			os.Mkdir(d+"/u", 0o755)
			os.Symlink("../real/file", d+"/u/a")
			os.Chown(d+"/u", user, user)
		}, "u/a", ""},
		{"a user's link to a folder", func(d string) {
			os.Mkdir(d+"/u", 0o755)
			os.Symlink("../real", d+"/u/a")
			os.Chown(d+"/u", user, user)
		}, "u/a/file", ""},
		{"a link to his own", func(d string) {
			os.Symlink("file", d+"/real/a")
			os.Chown(d+"/real", user, user)
		}, "real/a", ""},
		{"a link in root's folder below a user's", func(d string) {
			os.Symlink("../file", d+"/real/in/a")
			os.Chown(d+"/real", user, user)
		}, "real/in/a", ""},
		{"behind root's link", func(d string) {
			os.Symlink("real", d+"/a")
			os.Symlink("file", d+"/real/a")
			os.Chown(d+"/real", user, user)
		}, "a/a", ""},
		{"a group may change the folder", func(d string) {
			os.Symlink("file", d+"/real/a")
			os.Chown(d+"/real", 0, user)
			os.Chmod(d+"/real", 0o775)
		}, "real/a", ""},
		{"everybody may change the folder", func(d string) {
			os.Symlink("file", d+"/real/a")
			os.Chmod(d+"/real", 0o777)
		}, "real/a", ""},
		{"root's link in a folder like /tmp", func(d string) {
			os.Symlink("file", d+"/real/a")
			os.Chmod(d+"/real", 0o777|fs.ModeSticky)
		}, "real/a", "real/file"},
		{"a user's link in a folder like /tmp", func(d string) {
			os.Symlink("file", d+"/real/a")
			os.Lchown(d+"/real/a", user, user)
			os.Chmod(d+"/real", 0o777|fs.ModeSticky)
		}, "real/a", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, err := filepath.EvalSymlinks(t.TempDir())
			must(t, err)
			must(t, os.MkdirAll(dir+"/real/in", 0o755))
			must(t, os.WriteFile(dir+"/real/file", []byte("text"), 0o644))
			c.prepare(dir)
			real, err := RealPath(dir + "/" + c.path)
			var link *LinkError
			if c.leads == "" {
				if !errors.As(err, &link) || !strings.HasSuffix(link.Link, "/a") || !strings.HasPrefix(link.Link, link.Folder) {
					t.Errorf("%q, %v; want that the link is refused", real, err)
				}
				if _, err := ReadFile(dir + "/" + c.path); !errors.As(err, &link) {
					t.Errorf("ReadFile: %v", err)
				}
				return
			}
			if err != nil || real != filepath.Join(dir, c.leads) {
				t.Errorf("%q, %v; want %q", real, err, c.leads)
			}
			text, err := ReadFile(dir + "/" + c.path)
			if c.leads != "real/new" && (err != nil || string(text) != "text") {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
}

func TestOddPaths(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Symlink("b", dir+"/a"))
	must(t, os.Symlink("a", dir+"/b"))
	if _, err := RealPath(dir + "/a"); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a loop: %v", err)
	}
	f, err := os.Create(dir + "/f")
	must(t, err)
	defer f.Close()
	for path, want := range map[string]error{
		dir + "/f/x":         syscall.ENOTDIR,
		dir + "/nowhere/x":   fs.ErrNotExist,
		"/":                  ErrNotRegular,
		"":                   fs.ErrNotExist,
		"/dev/stdout":        ErrDescriptor,
		"/proc/self/fd/1":    ErrDescriptor,
		"/dev/fd/1":          ErrDescriptor,
		dir + "/f/../../../": syscall.ENOTDIR,
	} {
		if d, name, err := Resolve(path); !errors.Is(err, want) {
			t.Errorf("%q: %v, %q, %v; want %v", path, d, name, err, want)
		}
	}
	// Nothing is read from a device, and nothing waits for a pipe.
	must(t, syscall.Mkfifo(dir+"/pipe", 0o600))
	for _, path := range []string{"/dev/zero", dir + "/pipe", dir} {
		if _, err := ReadFile(path); !errors.Is(err, ErrNotRegular) {
			t.Errorf("%s: %v", path, err)
		}
	}
	t.Chdir(dir)
	if got, err := RealPath("f"); err != nil || filepath.Base(got) != "f" {
		t.Errorf("a relative path: %q, %v", got, err)
	}
}

// A user who may not read a file can still give it a name in his folder where
// fs.protected_hardlinks is off. What is read is written again as his.
func TestHardLink(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	must(t, os.Mkdir(dir+"/u", 0o755))
	must(t, os.WriteFile(dir+"/secret", []byte("secret"), 0o640))
	must(t, os.Link(dir+"/secret", dir+"/u/f"))
	if _, err := ReadFile(dir + "/u/f"); err != nil {
		t.Errorf("in root's folder: %v", err)
	}
	must(t, os.Chown(dir+"/u", 1000, 1000))
	if data, err := ReadFile(dir + "/u/f"); err == nil {
		t.Errorf("read %q", data)
	}
	must(t, os.Chmod(dir+"/secret", 0o644))
	if _, err := ReadFile(dir + "/u/f"); err != nil {
		t.Errorf("what everybody may read: %v", err)
	}
}
