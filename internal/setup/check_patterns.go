package setup

import "symbiosis-connect-acl/internal/patterns/attacks"

// mostPatterns is how many bad patterns the doctor names one by one.
const mostPatterns = 10

// livePatterns runs every pattern that the firewall applies to Exim's log, ours
// and all others, over recorded attacks.
func (d *doctor) livePatterns(ours []byte) {
	const topic = "patterns"
	var bad []attacks.Verdict
	for _, v := range attacks.Live(d.ctx, d.patternFile(), ours) {
		path := attacks.Printable(v.Path)
		switch {
		case d.wants.patterns && v.Superseded != "" && v.Path == d.patternFile():
			// That was told; apply comments it out.
		case d.wants.patterns && v.Superseded != "":
			d.warn(topic, "comment it out: put # at its start", "%s:%d is in use beside ours, which supersedes it: %s", path, v.Line, v.Superseded)
		case v.Result != attacks.Safe:
			bad = append(bad, v)
		}
	}
	for i, v := range bad {
		path := attacks.Printable(v.Path)
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
