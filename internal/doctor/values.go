package doctor

import (
	"fmt"
	"strings"

	"symbiosis-connect-acl/internal/rules"
)

// values looks at what the macros in force say. The rules pass over a value
// that they cannot use; here it is reported.
func (d *doctor) values() {
	bad := 0
	for _, name := range sortedKeys(d.macros) {
		form, ok := rules.FormOf(name)
		if !ok || form.Fits(d.macros[name]) {
			continue
		}
		bad++
		off := ""
		if form.Off != "" {
			off = fmt.Sprintf(" (%s == off switches the check off)", form.Off)
		}
		d.fail("values", fmt.Sprintf("%s%s; the place is %s; then %s", rules.Instead(name, d.macros[name]), off, rules.LocalSnippet, d.build()),
			"%s is %q, which its rule cannot use", name, d.macros[name])
	}
	if bad > 0 {
		return
	}
	switch strings.TrimSpace(d.macros[rules.StateSuite]) {
	case string(rules.Learn):
		d.warn("values", "when the log shows only what you want refused, set CONNECT_STATE_SUITE == enforce", "CONNECT_STATE_SUITE is learn: nobody is refused")
	case string(rules.Off):
		d.warn("values", "set CONNECT_STATE_SUITE == enforce or learn", "CONNECT_STATE_SUITE is off: no host is checked")
	default:
		d.ok("values", "all settings are valid")
	}
}
