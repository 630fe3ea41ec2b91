package settings

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	const text = `# comment
A=1
B="two words" # why
C='$5'
D=   # nothing
E=yes
A=2

F=x#y
`
	f, err := Parse("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"A": "2", "B": "two words", "C": "$5", "E": "yes", "F": "x#y", "D": "def", "Z": "def"} {
		if got := f.String(name, "def"); got != want {
			t.Errorf("%s = %q; want %q", name, got, want)
		}
	}
	// The cron job sources the same file: both must read it alike.
	for name, want := range map[string]string{"A": "2", "B": "two words", "C": "$5", "E": "yes", "F": "x#y", "D": ""} {
		out, err := exec.Command("sh", "-c", text+"\nprintf %s \"$"+name+"\"").Output()
		if err != nil || string(out) != want {
			t.Errorf("sh says %s = %q, %v; want %q", name, out, err, want)
		}
	}
	if b, err := f.Bool("E", false); !b || err != nil {
		t.Errorf("Bool(E) = %v, %v", b, err)
	}
	if b, err := f.Bool("Z", true); !b || err != nil {
		t.Errorf("Bool(Z) = %v, %v", b, err)
	}
	if n, err := f.Int("A", 7, 1, 9); n != 2 || err != nil {
		t.Errorf("Int(A) = %v, %v", n, err)
	}
	if _, err := f.Int("A", 7, 3, 9); err == nil || !strings.Contains(err.Error(), "f:7: A=2") {
		t.Errorf("Int out of range: %v; want the file and the line", err)
	}
	for name, want := range map[string]string{"A": "2", "Z": "3"} {
		if w, err := f.Word(name, "3", "1", "2", "3"); w != want || err != nil {
			t.Errorf("Word(%s) = %q, %v", name, w, err)
		}
	}
	if _, err := f.Word("E", "1", "1", "2", "3"); err == nil || err.Error() != "f:6: E=yes: write 1, 2 or 3" {
		t.Errorf("a word that is none of them: %v", err)
	}
	if _, err := f.Bool("B", true); err == nil || !strings.Contains(err.Error(), "f:3: B=two words") {
		t.Errorf("Bool of words: %v; want the file and the line", err)
	}
}

func TestParseErrors(t *testing.T) {
	for _, text := range []string{"A = 1", "just words", "A=$B", "A=\"$B\"", "A=\"x", "A='x' y", "A=x y", "1A=2", "=x", "A=#x"} {
		if _, err := Parse("f", []byte("\n"+text+"\n")); err == nil || !strings.HasPrefix(err.Error(), "f:2: ") {
			t.Errorf("%q: %v; want an error for line 2", text, err)
		}
	}
}

func TestReadNoFile(t *testing.T) {
	f, err := Read(filepath.Join(t.TempDir(), "none"))
	if err != nil || f.String("A", "x") != "x" {
		t.Errorf("%v, %v", f, err)
	}
}
