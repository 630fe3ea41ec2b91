// Package command is what the four commands have in common at the command line:
// their name, how they take flags and refuse wrong ones, how an error becomes a
// line on standard error and an exit code, JSON, and what a terminal can show.
package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/remedy"
	"symbiosis-connect-acl/internal/words"
)

// A UsageError is a command line that cannot be obeyed. Nothing was done.
type UsageError string

func (e UsageError) Error() string { return string(e) }

// Usagef makes a UsageError.
func Usagef(format string, args ...any) error { return UsageError(fmt.Sprintf(format, args...)) }

// Name gives the name under which the command runs: its own, or the one that it
// has on Sympl.
func Name(own string) string {
	if base := filepath.Base(os.Args[0]); strings.HasPrefix(base, "sympl-") {
		return base
	}
	return own
}

// New makes an application of commands. A wrong flag or command gives a
// UsageError, one line instead of the library's page of help, and no error ends
// the program: Report makes its exit code.
func New(own, usage string, commands ...*cli.Command) *cli.App {
	wrong := func(_ *cli.Context, err error, _ bool) error { return Usagef("%v: see --help", err) }
	a := &cli.App{
		Name:                 Name(own),
		Usage:                usage,
		HideHelpCommand:      true,
		EnableBashCompletion: true,
		ExitErrHandler:       func(*cli.Context, error) {},
		OnUsageError:         wrong,
		Commands:             commands,
		// For tests: the other programs' time they can set from outside.
		Flags: []cli.Flag{&cli.TimestampFlag{Name: "now", Layout: time.RFC3339, Hidden: true, Usage: "judge hosts as of this time"}},
		Before: func(c *cli.Context) error {
			if t := c.Timestamp("now"); t != nil {
				clock.Set(*t)
			}
			return nil
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return Usagef("there is no command %q: see --help", c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
	}
	for _, c := range commands {
		c.HideHelpCommand = true
		if c.OnUsageError == nil {
			c.OnUsageError = wrong
		}
	}
	return a
}

// Report writes an error to standard error, in one line with the command's name
// before it, or in two when it has a remedy: what went wrong, and what to do. It
// gives the exit code: that of an error from cli.Exit, 1 for any other, 0 for
// none.
func Report(own string, err error) int {
	if err == nil {
		return 0
	}
	name, text := Name(own), shown(err.Error())
	if what := remedy.Of(err); what != "" {
		fmt.Fprintf(os.Stderr, "%s: error: %s\n%s: hint: %s\n", name, text, name, shown(what))
	} else if text != "" {
		fmt.Fprintf(os.Stderr, "%s: %s\n", name, text)
	}
	var exit cli.ExitCoder
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 1
}

// shown gives an error's text as a terminal may show it. It may have several
// lines.
func shown(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = words.Printable(l)
	}
	return strings.Join(lines, "\n")
}

// Printf writes to standard output, for people: whatever is in it, a terminal
// obeys nothing.
func Printf(format string, args ...any) { fmt.Print(shown(fmt.Sprintf(format, args...))) }

// NoArguments refuses arguments that are no flags.
func NoArguments(c *cli.Context) error {
	if c.Args().Present() {
		return Usagef("%s takes no argument %q", c.Command.Name, c.Args().First())
	}
	return nil
}

// WriteJSON writes what --json prints: for programs, and so that people can
// read it too, on a terminal.
func WriteJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(EscapeJSON(b.Bytes()))
	return err
}

// EscapeJSON writes those characters of a JSON text as \u escapes that a
// terminal might obey. To a program it is the same text.
func EscapeJSON(text []byte) []byte {
	obeyed := func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
	if !bytes.ContainsFunc(text, obeyed) {
		return text
	}
	var b []byte
	for _, r := range string(text) {
		if !obeyed(r) {
			b = utf8.AppendRune(b, r)
			continue
		}
		for _, u := range utf16.AppendRune(nil, r) {
			b = fmt.Appendf(b, `\u%04x`, u)
		}
	}
	return b
}

// Diff gives the change of a file in the form that patch(1) takes, "" when
// there is none. Content that is nil stands for a file that is not there. Control
// characters are shown as everywhere; patch(1) will not take such a line.
func Diff(path string, old, new []byte) string {
	from, to := path, path
	if old == nil {
		from = "/dev/null"
	}
	if new == nil {
		to = "/dev/null"
	}
	text := string(diff.Diff(from, old, to, new))
	// The first line repeats the names in a form that patch does not know.
	_, text, _ = strings.Cut(text, "\n")
	parts := strings.Split(text, "\t") // configurations are full of tabs
	for i, p := range parts {
		parts[i] = shown(p)
	}
	return strings.Join(parts, "\t")
}
