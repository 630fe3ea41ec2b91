package exim

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// ErrNoTLSPort says that there is nothing to connect to: Exim does not run, not
// in our network, or its configuration has no TLS on that port.
var ErrNoTLSPort = errors.New("no running Exim has TLS on that port")

// Dial connects to the running daemon on a port where TLS begins at once, such
// as 465. The configuration at path, whose syntax must have been checked, tells
// where the daemon listens. The handshake is the caller's: this package is part
// of the program that Exim runs at a connection, and linking TLS in makes every
// start of it longer by a tenth.
func (x Installation) Dial(ctx context.Context, path string, port int) (net.Conn, error) {
	pid, running := x.Running()
	if !running || !sameNetwork(pid) {
		return nil, ErrNoTLSPort
	}
	values, err := x.options(ctx, path, "tls_on_connect_ports", "local_interfaces")
	if err != nil {
		return nil, err
	}
	if !hasPort(values[0], port) {
		return nil, ErrNoTLSPort
	}
	var errs []error
	for _, addr := range ownAddresses(values[1]) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", netip.AddrPortFrom(addr, uint16(port)).String())
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// sameNetwork reports whether the process sees the same network as we do, which
// is not so for one in a container. Without /proc, it does.
func sameNetwork(pid int) bool {
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return true
	}
	theirs, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/net")
	return err != nil || ours == theirs
}

// hasPort looks for a port in a list of Exim's, such as "465 : 4650".
func hasPort(list string, port int) bool {
	for _, item := range items(list) {
		if n, err := net.LookupPort("tcp", item); err == nil && n == port {
			return true
		}
	}
	return false
}

// ownAddresses gives addresses at which a daemon with these local_interfaces
// can be reached from its own machine.
func ownAddresses(interfaces string) []netip.Addr {
	loopback := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	var all []netip.Addr
	for _, item := range items(interfaces) {
		// With a port an item reads 192.0.2.1.25 or [192.0.2.1]:25.
		item = strings.TrimPrefix(item, "[")
		item, _, _ = strings.Cut(item, "]")
		addr, err := netip.ParseAddr(item)
		if i := strings.LastIndexByte(item, '.'); err != nil && i > 0 {
			addr, err = netip.ParseAddr(item[:i])
		}
		switch {
		case err != nil:
		case addr.IsUnspecified():
			return loopback
		default:
			all = append(all, addr)
		}
	}
	if len(all) == 0 {
		return loopback
	}
	return all
}

// items splits a list of Exim's. Its separator is a colon, doubled where it is
// part of an item, unless "<" at the start names another.
func items(list string) []string {
	separator := ":"
	if rest, other := strings.CutPrefix(strings.TrimSpace(list), "<"); other && rest != "" {
		separator, list = rest[:1], rest[1:]
	}
	const doubled = "\x00"
	list = strings.ReplaceAll(list, separator+separator, doubled)
	var all []string
	for _, item := range strings.Split(list, separator) {
		if item = strings.TrimSpace(strings.ReplaceAll(item, doubled, separator)); item != "" {
			all = append(all, item)
		}
	}
	return all
}
