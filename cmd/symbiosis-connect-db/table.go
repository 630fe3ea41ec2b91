package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"symbiosis-connect-acl/cmd/internal/command"
	"symbiosis-connect-acl/internal/words"
)

// A column of the table. Numbers stand on the right; drop says in which order
// columns give way when the terminal is too narrow, 0 never.
type column struct {
	title  string
	right  bool
	drop   int
	values []string
	width  int
}

// writeTable fits the table into that many columns; 0 means as wide as it gets.
func writeTable(w io.Writer, records []record, withLists bool, columns int, coloured bool) {
	cols := []*column{
		{title: "ADDRESS"}, {title: "COUNT", right: true}, {title: "REPORTS", right: true, drop: 2},
		{title: "FIRST", drop: 1}, {title: "LAST", drop: 4}, {title: "DENIED", drop: 5}, {title: "STANDING", drop: 6}, {title: "FIREWALL", drop: 3},
	}
	if withLists {
		cols = append(cols, &column{title: "DNSBL", drop: 7})
	}
	for _, r := range records {
		last := strings.Replace(strings.TrimSuffix(r.Last, ":00Z"), "T", " ", 1)
		if t, err := time.Parse(time.RFC3339, r.Last); err == nil {
			last = t.Format("2006-01-02 15:04")
		}
		values := []string{r.Address, strconv.FormatInt(r.Count, 10), strconv.FormatInt(r.Reports, 10), r.First, last,
			r.denied, r.standingText(), r.firewallText()}
		if withLists {
			values = append(values, r.DNSBL.text())
		}
		for i, v := range values {
			cols[i].values = append(cols[i].values, words.Printable(v))
		}
	}
	cols = slices.DeleteFunc(cols, func(c *column) bool {
		return c.title == "STANDING" && !slices.ContainsFunc(c.values, func(v string) bool { return v != "" })
	})
	cols = fit(cols, columns)
	line := func(cell func(*column) string, denied bool) {
		var b strings.Builder
		for i, c := range cols {
			if i > 0 {
				b.WriteString("  ")
			}
			v := cell(c)
			pad := strings.Repeat(" ", max(0, c.width-utf8.RuneCountInString(v)))
			if c.right {
				b.WriteString(pad + v)
			} else {
				b.WriteString(v + pad)
			}
		}
		text := strings.TrimRight(b.String(), " ")
		fmt.Fprintln(w, command.Red.Paint(text, denied && coloured))
	}
	line(func(c *column) string { return c.title }, false)
	for i, r := range records {
		line(func(c *column) string { return clip(c.values[i], c.width) }, r.Denied)
	}
}

func clip(s string, width int) string {
	r := []rune(s)
	if len(r) <= width {
		return s
	}
	if width <= 3 {
		return string(r[:width])
	}
	return string(r[:width-3]) + "..."
}

// fit sets the widths: first the last column gives way, then whole columns.
func fit(cols []*column, columns int) []*column {
	const leastLast = 12
	for {
		total := 2 * (len(cols) - 1)
		for _, c := range cols {
			c.width = len(c.title)
			for _, v := range c.values {
				c.width = max(c.width, utf8.RuneCountInString(v))
			}
			total += c.width
		}
		if columns == 0 || total <= columns {
			return cols
		}
		last := cols[len(cols)-1]
		if spare := last.width - (total - columns); !last.right && spare >= min(leastLast, last.width) {
			last.width = spare
			return cols
		}
		victim := -1
		for i, c := range cols {
			if c.drop > 0 && (victim < 0 || c.drop < cols[victim].drop) {
				victim = i
			}
		}
		if victim < 0 {
			// Address and count alone: they are not to be cut.
			return cols
		}
		cols = slices.Delete(slices.Clone(cols), victim, victim+1)
	}
}
