package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"

	"symbiosis-connect-acl/internal/words"
)

//go:embed report.html
var pageText string

//go:embed report.css
var styleText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"time":  stamp,
	"port":  portName,
	"join":  func(s []string) string { return strings.Join(s, ", ") },
	"shown": words.Printable,
	"style": func() template.CSS { return template.CSS(styleText) },
	"size":  size,
	"lacks": func(s Some[HostLine]) int64 { return s.All - int64(len(s.First)) },
}).Parse(pageText))

// HTML writes the report as one page that needs nothing else: no script, no
// picture, no font, no network.
func (r *Report) HTML(w io.Writer) error {
	names, rows := r.dayTable()
	return page.ExecuteTemplate(w, "page", struct {
		*Report
		DayFigure, HourFigure, RateFigure, NetFigure figure
		DayNames                                     []string
		DayRows                                      []ruleDay
		Weekdays                                     [7]string
		HourRows                                     []hourRow
		NoHosts, NoUsers, NoSkipped, NoDead, NoLearn string
		HasLines                                     bool
		GuessText, ReactionText, RateText, FireText  string
	}{r, r.byDay(), r.byHour(), r.byRate(), r.byNetwork(), names, rows, weekdays, r.hourTable(),
		noHosts, noUsers, noSkipped, noDead, noLearn, r.hasLines(),
		r.Guesses.sentence(), r.Reaction.sentence(), r.Rates.sentence(), r.firewallSentence()})
}

// Figure writes one figure, refusals by day and rule, as a picture of its own.
func (r *Report) Figure(w io.Writer) error {
	names, _ := r.dayTable()
	f := r.byDay()
	h := f.H + float64((len(names)+2)/3)*16
	return page.ExecuteTemplate(w, "picture", struct {
		Figure  figure
		Legend  []legend
		H, Tall float64
	}{f, legends(names), h, 2 * h})
}

type legend struct {
	X, Y        float64
	Class, Name string
}

func legends(names []string) []legend {
	var all []legend
	for i, name := range names {
		all = append(all, legend{36 + float64(i%3)*108, 190 + float64(i/3)*16, "r-" + name, name})
	}
	return all
}

// Name spells a bucket.
func (b Bucket) Name() string { return b.name() }

// What spells what happened to the host.
func (h HostLine) What() string { return h.what() }

// Title is the report's heading.
func (r *Report) Title() string {
	return fmt.Sprintf("%s: at the door, %s to %s", words.Printable(r.Server), stamp(r.Since), stamp(r.Until))
}
