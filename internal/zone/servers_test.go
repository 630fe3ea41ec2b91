package zone

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"symbiosis-connect-acl/internal/dnsbl"
)

// The name servers of Debian read what is written, and answer as a list does.
func TestNameServers(t *testing.T) {
	const origin, name = "mail1.example.org", "bl.example.org"
	all := []Entry{
		{key(t, "8.8.8.8"), History, 20000}, {key(t, "8.8.8.9"), Guesser, 20000}, {key(t, "86.1.2.3"), Bot, 20001},
		{key(t, "2a01:7e00::"), History, 20000}, {key(t, "2a01:7e00:1:2::"), Bot, 20001},
	}
	dir, err := os.MkdirTemp("/tmp", "zone-test-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o777)) // each server turns into a user of its own
	files := map[Format]string{}
	for _, f := range []Format{RFC1035, Rbldnsd} {
		files[f] = filepath.Join(dir, string(f))
		_, err := WriteFile(context.Background(), files[f], 1_700_000_000, func(o Output) error { return f.Write(o, Head{name, origin}, each(all)) })
		must(t, err)
	}
	for _, check := range [][]string{
		{"kzonecheck", "-o", name, files[RFC1035]},
		{"nsd-checkzone", name, files[RFC1035]},
		// The server's own name is in another zone, which is not asked for here.
		{"named-checkzone", "-i", "local", name, files[RFC1035]},
	} {
		if out, err := exec.Command(program(t, check[0]), check[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", check, err, out)
		}
	}
	for server, args := range map[string]func(at netip.AddrPort) []string{
		"rbldnsd": func(at netip.AddrPort) []string {
			return []string{"-u", "nobody", "-n", "-b", fmt.Sprintf("%s/%d", at.Addr(), at.Port()), "-w", dir, name + ":combined:" + string(Rbldnsd)}
		},
		"knotd": func(at netip.AddrPort) []string {
			config := filepath.Join(dir, "knot.conf")
			must(t, os.WriteFile(config, fmt.Appendf(nil, "server:\n    rundir: %[1]s\n    listen: %[2]s@%[3]d\ndatabase:\n    storage: %[1]s\nzone:\n  - domain: %[4]s\n    file: %[5]s\n    zonefile-sync: -1\n",
				dir, at.Addr(), at.Port(), name, files[RFC1035]), 0o644))
			return []string{"-c", config}
		},
		"nsd": func(at netip.AddrPort) []string {
			config := filepath.Join(dir, "nsd.conf")
			must(t, os.WriteFile(config, fmt.Appendf(nil, "server:\n  ip-address: %s@%d\n  username: \"\"\n  chroot: \"\"\n  zonesdir: %[3]s\n  database: \"\"\n  pidfile: \"\"\n"+
				"  xfrdfile: %[3]s/xfrd\n  zonelistfile: %[3]s/zonelist\n  xfrdir: %[3]s\nremote-control:\n  control-enable: no\nzone:\n  name: %[4]s\n  zonefile: %[5]s\n",
				at.Addr(), at.Port(), dir, name, files[RFC1035]), 0o644))
			return []string{"-d", "-c", config}
		},
	} {
		t.Run(server, func(t *testing.T) {
			at := freePort(t)
			var log strings.Builder
			cmd := exec.Command(program(t, server), args(at)...)
			cmd.Stdout, cmd.Stderr = &log, &log
			must(t, cmd.Start())
			ended := make(chan struct{})
			go func() { cmd.Wait(); close(ended) }()
			t.Cleanup(func() { cmd.Process.Kill(); <-ended })
			lists, err := dnsbl.ParseLists(name)
			must(t, err)
			o := dnsbl.Options{Servers: []netip.AddrPort{at}, Timeout: 2 * time.Second, All: true}
			for limit := time.Now().Add(30 * time.Second); ; {
				h, err := dnsbl.CheckHealth(context.Background(), lists, o)
				must(t, err)
				if h[0].OK() && h[0].IPv6 {
					break // the test entries of both families, and no others
				}
				select {
				case <-ended:
					t.Fatalf("%s ended: %s", server, log.String())
				default:
				}
				if time.Now().After(limit) {
					t.Fatalf("%+v; %s says: %s", h, server, log.String())
				}
				time.Sleep(20 * time.Millisecond) // between two looks at a condition
			}
			for host, want := range map[string]string{
				"8.8.8.8": "127.0.0.2 " + all[0].Text(origin), "8.8.8.9": "127.0.0.3 " + all[1].Text(origin), "86.1.2.3": "127.0.0.4 " + all[2].Text(origin),
				"2a01:7e00::5": "127.0.0.2 " + all[3].Text(origin), "2a01:7e00:1:2:3:4:5:6": "127.0.0.4 " + all[4].Text(origin),
				"8.8.8.10": "", "2a01:7e00:1:3::1": "", "127.0.0.1": "", "127.0.0.2": "127.0.0.2 test entry",
			} {
				r, err := dnsbl.Check(context.Background(), netip.MustParseAddr(host), lists, o)
				must(t, err)
				got := ""
				if a := r.Answers[0]; a.Status != dnsbl.NotListed {
					got = fmt.Sprintf("%s %s", a.Code, a.Text)
				}
				if got != want {
					t.Errorf("%s: %q; want %q", host, got, want)
				}
			}
		})
	}
}

func program(t *testing.T, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	if path := "/usr/sbin/" + name; os.Getuid() == 0 {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	if os.Getenv("CONNECT_ACL_LAB") == "require" {
		t.Fatalf("%s is not installed", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// freePort finds a port for a program that cannot be given port 0, below those
// that the kernel hands out.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(10000))
		if pc, err := net.ListenPacket("udp", addr); err == nil {
			pc.Close()
			return netip.MustParseAddrPort(addr)
		}
	}
	t.Fatal("no free port")
	return netip.AddrPort{}
}
