package patterns

import (
	"bytes"
	"math/rand"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func corpusLines(t testing.TB) []string {
	t.Helper()
	data, err := os.ReadFile("../../tests/corpus/corpus.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		if f := strings.SplitN(l, "\t", 7); len(f) == 7 {
			out = append(out, f[6])
		}
	}
	return out
}

func compiled(t testing.TB, text string) *File {
	t.Helper()
	f, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Compile(); err != nil {
		t.Fatal(err)
	}
	return f
}

// The fast way through a log takes what the plain way takes, for patterns with
// and without a literal, however the log is cut into pieces.
func TestScanTakesWhatMatchTakes(t *testing.T) {
	lines := corpusLines(t)
	rnd := rand.New(rand.NewSource(2))
	filler := strings.Repeat("2026-11-23 12:00:00 1abcde-0001-xx => user <user@example.org> R=x T=y\n", 50)
	var log bytes.Buffer
	for range 2 { // more than one block
		for _, i := range rnd.Perm(len(lines)) {
			log.WriteString(lines[i] + "\n")
			if rnd.Intn(40) == 0 {
				log.WriteString(filler)
			}
		}
	}
	log.WriteString("\n\n" + lines[0]) // no final line end
	our, err := os.ReadFile("../../patterns.d/exim4.patterns")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"ours":              string(our),
		"stock and article": stock + article,
		"without a literal": `\[__IP__\]` + "\n" + `^(?i)h=\S+ \[__IP__\]`,
		"Ruby's syntax":     `(?<!x)\[__IP__\]: 535 Incorrect`,
	} {
		f := compiled(t, text)
		want := make([]int64, len(f.Patterns))
		var doubles, taken int64
		addresses := make([]map[string]int64, len(f.Patterns))
		n := 0
		for _, line := range bytes.Split(log.Bytes(), []byte("\n")) {
			n++
			hits := f.Match(line, nil)
			if len(hits) > 0 {
				taken++
			}
			if len(hits) > 1 {
				doubles++
			}
			for _, h := range hits {
				want[h.Pattern]++
				if addresses[h.Pattern] == nil {
					addresses[h.Pattern] = map[string]int64{}
				}
			}
		}
		for _, reader := range []func() *Report{
			func() *Report {
				r, err := f.Scan(bytes.NewReader(log.Bytes()), nil)
				if err != nil {
					t.Fatal(err)
				}
				return r
			},
			func() *Report {
				r, err := f.Scan(iotest.HalfReader(bytes.NewReader(log.Bytes())), func(int64) {})
				if err != nil {
					t.Fatal(err)
				}
				return r
			},
		} {
			r := reader()
			got := make([]int64, len(f.Patterns))
			for i := range r.Patterns {
				got[i] = r.Patterns[i].Hits
			}
			if !reflect.DeepEqual(got, want) || r.Doubles != doubles || r.Taken != taken || r.Lines != int64(n) || r.Bytes != int64(log.Len()) {
				t.Errorf("%s: hits %v, want %v; twice %d, want %d; taken %d, want %d; lines %d, want %d; bytes %d, want %d",
					name, got, want, r.Doubles, doubles, r.Taken, taken, r.Lines, n, r.Bytes, log.Len())
			}
		}
	}
}

