package exim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"syscall"

	"symbiosis-connect-acl/internal/remedy"
)

// Snippets lists the snippets that the Makefile joins, as absolute paths, in
// the order in which it joins them (the byte order of the paths).
func (x Installation) Snippets() ([]string, error) {
	var all []string
	links, git := x.reads()
	var walk func(dir string) error
	walk = func(dir string) error {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, d := range entries {
			path, kind := filepath.Join(dir, d.Name()), d.Type()
			if kind&fs.ModeSymlink != 0 && links {
				st, err := os.Stat(path)
				if err != nil {
					continue // it leads nowhere
				}
				kind = st.Mode().Type()
			}
			switch {
			case kind.IsDir() && (git || d.Name() != ".git"):
				if err := walk(path); err != nil {
					return err
				}
			case kind.IsRegular() && ValidName(d.Name()):
				all = append(all, path)
			}
		}
		return nil
	}
	err := walk(x.SnippetDir)
	sort.Strings(all)
	return all, err
}

var followsLinks = expression(`\bfind\s+(?:-[LHP]\s+)*-L\b|\s-follow\b`)

// reads tells what the Makefile reads that not every Makefile does: what links
// lead to, and git's own files in the tree. BuildDraft finds out whether it is so.
func (x Installation) reads() (links, git bool) {
	makefile, err := os.ReadFile(filepath.Join(x.EximDir, "Makefile"))
	return err == nil && followsLinks().Match(makefile), err != nil || !bytes.Contains(makefile, []byte(".git")) && !bytes.Contains(makefile, []byte("*/.*"))
}

// Join builds a configuration as the Makefile does, with the content in over
// in place of a snippet's own; nil leaves the snippet out. The keys of over
// are absolute paths; one that is not there yet is added. It serves questions about a tree that is not on the
// disk; what is put in force, the Makefile builds.
func (x Installation) Join(over map[string][]byte) ([]byte, error) {
	paths, err := x.Snippets()
	if err != nil {
		return nil, err
	}
	for p := range over {
		if !slices.Contains(paths, p) {
			paths = append(paths, p)
		}
	}
	sort.Strings(paths)
	var b bytes.Buffer
	for _, p := range paths {
		data, ok := over[p]
		if ok && data == nil {
			continue
		}
		if !ok {
			if data, err = os.ReadFile(p); err != nil {
				return nil, err
			}
		}
		fmt.Fprintf(&b, "# ----\n# %s\n# ----\n\n%s", x.Inside(p), data)
	}
	return b.Bytes(), nil
}

// ErrNoMake says that the make program, which builds the configuration, is not
// installed.
var ErrNoMake = remedy.Add(errors.New("make is not installed"), "run: apt-get install make")

func (x Installation) make(ctx context.Context, target string) error {
	program, err := x.program(ErrNoMake, "/usr/bin/make", "/bin/make")
	if err != nil {
		return err
	}
	if _, err := x.program(ErrNoExim, "/usr/sbin/exim4"); err != nil {
		return err
	}
	// What make writes shall be no more open than what is there, and no more
	// closed because of whoever called us.
	mask, st := 0o022, syscall.Stat_t{}
	inForce := syscall.Stat(x.Config(), &st) == nil
	switch {
	case inForce && st.Mode&0o044 == 0:
		mask = 0o077
	case inForce && st.Mode&0o004 == 0:
		mask = 0o027
	}
	// Symbiosis moves with "mv -fb", which keeps the configuration before this
	// one as exim4.conf~. After remove that would be one with our rules in it,
	// in the place of the administrator's own.
	shell := fmt.Sprintf(`umask %04o; VERSION_CONTROL=none exec "$@"`, mask)
	out, err := x.query(ctx, buildDeadline, "/bin/sh", "-c", shell, "sh", program, target)
	if now := (syscall.Stat_t{}); inForce && syscall.Stat(x.Config(), &now) == nil && now.Ino != st.Ino {
		if now.Uid != st.Uid || now.Gid != st.Gid {
			err = errors.Join(err, os.Chown(x.Config(), int(st.Uid), int(st.Gid)))
		}
	}
	if err == nil {
		return nil
	}
	if ce := x.configError(out); ce != nil {
		return ce
	}
	return fmt.Errorf("make %s in %s: %w: %s", target, x.EximDir, err, oneLine(tail(out, 400)))
}

// BuildDraft runs "make test": it builds Draft from the snippets and lets Exim
// check its syntax. A configuration that Exim does not take gives a
// *ConfigError. No string is expanded: see Greet.
//
// The Makefile's shell loop does not notice when a snippet could not be
// written, as on a full disk, and what is left may pass Exim's test. So Draft
// is compared with the snippets.
func (x Installation) BuildDraft(ctx context.Context) error {
	err := x.make(ctx, "test")
	if errors.Is(err, ErrNoMake) || errors.Is(err, ErrNoExim) {
		return err
	}
	// A draft cut short explains whatever Exim says of it.
	if short := x.complete(); short != nil {
		return short
	}
	return err
}

// complete reports a draft that lacks a snippet, or a part of one, and why.
func (x Installation) complete() error {
	rest, err := os.ReadFile(x.Draft())
	if errors.Is(err, fs.ErrNotExist) {
		return nil // make has said why
	}
	if err != nil {
		return err
	}
	paths, err := x.Snippets()
	if err != nil {
		return err
	}
	if other := x.otherTree(rest); other != "" {
		return remedy.Add(fmt.Errorf("make in %s builds from %s, and that is not written in its Makefile as it is; our snippets are in %s", x.EximDir, other, x.SnippetDir),
			"write %s into the Makefile where its tree of snippets is named", filepath.Base(other))
	}
	var full error
	if st := (syscall.Statfs_t{}); syscall.Statfs(x.EximDir, &st) == nil && st.Bavail == 0 {
		full = fmt.Errorf("the disk of %s is full", x.EximDir)
	}
	later := func(paths []string) bool {
		return slices.ContainsFunc(paths, func(p string) bool { return bytes.Contains(rest, []byte("\n# "+x.Inside(p)+"\n")) })
	}
	for n, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		// Its name stands before it; what lies between is a rule or so.
		name := []byte("# " + x.Inside(p) + "\n")
		i := bytes.Index(rest, name)
		switch {
		case i < 0 && later(paths[n+1:]):
			return remedy.Add(fmt.Errorf("make leaves %s out, although its name is one that the platform's Makefile takes", p),
				"see in %s how the snippets are chosen, or give that one a name with a dot", filepath.Join(x.EximDir, "Makefile"))
		case i >= 0:
			rest = rest[i+len(name):]
		}
		i = bytes.Index(rest, data)
		if i < 0 || i > 200 {
			err := fmt.Errorf("make did not write all of %s into %s", p, x.Draft())
			if full != nil {
				return remedy.Add(fmt.Errorf("%w: %w", err, full), "make room, then try again")
			}
			return remedy.Add(err, "run: cd %s && make test, and see what it says; if somebody changed the file at that moment, try again", x.EximDir)
		}
		rest = rest[i+len(data):]
	}
	return nil
}

var builtPart = expression(`(?m)^# (/\S+)/00-main/30-acl-definitions$`)

// otherTree gives the tree that a draft was built from, where it is another.
func (x Installation) otherTree(draft []byte) string {
	m := builtPart().FindSubmatch(draft)
	if m == nil || string(m[1]) == x.Inside(x.SnippetDir) {
		return ""
	}
	return string(m[1])
}

// Install builds and tests the configuration once more and moves it over
// Config, without a restart.
func (x Installation) Install(ctx context.Context) error {
	return x.make(ctx, "exim4.conf")
}
