// Package safepathtest plays a user who swaps what he has in his folder for
// symbolic links to what is not his, while root works there.
package safepathtest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"symbiosis-connect-acl/internal/safepath"
)

// enough is how often a thing has to be done, and to be refused; most is how
// often it is tried for that.
const enough, most = 30, 300

// A Place is a folder of an unprivileged user's, with a directory in it that
// holds a file, and a directory of root's outside that looks the same.
type Place struct {
	t       testing.TB
	Dir     string // below the user's folder
	File    string // in Dir
	outside string
	want    string
}

// User is the user whom the folder belongs to.
const User = 1000

// New makes a place. It needs root. Each file, and others, if named, has the
// content in both directories.
func New(t testing.TB, content string, others ...string) *Place {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make a folder of another user's")
	}
	top := t.TempDir()
	p := &Place{t: t, Dir: top + "/user/dir", File: top + "/user/dir/file", outside: top + "/outside"}
	p.must(os.MkdirAll(top+"/user/links", 0o755))
	for _, d := range []string{p.Dir, p.outside} {
		p.must(os.MkdirAll(d, 0o755))
		for _, name := range append(others, "file", "other") {
			p.must(os.WriteFile(d+"/"+name, []byte(content), 0o644))
		}
	}
	p.must(os.Symlink(p.outside, top+"/user/links/dir"))
	p.must(filepath.WalkDir(top+"/user", func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, User, User))
	}))
	p.want = p.state()
	return p
}

func (p *Place) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// state is everything about the directory outside that nobody may change.
func (p *Place) state() string {
	var b strings.Builder
	p.must(filepath.WalkDir(p.outside, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		var data []byte
		if !d.IsDir() {
			if data, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		fmt.Fprintln(&b, path, st.Ino, st.Mode, st.Uid, st.Gid, st.Nlink, st.Mtim, st.Ctim, sha256.Sum256(data))
		return nil
	}))
	return b.String()
}

func (p *Place) spare() string { return filepath.Dir(p.Dir) + "/links/" }

// SwapDir exchanges p.Dir and the user's link in its place.
func (p *Place) SwapDir() {
	p.must(unix.Renameat2(unix.AT_FDCWD, p.Dir, unix.AT_FDCWD, p.spare()+"dir", unix.RENAME_EXCHANGE))
}

// SwapFile puts a link, or a file again, in the place of p.File.
func (p *Place) SwapFile(link bool) {
	name := filepath.Base(p.File)
	if link {
		p.must(os.Symlink(p.outside+"/"+name, p.spare()+name))
	} else {
		p.must(os.WriteFile(p.spare()+name, []byte("his"), 0o644))
	}
	p.must(os.Lchown(p.spare()+name, User, User))
	p.must(os.Rename(p.spare()+name, p.File))
}

// Unharmed fails the test if anything outside the user's folder was changed.
func (p *Place) Unharmed() {
	p.t.Helper()
	if now := p.state(); now != p.want {
		p.t.Fatalf("outside the folder:\n%swas:\n%s", now, p.want)
	}
}

// Try does something to p.File, first beside links that lie still, then again
// and again while they are swapped in and out, until it has often been done and
// often been refused. Every error must be that of a link, or in allowed.
func (p *Place) Try(do func() error, allowed ...error) {
	p.t.Helper()
	try := func() (refused bool) {
		err := do()
		p.Unharmed()
		var link *safepath.LinkError
		if refused = errors.As(err, &link); err == nil || refused {
			return refused
		}
		for _, e := range allowed {
			if errors.Is(err, e) {
				return false
			}
		}
		p.t.Fatal(err)
		return false
	}
	for what, swap := range map[string]func(link bool){
		p.Dir:  func(bool) { p.SwapDir() },
		p.File: p.SwapFile,
	} {
		swap(true)
		if !try() {
			p.t.Fatalf("%s is a link, and was followed", what)
		}
		swap(false)
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for link := true; ; link = !link {
				select {
				case <-stop:
					if !link {
						swap(link)
					}
					return
				default:
					swap(link)
					// Long enough for a thing to be done now and then, and to be
					// caught at any of its steps.
					time.Sleep(rand.N(time.Millisecond))
				}
			}
		}()
		done, refused := 0, 0
		for (done < enough || refused < enough) && done+refused < most {
			if try() {
				refused++
			} else {
				done++
			}
		}
		close(stop)
		<-stopped
		if done < enough || refused < enough {
			p.t.Logf("%s: done %d times, refused %d times", what, done, refused)
		}
	}
}
