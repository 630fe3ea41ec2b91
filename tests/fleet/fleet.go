// Package fleet is a lab of several mail servers that share whom they have
// caught, with the name servers of Debian between them, configured as
// docs/fleet.md says, word for word.
package fleet

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"symbiosis-connect-acl/tests/lab"
)

// Zone is the zone that the servers share.
const Zone = "bl.example.org"

// A Fleet is a primary name server and some mail servers, in a network of their
// own.
type Fleet struct {
	Servers []*Server
	Primary *Daemon
	bridge  string // the namespace of the network between them
	dir     string
	t       testing.TB
}

// A Server is a mail server with its secondary name server.
type Server struct {
	*lab.Exim
	Name      string // mail1.example.org
	Address   string // in the network between the servers
	Secondary *Daemon
	Watch     *Daemon // publish --watch, nil where cron does it
	fleet     *Fleet
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Configuration gives a file as docs/fleet.md has it: the block below the heading,
// or the first one after a text.
func Configuration(t testing.TB, after string) string {
	t.Helper()
	doc, err := os.ReadFile(filepath.Join(lab.SourceDir(), "docs/fleet.md"))
	must(t, err)
	_, rest, ok := strings.Cut(string(doc), after)
	if !ok {
		t.Fatalf("docs/fleet.md has no %q", after)
	}
	m := regexp.MustCompile("(?s)\n```\n(.*?\n)```\n").FindStringSubmatch(rest)
	if m == nil {
		t.Fatalf("docs/fleet.md has no block after %q", after)
	}
	return m[1]
}

// New makes a fleet of n servers, with the name servers running. Strangers are
// greeted at once, and nobody is too hasty.
func New(t testing.TB, n int) *Fleet {
	t.Helper()
	lab.SkipUnlessReady(t)
	for _, program := range []string{"/usr/sbin/knotd", "/usr/sbin/nsd", "/usr/sbin/rbldnsd"} {
		if _, err := os.Stat(program); err != nil {
			t.Fatalf("%s is missing: make deps-test installs it", program)
		}
	}
	f := &Fleet{bridge: fmt.Sprintf("caf%d", os.Getpid()), t: t}
	var err error
	f.dir, err = os.MkdirTemp("", "connect-acl-fleet-")
	must(t, err)
	must(t, os.Chmod(f.dir, 0o755))
	run(t, "ip", "netns", "add", f.bridge)
	t.Cleanup(func() {
		exec.Command("ip", "netns", "del", f.bridge).Run()
		exec.Command("ip", "netns", "del", f.bridge+"p").Run()
		os.RemoveAll(f.dir)
	})
	run(t, "ip", "-n", f.bridge, "link", "add", "br0", "type", "bridge")
	run(t, "ip", "-n", f.bridge, "link", "set", "br0", "up")
	run(t, "ip", "netns", "add", f.bridge+"p")
	f.join(f.bridge+"p", "192.0.2.1")
	f.Primary = f.knot("primary", f.bridge+"p", Configuration(t, "### The primary"), map[string]string{
		"keys.conf": Configuration(t, "/etc/knot/keys.conf`"),
	})
	must(t, os.WriteFile(filepath.Join(f.Primary.dir, "lib", Zone+".zone"),
		fmt.Appendf(nil, "$ORIGIN %s.\n$TTL 60\n@ SOA mail1.example.org. hostmaster.example.org. 1 300 60 604800 60\n@ NS mail1.example.org.\n", Zone), 0o644))
	f.Primary.Start()
	for i := 1; i <= n; i++ {
		f.Servers = append(f.Servers, f.server(i))
	}
	return f
}

// join gives a namespace an address in the network between the servers.
func (f *Fleet) join(ns, address string) {
	f.t.Helper()
	port := "p" + strings.ReplaceAll(address, ".", "")
	run(f.t, "ip", "link", "add", "fleet0", "netns", ns, "type", "veth", "peer", "name", port, "netns", f.bridge)
	run(f.t, "ip", "-n", f.bridge, "link", "set", port, "master", "br0")
	run(f.t, "ip", "-n", f.bridge, "link", "set", port, "up")
	run(f.t, "ip", "-n", ns, "link", "set", "lo", "up")
	run(f.t, "ip", "-n", ns, "link", "set", "fleet0", "up")
	run(f.t, "ip", "-n", ns, "addr", "add", address+"/24", "dev", "fleet0")
}

// server makes the i-th mail server. The first has NSD, the others Knot.
func (f *Fleet) server(i int) *Server {
	t := f.t
	t.Helper()
	s := &Server{Name: fmt.Sprintf("mail%d.example.org", i), Address: fmt.Sprintf("192.0.2.%d", 10+i), fleet: f}
	r := lab.NewRoot(t, lab.DefaultSuite, "symbiosis")
	n := lab.NewNet(t)
	f.join(n.Server, s.Address)
	lab.StartDNS(t, n)
	r.Install()
	r.Write("etc/default/symbiosis-connect-acl", strings.ReplaceAll(Configuration(t, "### Each mail server"), "mail1", fmt.Sprintf("mail%d", i)), 0o644)
	key := regexp.MustCompile(`(?s)  - id: mail` + fmt.Sprint(i) + `\.example\.org\n.*?\n.*?\n`).FindString(Configuration(t, "/etc/knot/keys.conf`"))
	r.Write("etc/exim4/publish.key", "key:\n"+key, 0o600)
	r.Local(append(strings.Split(strings.TrimSpace(Configuration(t, "`00-main/22-connect-check-local`, then")), "\n"),
		"CONNECT_STATE_GREETING == off", "CONNECT_STATE_RATELIMIT == off", "CHECK_CONNECT_IP_DNSBLS ==")...)
	r.Make("exim4.conf")
	s.Exim = lab.StartExim(t, r, n)
	if i == 1 {
		s.Secondary = f.nsd("secondary1", n.Server, Configuration(t, "### A mail server with NSD"))
	} else {
		s.Secondary = f.knot(fmt.Sprintf("secondary%d", i), n.Server, strings.ReplaceAll(Configuration(t, "### A mail server with Knot"), "192.0.2.12", s.Address), nil)
	}
	s.Secondary.Start()
	return s
}

// A Daemon is a program in a namespace, with directories of its own in the place
// of the machine's.
type Daemon struct {
	Log  bytes.Buffer
	dir  string
	args []string
	cmd  *exec.Cmd
	t    testing.TB
}

// Start starts it.
func (d *Daemon) Start() {
	d.t.Helper()
	d.cmd = exec.Command(d.args[0], d.args[1:]...)
	d.cmd.Stdout, d.cmd.Stderr = &d.Log, &d.Log
	must(d.t, d.cmd.Start())
}

// Kill ends it as a loss of power does.
func (d *Daemon) Kill() {
	if d.cmd != nil {
		d.cmd.Process.Signal(syscall.SIGKILL)
		d.cmd.Wait()
		d.cmd = nil
	}
}

func (f *Fleet) daemon(d *Daemon) *Daemon {
	d.t = f.t
	f.t.Cleanup(func() {
		d.Kill()
		if f.t.Failed() {
			lines := strings.Split(d.Log.String(), "\n")
			f.t.Logf("%s says:\n%s", strings.Join(d.args, " "), strings.Join(lines[max(0, len(lines)-20):], "\n"))
		}
	})
	return d
}

// at makes the directories of a name server and the command that has them where
// its configuration expects them. The mounts are those of its namespace only.
func (f *Fleet) at(name, ns, user, config, text string, more map[string]string, args string) *Daemon {
	f.t.Helper()
	d := &Daemon{dir: filepath.Join(f.dir, name)}
	for _, sub := range []string{"etc", "lib"} {
		must(f.t, os.MkdirAll(filepath.Join(d.dir, sub), 0o755))
	}
	must(f.t, os.WriteFile(filepath.Join(d.dir, "etc", config), []byte(text), 0o644))
	for file, text := range more {
		must(f.t, os.WriteFile(filepath.Join(d.dir, "etc", file), []byte(text), 0o644))
	}
	script := fmt.Sprintf("set -e; mount --bind %[1]s/etc /etc/%[2]s; mount --bind %[1]s/lib /var/lib/%[2]s; mount -t tmpfs tmpfs /run; mkdir /run/%[2]s; "+
		"chown %[2]s:%[2]s /run/%[2]s; chown -R %[2]s:%[2]s /var/lib/%[2]s; exec %[3]s", d.dir, user, args)
	d.args = []string{"ip", "netns", "exec", ns, "sh", "-c", script}
	return f.daemon(d)
}

func (f *Fleet) knot(name, ns, text string, more map[string]string) *Daemon {
	return f.at(name, ns, "knot", "knot.conf", text, more, "/usr/sbin/knotd -c /etc/knot/knot.conf")
}

func (f *Fleet) nsd(name, ns, text string) *Daemon {
	return f.at(name, ns, "nsd", "nsd.conf", text, nil, "/usr/sbin/nsd -d -c /etc/nsd/nsd.conf")
}

// Do runs a command inside the server, in its network, and gives its output.
func (s *Server) Do(args ...string) (string, error) {
	inner := s.Root.Command(args[0], args[1:]...)
	cmd := exec.Command("ip", append([]string{"netns", "exec", s.Net.Server}, inner.Args...)...)
	cmd.Env = inner.Env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Publish publishes as cron does.
func (s *Server) Publish(args ...string) string {
	s.fleet.t.Helper()
	out, err := s.Do(append([]string{"symbiosis-connect-db", "publish"}, args...)...)
	if err != nil {
		s.fleet.t.Fatalf("%s: publish %v: %v\n%s", s.Name, args, err, out)
	}
	return out
}

// StartWatch publishes as the service does.
func (s *Server) StartWatch() {
	s.fleet.t.Helper()
	if s.Watch == nil {
		inner := s.Root.Command("symbiosis-connect-db", "publish", "--watch")
		s.Watch = s.fleet.daemon(&Daemon{args: append([]string{"ip", "netns", "exec", s.Net.Server, "env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, inner.Args...)})
	}
	s.Watch.Start()
}

// Catch has the server know a host as a bot, as Exim writes it down.
func (s *Server) Catch(host string) {
	s.fleet.t.Helper()
	s.Root.Hosts("insert into host (net, offences, offences_since, offence, offence_kind) values ('" + host + "', 9, unixepoch(), unixepoch(), 'helo')" +
		" on conflict(net) do update set offences = 9, offences_since = unixepoch(), offence = unixepoch(), offence_kind = 'helo';")
}

// Offend has a bot come to the server until it is caught.
func (s *Server) Offend(host string) {
	s.fleet.t.Helper()
	for range 4 { // one more than CONNECT_RECENT_OFFENCES
		c := s.Connect(host, 25)
		c.Cmd("EHLO ylmf-pc")
		c.Quit()
	}
}

// Until connects again and again until the reply begins with code, and gives how
// long that took.
func (s *Server) Until(host string, port int, code string) time.Duration {
	s.fleet.t.Helper()
	begin := time.Now()
	for {
		g := s.Greet(host, port)
		if lab.Code(g) == code {
			return time.Since(begin)
		}
		if time.Since(begin) > 100*time.Second {
			s.fleet.t.Fatalf("%s: %s on port %d still gets %q, not %s", s.Name, host, port, g, code)
		}
		time.Sleep(20 * time.Millisecond) // between two looks at a condition
	}
}
