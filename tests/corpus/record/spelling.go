package main

import "strings"

// A spelling is how a client writes SMTP's words, which may be written in any way.
type spelling string

const (
	capitals spelling = ""
	small    spelling = "small"
	mixed    spelling = "mixed"
)

// words are those that the protocol knows, and that stand at the beginning of a
// line: what else a client says is its own.
var words = map[string]bool{"EHLO": true, "HELO": true, "AUTH": true, "MAIL": true, "RCPT": true, "DATA": true, "VRFY": true, "EXPN": true,
	"ETRN": true, "HELP": true, "NOOP": true, "RSET": true, "BDAT": true, "STARTTLS": true, "QUIT": true}

// spell writes the command on a line, and the mechanism of AUTH.
func (c *client) spell(line string) string {
	verb, rest, more := strings.Cut(line, " ")
	if c.spelling == capitals || !words[verb] {
		return line
	}
	c.spelt = c.spelt || verb != "QUIT" && verb != "EHLO"
	if verb == "AUTH" {
		mechanism, argument, both := strings.Cut(rest, " ")
		if mechanism == "LOGIN" || mechanism == "PLAIN" {
			rest = c.spelling.word(mechanism)
			if both {
				rest += " " + argument
			}
		}
	}
	if !more {
		return c.spelling.word(verb)
	}
	return c.spelling.word(verb) + " " + rest
}

func (s spelling) word(w string) string {
	letters := []byte(strings.ToLower(w))
	for i := range letters {
		if s == mixed && i%2 == 1 {
			letters[i] -= 'a' - 'A'
		}
	}
	return string(letters)
}
