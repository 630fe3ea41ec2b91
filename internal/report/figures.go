package report

import (
	"fmt"
	"math"
	"time"

	"symbiosis-connect-acl/internal/eximlog"
)

// A figure is drawn by hand: rectangles, lines and words are all that four
// pictures need, and a library would bring a hundred times the code. It is 360
// units wide, so that its letters can be read on a telephone.
type figure struct {
	ID, Title, Desc string
	H               float64
	Rects           []rect
	Lines           []line
	Texts           []label
	Empty           bool
}

type rect struct {
	X, Y, W, H float64
	Class      string
	Opacity    float64
	Title      string
}

type line struct {
	X1, Y1, X2, Y2 float64
	Class          string
}

type label struct {
	X, Y   float64
	Anchor string
	Text   string
}

const figureWidth = 360

func (f *figure) text(x, y float64, anchor, format string, args ...any) {
	f.Texts = append(f.Texts, label{round(x), round(y), anchor, fmt.Sprintf(format, args...)})
}

func round(x float64) float64 { return math.Round(x*100) / 100 }

func (f *figure) rect(x, y, w, h float64, class string, opacity float64, title string) {
	f.Rects = append(f.Rects, rect{round(x), round(y), round(w), round(h), class, round(opacity), title})
}

func (f *figure) line(x1, y1, x2, y2 float64, class string) {
	f.Lines = append(f.Lines, line{round(x1), round(y1), round(x2), round(y2), class})
}

// axis draws the lines and numbers of an upright axis up to most, and gives what
// one unit is high.
func (f *figure) axis(left, top, bottom float64, most int64) float64 {
	step := niceStep(most)
	end := (most + step - 1) / step * step
	scale := (bottom - top) / float64(end)
	for n := int64(0); n <= end; n += step {
		y := bottom - float64(n)*scale
		f.line(left, y, figureWidth-4, y, "grid")
		f.text(left-4, y+3, "end", "%s", shortNumber(n))
	}
	return scale
}

// niceStep gives the distance of about four lines: 1, 2 or 5 with noughts.
func niceStep(most int64) int64 {
	step := int64(1)
	for ; ; step *= 10 {
		for _, m := range []int64{1, 2, 5} {
			if most <= 4*m*step {
				return m * step
			}
		}
	}
}

func shortNumber(n int64) string {
	switch {
	case n >= 10_000_000:
		return fmt.Sprintf("%dM", n/1_000_000)
	case n >= 10_000:
		return fmt.Sprintf("%dk", n/1000)
	}
	return fmt.Sprint(n)
}

// byDay stacks what each rule refused or put off on each day.
func (r *Report) byDay() figure {
	f := figure{ID: "days", Title: "Refusals by day and rule", H: 190, Empty: true}
	var most, total int64
	for _, d := range r.Days {
		most = max(most, d.Total.Stopped())
		total += d.Total.Stopped()
	}
	f.Desc = fmt.Sprintf("Stacked bars: %d refusals on %d days, at most %d on one. The table after the figure has every number.", total, len(r.Days), most)
	if most == 0 {
		return f
	}
	f.Empty = false
	const left, top, bottom = 36.0, 10.0, 160.0
	scale := f.axis(left, top, bottom, most)
	slot := (figureWidth - 4 - left) / float64(len(r.Days))
	gap := min(slot*0.2, 6)
	every := int(math.Ceil(float64(len(r.Days)) / math.Floor((figureWidth-left)/38)))
	for i, d := range r.Days {
		x, y := left+float64(i)*slot+gap/2, bottom
		for _, rule := range ruleOrder() {
			var n int64
			for _, c := range d.Rules {
				if c.Rule == rule {
					n += c.Stopped()
				}
			}
			if n == 0 {
				continue
			}
			h := float64(n) * scale
			y -= h
			f.rect(x, y, slot-gap, h, "r-"+rule, 1, fmt.Sprintf("%s, %s: %d", d.Day, rule, n))
		}
		if i%every == 0 {
			f.text(x+(slot-gap)/2, bottom+14, "middle", "%s", d.Day[5:])
		}
	}
	return f
}

func ruleOrder() []string {
	var all []string
	for rule := eximlog.Rule(1); rule < eximlog.Rules; rule++ {
		all = append(all, rule.String())
	}
	return append(all, eximlog.Other.String())
}

var weekdays = [7]string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}

