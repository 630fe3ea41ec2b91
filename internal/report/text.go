package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/words"
)

// width is how wide the text is.
const width = 80

// Text writes the report for a terminal or a mail: the worry first.
func (r *Report) Text(w io.Writer) error {
	t := &text{}
	t.line("%s: at the door, %s to %s", words.Printable(r.Server), day(r.Since), day(r.Until))
	c := r.Totals
	t.line("%s refused, %d put off (%s); %d would have been, by rules that learn",
		words.Plural(c.Refused, "time"), c.PutOff, words.Plural(c.Hosts, "host"), c.Would)
	for _, p := range r.Problems {
		t.wrap("NOT READ: ", p)
	}
	t.worry(r)
	t.refusals(r)
	t.rest(r)
	t.head("Advice")
	for _, a := range r.Advice {
		t.wrap(a.About+": ", a.Text)
		if a.Line != "" {
			t.b.WriteString("    " + words.Printable(a.Line) + "\n") // to be copied whole
		}
	}
	if r.hasLines() {
		t.line("The lines are for 00-main/22-connect-check-local; then: cd /etc/exim4 && make")
	}
	_, err := io.WriteString(w, t.b.String())
	return err
}

func (r *Report) hasLines() bool {
	for _, a := range r.Advice {
		if a.Line != "" {
			return true
		}
	}
	return false
}

type text struct{ b strings.Builder }

func (t *text) line(format string, args ...any) {
	text, indented := strings.CutPrefix(format, "  ")
	label := ""
	if indented {
		label = "  "
	}
	t.wrap(label, fmt.Sprintf(text, args...))
}

func (t *text) head(title string) { t.b.WriteString("\n" + title + "\n") }

// wrap writes words after a label, in lines of at most width columns.
func (t *text) wrap(label, s string) {
	line := label
	for _, word := range strings.Fields(words.Printable(s)) {
		if len([]rune(line))+1+len([]rune(word)) > width && strings.TrimSpace(line) != "" {
			t.b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = "    "
		}
		if line != "" && !strings.HasSuffix(line, " ") {
			line += " "
		}
		line += word
	}
	t.b.WriteString(line + "\n")
}

// row writes columns: the first is on the left.
func (t *text) row(first string, cells ...any) {
	fmt.Fprintf(&t.b, "  %-12s", words.Printable(first))
	for _, c := range cells {
		fmt.Fprintf(&t.b, " %10v", c)
	}
	t.b.WriteString("\n")
}

func day(at time.Time) string { return at.Local().Format("2006-01-02 15:04") }

// What an empty section says.
const (
	noHosts   = "Nobody: no host that was refused or put off is proven, white-listed, or has delivered."
	noUsers   = "Nobody: no user's host met 454."
	noSkipped = "None: every check was made."
	noDead    = "None: every list answered."
	noLearn   = "Nobody: no host that a learning rule would have refused has delivered."
	noNetwork = "None."
	noAccount = "None that the log names."
)

func (t *text) hosts(title, none string, s Some[HostLine]) {
	t.head(title)
	if s.All == 0 {
		t.line("  %s", none)
		return
	}
	for _, h := range s.First {
		t.wrap("  ", h.Host+": "+h.what())
		if h.Command != "" {
			t.b.WriteString("      " + words.Printable(h.Command) + "\n")
		}
	}
	if more := s.All - int64(len(s.First)); more > 0 {
		t.line("  and %d more", more)
	}
}

// what tells what happened to the host, and what speaks for it.
func (h HostLine) what() string {
	var parts []string
	for _, x := range []struct {
		n    int64
		what string
	}{{h.Refused, "refused"}, {h.PutOff, "put off"}, {h.Would, "would have been refused"}} {
		if x.n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", x.what, words.Plural(x.n, "time")))
		}
	}
	s := strings.Join(parts, ", ")
	if len(h.Rules) > 0 {
		s += " (" + strings.Join(h.Rules, ", ") + ")"
	}
	if len(h.For) > 0 {
		s += "; " + strings.Join(h.For, ", ")
	}
	if h.Delivered > 0 {
		s += "; " + words.Plural(h.Delivered, "message") + " accepted"
	}
	return s
}

