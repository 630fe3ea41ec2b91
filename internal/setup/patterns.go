package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"symbiosis-connect-acl/internal/patterns"
	"symbiosis-connect-acl/internal/safepath"
)

// planPatterns merges our patterns, or takes them out where the settings say
// that they are not wanted.
func (r *run) planPatterns(pl *plan) error {
	dir := filepath.Dir(r.PatternFile())
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		r.note("%s is not there: no patterns installed", dir)
		return nil
	}
	old, err := safepath.ReadFile(r.PatternFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if old == nil && err == nil {
		old = []byte{}
	}
	if !r.wants.Patterns {
		return r.planPatternsRemoved(pl, old)
	}
	pl.state.PatternsFile = r.exim.Inside(r.PatternFile())
	ours, err := os.ReadFile(r.OurPatterns())
	if err != nil {
		return err
	}
	merged, superseded, err := patterns.Install(old, ours)
	if err != nil {
		return fmt.Errorf("%s: %w", r.PatternFile(), err)
	}
	for _, s := range superseded {
		r.note("%s:%d: superseded by ours (%s)", r.PatternFile(), s.Line, s.Why)
	}
	pl.add("patterns", r.PatternFile(), old, merged, "our patterns merged into "+r.PatternFile())
	return nil
}

func (r *run) planPatternsRemoved(pl *plan, old []byte) error {
	if old == nil {
		return nil
	}
	original, gone, err := patterns.Remove(old)
	if err != nil {
		return fmt.Errorf("%s: %w", r.PatternFile(), err)
	}
	done := "our patterns taken out of " + r.PatternFile()
	if gone {
		original = nil
		done = r.PatternFile() + " deleted: it held nothing but our patterns"
	} else if original == nil {
		original = []byte{}
	}
	pl.add("patterns", r.PatternFile(), old, original, done)
	return nil
}
