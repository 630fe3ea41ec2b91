package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/platform"
)

// A selectorSet is one way that an administrator has set up Exim's logging.
type selectorSet struct {
	name     string
	selector string
	options  string // further lines of the main section
	syslog   bool
	learn    bool // the suite refuses nobody: the HELO rule does not protect the log
	full     bool // play every scenario, not only the core
	// How clients spell the commands: in the first way, and those that do harm
	// in the others, too.
	spellings []spelling
	unknownTo []string // Exims that do not have the selector
}

// The suite's own logging snippet adds what the patterns need. The sets say
// what the administrator has beyond or instead of it.
var selectorSets = []selectorSet{
	{name: "none", spellings: []spelling{capitals}},
	{name: "suite", spellings: []spelling{capitals, small, mixed}, selector: "+tls_sni +smtp_protocol_error", full: true},
	{name: "learn", spellings: []spelling{mixed}, selector: "+tls_sni +smtp_protocol_error", full: true, learn: true},
	{name: "incoming_port", spellings: []spelling{small}, selector: "+smtp_protocol_error +incoming_port"},
	{name: "incoming_interface", spellings: []spelling{mixed}, selector: "+smtp_protocol_error +incoming_interface"},
	{name: "pid", spellings: []spelling{mixed}, selector: "+smtp_protocol_error +pid"},
	{name: "millisec", spellings: []spelling{small}, selector: "+smtp_protocol_error +millisec"},
	{name: "smtp_protocol_error", spellings: []spelling{capitals}, selector: "+smtp_protocol_error"},
	{name: "smtp_syntax_error", spellings: []spelling{small}, selector: "+smtp_protocol_error +smtp_syntax_error"},
	{name: "tls_sni", spellings: []spelling{mixed}, selector: "+tls_sni"},
	{name: "smtp_mailauth", spellings: []spelling{capitals}, selector: "+smtp_protocol_error +smtp_mailauth"},
	{name: "all", spellings: []spelling{small}, selector: "+all", full: true},
	{name: "port_interface_pid", spellings: []spelling{small}, selector: "+smtp_protocol_error +tls_sni +tls_peerdn +incoming_port +incoming_interface +pid"},
	{name: "connection_id", spellings: []spelling{small}, selector: "+smtp_protocol_error +connection_id +incoming_port", unknownTo: []string{"4.94.2", "4.96"}},
	{name: "timezone", spellings: []spelling{mixed}, selector: "+smtp_protocol_error +millisec +pid", options: "log_timezone = yes\n"},
	{name: "syslog", spellings: []spelling{small}, selector: "+smtp_protocol_error", options: "log_file_path = syslog\nsyslog_duplication = no\n", syslog: true},
	{name: "syslog_bare", spellings: []spelling{mixed}, selector: "+smtp_protocol_error +pid", options: "log_file_path = syslog\nsyslog_duplication = no\nsyslog_timestamp = no\n", syslog: true},
}

// A lab is one Exim: a version, a selector set, and a tree to run in.
type lab struct {
	version, lower, dir string
	set                 selectorSet
	repo, extra, helper string
	relays              *relays

	root   string // the overlay in which Exim runs
	daemon *exec.Cmd
	stderr bytes.Buffer

	mu    sync.Mutex    // guards sys
	sys   []byte        // what came to /dev/log, as rsyslog writes it to a file
	marks chan struct{} // our own messages to /dev/log, as they come back
	pos   int           // how much of the log has been taken
}

func (l *lab) play(only *regexp.Regexp) (records []record, err error) {
	if err := l.build(); err != nil {
		return nil, err
	}
	if err := l.start(); err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, l.stop())
	}()
	for i, s := range scenarios() {
		if !only.MatchString(s.name) || !(s.core || l.set.full) {
			continue
		}
		for n, spelling := range l.set.spellings {
			if n > 0 && (s.early || s.v6 || s.times > 1 || !(s.kind == "event" || s.kind == "attack" && s.core)) {
				break
			}
			got, spelt, err := l.playOne(i+n*3000, s, spelling)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			if n == 0 || spelt {
				records = append(records, got...)
			}
		}
	}
	return records, nil
}

