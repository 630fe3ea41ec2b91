package platform

import (
	"os"
	"path/filepath"
)

// A Firewall is a set of folders and a database in which one firewall keeps what
// it knows. All have the same form; nftfw's database has another.
type Firewall struct {
	Name     string // "Symbiosis", "Sympl" or "nftfw"
	Dir      string // patterns.d, blacklist.d, whitelist.d
	Database string
	Days     int // for so long an automatic file of blacklist.d stays after the last offence
}

// PatternFile gives the firewall's patterns for Exim's log.
func (f Firewall) PatternFile() string { return filepath.Join(f.Dir, "patterns.d", "exim4.patterns") }

// Blacklist gives the folder with a file for each host that it blocks.
func (f Firewall) Blacklist() string { return filepath.Join(f.Dir, "blacklist.d") }

// Whitelist gives the folder with a file for each host that it never blocks.
func (f Firewall) Whitelist() string { return filepath.Join(f.Dir, "whitelist.d") }

// Firewalls gives the platform's own firewall, whether it is there or not, and
// nftfw, which may have taken its place, in each place where it has its folder
// or its database.
func (p Platform) Firewalls() []Firewall {
	all := []Firewall{{map[string]string{"symbiosis": "Symbiosis", "sympl": "Sympl"}[p.Name], p.FirewallDir, p.Database, 2}}
	for _, prefix := range []string{"", "/usr/local"} {
		f := Firewall{"nftfw", filepath.Join(p.Root, prefix, "/etc/nftfw"), filepath.Join(p.Root, prefix, "/var/lib/nftfw/firewall.db"), 10}
		if !seen(all, f.Dir) || !seen(all, f.Database) {
			all = append(all, f)
		}
	}
	return all
}

// seen reports whether there is nothing at the path, or what one of the
// firewalls has already: a link may lead from one to the other.
func seen(all []Firewall, path string) bool {
	st, err := os.Stat(path)
	if err != nil {
		return true
	}
	for _, f := range all {
		for _, other := range []string{f.Dir, f.Database} {
			if o, err := os.Stat(other); err == nil && os.SameFile(st, o) {
				return true
			}
		}
	}
	return false
}

// PatternFiles gives the pattern files for Exim's log of all firewalls: the
// platform's own first.
func (p Platform) PatternFiles() []string {
	return p.each(Firewall.PatternFile)
}

// Blacklists gives the folders blacklist.d of all firewalls.
func (p Platform) Blacklists() []string { return p.each(Firewall.Blacklist) }

// Whitelists gives the folders whitelist.d of all firewalls.
func (p Platform) Whitelists() []string { return p.each(Firewall.Whitelist) }

func (p Platform) each(path func(Firewall) string) (all []string) {
	for _, f := range p.Firewalls() {
		all = append(all, path(f))
	}
	return all
}
