package main

import (
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/cmd/internal/command"
	"symbiosis-connect-acl/internal/explain"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/words"
)

// exitRefused says that explain did its work and some port refuses the host.
const exitRefused = 3

func explainCommand() *cli.Command {
	return &cli.Command{
		Name:      "explain",
		Usage:     "show what every rule says about ADDRESS, and how to let it in",
		ArgsUsage: "ADDRESS",
		Description: `First what the host has earned: its standing, since and until when, and what
would change it. Then for each rule in the order of the ACLs, its verdict on
ports 25, 465 and 587 and the evidence. The settings are those of the
configuration in force. A verdict in parentheses has no effect: an earlier rule
has decided. Run it as root, or some evidence is out of reach.

The verdicts are accept, pass, deny, defer, delay; would deny, would defer and
would delay for a rule that only learns; off for a rule that does not ask on
that port; skipped for one that could not ask and lets the host go on; depends
for one that needs to see what the host says; unknown when it could not be
found out. When something refuses the host, the command that lets it in comes
last.

Exit status: 0 the host is let in on all three ports; 3 some port refuses it;
1 the configuration could not be read, or there is no Symbiosis here; 64 wrong
command line.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "json", Usage: "print JSON for programs"},
			&cli.StringFlag{Name: "root", Value: "/", Usage: "examine the system below `DIR`"},
		},
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return explainUsage(err.Error())
		},
		HideHelpCommand: true,
		Action:          runExplain,
	}
}

func explainUsage(problem string) error {
	return cli.Exit("explain: "+problem, exitUsage)
}

func runExplain(c *cli.Context) error {
	asJSON, root, host := c.Bool("json"), c.String("root"), ""
	// The flag library stops at the first argument; people write options last.
	args := c.Args().Slice()
	for i := 0; i < len(args); i++ {
		name, value, inline := strings.Cut(args[i], "=")
		switch {
		case args[i] == "--json" || args[i] == "-json":
			asJSON = true
		case name == "--root" || name == "-root":
			if !inline {
				if i++; i == len(args) {
					return explainUsage("--root needs a DIR")
				}
				value = args[i]
			}
			root = value
		case strings.HasPrefix(args[i], "-"):
			return explainUsage("unknown option " + args[i])
		case host != "":
			return explainUsage("expected one ADDRESS")
		default:
			host = args[i]
		}
	}
	if host == "" {
		return explainUsage("expected one ADDRESS")
	}
	addr, err := parseHost(host)
	if err != nil {
		return explainUsage(err.Error())
	}
	p, err := platform.Find(root)
	if err != nil {
		return err
	}
	report, err := explain.Explain(c.Context, p, addr)
	if err != nil {
		return err
	}
	if asJSON {
		err = command.WriteJSON(c.App.Writer, report)
	} else {
		coloured := command.Coloured(c.App.Writer)
		_, err = io.WriteString(c.App.Writer, reportText(report, coloured))
	}
	switch {
	case err != nil:
		return err
	case !report.LetIn():
		return cli.Exit("", exitRefused)
	case !report.Complete:
		return cli.Exit("", 1)
	}
	return nil
}

// reportWidth is that of a terminal nobody has made wider.
const reportWidth = 80

// Column widths of the table: a rule's name, and a verdict in parentheses.
const (
	ruleColumn    = 29
	verdictColumn = 15
)

// reportText writes a report for people. Texts that others have written (a
// list's, a reverse name, a line of a file) go without control characters.
func reportText(r *explain.Report, coloured bool) string {
	var b strings.Builder
	head := r.Address
	if r.Key != r.Address {
		head += ", counted as " + r.Key
	}
	fmt.Fprintf(&b, "%s\n\n", head)
	for _, o := range r.Outcomes {
		how := o.How
		switch {
		case !o.LetIn:
			how = command.Red.Paint(how, coloured)
		case r.Complete:
			how = command.Green.Paint(how, coloured)
		}
		fmt.Fprintf(&b, "  port %-4d %s\n", o.Port, how)
	}

	for i, m := range r.Standing {
		if i == 0 {
			b.WriteByte('\n')
		}
		head := m.Standing
		if !m.Since.IsZero() {
			head += m.Since.Format(", since 2006-01-02 15:04")
		}
		if !m.Until.IsZero() {
			head += m.Until.Format(", until 2006-01-02 15:04")
		}
		wrap(&b, head+": "+m.Because+"; "+m.Change, "  ", "    ")
	}

	fmt.Fprintf(&b, "\n%-*s", ruleColumn, "")
	for _, p := range explain.Ports {
		fmt.Fprintf(&b, " %-*d", verdictColumn, p)
	}
	trimEnd(&b)
	for _, rule := range r.Rules {
		name := "blacklist.d of the firewall"
		if rule.Snippet != "" {
			name = path.Base(rule.Snippet)
		}
		fmt.Fprintf(&b, "%-*s", ruleColumn, name)
		for _, f := range rule.Findings {
			text, colour := string(f.Verdict), command.Colour("")
			switch {
			case !f.Reached && f.Verdict != explain.Off:
				text, colour = "("+text+")", command.Faint
			case f.Verdict.Refuses():
				colour = command.Red
			case f.Verdict == explain.Accept:
				colour = command.Green
			case strings.HasPrefix(text, "would") || f.Verdict == explain.Skipped || f.Verdict == explain.Unknown:
				colour = command.Yellow
			}
			pad := strings.Repeat(" ", max(0, verdictColumn-len(text)))
			b.WriteString(" " + colour.Paint(text, coloured) + pad)
		}
		trimEnd(&b)
		for _, e := range rule.Evidence {
			wrap(&b, e, "    ", "      ")
		}
	}
	if len(r.Notes) > 0 {
		b.WriteByte('\n')
		for _, n := range r.Notes {
			wrap(&b, "Note: "+n, "", "  ")
		}
	}
	if len(r.Commands) > 0 {
		b.WriteString("\nTo let it in:\n")
		for _, c := range r.Commands {
			b.WriteString("    " + words.Printable(c) + "\n")
		}
	}
	return b.String()
}

// trimEnd ends a line without the spaces that fill its last column.
func trimEnd(b *strings.Builder) {
	s := strings.TrimRight(b.String(), " ")
	b.Reset()
	b.WriteString(s + "\n")
}

// wrap breaks a text between words; a word that is too long stays whole, so
// that it can be copied.
func wrap(b *strings.Builder, s, first, next string) {
	line, width := first, len([]rune(first))
	empty := true
	for _, word := range strings.Fields(words.Printable(s)) {
		n := len([]rune(word))
		if !empty && width+1+n > reportWidth {
			b.WriteString(line + "\n")
			line, width, empty = next, len([]rune(next)), true
		}
		if !empty {
			line += " "
			width++
		}
		line += word
		width += n
		empty = false
	}
	b.WriteString(line + "\n")
}