// byHour is a heat map of the week.
func (r *Report) byHour() figure {
	f := figure{ID: "hours", Title: "Hours of the week", H: 7*16 + 30, Empty: true}
	var most int64
	for d := range r.Hours {
		for _, n := range r.Hours[d] {
			most = max(most, n)
		}
	}
	f.Desc = fmt.Sprintf("Heat map: the darker a field, the more refusals in that hour of the week, at most %d. The table after the figure has every number.", most)
	if most == 0 {
		return f
	}
	f.Empty = false
	const left, w = 34.0, 13.4
	for d := range r.Hours {
		f.text(left-6, float64(d)*16+13, "end", "%s", weekdays[d])
		for h, n := range r.Hours[d] {
			x, y := left+float64(h)*w, float64(d)*16+2
			f.rect(x, y, w-1.4, 14.6, "field", 1, "")
			if n > 0 {
				f.rect(x, y, w-1.4, 14.6, "heat", 0.15+0.85*float64(n)/float64(most), fmt.Sprintf("%s %02d:00: %d", weekdays[d], h, n))
			}
		}
	}
	for h := 0; h < 24; h += 6 {
		f.text(left+float64(h)*w, 7*16+16, "start", "%02d:00", h)
	}
	return f
}

// byRate has the highest rate of each host, and the limit.
func (r *Report) byRate() figure {
	f := figure{ID: "rates", Title: "Highest rate of each host", H: 190, Empty: true}
	var most, proven, others int64
	for _, b := range r.Rates.Buckets {
		most = max(most, b.Proven, b.Others)
		proven, others = proven+b.Proven, others+b.Others
	}
	f.Desc = fmt.Sprintf("Bars: the highest rates of %d proven and %d other hosts, with the limit of %g in %s as a line. The table after the figure has every number.",
		proven, others, r.Rates.Limit, r.Rates.Period)
	if most == 0 {
		return f
	}
	f.Empty = false
	const left, top, bottom = 36.0, 20.0, 160.0
	scale := f.axis(left, top, bottom, most)
	slot := (figureWidth - 4 - left) / float64(len(r.Rates.Buckets))
	at := -1.0
	for i, b := range r.Rates.Buckets {
		x := left + float64(i)*slot
		f.rect(x+slot*0.12, bottom-float64(b.Proven)*scale, slot*0.36, float64(b.Proven)*scale, "proven", 1, fmt.Sprintf("%s, proven: %d", b.name(), b.Proven))
		f.rect(x+slot*0.52, bottom-float64(b.Others)*scale, slot*0.36, float64(b.Others)*scale, "others", 1, fmt.Sprintf("%s, others: %d", b.name(), b.Others))
		if b.To < 1e6 {
			f.text(x+slot/2, bottom+14, "middle", "≤%g", b.To)
		} else {
			f.text(x+slot/2, bottom+14, "middle", ">%g", b.From)
		}
		if b.From < r.Rates.Limit && r.Rates.Limit <= b.To {
			at = x + slot*(r.Rates.Limit-b.From)/(b.To-b.From)
		}
	}
	if at >= 0 {
		f.line(at, top-6, at, bottom, "limit")
		anchor := "start"
		if at > figureWidth*0.7 {
			anchor = "end"
		}
		f.text(at, top-9, anchor, "limit %g", r.Rates.Limit)
	}
	return f
}

// byNetwork has the ten worst networks.
func (r *Report) byNetwork() figure {
	f := figure{ID: "networks", Title: "Worst networks", H: float64(len(r.Networks))*26 + 6, Empty: len(r.Networks) == 0}
	f.Desc = fmt.Sprintf("Bars: the %d networks with the most refusals. The table after the figure has every number.", len(r.Networks))
	for i, n := range r.Networks {
		y := float64(i) * 26
		f.text(2, y+11, "start", "%s", n.Net)
		f.text(figureWidth-2, y+11, "end", "%d", n.Refused)
		f.rect(2, y+14, (figureWidth-4)*float64(n.Refused)/float64(r.Networks[0].Refused), 8, "bar", 1, fmt.Sprintf("%s: %d", n.Net, n.Refused))
	}
	return f
}

// ruleDay is a line of the table beside the first figure.
type ruleDay struct {
	Day    string
	Counts []int64
	All    int64
}

func (r *Report) dayTable() (names []string, rows []ruleDay) {
	seen := map[string]bool{}
	for _, c := range r.Rules {
		seen[c.Rule] = c.Stopped() > 0
	}
	for _, rule := range ruleOrder() {
		if seen[rule] {
			names = append(names, rule)
		}
	}
	for _, d := range r.Days {
		row := ruleDay{Day: d.Day, All: d.Total.Stopped()}
		for _, name := range names {
			var n int64
			for _, c := range d.Rules {
				if c.Rule == name {
					n += c.Stopped()
				}
			}
			row.Counts = append(row.Counts, n)
		}
		rows = append(rows, row)
	}
	return names, rows
}

// hourRow is a line of the table beside the heat map.
type hourRow struct {
	Hour string
	Days [7]int64
}

func (r *Report) hourTable() []hourRow {
	var rows []hourRow
	for h := range 24 {
		row := hourRow{Hour: fmt.Sprintf("%02d:00", h)}
		for d := range 7 {
			row.Days[d] = r.Hours[d][h]
		}
		rows = append(rows, row)
	}
	return rows
}

func stamp(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }
