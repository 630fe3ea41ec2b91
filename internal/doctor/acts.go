package doctor

import (
	"os"
	"strings"

	"symbiosis-connect-acl/internal/door"
	"symbiosis-connect-acl/internal/rules"
)

// acts asks the configuration in force whether our rules act: that innocent
// hosts get in says nothing of it.
func (d *doctor) acts(work string) {
	if _, on := d.macros[rules.Marker]; !on {
		return // told above
	}
	conf, err := os.ReadFile(d.exim.Config())
	if err != nil {
		d.fail("acts", d.build(), "%v", err)
		return
	}
	if missing := door.Undefined(conf, d.Platform, d.macros); len(missing) > 0 {
		d.fail("acts", "run: apt-get install --reinstall -o Dpkg::Options::=--force-confmiss "+d.Package+"; a file of your own may stand under a name of ours in 00-main",
			"nothing defines %s, so rules of ours do nothing", strings.Join(missing, ", "))
		return
	}
	all, err := door.Acts(d.ctx, d.Platform, d.exim.Config(), work, d.macros)
	if err != nil {
		d.fail("acts", d.build(), "%v", err)
		return
	}
	for _, a := range all {
		if a.Failed() {
			d.fail("acts", "look at "+d.setup()+" status, and at the findings about snippets; then "+d.apply(), "a rule of ours does not act: %s", a)
		} else {
			d.ok("acts", "%s", a)
		}
	}
}
