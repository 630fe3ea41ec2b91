package platform

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFind(t *testing.T) {
	root := t.TempDir()
	if _, err := Find(root); !errors.Is(err, ErrNone) {
		t.Fatalf("an empty root: %v; want ErrNone", err)
	}
	// Our own snippet must not pass for a Symbiosis.
	touch(t, filepath.Join(root, "etc/exim4/symbiosis.d/00-main/21-connect-check"))
	touch(t, filepath.Join(root, "etc/exim4/Makefile"))
	if p, err := Find(root); !errors.Is(err, ErrNone) {
		t.Fatalf("only our snippet: %v, %v; want ErrNone", p, err)
	}
	touch(t, filepath.Join(root, "etc/exim4/sympl.d/00-main/30-acl-definitions"))
	p, err := Find(root)
	if err != nil || p.Name != "sympl" || p.Database != filepath.Join(root, "var/lib/sympl/firewall-blacklist-count.db") {
		t.Fatalf("Find = %+v, %v; want sympl", p, err)
	}
	touch(t, filepath.Join(root, "etc/exim4/symbiosis.d/00-main/30-acl-definitions"))
	if p, err = Find(root); err != nil || p.Name != "symbiosis" {
		t.Fatalf("Find = %+v, %v; want symbiosis", p, err)
	}
	// A server that was moved from Symbiosis to Sympl.
	if err := os.WriteFile(filepath.Join(root, "etc/exim4/Makefile"), []byte("tree := $(CURDIR)/sympl.d\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if p, err = Find(root); err != nil || p.Name != "sympl" {
		t.Fatalf("Find = %+v, %v; want sympl, whose tree is built", p, err)
	}
	// A tree of the administrator's own.
	touch(t, filepath.Join(root, "etc/exim4/sympl-local.d/00-main/30-acl-definitions"))
	own, stock := filepath.Join(root, "etc/exim4/symbiosis-local.d"), filepath.Join(root, "etc/exim4/symbiosis.d")
	touch(t, filepath.Join(own, "00-main/30-acl-definitions"))
	for makefile, want := range map[string]string{
		"dir := symbiosis.d\n":                                          stock,
		"dir := symbiosis-local.d\n":                                    own,
		"#dir := symbiosis.d\ndir = symbiosis-local.d\n":                own,
		"dir := symbiosis.d # not symbiosis-local.d\n":                  stock,
		"parts := $(shell find $(CURDIR)/symbiosis-local.d/ -type f)\n": own,
		"dir := $(firstword $(wildcard *-local.d))\n":                   stock, // the build tells
	} {
		if err := os.WriteFile(filepath.Join(root, "etc/exim4/Makefile"), []byte(makefile), 0o644); err != nil {
			t.Fatal(err)
		}
		if p, err = Find(root); err != nil || p.SnippetDir != want || p.PackageDir != stock {
			t.Errorf("%s: built from %s, %v; want %s", makefile, p.SnippetDir, err, want)
		}
	}
}
