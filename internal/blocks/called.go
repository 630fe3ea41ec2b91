package blocks

import (
	"bufio"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"symbiosis-connect-acl/internal/firewall"
)

// callees gives the addresses that this server is calling without an answer.
//
// A block of all ports drops the answers to connections of our own, too: when
// Exim has mail for the host, each try makes the counter grow, though nobody
// knocks. Such a try waits two minutes, so a few readings suffice to see one.
func callees() (all []netip.Addr, err error) {
	for _, file := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		f, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no IPv6 here
		} else if err != nil {
			return nil, err
		}
		const synSent = "02"
		s := bufio.NewScanner(f)
		for s.Scan() {
			if w := strings.Fields(s.Text()); len(w) > 3 && w[3] == synSent {
				if a, ok := kernelAddr(w[2]); ok {
					all = append(all, a)
				}
			}
		}
		f.Close()
		if s.Err() != nil {
			return nil, s.Err()
		}
	}
	return all, nil
}

// kernelAddr reads an address as /proc/net/tcp has it: groups of 32 bits in the
// machine's order, which is little-endian on all that we build for.
func kernelAddr(s string) (netip.Addr, bool) {
	text, _, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != 4 && len(b) != 16 {
		return netip.Addr{}, false
	}
	for group := range slices.Chunk(b, 4) {
		slices.Reverse(group)
	}
	a, ok := netip.AddrFromSlice(b)
	return a.Unmap(), ok
}

// mark writes down which of the blocked hosts this server calls.
func (b Book) mark(entries firewall.Entries, called []netip.Addr) {
	for _, a := range called {
		for _, e := range entries {
			if block := b[filepath.Base(e.File)]; block != nil && e.Net.Contains(a) {
				block.Called = true
			}
		}
	}
}
