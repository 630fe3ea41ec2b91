package corpus

import (
	"net/netip"
	"regexp"
	"sort"
	"strings"

	"symbiosis-connect-acl/internal/patterns"
	"symbiosis-connect-acl/internal/patterns/attacks"
)

// victims are whom the recorder's attackers write about.
var victims = []string{"8.8.8.8", "2001:4860:4860:"}

var (
	logged    = regexp.MustCompile(`^(?:[A-Z][a-z]{2} [ 0-9][0-9] [:0-9]{8}|[-0-9]{10}[T ][-+.:0-9Z]+)(?: [-+][0-9]{4})? (?:[^ ]+ exim\S*: )?(?:[-0-9]{10} [:0-9.]+ (?:[-+][0-9]{4} )?)?(?:\[[0-9]+\] )?`)
	saidFirst = regexp.MustCompile(`^[^\["(<]*`)
	saidAfter = regexp.MustCompile(`[a-z]+(?: [A-Z]+)?`)
	numbers   = regexp.MustCompile(`\S*[0-9]\S*`)
)

// said is what Exim itself says in a line, roughly: its words before what may be
// the client's, and those behind the peer's address.
func said(e Entry) string {
	text := logged.ReplaceAllString(e.Line, "")
	after := ""
	if i := strings.LastIndex(text, "["+e.Peer.String()+"]"); i >= 0 {
		after = saidAfter.FindString(text[i:])
	}
	return numbers.ReplaceAllString(saidFirst.FindString(text), "#") + "|" + after
}

// Choose gives the lines that ship in our programs: few that show every way to
// forge a line with every text, every kind of line, every Exim with every form
// of its log, and each of the old patterns framed wherever it is. The choice is
// the same for the same corpus. The shortest line comes first.
func Choose(entries []Entry) ([]attacks.Line, error) {
	var old []*patterns.Pattern
	for _, o := range OldPatterns {
		f, err := patterns.Parse([]byte(o.Text))
		if err != nil {
			return nil, err
		}
		if err := f.Compile(); err != nil {
			return nil, err
		}
		old = append(old, f.Patterns...)
	}
	var from []Entry
	for _, e := range entries {
		if e.Kind == "attack" && (strings.Contains(e.Line, victims[0]) || strings.Contains(e.Line, victims[1])) {
			from = append(from, e)
		}
	}
	sort.SliceStable(from, func(i, j int) bool { return len(from[i].Line) < len(from[j].Line) })

	shows := make([][]string, len(from))
	where := map[string][]int{} // what a line shows: the lines that do
	for i, e := range from {
		vector, _, _ := cutScenario(e.Scenario)
		s := []string{"scenario " + e.Scenario, "version " + vector + " " + e.Version, "form " + e.Version + " " + e.Set, "kind " + vector + " " + said(e)}
		for n, p := range old {
			a, ok, _ := p.Match([]byte(e.Line))
			if taken, err := netip.ParseAddr(string(a)); ok && err == nil && taken.Unmap() != e.Peer.Unmap() {
				s = append(s, "framed "+OldPatterns[n].Name+" "+e.Version+" "+e.Set)
			}
		}
		shows[i] = s
		for _, what := range s {
			where[what] = append(where[what], i)
		}
	}
	// What few lines show is looked for first: those lines are needed anyway.
	var all []string
	for what := range where {
		all = append(all, what)
	}
	sort.Slice(all, func(i, j int) bool {
		if a, b := len(where[all[i]]), len(where[all[j]]); a != b {
			return a < b
		}
		return all[i] < all[j]
	})
	shown, chosen := map[string]bool{}, map[int]bool{}
	for _, what := range all {
		if shown[what] {
			continue
		}
		best, most := -1, 0
		for _, i := range where[what] {
			n := 0
			for _, other := range shows[i] {
				if !shown[other] {
					n++
				}
			}
			if n > most {
				best, most = i, n
			}
		}
		chosen[best] = true
		for _, other := range shows[best] {
			shown[other] = true
		}
	}
	var lines []attacks.Line
	for i, e := range from {
		if chosen[i] {
			lines = append(lines, attacks.Line{Peer: e.Peer.Unmap(), Text: e.Line})
		}
	}
	return lines, nil
}
