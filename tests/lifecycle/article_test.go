package lifecycle

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"symbiosis-connect-acl/tests/article"
	"symbiosis-connect-acl/tests/lab"
)

const localSnippet = "00-main/22-connect-check-local"

// articleHost is a server whose administrator has followed the article and made
// it his own.
func articleHost(t *testing.T, suite, platform string) *host {
	t.Helper()
	h := newHost(t, suite, platform)
	article.LayOver(t, h.Root)
	edit := func(snippet, old, new string) {
		t.Helper()
		path := h.SnippetDir() + "/" + snippet
		text := h.Read(path)
		if !strings.Contains(text, old) {
			t.Fatalf("%s lacks %q", snippet, old)
		}
		h.Write(path, strings.Replace(text, old, new, 1), 0o644)
	}
	edit("00-main/22-threshold", "= 10", "= 20")
	edit("00-main/21-connect-check", "bl.spamcop.net", "dnsbl.example.net")
	edit("00-main/25-logging", "+tls_sni", "+tls_sni +subject")
	edit("10-acl/10-acl-check-connect/50-ratelimit", "10 / 15m", "40 / 1h")
	edit("10-acl/10-acl-check-connect/20-accept-known", "+private_addresses", "+private_addresses : 203.0.113.0/24")
	must(t, os.Chmod(h.Snippet("00-main/25-logging"), 0o640))
	h.run("make", "-s", "-C", "/etc/exim4", "exim4.conf")
	h.run("/etc/init.d/exim4", "restart")
	return h
}

// actsAsArticle checks that the article's rules are in force and that mail
// flows.
func (h *host) actsAsArticle(step string) {
	h.t.Helper()
	h.run("make", "-s", "-C", "/etc/exim4", "test")
	must(h.t, os.RemoveAll(h.Path("etc/exim4/exim4.conf.tmp")))
	for from, want := range map[string]string{bad[0]: "550", innocent[0]: "220", innocent[1]: "220"} {
		if got := h.greet(from, 587); lab.Code(got) != want {
			h.t.Errorf("%s: %s: %q; want %s", step, from, got, want)
		}
	}
	var ours []string
	for _, l := range strings.Split(h.run("exim4", "-bP", "macros"), "\n") {
		if !strings.HasPrefix(l, "_") && strings.Contains(l, "CONNECT") || strings.HasPrefix(l, "SYMBIOSIS") {
			ours = append(ours, l)
		}
	}
	want := "CHECK_CONNECT_IP_DNSBLS=zen.spamhaus.org : b.barracudacentral.org : dnsbl.example.net SYMBIOSIS_INCIDENT_THRESHOLD=20"
	if got := strings.Join(ours, " "); got != want {
		h.t.Errorf("%s: macros in force: %s", step, got)
	}
}

// A server that runs the article gets our rules without a question, keeps what
// its administrator has set, and is as it was when the package goes.
func TestArticle(t *testing.T) {
	lab.SkipUnlessReady(t)
	for _, suite := range lab.Suites {
		t.Run(suite.Name, func(t *testing.T) {
			t.Parallel()
			h := articleHost(t, suite.Name, "symbiosis")
			stock := h.snapshot()
			h.actsAsArticle("stock")
			theirs := h.underOurNames()
			if len(theirs) != 6 {
				t.Fatalf("under our names: %v", theirs)
			}

			// Unpacking fails, because another package owns one of our names.
			if suite.Name == lab.DefaultSuite {
				h.dpkg("-i", other(h, "1", "10-acl/13-acl-connect-command", "# of another package\n"))
				if out := h.fail("dpkg", "-i", h.current()); !strings.Contains(out, "other-snippets") {
					t.Errorf("dpkg does not say why:\n%s", out)
				}
				h.run("dpkg", "-P", "other-snippets")
				h.same("after unpacking failed not all is as it was", stock, nil)
			}

			// Nobody answers a question here; the end of the input is an error.
			out := h.run("dpkg", "-i", h.current())
			for _, f := range theirs {
				if !strings.Contains(out, f) {
					t.Errorf("nobody is told of %s:\n%s", f, out)
				}
			}
			h.serves("installed", true)
			local := h.Read(h.SnippetDir() + "/" + localSnippet)
			for _, want := range []string{
				"SYMBIOSIS_INCIDENT_THRESHOLD == 20\n", "CHECK_CONNECT_RATELIMIT == 40 / 1h\n",
				"CHECK_CONNECT_IP_DNSBLS == zen.spamhaus.org=127.0.0.[2..7;9..11] : b.barracudacentral.org=127.0.0.2 : dnsbl.example.net\n",
			} {
				if !strings.Contains(local, want) || !strings.Contains(out, strings.TrimSpace(want)) {
					t.Errorf("not carried over, or not told: %s%s\n%s", want, local, out)
				}
			}
			if got := h.Read("etc/exim4/whitelist_connect_hosts"); !strings.Contains(got, "203.0.113.0/24\n") {
				t.Errorf("white list: %q", got)
			}
			if got := h.run("exim4", "-bP", "log_selector"); !strings.Contains(got, "+subject") {
				t.Errorf("log_selector: %s", got)
			}
			installed := h.snapshot()

			h.run("dpkg-reconfigure", h.pkg)
			h.same("configuring again changed something", installed, nil)

			h.run("dpkg", "-r", h.pkg)
			h.actsAsArticle("removed")
			h.same("removing did not put everything back", stock, func(p string) bool {
				return within(h.conffiles()...)(p) && !contains(theirs, "/"+p) || strings.HasSuffix(p, "-symbiosis-connect-acl") ||
					p == "etc/exim4/exim4.conf" || strings.HasPrefix(p, "var/lib/"+h.pkg)
			})
			h.Append(h.SnippetDir()+"/00-main/25-logging", "# a line of his while the package is away\n")
			h.run("dpkg", "-i", h.current())
			h.serves("reinstalled", true)
			h.same("reinstalling gave something else", installed, func(p string) bool {
				return strings.HasSuffix(p, "25-logging.before-symbiosis-connect-acl")
			})
			h.run("dpkg", "-r", h.pkg)
			h.run("dpkg", "-P", h.pkg)
			h.actsAsArticle("purged")
			h.same("after purging not all is as it was", stock, within(h.SnippetDir()[1:]+"/00-main/25-logging", "etc/exim4/exim4.conf"))
			if !strings.HasSuffix(h.Read(h.SnippetDir()+"/00-main/25-logging"), "is away\n") {
				t.Error("a line that was added while the package was away is lost")
			}

			if suite.Name != lab.DefaultSuite {
				return
			}
			// With a terminal dpkg would ask and wait.
			h.atTerminal("dpkg", "-i", h.altered())
			h.serves("installed at a terminal", true)
			h.dpkg("-i", h.current())
			h.serves("upgraded", true)
			h.run("dpkg", "-P", h.pkg)
			h.actsAsArticle("purged at once")
		})
	}
}

