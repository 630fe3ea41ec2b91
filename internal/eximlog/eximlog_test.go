package eximlog

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"symbiosis-connect-acl/internal/address"
)

// Every text that the rules write is in the vocabulary, so that none is missing
// from the report when a rule is added.
func TestVocabularyIsWhole(t *testing.T) {
	const tree = "../../symbiosis.d"
	text := regexp.MustCompile(`(?m)^[^#\n]*?\b(log_message|logwrite) *= *(.*)$`)
	seen := 0
	ask := func(path, line string) {
		t.Helper()
		var p Parser
		if without := strings.Replace(line, "<expanded>", "", 1); line == "connect-acl: <expanded>" || line == "connect-acl: " {
			return // another text's words
		} else if _, ok := p.Line([]byte("2026-11-26 12:00:00 " + without)); ok {
			line = without
		}
		if e, ok := p.Line([]byte("2026-11-26 12:00:00 " + line)); !ok || e.Kind == None || e.Kind == Refused && e.Rule == Other {
			t.Errorf("%s: the vocabulary does not have %q (%+v)", path, line, e)
		}
		seen++
	}
	err := filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		s := regexp.MustCompile(`\\\n\s*`).ReplaceAllString(string(data), "")
		var texts [][]string
		for _, m := range text.FindAllStringSubmatch(s, -1) {
			variable := regexp.MustCompile(`\$(acl_c_connect_\w+_why)`).FindStringSubmatch(m[2])
			if variable == nil {
				texts = append(texts, m)
				continue
			}
			for _, v := range regexp.MustCompile(`(?m)set `+variable[1]+` *= *(.+)$`).FindAllStringSubmatch(s, -1) {
				texts = append(texts, []string{"", m[1], strings.Replace(m[2], variable[0], v[1], 1)})
			}
		}
		for _, m := range texts {
			m[2] = expand(m[2])
			if m[1] == "logwrite" {
				ask(path, m[2])
				continue
			}
			verb := "Warning: "
			if strings.HasPrefix(m[2], "Blacklisted") || strings.HasPrefix(m[2], "192.0.2.1 is") || m[2] == "no reverse name" || strings.HasPrefix(m[2], "Sender deferred") {
				verb = `rejected connection in "connect" ACL: `
			}
			ask(path, "H=[192.0.2.1] "+verb+m[2])
		}
		for _, m := range regexp.MustCompile(`[}{](connect-acl: [^}]*)`).FindAllStringSubmatch(s, -1) {
			ask(path, expand(m[1]))
		}
		return nil
	})
	if err != nil || seen < 25 {
		t.Errorf("%v; %d texts", err, seen)
	}
}

// expand puts something into Exim's variables and macros.
func expand(s string) string {
	s = strings.ReplaceAll(s, "$sender_host_address", "192.0.2.1")
	for strings.Contains(s, "${") {
		i := strings.Index(s, "${")
		depth, j := 0, i
		for ; j < len(s); j++ {
			if s[j] == '{' {
				depth++
			} else if s[j] == '}' {
				if depth--; depth == 0 {
					break
				}
			}
		}
		if j == len(s) {
			return s[:i]
		}
		s = s[:i] + "<expanded>" + s[j+1:]
	}
	return regexp.MustCompile(`\$\w+`).ReplaceAllString(s, "1")
}

