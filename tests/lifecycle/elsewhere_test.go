package lifecycle

import (
	"os"
	"strings"
	"testing"

	"symbiosis-connect-acl/tests/article"
	"symbiosis-connect-acl/tests/lab"
)

// A Makefile that builds from a tree of the administrator's: our snippets act
// there, what stood under their names comes back, and the rules of others that
// refuse beside ours are named.
func TestArticleLater(t *testing.T) {
	lab.SkipUnlessReady(t)
	for _, suite := range lab.Suites {
		t.Run(suite.Name, func(t *testing.T) {
			t.Parallel()
			articleLater(t, suite.Name)
		})
	}
}

func articleLater(t *testing.T, suite string) {
	h := newHost(t, suite, "sympl")
	own := article.LayOverLater(t, h.Root)
	h.run("make", "-s", "-C", "/etc/exim4", "exim4.conf")
	h.run("/etc/init.d/exim4", "restart")
	stock := h.snapshot()
	asBefore := func(step string) {
		t.Helper()
		h.run("make", "-s", "-C", "/etc/exim4", "test")
		must(t, os.RemoveAll(h.Path("etc/exim4/exim4.conf.tmp")))
		// The author's rule knows bad IPv4 hosts, and no IPv6 host in it.
		for from, want := range map[string]string{bad[0]: "550", bad[1]: "220", innocent[0]: "220", innocent[1]: "220"} {
			if got := h.greet(from, 587); lab.Code(got) != want {
				t.Errorf("%s: %s: %q; want %s", step, from, got, want)
			}
		}
	}
	asBefore("stock")
	left := func() func(string) bool {
		return within(append(h.conffiles(), "etc/exim4/exim4.conf", "etc/exim4/exim4.conf~", "var/lib/"+h.pkg, "var/lib/"+h.pkg+"/hosts")...)
	}
	if suite != lab.DefaultSuite {
		h.run("dpkg", "-i", h.altered())
		h.serves("an older version", true)
		h.run("dpkg", "-i", h.current())
		h.serves("upgraded", true)
		h.run("dpkg", "-r", h.pkg)
		asBefore("removed")
		h.same("removing left or changed more than conffiles", stock, left())
		h.run("dpkg", "-P", h.pkg)
		asBefore("purged")
		h.same("after purging not all is as it was", stock, within("etc/exim4/exim4.conf~"))
		return
	}

	out := h.run("dpkg", "-i", h.current())
	h.serves("installed", true)
	for _, want := range []string{
		"make builds from " + own,
		"SYMBIOSIS_INCIDENT_THRESHOLD == 25", "CHECK_CONNECT_RATELIMIT == 60 / 15m",
		"a host with a history (count 26, threshold 25) is refused on port 25",
		"a host that says ylmf-pc at HELO is refused on port 25",
		"25-dnsbl-reject is not ours and turns away, on all ports: hosts on the DNS lists zen.spamhaus.org",
		"30-check-sympl-db is not ours and turns away, on all ports: hosts with a count in a database",
		"77-check-sender-host-name is not ours and turns away, on all ports, later than at the connection: hosts without a reverse name",
		"mv " + own + "/10-acl/10-acl-check-connect/25-dnsbl-reject " + own + "/10-acl/10-acl-check-connect/25-dnsbl-reject.retired && cd /etc/exim4 && make",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("nobody is told %q:\n%s", want, out)
		}
	}
	if check, _ := h.try("sympl-connect-setup", "check"); !strings.Contains(check, "25-dnsbl-reject is not ours") {
		t.Errorf("the doctor does not name it:\n%s", check)
	}
	if got := h.run("exim4", "-bP", "log_selector"); !strings.Contains(got, "+incoming_interface") {
		t.Errorf("log_selector: %s", got)
	}
	installed := h.snapshot()
	h.run("sympl-connect-setup", "apply")
	h.same("applying again changed something", installed, nil)
	h.run("sh", "-c", "mv "+own+"/10-acl/10-acl-check-connect/25-dnsbl-reject "+own+"/10-acl/10-acl-check-connect/25-dnsbl-reject.retired && cd /etc/exim4 && make -s")
	h.serves("his list rule retired", true)
	h.run("sh", "-c", "cd "+own+"/10-acl/10-acl-check-connect && mv 25-dnsbl-reject.retired 25-dnsbl-reject && cd /etc/exim4 && make -s")

	h.run("dpkg", "-r", h.pkg)
	asBefore("removed")
	h.same("removing left or changed more than conffiles", stock, left())
	h.run("dpkg", "-i", h.current())
	h.serves("reinstalled", true)
	h.run("dpkg", "-P", h.pkg)
	asBefore("purged")
	h.same("after purging not all is as it was", stock, within("etc/exim4/exim4.conf~"))

	// A Makefile that finds its tree in a way of its own: setup says what it needs.
	const makefile = "/etc/exim4/Makefile"
	text := h.Read(makefile)
	h.Write(makefile, strings.ReplaceAll(text, "$(CURDIR)/sympl-local.d", "$(firstword $(wildcard $(CURDIR)/*-local.d))"), 0o644)
	out = h.fail("dpkg", "-i", h.current())
	if !strings.Contains(out, "builds from "+own) || !strings.Contains(out, "write sympl-local.d into the Makefile") {
		t.Errorf("nobody is told what is needed:\n%s", out)
	}
	h.run("dpkg", "-P", h.pkg)
	asBefore("not installed")
}

