package lifecycle

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"symbiosis-connect-acl/tests/deb"
	"symbiosis-connect-acl/tests/lab"
)

func TestLifecycle(t *testing.T) {
	lab.SkipUnlessReady(t)
	for _, suite := range lab.Suites {
		for _, platform := range deb.Platforms {
			t.Run(suite.Name+"/"+platform, func(t *testing.T) {
				t.Parallel()
				lifecycle(newHost(t, suite.Name, platform))
			})
		}
	}
}

func lifecycle(h *host) {
	t := h.t
	t.Helper()
	tree := "etc/exim4/" + h.Platform + ".d/"
	ours := func() func(string) bool {
		return within(append(h.conffiles(),
			tree+"00-main/20-connect-acl-enabled", // written by setup
			"etc/exim4/exim4.conf",
			"etc/"+h.Platform+"/firewall/patterns.d/exim4.patterns",
			tree+"00-main/50-tls-options", // where Sympl has its log_selector
			"usr/sbin/"+h.Platform+"-connect-check", "usr/sbin/"+h.Platform+"-connect-db",
			"usr/sbin/"+h.Platform+"-connect-patterns", "usr/sbin/"+h.Platform+"-connect-setup",
			"usr/share/"+h.pkg+"/", "usr/share/doc/"+h.pkg+"/", "usr/share/lintian/overrides/"+h.pkg,
			"usr/share/man/man8/", "usr/share/man/man5/"+h.pkg+".5.gz",
			"usr/share/bash-completion/completions/", "usr/lib/systemd", "usr/lib/systemd/",
			"var/lib/"+h.pkg+"/")...)
	}

	// A configuration with passwords in it: not everybody may read it.
	h.run("chown", "root:Debian-exim", "/etc/exim4/exim4.conf")
	h.run("chmod", "640", "/etc/exim4/exim4.conf")
	stock := h.snapshot()
	h.serves("stock", false)

	h.dpkg("-i", h.current())
	h.serves("installed", true)
	h.same("installing changed what is not ours", stock, ours())
	if h.Platform == "symbiosis" {
		if c := changes(stock, h.snapshot(), nil); strings.Contains(strings.Join(c, "\n"), "50-tls-options") {
			t.Errorf("installing changed a snippet without a log_selector")
		}
	}
	installed := h.snapshot()

	h.run("dpkg-reconfigure", h.pkg)
	h.serves("configured again", true)
	h.same("configuring again changed something", installed, nil)

	h.dpkg("-i", h.current())
	h.serves("installed again", true)
	h.same("installing the same version again changed something", installed, nil)

	left := within(append(h.conffiles(), "etc/exim4/exim4.conf", "var/lib/"+h.pkg, "var/lib/"+h.pkg+"/hosts")...)
	h.run("dpkg", "-r", h.pkg)
	h.serves("removed", false)
	h.same("removing left or changed more than conffiles", stock, left)

	h.dpkg("-i", h.current())
	h.serves("reinstalled", true)
	h.same("reinstalling gave something else", installed, nil)

	h.run("dpkg", "-P", h.pkg)
	h.serves("purged", false)
	h.same("after purging not all is as it was", stock, nil)

	for _, older := range []struct{ name, file string }{
		{"the previous release", h.previous()},
		{"a release with other files", h.altered()},
	} {
		name := older.name
		h.dpkg("-i", older.file)
		h.serves(name, true)
		// One that had no hosts.db cannot tell who is a user.
		want := "0"
		if _, err := os.Stat(h.Path(h.HostsDatabase())); err != nil {
			want = "1"
		}
		h.dpkg("-i", h.current())
		if got := h.Hosts("select count(*) from state where name = 'lost';"); got != want {
			t.Errorf("upgraded from %s: begun as after a loss: %s, want %s", name, got, want)
		}
		h.serves("upgraded from "+name, true)
		h.same("an upgrade from "+name+" gives something else than an installation", installed, nil)
		h.run("dpkg", "-P", h.pkg)
		h.same("after upgrading from "+name+" and purging not all is as it was", stock, nil)
		upgradeEdited(h, name, older.file, stock)
	}
}

// upgradeEdited upgrades from an older package all of whose configuration files
// the administrator has edited, and removes what is there then.
func upgradeEdited(h *host, name, old string, stock snapshot) {
	t := h.t
	t.Helper()
	const edit = "\n# edited by the administrator\n"
	h.dpkg("-i", old)
	edited := h.conffiles()
	for _, f := range edited {
		h.Append(f, edit)
	}
	h.dpkg("-i", h.current())
	h.serves("upgraded with edited conffiles from "+name, true)
	for _, f := range edited {
		if !strings.HasSuffix(h.Read(f), edit) {
			t.Errorf("the upgrade from %s lost the edit of %s", name, f)
		}
		// dpkg lays its own beside the administrator's where both have changed.
		if _, err := os.Stat(h.Path(f + ".dpkg-dist")); old == h.altered() && err != nil {
			t.Errorf("%s does not differ from that of %s: %v", f, name, err)
		}
	}
	if !strings.Contains(h.Read("etc/exim4/exim4.conf"), edit) {
		t.Error("the configuration in force is not built from the edited snippets")
	}
	h.run("dpkg", "-r", h.pkg)
	h.serves("removed with edited conffiles", false)
	h.run("dpkg", "-P", h.pkg)
	h.serves("purged with edited conffiles", false)
	h.same("after purging edited conffiles not all is as it was", stock, nil)
}

