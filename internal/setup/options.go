package setup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"symbiosis-connect-acl/internal/exim"
)

// A mainOption is one that a snippet of ours sets and that Exim takes only
// once. An administrator's own is commented out where it stands, and its value
// goes into a macro that our snippet uses.
type mainOption struct {
	name    string
	snippet string // ours
	macro   string
	between string // what joins the values of several
}

const logSelector = "log_selector"

var mainOptions = []mainOption{
	{logSelector, "00-main/25-logging", "CONNECT_LOG_SELECTOR_EXTRA", " "},
	// A space would be an answer, and to some events one that refuses.
	{"event_action", "00-main/26-events", "CONNECT_EVENT_ACTION_EXTRA", ""},
}

// optionNames are those of mainOptions.
func optionNames() (names []string) {
	for _, o := range mainOptions {
		names = append(names, o.name)
	}
	return names
}

// A leftOption is one that Exim takes only once as well, but whose values cannot
// be joined. The administrator's own stays, ours is left out, and he is told
// what that costs.
type leftOption struct {
	names   []string
	what    string
	macro   string // leaves ours out
	snippet string // ours
	cost    string
}

var leftOptions = []leftOption{
	{[]string{"acl_smtp_quit", "acl_smtp_notquit"}, "an ACL for QUIT", "CONNECT_ACL_QUIT_IS_TAKEN", quitSnippet,
		"hosts.db remembers nobody, and every host waits for its greeting each time"},
	{[]string{"add_environment"}, "an add_environment", "CONNECT_ACL_ENVIRONMENT_IS_TAKEN", envSnippet,
		"a key in a DNS list can be seen with ps"},
}

// leftOut gives those that stand in the main section, unless somebody has named
// the macro there.
func (r *run) leftOut(snippets []string, content map[string][]byte) (left []leftOption) {
	for _, l := range leftOptions {
		taken, said := false, false
		for _, path := range snippets {
			if path == r.enabling() || path == filepath.Join(r.SnippetDir, l.snippet) {
				continue
			}
			for _, name := range l.names {
				taken = taken || len(exim.Settings(content[path], name)) > 0
			}
			said = said || len(exim.Settings(content[path], l.macro)) > 0
		}
		if taken && !said {
			r.note("the configuration has %s of its own: without the line that %s names, %s", l.what, filepath.Join(r.SnippetDir, l.snippet), l.cost)
			left = append(left, l)
		}
	}
	return left
}

// recorded gives the value that an enabling snippet has in an option's macro.
func (o mainOption) recorded(enabling []byte) string {
	if m := regexp.MustCompile(`(?m)^` + o.macro + `[ \t]*=[ \t]*(.*)$`).FindSubmatch(enabling); m != nil {
		return strings.TrimSpace(string(m[1]))
	}
	return ""
}

// remember writes down what was taken over, and from where.
func (s *State) remember(option, value string, snippets []string) {
	if option == logSelector {
		s.LogSelector, s.LogSnippets = value, snippets
	} else {
		s.EventAction, s.EventSnippets = value, snippets
	}
}

// ourSnippet gives the path of the snippet that sets an option for us.
func (r *run) ourSnippet(o mainOption) string { return filepath.Join(r.SnippetDir, o.snippet) }

