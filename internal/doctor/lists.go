package doctor

import (
	"fmt"
	"path/filepath"
	"strings"

	"symbiosis-connect-acl/internal/dnsbl"
	"symbiosis-connect-acl/internal/rules"
)

// named are the DNS lists in the macros, and where each zone is named.
type named struct {
	all   []dnsbl.List
	macro map[string]string // by zone
}

func (d *doctor) namedLists() named {
	n := named{macro: map[string]string{}}
	for _, name := range []string{rules.ConnectLists, rules.SubmissionLists} {
		lists, err := dnsbl.ParseLists(d.macros[name])
		if err != nil {
			d.fail("lists", "change "+name+" as it says in "+rules.LocalSnippet+"; then "+d.build(), "%s: %v", name, err)
		}
		for _, l := range lists {
			if zone := l.DisplayName(); n.macro[zone] == "" {
				n.macro[zone] = name
			}
		}
		n.all = append(n.all, lists...)
	}
	return n
}

// lists asks every list for the entries that RFC 5782 has for this.
func (d *doctor) lists(n named) {
	if len(n.all) == 0 {
		d.ok("resolver", "answers")
		d.ok("lists", "no DNS list is asked")
		return
	}
	health, err := dnsbl.CheckHealth(d.ctx, n.all, dnsbl.Options{Timeout: listsDeadline, ResolvConf: filepath.Join(d.Root, "etc/resolv.conf")})
	if err != nil {
		d.fail("resolver", "mend /etc/resolv.conf", "%v", err)
		return
	}
	if suspect := suspectResolver(health); suspect != "" {
		d.warn("resolver", "let /etc/resolv.conf name a resolver of your own: apt-get install unbound", "none of %d DNS lists answers as a list does, so the resolver is the likely cause: %s", len(health), suspect)
		return
	}
	d.ok("resolver", "answers")
	for _, h := range health {
		notes := ""
		if len(h.Notes) > 0 {
			notes = " (" + strings.Join(h.Notes, "; ") + ")"
		}
		// What to do stands in Problem; this is how.
		how := fmt.Sprintf("write %s == the lists to ask into %s and %s", n.macro[h.Zone], rules.LocalSnippet, d.build())
		switch {
		case h.OK():
			d.ok("lists", "%s answers as it should%s", h.Zone, notes)
		case h.Condition == dnsbl.ListsEveryone:
			d.fail("lists", how, "%s %s: %s", h.Zone, h.Condition, h.Problem)
		default:
			d.warn("lists", how, "%s counts for nothing now, %s: %s%s", h.Zone, h.Condition, h.Problem, notes)
		}
	}
}

// suspectResolver tells how the lists do where none is alive and none does
// harm. Several do not go at once: what they have in common is whom they were
// asked through. It gives "" for a single list.
func suspectResolver(health []dnsbl.Health) string {
	zones := map[string][]string{}
	for _, h := range health {
		if h.OK() || h.Condition == dnsbl.ListsEveryone {
			return ""
		}
		zones[h.Condition.String()] = append(zones[h.Condition.String()], h.Zone)
	}
	if len(health) < 2 {
		return ""
	}
	var all []string
	for _, condition := range sortedKeys(zones) {
		all = append(all, condition+": "+strings.Join(zones[condition], ", "))
	}
	return strings.Join(all, "; ")
}