func (t *text) worry(r *Report) {
	t.hosts("FIRST THE WORRY: hosts turned away that something speaks for", noHosts, r.Worry.Hosts)
	t.hosts("Users who met 454", noUsers, r.Worry.Users)
	t.head("Checks that were skipped")
	if len(r.Worry.Skipped) == 0 {
		t.line("  %s", noSkipped)
	}
	for _, s := range r.Worry.Skipped {
		t.wrap("  ", fmt.Sprintf("%s, %s (last %s): %s", s.Check, words.Plural(s.Times, "time"), day(s.Last), s.Reason))
		t.b.WriteString("      " + s.Command + "\n")
	}
	t.head("DNS lists that gave no answer")
	if len(r.Worry.Dead) == 0 {
		t.line("  %s", noDead)
	}
	for _, d := range r.Worry.Dead {
		t.wrap("  ", fmt.Sprintf("%s, %s (last %s)", d.List, words.Plural(d.Times, "time"), day(d.Last)))
		t.b.WriteString("      " + d.Command + "\n")
	}
}

func (t *text) refusals(r *Report) {
	t.head("Refusals by rule")
	t.row("", "refused", "put off", "would be")
	for _, c := range r.Rules {
		t.row(c.Rule, c.Refused, c.PutOff, c.Would)
	}
	t.row("all", r.Totals.Refused, r.Totals.PutOff, r.Totals.Would)
	t.head("By port")
	for _, p := range r.Ports {
		t.row(portName(p.Port), p.Refused, p.PutOff, p.Would)
	}
	if len(r.Ports) == 0 {
		t.line("  %s", noNetwork)
	}
	t.head("By day")
	if len(r.Days) == 0 {
		t.line("  %s", noNetwork)
	}
	// The last ones fit into a line; all are in the other formats.
	days := r.Days[max(0, len(r.Days)-60):]
	if len(days) > 0 {
		stopped, would := make([]int64, len(days)), make([]int64, len(days))
		for i, d := range days {
			stopped[i], would[i] = d.Total.Stopped(), d.Total.Would
		}
		t.b.WriteString("  refused   " + sparkline(stopped) + "\n  would be  " + sparkline(would) + "\n")
		t.line("  %s to %s", days[0].Day, days[len(days)-1].Day)
	}
	for _, d := range days[max(0, len(days)-7):] {
		t.row(d.Day, d.Total.Refused, d.Total.PutOff, d.Total.Would)
	}
}

func portName(port int) string {
	if port == 0 {
		return "not logged"
	}
	return fmt.Sprint(port)
}

// sparkline draws numbers as bars; a number that is not 0 shows.
func sparkline(ns []int64) string {
	var most int64
	for _, n := range ns {
		most = max(most, n)
	}
	bars := []rune("▁▂▃▄▅▆▇█")
	var b strings.Builder
	for _, n := range ns {
		if n == 0 {
			b.WriteByte('.')
			continue
		}
		b.WriteRune(bars[int((n*int64(len(bars))-1)/most)])
	}
	return b.String()
}

