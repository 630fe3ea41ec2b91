// Package firewall reads the directories in which the platform's firewall keeps
// one file for each address: blacklist.d and whitelist.d.
package firewall

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/address"
)

// autoSuffix marks the files that the platform's scan writes and removes.
const autoSuffix = ".auto"

// An Entry is one file: an address or a network, and the ports it is about.
type Entry struct {
	Net       netip.Prefix
	Automatic bool     // written by the platform's scan
	Ports     []string // as written; nil means all of them
	File      string
	Modified  time.Time // automatic files are removed when this is two days old
}

// Entries are all entries of one directory.
type Entries []Entry

// Read reads the entries in dir. A directory that does not exist has none, and
// a file whose name is no address is none.
func Read(dir string) (Entries, error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var all Entries
	for _, f := range files {
		name, auto := strings.CutSuffix(f.Name(), autoSuffix)
		p, ok := prefix(name)
		if !ok {
			continue
		}
		e := Entry{Net: p, Automatic: auto, File: filepath.Join(dir, f.Name())}
		st, err := os.Stat(e.File)
		if err != nil || !st.Mode().IsRegular() {
			continue // removed meanwhile, or no file of the firewall's
		}
		e.Modified = st.ModTime()
		text, err := os.ReadFile(e.File)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		e.Ports = strings.Fields(string(text))
		if len(e.Ports) == 0 || slices.Contains(e.Ports, "all") {
			e.Ports = nil
		}
		all = append(all, e)
	}
	return all, nil
}

// prefix reads a file's name: an address or a network with "|" for "/".
func prefix(name string) (netip.Prefix, bool) {
	name = strings.Replace(name, "|", "/", 1)
	if p, err := netip.ParsePrefix(name); err == nil {
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(name)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

// Lookup gives the entries that are about the host: those whose network covers
// it, and single addresses inside an IPv6 host's /64.
func (e Entries) Lookup(k address.Key) Entries {
	var found Entries
	if !k.IsValid() {
		return nil
	}
	for _, x := range e {
		if x.Net.Overlaps(k.Prefix()) {
			found = append(found, x)
		}
	}
	return found
}

// RemoveAutomatic removes the file that the platform's scan wrote for the host
// in dir, and reports whether there was one. The firewall follows at its next
// reload.
func RemoveAutomatic(dir string, k address.Key) (bool, error) {
	err := os.Remove(filepath.Join(dir, k.FileName()+autoSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
