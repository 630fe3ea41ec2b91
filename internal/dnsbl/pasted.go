package dnsbl

import (
	"regexp"
	"strings"
)

// longestAdvice bounds what is suggested instead of a setting: it has to fit
// into a log line.
const longestAdvice = 400

// instead gives a setting that says what s, which cannot be read, was probably
// meant to say: lists as other programs write them, with a comment behind or in
// quotation marks. why is the one thing to change. ok is false when nobody can
// tell.
func instead(s string) (why, better string, ok bool) {
	text, _, comment := strings.Cut(s, "#")
	text = spaced.ReplaceAllString(text, "$1")
	marks := strings.ContainsAny(text, `"'`)
	text = strings.NewReplacer(`"`, "", "'", "").Replace(text)
	if m := separated.FindStringSubmatch(text); m != nil {
		text = strings.ReplaceAll(text[len(m[0]):], m[1], " ")
	}
	var items []string
	why = "a comma stands between the codes of one list, a colon between lists"
	for _, p := range split(text) {
		w := p.text
		switch {
		case w[0] >= '0' && w[0] <= '9' || w[0] == '[' || w[0] == '(' && strings.Contains(w, "."):
			// One more answer of the list before it.
			if len(items) == 0 || !strings.Contains(items[len(items)-1], "=") {
				return "", "", false
			}
			items[len(items)-1] += "," + w
			if strings.Contains(p.before, ":") {
				why = "the codes of one list are separated by commas"
			}
		case words[w]:
			// what a setting of Postfix has before the zone
		case !strings.Contains(w, "."):
			return "", "", false
		default:
			if len(items) > 0 && !strings.Contains(p.before, ":") {
				why = "lists are separated by colons"
			}
			items = append(items, w)
		}
	}
	better = Sanitize(strings.Join(items, " : "), longestAdvice)
	if lists, err := parse(better); err != nil || len(lists) == 0 || strings.HasSuffix(better, "...") {
		return "", "", false
	}
	switch {
	case comment:
		why = "a comment needs a line of its own"
	case marks:
		why = "no quotation marks belong here"
	}
	if masked := MaskKeys(better); masked != better {
		better = masked + " (with your key for " + hiddenKey + ")"
	}
	return why, better, true
}

var (
	spaced = regexp.MustCompile(`\s*([=*])\s*`)
	// A change of Exim's separator.
	separated = regexp.MustCompile(`^\s*<\s*([;|&!+/])`)
	words     = map[string]bool{"reject_rbl_client": true, "permit_dnswl_client": true, "postscreen_dnsbl_sites": true, "=": true}
)

// A piece is a word, and what separates it from the word before.
type piece struct{ before, text string }

// split cuts at white space, commas, colons and semicolons that are not within
// brackets.
func split(s string) (all []piece) {
	depth, end := 0, 0
	separates := func(i int) bool {
		return i == len(s) || depth <= 0 && (s[i] <= ' ' || s[i] == ',' || s[i] == ':' || s[i] == ';')
	}
	for i := 0; i < len(s); i++ {
		if separates(i) {
			continue
		}
		start := i
		for ; !separates(i); i++ {
			switch s[i] {
			case '[', '(':
				depth++
			case ']', ')':
				depth--
			}
		}
		all = append(all, piece{s[end:start], s[start:i]})
		end = i
	}
	return all
}