// atTerminal runs a command whose input is a terminal at which nobody types.
func (h *host) atTerminal(args ...string) {
	h.t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	must(h.t, err)
	defer master.Close()
	must(h.t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	must(h.t, err)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	must(h.t, err)
	defer slave.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	inner := h.Command(args[0], args[1:]...)
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + h.net.Server}, inner.Args...)...)
	cmd.Env, cmd.Stdin = inner.Env, slave
	out, err := os.CreateTemp(h.t.TempDir(), "out")
	must(h.t, err)
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(out.Name())
		h.t.Fatalf("%s at a terminal: %v\n%s", strings.Join(args, " "), err, text)
	}
}

// underOurNames lists files that stand where our package has its own.
func (h *host) underOurNames() (all []string) {
	h.t.Helper()
	out := h.run("dpkg-deb", "--fsys-tarfile", h.current())
	tree := h.SnippetDir()
	must(h.t, filepath.WalkDir(h.Path(tree), func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if inside := tree + strings.TrimPrefix(p, h.Path(tree)); strings.Contains(out, "."+inside+"\x00") {
				all = append(all, inside)
			}
		}
		return err
	}))
	return all
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// An older version of ours, with what the administrator has made of it, is not
// taken for somebody else's.
func TestOwnConffilesAreNotForeign(t *testing.T) {
	lab.SkipUnlessReady(t)
	t.Parallel()
	h := newHost(t, lab.DefaultSuite, "symbiosis")
	aside := func(step string) {
		t.Helper()
		if out := h.run("find", "/etc", "/var/lib/"+h.pkg, "-name", "*-symbiosis-connect-acl", "-o", "-name", "moved-aside"); out != "" {
			t.Errorf("%s: moved aside:\n%s", step, out)
		}
	}
	const snippet = "/00-main/21-connect-check"
	for _, older := range []string{h.previous(), h.altered()} {
		h.dpkg("-i", older)
		h.dpkg("-i", h.current())
		aside("upgraded")
		h.run("dpkg", "-P", h.pkg)

		h.dpkg("-i", older)
		h.Write(h.SnippetDir()+snippet, strings.SplitAfterN(h.Read(h.SnippetDir()+snippet), "\n", 3)[2]+"# edited from the first line on\n", 0o644)
		h.run("dpkg", "-r", h.pkg)
		h.dpkg("-i", h.current())
		aside("installed after a removal")
		if !strings.HasSuffix(h.Read(h.SnippetDir()+snippet), "# edited from the first line on\n") {
			t.Error("the administrator's edit of ours is lost")
		}
		h.run("dpkg", "-P", h.pkg)
	}

	// A file of the administrator's under a name that only the newer version has.
	const his, others = "00-main/21-connect-new", "00-main/26-events"
	h.dpkg("-i", h.previous())
	h.Write(h.SnippetDir()+"/"+his, "# his own\n", 0o600)
	h.dpkg("-i", other(h, "1", others, "# of another package\n"))
	stock := h.snapshot()
	h.fail("dpkg", "-i", h.current())
	h.same("after the upgrade could not be unpacked not all is as it was", stock, nil)
	h.run("dpkg", "-P", "other-snippets")
	h.dpkg("-i", h.current())
	h.serves("upgraded", true)
	if got := h.Read(h.SnippetDir() + "/" + his + ".before-symbiosis-connect-acl"); got != "# his own\n" {
		t.Errorf("his file: %q", got)
	}
	h.run("dpkg", "-P", h.pkg)
	if got := h.Read(h.SnippetDir() + "/" + his); got != "# his own\n" {
		t.Errorf("his file after the purge: %q", got)
	}
}
