// Package firewall reads the directories in which the platform's firewall keeps
// one file for each address: blacklist.d and whitelist.d. They belong to an
// unprivileged user, whose links are not followed: see package safepath.
package firewall

import (
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/safepath"
)

// autoSuffix marks the files that the platform's scan writes and removes.
const autoSuffix = ".auto"

// UnknownPorts stands for the ports of an entry that is a symbolic link.
const UnknownPorts = "?"

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

// ReadAll reads the entries in several directories, as several firewalls have
// them.
func ReadAll(dirs []string) (all Entries, err error) {
	for _, dir := range dirs {
		e, err := Read(dir)
		if err != nil {
			return nil, err
		}
		all = append(all, e...)
	}
	return all, nil
}

// Read reads the entries in dir. A directory that does not exist has none, and
// a file whose name is no address is none.
func Read(dir string) (Entries, error) {
	d, err := safepath.OpenDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer d.Close()
	files, err := d.Names()
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var all Entries
	for _, file := range files {
		name, auto := strings.CutSuffix(file, autoSuffix)
		p, ok := prefix(name)
		if !ok {
			continue
		}
		e := Entry{Net: p, Automatic: auto, File: filepath.Join(dir, file)}
		text, modified, err := read(d, file)
		var link *safepath.LinkError
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, safepath.ErrNotRegular):
			continue // removed meanwhile, or no file of the firewall's
		case errors.As(err, &link):
			// One link must not hide all other entries: its name says which host
			// it is about, and only the ports stay unknown.
			text = []byte(UnknownPorts)
		case err != nil:
			return nil, err
		}
		e.Modified = modified
		e.Ports = strings.Fields(string(text))
		if len(e.Ports) == 0 || slices.Contains(e.Ports, "all") {
			e.Ports = nil
		}
		all = append(all, e)
	}
	return all, nil
}

func read(d *safepath.Dir, name string) (text []byte, modified time.Time, err error) {
	st, err := d.Lstat(name)
	if err != nil {
		return nil, modified, err
	}
	modified = st.ModTime()
	f, err := d.Open(name)
	if err != nil {
		return nil, modified, err
	}
	defer f.Close()
	text, err = io.ReadAll(f)
	return text, modified, err
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

// Automatic gives the names of the files in the directories that a firewall's
// scan wrote for the host: for IPv6 those of every network or address in its
// /64, of which Sympl's firewall and nftfw write several.
func Automatic(dirs []string, k address.Key) (files []string, err error) {
	all, err := ReadAll(dirs)
	for _, e := range all.Lookup(k) {
		if e.Automatic && e.Net.Bits() >= k.Prefix().Bits() {
			files = append(files, e.File)
		}
	}
	return files, err
}

// RemoveAutomatic removes those files, and gives the names of those that it has
// removed. The firewall follows at its next reload.
func RemoveAutomatic(dirs []string, k address.Key) (removed []string, err error) {
	files, err := Automatic(dirs, k)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		switch gone, err := remove(file); {
		case err != nil:
			return removed, err
		case gone:
			removed = append(removed, file)
		}
	}
	return removed, nil
}

func remove(file string) (gone bool, err error) {
	d, err := safepath.OpenDir(filepath.Dir(file))
	if err == nil {
		defer d.Close()
		err = d.Remove(filepath.Base(file))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
