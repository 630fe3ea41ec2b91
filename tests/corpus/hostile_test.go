package corpus

import (
	"strings"
	"testing"
	"time"
)

// A client decides what stands in a line and how long it is, up to 8 KB. None
// of it may keep a backtracking engine busy, or one client could stop the
// firewall from reading its log. The deadline only guards against hanging: the
// whole takes a second or two.
func TestHostileLinesAreCheap(t *testing.T) {
	starts := []string{
		`2026-11-23 12:00:00 `,
		`2026-11-23 12:00:00 H=(`,
		`2026-11-23 12:00:00 H=[192.0.2.1]`,
		`2026-11-23 12:00:00 H=(a) [192.0.2.1] rejected AUTH `,
		`2026-11-23 12:00:00 LOGIN authenticator failed for (`,
		`2026-11-23 12:00:00 LOGIN authenticator failed for (a) [192.0.2.1]: 535 Incorrect authentication data (set_id=`,
		`2026-11-23 12:00:00 SMTP protocol error in "AUTH `,
		`2026-11-23 12:00:00 SMTP protocol synchronization error (input sent without waiting for greeting): rejected connection from H=[192.0.2.1]`,
		`2026-11-23 12:00:00 rejected EHLO from [192.0.2.1]: syntactically invalid argument(s): `,
		`2026-11-23 12:00:00 LOGIN authenticator failed for H=(`,
		`2026-11-23 12:00:00 rejected EHLO from (a) [192.0.2.1]: syntactically invalid argument(s): `,
		`2026-11-23 12:00:00 SMTP call from [192.0.2.1] dropped: too many unrecognized commands (last was "`,
		`2026-11-23 12:00:00 SMTP call from [192.0.2.1] dropped: too many syntax or protocol errors (last command was "`,
		`Nov 23 12:00:00 host exim: `,
	}
	pieces := []string{
		`a`, ` `, `(`, `)`, `[`, `]`, `"`, `:`, `: `, `d`, `d AUT`, `: 53`, `",  C=RCPT,`, `RCPT,`, `[1.2.3.4]`, `(a) [1.2.3.4] `,
		`" H=`, `" H=(`, ` TLS`, ` U=`, `[a`, `([`, `n)`, `" H=(a) [1.2.3.4]:1 I=[1.2.3.4]:2 U=`, ` A="b"`, ` A=b`, ` A=`, ` A`, ` A="`, ` U=a U=`, ` U`, `" H=a U`, `x" H=(a) [1.2.3.4]`, ` I=[1.2.3.4]:25`, `exim[1]: `, `1`, `.`,
	}
	var hostile []string
	for _, s := range starts {
		for _, p := range pieces {
			hostile = append(hostile, s+strings.Repeat(p, 8000/len(p)))
		}
	}
	for _, e := range append(Engines("."), NftfwReading(".")) {
		done := make(chan error, 1)
		begin := time.Now()
		go func() {
			_, err := e.Apply(patternFile, hostile)
			done <- err
		}()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%s: %v", e.Name, err)
			}
			t.Logf("%s: %d lines in %v", e.Name, len(hostile), time.Since(begin).Round(time.Millisecond))
		case <-time.After(3 * time.Minute):
			t.Fatalf("%s hangs on a hostile line", e.Name)
		}
	}
}
