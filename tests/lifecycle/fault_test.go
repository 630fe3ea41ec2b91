package lifecycle

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"symbiosis-connect-acl/tests/lab"
)

func dpkgDeb(args ...string) ([]byte, error) {
	return exec.Command("dpkg-deb", append([]string{"--root-owner-group"}, args...)...).CombinedOutput()
}

// status is what dpkg thinks of the package, such as "ii".
func (h *host) status() string {
	out, _ := h.try("dpkg-query", "-W", "-f", "${db:Status-Abbrev}", h.pkg)
	return strings.TrimSpace(out)
}

// packageFiles allows what dpkg itself has put there.
func (h *host) packageFiles() func(string) bool {
	h.t.Helper()
	var files []string
	for _, f := range strings.Fields(h.run("dpkg-query", "-L", h.pkg)) {
		files = append(files, strings.TrimPrefix(f, "/"))
	}
	return within(files...)
}

const brokenSnippet = "00-main/85-of-the-administrator"

// failsCleanly installs where it cannot succeed: dpkg is told, everything of
// others is as it was, and mail flows as before.
func (h *host) failsCleanly(step string, stock snapshot) {
	h.t.Helper()
	config := h.Read("etc/exim4/exim4.conf")
	pid := h.pid()
	h.fail("dpkg", "-i", h.current())
	if got := h.status(); got != "iF" {
		h.t.Errorf("%s: dpkg's status is %q; want iF", step, got)
	}
	if h.Read("etc/exim4/exim4.conf") != config {
		h.t.Errorf("%s: the configuration in force was changed", step)
	}
	if got := h.pid(); got != pid {
		h.t.Errorf("%s: Exim was restarted: process %d became %d", step, pid, got)
	}
	h.same(step+": not all is as it was", stock, h.packageFiles())
	h.judges(step, false)
}

