package zone

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"symbiosis-connect-acl/internal/atomicfile"
)

// Serial gives the serial number of a zone that is written now, as of a moment
// and after one with another number. It grows for as long as it is asked for
// less than once a second on the average (RFC 1982 lets it wrap).
func Serial(now int64, before uint32) uint32 {
	if s := uint32(now); int32(s-before) > 0 || before == 0 {
		return s
	}
	return before + 1
}

// Stream is an Output that writes to w, with one serial number.
func Stream(w io.Writer, serial uint32) *Writer {
	return &Writer{w: bufio.NewWriterSize(w, 1<<16), serial: serial}
}

// A Writer writes a zone, and compares it with the one that is there.
type Writer struct {
	w      *bufio.Writer
	serial uint32
	old    *bufio.Reader // nil where there is none, or it differs
	buf    []byte
}

// Write writes text.
func (w *Writer) Write(p []byte) (int, error) {
	w.compare(len(p), func(old []byte) bool { return bytes.Equal(old, p) })
	return w.w.Write(p)
}

// WriteString writes text.
func (w *Writer) WriteString(s string) (int, error) {
	w.compare(len(s), func(old []byte) bool { return string(old) == s })
	return w.w.WriteString(s)
}

// WriteSerial writes the serial number. Any other is as good in the comparison.
func (w *Writer) WriteSerial() error {
	w.compare(serialWidth, func([]byte) bool { return true })
	_, err := fmt.Fprintf(w.w, "%0*d", serialWidth, w.serial)
	return err
}

// Flush writes what is left.
func (w *Writer) Flush() error { return w.w.Flush() }

func (w *Writer) compare(n int, equal func([]byte) bool) {
	if w.old == nil {
		return
	}
	if cap(w.buf) < n {
		w.buf = make([]byte, n)
	}
	old := w.buf[:n]
	if _, err := io.ReadFull(w.old, old); err != nil || !equal(old) {
		w.old = nil
	}
}

// same reports whether all that was written is all that was there.
func (w *Writer) same() bool {
	if w.old == nil {
		return false
	}
	_, err := w.old.ReadByte()
	return err == io.EOF
}

var errSame = errors.New("nothing has changed")

// WriteFile replaces the file at path with what put writes, with a serial number
// that is higher than the old one. When nothing but the number would change it
// leaves the file alone. A device or a pipe is written into.
func WriteFile(ctx context.Context, path string, now int64, put func(Output) error) (changed bool, err error) {
	var old *os.File
	var before uint32
	// A pipe would wait for somebody who writes.
	if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
		if old, err = os.Open(path); err != nil {
			return false, err
		}
		defer old.Close()
		head := make([]byte, 4096)
		n, _ := io.ReadFull(old, head)
		before, _ = serialIn(head[:n])
		if _, err := old.Seek(0, io.SeekStart); err != nil {
			return false, err
		}
	}
	err = atomicfile.Output(ctx, path, 0o644, func(to io.Writer) error {
		w := Stream(to, Serial(now, before))
		if old != nil && before != 0 {
			w.old = bufio.NewReaderSize(old, 1<<16)
		}
		if err := put(w); err != nil {
			return err
		}
		if w.same() {
			return errSame
		}
		return w.Flush()
	})
	if errors.Is(err, errSame) {
		return false, nil
	}
	return err == nil, err
}
