package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// quantile gives the q-th quantile of d, which it sorts.
func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, int(q*float64(len(d))))]
}

func median(d []time.Duration) time.Duration { return quantile(d, 0.5) }

// A spread is a ratio in each of several rounds.
type spread []float64

func (s spread) median() float64 {
	c := slices.Clone(s)
	slices.Sort(c)
	if len(c) == 0 {
		return 0
	}
	if len(c)%2 == 0 {
		return (c[len(c)/2-1] + c[len(c)/2]) / 2
	}
	return c[len(c)/2]
}

func (s spread) String() string {
	if len(s) == 0 {
		return "-"
	}
	return fmt.Sprintf("**%s** (%s to %s)", number(s.median()), number(slices.Min(s)), number(slices.Max(s)))
}

// number spells a figure with as many digits as it is worth.
func number(f float64) string {
	switch {
	case f >= 100:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}

func ms(d time.Duration) string { return number(float64(d)/1e6) + " ms" }

// rowsText spells a number of rows.
func rowsText(n int) string {
	switch {
	case n >= 1_000_000 && n%1_000_000 == 0:
		return fmt.Sprintf("%d M", n/1_000_000)
	case n >= 1000 && n%1000 == 0:
		return fmt.Sprintf("%d k", n/1000)
	}
	return fmt.Sprint(n)
}

// A table is written in Markdown.
type table struct{ b strings.Builder }

func newTable(head ...string) *table {
	t := &table{}
	t.row(head...)
	t.row(slices.Repeat([]string{"---"}, len(head))...)
	return t
}

func (t *table) row(cells ...string) {
	t.b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

func (t *table) String() string { return t.b.String() }
