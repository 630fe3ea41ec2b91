package doctor

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"symbiosis-connect-acl/internal/rules"
)

var ruleLine = regexp.MustCompile(`# -{4,}\n`)

// snippets compares the tree with what the package has shipped, and with what
// is in force.
func (d *doctor) snippets() {
	var edited, missing, waiting []string
	shipped, err := d.conffiles()
	if err != nil {
		d.warn("snippets", "install the package "+d.Package, "dpkg does not know which snippets belong to us: %v", err)
	}
	prefix := d.exim.Inside(d.PackageDir) + "/"
	for path, sum := range shipped {
		name, ours := strings.CutPrefix(path, prefix)
		if !ours {
			continue
		}
		data, err := os.ReadFile(filepath.Join(d.Root, path))
		got := md5.Sum(data)
		switch {
		case err != nil:
			missing = append(missing, name)
		case hex.EncodeToString(got[:]) != sum:
			edited = append(edited, name)
		}
		for _, ext := range []string{".dpkg-dist", ".dpkg-new", ".ucf-dist"} {
			if _, err := os.Stat(filepath.Join(d.Root, path+ext)); err == nil {
				waiting = append(waiting, name+ext)
			}
		}
	}
	before := len(d.found)
	for _, c := range []struct {
		names        []string
		what, remedy string
	}{
		{missing, "switched off, because the file is gone", "if this was not meant: apt-get install --reinstall -o Dpkg::Options::=--force-confmiss " + d.Package},
		{edited, "edited", "put your values into " + rules.LocalSnippet + " instead, which no upgrade touches"},
		{waiting, "a newer version waits", "compare them with yours, then delete them"},
	} {
		if len(c.names) > 0 {
			d.warn("snippets", c.remedy, "%s: %s", c.what, strings.Join(sorted(c.names), ", "))
		}
	}
	if len(shipped) > 0 && len(d.found) == before {
		d.ok("snippets", "as the package ships them")
	}

	joined, err := d.exim.Join(nil)
	if err != nil {
		d.fail("build", "see that root can read the snippets", "%v", err)
		return
	}
	now, err := os.ReadFile(d.exim.Config())
	if err != nil {
		d.fail("build", d.build(), "%v", err)
		return
	}
	even := func(conf []byte) []byte { return ruleLine.ReplaceAll(conf, []byte("# ----\n")) }
	if !bytes.Equal(even(joined), even(now)) {
		d.warn("build", d.build(), "the snippets are not what %s was built from", d.exim.Config())
	} else {
		d.ok("build", "%s is built from the snippets as they are", d.exim.Config())
	}
}

// conffiles gives the MD5 sums of the package's configuration files as dpkg
// has recorded them.
func (d *doctor) conffiles() (map[string]string, error) {
	stanzas, err := d.dpkg()
	if err != nil {
		return nil, err
	}
	for _, stanza := range stanzas {
		if !strings.HasPrefix(stanza, "Package: "+d.Package+"\n") {
			continue
		}
		all := map[string]string{}
		in := false
		for _, line := range strings.Split(stanza, "\n") {
			if !strings.HasPrefix(line, " ") {
				in = line == "Conffiles:"
				continue
			}
			if f := strings.Fields(line); in && len(f) >= 2 && len(f[1]) == md5.Size*2 {
				all[f[0]] = f[1]
			}
		}
		return all, nil
	}
	return nil, fmt.Errorf("%s is not installed", d.Package)
}
