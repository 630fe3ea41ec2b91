package doctor

import (
	"fmt"
	"os"
	"path/filepath"

	"symbiosis-connect-acl/internal/rules"
)

// files tries to read, as Exim's user, what the rules read.
func (d *doctor) files() {
	etc := d.macros["ETC_DIR"]
	if etc == "" {
		etc = "/etc"
	}
	whitelist := etc + "/exim4/whitelist_connect_hosts"
	bad := 0
	for _, path := range []string{
		whitelist, d.exim.Inside(d.WhitelistDNS), d.macros[rules.RefusedNames],
		etc + "/exim4/relay_from_hosts", etc + "/exim4/whitelist/by_ip",
		d.exim.Inside(d.ShareDir) + "/refused-helo-names",
	} {
		if path == "" {
			continue
		}
		if _, err := os.Stat(filepath.Join(d.Root, path)); err != nil {
			continue
		}
		if _, _, err := d.exim.RunAs(d.ctx, d.user, helperDeadline, "/bin/sh", "-c", `test -r "$1"`, "sh", path); err != nil {
			bad++
			d.fail("files", fmt.Sprintf("run: chgrp %s %s && chmod g+r %s", d.user.Name, path, path), "%s cannot be read by %s", path, d.user.Name)
		}
	}
	bad += d.whitelist(whitelist)
	if bad == 0 {
		d.ok("files", "%s can read the lists that the rules ask", d.user.Name)
	}
}
