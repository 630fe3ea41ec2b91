package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/urfave/cli/v2"
)

const dnsblKey = "abcdefghij0123456789klmnop"

// hostileText is in presentation form, where \ddd is an octet: line breaks,
// quotes, backslashes, what Exim expands, octets that are not ASCII, and what
// log readers take for a host.
const hostileText = `it's "quoted" \\ \\" verdict=pass $value ${run{/bin/false}} }{ a}b\013\010250 ok\000\255\027 [8.8.8.8] 100% key ` + dnsblKey

// What is to be left of it.
const safeText = `it's 'quoted' / /' verdict=pass _value _(run(/bin/false)) )( a)b 250 ok ? (8.8.8.8) 100% key ***`

// startDNSBL serves lists on one loopback port and returns it: listed.example,
// the same with a key in its zone, allow.example, error.example, and
// silent.example. Any other name does not exist.
func startDNSBL(t *testing.T) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		name := q.Question[0].Name
		hdr := dns.RR_Header{Name: name, Rrtype: q.Question[0].Qtype, Class: dns.ClassINET}
		answer := func(code, text string) {
			if hdr.Rrtype == dns.TypeA {
				m.Answer = append(m.Answer, &dns.A{Hdr: hdr, A: net.ParseIP(code)})
			} else if text != "" {
				m.Answer = append(m.Answer, &dns.TXT{Hdr: hdr, Txt: []string{text}})
			}
		}
		switch {
		case strings.HasSuffix(name, ".listed.example.") || strings.HasSuffix(name, ".dq.spamhaus.net."):
			answer("127.0.0.4", hostileText)
		case strings.HasSuffix(name, ".textless.example."):
			answer("127.0.0.2", "")
		case strings.HasSuffix(name, ".allow.example."):
			answer("127.0.5.1", "")
		case strings.HasSuffix(name, ".error.example."):
			answer("127.255.255.254", "")
		case strings.HasSuffix(name, ".silent.example."):
			return
		default:
			m.Rcode = dns.RcodeNameError
		}
		w.WriteMsg(m)
	})
	started := make(chan struct{})
	srv := &dns.Server{PacketConn: pc, Handler: handler, NotifyStartedFunc: func() { close(started) }}
	go srv.ActivateAndServe()
	<-started
	t.Cleanup(func() { srv.Shutdown() })
	return pc.LocalAddr().String()
}

// runDNSBLApp runs dnsbl inside the test.
func runDNSBLApp(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return runApp(t, append([]string{"dnsbl"}, args...)...)
}

// runApp runs a subcommand that Exim calls inside the test.
func runApp(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	app := &cli.App{
		Commands:       []*cli.Command{dnsblCommand(), hostCommand()},
		Writer:         &out,
		ErrWriter:      &errs,
		ExitErrHandler: func(*cli.Context, error) {},
	}
	err := app.Run(append([]string{"symbiosis-connect-check"}, args...))
	var exit cli.ExitCoder
	switch {
	case errors.As(err, &exit):
		code = exit.ExitCode()
		if exit.Error() != "" {
			t.Errorf("%q: the library would print %q", args, exit)
		}
	case err != nil:
		t.Errorf("%q: %v", args, err)
	}
	return out.String(), errs.String(), code
}

