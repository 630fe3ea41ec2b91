package report

import (
	"io"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"symbiosis-connect-acl/tests/lab"
)

// On an installed server the log is where Exim says; the report goes out through
// its Exim, when cron asks for it and somebody wants it; and no name of an
// account leaves the machine unless asked for.
func TestMail(t *testing.T) {
	r := lab.NewRoot(t, lab.DefaultSuite, "symbiosis")
	r.Install()
	data, err := os.ReadFile("testdata/week.log")
	must(t, err)
	r.Write("var/log/exim4/mainlog.1", string(data), 0o640)
	end := time.Date(2026, 11, 22, 23, 59, 0, 0, time.UTC)
	must(t, os.Chtimes(r.Path("var/log/exim4/mainlog.1"), end, end))
	report := func(args ...string) string {
		t.Helper()
		return r.Run("symbiosis-connect-db", append([]string{"--now", "2026-11-23T00:00:00Z", "report"}, args...)...)
	}
	if out := report(); !strings.Contains(out, "\n  history              12          0          2\n") {
		t.Errorf("it has not read mainlog.1:\n%s", out)
	}
	inbox := r.Path("srv/example.org/mailboxes/user/Maildir/new")
	seen := map[string]bool{}
	arrived := func() (*mail.Message, string) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) { // between two looks at a condition
			found, _ := filepath.Glob(inbox + "/*")
			for _, path := range found {
				if seen[path] {
					continue
				}
				seen[path] = true
				f, err := os.Open(path)
				must(t, err)
				defer f.Close()
				m, err := mail.ReadMessage(f)
				must(t, err)
				body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
				must(t, err)
				return m, string(body)
			}
		}
		log, _ := os.ReadFile(r.Path("var/log/exim4/mainlog"))
		t.Fatalf("no mail has come:\n%s", log)
		return nil, ""
	}

	if out := report("--scheduled", "weekly") + report("--scheduled", "hourly"); out != "" {
		t.Errorf("nobody has asked for it: %q", out)
	}
	r.Append("etc/default/symbiosis-connect-acl", "CONNECT_ACL_REPORT_MAIL=user@example.org\nCONNECT_ACL_METRICS=/var/lib/connect-acl.prom\n")
	if out := report("--scheduled", "weekly") + report("--scheduled", "hourly"); out != "" {
		t.Errorf("cron would mail this: %q", out)
	}
	m, body := arrived()
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil || subject != "mail.example.org: at the door, 2026-11-16 00:00 to 2026-11-23 00:00" {
		t.Errorf("subject %q, %v", subject, err)
	}
	if !strings.Contains(body, "FIRST THE WORRY") || strings.Contains(body, "info@example.org") {
		t.Errorf("the mail:\n%s", body)
	}
	if !strings.Contains(r.Read("var/lib/connect-acl.prom"), `connect_acl_refusals{rule="history",port="25",verdict="refused"} 1`+"\n") { // of the last day
		t.Errorf("the metrics:\n%s", r.Read("var/lib/connect-acl.prom"))
	}

	report("--mail", "user@example.org", "--format", "html", "--names")
	if m, body = arrived(); !strings.HasPrefix(m.Header.Get("Content-Type"), "text/html") || !strings.Contains(body, "info@example.org") || !strings.Contains(body, "</html>") {
		t.Errorf("the page as a mail: %v\n%.300s", m.Header, body)
	}
	for _, bad := range []string{"-oQ/tmp", "a b", "a@b.example,c@d.example", "x\nBcc: y@example.org"} {
		if out, code := r.Try("symbiosis-connect-db", "report", "--mail="+bad); code != 2 || !strings.Contains(out, "--mail") {
			t.Errorf("--mail=%q: exit code %d, %s", bad, code, out)
		}
	}
}
