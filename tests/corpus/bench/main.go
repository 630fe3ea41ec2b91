// Command bench measures how fast logs are searched for our patterns: by
// symbiosis-connect-patterns, by the Ruby loop that Symbiosis runs, and by
// fail2ban-regex.
//
//	go run ./tests/corpus/bench -size 1024
//
// The log is made of the corpus and of ordinary deliveries, about one offence
// in fifty lines. The slow ones get a piece of it, and their rate is what
// counts.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"symbiosis-connect-acl/tests/corpus"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	size := flag.Int64("size", 1024, "`MiB` of log for symbiosis-connect-patterns")
	slow := flag.Int64("slow", 64, "`MiB` of log for the others")
	repo := flag.String("repo", ".", "`directory` of the checkout")
	flag.Parse()
	tmp, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	tool, patterns := filepath.Join(tmp, "tool"), filepath.Join(*repo, "patterns.d/exim4.patterns")
	build := exec.Command("go", "build", "-o", tool, "./cmd/symbiosis-connect-patterns")
	build.Dir, build.Stderr = *repo, os.Stderr
	if err := build.Run(); err != nil {
		return err
	}
	entries, err := corpus.Load(filepath.Join(*repo, "tests/corpus/corpus.tsv"))
	if err != nil {
		return err
	}
	big, small := filepath.Join(tmp, "big"), filepath.Join(tmp, "small")
	if err := makeLog(big, *size<<20, entries); err != nil {
		return err
	}
	if err := makeLog(small, *slow<<20, entries); err != nil {
		return err
	}
	failregex, err := fail2banFilter(tmp, patterns)
	if err != nil {
		return err
	}
	fmt.Printf("%-28s %8s %9s %8s\n", "", "MiB", "seconds", "MB/s")
	// found is what a program prints that has found offences; one that has found
	// none was fast for nothing.
	measure := func(name, log string, cmd *exec.Cmd, found string) (float64, error) {
		st, err := os.Stat(log)
		if err != nil {
			return 0, err
		}
		begin := time.Now()
		out, err := cmd.CombinedOutput()
		seconds := time.Since(begin).Seconds()
		if err != nil {
			return 0, fmt.Errorf("%s: %w: %.2000s", name, err, out)
		}
		if !regexp.MustCompile(found).Match(out) {
			return 0, fmt.Errorf("%s found no offence: %.2000s", name, out)
		}
		rate := float64(st.Size()) / seconds / 1e6
		fmt.Printf("%-28s %8d %9.2f %8.1f\n", name, st.Size()>>20, seconds, rate)
		return rate, nil
	}
	ours, err := measure("symbiosis-connect-patterns", big, exec.Command(tool, "test", "--log", big, patterns), ` [1-9][0-9]* taken`)
	if err != nil {
		return err
	}
	in, err := os.Open(small)
	if err != nil {
		return err
	}
	defer in.Close()
	loop := exec.Command("ruby", filepath.Join(*repo, "tests/corpus/engine.rb"), patterns)
	loop.Stdin = in
	cmdOut, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer cmdOut.Close()
	ruby, err := measure("Ruby loop", small, loop, `(?m)^[0-9]+ [0-9]`)
	if err != nil {
		return err
	}
	if _, err := exec.LookPath("fail2ban-regex"); err == nil {
		if _, err := measure("fail2ban-regex", small, exec.Command("fail2ban-regex", "--no-check-all", "-d", "^{^LN-BEG}", small, failregex), `Failregex: [1-9]`); err != nil {
			return err
		}
	}
	fmt.Printf("symbiosis-connect-patterns is %.0f times as fast as the Ruby loop\n", ours/ruby)
	return nil
}

// makeLog writes a log of about size bytes.
func makeLog(path string, size int64, entries []corpus.Entry) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	ordinary := []string{
		`%s 1rABcD-0003Ki-2f <= someone@example.net H=mail.example.net [198.51.100.%d] P=esmtps X=TLS1.3:ECDHE_X25519__RSA_PSS_RSAE_SHA256__AES_256_GCM:256 CV=no SNI="mail.example.org" S=31876 id=abc.%d@example.net`,
		`%s 1rABcD-0003Ki-2f => user%d <user%d@example.org> R=vhost_mailbox T=vhost_maildir`,
		`%s 1rABcD-0003Ki-2f Completed`,
		`%s no host name found for IP address 198.51.100.%d`,
		`%s 1rABcE-0003Kj-11 ** someone@example.com R=dnslookup T=remote_smtp H=mx.example.com [203.0.113.%d]: SMTP error from remote mail server after RCPT TO:<someone@example.com>: 550 5.1.1 User unknown (%d)`,
		`%s H=(client.example.net) [203.0.113.%d] F=<a@example.net> rejected RCPT <b%d@example.org>: Unrouteable address`,
		`%s TLS error on connection from scanner.example.net [203.0.113.%d] (gnutls_handshake): timed out`,
	}
	var written int64
	for n := 0; written < size; n++ {
		var line string
		if n%50 == 0 {
			line = entries[(n/50)%len(entries)].Line
		} else {
			form := ordinary[n%len(ordinary)]
			args := []any{fmt.Sprintf("2026-11-%02d %02d:%02d:%02d", 1+n/86400%28, n/3600%24, n/60%60, n%60), n % 254, n}
			line = fmt.Sprintf(form, args[:strings.Count(form, "%")]...)
		}
		m, err := fmt.Fprintln(w, line)
		if err != nil {
			return err
		}
		written += int64(m)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// fail2banFilter says the same patterns in fail2ban's words.
func fail2banFilter(dir, patterns string) (string, error) {
	data, err := os.ReadFile(patterns)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("[Definition]\nfailregex =")
	for _, line := range strings.Split(string(data), "\n") {
		if strings.HasPrefix(line, "^") {
			b.WriteString(" " + strings.ReplaceAll(strings.ReplaceAll(line, "__IP__", "<HOST>"), "%", "%%") + "\n   ")
		}
	}
	path := filepath.Join(dir, "filter.conf")
	return path, os.WriteFile(path, []byte(b.String()+"\n"), 0o644)
}
