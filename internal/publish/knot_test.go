package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/primary"
	"symbiosis-connect-acl/internal/tsig"
	"symbiosis-connect-acl/internal/zone"
)

const bl = "bl.example.org"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A knot is a real primary name server.
type knot struct {
	dir, addr string
	keys      map[string]tsig.Key
	cmd       *exec.Cmd
	log       *strings.Builder
	t         *testing.T
}

// startKnot starts Knot with an empty zone into which the origins may publish.
func startKnot(t *testing.T, origins ...string) *knot {
	t.Helper()
	if _, err := exec.LookPath("knotd"); err != nil {
		if _, err := os.Stat("/usr/sbin/knotd"); err != nil {
			if os.Getenv("CONNECT_ACL_LAB") == "require" {
				t.Fatal("knotd is not installed")
			}
			t.Skip("knotd is not installed")
		}
	}
	return startKnotIn(t, t.TempDir(), origins...)
}

func startKnotIn(t *testing.T, dir string, origins ...string) *knot {
	t.Helper()
	k := &knot{dir: dir, addr: freePort(t), keys: map[string]tsig.Key{}, t: t}
	var b strings.Builder
	host, port, _ := net.SplitHostPort(k.addr)
	fmt.Fprintf(&b, "server:\n    rundir: %[1]s\n    listen: %s@%s\nlog:\n  - target: stderr\n    any: info\ndatabase:\n    storage: %[1]s\nkey:\n", k.dir, host, port)
	for i, o := range origins {
		secret := fmt.Sprintf("K2tf3TRjvQkVCmJF3/Z9vK2tf3TRjvQkVCmJF3/Z9%02d=", i)
		fmt.Fprintf(&b, "  - id: %s\n    algorithm: hmac-sha256\n    secret: %s\n", o, secret)
		k.keys[o] = tsig.Key{Name: o + ".", Algorithm: "hmac-sha256.", Secret: tsig.Secret(secret)}
	}
	fmt.Fprintf(&b, "acl:\n  - id: publish\n    key: [%s]\n    action: [query, transfer, update]\n    update-type: [A, TXT]\n    update-owner: zone\n    update-owner-match: sub\n"+
		"zone:\n  - domain: %s\n    storage: %s\n    zonefile-sync: -1\n    zonefile-load: difference-no-serial\n    journal-content: all\n    acl: publish\n", strings.Join(origins, ", "), bl, k.dir)
	must(t, os.WriteFile(filepath.Join(k.dir, "knot.conf"), []byte(b.String()), 0o600))
	must(t, os.WriteFile(filepath.Join(k.dir, bl+".zone"), fmt.Appendf(nil, "@ 60 SOA ns.example.org. hostmaster.example.org. 1 300 60 604800 60\n@ 60 NS ns.example.org.\n"), 0o644))
	k.start()
	t.Cleanup(func() {
		k.stop()
		if t.Failed() {
			lines := strings.Split(k.log.String(), "\n")
			t.Logf("knotd says:\n%s", strings.Join(lines[max(0, len(lines)-25):], "\n"))
		}
	})
	return k
}

func (k *knot) start() {
	k.t.Helper()
	k.log = new(strings.Builder)
	k.cmd = exec.Command("/usr/sbin/knotd", "-c", filepath.Join(k.dir, "knot.conf"))
	k.cmd.Stdout, k.cmd.Stderr = k.log, k.log
	must(k.t, k.cmd.Start())
	for limit := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) { // between two looks at a condition
		s, err := k.server(slices.Sorted(maps.Keys(k.keys))[0]).Dial(k.t.Context())
		if err == nil {
			_, err = s.Serial(k.t.Context())
			s.Close()
		}
		if err == nil {
			return
		}
		if time.Now().After(limit) {
			k.t.Fatalf("knotd does not answer: %v\n%s", err, k.log)
		}
	}
}

func (k *knot) stop() {
	if k.cmd != nil {
		k.cmd.Process.Kill()
		k.cmd.Wait()
		k.cmd = nil
	}
}

func (k *knot) server(origin string) primary.Server {
	return primary.Server{Addr: k.addr, Zone: bl, Key: k.keys[origin]}
}

// holds gives what is in the zone: the texts of each name, and its codes.
func (k *knot) holds(origin string) map[string]bool {
	k.t.Helper()
	got := map[string]bool{}
	codes := map[string]int{}
	tests, _, err := k.server(origin).Transfer(k.t.Context(), func(r primary.Record) error {
		if r.Text == "" {
			codes[r.Name]++
		} else {
			got[r.Name+" "+r.Text] = true
		}
		return nil
	})
	must(k.t, err)
	if !tests {
		k.t.Error("the test entries are missing")
	}
	reasons := map[string]map[string]bool{}
	for line := range got {
		name, text, _ := strings.Cut(line, " ")
		if reasons[name] == nil {
			reasons[name] = map[string]bool{}
		}
		reasons[name][text[strings.LastIndexByte(text, ' '):]] = true
	}
	for name, n := range codes {
		if n != len(reasons[name]) {
			k.t.Errorf("%s has %d codes for the reasons %v", name, n, reasons[name])
		}
	}
	for name := range reasons {
		if codes[name] == 0 {
			k.t.Errorf("%s has a text and no code", name)
		}
	}
	return got
}

