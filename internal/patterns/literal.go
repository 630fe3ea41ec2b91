package patterns

import (
	"regexp/syntax"
)

// required gives the literals that every line contains that the expression
// matches, longest first and not more than three. Searching for them decides
// most lines of a log without running the expression. It gives nil when it can
// tell nothing, for example for an expression that ignores case.
func required(expr string) [][]byte {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil
	}
	var found []string
	walk(re, &found)
	const most = 3
	var out [][]byte
	for len(out) < most {
		best := -1
		for i, s := range found {
			if len(s) >= 3 && (best < 0 || len(s) > len(found[best])) {
				best = i
			}
		}
		if best < 0 {
			break
		}
		out = append(out, []byte(found[best]))
		found[best] = ""
	}
	return out
}

func walk(re *syntax.Regexp, found *[]string) {
	switch re.Op {
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase == 0 {
			*found = append(*found, string(re.Rune))
		}
	case syntax.OpConcat, syntax.OpCapture:
		for _, sub := range re.Sub {
			walk(sub, found)
		}
	case syntax.OpPlus:
		walk(re.Sub[0], found)
	case syntax.OpRepeat:
		if re.Min > 0 {
			walk(re.Sub[0], found)
		}
	}
}
