package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"symbiosis-connect-acl/internal/safepath"
	"symbiosis-connect-acl/internal/safepath/safepathtest"
)

// Whatever a user puts in its way, root writes and removes nothing outside that
// user's folder.
func TestUserSwapsLinks(t *testing.T) {
	for name, do := range map[string]func(path string) error{
		"write":     func(path string) error { return Write(path, []byte("new"), 0o644) },
		"neighbour": func(path string) error { return WriteAsNeighbour(path, []byte("new"), 0o644) },
		"remove": func(path string) error {
			err := Remove(path)
			if err == nil {
				return WriteAsNeighbour(path, []byte("new"), 0o644)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := safepathtest.New(t, "old")
			p.Try(func() error { return do(p.File) }, fs.ErrNotExist)
		})
	}
}

// The directory is swapped at the one moment at which that matters most: the
// temporary file is there, and is about to be renamed.
func TestSwapDuringWrite(t *testing.T) {
	p := safepathtest.New(t, "old")
	err := WriteFrom(p.File, 0o644, func(w io.Writer) error {
		p.SwapDir()
		_, err := io.WriteString(w, "new")
		return err
	})
	p.Unharmed()
	if err != nil {
		t.Fatal(err)
	}
	p.SwapDir()
	if data, err := os.ReadFile(p.File); err != nil || string(data) != "new" {
		t.Errorf("%q, %v; want the new content in the directory that was opened", data, err)
	}
	if left, err := os.ReadDir(p.Dir); err != nil || len(left) != 2 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestNeighbour(t *testing.T) {
	p := safepathtest.New(t, "old")
	for _, c := range []struct {
		path string
		uid  uint32
	}{{p.Dir + "/new", safepathtest.User}, {t.TempDir() + "/new", 0}} {
		if err := WriteAsNeighbour(c.path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(c.path, &st); err != nil || st.Uid != c.uid || st.Mode&0o7777 != 0o644 {
			t.Errorf("%s: owner %d, mode %o, %v", c.path, st.Uid, st.Mode, err)
		}
	}
}

// What is no regular file is never replaced.
func TestWriteOverPipe(t *testing.T) {
	path := t.TempDir() + "/pipe"
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, nil, 0o644); !errors.Is(err, safepath.ErrNotRegular) {
		t.Errorf("got %v", err)
	}
	if st, err := os.Lstat(path); err != nil || st.Mode().Type() != fs.ModeNamedPipe {
		t.Errorf("the pipe is gone: %v, %v", st, err)
	}
}

// What listens on a socket gets the output, and the socket stays.
func TestOutputToSocket(t *testing.T) {
	path := t.TempDir() + "/socket"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan string)
	go func() {
		var b strings.Builder
		if c, err := l.Accept(); err == nil {
			io.Copy(&b, c)
			c.Close()
		}
		got <- b.String()
	}()
	err = Output(t.Context(), path, 0o600, func(w io.Writer) error {
		_, err := io.WriteString(w, "text")
		return err
	})
	if text := <-got; err != nil || text != "text" {
		t.Errorf("%q, %v", text, err)
	}
	if st, err := os.Lstat(path); err != nil || st.Mode().Type() != fs.ModeSocket {
		t.Errorf("the socket is gone: %v, %v", st, err)
	}
}
