package exim

import (
	"fmt"
	"strings"
	"testing"
)

func TestStatements(t *testing.T) {
	const text = `# comment
  accept
  deny  message   = no \
     # between
     entry
        ! hosts   = +friends
        set acl_m9 = ${lookup sqlite {x}}
        condition = ${if >{$acl_m9}{10} }
drop
  ratelimit=10/1m
.ifdef X
  warn !condition = yes
.endif
`
	var got []string
	for _, s := range Statements([]byte(text)) {
		line := fmt.Sprint(s.Line, " ", s.Verb, " ", s.Refuses())
		for _, p := range s.Parts {
			line += fmt.Sprintf(" %v %s=%q", p.Not, p.Name, p.Value)
		}
		got = append(got, line)
	}
	want := []string{
		`2 accept false`,
		`3 deny true false message="no entry" true hosts="+friends" false condition="${if >{$acl_m9}{10} }"`,
		`9 drop true false ratelimit="10/1m"`,
		`12 warn false true condition="yes"`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestActive(t *testing.T) {
	const text = ".ifdef A\na\n.ifndef B\nb\n.elifdef A\nc\n.else\nd\n.endif\n.else\ne\n.endif\nf\n"
	for macros, want := range map[string]string{"A": "abf", "A B": "acf", "B": "ef", "": "ef"} {
		defined := map[string]string{}
		for _, m := range strings.Fields(macros) {
			defined[m] = ""
		}
		got := ""
		for _, l := range Lines(Active([]byte(text), defined)) {
			if directive(l.Text) == "" {
				got += l.Text
			}
		}
		if got != want {
			t.Errorf("with %q: %q; want %q", macros, got, want)
		}
	}
}