// Whatever attackers said to four real Exims, with every way of logging: a line
// is about the host that it came from, or about none.
func TestNobodyIsFramed(t *testing.T) {
	f, err := os.Open("../../tests/corpus/corpus.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	named, failed, missed := 0, 0, map[string]int{}
	for n := 1; sc.Scan(); n++ {
		c := bytes.SplitN(sc.Bytes(), []byte("\t"), 7)
		if len(c) < 7 || c[0][0] == '#' || string(c[3]) == "relay" { // several relays speak at once there
			continue
		}
		var p Parser
		e, ok := p.Line(c[6])
		if ok && e.Host.IsValid() {
			named++
			peer, err := netip.ParseAddr(string(c[4]))
			if err != nil || address.FromAddr(peer) != address.FromAddr(e.Host) {
				t.Errorf("line %d: %q is about %s, not %s (%+v)", n, c[6], c[4], e.Host, e)
			}
			if e.Kind == Failed {
				failed++
			}
		} else if bytes.Contains(c[6], []byte("Incorrect authentication data")) && bytes.HasPrefix(c[5], []byte("auth-failed")) {
			missed[string(c[0])+" "+string(c[1])]++
		}
	}
	if named < 10000 || failed < 1000 {
		t.Errorf("%d lines name a host, %d a failed login: too few for a test", named, failed)
	}
	t.Logf("%d lines name a host; failed logins: %d read, passed over %v", named, failed, missed)
}

func TestLine(t *testing.T) {
	at := time.Date(2026, 11, 26, 12, 0, 5, 0, time.Local).Unix()
	for _, c := range []struct {
		line string
		want string // kind, rule, host, port, detail
	}{
		{`H=(none) [192.0.2.1] Warning: would deny: history (count 12, threshold 10)`, "would history 192.0.2.1 0 "},
		{`H=mx.example.org [192.0.2.1]:2525 I=[10.0.0.1]:587 rejected connection in "connect" ACL: Blacklisted: Denied access - history of unwanted activity (count 12, threshold 10)`, "refused history 192.0.2.1 587 "},
		{`[4711] H=[2001:db8::1] temporarily rejected connection in "connect" ACL: Sender deferred 12.5 / 15m`, "put off rate 2001:db8::1 0 12.5/15m"},
		{`H=[192.0.2.1] rejected connection in "connect" ACL: 192.0.2.1 is blacklisted at zen.spamhaus.org (127.0.0.4, score 3)`, "refused dnsbl 192.0.2.1 0 zen.spamhaus.org score 3"},
		{`H=[192.0.2.1] I=[10.0.0.1]:465 dropped by 'connect' ACL: Blacklisted: Denied access - recent offences (4)`, "refused offences 192.0.2.1 465 "},
		{`connect-acl: refused login from [192.0.2.1]: account under attack`, "put off account 192.0.2.1 0 "},
		{`connect-acl: failed login again from [192.0.2.1] (set_id=bob)`, "failed auth 192.0.2.1 0 bob"},
		{`H=[192.0.2.1] rejected connection in "connect" ACL: I do not like you`, "refused other 192.0.2.1 0 "},
		{`H=(a) [192.0.2.1] X=TLS1.3:ECDHE:256 CV=no SNI="a Warning: x" Warning: host database skipped: it is locked`, "skipped other 192.0.2.1 0 it is locked"},
		{`1xWiOU-000000002cC-3oSU <= "a H=(x) [8.8.8.8] P=smtp"@b.example H=mx (y) [192.0.2.1] P=esmtp S=1 T="A=b"`, "delivered other 192.0.2.1 0 "},
		{`1xWiZA-000AIm-0o <= a@b.example H=(y) [192.0.2.1] P=esmtpsa X=TLS A=dovecot_plain:u S=1`, "logged in other 192.0.2.1 0 "},
		{`dovecot_login authenticator failed for (x) [192.0.2.1]: 535 Incorrect authentication data (set_id=bob@example.org)`, "failed auth 192.0.2.1 0 bob@example.org"},
		{`connect-acl: failed login from [192.0.2.1] (set_id=bob)`, "failed auth 192.0.2.1 0 bob"},
		{`connect-acl: too many failed logins from [192.0.2.1]`, "offence auth 192.0.2.1 0 "},
		{`connect-acl: refused login from [192.0.2.1]: too many have failed`, "put off auth 192.0.2.1 0 "},
		// Who could have written these?
		{`H=(x) [8.8.8.8] Warning: would deny: history) [192.0.2.1] rejected EHLO`, ""},
		{`SMTP protocol error in "AUTH LOGIN" H=(a) [8.8.8.8] AUTH command used when not advertised" H=(b) [192.0.2.1] AUTH command used when not advertised`, ""},
		{`SMTP protocol error in "AUTH LOGIN" H=(b) [192.0.2.1] AUTH command used when not advertised`, "offence other 192.0.2.1 0 "},
		{`H=a b [8.8.8.8] rejected connection in "connect" ACL: no reverse name`, ""},
		{`H=([8.8.8.8] x) [192.0.2.1] Warning: would deny: history (`, "would history 192.0.2.1 0 "},
	} {
		var p Parser
		e, ok := p.Line([]byte("2026-11-26 12:00:05 " + c.line))
		got := ""
		if ok {
			kind := []string{"none", "refused", "put off", "would", "delay", "spared", "skipped", "lists", "failed", "delivered", "logged in", "measured", "noted", "offence"}[e.Kind]
			got = fmt.Sprintf("%s %s %s %d %s", kind, e.Rule, e.Host, e.Port, e.Detail)
			if e.Rate != 0 {
				got += fmt.Sprintf("%g/%s", e.Rate, e.Period)
			}
			if e.Score != 0 {
				got += fmt.Sprintf(" score %d", e.Score)
			}
			if e.At != at {
				t.Errorf("%s: at %d, not %d", c.line, e.At, at)
			}
		}
		if got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.line, got, c.want)
		}
	}
}