func TestFaults(t *testing.T) {
	lab.SkipUnlessReady(t)
	fault := func(name string, f func(t *testing.T, h *host, stock snapshot)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, lab.DefaultSuite, "symbiosis")
			f(t, h, h.snapshot())
		})
	}

	fault("broken snippet", func(t *testing.T, h *host, _ snapshot) {
		h.Write(h.SnippetDir()+"/"+brokenSnippet, "no_such_option = yes\n", 0o644)
		stock := h.snapshot()
		h.failsCleanly("broken snippet", stock)
		out := h.fail("dpkg", "--configure", h.pkg)
		if !strings.Contains(out, brokenSnippet) {
			t.Errorf("the message does not name the snippet:\n%s", out)
		}
		must(t, os.Remove(h.Snippet(brokenSnippet)))
		h.run("dpkg", "--configure", h.pkg)
		h.serves("configured after mending", true)
	})

	fault("broken snippet at removal", func(t *testing.T, h *host, stock snapshot) {
		h.dpkg("-i", h.current())
		h.serves("installed", true)
		h.Write(h.SnippetDir()+"/"+brokenSnippet, "no_such_option = yes\n", 0o644)
		h.run("dpkg", "-r", h.pkg)
		h.judges("removed", false)
		h.run("dpkg", "-P", h.pkg)
		h.judges("purged", false)
		must(t, os.Remove(h.Snippet(brokenSnippet)))
		h.run("make", "-s", "-C", "/etc/exim4", "exim4.conf")
		h.same("after mending and make not all is as it was", stock, within("etc/exim4/exim4.conf~"))
	})

	fault("no make", func(t *testing.T, h *host, stock snapshot) {
		must(t, os.Rename(h.Path("usr/bin/make"), h.Path("root/make")))
		delete(stock, "usr/bin/make")
		h.failsCleanly("no make", stock)
		must(t, os.Rename(h.Path("root/make"), h.Path("usr/bin/make")))
		h.run("dpkg", "--configure", h.pkg)
		h.serves("configured with make", true)
	})

	fault("Exim not running", func(t *testing.T, h *host, stock snapshot) {
		h.stop()
		h.dpkg("-i", h.current())
		if h.pid() != 0 {
			t.Error("the installation started an Exim that was stopped")
		}
		monit := "/etc/" + h.Platform + "/monit.d/connect-acl"
		if out := h.fail(monit); !strings.Contains(out, "Exim does not run") {
			t.Errorf("monit is told:\n%s", out)
		}
		h.run("/etc/init.d/exim4", "start")
		h.serves("started", true)
		h.run(monit)
		h.stop()
		h.run("dpkg", "-P", h.pkg)
		if h.pid() != 0 {
			t.Error("purging started an Exim that was stopped")
		}
		h.run("/etc/init.d/exim4", "start")
		h.serves("purged", false)
		h.same("after purging not all is as it was", stock, nil)
	})

	// Exim's test passes on it, the daemon is started and takes no port.
	fault("an address that is not there", func(t *testing.T, h *host, _ snapshot) {
		h.Write(h.SnippetDir()+"/"+brokenSnippet, "local_interfaces = 203.0.113.77\n", 0o644)
		stock := h.snapshot()
		if out := h.fail("dpkg", "-i", h.current()); !strings.Contains(out, "paniclog") {
			t.Errorf("nobody is told where to look:\n%s", out)
		}
		if got := h.status(); got != "iF" {
			t.Errorf("dpkg's status is %q; want iF", got)
		}
		h.same("not all is as it was", stock, h.packageFiles())
		h.judges("not installed", false)
		must(t, os.Remove(h.Snippet(brokenSnippet)))
		h.run("dpkg", "--configure", h.pkg)
		h.serves("configured after mending", true)
	})

	fault("no database", func(t *testing.T, h *host, _ snapshot) {
		must(t, os.Remove(h.dbPath()))
		h.dpkg("-i", h.current())
		for _, from := range append(bad, innocent...) {
			if got := h.greet(from, 587); lab.Code(got) != "220" {
				t.Errorf("%s: %q", from, got)
			}
		}
		h.database()
		h.run(h.Platform+"-connect-db", "sync") // as cron does within the minute
		h.serves("the firewall has counted", true)
	})

	fault("read-only etc", func(t *testing.T, h *host, stock snapshot) {
		etc := h.Path("etc")
		mount := func(args ...string) {
			t.Helper()
			if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
				t.Fatalf("mount %v: %v\n%s", args, err, out)
			}
		}
		mount("--bind", etc, etc)
		t.Cleanup(func() { exec.Command("umount", "-l", etc).Run() })
		for _, when := range []string{"unpacking", "configuring"} {
			if when == "configuring" {
				h.dpkg("--unpack", h.current())
			}
			mount("-o", "remount,ro,bind", etc)
			if when == "unpacking" {
				h.fail("dpkg", "-i", h.current())
			} else {
				h.fail("dpkg", "--configure", h.pkg)
			}
			h.judges("read-only /etc while "+when, false)
			mount("-o", "remount,rw,bind", etc)
		}
		h.run("dpkg", "--configure", h.pkg)
		h.serves("configured once /etc could be written", true)
		h.run("dpkg", "-P", h.pkg)
		h.same("after purging not all is as it was", stock, nil)
	})

	fault("full disk", func(t *testing.T, h *host, stock snapshot) {
		// Exim's directory on a small disk of its own, with nothing left on it.
		dir, aside := h.Path("etc/exim4"), h.Path("root/exim4")
		for _, args := range [][]string{
			{"cp", "-a", dir, aside},
			{"mount", "-t", "tmpfs", "-o", "size=2m,mode=0755", "tmpfs", dir},
			{"cp", "-a", aside + "/.", dir},
		} {
			if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %v\n%s", args, err, out)
			}
		}
		t.Cleanup(func() { exec.Command("umount", "-l", dir).Run() })
		fill := func() {
			exec.Command("dd", "if=/dev/zero", "of="+dir+"/filler", "bs=4k").Run() // until it fails
		}
		drain := func() { must(t, os.Remove(dir+"/filler")) }
		fill()
		h.fail("dpkg", "-i", h.current())
		h.judges("full disk while unpacking", false)
		drain()
		h.dpkg("--unpack", h.current())
		fill()
		h.fail("dpkg", "--configure", h.pkg)
		h.judges("full disk while configuring", false)
		drain()
		h.run("dpkg", "--configure", h.pkg)
		h.serves("configured once there was space", true)
		h.run("dpkg", "-P", h.pkg)
		h.same("after purging not all is as it was", stock, nil)
	})

	// The administrator's file of settings names macros that go with the purge.
	fault("settings left at purge", func(t *testing.T, h *host, _ snapshot) {
		h.dpkg("-i", h.current())
		h.Local("SYMBIOSIS_INCIDENT_THRESHOLD == 30")
		h.serves("installed with settings", true)
		h.run("dpkg", "-r", h.pkg)
		h.serves("removed", false)
		out := h.run("dpkg", "-P", h.pkg)
		if !strings.Contains(out, "22-connect-check-local") {
			t.Errorf("nobody is told which file is left over:\n%s", out)
		}
		h.judges("purged", false)
	})

	// dpkg calls no prerm here: the upgrade was unpacked and never configured.
	fault("removed while only unpacked", func(t *testing.T, h *host, _ snapshot) {
		h.Append("etc/exim4/symbiosis.d/00-main/50-tls-options", "log_selector = +subject\n")
		h.run("make", "-s", "-C", "/etc/exim4", "exim4.conf")
		stock := h.snapshot()
		h.dpkg("-i", h.previous())
		h.serves("previous release", true)
		h.dpkg("--unpack", h.current())
		h.judges("unpacked", true)
		h.run("dpkg", "-r", h.pkg)
		h.serves("removed", false)
		h.run("dpkg", "-P", h.pkg)
		h.serves("purged", false)
		h.same("after purging not all is as it was", stock, nil)
	})
}