// playOne plays a scenario, as a host of its own for each number, and tells
// whether the spelling made a difference to it.
func (l *lab) playOne(number int, s scenario, spelling spelling) (records []record, spelt bool, err error) {
	peer := s.peer
	if peer == "" {
		peer = fmt.Sprintf("45.%d.%d.%d", 80+number/200, number%200+1, number%250+2)
		if s.v6 {
			peer = fmt.Sprintf("2a0e:%x:%x:12::%x", 0x100+number, number+1, number+0x25)
		}
	}
	if s.early {
		peer = strings.Replace(strings.Replace(peer, "45.", "46.", 1), "2a0e:", "2a0f:", 1)
	}
	c := &client{peer: peer, v6: strings.Contains(peer, ":"), spelling: spelling, await: l.await}
	if s.via != "" {
		c = &client{peer: s.from, via: s.via}
	}
	if s.prepare != nil {
		if err := s.prepare(l, peer); err != nil {
			return nil, false, err
		}
	}
	for n := 0; n < max(1, s.times); n++ {
		c.attempt(s.play)
	}
	if c.err != nil {
		return nil, false, c.err
	}
	if s.via != "" {
		if err := l.relays.settle(); err != nil {
			return nil, false, err
		}
	}
	lines, err := l.settled(s.until)
	if err != nil {
		return nil, false, err
	}
	if s.last > 0 && len(lines) > s.last {
		lines = lines[len(lines)-s.last:]
	}
	if !strings.Contains(strings.Join(lines, "\n"), s.must) {
		return nil, false, fmt.Errorf("no %q in the log:\n%s", s.must, strings.Join(lines, "\n"))
	}
	want := s.want
	if s.kind == "relay" {
		lines = thin(lines, map[bool]int{true: 5, false: 1}[l.set.name == "suite"])
	} else if l.set.learn {
		want = "?"
	} else if s.wantOf != nil {
		want = s.wantOf(lines)
	} else if s.wantIn != nil {
		want = s.wantIn(l.set)
	} else if s.wantOn != nil {
		want = s.wantOn(l.version)
	}
	if len(lines) == 0 {
		lines = []string{""} // an offence that Exim does not log is one that no pattern can count
	}
	if s.via == "" { // a scenario may have taken another
		peer = c.peer
	}
	name := s.name
	if spelling != capitals && c.spelt {
		name += "~" + string(spelling)
	}
	for _, line := range lines {
		records = append(records, record{l.version, l.set.name, name, s.kind, peer, want, line})
	}
	return records, c.spelt, nil
}

// await waits, while a client holds its connection, until the log holds one of
// the texts.
func (l *lab) await(texts ...string) error {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(3 * time.Millisecond) {
		if l.set.syslog {
			if err := l.mark(); err != nil {
				return err
			}
		}
		log, err := l.log()
		if err != nil {
			return err
		}
		for _, t := range texts {
			if bytes.Contains(log, []byte(t)) {
				return nil
			}
		}
	}
	return fmt.Errorf("none of %q is in the log while the connection is open", texts)
}

// build lays the fixture tree, the suite's snippets and the recorder's own
// changes over the Debian root.
func (l *lab) build() error {
	var err error
	if l.root, err = mountRoot(l.dir, l.lower); err != nil {
		return err
	}
	for _, d := range []string{"etc/ssl", "etc/exim4", "srv", "var/lib/symbiosis", "usr/sbin"} {
		if err := os.MkdirAll(filepath.Join(l.root, d), 0o755); err != nil {
			return err
		}
	}
	fixture := filepath.Join(l.repo, "tests/fixture/symbiosis")
	if err := copyTree(fixture, l.root); err != nil {
		return err
	}
	tree := filepath.Join(l.root, "etc/exim4/symbiosis.d")
	for _, from := range []string{filepath.Join(l.repo, "symbiosis.d"), l.extra} {
		if from == "" {
			continue
		}
		if err := copyTree(from, tree); err != nil {
			return err
		}
	}
	if out, err := exec.Command("chroot", l.root, "chown", "-R", "Debian-exim", "/srv").CombinedOutput(); err != nil {
		return fmt.Errorf("chown: %w: %s", err, out)
	}
	if err := l.writeConfig(tree); err != nil {
		return err
	}
	if err := writeCertificate(filepath.Join(l.root, "etc/ssl")); err != nil {
		return err
	}
	helper, err := os.ReadFile(l.helper)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(l.root, "usr/sbin/symbiosis-connect-check"), helper, 0o755); err != nil {
		return err
	}
	share := filepath.Join(l.root, "usr/share/symbiosis-connect-acl")
	names, err := os.ReadFile(filepath.Join(l.repo, "debian/refused-helo-names"))
	if err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll(share, 0o755), os.WriteFile(filepath.Join(share, "refused-helo-names"), names, 0o644)); err != nil {
		return err
	}
	return l.makeHosts()
}