func TestDNSBLVerdicts(t *testing.T) {
	server := startDNSBL(t)
	for _, tt := range []struct {
		args string // split at blanks; the lists have none
		want string
		code int
	}{
		{"--lists=nothing.example 192.0.2.1", `verdict=pass score=0 threshold=1`, 0},
		{"--lists= 192.0.2.1", `verdict=pass score=0 threshold=1`, 0},
		{"192.0.2.1", `verdict=pass score=0 threshold=1`, 0},
		{"--lists=listed.example*3 192.0.2.1",
			`verdict=deny score=3 threshold=1 list="listed.example" code=127.0.0.4 text="` + safeText + `" hits="listed.example 127.0.0.4 +3"`, 0},
		{"--lists=textless.example:listed.example*3 --threshold=4 192.0.2.1",
			`verdict=deny score=4 threshold=4 list="listed.example" code=127.0.0.4 text="` + safeText + `" hits="textless.example 127.0.0.2 +1, listed.example 127.0.0.4 +3"`, 0},
		{"--lists=allow.example*-2:nothing.example*2 --threshold=3 192.0.2.1", `verdict=pass score=0 threshold=3`, 0},
		{"--lists=textless.example [2001:DB8::1]",
			`verdict=deny score=1 threshold=1 list="textless.example" code=127.0.0.2 text="the operator of textless.example" hits="textless.example 127.0.0.2 +1"`, 0},
		{"--lists=" + dnsblKey + ".zen.dq.spamhaus.net ::ffff:192.0.2.1",
			`verdict=deny score=1 threshold=1 list="***.zen.dq.spamhaus.net" code=127.0.0.4 text="` + safeText + `" hits="***.zen.dq.spamhaus.net 127.0.0.4 +1"`, 0},
		{"--lists=error.example=127.0.0.2:error.example=127.0.0.3 192.0.2.1",
			`verdict=pass score=0 threshold=1 skipped="error.example: answered 127.255.255.254: the query came through a public resolver; ask through a resolver of your own, or use a Data Query Service key"`, 0},
		{"--lists=silent.example --timeout=100ms 192.0.2.1",
			`verdict=pass score=0 threshold=1 skipped="silent.example: no answer within 100ms; if this lasts, the list or the resolver is down: test the list, and take it out if it is gone"`, 0},
		{"--lists=a.example", `verdict=pass score=0 skipped="wrong command line: expected one ADDRESS after the options"`, 64},
		{"--lists=a.example 192.0.2.1 192.0.2.2", `verdict=pass score=0 skipped="wrong command line: expected one ADDRESS after the options"`, 64},
		{"--lists=a.example host.example", `verdict=pass score=0 skipped="wrong command line: 'host.example' is not an IP address"`, 64},
		{"--lists=a.example fe80::1%lo", `verdict=pass score=0 skipped="wrong command line: 'fe80::1%lo' is not an IP address"`, 64},
		{"--lists=" + dnsblKey + ".zen.dq.spamhaus.net=1 192.0.2.1",
			`verdict=pass score=0 skipped="DNSBL item '***.zen.dq.spamhaus.net=1': expected a code such as 127.0.0.2 or 127.0.0.(2;3;4..7): four numbers from 0 to 255, or sets of them in brackets, with a dot between them"`, 64},
		{"--threshold=0 192.0.2.1", `verdict=pass score=0 skipped="CHECK_CONNECT_DNSBL_THRESHOLD is '0': write CHECK_CONNECT_DNSBL_THRESHOLD == 1, or another value: a whole number of 1 or more"`, 64},
		{"--timeout=0s 192.0.2.1", `verdict=pass score=0 skipped="CHECK_CONNECT_DNSBL_TIMEOUT is '0s': write CHECK_CONNECT_DNSBL_TIMEOUT == 2s, or another value: a time such as 2s"`, 64},
		{"--timeout=soon 192.0.2.1", `verdict=pass score=0 skipped="CHECK_CONNECT_DNSBL_TIMEOUT is 'soon': write CHECK_CONNECT_DNSBL_TIMEOUT == 2s, or another value: a time such as 2s"`, 64},
		{"--server=dns.example 192.0.2.1", `verdict=pass score=0 skipped="wrong command line: --server: resolver 'dns.example': expected an IP address, or ADDRESS:PORT with an IPv6 address in brackets"`, 64},
		{"--unknown 192.0.2.1", `verdict=pass score=0 skipped="wrong command line: flag provided but not defined: -unknown"`, 64},
		{"--lists=a.example --resolv-conf=/ 192.0.2.1", `verdict=pass score=0 threshold=1 skipped="resolvers: read /: is a directory"`, 0},
	} {
		args := strings.Fields(tt.args)
		if !strings.Contains(tt.args, "--server") && !strings.Contains(tt.args, "--resolv-conf") {
			args = append([]string{"--server", server}, args...)
		}
		stdout, stderr, code := runDNSBLApp(t, args...)
		if stdout != tt.want+"\n" || code != tt.code {
			t.Errorf("%s\ngot  %d %s\nwant %d %s", tt.args, code, stdout, tt.code, tt.want)
		}
		if stderr != "" {
			t.Errorf("%s: on standard error, which Exim takes for output: %s", tt.args, stderr)
		}
		// With --verbose the line is the same, and the reason is told, unless
		// the options could not be read, and so neither could --verbose.
		verbose, stderr, code := runDNSBLApp(t, append([]string{"--verbose"}, args...)...)
		if verbose != stdout || code != tt.code {
			t.Errorf("%s: with --verbose %d %s", tt.args, code, verbose)
		}
		if skipped := strings.Contains(stdout, " skipped="); skipped != (stderr != "") && !strings.Contains(stdout, " flag ") && !strings.Contains(stdout, "flag provided") || strings.Contains(stderr, dnsblKey) {
			t.Errorf("%s: --verbose says %q", tt.args, stderr)
		}
	}
}

