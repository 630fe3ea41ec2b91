package exim

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Session is what a configuration answered to one imagined host, up to the
// reply to EHLO.
type Session struct {
	Host     netip.Addr
	Port     int
	Greeting string   // the last line of the reply on connection, "" when none came
	EHLO     string   // the last line of the reply to EHLO, "" when the greeting was not 220
	Log      []string // what Exim would have written to its log
	Err      error    // why the session did not come to its end, such as a deadline
}

// OK reports whether the host was greeted and its EHLO accepted.
func (s Session) OK() bool {
	return s.Err == nil && strings.HasPrefix(s.Greeting, "220") && strings.HasPrefix(s.EHLO, "250")
}

// Reply gives the reply that decided: to EHLO where there was one, else the
// greeting.
func (s Session) Reply() string {
	if s.EHLO != "" {
		return s.EHLO
	}
	return s.Greeting
}

// Broken reports whether the configuration itself failed: a string that does
// not expand, a lookup that defers, no answer at all. A refusal by a rule that
// worked and says so in words of its own is not broken.
func (s Session) Broken() bool {
	return s.Err != nil || s.Reply() == "" || strings.HasPrefix(s.Reply(), "451 Temporary local problem") ||
		strings.HasPrefix(s.Reply(), "421")
}

func (s Session) String() string {
	host := fmt.Sprintf("[%s] on port %d", s.Host, s.Port)
	if s.Err != nil {
		return fmt.Sprintf("%s: %v", host, s.Err)
	}
	text := fmt.Sprintf("%s: %s", host, s.Reply())
	for _, l := range s.Log {
		if strings.Contains(l, "reject") || strings.Contains(l, "fail") {
			return text + " (Exim's log: " + l + ")"
		}
	}
	return text
}

// A Proof holds a copy of a configuration with which sessions can be imagined
// at run time, and which leaves Exim's spool alone: a session reads and writes
// the hints databases, so without a spool of its own it would count towards
// the rate of the address that it is about. Close removes it.
type Proof struct {
	x       Installation
	conf    string
	spool   string
	defines []string // what Exim is told of macros
}

// Define gives a macro another value in the sessions that follow than it has in
// the configuration.
func (p *Proof) Define(macro, value string) { p.defines = append(p.defines, "-D"+macro+"="+value) }

// proofName begins the names of the copies. The number of the process that has
// made one and a dot follow.
func (x Installation) proofName() string { return "exim4.conf." + x.Package + "." }

// RemoveProofs removes the copies that killed programs have left. Those of
// others that are in progress, such as the doctor beside an installation, stay.
func (x Installation) RemoveProofs() {
	left, _ := filepath.Glob(filepath.Join(x.EximDir, x.proofName()+"*.proof"))
	for _, path := range left {
		number, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), x.proofName()), ".")
		pid, err := strconv.Atoi(number)
		if err != nil || pid == os.Getpid() || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			os.Remove(path)
		}
	}
}

