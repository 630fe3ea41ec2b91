// Package logfile opens logs as they lie on disk: plain, or packed with gzip. A
// log that is packed otherwise is refused, because as text it would be one
// without a line that means anything.
package logfile

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// A Log is an open log, to be read as text.
type Log struct {
	io.Reader
	file *os.File
	read int64
}

// The packers of which logs may be, with what their files begin with.
var packers = []struct{ name, ending, magic string }{
	{"gzip", ".gz", "\x1f\x8b"},
	{"xz", ".xz", "\xfd7zXZ\x00"},
	{"zstd", ".zst", "\x28\xb5\x2f\xfd"},
	{"bzip2", ".bz2", "BZh"},
	{"lzma", ".lzma", "\x5d\x00\x00"},
	{"lz4", ".lz4", "\x04\x22\x4d\x18"},
}

// Open opens the log at path, "-" for standard input.
func Open(path string) (*Log, error) {
	f := os.Stdin
	if path != "-" {
		var err error
		if f, err = os.Open(path); err != nil {
			return nil, err
		}
	}
	l := &Log{file: f}
	if err := l.unpack(path); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (l *Log) unpack(path string) error {
	b := bufio.NewReaderSize(counter{l}, 1<<16)
	l.Reader = b
	begin, err := b.Peek(6)
	if err != nil && err != io.EOF {
		return err
	}
	for _, p := range packers {
		// A file that is cut off, or empty, may have no more than its name.
		if !bytes.HasPrefix(begin, []byte(p.magic)) && !strings.HasSuffix(path, p.ending) {
			continue
		}
		if p.name != "gzip" {
			return &PackedError{p.name}
		}
		z, err := gzip.NewReader(b)
		if err != nil {
			return damaged(err)
		}
		l.Reader = checked{z}
	}
	return nil
}

// A PackedError says that a log is packed in a way that nobody here unpacks.
type PackedError struct {
	Packer string // the program that does: it takes -dc
}

func (e *PackedError) Error() string { return "packed with " + e.Packer + ", which is not read here" }

// damaged says that a packed log cannot be read to its end.
func damaged(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errors.New("the packed log is cut off: its end is missing")
	}
	return fmt.Errorf("the packed log is damaged: %w", err)
}

type checked struct{ r io.Reader }

func (c checked) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil && err != io.EOF {
		err = damaged(err)
	}
	return n, err
}

type counter struct{ l *Log }

func (c counter) Read(p []byte) (int, error) {
	n, err := c.l.file.Read(p)
	c.l.read += int64(n)
	return n, err
}

// Progress tells how much of the file has been read, packed as it is, and how
// much there is; size is 0 when that is not known.
func (l *Log) Progress() (read, size int64) {
	if st, err := l.file.Stat(); err == nil && st.Mode().IsRegular() {
		size = st.Size()
	}
	return l.read, size
}

// Close closes the log.
func (l *Log) Close() error {
	if l.file == os.Stdin {
		return nil
	}
	return l.file.Close()
}
