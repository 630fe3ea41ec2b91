package dnsbl

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
)

// rbldnsd is what most lists run.
func TestRbldnsd(t *testing.T) {
	program, err := exec.LookPath("rbldnsd")
	if err != nil {
		if program = "/usr/sbin/rbldnsd"; !exists(program) {
			t.Skip("rbldnsd is not installed")
		}
	}
	if os.Getuid() != 0 {
		t.Skip("rbldnsd wants to be started by root")
	}
	dir, err := os.MkdirTemp("/tmp", "rbldnsd-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	// It reads its files as the user that it turns into.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"v4": ":127.0.0.2:Listed, see https://bl.example/$\n127.0.0.2\n192.0.2.99 :127.0.0.4:Open relay \"$\"\n",
		"v6": ":127.0.0.3:IPv6 listing\n2001:db8:1:2::/64\n0:0:0:0:0:ffff:7f00:2\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	addr := freePort(t)
	args := []string{"-n", "-b", fmt.Sprintf("%s/%d", addr.Addr(), addr.Port()), "-w", dir,
		"bl.example:ip4set:v4", "bl.example:ip6trie:v6"}
	if _, err := exec.Command("id", "rbldns").Output(); err != nil {
		args = append([]string{"-u", "nobody"}, args...)
	}
	var log strings.Builder
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	defer func() { cmd.Process.Kill(); <-ended }()

	o := Options{Servers: []netip.AddrPort{addr}, Timeout: 5 * time.Second}
	lists := mustParse(t, "bl.example")
	for start := time.Now(); ; {
		h, err := CheckHealth(context.Background(), lists, o)
		if err != nil {
			t.Fatal(err)
		}
		if h[0].OK() && h[0].IPv6 {
			break
		}
		select {
		case <-ended:
			t.Fatalf("rbldnsd ended: %s", log.String())
		default:
		}
		if time.Since(start) > guard {
			t.Fatalf("%+v; rbldnsd says: %s", h, log.String())
		}
	}
	for _, tt := range []struct{ addr, want, text string }{
		{"192.0.2.99", "deny 1 by bl.example, listed 127.0.0.4", "Open relay '192.0.2.99'"},
		{"192.0.2.98", "pass 0, not listed", ""},
		{"2001:db8:1:2:3::4", "deny 1 by bl.example, listed 127.0.0.3", "IPv6 listing"},
		{"2001:db8:1:3::4", "pass 0, not listed", ""},
	} {
		r := check(t, netip.MustParseAddr(tt.addr), "bl.example", o)
		if got := summary(r); got != tt.want || r.Deny && r.Deciding.Text != tt.text {
			t.Errorf("%s: got %s %+v, want %s %q", tt.addr, got, r.Deciding, tt.want, tt.text)
		}
	}
}

// freePort finds a port for a program that cannot be given port 0. It is below
// those that the kernel hands out, so that none of our own questions takes it
// before the program does.
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

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
