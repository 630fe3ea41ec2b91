// Package manual renders a command's manual page from the same definitions
// that print its --help, so that the two cannot differ.
//
// A command takes part through a file of its own with the build tag "manual",
// which calls Install; the commands that ship are built without the tag and
// hold none of this.
package manual

import (
	"embed"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/clock"
)

// A Page is what a manual page tells beyond the command's definitions.
type Page struct {
	Package string    // the package, for the footer
	Version string    // its version
	Date    time.Time // the day in the footer, in UTC
	More    string    // roff that follows the generated sections: EXIT STATUS, FILES and their like
}

//go:embed sections
var sections embed.FS

// Install makes --help print the manual page instead. The version comes from
// MANUAL_VERSION and the date from SOURCE_DATE_EPOCH (seconds since 1970), so
// that a page built again is the same.
func Install() {
	print := func(w io.Writer, _ string, data interface{}) {
		app, ok := data.(*cli.App)
		if !ok {
			return
		}
		if err := Write(w, app, environment(app.Name)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	cli.HelpPrinter = print
	cli.HelpPrinterCustom = func(w io.Writer, templ string, data interface{}, _ map[string]interface{}) {
		print(w, templ, data)
	}
}

func environment(name string) Page {
	p := Page{Package: "symbiosis-connect-acl", Version: os.Getenv("MANUAL_VERSION")}
	if sec, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		p.Date = time.Unix(sec, 0).UTC()
	} else {
		p.Date = clock.Now().UTC()
	}
	if more, err := fs.ReadFile(sections, "sections/"+name+".8"); err == nil {
		p.More = string(more)
	}
	return p
}

// Write writes app's manual page, section 8, as roff with the macros of man(7).
func Write(w io.Writer, app *cli.App, page Page) error {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 8 %s %s %s\n", quote(strings.ToUpper(app.Name)), quote(page.Date.Format("2006-01-02")),
		quote(page.Package+" "+page.Version), quote("System Administration"))
	// Left-aligned and unhyphenated: paths and commands are copied from here.
	b.WriteString(".nh\n.ad l\n")
	b.WriteString(".SH NAME\n" + escape(app.Name) + ` \- ` + escape(app.Usage) + "\n")

	b.WriteString(".SH SYNOPSIS\n")
	switch {
	case app.UsageText != "":
		for i, line := range strings.Split(strings.TrimSpace(app.UsageText), "\n") {
			if i > 0 {
				b.WriteString(".br\n")
			}
			b.WriteString(escape(strings.TrimSpace(line)) + "\n")
		}
	case len(app.VisibleCommands()) > 0:
		b.WriteString(".B " + escape(app.Name) + "\n[options] command [command options] [arguments]\n")
	default:
		b.WriteString(".B " + escape(app.Name) + "\n[options] " + escape(app.ArgsUsage) + "\n")
	}

	if app.Description != "" {
		b.WriteString(".SH DESCRIPTION\n" + text(app.Description))
	}
	if commands := app.VisibleCommands(); len(commands) > 0 {
		b.WriteString(".SH COMMANDS\n")
		for _, c := range commands {
			writeCommand(&b, c, "")
		}
	}
	if flags := app.VisibleFlags(); len(flags) > 0 {
		if len(app.VisibleCommands()) > 0 {
			b.WriteString(".SH OPTIONS BEFORE THE COMMAND\n")
		} else {
			b.WriteString(".SH OPTIONS\n")
		}
		writeFlags(&b, flags)
	}
	b.WriteString(page.More)
	if page.More != "" && !strings.HasSuffix(page.More, "\n") {
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeCommand(b *strings.Builder, c *cli.Command, prefix string) {
	if c.Hidden || c.Name == "help" {
		return
	}
	head := prefix + c.Name
	if len(c.VisibleFlags()) > 0 {
		head += " [options]"
	}
	if c.ArgsUsage != "" {
		head += " " + c.ArgsUsage
	}
	b.WriteString(".SS " + quote(head) + "\n")
	if c.Usage != "" {
		b.WriteString(text(sentence(c.Usage)))
	}
	if c.Description != "" {
		b.WriteString(".PP\n" + text(c.Description))
	}
	writeFlags(b, c.VisibleFlags())
	for _, sub := range c.Subcommands {
		writeCommand(b, sub, prefix+c.Name+" ")
	}
}

// sentence turns the one-line summary of --help into a sentence.
func sentence(s string) string {
	s = strings.TrimSpace(s)
	if s == "" {
		return s
	}
	if s[0] >= 'a' && s[0] <= 'z' {
		s = strings.ToUpper(s[:1]) + s[1:]
	}
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}

func writeFlags(b *strings.Builder, flags []cli.Flag) {
	for _, f := range flags {
		doc, ok := f.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		name, usage := valueName(doc)
		var names []string
		for _, n := range f.Names() {
			dashes := "--"
			if len(n) == 1 {
				dashes = "-"
			}
			s := `\fB` + escape(dashes+n) + `\fR`
			if name != "" {
				s += ` \fI` + escape(name) + `\fR`
			}
			names = append(names, s)
		}
		b.WriteString(".TP\n" + strings.Join(names, ", ") + "\n")
		usage = sentence(usage)
		if def := defaultOf(doc); def != "" && !strings.Contains(usage, "default") {
			usage += " Default: " + def + "."
		}
		b.WriteString(text(usage))
	}
}

// valueName gives the name of a flag's value, which --help takes from the
// first back-quoted word of the usage, and the usage without the quotes.
func valueName(f cli.DocGenerationFlag) (name, usage string) {
	usage = f.GetUsage()
	if i := strings.IndexByte(usage, '`'); i >= 0 {
		if n := strings.IndexByte(usage[i+1:], '`'); n >= 0 {
			name = usage[i+1 : i+1+n]
			usage = usage[:i] + name + usage[i+2+n:]
		}
	}
	if !f.TakesValue() {
		return "", usage
	}
	if name == "" {
		name = "value"
	}
	return name, usage
}

func defaultOf(f cli.DocGenerationFlag) string {
	if !f.TakesValue() {
		return ""
	}
	if s := f.GetDefaultText(); s != `""` {
		return s
	}
	return ""
}

// text renders paragraphs. Lines that begin with white space stay as they are,
// as an example; all others are filled.
func text(s string) string {
	var b strings.Builder
	example, paragraph := false, false
	for _, line := range strings.Split(strings.TrimRight(s, " \t\n"), "\n") {
		line = strings.TrimRight(line, " \t")
		indented := line != "" && (line[0] == ' ' || line[0] == '\t')
		switch {
		case indented && !example:
			b.WriteString(".PP\n.RS 4\n.nf\n")
			example, paragraph = true, false
		case !indented && line != "" && example:
			b.WriteString(".fi\n.RE\n.PP\n")
			example, paragraph = false, false
		}
		switch {
		case line == "" && example:
			b.WriteString("\n")
		case line == "":
			paragraph = b.Len() > 0
		default:
			if paragraph {
				b.WriteString(".PP\n")
				paragraph = false
			}
			if example {
				line = strings.TrimPrefix(strings.TrimPrefix(line, "    "), "\t")
			}
			b.WriteString(escape(line) + "\n")
		}
	}
	if example {
		b.WriteString(".fi\n.RE\n")
	}
	return b.String()
}

// The characters that roff reads as something else, or prints as a
// typographical sign that cannot be pasted into a shell.
var special = map[rune]string{
	'\\': `\e`,
	'-':  `\-`,
	'\'': `\(aq`,
	'`':  `\(ga`,
	'^':  `\(ha`,
	'~':  `\(ti`,
}

func escape(s string) string {
	var b strings.Builder
	if strings.HasPrefix(s, ".") {
		b.WriteString(`\&`)
	}
	for _, r := range s {
		if e, ok := special[r]; ok {
			b.WriteString(e)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// quote makes one argument of a macro out of s.
func quote(s string) string {
	return `"` + strings.ReplaceAll(escape(s), `"`, `\(dq`) + `"`
}
