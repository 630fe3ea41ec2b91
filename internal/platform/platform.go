// Package platform knows where Symbiosis and its fork Sympl keep things, under
// a root directory that tests can move.
package platform

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// A Platform is one hosting system's set of paths. Every path is absolute and
// already lies under Root.
type Platform struct {
	Name    string // "symbiosis" or "sympl"
	Package string // our package on that system: "symbiosis-connect-acl" or "sympl-connect-acl"
	Root    string // "/" on a server

	EximDir       string // where make builds exim4.conf
	SnippetDir    string // the tree of snippets that make reads, below EximDir
	PackageDir    string // the platform's own tree, where dpkg puts our snippets; nearly always the same
	FirewallDir   string // patterns.d, blacklist.d, whitelist.d and their like
	Database      string // the count database
	HostsDatabase string // our own, in a directory of Exim's user
	StateDir      string // what our setup tool remembers between runs
	ShareDir      string // our files that no administrator edits
	DefaultsFile  string // settings of our cron job and setup tool
	Whitelist     string // the administrator's list of hosts that pass the connect checks
	WhitelistDNS  string // the addresses of the names and ranges in it
}

// ErrNone says that neither Symbiosis nor Sympl is installed below the root.
var ErrNone = errors.New("no Symbiosis or Sympl here")

func paths(name, root string) Platform {
	at := func(p string) string { return filepath.Join(root, p) }
	pkg := name + "-connect-acl"
	p := Platform{
		Name:          name,
		Package:       pkg,
		Root:          root,
		EximDir:       at("/etc/exim4"),
		SnippetDir:    at("/etc/exim4/" + name + ".d"),
		PackageDir:    at("/etc/exim4/" + name + ".d"),
		FirewallDir:   at("/etc/" + name + "/firewall"),
		Database:      at("/var/lib/" + name + "/firewall-blacklist-count.db"),
		HostsDatabase: at("/var/lib/" + pkg + "/hosts/hosts.db"),
		StateDir:      at("/var/lib/" + pkg),
		ShareDir:      at("/usr/share/" + pkg),
		DefaultsFile:  at("/etc/default/" + pkg),
		Whitelist:     at("/etc/exim4/whitelist_connect_hosts"),
		WhitelistDNS:  at("/var/lib/" + pkg + "/whitelist_connect_names"),
	}
	return p
}

// PatternFile gives the firewall's patterns for Exim's log.
func (p Platform) PatternFile() string {
	return filepath.Join(p.FirewallDir, "patterns.d", "exim4.patterns")
}

// OurPatterns gives those that our package brings along for it.
func (p Platform) OurPatterns() string {
	return filepath.Join(p.ShareDir, "patterns.d", "exim4.patterns")
}

// JournalDir gives the directory that is there while our setup tool changes
// something, and after a run that did not come to its end.
func (p Platform) JournalDir() string { return filepath.Join(p.StateDir, "journal") }

// Symbiosis gives the paths of Symbiosis below root, whether it is there or not.
func Symbiosis(root string) Platform { return paths("symbiosis", root) }

// Sympl gives the paths of Sympl below root, whether it is there or not.
func Sympl(root string) Platform { return paths("sympl", root) }

// Find tells which system is installed below root ("" means "/"): the one that
// has an Exim Makefile and its own 00-main snippets beyond ours. A server that
// was moved from one to the other may still have the old tree: then it is the
// one whose tree the Makefile names. The Makefile may also name a tree of the
// administrator's beside it; then that is the one that is built. It returns ErrNone, wrapped with what was
// looked for, when there is neither.
func Find(root string) (Platform, error) {
	if root == "" {
		root = "/"
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return Platform{}, err
	}
	candidates := []Platform{Symbiosis(root), Sympl(root)}
	var found []Platform
	for _, p := range candidates {
		if p.installed() {
			found = append(found, p)
		}
	}
	if len(found) == 0 {
		return Platform{}, fmt.Errorf("%w: looked for %s and %s with a Makefile in %s",
			ErrNone, candidates[0].aclDefinitions(), candidates[1].aclDefinitions(), candidates[0].EximDir)
	}
	makefile, err := os.ReadFile(filepath.Join(found[0].EximDir, "Makefile"))
	if err != nil {
		return Platform{}, err
	}
	p := found[0]
	if len(found) > 1 && names(makefile, found[1].SnippetDir) && !names(makefile, p.SnippetDir) {
		p = found[1]
	}
	p.SnippetDir, err = p.builtFrom(makefile)
	return p, err
}

// names reports whether a Makefile names a directory, beyond its comments.
func names(makefile []byte, dir string) bool {
	name := regexp.MustCompile(`(?m)^[^#\n]*(?:^|[^#\nA-Za-z0-9_.-])` + regexp.QuoteMeta(filepath.Base(dir)) + `(?:[^A-Za-z0-9_.-]|$)`)
	return name.Match(makefile)
}

// builtFrom gives the tree that make reads: the platform's own, unless the
// Makefile does not name that but another tree beside it.
func (p Platform) builtFrom(makefile []byte) (string, error) {
	if names(makefile, p.PackageDir) {
		return p.PackageDir, nil
	}
	found, err := filepath.Glob(filepath.Join(p.EximDir, "*", "00-main", "30-acl-definitions"))
	if err != nil {
		return "", err
	}
	for _, f := range found {
		if dir := filepath.Dir(filepath.Dir(f)); names(makefile, dir) {
			return dir, nil
		}
	}
	return p.PackageDir, nil
}

// Our own package puts files into SnippetDir, so the directory proves nothing;
// the snippet that names the ACLs is the platform's own.
func (p Platform) aclDefinitions() string {
	return filepath.Join(p.SnippetDir, "00-main", "30-acl-definitions")
}

func (p Platform) installed() bool {
	for _, f := range []string{p.aclDefinitions(), filepath.Join(p.EximDir, "Makefile")} {
		if st, err := os.Stat(f); err != nil || !st.Mode().IsRegular() {
			return false
		}
	}
	return true
}
