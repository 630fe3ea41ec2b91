package doctor

import (
	"os"
	"path/filepath"
	"slices"
	"time"

	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/whitelist"
	"symbiosis-connect-acl/internal/words"
)

// namesLate is how long the cron job may be late with the names.
const namesLate = 5 * time.Minute

// whitelist tells what the administrator's white list lets in that he may not
// have meant, and what it passes over. It gives the number of its findings.
func (d *doctor) whitelist(inside string) int {
	data, err := os.ReadFile(filepath.Join(d.Root, inside))
	if err != nil {
		return 0 // that Exim's user can read it was looked at
	}
	before := len(d.found)
	f := whitelist.Parse(data)
	for _, n := range f.Notes {
		if n.Line > 0 {
			d.warn("whitelist", n.Remedy, "%s:%d: %s", inside, n.Line, n.Text)
		} else {
			d.warn("whitelist", n.Remedy, "%s: %s", inside, n.Text)
		}
	}
	derived, err := os.ReadFile(d.WhitelistDNS)
	now := whitelist.ParseDerived(derived)
	look := "run: " + d.Name + "-connect-db names"
	for _, e := range f.Entries {
		if e.Range && err != nil {
			d.warn("whitelist", look+", and see whether cron runs it each minute", "%s:%d: %s is not written down for Exim yet", inside, e.Line, words.Printable(e.Text))
		}
	}
	// One finding a name: the first trouble of the two kinds of addresses.
	for _, name := range f.Names() {
		line := f.Entries[slices.IndexFunc(f.Entries, func(e whitelist.Entry) bool { return e.Name == name })].Line
		d.whitelistName(inside, line, name, now.Of(name), look)
	}
	return len(d.found) - before
}

func (d *doctor) whitelistName(inside string, line int, name string, answers []whitelist.Answer, look string) {
	late, addrs := len(answers) == 0, 0
	for _, x := range answers {
		late = late || clock.Since(x.Next) > namesLate
		addrs += len(x.Addrs)
	}
	if late {
		d.warn("whitelist", look+", and see whether cron runs it each minute", "%s:%d: %s has not been looked up lately", inside, line, name)
		return
	}
	for _, x := range answers {
		if x.Failure == "" {
			continue
		}
		held := "it lets in nobody"
		if len(x.Addrs) > 0 {
			held = "the answer of " + x.Good.UTC().Format("2006-01-02 15:04 UTC") + " holds for a day"
		}
		d.warn("whitelist", "see that the name is right and that the resolver works: getent ahosts "+name,
			"%s:%d: %s could not be looked up (%s): %s", inside, line, name, words.Printable(x.Failure), held)
		return
	}
	if addrs == 0 {
		d.warn("whitelist", "correct the name, or put # before the line", "%s:%d: %s has no address and lets in nobody", inside, line, name)
	}
}
