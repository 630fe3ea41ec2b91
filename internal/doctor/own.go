package doctor

import (
	"net/netip"
	"path/filepath"
	"strings"

	"symbiosis-connect-acl/internal/dnsbl"
	"symbiosis-connect-acl/internal/rules"
)

// ownLists asks the zone that the administrator's servers share for its test
// entries, where there is one.
func (d *doctor) ownLists() {
	lists, err := dnsbl.ParseLists(d.macros[rules.OwnLists])
	if err != nil {
		d.fail("own lists", "mend "+rules.OwnLists+" and "+d.build(), "%s: %v", rules.OwnLists, err)
		return
	}
	if len(lists) == 0 {
		return
	}
	o := dnsbl.Options{Timeout: listsDeadline, ResolvConf: filepath.Join(d.Root, "etc/resolv.conf")}
	if s := strings.TrimSpace(d.macros[rules.OwnResolver]); s != "" {
		server, err := dnsbl.ParseServer(s)
		if err != nil {
			d.fail("own lists", "mend "+rules.OwnResolver+" and "+d.build(), "%s: %v", rules.OwnResolver, err)
			return
		}
		o.Servers = []netip.AddrPort{server}
	}
	health, err := dnsbl.CheckHealth(d.ctx, lists, o)
	if err != nil {
		d.fail("own lists", "mend /etc/resolv.conf", "%v", err)
		return
	}
	for _, h := range health {
		if h.OK() {
			d.ok("own lists", "%s answers as it should", h.Zone)
		} else {
			d.warn("own lists", "look after the name server of "+h.Zone+": docs/fleet.md", "%s counts for nothing now, %s: %s", h.Zone, h.Condition, h.Problem)
		}
	}
}
