package blacklist

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// Which rows came to the file since the copy was taken is found out from its
// pages: those that differ are few, and comparing the two files costs no more
// than reading them. It is proof, too, that no other row has changed, which
// counting rows and transactions is not.

// The most pages that may differ and are held in memory, which those of indexes
// are not. A file that has changed more is better copied anew.
const maxChanged = 2048

// readPages calls do for each run of bytes in which the copy differs from the
// file, at a multiple of the page size and no longer than a page, with what the
// file has.
func readPages(file, copied io.ReaderAt, pageSize, size int64, do func(page int64, b []byte) error) error {
	const chunk = 1 << 20 // a multiple of every page size
	a, b := make([]byte, chunk), make([]byte, chunk)
	for at := int64(0); at < size; at += chunk {
		n, err := file.ReadAt(a[:min(chunk, size-at)], at)
		if err != nil && err != io.EOF {
			return err
		}
		m, err := copied.ReadAt(b[:n], at)
		if err != nil && err != io.EOF {
			return err
		}
		if m == n && bytes.Equal(a[:n], b[:n]) {
			continue
		}
		for i := 0; i < n; i += int(pageSize) {
			end := min(i+int(pageSize), n)
			if end <= m && bytes.Equal(a[i:end], b[i:end]) {
				continue
			}
			if err := do(at/pageSize+int64(i)/pageSize+1, a[i:end]); err != nil {
				return err
			}
		}
	}
	return nil
}

// mend makes the copy equal to the file.
func mend(file io.ReaderAt, copied *os.File, pageSize, size int64) error {
	if err := readPages(file, copied, pageSize, size, func(page int64, b []byte) error {
		_, err := copied.WriteAt(b, (page-1)*pageSize)
		return err
	}); err != nil {
		return err
	}
	return copied.Truncate(size)
}

// A patch is the pages in which the file differs from the copy.
type patch struct {
	file     io.ReaderAt
	copied   *os.File
	pageSize int64
	size     int64            // of the file
	pages    map[int64][]byte // nil for a page of an index
	held     int              // how many are not nil
}

// comparePages gives the patch that makes copied equal to file.
func comparePages(file io.ReaderAt, copied *os.File, pageSize, size int64) (*patch, error) {
	p := &patch{file: file, copied: copied, pageSize: pageSize, size: size, pages: map[int64][]byte{}}
	st, err := copied.Stat()
	if err != nil {
		return nil, err
	}
	if size < st.Size() || size%pageSize != 0 {
		return nil, fmt.Errorf("%w: it has become smaller", errUnsteady)
	}
	return p, readPages(file, copied, pageSize, size, func(page int64, b []byte) error {
		if b[0] == indexInterior || b[0] == indexLeaf {
			p.pages[page] = nil
			return nil
		}
		if p.held++; p.held > maxChanged {
			return fmt.Errorf("%w: too much of it has changed", errUnsteady)
		}
		p.pages[page] = bytes.Clone(b)
		return nil
	})
}

// apply makes the copy equal to what the file was. A page of an index, which is
// not held, may be one of now: what the rows are does not depend on it.
func (p *patch) apply() error {
	again := make([]byte, p.pageSize)
	for page, b := range p.pages {
		if b == nil {
			b = again
			if _, err := p.file.ReadAt(b, (page-1)*p.pageSize); err != nil {
				return err
			}
		}
		if _, err := p.copied.WriteAt(b, (page-1)*p.pageSize); err != nil {
			return err
		}
	}
	return nil
}

// before and after read a page as it was copied, and as it is now.
func (p *patch) before(page int64) ([]byte, error) {
	b := make([]byte, p.pageSize)
	_, err := p.copied.ReadAt(b, (page-1)*p.pageSize)
	return b, err
}

func (p *patch) after(page int64) ([]byte, error) {
	b, ok := p.pages[page]
	if !ok {
		return p.before(page)
	}
	if b == nil {
		return nil, errPages
	}
	return b, nil
}

// errPages says that the pages are not laid out as expected. The file is then
// copied anew, and checked.
var errPages = fmt.Errorf("%w: its pages do not make a table", errUnsteady)

// Page types (SQLite file format, section 1.6).
const (
	indexInterior = 0x02
	tableInterior = 0x05
	indexLeaf     = 0x0a
	tableLeaf     = 0x0d
)

