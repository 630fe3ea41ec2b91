package manual

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
)

// app has everything that upsets roff: leading dots and quotes, backslashes,
// double quotes in a heading, an example.
func app() *cli.App {
	return &cli.App{
		Name:  "symbiosis-connect-sample",
		Usage: "show every part of a page",
		Description: `.leading dot, 'quotes', "double quotes" and a back\slash.

A second paragraph with --options and /etc/exim4/exim4.conf.

    an example   with  its   spaces
    .dot

The end.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "root", Usage: "work on the tree in `DIR`", Value: "/"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "say more"},
			&cli.BoolFlag{Name: "secret", Hidden: true},
		},
		Commands: []*cli.Command{
			{
				Name: "sum", ArgsUsage: `"ADDRESS"`, Usage: "print one number",
				Flags: []cli.Flag{&cli.DurationFlag{Name: "timeout", Usage: "give up after `TIME`", Value: 2 * time.Second}},
			},
			{Name: "gone", Hidden: true, Usage: "not to be seen"},
		},
	}
}

func page(t *testing.T) string {
	t.Helper()
	a := app()
	a.Setup()
	var b bytes.Buffer
	if err := Write(&b, a, Page{Package: "symbiosis-connect-acl", Version: "1.2.3", Date: time.Unix(0, 0).UTC(), More: ".SH FILES\nnone"}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// read formats roff as a reader sees it, and fails on any warning.
func read(t *testing.T, roff string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "page.8")
	if err := os.WriteFile(file, []byte(roff), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-P", "cat", file)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANROFFOPT=-c", "MANWIDTH=100", "GROFF_NO_SGR=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil || errs.Len() > 0 {
		t.Fatalf("man: %v: %s\n%s", err, errs.String(), roff)
	}
	// Bold is a letter, a backspace and the letter again.
	plain := out.String()
	for {
		i := strings.IndexByte(plain, '\b')
		if i < 1 {
			break
		}
		plain = plain[:i-1] + plain[i+1:]
	}
	return plain
}

func TestPageSaysWhatHelpSays(t *testing.T) {
	got := read(t, page(t))
	for _, want := range []string{
		"symbiosis-connect-sample - show every part of a page",
		`.leading dot, 'quotes', "double quotes" and a back\slash.`,
		"an example   with  its   spaces",
		".dot",
		"--root DIR",
		"Work on the tree in DIR. Default: \"/\".",
		"--verbose, -v",
		`sum [options] "ADDRESS"`,
		"Print one number.",
		"--timeout TIME",
		"Default: 2s.",
		"1970-01-01",
		"symbiosis-connect-acl 1.2.3",
		"FILES",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, hidden := range []string{"secret", "gone"} {
		if strings.Contains(got, hidden) {
			t.Errorf("the page shows %q, which --help hides", hidden)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

// The hand-written parts are checked where they are, not only once built.
func TestSectionsAreValidRoff(t *testing.T) {
	files, err := filepath.Glob("sections/*.8")
	if err != nil || len(files) == 0 {
		t.Fatal("no sections", err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		read(t, ".TH X 8\n.SH NAME\nx \\- y\n"+string(data))
	}
}