// Killed at any moment of apply, the system serves mail with a valid
// configuration, and configuring it again completes the job. By default every
// fourth moment is tried; with CONNECT_ACL_LONG set, every one.
func TestKilledWhileConfiguring(t *testing.T) {
	lab.SkipUnlessReady(t)
	t.Parallel()
	step := 4
	if os.Getenv("CONNECT_ACL_LONG") != "" {
		step = 1
	}
	h := newHost(t, lab.DefaultSuite, "symbiosis")
	stock := h.snapshot()
	file := h.current()
	killed := 0
	for n := 1; ; n += step {
		h.dpkg("--unpack", file)
		_, code := h.tryWith([]string{fmt.Sprintf("SYMBIOSIS_CONNECT_SETUP_FAULT=%d:kill", n)}, "", "dpkg", "--configure", h.pkg)
		h.run("exim4", "-bV", "-C", "/etc/exim4/exim4.conf")
		for _, from := range innocent {
			if got := h.greet(from, 587); lab.Code(got) != "220" {
				t.Errorf("killed at moment %d: innocent %s: %q", n, from, got)
			}
		}
		if code == 0 {
			break // the run came to its end before that moment
		}
		killed++
		if got := h.status(); got != "iF" {
			t.Errorf("killed at moment %d: dpkg's status is %q; want iF", n, got)
		}
		h.run("dpkg", "--configure", h.pkg)
		h.serves(fmt.Sprintf("configured again after moment %d", n), true)
		h.run("symbiosis-connect-setup", "remove")
		if n > 500 {
			t.Fatal("apply does not come to its end")
		}
	}
	if killed == 0 {
		t.Error("no run was killed: is the variable still named SYMBIOSIS_CONNECT_SETUP_FAULT?")
	}
	h.run("dpkg", "-P", h.pkg)
	h.serves("purged", false)
	h.same("after purging not all is as it was", stock, nil)
}

// A block of ours whose last line somebody has deleted ends nobody knows where, so
// no line below it goes with it.
func TestBlockWithoutItsEnd(t *testing.T) {
	lab.SkipUnlessReady(t)
	t.Parallel()
	h := newHost(t, lab.DefaultSuite, "symbiosis")
	file := h.current()
	h.run("dpkg", "-i", file)
	const begin, end, his = "# BEGIN symbiosis-connect-acl", "# END symbiosis-connect-acl", "# the administrator's own line\n"
	blocks := map[string]string{
		"etc/symbiosis/firewall/patterns.d/exim4.patterns":     "",
		h.SnippetDir()[1:] + "/00-main/22-connect-check-local": "# carried over\n",
		"etc/exim4/whitelist_connect_hosts":                    "203.0.113.0/24\n",
	}
	for f, carried := range blocks {
		text := begin + ": carried over\n" + carried + end + "\n"
		if carried == "" {
			text = h.Read(f)
		}
		before, after, found := strings.Cut(text, end)
		if !found || !strings.Contains(before, begin) {
			t.Fatalf("%s has no block of ours:\n%s", f, text)
		}
		_, after, _ = strings.Cut(after, "\n")
		h.Write(f, before+after+his, 0o644)
	}
	// A package that was only unpacked is removed by postrm alone.
	h.run("dpkg", "--unpack", file)
	h.run("dpkg", "-r", h.pkg)
	h.run("dpkg", "-P", h.pkg)
	for f := range blocks {
		if _, err := os.Stat(h.Path(f)); err != nil || !strings.HasSuffix(h.Read(f), his) {
			t.Errorf("%s has lost the administrator's line: %v", f, err)
		}
	}
	h.judges("purged", false)
}
