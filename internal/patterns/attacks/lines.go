// Package attacks tells which patterns of a firewall can be used to have others
// blocked. It runs them over lines that real Exims have logged of clients that
// write somebody else's address where they can.
package attacks

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"

	"symbiosis-connect-acl/internal/words"
)

// The lines are a choice from the recorded corpus: every way to forge a line with
// every text, every version of Exim, every form of its log, and for each of them
// lines that each published pattern takes a wrong address from.
//
//go:generate go run symbiosis-connect-acl/tests/corpus/choose -o attacks.gz ../../../tests/corpus/corpus.tsv
//go:embed attacks.gz
var packed []byte

// A Line is one line of Exim's main log. A pattern may take Peer from it, or
// nothing.
type Line struct {
	Peer netip.Addr
	Text string
}

// String gives the line as a terminal may show it, cut where it is long.
func (l Line) String() string {
	const most = 400
	if len(l.Text) > most {
		return words.Printable(l.Text[:most]) + "..."
	}
	return words.Printable(l.Text)
}

// Lines gives the recorded attacks, the shortest line first.
var Lines = sync.OnceValue(func() []Line {
	lines, err := Unpack(packed)
	if err != nil {
		panic("the attacks in this program: " + err.Error())
	}
	return lines
})

// Unpack reads what Pack has written.
func Unpack(data []byte) ([]Line, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(z)
	if err != nil {
		return nil, err
	}
	var lines []Line
	for _, l := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		peer, line, ok := strings.Cut(l, "\t")
		a, err := netip.ParseAddr(peer)
		if !ok || err != nil {
			return nil, fmt.Errorf("not an address, a tab and a line: %.80q", l)
		}
		lines = append(lines, Line{a, line})
	}
	return lines, nil
}

// Pack gives the lines as Unpack reads them. No line may have a line end in it.
func Pack(lines []Line) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	for _, l := range lines {
		if _, err := fmt.Fprintf(z, "%s\t%s\n", l.Peer, l.Text); err != nil {
			return nil, err
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
