// Package exim knows the Exim configuration tree of Symbiosis and Sympl: its
// snippets, how they are built, tested and put in force, what the real Exim
// says about a candidate, and how a candidate greets a host at run time.
package exim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/remedy"
)

// An Installation is the Exim of one hosting system. Programs run inside the
// platform's root: through chroot(2), which needs the superuser, when it is
// not "/".
type Installation struct {
	platform.Platform
}

// Every program has a deadline, so that a hanging one cannot hold up dpkg.
const (
	buildDeadline   = 60 * time.Second
	restartDeadline = 3 * time.Minute
	// Exim tries again to take its port half a minute after it could not.
	upDeadline    = 45 * time.Second
	queryDeadline = 30 * time.Second
)

// Config gives the path of the configuration in force.
func (x Installation) Config() string { return filepath.Join(x.EximDir, "exim4.conf") }

// Draft gives the path where the Makefile builds the next configuration.
func (x Installation) Draft() string { return filepath.Join(x.EximDir, "exim4.conf.tmp") }

// Inside gives a path as programs inside the root see it.
func (x Installation) Inside(path string) string {
	if rel, err := filepath.Rel(x.Root, path); err == nil {
		return "/" + rel
	}
	return path
}

// ErrNoExim says that there is no Exim to ask.
var ErrNoExim = remedy.Add(errors.New("/usr/sbin/exim4 is not installed"), "run: apt-get install exim4-daemon-heavy")

func (x Installation) program(missing error, candidates ...string) (string, error) {
	for _, c := range candidates {
		if st, err := os.Stat(filepath.Join(x.Root, c)); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return c, nil
		}
	}
	return "", missing
}

// command prepares a program inside the root. The sorting of snippets and the
// language of messages depend on the locale, and the variables of a make that
// called us would change what ours does.
func (x Installation) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = x.Inside(x.EximDir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if x.Root != "/" {
		cmd.SysProcAttr.Chroot = x.Root
	}
	for _, kv := range os.Environ() {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MAKEFILES", "LANG", "LANGUAGE", "LC_ALL", "PATH", "PWD":
		default:
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "LC_ALL=C", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// A daemon that inherits our pipes must not keep us waiting for their end.
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// run runs a program to its end and gives what it wrote to both outputs.
func (x Installation) run(ctx context.Context, limit time.Duration, program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var out bytes.Buffer
	cmd := x.command(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("it did not end within %v", limit)
	}
	return out.Bytes(), err
}

// Every Exim that starts asks DNS for the name of its machine, where /etc/hosts
// does not have it, and waits for the answer as long as the C library likes to.
// Those that only answer a question of ours need no name: with this in their
// environment the library does not ask. A configuration that sets dns_retry and
// dns_retrans gets its own patience back. No daemon may inherit it: it would
// never ask anything again.
const noName = "RES_OPTIONS=attempts:0"

// query is run for an Exim that answers a question and ends.
func (x Installation) query(ctx context.Context, limit time.Duration, program string, args ...string) ([]byte, error) {
	return x.run(ctx, limit, "/usr/bin/env", append([]string{noName, program}, args...)...)
}

func oneLine(out []byte) string {
	return strings.Join(strings.Fields(string(out)), " ")
}

// RunAs runs a program inside the root with the rights that Exim's own
// programs have: the user's, its one group, and no other. It gives what the
// program wrote to each output.
func (x Installation) RunAs(ctx context.Context, u User, limit time.Duration, program string, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := x.command(ctx, program, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: []uint32{u.GID}}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("it did not end within %v", limit)
	}
	return out.String(), errs.String(), err
}
