package doctor

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"symbiosis-connect-acl/internal/patterns"
	"symbiosis-connect-acl/internal/patterns/attacks"
	"symbiosis-connect-acl/internal/safepath"
	"symbiosis-connect-acl/internal/settings"
	"symbiosis-connect-acl/internal/words"
)

// patterns looks at the firewall's pattern files.
func (d *doctor) patterns() {
	const topic = "patterns"
	var err error
	if d.wants, err = settings.ReadSwitches(d.DefaultsFile); err != nil {
		d.fail("settings", "mend the file", "%v", err)
		return
	}
	ours, oursErr := os.ReadFile(d.OurPatterns())
	if !d.wants.Patterns {
		d.ok(topic, "not merged, because %s says so", d.exim.Inside(d.DefaultsFile))
		d.livePatterns(ours)
		return
	}
	before := len(d.found)
	for _, file := range d.PatternFiles() {
		if _, err := os.Stat(filepath.Dir(file)); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		d.patternFile(file, ours, oursErr)
	}
	d.livePatterns(ours)
	if len(d.found) == before {
		d.ok(topic, "installed in %s", strings.Join(d.PatternFiles(), " and "))
	}
}

// patternFile looks whether ours are in one of them as they should be.
func (d *doctor) patternFile(file string, ours []byte, oursErr error) {
	const topic = "patterns"
	data, err := safepath.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !patterns.Installed(data) {
		d.warn(topic, d.apply(), "ours are not in %s", file)
		return
	}
	if err != nil {
		d.fail(topic, "see that the file can be read", "%v", err)
		return
	}
	if oursErr != nil {
		d.fail(topic, "run: apt-get install --reinstall "+d.Package, "%v", oursErr)
		return
	}
	merged, superseded, err := patterns.Install(data, ours)
	switch {
	case err != nil:
		d.fail(topic, "mend the line", "%s: %v", file, err)
	case len(superseded) > 0:
		d.warn(topic, d.apply(), "%s:%d is in use, although a pattern of ours replaces it: %s", file, superseded[0].Line, superseded[0].Why)
	case !bytes.Equal(merged, data):
		d.warn(topic, d.apply(), "%s has an older version of ours", file)
	}
}

// mostPatterns is how many bad patterns the doctor names one by one.
const mostPatterns = 10

// livePatterns runs every pattern that the firewall applies to Exim's log, ours
// and all others, over recorded attacks.
func (d *doctor) livePatterns(ours []byte) {
	const topic = "patterns"
	var bad []attacks.Verdict
	var live []attacks.Verdict
	for _, file := range d.PatternFiles() {
		live = append(live, attacks.Live(d.ctx, file, ours)...)
	}
	for _, v := range live {
		path := words.Printable(v.Path)
		switch {
		case d.wants.Patterns && v.Superseded != "" && slices.Contains(d.PatternFiles(), v.Path):
			// That was told; apply comments it out.
		case d.wants.Patterns && v.Superseded != "":
			d.warn(topic, "comment it out: put # at its start", "%s:%d is in use, although a pattern of ours replaces it: %s", path, v.Line, v.Superseded)
		case v.Result != attacks.Safe:
			bad = append(bad, v)
		}
	}
	for i, v := range bad {
		path := words.Printable(v.Path)
		if i == mostPatterns {
			d.warn(topic, "run: "+d.Name+"-connect-patterns test --attacks", "%d more patterns can be used to block others, or could not be tried", len(bad)-i)
			return
		}
		if v.Line == 0 {
			d.warn(topic, "see that it is a pattern file and can be read, or move it away", "%s %s", path, v)
			continue
		}
		remedy := "comment it out: put # at its start"
		if v.Result != attacks.Frames {
			remedy = "write it in a simpler way, or comment it out: nobody knows whether it can be used to block others"
		}
		d.warn(topic, remedy, "%s:%d: %s", path, v.Line, v)
	}
}
