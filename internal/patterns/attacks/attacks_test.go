package attacks

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestOurPatternsAreSafe(t *testing.T) {
	all, err := File(context.Background(), "../../../patterns.d/exim4.patterns")
	if err != nil || len(all) == 0 {
		t.Fatalf("%d patterns, error %v", len(all), err)
	}
	for _, v := range all {
		if v.Result != Safe {
			t.Errorf("line %d: %s", v.Line, v)
		}
	}
}

// Live finds what is live for the log, in whichever file, and says of each
// pattern what is wrong. Nothing in the folder keeps it waiting.
func TestLive(t *testing.T) {
	const log = "/var/log/exim4/mainlog"
	ours, err := os.ReadFile("../../../patterns.d/exim4.patterns")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	main := filepath.Join(dir, "exim4.patterns")
	frames := `\[__IP__\].*AUTH command used when not advertised.*$`
	nested := strings.Repeat("(", largestPattern) + `__IP__` + strings.Repeat(")", largestPattern)
	write(t, main, "# stock\nfile = "+log+"\n"+frames+"\n# "+frames+"\n^[-0-9]{10} [:0-9]{8} connect-acl: refused HELO from \\[__IP__\\]: bot name$\n")
	write(t, filepath.Join(dir, "list.patterns"), "file = /var/log/syslog, /var/log/exim4/main*\r\n"+frames+"\r\n")
	write(t, filepath.Join(dir, "mine.patterns"), "file = /var/log/exim4/../exim4/mainlog\n"+
		`(?~x)\[__IP__\]$`+"\n"+ // Ruby has it, Go has not
		`(?<!y)(?:H|.+)+z\[__IP__\]$`+"\n"+ // explodes
		`(?<=H=\(a\) )\[__IP__\]`+"\n"+
		`H=\(a\) \[(__IP__)\] AUTH .*$`+"\n"+
		`([0-9]+)$`+"\n"+ // takes no address
		"(\x1b(31m__IP__\n"+
		nested+"\n")
	write(t, filepath.Join(dir, "other.patterns"), "file = /var/log/auth.log\n"+frames+"\n")
	write(t, filepath.Join(dir, "none.patterns"), frames+"\n")
	write(t, filepath.Join(dir, "exim4.patterns.bak"), "file = "+log+"\n"+frames+"\n")
	write(t, filepath.Join(dir, "large.patterns"), "file = "+log+"\n"+strings.Repeat("#\n", largestFile))
	write(t, filepath.Join(dir, "nul.patterns"), "file = "+log+"\n\x00\n")
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.patterns"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(dir, "zero.patterns")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("gone", filepath.Join(dir, "dangling.patterns")); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range Live(context.Background(), main, ours) {
		got = append(got, strings.Join([]string{filepath.Base(v.Path), v.Pattern, string(v.Result)}, " "))
		if v.Result == Frames && (v.Line == 0 || !strings.Contains(v.Attack.Text, v.Taken) || strings.Contains(v.String(), "\n")) {
			t.Errorf("%+v: %s", v, v)
		}
		if strings.ContainsAny(v.String(), "\x1b\n") {
			t.Errorf("a terminal would obey %q", v)
		}
		if (v.Result == NotTried || v.Result == Unfinished) && v.Reason == "" {
			t.Errorf("no reason: %+v", v)
		}
		if (v.Superseded != "") != (v.Pattern == frames) {
			t.Errorf("superseded %q: %+v", v.Superseded, v)
		}
	}
	want := []string{
		"exim4.patterns " + frames + " frames",
		`exim4.patterns ^[-0-9]{10} [:0-9]{8} connect-acl: refused HELO from \[__IP__\]: bot name$ safe`,
		"large.patterns  not tried",
		"list.patterns " + frames + " frames",
		`mine.patterns (?~x)\[__IP__\]$ not tried`,
		`mine.patterns (?<!y)(?:H|.+)+z\[__IP__\]$ not finished`,
		`mine.patterns (?<=H=\(a\) )\[__IP__\] frames`,
		`mine.patterns H=\(a\) \[(__IP__)\] AUTH .*$ frames`,
		`mine.patterns ([0-9]+)$ safe`,
		"mine.patterns (\x1b(31m__IP__ not tried",
		"mine.patterns " + nested + " not tried",
		"nul.patterns  not tried",
		"pipe.patterns  not tried",
		"zero.patterns  not tried",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	// No time left is said, too.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, v := range Live(ctx, main, ours) {
		if v.Pattern != "" && v.Result != Unfinished {
			t.Errorf("without time: %+v", v)
		}
	}
}

func TestPack(t *testing.T) {
	lines := Lines()
	if len(lines) < 100 {
		t.Fatalf("%d lines", len(lines))
	}
	a, err := Pack(lines)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := Pack(lines)
	if back, err := Unpack(a); err != nil || !slices.Equal(back, lines) || !bytes.Equal(a, b) {
		t.Errorf("%d lines come back as %d, error %v; the same twice: %v", len(lines), len(back), err, bytes.Equal(a, b))
	}
	for _, broken := range []string{"", "x", string(a[:len(a)/2])} {
		if _, err := Unpack([]byte(broken)); err == nil {
			t.Errorf("%d bytes of a damaged file are read", len(broken))
		}
	}
	if got := (Line{Text: "\x1b[31m\r\xff" + strings.Repeat("x", 9000)}).String(); !strings.HasPrefix(got, `\x1b[31m\x0d\xffxxx`) || len(got) > 500 {
		t.Errorf("shown as %q", got)
	}
}
