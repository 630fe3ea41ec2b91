package door

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"symbiosis-connect-acl/tests/lab"
)

// eachSnippet hands every snippet on, with its path in symbiosis.d.
func eachSnippet(t *testing.T, do func(name, text string)) {
	t.Helper()
	top := filepath.Join(lab.SourceDir(), "symbiosis.d")
	err := filepath.WalkDir(top, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(p)
		if err == nil {
			name, _ := filepath.Rel(top, p)
			do(name, string(text))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// 15-connect-variables lists every variable of ours with the snippet that sets
// it, and no name is so near to another that one is read for the other.
func TestVariablesAreListed(t *testing.T) {
	const prefix, list = "acl_c_connect_", "10-acl/10-acl-check-connect/15-connect-variables"
	set := regexp.MustCompile(`set ` + prefix + `(\w+)\s*=`)
	use := regexp.MustCompile(prefix + `(\w+)`)
	setIn := map[string][]string{} // variable: base names of the snippets
	used := map[string]string{}
	listed := map[string]string{} // variable: the snippet that the list names
	eachSnippet(t, func(name, text string) {
		if name == list {
			for _, m := range regexp.MustCompile(`(?m)^#     (\w+) +(?:(here)|(\d\d-[a-z-]+))\b`).FindAllStringSubmatch(text, -1) {
				if listed[m[1]] = m[3]; m[2] != "" {
					listed[m[1]] = filepath.Base(list)
				}
			}
		}
		for _, m := range set.FindAllStringSubmatch(text, -1) {
			setIn[m[1]] = append(setIn[m[1]], filepath.Base(name))
		}
		for _, m := range use.FindAllStringSubmatch(text, -1) {
			used[m[1]] = name
		}
	})
	if len(listed) == 0 {
		t.Fatal("15-connect-variables lists none")
	}
	for v, name := range used {
		if listed[v] == "" {
			t.Errorf("%s%s of %s is not listed in 15-connect-variables", prefix, v, name)
		}
		if len(setIn[v]) == 0 {
			t.Errorf("%s%s is never set", prefix, v)
		}
		for w := range used {
			if v != w && len(v) <= len(w) && (v+"s" == w || v+"d" == w) {
				t.Errorf("%s%s and %s differ by a letter", prefix, v, w)
			}
		}
	}
	for v, snippet := range listed {
		if !strings.Contains(strings.Join(setIn[v], " "), snippet) {
			t.Errorf("15-connect-variables says that %s sets %s; it is set in %q", snippet, v, setIn[v])
		}
	}
}

// What a rule's state is, one place says. MAIL and RCPT ask in the same words.
func TestOneTextForEachThing(t *testing.T) {
	texts := map[string]string{}
	eachSnippet(t, func(name, text string) {
		texts[name] = text
		if strings.Contains(text, "CONNECT_STATE_SUITE}") && name != "10-acl/14-acl-connect-state" {
			t.Errorf("%s works the state out by itself; ask acl_connect_state", name)
		}
	})
	const command = "/05-check-control-characters"
	if mail, rcpt := texts["10-acl/40-acl-check-mail"+command], texts["10-acl/50-acl-check-rcpt"+command]; mail != rcpt || mail == "" {
		t.Errorf("MAIL's and RCPT's %s differ", command)
	}
}
