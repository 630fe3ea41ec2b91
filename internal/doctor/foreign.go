package doctor

import (
	"os"

	"symbiosis-connect-acl/internal/foreign"
)

// foreign names the snippets of others that turn hosts away beside our rules.
// explain and our log lines say nothing of what they refuse.
func (d *doctor) foreign() {
	conf, err := os.ReadFile(d.exim.Config())
	if err != nil {
		return // said elsewhere
	}
	for _, s := range foreign.Refusing(conf, d.Platform, d.macros) {
		d.warn("foreign", "if our rules are to decide alone: "+s.Retire(), "%s", s)
	}
}