// NewProof prepares sessions with the configuration at path, whose syntax must
// have been checked. The copy stands beside the configuration in force,
// because relative includes are looked for there; the spool in work, a
// directory that Exim's user can walk through.
func (x Installation) NewProof(ctx context.Context, path, work string) (_ *Proof, err error) {
	user, err := x.User(ctx, path)
	if err != nil {
		return nil, err
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p := &Proof{x: x}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if p.spool, err = os.MkdirTemp(work, "spool-"); err != nil {
		return nil, err
	}
	// Exim leaves the superuser before it opens its spool.
	if err = os.Chown(p.spool, int(user.UID), int(user.GID)); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	// A resolver that does not answer is not what is to be found out: Exim
	// shall not wait for it as long as it does for mail.
	fmt.Fprintf(&b, "spool_directory = %s\ndns_retrans = 1s\ndns_retry = 1\n", x.Inside(p.spool))
	for _, option := range []string{"spool_directory", "dns_retrans", "dns_retry"} {
		data = CommentOut(data, option, "#")
	}
	b.Write(data)
	f, err := os.CreateTemp(x.EximDir, fmt.Sprintf("%s%d.*.proof", x.proofName(), os.Getpid()))
	if err != nil {
		return nil, err
	}
	p.conf = f.Name()
	if _, err = f.Write(b.Bytes()); err == nil {
		if sys, ok := st.Sys().(*syscall.Stat_t); ok {
			err = f.Chown(int(sys.Uid), int(sys.Gid))
		}
	}
	if err == nil {
		err = f.Chmod(st.Mode().Perm())
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return nil, err
	}
	return p, x.Check(ctx, p.conf)
}

// Close removes the copy and its spool.
func (p *Proof) Close() error {
	var err error
	if p.conf != "" {
		err = os.Remove(p.conf)
	}
	if p.spool != "" {
		err = errors.Join(err, os.RemoveAll(p.spool))
	}
	return err
}

// Greet imagines the host connecting to the port with "exim4 -bh", says EHLO
// and QUIT, and gives what it was answered. It ends at limit at the latest.
// Exim runs as its own user in this, so helpers and databases are met with
// that user's rights; nothing is sent to the host.
func (p *Proof) Greet(ctx context.Context, host netip.Addr, port int, limit time.Duration) Session {
	return p.GreetAs(ctx, host, port, "mail.example.net", limit)
}

// GreetAs is Greet for a host that has this name to say.
func (p *Proof) GreetAs(ctx context.Context, host netip.Addr, port int, name string, limit time.Duration) Session {
	s := Session{Host: host, Port: port}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	local := "192.0.2.1"
	if host.Is6() {
		local = "2001:db8::1"
	}
	cmd := p.x.command(ctx, "/usr/bin/env", append([]string{noName, "/usr/sbin/exim4", "-C", p.x.Inside(p.conf),
		"-bh", host.String(), "-oMi", fmt.Sprintf("[%s]:%d", local, port)}, p.defines...)...)
	stdin, err := cmd.StdinPipe()
	if err == nil {
		var stdout io.ReadCloser
		if stdout, err = cmd.StdoutPipe(); err == nil {
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if err = cmd.Start(); err == nil {
				r := bufio.NewReader(stdout)
				s.Greeting = reply(r)
				if strings.HasPrefix(s.Greeting, "220") {
					io.WriteString(stdin, "EHLO "+name+"\r\n")
					s.EHLO = reply(r)
				}
				io.WriteString(stdin, "QUIT\r\n")
				stdin.Close()
				io.Copy(io.Discard, r)
				err = cmd.Wait() // Exim ends with an error after a refusal
				s.Log = logged(stderr.String())
				if s.Reply() != "" {
					err = nil
				} else if err == nil {
					err = errors.New("Exim gave no greeting: " + oneLine(tail(stderr.Bytes(), 300)))
				}
			}
		}
	}
	answered := s.EHLO != "" || s.Greeting != "" && !strings.HasPrefix(s.Greeting, "220")
	if ctx.Err() != nil && !answered {
		err = fmt.Errorf("no answer within %v: %w", limit, ctx.Err())
	}
	s.Err = err
	return s
}

// Expand gives what Exim makes of a string at run time, with "exim4 -be". A
// string that does not expand gives Exim's words instead.
func (p *Proof) Expand(ctx context.Context, text string, limit time.Duration) (string, error) {
	out, err := p.x.query(ctx, limit, "/usr/sbin/exim4", "-C", p.x.Inside(p.conf), "-be", text)
	return oneLine(out), err
}

// Hosts that are innocent beyond doubt: root name servers. They are public
// addresses, so no rule for private networks lets them past, they send no
// mail, and a list that names them names everybody.
var innocent = [][2]string{
	{"198.41.0.4", "2001:503:ba3e::2:30"},
	{"193.0.14.129", "2001:7fd::1"},
	{"192.36.148.17", "2001:7fe::53"},
}

// Innocent gives addresses of hosts that no working configuration refuses, one
// IPv4 and one IPv6 in each pair, the best first.
func Innocent() [][2]netip.Addr {
	var all [][2]netip.Addr
	for _, pair := range innocent {
		all = append(all, [2]netip.Addr{netip.MustParseAddr(pair[0]), netip.MustParseAddr(pair[1])})
	}
	return all
}

// GreetAll imagines every host on every port, some at the same time, and gives
// the sessions in the order of hosts, then ports.
func (p *Proof) GreetAll(ctx context.Context, hosts []netip.Addr, ports []int, limit time.Duration) []Session {
	all := make([]Session, len(hosts)*len(ports))
	var wg sync.WaitGroup
	for i := range all {
		wg.Add(1)
		go func() {
			defer wg.Done()
			all[i] = p.Greet(ctx, hosts[i/len(ports)], ports[i%len(ports)], limit)
		}()
	}
	wg.Wait()
	return all
}

// reply reads one SMTP reply and gives its last line. Exim writes lines of its
// own before the greeting of an imagined session.
func reply(r *bufio.Reader) string {
	for {
		line, err := r.ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		if len(line) >= 3 && strings.Trim(line[:3], "0123456789") == "" && (len(line) == 3 || line[3] == ' ') {
			return line
		}
		if err != nil {
			return ""
		}
	}
}

func logged(stderr string) []string {
	var all []string
	for _, line := range strings.Split(stderr, "\n") {
		if text, ok := strings.CutPrefix(line, "LOG: "); ok {
			all = append(all, text)
		}
	}
	return all
}

func tail(b []byte, n int) []byte {
	if len(b) > n {
		return b[len(b)-n:]
	}
	return b
}