// Links in the tree, and a tree under git, with a Makefile that knows of both.
func TestLinkedTree(t *testing.T) {
	lab.SkipUnlessReady(t)
	t.Parallel()
	h := newHost(t, lab.DefaultSuite, "symbiosis")
	const makefile = "/etc/exim4/Makefile"
	tree := h.SnippetDir()
	h.Write("/srv/snippets/55-linked", "log_selector = +subject\n", 0o644)
	must(t, os.Symlink("/srv/snippets/55-linked", h.Snippet("00-main/55-linked")))
	h.Write(tree+"/.git/config", "[core]\n", 0o644)
	h.Write(tree+"/.git/objects/ab/cd01", "not for Exim\n", 0o644)
	text := h.Read(makefile)
	h.Write(makefile, strings.Replace(text, "find $(tree)", "find -L $(tree) -not -path '*/.git/*'", 1), 0o644)
	h.run("make", "-s", "-C", "/etc/exim4", "exim4.conf")
	stock := h.snapshot()
	h.run("dpkg", "-i", h.current())
	h.serves("installed", true)
	if got := h.run("exim4", "-bP", "log_selector"); !strings.Contains(got, "+subject") {
		t.Errorf("log_selector: %s", got)
	}

	// The proof that the rules act is about what the administrator wants of them.
	const helo = "10-acl/20-acl-check-helo/30-check-helo-name"
	rule := h.Read(tree + "/" + helo)
	for _, c := range []struct {
		local, rule, says string
		fails             bool
	}{
		{"CONNECT_STATE_SUITE == learn", rule, "would be refused, and is let in while the history rule learns", false},
		{"CONNECT_STATE_HISTORY == off", rule, "the history rule was not tried: it is off", false},
		{"CONNECT_PORTS_HISTORY == 465", rule, "a host with a history (count 11, threshold 10) is refused on port 465", false},
		{"SYMBIOSIS_INCIDENT_THRESHOLD == many", rule, "the history rule was not tried: SYMBIOSIS_INCIDENT_THRESHOLD is \"many\"", false},
		{"CONNECT_STATE_SUITE == enforce", "# symbiosis-connect-acl: nothing.\n", "our rules do not act in the new configuration: the helo rule lets a host that says ylmf-pc at HELO in", true},
		{"CONNECT_STATE_SUITE == learn", "# symbiosis-connect-acl: nothing.\n", "the helo rule says nothing of a host that says ylmf-pc at HELO", true},
		{"CONNECT_STATE_HELO == off", "# symbiosis-connect-acl: nothing.\n", "the helo rule was not tried: it is off", false},
	} {
		h.Local(c.local)
		h.Write(tree+"/"+helo, c.rule, 0o644)
		config := h.Read("etc/exim4/exim4.conf")
		out, code := h.try("symbiosis-connect-setup", "apply")
		if !strings.Contains(out, c.says) || (code != 0) != c.fails {
			t.Errorf("%s: exit code %d; want to be told %q:\n%s", c.local, code, c.says, out)
		}
		if c.fails && h.Read("etc/exim4/exim4.conf") != config {
			t.Errorf("%s: the configuration in force was changed", c.local)
		}
	}
	h.Write(tree+"/"+helo, rule, 0o644)
	must(t, os.Remove(h.Snippet(localSnippet)))
	h.run("dpkg", "-P", h.pkg)
	h.same("after purging not all is as it was", stock, within("etc/exim4/exim4.conf~"))

	// The stock Makefile reads git's own files. What it says of them is passed on.
	h.Write(makefile, text, 0o644)
	if out := h.fail("dpkg", "-i", h.current()); !strings.Contains(out, "/.git/") || strings.Contains(out, "disk") {
		t.Errorf("nobody is told of git's files:\n%s", out)
	}
	h.run("dpkg", "-P", h.pkg)
}

// An upgrade from a release beside which the article's files were kept, which is
// what dpkg proposed then: our rules cannot act, and that is said.
func TestArticleKeptBeforeUpgrade(t *testing.T) {
	lab.SkipUnlessReady(t)
	t.Parallel()
	h := articleHost(t, lab.DefaultSuite, "symbiosis")
	h.dpkg("-i", h.previous())
	config := h.Read("etc/exim4/exim4.conf")
	out := h.fail("dpkg", "--force-confdef", "--force-confold", "-i", h.current())
	for _, want := range []string{"nothing defines", "CONNECT_STATE_SUITE", "not ours: ", "00-main/21-connect-check", "--force-confmiss"} {
		if !strings.Contains(out, want) {
			t.Errorf("nobody is told %q:\n%s", want, out)
		}
	}
	if h.Read("etc/exim4/exim4.conf") != config {
		t.Error("the configuration in force was changed")
	}
	// What the hint says, helps.
	for _, f := range h.underOurNames() {
		if !strings.HasPrefix(h.Read(f), "# symbiosis-connect-acl: ") {
			must(t, os.Rename(h.Path(f), h.Path(f+".mine")))
		}
	}
	h.run("dpkg", "--force-confmiss", "-i", h.current())
	h.serves("mended", true)
}
