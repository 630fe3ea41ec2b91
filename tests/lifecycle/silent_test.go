package lifecycle

import (
	"strings"
	"testing"

	"symbiosis-connect-acl/tests/lab"
)

// Without DNS, and without its machine's name in /etc/hosts, Exim waits for up to a
// minute each time it is started, and a restart starts it twice. Installing the
// package does not wait with it, and leaves the restart alone.
func TestSilentResolver(t *testing.T) {
	lab.SkipUnlessReady(t)
	t.Parallel()
	h := newHost(t, lab.DefaultSuite, "symbiosis")
	h.Write("etc/resolv.conf", strings.Repeat("nameserver "+lab.Resolver+"\n", 3), 0o644)
	file := h.current()
	h.dns.Behave(".", lab.Silent)
	out := h.run("dpkg", "-i", file)
	if !strings.Contains(out, "goes on by itself: Exim waits for DNS") || !strings.Contains(out, "into /etc/hosts, then run: symbiosis-connect-setup check") {
		t.Errorf("not told that Exim waits for DNS:\n%s", out)
	}
	h.dns.Behave(".", nil)
	h.serves("when DNS answers again", true)

	// The postrm script restarts Exim where no other has.
	h.dns.Behave(".", lab.Silent)
	h.Write("usr/sbin/symbiosis-connect-setup", "#!/bin/sh\nexit 3\n", 0o755)
	if out := h.run("dpkg", "-r", h.pkg); !strings.Contains(out, "restart of Exim is not finished and goes on by itself") {
		t.Errorf("postrm does not say that Exim waits for DNS:\n%s", out)
	}
	h.dns.Behave(".", nil)
	h.serves("removed", false)
}
