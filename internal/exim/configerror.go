package exim

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// A ConfigError is a configuration that Exim does not take.
type ConfigError struct {
	Message string // Exim's words
	File    string // the built file that Exim read, as Exim names it
	Line    int    // the line in File, 0 when Exim names none
	Snippet string // the snippet that the line came from, "" when it is not known
	At      int    // the line in Snippet, 0 when it is not known
	Text    string // the line, "" when it is not known
}

func (e *ConfigError) Error() string {
	switch {
	case e.Snippet != "" && e.At > 0:
		return fmt.Sprintf("%s:%d: %s", e.Snippet, e.At, e.Message)
	case e.Snippet != "":
		return fmt.Sprintf("%s: %s", e.Snippet, e.Message)
	case e.Line > 0:
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message)
	}
	return e.Message
}

var unknownOption = regexp.MustCompile(`^main option "(\w+)" unknown`)

// Remedy says what to do about it: in the snippet, where nobody can say more. A
// list of DNS zones that goes on in the next line, as Postfix has it, is to Exim
// an option of that name.
func (e *ConfigError) Remedy() string {
	if m := unknownOption.FindStringSubmatch(e.Message); m != nil && strings.HasPrefix(e.Text, m[1]+".") {
		return `write the whole value on one line, with " : " between two lists`
	}
	return "mend that snippet"
}

// configError finds in what Exim wrote the configuration error, and the
// snippet that it is in by the comments which the Makefile puts before each.
func (x Installation) configError(out []byte) *ConfigError {
	const mark = "Exim configuration error"
	_, text, ok := bytes.Cut(out, []byte(mark))
	if !ok {
		return nil
	}
	head, rest, _ := strings.Cut(string(text), "\n")
	e := &ConfigError{}
	for _, line := range strings.Split(rest, "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "make") {
			e.Message = line
			break
		}
	}
	head = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(head), ":"))
	if where, ok := strings.CutPrefix(head, "in line "); ok {
		number, file, _ := strings.Cut(where, " of ")
		e.Line, _ = strconv.Atoi(number)
		e.File = file
	} else if e.Message == "" {
		e.Message = head
	}
	if e.File == "" {
		return e
	}
	path := e.File
	if !filepath.IsAbs(path) {
		path = filepath.Join(x.Inside(x.EximDir), path)
	}
	data, err := os.ReadFile(filepath.Join(x.Root, path))
	if err != nil {
		return e
	}
	e.Snippet, e.At = x.Locate(data, e.Line)
	if lines := splitLines(data); e.Line > 0 && e.Line <= len(lines) {
		e.Text = strings.TrimSpace(string(lines[e.Line-1]))
	}
	return e
}

// Locate tells which snippet the given line of a built configuration came
// from, and the line in it. The number is 0 when it cannot be told.
func (x Installation) Locate(conf []byte, line int) (snippet string, at int) {
	mark := "# " + x.Inside(x.SnippetDir) + "/"
	for i, l := range splitLines(conf) {
		if i+1 >= line {
			break
		}
		if text := strings.TrimSpace(string(l)); strings.HasPrefix(text, mark) {
			// Below its name stand a rule and a blank line.
			snippet, at = filepath.Join(x.Root, text[2:]), line-(i+1)-2
		}
	}
	return snippet, max(at, 0)
}
