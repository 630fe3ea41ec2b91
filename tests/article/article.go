// Package article has the configuration that the administrator's article
// describes, written by us from its description, and lays it over a stock
// tree. It is what the tests and benchmarks compare with; nothing of it is
// shipped.
package article

import (
	"embed"
	"io/fs"
	"path/filepath"
	"testing"

	"symbiosis-connect-acl/tests/lab"
)

//go:embed tree
var tree embed.FS

// LayOver puts the article's snippets into the root's tree, with the threshold
// that its text forgets to define. The configuration is not built.
func LayOver(t testing.TB, r *lab.Root) {
	t.Helper()
	err := fs.WalkDir(tree, "tree", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := tree.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel("tree", p)
		if err != nil {
			return err
		}
		r.Write(filepath.Join(r.SnippetDir(), rel), string(data), 0o644)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Write(filepath.Join(r.SnippetDir(), "00-main/22-threshold"), "SYMBIOSIS_INCIDENT_THRESHOLD = 10\n", 0o644)
}