// buildCheck builds the command as it is run by Exim.
func buildCheck(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "symbiosis-connect-check")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

// Whatever hangs, the process ends and the host goes on: here the file that
// names the resolvers is a pipe that nobody writes to.
func TestDNSBLHardStop(t *testing.T) {
	program := buildCheck(t)
	fifo := filepath.Join(t.TempDir(), "resolv.conf")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "dnsbl", "--lists", "a.example", "--timeout", "50ms", "--resolv-conf", fifo, "192.0.2.1")
	kill := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer kill.Stop()
	out, err := cmd.CombinedOutput()
	want := "verdict=pass score=0 threshold=1 skipped=\"no result within 50ms; see that the system's resolvers work\"\n"
	if err != nil || string(out) != want {
		t.Errorf("got %q, %v; want %q", out, err, want)
	}
}

// The verdict as Exim's ${run} and ${extract} see it. CONNECT_ACL_EXIM_ROOTS
// may name further Debian roots, separated by colons, whose Exims are to read
// the same line.
func TestDNSBLVerdictInExim(t *testing.T) {
	exim, err := exec.LookPath("exim4")
	if err != nil {
		t.Skip("exim4 is not installed")
	}
	server := startDNSBL(t)
	// A short name, because -be takes 256 characters.
	dir, err := os.MkdirTemp("/tmp", "c")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "c")
	if err := os.Symlink(buildCheck(t), program); err != nil {
		t.Fatal(err)
	}
	expand := func(root, expr string) string {
		args := []string{exim, "-C", "/dev/null", "-be", expr}
		if root != "" {
			args = append([]string{"chroot", root}, args...)
		}
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v", expr, err)
		}
		return strings.TrimSuffix(string(out), "\n")
	}
	for lists, want := range map[string]map[string]string{
		dnsblKey + ".zen.dq.spamhaus.net=127.0.0.[2..7;9]": {
			"verdict": "deny", "score": "1", "threshold": "1", "list": "***.zen.dq.spamhaus.net", "code": "127.0.0.4",
			"text": safeText, "hits": "***.zen.dq.spamhaus.net 127.0.0.4 +1", "other": "",
		},
		"error.example*-1 : error.example=127.0.0.9": {
			"verdict": "pass", "score": "0", "list": "",
			"skipped": "error.example: answered 127.255.255.254: the query came through a public resolver; ask through a resolver of your own, or use a Data Query Service key",
		},
	} {
		args := []string{"dnsbl", "--server", server, "--threshold", "1", "--lists", lists, "192.0.2.1"}
		quoted := fmt.Sprintf(`%s dnsbl --server %s --threshold 1 --lists "%s" 192.0.2.1`, program, server, lists)
		for key, value := range want {
			if got := expand("", fmt.Sprintf(`<${extract{%s}{${run{%s}{$value}{failed $runrc}}}}>`, key, quoted)); got != "<"+value+">" {
				t.Errorf("%s: got %s, want <%s>", key, got, value)
			}
		}
		for _, root := range filepath.SplitList(os.Getenv("CONNECT_ACL_EXIM_ROOTS")) {
			line, err := exec.Command(program, args...).Output()
			if err != nil {
				t.Fatal(err)
			}
			dir, err := os.MkdirTemp(filepath.Join(root, "tmp"), "dnsbl-")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			if err := os.WriteFile(filepath.Join(dir, "line"), line, 0o644); err != nil {
				t.Fatal(err)
			}
			inside := filepath.Join("/tmp", filepath.Base(dir), "line")
			for key, value := range want {
				if got := expand(root, fmt.Sprintf(`<${extract{%s}{${run{/bin/cat %s}{$value}{failed $runrc}}}}>`, key, inside)); got != "<"+value+">" {
					t.Errorf("%s: %s: got %s, want <%s>", root, key, got, value)
				}
			}
		}
	}
}
