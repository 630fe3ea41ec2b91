package setup

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"symbiosis-connect-acl/internal/patterns"
	"symbiosis-connect-acl/internal/rules"
	"symbiosis-connect-acl/internal/safepath"
)

// A Report is what Status tells.
type Report struct {
	Platform      string   `json:"platform"` // "" where there is none
	Package       string   `json:"package,omitempty"`
	Applied       bool     `json:"applied"`     // the rules are built into the tree
	InForce       bool     `json:"in_force"`    // they are part of the configuration in force
	Interrupted   bool     `json:"interrupted"` // a run did not come to its end
	Since         string   `json:"since,omitempty"`
	LogSelector   string   `json:"log_selector,omitempty"` // taken over from elsewhere
	LogSnippets   []string `json:"log_snippets,omitempty"`
	EventAction   string   `json:"event_action,omitempty"` // likewise
	EventSnippets []string `json:"event_snippets,omitempty"`
	PatternsFiles []string `json:"patterns_files,omitempty"` // one for each firewall
	Exim          int      `json:"exim_pid,omitempty"`
}

// Status tells what is applied, without asking any rule.
func Status(ctx context.Context, opt Options) (Report, error) {
	p, found, err := find(opt)
	if err != nil || !found {
		return Report{}, err
	}
	r := newRun(p, opt)
	rep := Report{Platform: p.Name, Package: p.Package}
	if _, err := os.Stat(r.enabling()); err == nil {
		rep.Applied = true
	}
	_, _, rep.Interrupted, err = journal(r.JournalDir())
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return rep, err
	}
	s, has, err := r.readState()
	if err != nil {
		return rep, err
	}
	if has {
		rep.Since = s.Applied.Format(time.RFC3339)
		rep.LogSelector, rep.LogSnippets = s.LogSelector, s.LogSnippets
		rep.EventAction, rep.EventSnippets = s.EventAction, s.EventSnippets
	}
	for _, file := range r.PatternFiles() {
		if data, err := safepath.ReadFile(file); err == nil && patterns.Installed(data) {
			rep.PatternsFiles = append(rep.PatternsFiles, r.exim.Inside(file))
		}
	}
	rep.Exim, _ = r.exim.Running()
	macros, err := r.exim.Macros(ctx, r.exim.Config())
	if err != nil {
		return rep, err
	}
	_, rep.InForce = macros[rules.Marker]
	return rep, nil
}
