package doctor

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

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
		whitelist, d.macros[rules.RefusedNames],
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
	if data, err := os.ReadFile(filepath.Join(d.Root, whitelist)); err == nil {
		for i, line := range strings.Split(string(data), "\n") {
			if text, ok := strangeHost(line); ok {
				bad++
				d.warn("files", "write one address or network at the start of each line", "%s:%d: %q is no address and lets nobody in", whitelist, i+1, text)
			}
		}
	}
	if bad == 0 {
		d.ok("files", "%s can read the lists that the rules ask", d.user.Name)
	}
}

// strangeHost reports a line of the white list that names no host.
func strangeHost(line string) (text string, strange bool) {
	text = strings.TrimSpace(line)
	if text == "" || text[0] == '#' {
		return "", false
	}
	host := strings.Fields(text)[0]
	if rest, ok := strings.CutPrefix(host, `"`); ok {
		host, _, _ = strings.Cut(rest, `"`)
	}
	for _, h := range []string{host, strings.TrimSuffix(host, ":")} {
		if _, err := netip.ParseAddr(h); err == nil {
			return "", false
		}
		if _, err := netip.ParsePrefix(h); err == nil {
			return "", false
		}
	}
	return text, true
}
