package words

import (
	"testing"
	"unicode"
	"unicode/utf8"
)

// No control character and no escape sequence reaches a terminal, and letters
// stay readable.
func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		`192.0.2.1 \[__IP__\]: 535`: `192.0.2.1 \[__IP__\]: 535`,
		"Müller, Łódź, 東京, й":       "Müller, Łódź, 東京, й",
		"\x1b[31mred\r\n\t\x00\x7f": `\x1b[31mred\x0d\x0a\x09\x00\x7f`,
		"\u009b31m":                 `\u009b31m`,            // the same escape sequence to xterm
		"a\u202egpj.exe\u2028":      `a\u202egpj.exe\u2028`, // turns what follows round; a line end
		"\U000e0041":                `\U000e0041`,           // a letter that nobody sees
		"Gr\xfc\xdfe \xff":          `Gr\xfc\xdfe \xff`,     // Latin-1
		"\ufffd":                    "\ufffd",
	} {
		if got := Printable(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("\x1b]0;x\a\u009d\xc2")
	f.Fuzz(func(t *testing.T, s string) {
		got := Printable(s)
		if !utf8.ValidString(got) || Printable(got) != got {
			t.Errorf("%q gives %q", s, got)
		}
		for _, r := range got {
			if !unicode.IsPrint(r) {
				t.Errorf("%q gives %q, with %U in it", s, got, r)
			}
		}
	})
}

func TestPlural(t *testing.T) {
	for n, want := range map[int]string{0: "0 rows", 1: "1 row", 2: "2 rows"} {
		if got := Plural(n, "row"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestShell(t *testing.T) {
	for s, want := range map[string]string{"": "''", "/var/log/exim4/mainlog.1": "/var/log/exim4/mainlog.1", "a b": "'a b'", "a'b;": `'a'\''b;'`} {
		if got := Shell(s); got != want {
			t.Errorf("%q: %s; want %s", s, got, want)
		}
	}
}
