package atomicfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"symbiosis-connect-acl/internal/safepath"
)

// Output writes to what a user has named for a command's output. A regular
// file is replaced, and a new one is made, as WriteFrom does. A device, a pipe,
// a socket, or a path such as /dev/stdout that stands for an open file, is
// written into. Nobody may ever read from a pipe: the end of ctx ends the wait.
func Output(ctx context.Context, path string, perm fs.FileMode, put func(io.Writer) error) error {
	into, err := special(path)
	if err != nil {
		return err
	}
	if into == nil {
		return WriteFrom(path, perm, put)
	}
	done := make(chan error, 1)
	go func() {
		w, err := into()
		if err == nil {
			err = errors.Join(put(w), w.Close())
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// special gives what opens path where there is no regular file to be replaced,
// and nil where there is one, or none.
func special(path string) (func() (io.WriteCloser, error), error) {
	dir, name, err := safepath.Resolve(path)
	if errors.Is(err, safepath.ErrDescriptor) {
		return func() (io.WriteCloser, error) { return openDescriptor(path) }, nil
	} else if err != nil {
		return nil, err
	}
	st, err := dir.Lstat(name)
	if err != nil || st.Mode().IsRegular() || st.IsDir() {
		dir.Close() // WriteFrom makes the file, or says what is wrong
		return nil, nil
	}
	return func() (io.WriteCloser, error) {
		defer dir.Close()
		if st.Mode().Type() == fs.ModeSocket {
			return connect(dir, name)
		}
		f, err := dir.OpenFile(name, os.O_WRONLY|unix.O_NOCTTY, 0)
		if err != nil {
			return nil, err
		}
		if now, err := f.Stat(); err != nil || now.Mode().Type() != st.Mode().Type() {
			f.Close()
			return nil, errors.Join(err, &fs.PathError{Op: "open", Path: path, Err: errors.New("was replaced meanwhile: try again")})
		}
		return f, nil
	}, nil
}

// connect connects to the socket in dir, and to none that was put there by a
// link meanwhile.
func connect(dir *safepath.Dir, name string) (io.WriteCloser, error) {
	f, err := dir.OpenFile(name, unix.O_PATH, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c, err := net.Dial("unix", fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir.Path(name), err)
	}
	return c, nil
}

// openDescriptor opens an open file once more, to write to its end. What cannot
// be opened so, such as a socket, is written to where it is one of our own.
func openDescriptor(path string) (io.WriteCloser, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	for _, f := range []*os.File{os.Stdout, os.Stderr} {
		if our, err := f.Stat(); err == nil && os.SameFile(our, st) {
			return open{f}, nil
		}
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
}

// open is a file that stays open.
type open struct{ io.Writer }

func (open) Close() error { return nil }
