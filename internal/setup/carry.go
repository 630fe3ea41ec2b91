package setup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"symbiosis-connect-acl/internal/dnsbl"
	"symbiosis-connect-acl/internal/exim"
	"symbiosis-connect-acl/internal/predecessor"
	"symbiosis-connect-acl/internal/rules"
)

// Files of the administrator's under our names: preinst moves them aside before
// ours are unpacked, and writes down which; postrm puts them back. Both are shell
// scripts, and these texts are a format that they share with us.
const (
	movedFile   = "moved-aside"
	asideBefore = ".before-"
	carriedFrom = "# BEGIN %s: carried over from your own files, which come back when the package is removed; then this goes"
	carriedEnd  = "# END %s"
)

// settingsSnippet has our macros with their values.
const settingsSnippet = "00-main/21-connect-check"

func (r *run) local() string     { return filepath.Join(r.SnippetDir, rules.LocalSnippet) }
func (r *run) whitelist() string { return filepath.Join(r.EximDir, "whitelist_connect_hosts") }

// aside gives where a file of the administrator's lies while ours stands under
// its name.
func (r *run) aside(path string) string { return path + asideBefore + r.Package }

// movedAside lists the files that preinst has moved aside and that are there.
func (r *run) movedAside() ([]string, error) {
	data, err := os.ReadFile(filepath.Join(r.StateDir, movedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []string
	for _, path := range strings.Split(string(data), "\n") {
		path = filepath.Join(r.Root, path)
		if st, err := os.Stat(r.aside(path)); err == nil && st.Mode().IsRegular() && !slices.Contains(all, path) {
			all = append(all, path)
		}
	}
	return all, nil
}

// definitions are the macros that a snippet defines.
func definitions(data []byte) map[string]string {
	all := map[string]string{}
	for _, l := range exim.Lines(data) {
		if name, value, _, ok := l.Definition(); ok {
			all[name] = value
		}
	}
	return all
}

// ourMacros are those that our settings define. They count as ours when the
// snippet does, whatever the administrator has changed in it.
func (r *run) ourMacros() map[string]string {
	data, err := os.ReadFile(filepath.Join(r.PackageDir, settingsSnippet))
	if err != nil || !r.isOurs(data) {
		return nil
	}
	return definitions(data)
}

// isOurs knows a snippet of ours by its first line.
func (r *run) isOurs(data []byte) bool { return bytes.HasPrefix(data, []byte("# "+r.Package+": ")) }

// inherited lists the administrator's files under our names in the tree that is
// built, those among them that a change of this plan moves aside included. also
// are the paths of others, whose settings were not in force.
func (r *run) inherited(pl *plan) (files []predecessor.File, also []string, err error) {
	moved, err := r.movedAside()
	if err != nil {
		return nil, nil, err
	}
	for name := range pl.state.Copies {
		if path := filepath.Join(r.SnippetDir, name); !slices.Contains(moved, path) {
			if st, err := os.Stat(r.aside(path)); err == nil && st.Mode().IsRegular() {
				moved = append(moved, path)
			}
		}
	}
	slices.Sort(moved)
	for _, path := range moved {
		name, in := strings.CutPrefix(path, r.SnippetDir+"/")
		if !in {
			also = append(also, r.exim.Inside(path))
			continue
		}
		data, err := os.ReadFile(r.aside(path))
		if err != nil {
			return nil, nil, err
		}
		files = append(files, predecessor.File{Name: name, Path: r.exim.Inside(r.aside(path)), Data: data})
	}
	for _, c := range pl.changes {
		if c.aside != "" {
			files = append(files, predecessor.File{Name: strings.TrimPrefix(c.Path, r.SnippetDir+"/"), Path: r.exim.Inside(c.aside), Data: c.Old})
		}
	}
	return files, also, nil
}

// planCarry plans what the administrator's own files say into his settings, once
// for each of them. over has the content that snippets will have by then.
func (r *run) planCarry(pl *plan, old State, over map[string][]byte) error {
	all, also, err := r.inherited(pl)
	if err != nil {
		return err
	}
	ours := r.ourMacros()
	var files []predecessor.File
	var names []string
	for _, path := range also {
		pl.state.Carried = append(pl.state.Carried, path)
		if !slices.Contains(old.Carried, path) {
			names = append(names, path)
		}
	}
	for _, f := range all {
		path := r.exim.Inside(filepath.Join(r.SnippetDir, f.Name))
		pl.state.Carried = append(pl.state.Carried, path)
		if !slices.Contains(old.Carried, path) {
			names = append(names, path)
			files = append(files, f)
		}
	}
	again, err := r.definedAgain(ours, over)
	if err != nil || len(names)+len(again) == 0 {
		return err
	}
	if len(names) > 0 {
		r.note("files of yours stood under our names. They come back when the package is removed; until then each has %q behind its name: %s",
			asideBefore+r.Package, strings.Join(names, ", "))
	}

	local, err := readIfThere(r.local())
	if err != nil {
		return err
	}
	var set []string
	for name := range definitions(local) {
		set = append(set, name)
	}
	what := predecessor.Read(append(files, again...), ours, set)
	for _, left := range what.Left {
		r.note("not carried over: %s", dnsbl.MaskKeys(left))
	}
	whitelist, err := readIfThere(r.whitelist())
	if err != nil {
		return err
	}
	with, added := r.carry(local, what.Settings, r.local())
	pl.add("carry over", r.local(), local, with, added)
	hosts, added := r.carry(whitelist, what.Hosts, r.whitelist())
	pl.add("carry over", r.whitelist(), whitelist, hosts, added)
	if with != nil {
		over[r.local()] = with
	}
	return nil
}

// definedAgain gives the definitions of our macros in snippets of others. Exim
// takes only one, so planOptions comments them out.
func (r *run) definedAgain(ours map[string]string, over map[string][]byte) ([]predecessor.File, error) {
	snippets, err := r.exim.Snippets()
	if err != nil {
		return nil, err
	}
	var all []predecessor.File
	for _, path := range snippets {
		if _, changed := over[path]; changed {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		commented := r.withoutOurMacros(path, data, ours)
		if !bytes.Equal(commented, data) {
			// Only those lines, each under its number.
			was, is := bytes.SplitAfter(data, []byte("\n")), bytes.SplitAfter(commented, []byte("\n"))
			for i := range was {
				if bytes.Equal(was[i], is[i]) {
					was[i] = []byte("\n")
				}
			}
			all = append(all, predecessor.File{Name: "00-main/" + filepath.Base(path), Path: r.exim.Inside(path), Data: bytes.Join(was, nil)})
		}
		if exim.Begins(data) {
			break
		}
	}
	return all, nil
}

// inTheWay reports whether our files stand in the way of the administrator's.
func (r *run) inTheWay() bool {
	moved, _ := r.movedAside()
	again, _ := r.definedAgain(r.ourMacros(), nil)
	return len(moved)+len(again) > 0 || r.copied()
}

// withoutOurMacros comments out what a snippet of somebody else's defines of our
// macros. The administrator's own snippet gives them other values; a definition
// there is a slip, and Exim says so.
func (r *run) withoutOurMacros(path string, data []byte, ours map[string]string) []byte {
	if path == r.local() || r.isOurs(data) {
		return data
	}
	var names []string
	for name := range ours {
		names = append(names, name)
	}
	return exim.CommentOutMacros(data, names, r.prefix())
}

// carry adds lines to a file, in a block that postrm takes out, and tells what
// it has added.
func (r *run) carry(data []byte, lines []predecessor.Setting, path string) (with []byte, done string) {
	if len(lines) == 0 {
		return data, ""
	}
	var text, said []string
	for _, l := range lines {
		text = append(text, l.Text)
		said = append(said, fmt.Sprintf("%s (from %s)", dnsbl.MaskKeys(l.Text), l.From))
	}
	block := strings.Join(text, "\n") + "\n"
	end := fmt.Sprintf(carriedEnd, r.Package) + "\n"
	if i := bytes.Index(data, []byte(end)); i >= 0 {
		with = slices.Concat(data[:i], []byte(block), data[i:])
	} else {
		begin := fmt.Sprintf(carriedFrom, r.Package) + "\n"
		if len(data) > 0 && data[len(data)-1] != '\n' {
			begin = "\n" + begin
		}
		with = slices.Concat(data, []byte(begin+block+end))
	}
	return with, "carried over into " + path + ": " + strings.Join(said, "; ")
}

// uncarried gives a file without what carry has added, nil when nothing is left.
func (r *run) uncarried(data []byte) []byte {
	begin := bytes.Index(data, []byte("# BEGIN "+r.Package+": "))
	if begin < 0 {
		return data
	}
	end := bytes.Index(data[begin:], []byte(fmt.Sprintf(carriedEnd, r.Package)+"\n"))
	if end < 0 {
		return data
	}
	end += begin + len(fmt.Sprintf(carriedEnd, r.Package)+"\n")
	if without := slices.Concat(data[:begin], data[end:]); len(without) > 0 {
		return without
	}
	return nil
}

// readIfThere gives nil for a file that is not there.
func readIfThere(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if data == nil {
		data = []byte{}
	}
	return data, err
}