// The warning comes for every pattern of the article, and for none of ours.
func TestScanWarns(t *testing.T) {
	log := strings.Join(corpusLines(t), "\n")
	our, err := os.ReadFile("../../patterns.d/exim4.patterns")
	if err != nil {
		t.Fatal(err)
	}
	r, err := compiled(t, string(our)).Scan(strings.NewReader(log), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Wrong != 0 || r.Doubles != 0 || r.Unclear != 0 || r.Taken == 0 {
		t.Errorf("ours: %d wrong, %d twice, %d unclear of %d: %+v%+v%+v", r.Wrong, r.Doubles, r.Unclear, r.Taken, r.WrongSamples, r.DoubleSamples, r.UnclearSamples)
	}
	f := compiled(t, stock+article)
	if r, err = f.Scan(strings.NewReader(log), nil); err != nil {
		t.Fatal(err)
	}
	for i, p := range r.Patterns {
		if p.Wrong+p.Unclear == 0 {
			t.Errorf("no warning for %s", f.Patterns[i].Source)
		}
	}
	if r.Doubles == 0 {
		t.Error("the article's pattern that stands there twice is not reported")
	}
}

func TestPeers(t *testing.T) {
	for line, want := range map[string]string{
		`2026-11-23 12:00:00 H=(x) [192.0.2.1] rejected AUTH LOGIN: no`:                                                         "192.0.2.1",
		`2026-11-23 12:00:00 [77] H=a.example ([10.0.0.1]) [192.0.2.1]:99 I=[192.0.2.25]:25 rejected RCPT <b@c.example>: no`:    "192.0.2.1",
		`2026-11-23 12:00:00 LOGIN authenticator failed for (x) [2001:db8::1]: 535 Incorrect (set_id=[8.8.8.8])`:                "2001:db8::1",
		`2026-11-23 12:00:00 LOGIN authenticator failed for (x) [192.0.2.1]: 535 Incorrect (set_id=) [8.8.8.8]: 535 Incorrect)`: "192.0.2.1 8.8.8.8",
		`2026-11-23 12:00:00 SMTP protocol error in "AUTH x" H=(a) [8.8.8.8] y" H=(a) [192.0.2.1] AUTH command used when`:       "192.0.2.1",
		`2026-11-23 12:00:00 SMTP protocol error in "AUTH x" H=(a) [192.0.2.1] U=x" H=(a) [8.8.8.8] AUTH command used when`:     "192.0.2.1 8.8.8.8",
		`2026-11-23 12:00:00 SMTP call from [192.0.2.1] dropped: too many (last was ") [8.8.8.8] dropped: too many")`:           "192.0.2.1",
		`2026-11-23 12:00:00 connect-acl: refused HELO from [192.0.2.1]: bot name`:                                              "192.0.2.1",
		`Nov 23 12:00:00 host dovecot: imap-login: rip=8.8.8.8`:                                                                 "",
		`2026-11-23 12:00:00 1abc Completed`: "",
	} {
		var got []string
		for _, a := range Peers([]byte(line)) {
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", line, got, want)
		}
	}
}

func TestCompile(t *testing.T) {
	f, err := Parse([]byte("file = /a\nfile = /b\n\n  # comment\n" + `(?<=x)\[__IP__\]` + "\n" + `\[__IP__\] ([0-9` + "\nno group here\n" + `^\h+ __IP__ __IP__` + "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if f.Log != "/a" || len(f.Patterns) != 4 || len(f.Notes) != 3 {
		t.Errorf("log %q, %d patterns, notes %v", f.Log, len(f.Patterns), f.Notes)
	}
	err = f.Compile()
	if err == nil || !strings.Contains(err.Error(), "line 6: ") || !strings.Contains(err.Error(), "line 7: nothing takes an address") || strings.Contains(err.Error(), "line 5") {
		t.Errorf("compile says: %v", err)
	}
	if f.Patterns[0].Engine != Backtracking || f.Patterns[3].Engine != Backtracking {
		t.Errorf("engines %q and %q", f.Patterns[0].Engine, f.Patterns[3].Engine)
	}
	if a, ok, err := f.Patterns[0].Match([]byte("x[192.0.2.1]")); !ok || err != nil || string(a) != "192.0.2.1" {
		t.Errorf("took %q, %v, %v", a, ok, err)
	}
}

// A pattern that explodes is stopped, and says so.
func TestBacktrackingIsLimited(t *testing.T) {
	f := compiled(t, `(?<!y)^(a+)+b__IP__$`)
	_, ok, err := f.Patterns[0].Match([]byte(strings.Repeat("a", 64)))
	if ok || err != ErrTimeout {
		t.Errorf("matched %v, error %v", ok, err)
	}
	r, err := f.Scan(strings.NewReader(strings.Repeat("a", 64)+"\n"), nil)
	if err != nil || r.Patterns[0].Timeouts != 1 {
		t.Errorf("timeouts %d, error %v", r.Patterns[0].Timeouts, err)
	}
}

func BenchmarkScan(b *testing.B) {
	our, err := os.ReadFile("../../patterns.d/exim4.patterns")
	if err != nil {
		b.Fatal(err)
	}
	f := compiled(b, string(our))
	filler := strings.Repeat("2026-11-23 12:00:00 1abcde-0001-xx => user <user@example.org> R=x T=y\n", 100)
	var log bytes.Buffer
	for i, l := range corpusLines(b) {
		if i%20 == 0 {
			log.WriteString(filler)
		}
		log.WriteString(l + "\n")
	}
	b.SetBytes(int64(log.Len()))
	for b.Loop() {
		if _, err := f.Scan(bytes.NewReader(log.Bytes()), nil); err != nil {
			b.Fatal(err)
		}
	}
}
