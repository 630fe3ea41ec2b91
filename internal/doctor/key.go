package doctor

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"

	"symbiosis-connect-acl/internal/dnsbl"
	"symbiosis-connect-acl/internal/rules"
)

// keys looks whether others can read a key that a DNS list has in its name.
func (d *doctor) keys() {
	var secret []string
	for _, name := range []string{rules.ConnectLists, rules.SubmissionLists} {
		value := d.macros[name]
		if dnsbl.MaskKeys(value) == value {
			continue
		}
		// As 11-acl-connect-helper does it.
		if strings.ContainsAny(value, "$|") || d.macros["CONNECT_ACL_ENVIRONMENT_IS_TAKEN"] != "" {
			d.warn("keys", "do as the comment in "+d.exim.Inside(filepath.Join(d.SnippetDir, "00-main/27-environment"))+" says, and write the key as it is, without ${...}",
				"%s has a key that any user of this machine can see with ps", name)
		}
		lists, _ := dnsbl.ParseLists(value) // told elsewhere
		for _, l := range lists {
			if l.DisplayName() != l.Zone {
				secret = append(secret, l.Zone)
			}
		}
	}
	if len(secret) == 0 {
		return
	}
	conf := d.exim.Config()
	files := []string{conf, conf + "~", d.exim.Draft()}
	if snippets, err := d.exim.Snippets(); err == nil {
		files = append(files, snippets...)
	}
	var open []string
	for _, path := range files {
		st, err := os.Stat(path)
		if err != nil || !st.Mode().IsRegular() || st.Mode().Perm()&0o004 == 0 {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		data = bytes.ToLower(data)
		for _, zone := range secret {
			if bytes.Contains(data, []byte(zone)) {
				open = append(open, d.exim.Inside(path))
				break
			}
		}
	}
	if len(open) == 0 {
		d.ok("keys", "nobody else can read the key in a DNS list's name")
		return
	}
	d.warn("keys", "run: chmod o-r "+strings.Join(open, " ")+"; from then on build with: cd "+d.exim.Inside(d.EximDir)+" && (umask 027; make test && make)",
		"any user of this machine can read the key of a DNS list in %s", strings.Join(open, ", "))
}
