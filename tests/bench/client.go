package main

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"symbiosis-connect-acl/tests/lab"
)

// A load is many connections from many addresses.
type load struct {
	clients int
	n       int           // connections to make
	limit   time.Duration // make no new ones after this
	addr    func(i int) netip.Addr
	talk    func(s *smtp) // between the greeting and QUIT
	patient int64         // seconds to wait for a reply; 0 means 60
}

// A result is what a load has measured.
type result struct {
	waits []time.Duration // connecting to the greeting or refusal
	codes map[string]int  // replies by their first three characters
	wall  time.Duration
}

// run makes the connections, each client on a thread of its own in the
// clients' namespace, so that nothing but the connection is timed.
func (l load) run(n *lab.Net) (result, error) {
	var next atomic.Int64
	var mu sync.Mutex
	var failed error
	r := result{codes: map[string]int{}}
	var all sync.WaitGroup
	begin := time.Now()
	for range l.clients {
		all.Add(1)
		go lab.Enter(n.Clients, func() error {
			defer all.Done()
			for {
				i := int(next.Add(1)) - 1
				if i >= l.n || l.limit > 0 && time.Since(begin) > l.limit {
					return nil
				}
				s, err := dial(l.addr(i), l.patient)
				if err != nil {
					mu.Lock()
					if failed == nil {
						failed = err
					}
					r.codes["none"]++
					mu.Unlock()
					continue
				}
				if l.talk != nil && s.code == "220" {
					l.talk(s)
				}
				s.leave()
				mu.Lock()
				r.waits = append(r.waits, s.wait)
				r.codes[s.code]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	r.wall = time.Since(begin)
	return r, failed
}

// An smtp is a connection on a blocking socket.
type smtp struct {
	fd   int
	wait time.Duration
	code string
}

// dial connects from addr to the server's port 25 and reads the greeting. It
// must run in the clients' namespace.
func dial(addr netip.Addr, patient int64) (*smtp, error) {
	if patient == 0 {
		patient = 60
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	s := &smtp{fd: fd}
	timeout := unix.Timeval{Sec: patient}
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout)
	if err = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1); err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: addr.As4()})
	}
	begin := time.Now()
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: 25, Addr: netip.MustParseAddr(lab.ServerV4).As4()})
		if err == unix.EINTR { // Go's scheduler sends signals; the connection goes on being made
			err = connected(fd)
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("connecting from %s: %w", addr, err)
	}
	reply := s.read()
	s.wait = time.Since(begin)
	s.code = lab.Code(reply)
	return s, nil
}

// connected waits for the end of a connect that a signal has interrupted.
func connected(fd int) error {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 60_000)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return unix.ETIMEDOUT
		}
		errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && errno != 0 {
			err = unix.Errno(errno)
		}
		return err
	}
}

// read reads to the end of a reply.
func (s *smtp) read() string {
	var all strings.Builder
	buf := make([]byte, 1024)
	for {
		n, err := unix.Read(s.fd, buf)
		if err == unix.EINTR {
			continue
		}
		if n <= 0 || err != nil {
			return all.String()
		}
		all.Write(buf[:n])
		text := all.String()
		if !strings.HasSuffix(text, "\n") {
			continue
		}
		last := text[strings.LastIndexByte(text[:len(text)-1], '\n')+1:]
		if len(last) < 4 || last[3] != '-' {
			return text
		}
	}
}

func (s *smtp) send(text string) {
	for b := []byte(text); len(b) > 0; {
		n, err := unix.SendmsgN(s.fd, b, nil, nil, unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		b = b[n:]
	}
}

func (s *smtp) cmd(text string) string { s.send(text + "\r\n"); return s.read() }

// leave says goodbye and waits until the server has hung up. Exim waits a
// fifth of a second for the client to hang up first, so that comes with QUIT.
func (s *smtp) leave() {
	s.send("QUIT\r\n")
	unix.Shutdown(s.fd, unix.SHUT_WR)
	for s.read() != "" {
	}
	unix.Close(s.fd)
}

// innocent gives one of a provider's many addresses, none of them in the
// databases or on a list.
func innocent(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{193, byte(64 + i>>16), byte(i >> 8), byte(i)})
}

// daemonPID finds the process number of a root's Exim daemon: our own child
// that lives in that root.
func daemonPID(e *lab.Exim) (int, error) {
	want := fmt.Sprintf(" %d ", os.Getpid())
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, d := range dirs {
		var pid int
		if _, err := fmt.Sscanf(d.Name(), "%d", &pid); err != nil {
			continue
		}
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, rest, ok := strings.Cut(string(stat), ") ")
		if !ok || len(rest) < 2 || !strings.HasPrefix(rest[1:], want) {
			continue
		}
		if root, _ := os.Readlink(fmt.Sprintf("/proc/%d/root", pid)); root == e.Root.Dir {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("no Exim daemon in %s", e.Root.Dir)
}

// alive tells whether a child of the daemon is at work. One that has ended may
// have to wait for the daemon's next connection until it is counted.
func alive(daemon int) bool {
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", daemon, daemon))
	for _, pid := range strings.Fields(string(children)) {
		stat, _ := os.ReadFile("/proc/" + pid + "/stat")
		if _, rest, ok := strings.Cut(string(stat), ") "); ok && rest[0] != 'Z' {
			return true
		}
	}
	return false
}

// A usage is what a daemon and the children that it has waited for have used.
type usage struct {
	cpu    time.Duration
	faults int64 // page faults
}

// used gives what the daemon has used so far, when no child is left.
func used(e *lab.Exim) (usage, error) {
	pid, err := daemonPID(e)
	if err != nil {
		return usage{}, err
	}
	for deadline := time.Now().Add(60 * time.Second); alive(pid) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond) // between two looks at a condition
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	sum := func(fields []string) (sum int64) {
		for _, s := range fields {
			var n int64
			fmt.Sscan(s, &n)
			sum += n
		}
		return sum
	}
	// proc(5): minflt, cminflt, majflt, cmajflt; then utime, stime, cutime, cstime
	// in ticks, of which there are 100 a second on every architecture of Debian.
	return usage{time.Duration(sum(f[11:15])) * 10 * time.Millisecond, sum(f[7:11])}, nil
}