// The administrator's own settings outlive an upgrade without a question.
func TestLocalSettingsOutliveUpgrade(t *testing.T) {
	lab.SkipUnlessReady(t)
	t.Parallel()
	h := newHost(t, lab.DefaultSuite, "symbiosis")
	h.dpkg("-i", h.previous())
	h.Local("SYMBIOSIS_INCIDENT_THRESHOLD == 1000")
	h.run("make", "-s", "-C", "/etc/exim4", "exim4.conf")
	h.run("/etc/init.d/exim4", "restart")
	h.serves("threshold raised", false)
	h.run("dpkg", "-i", h.current())
	h.serves("upgraded", false)
}

// other builds a package of somebody else's that puts one snippet into the
// tree.
func other(h *host, version, snippet, content string) string {
	h.t.Helper()
	dir := filepath.Join(h.t.TempDir(), "other-"+version)
	path := filepath.Join(dir, "etc/exim4", h.Platform+".d", snippet)
	must(h.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(h.t, os.WriteFile(path, []byte(content), 0o644))
	must(h.t, os.MkdirAll(filepath.Join(dir, "DEBIAN"), 0o755))
	must(h.t, os.WriteFile(filepath.Join(dir, "DEBIAN/control"), []byte("Package: other-snippets\nVersion: "+version+
		"\nArchitecture: all\nMaintainer: Somebody <somebody@example.org>\nDescription: somebody else's snippet\n"), 0o644))
	must(h.t, os.WriteFile(filepath.Join(dir, "DEBIAN/conffiles"), []byte("/etc/exim4/"+h.Platform+".d/"+snippet+"\n"), 0o644))
	file := dir + ".deb"
	if out, err := dpkgDeb("-Zgzip", "-b", dir, file); err != nil {
		h.t.Fatalf("dpkg-deb: %v\n%s", err, out)
	}
	return h.put(file)
}

// When another package changes the tree, the rules are built in again and
// tested; when they cannot be, the other package is none the worse.
func TestTrigger(t *testing.T) {
	lab.SkipUnlessReady(t)
	for _, platform := range deb.Platforms {
		t.Run(platform, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, lab.DefaultSuite, platform)
			h.dpkg("-i", h.current())
			const snippet = "10-acl/10-acl-check-connect/85-other"

			h.dpkg("-i", other(h, "1", snippet, "  warn set acl_c_other = first\n"))
			h.serves("another package's snippet", true)
			if !strings.Contains(h.Read("etc/exim4/exim4.conf"), "acl_c_other = first") {
				t.Error("the configuration in force lacks the other package's snippet")
			}

			before := h.Read("etc/exim4/exim4.conf")
			out := h.dpkg("-i", other(h, "2", snippet, "  no such condition\n"))
			if !strings.Contains(out, h.pkg+": the connect checks could not be built in again") {
				t.Errorf("nobody is told that the snippet is broken:\n%s", out)
			}
			if got := h.run("dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Package}\n", "other-snippets", h.pkg); got != "ii other-snippets\nii "+h.pkg+"\n" &&
				got != "ii "+h.pkg+"\nii other-snippets\n" {
				t.Errorf("dpkg's status: %q", got)
			}
			if h.Read("etc/exim4/exim4.conf") != before {
				t.Error("the configuration in force was changed")
			}
			h.judges("another package's broken snippet", true)

			h.run("dpkg", "-P", "other-snippets")
			h.serves("another package purged", true)
			if strings.Contains(h.Read("etc/exim4/exim4.conf"), "acl_c_other") {
				t.Error("the configuration in force still has the other package's snippet")
			}
		})
	}
}

// Each of the two packages makes way for the other.
func TestConflict(t *testing.T) {
	lab.SkipUnlessReady(t)
	t.Parallel()
	h := newHost(t, lab.DefaultSuite, "symbiosis")
	h.dpkg("-i", h.current())
	out := h.fail("dpkg", "-i", h.put(deb.Build(t, "sympl", "")))
	if !strings.Contains(out, "conflict") {
		t.Errorf("dpkg does not say why:\n%s", out)
	}
	h.run("dpkg", "--configure", "-a")
	h.serves("after the attempt", true)
}

// Without a platform there is nothing to do and nothing to fail.
func TestNoPlatform(t *testing.T) {
	lab.SkipUnlessReady(t)
	t.Parallel()
	r := lab.NewRoot(t, lab.DefaultSuite, "")
	r.Platform = "symbiosis"
	h := &host{Root: r, t: t, net: lab.NewNet(t), pkg: "symbiosis-connect-acl"}
	before := h.snapshot()
	out := h.dpkg("-i", h.current())
	if !strings.Contains(out, "neither Symbiosis nor Sympl is installed here") {
		t.Errorf("nobody is told:\n%s", out)
	}
	h.run("dpkg", "-P", h.pkg)
	h.same("after purging not all is as it was", before, nil)
}
