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
}
