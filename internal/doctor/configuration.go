package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"symbiosis-connect-acl/internal/rules"
)

// configuration looks at the Exim and its configuration in force. Without one
// that Exim reads there is little else to look at.
func (d *doctor) configuration() bool {
	version, err := d.exim.Version(d.ctx)
	if err != nil {
		d.fail("exim", "run: apt-get install exim4-daemon-heavy", "%v", err)
		return false
	}
	name := map[string]string{"symbiosis": "Symbiosis", "sympl": "Sympl"}[d.Name]
	if older(version, 4, 94) {
		d.warn("platform", "upgrade Exim: the rules are tested with 4.94 to 4.100", "%s, Exim %s", name, version)
	} else {
		d.ok("platform", "%s, Exim %s", name, version)
	}
	if _, err := os.Stat(d.JournalDir()); !errors.Is(err, fs.ErrNotExist) {
		d.warn("setup", d.apply(), "a run of the setup tool was interrupted, or is in progress")
	}
	if d.macros, err = d.exim.Macros(d.ctx, d.exim.Config()); err != nil {
		d.fail("configuration", "mend what is named and "+d.build(), "Exim does not take %s: %v", d.exim.Config(), err)
		return false
	}
	if d.user, err = d.exim.User(d.ctx, d.exim.Config()); err != nil {
		d.fail("configuration", d.build(), "%v", err)
		return false
	}
	if _, on := d.macros[rules.Marker]; !on {
		d.fail("configuration", d.apply(), "the rules are not in force")
	} else {
		d.ok("configuration", "the rules are in force")
	}
	return true
}

func older(version string, major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(version, "%d.%d", &a, &b); n < 2 {
		return false
	}
	return a < major || a == major && b < minor
}
