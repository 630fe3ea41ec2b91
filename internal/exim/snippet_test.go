package exim

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"20-accept-known": true, "00": true, "a-": true, "2b": true,
		"a": false, "-a": false, "": false, "25-logging.dpkg-new": false, "25_logging": false,
		"25-Logging": false, "25-logging~": false, ".25": false,
	} {
		if got := ValidName(name); got != want {
			t.Errorf("ValidName(%q) = %v; want %v", name, got, want)
		}
	}
}

// Each snippet, and what is left of it when its log_selector is out of use.
var loggingCases = []struct{ name, in, out string }{
	{"plain", "log_selector = +tls_sni\n", "#p# log_selector = +tls_sni\n"},
	{"no newline at the end", "a = b\nlog_selector = +pid", "a = b\n#p# log_selector = +pid"},
	{"spacing", "\t  log_selector=+all\n", "#p# \t  log_selector=+all\n"},
	{"hidden", "hide log_selector = +all\n", "#p# hide log_selector = +all\n"},
	{"continued", "x = 1\nlog_selector = +a \\\n  +b \\  \n  +c\ny = 2\n", "x = 1\n#p# log_selector = +a \\\n#p#   +b \\  \n#p#   +c\ny = 2\n"},
	{"comment inside", "log_selector = +a \\\n# why\n  +b\ny = 2\n", "#p# log_selector = +a \\\n#p# # why\n#p#   +b\ny = 2\n"},
	{"condition inside", "log_selector = +a \\\n.ifdef X\n  +b\n.else\n  +c\n.endif\ny = 2\n",
		"#p# log_selector = +a \\\n#p# .ifdef X\n#p#   +b\n#p# .else\n#p#   +c\n#p# .endif\ny = 2\n"},
	{"condition outside", ".ifdef X\nlog_selector = +a\n.endif\n", ".ifdef X\n#p# log_selector = +a\n.endif\n"},
	{"blank line ends it", "log_selector = +a \\\n\ny = 2\n", "#p# log_selector = +a \\\n#p# \ny = 2\n"},
	{"CRLF", "log_selector = +a\r\ny = 2\r\n", "#p# log_selector = +a\r\ny = 2\r\n"},
	{"twice", "log_selector = +a\nlog_selector = +b\n", "#p# log_selector = +a\n#p# log_selector = +b\n"},
	{"equals on the next line", "log_selector \\\n = +a\n", "#p# log_selector \\\n#p#  = +a\n"},
	{"comments are none", "# log_selector = +a\n#log_selector = \\\nx = y\n", ""},
	{"other names are none", "log_selectors = +a\nLOG = log_selector\nsyslog_selector = 1\n", ""},
	{"the value of another", "x = \\\nlog_selector = +a\n", ""},
	{"after the main section", "begin acl\nlog_selector = +a\n", ""},
	{"empty", "", ""},
}

func TestCommentOut(t *testing.T) {
	for _, c := range loggingCases {
		out := c.out
		if out == "" {
			out = c.in
		}
		got := CommentOut([]byte(c.in), "log_selector", "#p# ")
		if string(got) != out {
			t.Errorf("%s: CommentOut =\n%s\nwant\n%s", c.name, got, out)
		}
		if back := Uncomment(got, "#p# "); string(back) != c.in {
			t.Errorf("%s: Uncomment =\n%q\nwant\n%q", c.name, back, c.in)
		}
		if n := len(Settings([]byte(c.in), "log_selector")); (n > 0) != (c.out != "") {
			t.Errorf("%s: %d settings found", c.name, n)
		}
		if again := CommentOut(got, "log_selector", "#p# "); !bytes.Equal(again, got) {
			t.Errorf("%s: a second CommentOut changes it to\n%s", c.name, again)
		}
	}
}

func FuzzCommentOut(f *testing.F) {
	for _, c := range loggingCases {
		f.Add([]byte(c.in))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.Contains(data, []byte("#p# ")) {
			t.Skip("the marker itself")
		}
		if back := Uncomment(CommentOut(data, "log_selector", "#p# "), "#p# "); !bytes.Equal(back, data) {
			t.Errorf("%q came back as %q", data, back)
		}
	})
}

func TestLocate(t *testing.T) {
	x := testInstallation(t.TempDir())
	conf := "# ----\n# /etc/exim4/symbiosis.d/00-main/a\n# ----\n\none\ntwo\n" +
		"# ----\n# /etc/exim4/symbiosis.d/00-main/b\n# ----\n\nthree"
	for i, line := range strings.Split(conf, "\n") {
		want := map[string]string{"one": "a:1", "two": "a:2", "three": "b:1"}[line]
		if want == "" {
			continue
		}
		snippet, at := x.Locate([]byte(conf), i+1)
		name, n, _ := strings.Cut(want, ":")
		if snippet != x.SnippetDir+"/00-main/"+name || string(rune('0'+at)) != n {
			t.Errorf("line %d is %s:%d; want %s", i+1, snippet, at, want)
		}
	}
}

func TestMark(t *testing.T) {
	in := "a = 1\n#p# log_selector = +x \\\n#p#   +y\nlog_selector = +z\n#p# log_selector = +w\n# log_selector = +v\n#p# b = 2\n#p# event_action = e\n"
	var asked []bool
	got := Mark([]byte(in), []string{"log_selector", "event_action"}, "#p# ", func(option string, n int, had bool) string {
		if n != len(asked) || (option == "event_action") != (n == 3) {
			t.Errorf("number %d comes as number %d, %s", n, len(asked), option)
		}
		asked = append(asked, had)
		return []string{"#", "", "#p# ", ""}[n]
	})
	want := "a = 1\n#log_selector = +x \\\n#  +y\nlog_selector = +z\n#p# log_selector = +w\n# log_selector = +v\nb = 2\nevent_action = e\n"
	if string(got) != want {
		t.Errorf("Mark gives\n%s\nwant\n%s", got, want)
	}
	if want := []bool{true, false, true, true}; !slices.Equal(asked, want) {
		t.Errorf("which were out of use: %v; want %v", asked, want)
	}
}