func (k *knot) publisher(origin, path string) *Publisher {
	k.t.Helper()
	p, err := Open(k.t.Context(), path, k.server(origin), origin)
	must(k.t, err)
	k.t.Cleanup(func() { p.Close() })
	return p
}

func lines(origin string, entries []zone.Entry) map[string]bool {
	all := map[string]bool{}
	for _, e := range entries {
		all[zone.Name(e.Key)+" "+e.Text(origin)] = true
	}
	return all
}

func same(t *testing.T, when string, got map[string]bool, want ...map[string]bool) {
	t.Helper()
	all := map[string]bool{}
	for _, w := range want {
		maps.Copy(all, w)
	}
	n := 0
	for l := range got {
		if !all[l] && n < 10 {
			n++
			t.Errorf("%s: the zone has %s", when, l)
		}
	}
	for l := range all {
		if !got[l] && n < 20 {
			n++
			t.Errorf("%s: the zone has no %s", when, l)
		}
	}
}

func someHosts(n int) (all []address.Key) {
	for i := range n {
		a := netip.AddrFrom4([4]byte{8, 8, byte(i >> 8), byte(i)})
		if i%3 == 0 {
			a = netip.AddrFrom16([16]byte{0x2a, 1, 0x7e, 0, 0, byte(i >> 8), byte(i)})
		}
		all = append(all, address.FromAddr(a))
	}
	slices.SortFunc(all, func(a, b address.Key) int { return strings.Compare(a.String(), b.String()) })
	return all
}

func entries(keys []address.Key, r zone.Reason, d zone.Day) (all []zone.Entry) {
	for _, k := range keys {
		all = append(all, zone.Entry{Key: k, Reason: r, Day: d})
	}
	return all
}

// One server after the other: add, change, take back, each time only what differs.
func TestPublish(t *testing.T) {
	const a, b = "mail1.example.org", "mail2.example.org"
	k := startKnot(t, a, b)
	dir := t.TempDir()
	p, q := k.publisher(a, filepath.Join(dir, "a")), k.publisher(b, filepath.Join(dir, "b"))
	all := someHosts(700) // more than fits into one message
	run := func(p *Publisher, wanted []zone.Entry, want Result) {
		t.Helper()
		if r, err := p.Run(t.Context(), wanted, false); err != nil || r != want {
			t.Fatalf("%s: %+v, %v; want %+v", p.Origin, r, err, want)
		}
	}
	mine := entries(all, zone.History, 20000)
	run(p, mine, Result{Added: 700, Compared: true})
	same(t, "the first", k.holds(a), lines(a, mine))
	run(p, mine, Result{})
	theirs := entries(all[:100], zone.Guesser, 20001)
	run(q, theirs, Result{Added: 100, Compared: true})
	same(t, "both", k.holds(a), lines(a, mine), lines(b, theirs))

	// Another reason, another day; what is taken back stays while the other lists it.
	mine = append(entries(all[:50], zone.Bot, 20002), entries(all[200:], zone.History, 20003)...)
	run(p, mine, Result{Changed: 550, Removed: 150})
	same(t, "changed", k.holds(a), lines(a, mine), lines(b, theirs))
	run(q, nil, Result{Removed: 100})
	same(t, "the second has taken all back", k.holds(a), lines(a, mine))

	// The state is lost: what is there is found again, and not sent anew.
	p.Close()
	must(t, os.Remove(filepath.Join(dir, "a")))
	p = k.publisher(a, filepath.Join(dir, "a"))
	run(p, mine, Result{Compared: true})
	// It is damaged: the same.
	p.Close()
	must(t, os.WriteFile(filepath.Join(dir, "a"), []byte(strings.Repeat("damaged ", 1000)), 0o600))
	p = k.publisher(a, filepath.Join(dir, "a"))
	run(p, mine, Result{Compared: true})

	// Two runs at once: the second one leaves.
	if _, err := Open(t.Context(), filepath.Join(dir, "a"), k.server(a), a); !errors.Is(err, ErrRunning) {
		t.Errorf("beside another run: %v", err)
	}

	// All of one server is taken back, by another's key.
	run(q, theirs, Result{Added: 100})
	if n, err := Withdraw(t.Context(), k.server(b), a); err != nil || n != len(mine) {
		t.Errorf("withdrawn: %d, %v; want %d", n, err, len(mine))
	}
	same(t, "withdrawn", k.holds(b), lines(b, theirs))
	must(t, p.Forget(t.Context()))
	run(p, mine, Result{Added: len(mine), Compared: true})
	same(t, "published again", k.holds(b), lines(b, theirs), lines(a, mine))
}