// tablePages tells which pages the table with the given root consists of:
// leaves has those with rows, inner those above them.
func (p *patch) tablePages(read func(int64) ([]byte, error), root int64) (leaves, inner []bool, err error) {
	pages := p.size/p.pageSize + 1
	leaves, inner = make([]bool, pages), make([]bool, pages)
	// All leaves are equally deep, so that only one of them is read.
	depth := 0
	for at := root; ; depth++ {
		b, err := read(at)
		if err != nil {
			return nil, nil, err
		}
		if b[0] == tableLeaf {
			break
		}
		if b[0] != tableInterior || depth > 20 {
			return nil, nil, errPages
		}
		first := binary.BigEndian.Uint32(b[8:])
		if n := cells(b); n > 0 {
			if i := int(binary.BigEndian.Uint16(b[12:])); i+4 <= len(b) {
				first = binary.BigEndian.Uint32(b[i:])
			}
		}
		if at = int64(first); at < 1 || at >= pages {
			return nil, nil, errPages
		}
	}
	var walk func(page int64, depth int) error
	walk = func(page int64, depth int) error {
		if page < 1 || page >= pages || leaves[page] || inner[page] {
			return errPages
		}
		if depth == 0 {
			leaves[page] = true
			return nil
		}
		inner[page] = true
		b, err := read(page)
		if err != nil {
			return err
		}
		n := cells(b)
		if b[0] != tableInterior || 12+2*n > len(b) {
			return errPages
		}
		for i := range n {
			at := int(binary.BigEndian.Uint16(b[12+2*i:]))
			if at+4 > len(b) {
				return errPages
			}
			if err := walk(int64(binary.BigEndian.Uint32(b[at:])), depth-1); err != nil {
				return err
			}
		}
		return walk(int64(binary.BigEndian.Uint32(b[8:])), depth-1)
	}
	return leaves, inner, walk(root, depth)
}

func cells(page []byte) int { return int(binary.BigEndian.Uint16(page[3:])) }

// addRows adds the rows of a leaf to rows, as they are stored, by rowid.
func (p *patch) addRows(rows map[int64]string, b []byte) error {
	n := cells(b)
	if b[0] != tableLeaf || 8+2*n > len(b) {
		return errPages
	}
	for i := range n {
		at := int(binary.BigEndian.Uint16(b[8+2*i:]))
		if at >= len(b) {
			return errPages
		}
		length, n := varint(b[at:])
		at += n
		rowid, n := varint(b[at:])
		at += n
		// A row that goes on in other pages is no address's.
		if length < 0 || length > p.pageSize/2 || at+int(length) > len(b) || rows[rowid] != "" {
			return errPages
		}
		rows[rowid] = string(b[at : at+int(length)])
	}
	return nil
}

// varint reads an integer of SQLite's file format. It gives 0 bytes read when
// there is none.
func varint(b []byte) (v int64, n int) {
	for ; n < len(b) && n < 9; n++ {
		if n == 8 {
			return v<<8 | int64(b[n]), 9
		}
		v = v<<7 | int64(b[n]&0x7f)
		if b[n] < 0x80 {
			return v, n + 1
		}
	}
	return 0, 0
}

// onlyAppends makes sure that all that happened to the table with the given
// root is that rows came to it beyond the rowid last. It returns errUnsteady
// when something else did, or may have.
func (p *patch) onlyAppends(root, last int64) error {
	leavesBefore, _, err := p.tablePages(p.before, root)
	if err != nil {
		return err
	}
	leaves, inner, err := p.tablePages(p.after, root)
	if err != nil {
		return err
	}
	old, rows := map[int64]string{}, map[int64]string{}
	for page := range leaves {
		_, changed := p.pages[int64(page)]
		if leaves[page] == leavesBefore[page] && !changed {
			continue
		}
		if leavesBefore[page] {
			b, err := p.before(int64(page))
			if err != nil {
				return err
			}
			if err := p.addRows(old, b); err != nil {
				return err
			}
		}
		if leaves[page] {
			b, err := p.after(int64(page))
			if err != nil {
				return err
			}
			if err := p.addRows(rows, b); err != nil {
				return err
			}
		}
	}
	for rowid, was := range old {
		if rows[rowid] != was {
			return fmt.Errorf("%w: row %d was changed or deleted", errUnsteady, rowid)
		}
		delete(rows, rowid)
	}
	for rowid := range rows {
		if rowid <= last {
			return fmt.Errorf("%w: row %d came in between", errUnsteady, rowid)
		}
	}
	// The rest of a row that is longer than its page is in pages that begin
	// with a zero, as do those of the list of free pages. All other pages that
	// have changed are the header and indexes.
	free, err := p.freeTrunks()
	if err != nil {
		return err
	}
	for page, b := range p.pages {
		if b != nil && b[0] == 0 && !leaves[page] && !inner[page] && !free[page] {
			return fmt.Errorf("%w: page %d", errUnsteady, page)
		}
	}
	return nil
}

// freeTrunks gives the pages of the list of free pages.
func (p *patch) freeTrunks() (map[int64]bool, error) {
	head, err := p.after(1)
	if err != nil {
		return nil, err
	}
	free := map[int64]bool{}
	for page := int64(binary.BigEndian.Uint32(head[32:])); page != 0; {
		if page > p.size/p.pageSize || free[page] {
			return nil, errPages
		}
		free[page] = true
		b, err := p.after(page)
		if err != nil {
			return nil, err
		}
		page = int64(binary.BigEndian.Uint32(b))
	}
	return free, nil
}
