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
	"slices"

	"symbiosis-connect-acl/internal/exim"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/safepath"
)

// Remove takes out what Apply has built in, exactly. A configuration that does
// not build for somebody else's reason gives ErrNotRebuilt: our files are
// undone all the same.
func Remove(ctx context.Context, opt Options) error {
	p, found, err := find(opt)
	if err != nil {
		return err
	}
	if !found {
		// The platform may have been removed before us.
		root := opt.Root
		if root == "" {
			root = "/"
		}
		if root, err = filepath.Abs(root); err != nil {
			return err
		}
		for _, c := range []platform.Platform{platform.Symbiosis(root), platform.Sympl(root)} {
			if _, err := os.Stat(c.StateDir); err == nil {
				p, found = c, true
				break
			}
		}
	}
	return newRun(p, opt).alone(ctx, found, (*run).remove)
}

func (r *run) planRemoval(ctx context.Context) ([]Change, error) {
	var pl plan
	// Whatever its name is: a copy that dpkg or an editor has left gets its
	// lines back too.
	macros := r.ourMacros()
	if r.copied() {
		macros = nil // the copies go
	}
	content, snippets := map[string][]byte{}, map[string][]byte{}
	look := func(path string) error {
		data, err := os.ReadFile(path)
		if err != nil || bytes.Equal(exim.Uncomment(data, r.prefix()), data) {
			return err
		}
		// Definitions of our macros come back when ours go: Exim takes no others
		// beside them.
		if !bytes.Equal(r.withoutOurMacros(path, exim.Uncomment(data, r.prefix()), macros), data) {
			content[path] = data
			if exim.ValidName(filepath.Base(path)) {
				snippets[path] = data
			}
		}
		return nil
	}
	err := filepath.WalkDir(r.SnippetDir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == r.SnippetDir {
			return fs.SkipAll
		}
		if err != nil || !d.Type().IsRegular() || path == r.enabling() {
			return err
		}
		return look(path)
	})
	if err != nil {
		return nil, err
	}
	// What links lead to is written too, where the Makefile follows them.
	linked, err := r.exim.Snippets()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, path := range linked {
		if _, seen := content[path]; !seen && path != r.enabling() {
			if err := look(path); err != nil {
				return nil, err
			}
		}
	}
	restored := map[string][]byte{}
	if len(snippets) > 0 {
		restored = r.restored(ctx, snippets)
	}
	for _, path := range slices.Sorted(maps.Keys(content)) {
		whole, done := r.withoutOurMacros(path, exim.Uncomment(content[path], r.prefix()), macros), r.takenFrom(content[path])+" put back in "+path
		back, found := restored[path]
		if !found {
			back = whole
		} else if !bytes.Equal(back, whole) {
			done = "" // restored has said it
		}
		if path == r.local() && r.copied() {
			back = r.uncarried(back)
		}
		pl.add("options", path, content[path], back, done)
	}
	if err := r.planCopiesRemoved(&pl); err != nil {
		return nil, err
	}
	for _, file := range r.PatternFiles() {
		old, err := safepath.ReadFile(file)
		if err == nil {
			if old == nil {
				old = []byte{}
			}
			err = r.planPatternsRemoved(&pl, file, old)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if old, err := os.ReadFile(r.enabling()); err == nil {
		pl.add("switch off", r.enabling(), old, nil, "rules switched off: "+r.enabling()+" deleted")
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if old, err := os.ReadFile(r.stateFile()); err == nil {
		pl.add("state", r.stateFile(), old, nil, "")
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return pl.changes, nil
}

func (r *run) remove(ctx context.Context) (err error) {
	// A slip of the pen in the settings must not keep the package installed.
	if err := r.readSettings(); err != nil {
		r.note("%v", err)
	}
	changes, err := r.planRemoval(ctx)
	if err != nil {
		return err
	}
	t, err := begin(r.JournalDir(), r.Package, r.faults)
	if t == nil {
		return err
	}
	defer func() {
		if err == nil || errors.Is(err, ErrNotRebuilt) || errors.Is(err, ErrNotRestarted) {
			return
		}
		t.log.Close()
		if e := r.undo(ctx, t.entries); e != nil {
			err = fmt.Errorf("%w; and not everything could be put back: %w", err, e)
		} else {
			err = fmt.Errorf("%w. Every file is as it was, and the rules are still in force", err)
		}
	}()
	if err != nil {
		return err
	}
	if err := r.make(t, changes); err != nil {
		return err
	}
	built := r.rebuild(ctx, t)
	if built != nil && !errors.Is(built, ErrNotRebuilt) && !errors.Is(built, ErrNotRestarted) {
		return built
	}
	if err := t.commit(); err != nil {
		return err
	}
	r.dropIndex(ctx)
	if len(changes) == 0 && built == nil {
		r.note("the rules were not built in: nothing changed")
	}
	return built
}

// rebuild puts the tree without us in force.
func (r *run) rebuild(ctx context.Context, t *transaction) error {
	if _, err := os.Stat(filepath.Join(r.EximDir, "Makefile")); errors.Is(err, fs.ErrNotExist) {
		return nil // the platform is gone, and its configuration with it
	}
	if err := r.exim.BuildDraft(ctx); err != nil {
		return fmt.Errorf("%w (%w). %s stays in force; our rules in it have no effect once the package is gone", ErrNotRebuilt, err, r.exim.Config())
	}
	draft, now, err := r.built()
	if err != nil {
		return err
	}
	if bytes.Equal(draft, now) {
		return nil
	}
	return r.putInForce(ctx, t, draft)
}
