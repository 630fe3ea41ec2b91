package lab

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Where the server is in the lab's network, and where its resolver listens.
// The server's addresses are private ones; the clients' are the whole rest of
// the Internet, played by the other namespace.
const (
	ServerV4 = "10.99.0.1"
	ServerV6 = "fd99::1"
	clientV4 = "10.99.0.2"
	clientV6 = "fd99::2"
	Resolver = "127.0.0.53"
)

// A Net is two network namespaces joined by a veth pair. In the clients'
// namespace every public address is local, so that a client can come from any.
type Net struct {
	Server  string // name of the namespace that Exim runs in
	Clients string
	t       testing.TB
}

var netCount atomic.Int32

// NewNet makes the namespaces. They are gone when the test ends.
func NewNet(t testing.TB) *Net {
	t.Helper()
	SkipUnlessReady(t)
	id := fmt.Sprintf("ca%d-%d", os.Getpid(), netCount.Add(1))
	n := &Net{Server: id + "s", Clients: id + "c", t: t}
	t.Cleanup(func() {
		for _, ns := range []string{n.Server, n.Clients} {
			exec.Command("ip", "netns", "del", ns).Run()
		}
	})
	ip := func(args string) {
		t.Helper()
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", args, err, out)
		}
	}
	ip("netns add " + n.Server)
	ip("netns add " + n.Clients)
	ip(fmt.Sprintf("link add veth0 netns %s type veth peer name veth0 netns %s", n.Server, n.Clients))
	for _, side := range []struct{ ns, v4, v6, peer4, peer6 string }{
		{n.Server, ServerV4, ServerV6, clientV4, clientV6},
		{n.Clients, clientV4, clientV6, ServerV4, ServerV6},
	} {
		ip("-n " + side.ns + " link set lo up")
		ip("-n " + side.ns + " link set veth0 up")
		ip("-n " + side.ns + " addr add " + side.v4 + "/24 dev veth0")
		ip("-n " + side.ns + " -6 addr add " + side.v6 + "/64 dev veth0 nodad")
	}
	ip("-n " + n.Server + " route add default via " + clientV4)
	ip("-n " + n.Server + " -6 route add default via " + clientV6)
	// In the main table, so that the server's own network goes first.
	ip("-n " + n.Clients + " route add local 0.0.0.0/1 dev lo table main")
	ip("-n " + n.Clients + " route add local 128.0.0.0/1 dev lo table main")
	ip("-n " + n.Clients + " -6 route add local 2000::/3 dev lo table main")
	return n
}

// Enter runs f on a thread that is in namespace ns. What f opens stays in that
// namespace; goroutines that f starts do not run in it.
func Enter(ns string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		fd, err := unix.Open("/run/netns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- err
			return
		}
		defer unix.Close(fd)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// Dial connects to the server's port from any address of the Internet.
func (n *Net) Dial(from string, port int) (net.Conn, error) {
	return n.DialWithin(20*time.Second, from, port)
}

// DialWithin is Dial with a time limit, for hosts whose packets may be dropped.
func (n *Net) DialWithin(limit time.Duration, from string, port int) (net.Conn, error) {
	src, err := netip.ParseAddr(from)
	if err != nil {
		return nil, err
	}
	server := ServerV4
	if src.Is6() {
		server = ServerV6
	}
	d := net.Dialer{
		LocalAddr: &net.TCPAddr{IP: src.AsSlice()},
		Timeout:   limit,
		Control: func(_, _ string, c syscall.RawConn) (err error) {
			c.Control(func(fd uintptr) {
				if src.Is6() {
					err = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_FREEBIND, 1)
				} else {
					err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1)
				}
			})
			return err
		},
	}
	var conn net.Conn
	err = Enter(n.Clients, func() error {
		conn, err = d.Dial("tcp", net.JoinHostPort(server, fmt.Sprint(port)))
		return err
	})
	return conn, err
}