// planOptions takes over every setting of our main options in the main section,
// provided that our own snippet is there to set them in their place. over has
// the content that snippets will have by then.
func (r *run) planOptions(ctx context.Context, pl *plan, over map[string][]byte) error {
	snippets, err := r.exim.Snippets()
	if err != nil {
		return err
	}
	for path, data := range over {
		if i := slices.Index(snippets, path); i < 0 && data != nil {
			snippets = append(snippets, path)
		} else if i >= 0 && data == nil {
			snippets = slices.Delete(snippets, i, i+1)
		}
	}
	slices.Sort(snippets)
	macros := r.ourMacros()
	content := map[string][]byte{}
	main := len(snippets) // how many snippets make up the main section
	for i, path := range snippets {
		if data, changed := over[path]; changed {
			content[path] = data
		} else if content[path], err = os.ReadFile(path); err != nil {
			return err
		}
		if i < main && exim.Begins(content[path]) {
			main = i + 1
		}
	}
	var taken []mainOption // those that we take over
	var ours []string      // the snippets of ours that set them
	for _, o := range mainOptions {
		path := r.ourSnippet(o)
		if bytes.Contains(content[path], []byte(o.macro)) && len(exim.Settings(content[path], o.name)) > 0 {
			taken = append(taken, o)
			ours = append(ours, path)
		} else {
			r.note("%s is missing or not ours: %s stays where it is", path, o.name)
		}
	}

	enabling, err := os.ReadFile(r.enabling())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}

	left := r.leftOut(snippets[:main], content)

	// base is the tree without us; kept what it is without our enabling
	// snippet but with the lines that we have commented out.
	base := map[string][]byte{r.enabling(): nil}
	kept := map[string][]byte{r.enabling(): nil}
	for path, data := range over {
		base[path], kept[path] = data, data
	}
	from := map[string][]string{} // the snippets from which an option is taken
	changed := enabling == nil
	for i, path := range snippets {
		if path == r.enabling() || slices.Contains(ours, path) {
			continue
		}
		restored := exim.Uncomment(content[path], r.prefix())
		if i < main {
			restored = r.withoutOurMacros(path, restored, macros)
		}
		wanted := restored
		for _, o := range taken {
			if i >= main || len(exim.Settings(wanted, o.name)) == 0 {
				continue
			}
			wanted = exim.CommentOut(wanted, o.name, r.prefix())
			from[o.name] = append(from[o.name], r.exim.Inside(path))
		}
		base[path], kept[path] = restored, r.withoutOurMacros(path, content[path], macros)
		if !bytes.Equal(wanted, content[path]) {
			changed = true
			done := r.takenFrom(wanted) + " taken over from " + path
			if bytes.Equal(wanted, exim.Uncomment(content[path], r.prefix())) {
				done = r.takenFrom(content[path]) + " put back in " + path
			}
			pl.add("options", path, content[path], wanted, done)
		}
	}
	values := map[string]string{}
	for _, o := range taken {
		if len(from[o.name]) == 0 {
			continue
		}
		value := o.recorded(enabling)
		if changed {
			// Which of several lines is in force, and what the macros in it mean,
			// only Exim knows. (4.100 takes several and obeys the last.)
			fresh, err := r.effective(ctx, base, o.name)
			if err != nil && enabling != nil {
				// Somebody has written new lines beside those that we had put out
				// of use.
				several := false
				fresh, several, err = r.together(ctx, kept, o, value)
				if several {
					r.note("%s is set more than once, and all of it is in effect now; merge the lines, because Exim without our rules allows only one: %s",
						o.name, strings.Join(from[o.name], ", "))
				}
			}
			if err != nil {
				return fmt.Errorf("the configuration does not build without our rules either: %w", err)
			}
			value = fresh
		}
		values[o.macro] = value
		pl.state.remember(o.name, value, from[o.name])
	}
	pl.add("switch on", r.enabling(), enabling, r.enablingText(values, left), "rules switched on by "+r.enabling())
	return nil
}

// takenFrom names the options in a snippet that are commented out.
func (r *run) takenFrom(data []byte) string {
	var names []string
	macros := slices.Sorted(maps.Keys(r.ourMacros()))
	exim.Mark(data, append(optionNames(), macros...), r.prefix(), func(option string, _ int, had bool) string {
		if had && !slices.Contains(names, option) {
			names = append(names, option)
		}
		return ""
	})
	if len(names) == 0 {
		return "what was commented out" // in a copy that an editor has left, perhaps
	}
	return strings.Join(names, " and ")
}

// effective asks Exim for the value of an option in the tree with the content
// in over.
func (r *run) effective(ctx context.Context, over map[string][]byte, option string) (string, error) {
	var value string
	err := r.imagine(over, func(path string) (err error) {
		value, err = r.exim.Option(ctx, path, option)
		return err
	})
	return value, err
}

// imagine gives f the path of a configuration that is built from the tree with
// the content in over, and never put in force.
func (r *run) imagine(over map[string][]byte, f func(path string) error) error {
	data, err := r.exim.Join(over)
	if err != nil {
		return err
	}
	work := r.workDir()
	if r.locked == nil {
		work = filepath.Join(r.Root, "tmp")
	}
	dir, err := os.MkdirTemp(work, "query-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "exim4.conf")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return err
	}
	return f(path)
}

// together adds to the recorded value what every setting in the tree says that
// we have not commented out, and tells whether these are several. Exim takes
// only one, so each is asked for alone.
func (r *run) together(ctx context.Context, tree map[string][]byte, o mainOption, recorded string) (value string, several bool, err error) {
	value = recorded
	found := 0
	if recorded != "" {
		found++
	}
	// alone leaves of all settings of all our options one in use.
	alone := func(path string, n int) map[string][]byte {
		over := map[string][]byte{}
		for p, data := range tree {
			if over[p] = data; data != nil {
				over[p] = exim.Mark(data, optionNames(), r.prefix(), func(_ string, i int, taken bool) string {
					if taken || p != path || i != n {
						return r.prefix()
					}
					return ""
				})
			}
		}
		return over
	}
	for _, path := range slices.Sorted(maps.Keys(tree)) {
		var active []int
		exim.Mark(tree[path], optionNames(), r.prefix(), func(option string, n int, taken bool) string {
			if !taken && option == o.name {
				active = append(active, n)
			}
			return ""
		})
		for _, n := range active {
			more, err := r.effective(ctx, alone(path, n), o.name)
			found++
			switch {
			case err != nil:
				return "", false, err
			case strings.Contains(more, value):
				value = more
			default:
				value = strings.TrimSpace(value + o.between + more)
			}
		}
	}
	return value, found > 1, nil
}

