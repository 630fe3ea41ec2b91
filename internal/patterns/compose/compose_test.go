package compose

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"symbiosis-connect-acl/internal/patterns"
)

const patternFile = "../../../patterns.d/exim4.patterns"

func TestPatternFileIsComposed(t *testing.T) {
	got, err := os.ReadFile(patternFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != File() {
		t.Fatal("patterns.d/exim4.patterns is stale; run: go generate ./internal/patterns/compose")
	}
	f, err := patterns.Parse(got)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Compile(); err != nil {
		t.Fatal(err)
	}
	if len(f.Patterns) != len(Rules()) || len(f.Notes) != 0 {
		t.Errorf("%d patterns for %d rules, notes %v", len(f.Patterns), len(Rules()), f.Notes)
	}
	for i, p := range f.Patterns {
		if p.Comment != Rules()[i].Comment {
			t.Errorf("line %d: what `patterns test` calls it is %q, want %q", p.Line, p.Comment, Rules()[i].Comment)
		}
		if p.Engine != patterns.RE2 {
			t.Errorf("line %d is outside the common subset", p.Line)
		}
		if n := regexp.MustCompile(p.Expanded).NumSubexp(); n != 1 {
			t.Errorf("line %d has %d capture groups", p.Line, n)
		}
		if !strings.HasPrefix(p.Source, "^") || !strings.HasSuffix(p.Source, "$") {
			t.Errorf("line %d is not anchored at both ends", p.Line)
		}
	}
}

// without is held against strings.Contains for every text over the characters
// that matter.
func TestWithout(t *testing.T) {
	for _, literal := range []string{": 5", " U=", ": 53"} {
		re := regexp.MustCompile("^" + without(literal) + "$")
		alphabet := "x" + literal
		bad := 0
		var try func(s string, depth int)
		try = func(s string, depth int) {
			if re.MatchString(s) == strings.Contains(s, literal) {
				bad++
			}
			if depth == 0 {
				return
			}
			for i := range alphabet {
				try(s+alphabet[i:i+1], depth-1)
			}
		}
		try("", 8)
		if bad > 0 {
			t.Errorf("%q: wrong for %d texts", literal, bad)
		}
	}
}
