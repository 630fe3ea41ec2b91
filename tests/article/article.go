// Package article has the configuration that the administrator's article
// describes, and its author's later one, written by us from their descriptions,
// and lays them over a stock tree. It is what the tests and benchmarks compare with; nothing of it is
// shipped.
package article

import (
	"embed"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"symbiosis-connect-acl/tests/lab"
)

//go:embed tree
var tree embed.FS

//go:embed later
var later embed.FS

// LayOver puts the article's snippets into the root's tree, with the threshold
// that its text forgets to define. The configuration is not built.
func LayOver(t testing.TB, r *lab.Root) {
	t.Helper()
	lay(t, r, tree, "tree", r.SnippetDir())
	r.Write(filepath.Join(r.SnippetDir(), "00-main/22-threshold"), "SYMBIOSIS_INCIDENT_THRESHOLD = 10\n", 0o644)
}

// LayOverLater makes a tree of the administrator's beside the platform's, as the
// author's later installer can, with the names that his files have there, and
// has the Makefile build from it. It gives that tree, as the root sees it.
func LayOverLater(t testing.TB, r *lab.Root) string {
	t.Helper()
	own := "/etc/exim4/" + r.Platform + "-local.d"
	r.Run("cp", "-a", r.SnippetDir(), own)
	lay(t, r, later, "later", own)
	tls := own + "/00-main/50-tls-options"
	r.Write(tls, strings.ReplaceAll(r.Read(tls), "log_selector = +tls_sni\n", ""), 0o644)
	const makefile = "/etc/exim4/Makefile"
	r.Write(makefile, strings.ReplaceAll(r.Read(makefile), r.Platform+".d", r.Platform+"-local.d"), 0o644)
	return own
}

func lay(t testing.TB, r *lab.Root, from embed.FS, top, to string) {
	t.Helper()
	err := fs.WalkDir(from, top, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := from.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, p)
		if err != nil {
			return err
		}
		r.Write(filepath.Join(to, rel), string(data), 0o644)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
