package eximlog

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A File is one file of a log.
type File struct {
	Path string
	Size int64     // as it is on disk
	Last time.Time // when it was last written to
}

// Files gives a log and what logrotate has made of it, the oldest first:
// mainlog.2.gz, mainlog.1, mainlog; or mainlog-20261126.gz. A path with "*" in
// it stands for all files that fit. Files that were last written to before since
// are left out.
func Files(path string, since time.Time) ([]File, error) {
	found, err := filepath.Glob(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if !strings.ContainsAny(path, "*?[") {
		for _, pattern := range []string{".[0-9]*", "-[0-9]*"} {
			more, _ := filepath.Glob(path + pattern)
			found = append(found, more...)
		}
	}
	var files []File
	for _, p := range found {
		st, err := os.Stat(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue // rotated this moment
		} else if err != nil {
			return nil, err
		}
		if st.Mode().IsRegular() && !st.ModTime().Before(since) {
			files = append(files, File{p, st.Size(), st.ModTime()})
		}
	}
	if len(found) == 0 {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	slices.SortStableFunc(files, func(a, b File) int { return a.Last.Compare(b.Last) })
	return files, nil
}

// chunk is how much is read at once; a longer line is passed over. Exim's have
// at most 8 KB.
const chunk = 256 << 10

// Read reads the files one after the other, calls each for every event from
// since on and before until, and told now and then with how many octets it has
// read of the files as they are on disk. It returns a problem for each file that
// could not be read to its end; what was read of it counts.
func Read(ctx context.Context, files []File, since, until time.Time, each func(*Event), told func(int64)) (problems []error, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	pieces, free := make(chan []byte, 2), make(chan []byte, 4)
	for range cap(free) {
		free <- make([]byte, chunk)
	}
	go func() { // reading and unpacking on one core, parsing on another
		defer close(pieces)
		done := int64(0)
		for _, f := range files {
			if err := split(ctx, f.Path, free, pieces, func(n int64) { told(done + n) }); err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", f.Path, err))
			}
			done += f.Size
		}
	}()
	from, to := since.Unix(), until.Unix()
	var p Parser
	for piece := range pieces {
		for b := piece; len(b) > 0; {
			line := b
			if i := bytes.IndexByte(b, '\n'); i >= 0 {
				line, b = b[:i], b[i+1:]
			} else {
				b = nil
			}
			if e, ok := p.Line(line); ok && e.At >= from && e.At < to {
				each(&e)
			}
		}
		free <- piece[:chunk]
	}
	return problems, ctx.Err()
}

// split sends a file on in pieces of whole lines.
func split(ctx context.Context, path string, free <-chan []byte, pieces chan<- []byte, told func(int64)) error {
	f, err := os.Open(path)
	if err != nil {
		return errors.Unwrap(err)
	}
	defer f.Close()
	counted := &counter{r: f, told: told}
	r := io.Reader(counted)
	switch filepath.Ext(path) {
	case ".gz":
		if r, err = gzip.NewReader(counted); err != nil {
			return fmt.Errorf("damaged, and not read: %w", err)
		}
	case ".xz", ".bz2", ".zst":
		return errors.New("not read: this knows plain files and .gz only; unpack it beside the others")
	}
	var rest []byte // a line that is not whole yet
	for {
		var buf []byte
		select {
		case buf = <-free:
		case <-ctx.Done():
			return nil
		}
		n := copy(buf, rest)
		m, err := io.ReadFull(r, buf[n:])
		end := n + m
		if err == nil {
			end = bytes.LastIndexByte(buf[:n+m], '\n') + 1
			rest = append(rest[:0], buf[end:n+m]...)
			if len(rest) == chunk {
				rest = rest[:0]
			}
		}
		pieces <- buf[:end]
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF && filepath.Ext(path) != ".gz":
			return nil
		case err == io.ErrUnexpectedEOF:
			// Of a .gz it may be the end of the lines or the end of half a file.
			if _, err := r.Read(make([]byte, 1)); err == io.EOF {
				return nil
			}
			return errors.New("it ends too early: what was read of it counts")
		case err != nil:
			return fmt.Errorf("damaged: %w; what was read of it counts", err)
		}
	}
}

type counter struct {
	r    io.Reader
	n    int64
	told func(int64)
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.told(c.n)
	return n, err
}