func TestClock(t *testing.T) {
	for _, line := range []string{
		"2026-11-26 12:00:05 x", "2026-11-26 12:00:05.123 x", "Nov 26 12:00:05 mail exim[45110]: 2026-11-26 12:00:05 x",
		"2026-11-26 12:00:05.123 " + time.Date(2026, 11, 26, 12, 0, 5, 0, time.Local).Format("-0700") + " x",
	} {
		var c clock
		at, rest, ok := c.time([]byte(line))
		if !ok || string(rest) != "x" || at != time.Date(2026, 11, 26, 12, 0, 5, 0, time.Local).Unix() {
			t.Errorf("%s: %d %q %v", line, at, rest, ok)
		}
	}
	var c clock
	if at, _, _ := c.time([]byte("2026-11-26 12:00:05 +0330 x")); at != time.Date(2026, 11, 26, 8, 30, 5, 0, time.UTC).Unix() {
		t.Errorf("a zone: %v", time.Unix(at, 0).UTC())
	}
}

// Rotated logs are read in order, a damaged one as far as it goes, and that is
// said.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "mainlog")
	var want int
	for day, name := range []string{"mainlog.3.gz", "mainlog.2.gz", "mainlog.1", "mainlog"} {
		var b bytes.Buffer
		for i := range 20000 {
			fmt.Fprintf(&b, "2026-11-2%d %02d:%02d:%02d H=[192.0.2.%d] rejected connection in \"connect\" ACL: no reverse name\n", day+1, i/3600, i/60%60, i%60, i%250)
			want++
		}
		b.WriteString(strings.Repeat("x", 3*chunk) + "\n")
		data := b.Bytes()
		if strings.HasSuffix(name, ".gz") {
			var z bytes.Buffer
			w := gzip.NewWriter(&z)
			w.Write(data)
			w.Close()
			data = z.Bytes()
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Date(2026, 11, 22+day, 0, 0, 0, 0, time.Local)); err != nil {
			t.Fatal(err)
		}
	}
	read := func(since time.Time) (n int, problems []error) {
		t.Helper()
		files, err := Files(log, since)
		if err != nil {
			t.Fatal(err)
		}
		last := int64(0)
		problems, err = Read(context.Background(), files, since, time.Date(2100, 1, 1, 0, 0, 0, 0, time.Local), func(e *Event) {
			if e.At < last {
				t.Fatalf("%v after %v", time.Unix(e.At, 0), time.Unix(last, 0))
			}
			n, last = n+1, e.At
		}, func(int64) {})
		if err != nil {
			t.Fatal(err)
		}
		return n, problems
	}
	if n, problems := read(time.Time{}); n != want || len(problems) > 0 {
		t.Errorf("%d events, want %d; %v", n, want, problems)
	}
	if n, _ := read(time.Date(2026, 11, 24, 1, 0, 0, 0, time.Local)); n != 20000-3600 {
		t.Errorf("since one o'clock of the last day: %d", n)
	}
	gz := filepath.Join(dir, "mainlog.2.gz")
	data, _ := os.ReadFile(gz)
	os.WriteFile(gz, data[:len(data)/2], 0o600)
	os.Chtimes(gz, time.Time{}, time.Date(2026, 11, 23, 0, 0, 0, 0, time.Local))
	if n, problems := read(time.Time{}); n >= want || n < want-20000 || len(problems) != 1 || !strings.Contains(problems[0].Error(), "mainlog.2.gz") {
		t.Errorf("a damaged file: %d events; %v", n, problems)
	}
	if _, err := Files(filepath.Join(dir, "none"), time.Time{}); err == nil {
		t.Error("no log, and no error")
	}
}
