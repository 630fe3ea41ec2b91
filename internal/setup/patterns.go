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

// planPatterns merges our patterns into those of every firewall, or takes them
// out where the settings say that they are not wanted.
func (r *run) planPatterns(pl *plan) error {
	none := true
	for _, file := range r.PatternFiles() {
		if _, err := os.Stat(filepath.Dir(file)); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		none = false
		if err := r.planPatternFile(pl, file); err != nil {
			return err
		}
	}
	if none {
		r.note("%s is not there: no patterns installed", filepath.Dir(r.PatternFile()))
	}
	return nil
}

func (r *run) planPatternFile(pl *plan, file string) error {
	old, err := safepath.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if old == nil && err == nil {
		old = []byte{}
	}
	if !r.wants.Patterns {
		return r.planPatternsRemoved(pl, file, old)
	}
	pl.state.PatternsFiles = append(pl.state.PatternsFiles, r.exim.Inside(file))
	ours, err := os.ReadFile(r.OurPatterns())
	if err != nil {
		return err
	}
	merged, superseded, err := patterns.Install(old, ours)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, s := range superseded {
		r.note("%s:%d: superseded by ours (%s)", file, s.Line, s.Why)
	}
	pl.add("patterns", file, old, merged, "our patterns merged into "+file)
	return nil
}

func (r *run) planPatternsRemoved(pl *plan, file string, old []byte) error {
	if old == nil {
		return nil
	}
	original, gone, err := patterns.Remove(old)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	done := "our patterns taken out of " + file
	if gone {
		original = nil
		done = file + " deleted: it held nothing but our patterns"
	} else if original == nil {
		original = []byte{}
	}
	pl.add("patterns", file, old, original, done)
	return nil
}