// overridden reports an option of ours that is also set where this tool cannot
// see it. Up to 4.99 Exim does not take such a configuration; 4.100 does, and
// ours might have no effect.
func (r *run) overridden(ctx context.Context) error {
	without := map[string][]byte{}
	for _, o := range mainOptions {
		if data, err := os.ReadFile(r.ourSnippet(o)); err == nil {
			without[r.ourSnippet(o)] = exim.CommentOut(data, o.name, "#")
		}
	}
	return r.imagine(without, func(path string) error {
		for _, o := range mainOptions {
			if without[r.ourSnippet(o)] == nil {
				continue
			}
			value, err := r.exim.Option(ctx, path, o.name)
			if err != nil {
				return err
			}
			if value != "" {
				return errors.New(unseen(o.name))
			}
		}
		return nil
	})
}

func unseen(option string) string {
	return option + " is also set where this tool cannot see it, in a file that a snippet includes or in a macro: take it out there"
}

// setTwice reports whether Exim does not take a configuration because an option
// of ours is set more than once in it.
func setTwice(err error) bool {
	var ce *exim.ConfigError
	return errors.As(err, &ce) && strings.HasSuffix(ce.Message, "option set for the second time") &&
		slices.ContainsFunc(mainOptions, func(o mainOption) bool { return strings.Contains(ce.Message, o.name) })
}

// restored gives the content of the snippets with every setting that we have
// commented out in use again; taken holds them as they are. Exim takes only
// one of each option. Where somebody has written others since, those of ours
// that are too many become comments, and their owner is told: what is in use
// without our doing stays, and of ours the first comes back. (4.100 takes them
// all, so there all come back, as they were.)
func (r *run) restored(ctx context.Context, taken map[string][]byte) map[string][]byte {
	macros := r.ourMacros()
	// back puts those in use that it is told to; the others become comments.
	back := func(use func(path string, n int) bool) map[string][]byte {
		tree := map[string][]byte{r.enabling(): nil}
		for path, data := range taken {
			tree[path] = exim.Mark(data, optionNames(), r.prefix(), func(_ string, n int, ours bool) string {
				if ours && !use(path, n) {
					return "#"
				}
				return ""
			})
			tree[path] = r.withoutOurMacros(path, tree[path], macros)
		}
		return tree
	}
	twice := func(tree map[string][]byte) bool {
		return setTwice(r.imagine(tree, func(path string) error { return r.exim.Check(ctx, path) }))
	}
	all := back(func(string, int) bool { return true })
	// What is set twice without ours is for its owner to mend.
	if !twice(all) || twice(back(func(string, int) bool { return false })) {
		return all
	}
	type setting struct {
		path string
		n    int
	}
	used := map[setting]bool{}
	use := func(path string, n int) bool { return used[setting{path, n}] }
	for _, path := range slices.Sorted(maps.Keys(taken)) {
		ours := map[int]string{}
		exim.Mark(taken[path], optionNames(), r.prefix(), func(option string, n int, had bool) string {
			if had {
				ours[n] = option
			}
			return ""
		})
		for _, n := range slices.Sorted(maps.Keys(ours)) {
			s := setting{path, n}
			used[s] = true
			if twice(back(use)) {
				delete(used, s)
				r.note("%s: %s stays commented out there, because another is set and Exim allows only one: merge the two", path, ours[n])
			}
		}
	}
	return back(use)
}

func (r *run) enablingText(values map[string]string, left []leftOption) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `# %s: written by %s, do not edit.
#
# This switches the rules of the package on: they stand between .ifdef and
# .endif, and the file below defines the macro that they ask for. When the
# package is gone, so is that file, and the rules have no effect any more.
# To switch them off by hand: %[2]s remove
`, r.Package, r.program())
	for _, o := range mainOptions {
		fmt.Fprintf(&b, "#\n# The %s that was in force before; see %s.\n%s\n", o.name, r.exim.Inside(r.ourSnippet(o)), strings.TrimSpace(o.macro+" = "+values[o.macro]))
	}
	for _, l := range left {
		fmt.Fprintf(&b, "\n# The configuration has %s of its own: ours is left out.\n%s = yes\n", l.what, l.macro)
	}
	fmt.Fprintf(&b, "\n.include_if_exists %s\n", r.exim.Inside(r.marker()))
	return b.Bytes()
}