func (t *text) rest(r *Report) {
	t.hosts(fmt.Sprintf("Learn mode: %s would have been refused. Of them, these delivered", words.Plural(r.Learn.Hosts, "host")),
		noLearn, r.Learn.Delivered)
	t.head("Worst networks")
	for _, n := range r.Networks {
		t.b.WriteString(fmt.Sprintf("  %-24s %10d  %s\n", n.Net, n.Refused, words.Plural(n.Hosts, "host")))
	}
	if len(r.Networks) == 0 {
		t.line("  %s", noNetwork)
	}
	if r.Accounts != nil {
		t.head("Accounts under attack")
		for _, a := range r.Accounts.Worst {
			t.wrap("  ", fmt.Sprintf("%s: %s from %s", a.Name, words.Plural(a.Tries, "failed login"), words.Plural(a.Hosts, "host")))
		}
		if len(r.Accounts.Worst) == 0 {
			t.line("  %s", noAccount)
		} else if r.Accounts.AtLeast {
			t.line("  (at least: there were more names than are counted)")
		}
	}
	t.head("Guesses and reaction")
	t.line("  %s. %s", r.Guesses.sentence(), r.Reaction.sentence())
	t.head("DNS lists")
	for _, l := range r.Lists {
		t.line("  %s", l.sentence(r.Asked))
	}
	if len(r.Lists) == 0 {
		t.line("  They decided nothing.")
	}
	t.head("Highest rate of each host")
	t.b.WriteString(fmt.Sprintf("  %-14s %10s %10s\n", "in "+r.Rates.Period, "proven", "others"))
	for _, b := range r.Rates.Buckets {
		t.b.WriteString(fmt.Sprintf("  %-14s %10d %10d\n", b.name(), b.Proven, b.Others))
	}
	t.line("  %s", r.Rates.sentence())
	t.head("hosts.db now")
	s := r.Standing
	t.line("  %s: %d users', %d senders, %d guessers, %d offenders, %d of them on parole", words.Plural(s.Hosts, "host"), s.Users, s.Senders, s.Guessers, s.Offenders, s.Parole)
	for _, d := range r.Databases {
		t.line("  %s", d.sentence())
	}
	t.line("  %s", r.firewallSentence())
}

func (g Guesses) sentence() string {
	return fmt.Sprintf("%s got %s through before being refused (median %d, most %d); %s with %d failed logins met no refusal for it",
		words.Plural(g.Hosts, "host"), words.Plural(g.Before, "login attempt"), g.Median, g.Most, words.Plural(g.Unstopped, "host"), g.Their)
}

func (r Reaction) sentence() string {
	if r.Hosts == 0 {
		return "No host was refused for what it had done in the period."
	}
	return fmt.Sprintf("From the first offence to the first refusal for it: median %s, nine in ten within %s, longest %s (%s).",
		spell(r.Median), spell(r.Nine), spell(r.Longest), words.Plural(r.Hosts, "host"))
}

// spell spells a time without its empty parts: 30m, not 30m0s.
func spell(seconds int64) string {
	s := (time.Duration(seconds) * time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

func (l ListCount) sentence(asked int64) string {
	s := fmt.Sprintf("%s: decided %s", l.List, words.Plural(l.Refused+l.Would, "time"))
	if asked > 0 {
		s += fmt.Sprintf("; names %d of %s, %d alone", l.Named, words.Plural(asked, "host"), l.Alone)
	}
	if l.Failed > 0 {
		s += fmt.Sprintf("; no answer %s", words.Plural(l.Failed, "time"))
	}
	return s
}

func (b Bucket) name() string {
	if b.To >= 1e6 {
		return fmt.Sprintf("over %g", b.From)
	}
	return fmt.Sprintf("up to %g", b.To)
}

func (r Rates) sentence() string {
	from := "From the messages of each host, which may be more than its connections."
	if r.Measured {
		from = "From what the rate rule measured, and from messages."
	}
	return fmt.Sprintf("The limit is %g in %s. %s", r.Limit, r.Period, from)
}

func (d Database) sentence() string { return d.Name + ": " + size(d.Bytes) }

func size(n int64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d MB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d kB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}

func (r *Report) firewallSentence() string {
	s := fmt.Sprintf("The firewall blocks %s, %d of them by its scan.", words.Plural(r.Blocked.Automatic+r.Blocked.Manual, "network"), r.Blocked.Automatic)
	if !r.LastScan.IsZero() {
		s += " It last counted somebody at " + day(r.LastScan) + "."
	}
	return s
}