// The name server is away, or refuses: told once, tried again later, nothing lost.
func TestFailures(t *testing.T) {
	const a = "mail1.example.org"
	k := startKnot(t, a)
	p := k.publisher(a, filepath.Join(t.TempDir(), "a"))
	k.stop()
	all := entries(someHosts(3), zone.History, 20000)
	_, err := p.Run(t.Context(), all, false)
	var f *Failure
	if !errors.As(err, &f) || !f.New {
		t.Fatalf("no name server: %v", err)
	}
	if r, err := p.Run(t.Context(), all, false); err != nil || r != (Result{}) {
		t.Errorf("before the time of the next try: %+v, %v", r, err)
	}
	if _, err := p.Run(t.Context(), all, true); !errors.As(err, &f) || f.New {
		t.Errorf("told a second time: %v", err)
	}
	k.start()
	if r, err := p.Run(t.Context(), all, true); err != nil || r.Added != 3 || r.Recovered != 2 {
		t.Errorf("it answers again: %+v, %v", r, err)
	}
	same(t, "after the failures", k.holds(a), lines(a, all))

	wrong := k.keys[a]
	wrong.Secret = "d3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3I="
	p.Server.Key = wrong
	if _, err := p.Run(t.Context(), nil, true); err == nil || !strings.Contains(err.Error(), "NOTAUTH") {
		t.Errorf("a wrong key: %v", err)
	}
	same(t, "after a wrong key", k.holds(a), lines(a, all))
	p.Server.Key = k.keys[a]
	if _, err := p.Run(t.Context(), nil, true); err != nil {
		t.Error(err)
	}
	same(t, "taken back", k.holds(a))
}

// The name server's disk is full: it takes nothing more and goes on answering. What
// waits is sent when there is room.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("no small disk: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", "-l", dir).Run() })
	const a = "mail1.example.org"
	k := startKnotIn(t, dir, a)
	p := k.publisher(a, filepath.Join(t.TempDir(), "a"))
	few, many := entries(someHosts(3), zone.History, 20000), entries(someHosts(3000), zone.History, 20000)
	if r, err := p.Run(t.Context(), few, true); err != nil || r.Added != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	must(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	var failure *Failure
	var refusal *primary.Refusal
	if _, err := p.Run(t.Context(), many, true); !errors.As(err, &failure) || !errors.As(err, &refusal) || !strings.Contains(err.Error(), "its disk may be full") {
		t.Errorf("a full disk: %v", err)
	}
	if got := k.holds(a); len(got) < 3 {
		t.Errorf("it has forgotten what it had: %v", got)
	}
	must(t, os.Remove(filler))
	if r, err := p.Run(t.Context(), many, true); err != nil || r.Recovered != 1 {
		t.Errorf("there is room again: %+v, %v", r, err)
	}
	same(t, "after the disk was full", k.holds(a), lines(a, many))
}

// Servers that add, change and withdraw the same hosts at random, all at once,
// are killed in between and lose what they remember: in the end the zone is the
// union of what they say.
func TestUnion(t *testing.T) {
	origins := []string{"mail1.example.org", "mail2.example.org", "mail3.example.org"}
	k := startKnot(t, origins...)
	dir := t.TempDir()
	all := someHosts(60)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	wants := make([]map[string]bool, len(origins))
	var wg sync.WaitGroup
	for i, origin := range origins {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			path := filepath.Join(dir, origin)
			for round := range 25 {
				var wanted []zone.Entry
				for _, key := range all {
					if r.IntN(2) == 0 {
						wanted = append(wanted, zone.Entry{Key: key, Reason: zone.Reasons[r.IntN(3)], Day: zone.Day(20000 + r.IntN(3))})
					}
				}
				p, err := Open(t.Context(), path, k.server(origin), origin)
				if err != nil {
					t.Error(err)
					return
				}
				ctx, cancel := context.WithCancel(t.Context())
				if r.IntN(3) == 0 && round < 24 { // cut off in the middle
					time.AfterFunc(time.Duration(r.IntN(30))*time.Millisecond, cancel)
				}
				_, err = p.Run(ctx, wanted, true)
				if err != nil && ctx.Err() == nil {
					t.Errorf("%s, round %d: %v", origin, round, err)
				}
				cancel()
				p.Close()
				if r.IntN(8) == 0 && round < 24 {
					os.Remove(path)
				}
				wants[i] = lines(origin, wanted)
			}
		}()
	}
	wg.Wait()
	same(t, "in the end", k.holds(origins[0]), wants...)
}

// freePort finds a port below those that the kernel hands out.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(10000))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}
