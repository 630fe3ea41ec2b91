// Package words has what every text for people needs: somebody else's words
// without what a terminal would obey, and a number of things.
package words

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable gives a text of somebody else's as a terminal may show it. Letters
// stay as they are, of whichever script. Everything that is not printable
// becomes a visible escape: control characters (also those of 0x80 to 0x9f, as
// which some terminals obey), what turns the direction of writing round, and
// octets that are no UTF-8. A backslash stays one: patterns are full of them.
func Printable(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1, r < utf8.RuneSelf && !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		s = s[n:]
	}
	return b.String()
}

// Shell gives a text as one word of a command that is to be typed.
func Shell(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_./:@%+=,-", r))
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Plural spells a number of things: 1 row, 2 rows.
func Plural[N int | int64](n N, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