func (l *lab) hostsDatabase() string { return platform.Symbiosis(l.root).HostsDatabase }

// makeHosts makes hosts.db for the root's Exim, as setup does.
func (l *lab) makeHosts() error {
	var exim syscall.Stat_t
	spool := filepath.Join(l.root, "var/spool/exim4")
	if err := syscall.Stat(spool, &exim); err != nil {
		return fmt.Errorf("%s: %w", spool, err)
	}
	path := l.hostsDatabase()
	if err := os.MkdirAll(filepath.Dir(filepath.Dir(path)), 0o755); err != nil {
		return err
	}
	_, err := hosts.Create(context.Background(), path, exim.Uid, exim.Gid, false)
	return err
}

// offend gives a host a history.
func (l *lab) offend(peer string) error {
	key, err := address.Parse(peer)
	if err != nil {
		return err
	}
	return hosts.With(l.hostsDatabase(), func(d *hosts.DB) error {
		return d.AddHistory(context.Background(), key, 42, time.Now())
	})
}

var snippetName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]+$`)

// writeConfig joins the snippets as the platform's Makefile does. The
// recorder's own changes: the selector set takes the place of the suite's
// logging, AUTH is advertised on port 587 without TLS too (so that its refusal
// can be seen), and the limits are those of the scenarios.
func (l *lab) writeConfig(tree string) error {
	var paths []string
	err := filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && snippetName.MatchString(d.Name()) {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	sort.Strings(paths)
	var b bytes.Buffer
	b.WriteString("SYMBIOSIS_CONNECT_ACL = yes\n")
	b.WriteString("primary_hostname = mail.example.org\n")
	b.WriteString(l.set.options)
	// What the suite's logging switches off, whatever else is on.
	fmt.Fprintf(&b, "log_selector = %s -etrn -dkim_verbose\n", l.set.selector)
	for _, p := range paths {
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		base := filepath.Base(p)
		switch {
		case base == "25-logging":
			continue
		case base == "60-general-options":
			// Only the scenarios that are about it are asked for their user.
			text = bytes.ReplaceAll(text, []byte("rfc1413_hosts =\n"), []byte("rfc1413_hosts = 45.72.0.0/16\n"))
		case base == "80-resource-control":
			text = bytes.ReplaceAll(text, []byte("smtp_accept_max_per_host = 10\n"),
				[]byte("smtp_accept_max_per_host = ${if match{$sender_host_address}{\\N^(45[.]73[.]|2a10)\\N}{90}{10}}\n"))
		case strings.Contains(p, "60-authenticators"):
			text = bytes.ReplaceAll(text, []byte("${if eq{$tls_in_cipher}{}{no}{yes}}"),
				[]byte("${if or{{!eq{$tls_in_cipher}{}}{eq{$received_port}{587}}}{yes}{no}}"))
		}
		b.Write(text)
		b.WriteByte('\n')
		if base == "21-connect-check" {
			b.WriteString("CHECK_CONNECT_IP_DNSBLS == bl.example.net=127.0.0.2\n")
			if l.set.learn {
				b.WriteString("CONNECT_STATE_SUITE == learn\n")
			}
			// A relay is played with more often than it would be.
			b.WriteString("CHECK_CONNECT_RATELIMIT == ${if match{$sender_host_address}{\\N^(45[.]73[.]|2a10)\\N}{99999}{10}} / 15m\n")
			// All of them fail at the same few accounts.
			b.WriteString("CONNECT_ACCOUNT_HOSTS == ${if match{$sender_host_address}{\\N^45[.]74[.]\\N}{2}{99999}}\n")
			// Only the scenarios that are about it wait for the greeting.
			b.WriteString("CONNECT_GREETING_DELAY == ${if match{$sender_host_address}{\\N^(46|2a0f)\\N}{1}{0}}\n")
		}
	}
	return os.WriteFile(filepath.Join(l.root, "etc/exim4/exim4.conf"), b.Bytes(), 0o644)
}

func (l *lab) start() error {
	if l.set.syslog {
		if err := l.listenSyslog(); err != nil {
			return err
		}
	}
	l.daemon = exec.Command("/usr/sbin/exim4", "-bdf")
	l.daemon.SysProcAttr = &syscall.SysProcAttr{Chroot: l.root, Pdeathsig: syscall.SIGKILL}
	l.daemon.Dir = "/"
	l.daemon.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	l.daemon.Stdout, l.daemon.Stderr = &l.stderr, &l.stderr
	if err := l.daemon.Start(); err != nil {
		return err
	}
	deadline := time.Now().Add(20 * time.Second)
	for _, port := range []string{"25", "587"} {
		for {
			c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
			if err == nil {
				io.WriteString(c, "QUIT\r\n")
				io.Copy(io.Discard, c)
				c.Close()
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("Exim does not listen on %s: %s", port, l.stderr.String())
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	_, err := l.settled("")
	return err
}

func (l *lab) stop() error {
	var err error
	if l.daemon != nil && l.daemon.Process != nil {
		l.daemon.Process.Signal(syscall.SIGTERM)
		// An Exim that has just reaped a child can miss the signal.
		kill := time.AfterFunc(5*time.Second, func() { l.daemon.Process.Kill() })
		l.daemon.Wait()
		kill.Stop()
	}
	return errors.Join(err, unmountRoot(l.dir))
}

// settled waits until Exim has no connection left and, if text is not empty,
// until it has logged text, and returns the lines logged since the last call.
func (l *lab) settled(text string) ([]string, error) {
	deadline := time.Now().Add(60 * time.Second)
	children := fmt.Sprintf("/proc/%d/task/%d/children", l.daemon.Process.Pid, l.daemon.Process.Pid)
	for {
		busy, err := os.ReadFile(children)
		if err != nil {
			return nil, fmt.Errorf("Exim has ended: %w: %s", err, l.stderr.String())
		}
		if !anyAlive(strings.Fields(string(busy))) {
			if l.set.syslog {
				if err := l.mark(); err != nil {
					return nil, err
				}
			}
			new, err := l.log()
			if err != nil {
				return nil, err
			}
			if text == "" || strings.Contains(string(new), text) {
				l.pos += len(new)
				if len(new) == 0 {
					return nil, nil
				}
				return strings.Split(strings.TrimSuffix(string(new), "\n"), "\n"), nil
			}
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("still not settled after a minute (busy %q)", busy)
		}
		time.Sleep(3 * time.Millisecond)
	}
}

// anyAlive leaves out those that have ended and wait for Exim to notice, which
// it may not do before the next connection.
func anyAlive(pids []string) bool {
	for _, pid := range pids {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			continue
		}
		if _, state, ok := strings.Cut(string(stat), ") "); !ok || !strings.HasPrefix(state, "Z") {
			return true
		}
	}
	return false
}

func (l *lab) log() ([]byte, error) {
	if l.set.syslog {
		l.mu.Lock()
		defer l.mu.Unlock()
		return bytes.Clone(l.sys[l.pos:]), nil
	}
	f, err := os.Open(filepath.Join(l.root, "var/log/exim4/mainlog"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(int64(l.pos), io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}

// listenSyslog takes what Exim sends to /dev/log and writes it as rsyslog's
// traditional file format does, control characters escaped as rsyslog escapes
// them.
func (l *lab) listenSyslog() error {
	path := filepath.Join(l.root, "dev/log")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		return err
	}
	l.marks = make(chan struct{}, 1)
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			msg := buf[:n]
			if string(msg) == markText {
				l.marks <- struct{}{}
				continue
			}
			if i := bytes.IndexByte(msg, '>'); i > 0 && msg[0] == '<' {
				msg = msg[i+1:]
			}
			var line bytes.Buffer
			if len(msg) > 16 {
				line.Write(msg[:16]) // "Nov 23 12:00:00 "
				line.WriteString("mail ")
				msg = msg[16:]
			}
			for _, c := range bytes.TrimRight(msg, "\n") {
				if c < 32 {
					fmt.Fprintf(&line, "#%03o", c)
				} else {
					line.WriteByte(c)
				}
			}
			line.WriteByte('\n')
			l.mu.Lock()
			l.sys = append(l.sys, line.Bytes()...)
			l.mu.Unlock()
		}
	}()
	return nil
}

// mark waits until all that Exim has sent to /dev/log has been read: a message
// of our own comes after it.
func (l *lab) mark() error {
	conn, err := net.Dial("unixgram", filepath.Join(l.root, "dev/log"))
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(markText)); err != nil {
		return err
	}
	select {
	case <-l.marks:
		return nil
	case <-time.After(20 * time.Second):
		return errors.New("nobody reads /dev/log")
	}
}

const markText = "<0>MARK"

func writeCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.example.org"},
		DNSNames: []string{"mail.example.org"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{
		"ssl.crt": {Type: "CERTIFICATE", Bytes: cert},
		"ssl.key": {Type: "PRIVATE KEY", Bytes: raw},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, data, 0o644)
	})
}
