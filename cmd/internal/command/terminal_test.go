package command

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
)

// No control character reaches a terminal by JSON either, and a program reads
// the same text.
func TestWriteJSON(t *testing.T) {
	const text = "Müller <\x1b[31m\u009b\x7f\u202e\U000e0041>\n\u00a0\\"
	var b bytes.Buffer
	if err := WriteJSON(&b, []string{text}); err != nil {
		t.Fatal(err)
	}
	if want := "[\n  \"Müller <\\u001b[31m\\u009b\\u007f\\u202e\\udb40\\udc41>\\n\\u00a0\\\\\"\n]\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
	var got []string
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || len(got) != 1 || got[0] != text {
		t.Errorf("read as %q, %v", got, err)
	}
}

func TestErrorsDriveNoTerminal(t *testing.T) {
	if got, want := shown("ü\x1b[31m\n  a second line\r"), "ü\\x1b[31m\n  a second line\\x0d"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDiffDrivesNoTerminal(t *testing.T) {
	got := Diff("a\x1b[31m", []byte("x\n"), []byte("x\n\ty\x1b[2J\u009b\n"))
	if want := "--- a\\x1b[31m\n+++ a\\x1b[31m\n@@ -1,1 +1,2 @@\n x\n+\ty\\x1b[2J\\u009b\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestColour(t *testing.T) {
	if got := Red.Paint("denied", true); got != "\x1b[31mdenied\x1b[0m" {
		t.Errorf("%q", got)
	}
	if got := Red.Paint("denied", false) + Colour("").Paint("!", true); got != "denied!" {
		t.Errorf("%q", got)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if Coloured(w) || Coloured(new(bytes.Buffer)) {
		t.Error("colours in a pipe")
	}
}
