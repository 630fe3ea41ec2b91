package lab

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A Dovecot is the password server of a root, as the platform has it: Exim asks it
// about AUTH PLAIN and AUTH LOGIN. It reads names and passwords from a file.
type Dovecot struct {
	root      *Root
	cmd       *exec.Cmd
	out       bytes.Buffer
	written   time.Time // what the file says
	passwords map[string]string
	t         testing.TB
}

// dovecotUsers is that file. As on the platform each domain has one of its own, so
// dovecot takes users for unknown when the file is not there.
const (
	dovecotUsers  = "/etc/dovecot/example.org"
	dovecotUsers3 = "/etc/dovecot/%d"
	dovecotUsers4 = "/etc/dovecot/%{user | domain}"
)

// NewDovecotRoot gives a root with Debian's dovecot beside Exim, which asks it,
// and with more packages if some are named. StartDovecot starts it.
func NewDovecotRoot(t testing.TB, suite, platform string, packages ...string) *Root {
	t.Helper()
	r := newRoot(t, suite, platform, append(slices.Clone(includeDovecot), packages...))
	for name, file := range map[string]string{"PLAIN": "10-plain", "LOGIN": "20-login"} {
		path := r.SnippetDir() + "/60-authenticators/" + file
		r.Write(path, name+":\n  driver = dovecot\n  public_name = "+name+"\n  server_socket = /run/dovecot/auth-client\n"+
			"  server_set_id = $auth1\n  server_advertise_condition = ${if eq{$tls_in_cipher}{}{no}{yes}}\n", 0o644)
	}
	config := "log_path = /var/log/dovecot.log\nprotocols =\nssl = no\nauth_mechanisms = plain login\nauth_failure_delay = 0\n" +
		"service auth {\n  unix_listener auth-client {\n    mode = 0666\n  }\n}\n" +
		// It would make a host that has failed wait.
		"service anvil {\n  unix_listener anvil-auth-penalty {\n    mode = 0\n  }\n}\n"
	if version := r.Run("dovecot", "--version"); strings.HasPrefix(version, "2.4") {
		config = "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n" + config +
			"passdb passwd-file {\n  passwd_file_path = " + dovecotUsers4 + "\n}\nuserdb static {\n}\n"
	} else {
		config += "passdb {\n  driver = passwd-file\n  args = " + dovecotUsers3 + "\n}\nuserdb {\n  driver = static\n}\n"
	}
	r.Write("etc/dovecot/dovecot.conf", config, 0o644)
	r.Make("exim4.conf")
	return r
}

// StartDovecot starts it, with these names and their passwords, and with more
// variables of its environment.
func StartDovecot(t testing.TB, r *Root, passwords map[string]string, env ...string) *Dovecot {
	t.Helper()
	d := &Dovecot{root: r, written: time.Now().Add(-time.Hour), t: t}
	d.Users(passwords)
	d.cmd = r.Command("dovecot", "-F")
	d.cmd.Env = append(d.cmd.Env, env...)
	d.cmd.Stdout, d.cmd.Stderr = &d.out, &d.out
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, d.cmd.Start())
	t.Cleanup(func() {
		syscall.Kill(-d.cmd.Process.Pid, syscall.SIGTERM)
		d.cmd.Wait()
	})
	deadline := time.Now().Add(30 * time.Second)
	for {
		c, err := net.Dial("unix", r.Path("run/dovecot/auth-client"))
		if err == nil {
			c.Close()
			return d
		}
		if time.Now().After(deadline) {
			t.Fatalf("dovecot does not listen: %v\n%s", err, &d.out)
		}
		time.Sleep(10 * time.Millisecond) // between two looks at a condition
	}
}

// Users writes the file of names and passwords, and waits until dovecot goes by it:
// it looks once a second. nil takes the file away, which is one way for a password
// server to be out of order.
func (d *Dovecot) Users(passwords map[string]string) {
	d.t.Helper()
	before := d.passwords
	d.passwords = passwords
	if passwords == nil {
		d.root.Run("rm", "-f", dovecotUsers)
		for name, password := range before {
			d.until(name, password, false)
		}
		return
	}
	var b strings.Builder
	for name, password := range passwords {
		fmt.Fprintf(&b, "%s:{PLAIN}%s\n", name, password)
	}
	d.root.Write(dovecotUsers, b.String(), 0o644)
	// dovecot reads it again when its time is another second.
	d.written = d.written.Add(time.Second)
	must(d.t, os.Chtimes(d.root.Path(dovecotUsers), d.written, d.written))
	if d.cmd != nil {
		for name, password := range passwords {
			d.until(name, password, true)
		}
	}
}

// until waits until dovecot takes a password, or does not.
func (d *Dovecot) until(name, password string, right bool) {
	d.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		out, code := d.root.Try("doveadm", "auth", "test", name, password)
		if (code == 0) == right {
			return
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("dovecot says of %s's password: %s", name, out)
		}
		time.Sleep(10 * time.Millisecond) // between two looks at a condition
	}
}
