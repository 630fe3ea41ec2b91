package command

import (
	"io"
	"os"

	"golang.org/x/term"
)

// Terminal reports whether w goes to a terminal, and how many columns it has.
func Terminal(w io.Writer) (columns int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil || columns < 20 {
		columns = 80
	}
	return columns, true
}

// Coloured reports whether what goes to w may have colours: on a terminal, when
// neither NO_COLOR nor TERM=dumb forbids it.
func Coloured(w io.Writer) bool {
	_, ok := Terminal(w)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// A Colour is one in which a terminal shows a text. The zero Colour is the
// terminal's own.
type Colour string

// The colours.
const (
	Faint  Colour = "2"
	Red    Colour = "31" // refused, wrong
	Green  Colour = "32"
	Yellow Colour = "33"
)

// Paint gives s in the colour where coloured says so.
func (c Colour) Paint(s string, coloured bool) string {
	if !coloured || c == "" {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}
