package fleet

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"symbiosis-connect-acl/tests/lab"
)

const (
	bot      = "8.8.8.8"
	bot6     = "2a01:7e00::5"
	stranger = "193.0.6.139"
)

func refused(t *testing.T, s *Server, host string, port int, want bool) {
	t.Helper()
	if g := s.Greet(host, port); (lab.Code(g) == "550") != want {
		t.Errorf("%s: %s on port %d gets %q; refused is to be %v", s.Name, host, port, g, want)
	}
}

// Three servers on the configurations of docs/fleet.md. What one has caught, the
// others refuse; whatever breaks, nobody else is refused.
func TestFleet(t *testing.T) {
	f := New(t, 3)
	one, two, three := f.Servers[0], f.Servers[1], f.Servers[2]
	for _, s := range f.Servers {
		s.StartWatch()
	}

	// The public lists have nothing against the host, and that is remembered. The
	// shared zone is asked all the same.
	two.Root.Hosts("insert into host (net, first, last, greeted, lists_passed) values ('8.8.8.8', unixepoch(), unixepoch(), unixepoch(), unixepoch());")
	refused(t, two, bot, 25, false)
	begin := time.Now()
	one.Offend(bot)
	for _, s := range []*Server{two, three} {
		s.Until(bot, 25, "550")
		t.Logf("caught on %s, refused on %s after %v", one.Name, s.Name, time.Since(begin).Round(time.Millisecond))
		refused(t, s, bot, 587, true)
		refused(t, s, stranger, 25, false)
		s.LogSince(t, 0, "["+bot+`] rejected connection in "connect" ACL: Blacklisted: caught by another of our servers: `+Zone+
			" (127.0.0.4, origin="+one.Name+" date="+time.Now().UTC().Format(time.DateOnly)+" reason=bot)")
	}
	three.Catch("2a01:7e00::/64")
	one.Until(bot6, 25, "550") // by NSD
	two.Until(bot6, 587, "550")
	refused(t, one, "2a01:7e00:0:1::5", 25, false)

	out, _ := two.Do("symbiosis-connect-check", "explain", bot)
	for _, want := range []string{"caught by " + one.Name + " on ", "on " + one.Name + ": symbiosis-connect-db delete " + bot} {
		if !strings.Contains(out, want) {
			t.Errorf("explain has no %q:\n%s", want, out)
		}
	}

	// A host that two servers list stays until both have taken it back.
	two.Catch(bot)
	three.UntilListed(bot, two)
	if out, err := one.Do("symbiosis-connect-db", "delete", "--yes", bot); err != nil {
		t.Fatalf("delete: %v\n%s", err, out)
	}
	three.Catch("9.9.9.9")
	two.Until("9.9.9.9", 25, "550") // later than what one has sent
	refused(t, three, bot, 25, true)
	if out, err := two.Do("symbiosis-connect-db", "delete", "--yes", bot); err != nil {
		t.Fatalf("delete: %v\n%s", err, out)
	}
	three.Until(bot, 25, "220")
	one.Until(bot, 25, "220")

	t.Run("primary away", func(t *testing.T) {
		f.Primary.Kill()
		refused(t, two, "9.9.9.9", 25, true)
		refused(t, two, stranger, 25, false)
		one.Catch("8.8.4.4")
		if out, err := one.Do("symbiosis-connect-db", "publish", "--verbose"); err != nil || !strings.Contains(out, "another run is in progress") {
			t.Errorf("beside the service: %v\n%s", err, out)
		}
		f.Primary.Start()
		two.Until("8.8.4.4", 25, "550")
	})

	t.Run("taken over", func(t *testing.T) {
		// With mail3's key anything can be listed. Here by mail3 itself.
		two.Root.Write("etc/exim4/whitelist_connect_hosts", "9.1.0.1\n", 0o644)
		two.Root.Write("etc/exim4/relay_from_hosts", "9.1.0.2\n", 0o644)
		two.Root.Hosts("insert into host (net, login) values ('9.1.0.3', unixepoch()-86400);" +
			"insert into host (net, delivered, delivered_before) values ('9.1.0.4', unixepoch()-86400, unixepoch()-3*86400);")
		friends := []string{"9.1.0.1", "9.1.0.2", "9.1.0.3", "9.1.0.4"}
		for _, h := range append(friends, "9.1.0.5") {
			three.Catch(h)
		}
		for _, port := range []int{25, 587} {
			two.Until("9.1.0.5", port, "550")
			for _, h := range friends {
				one.Until(h, port, "550")
				refused(t, two, h, port, false)
			}
		}
		three.Watch.Kill()
		if out := one.Publish("--withdraw", three.Name); !strings.Contains(out, three.Name+" taken back") {
			t.Errorf("withdraw: %s", out)
		}
		for _, s := range []*Server{one, two} {
			s.Until("9.1.0.5", 25, "220")
			refused(t, s, "8.8.4.4", 25, true) // one's own, for the others
		}
	})

	t.Run("wrong key", func(t *testing.T) {
		key := three.Root.Read("etc/exim4/publish.key")
		three.Root.Write("etc/exim4/publish.key", strings.Replace(key, "mail3", "mail2", 1), 0o600)
		three.Catch("9.9.9.8")
		out, err := three.Do("symbiosis-connect-db", "publish", "--verbose")
		if err == nil || !strings.Contains(out, "NOTAUTH") {
			t.Errorf("%v\n%s", err, out)
		}
		three.Root.Write("etc/exim4/publish.key", key, 0o644)
		if out, err := three.Do("symbiosis-connect-db", "publish", "--verbose"); err == nil || !strings.Contains(out, "hint: chown root: ") {
			t.Errorf("a key that everybody can read: %v\n%s", err, out)
		}
		three.Root.Write("etc/exim4/publish.key", key, 0o600)
		three.StartWatch() // which waits until the time of the next try
		two.Until("9.9.9.8", 25, "550")
	})

	t.Run("broken", func(t *testing.T) {
		// Without the secondary, or without the row, nobody is refused.
		two.Secondary.Kill()
		refused(t, two, "8.8.4.4", 25, false)
		two.LogSince(t, 0, "own DNS lists: "+Zone)
		two.Secondary.Start()
		two.Until("8.8.4.4", 25, "550")
		must(t, os.Rename(two.Root.Path(two.Root.HostsDatabase()), two.Root.Path("hosts.away")))
		refused(t, two, "8.8.4.4", 25, false)
		must(t, os.Rename(two.Root.Path("hosts.away"), two.Root.Path(two.Root.HostsDatabase())))
		refused(t, two, "8.8.4.4", 25, true)
	})

	t.Run("rbldnsd", func(t *testing.T) {
		// Each for itself: what one prints, two asks for.
		dir := filepath.Join(f.dir, "rbldnsd")
		must(t, os.Mkdir(dir, 0o755))
		if out, err := one.Do("symbiosis-connect-db", "zone", "--zone", "bl.mail1.example.org", "--format", "rbldnsd", "-o", "/tmp/bl"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		must(t, os.WriteFile(filepath.Join(dir, "bl"), []byte(one.Root.Read("tmp/bl")), 0o644))
		d := f.daemon(&Daemon{args: []string{"ip", "netns", "exec", one.Net.Server, "/usr/sbin/rbldnsd", "-n", "-u", "nobody", "-w", dir, "-b", one.Address, "bl.mail1.example.org:combined:bl"}})
		d.Start()
		local := "etc/exim4/symbiosis.d/00-main/22-connect-check-local"
		text := two.Root.Read(local)
		text = strings.ReplaceAll(text, Zone+"=", "bl.mail1.example.org=")
		two.Root.Write(local, strings.ReplaceAll(text, "127.0.0.1:5300", one.Address), 0o644)
		two.Rebuild()
		two.Until("8.8.4.4", 25, "550")
		two.LogSince(t, 0, "bl.mail1.example.org (127.0.0.4, origin="+one.Name)
		refused(t, two, stranger, 25, false)
	})
}

// The configurations are read by the programs that they are for, and the keys
// are ours too.
func TestConfigurations(t *testing.T) {
	lab.SkipUnlessReady(t)
	dir := t.TempDir()
	for after, check := range map[string][]string{
		"### The primary": {"/usr/sbin/knotc", "-c"}, "### A mail server with Knot": {"/usr/sbin/knotc", "-c"}, "### A mail server with NSD": {"/usr/sbin/nsd-checkconf"},
	} {
		file := filepath.Join(dir, "conf")
		text := strings.Replace(Configuration(t, after), "/etc/knot/keys.conf", filepath.Join(dir, "keys.conf"), 1)
		must(t, os.WriteFile(file, []byte(text), 0o644))
		must(t, os.WriteFile(filepath.Join(dir, "keys.conf"), []byte(Configuration(t, "/etc/knot/keys.conf`")), 0o644))
		args := append(check, file)
		if strings.HasSuffix(check[0], "knotc") {
			args = append(args, "conf-check")
		}
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", after, err, out)
		}
	}
}
