package report

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/html"

	"symbiosis-connect-acl/internal/report"
	"symbiosis-connect-acl/tests/lab"
)

// program gives the command, built from this checkout.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "connect-acl-report-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "symbiosis-connect-db")
	cmd := exec.Command("go", "build", "-tags", "netgo,osusergo,sqlite_omit_load_extension,urfave_cli_no_docs", "-o", path, "./cmd/symbiosis-connect-db")
	cmd.Dir = lab.SourceDir()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := program(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// A server is a tree with what the week has left behind.
type server struct {
	t    testing.TB
	root string
}

func newServer(t testing.TB) server {
	t.Helper()
	if _, err := exec.LookPath("sqlite3"); err != nil && os.Getenv("CONNECT_ACL_LAB") != "require" {
		t.Skip("this needs sqlite3")
	}
	s := server{t, t.TempDir()}
	must(t, os.Chmod(s.root, 0o755))
	for path, text := range map[string]string{
		"etc/exim4/Makefile": "", "etc/exim4/symbiosis.d/00-main/30-acl-definitions": "", "etc/mailname": "mail.example.org\n",
		"etc/exim4/whitelist_connect_hosts": "# friends\n" + friend + "\n", "etc/symbiosis/firewall/blacklist.d/8.8.8.8.auto": "all\n",
	} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(s.root, path)), 0o755))
		must(t, os.WriteFile(filepath.Join(s.root, path), []byte(text), 0o644))
	}
	database(t, s.root)
	data, err := os.ReadFile("testdata/week.log")
	must(t, err)
	s.write("var/log/exim4/mainlog", data)
	return s
}

func (s server) write(path string, data []byte) {
	s.t.Helper()
	path = filepath.Join(s.root, path)
	must(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(s.t, os.WriteFile(path, data, 0o644))
	end := time.Date(2026, 11, 22, 23, 59, 0, 0, time.UTC)
	must(s.t, os.Chtimes(path, end, end))
}

// run runs the report of the week.
func (s server) run(args ...string) string {
	s.t.Helper()
	path, err := program()
	must(s.t, err)
	cmd := exec.Command(path, append([]string{"--now", "2026-11-23T00:00:00Z", "report", "--root", s.root, "--log", filepath.Join(s.root, "var/log/exim4/mainlog")}, args...)...)
	cmd.Env = append(os.Environ(), "TZ=UTC")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		s.t.Fatalf("report %v: %v\n%s", args, err, stderr.String())
	}
	return string(out)
}

func (s server) report() report.Report {
	s.t.Helper()
	var r report.Report
	d := json.NewDecoder(strings.NewReader(s.run("--format", "json")))
	d.DisallowUnknownFields()
	must(s.t, d.Decode(&r))
	return r
}

func wanted(t testing.TB) want {
	t.Helper()
	data, err := os.ReadFile("testdata/week.json")
	must(t, err)
	var w want
	must(t, json.Unmarshal(data, &w))
	return w
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: the report has\n%v\nand the clients saw\n%v", what, got, want)
	}
}

// Every number is what the clients saw on their side of the wire.
func TestNumbers(t *testing.T) {
	s := newServer(t)
	r, w := s.report(), wanted(t)

	cells := map[string]int{}
	for _, d := range r.Days {
		for _, c := range d.Rules {
			for verdict, n := range map[string]int64{"refused": c.Refused, "put_off": c.PutOff, "would": c.Would} {
				if n > 0 {
					cells[fmt.Sprintf("%s %s %d %s", d.Day, c.Rule, c.Port, verdict)] = int(n)
				}
			}
		}
	}
	same(t, "by day, rule and port", cells, w.Cells)
	sum := func(pick func(rule, port, verdict string) bool) (n int64) {
		for cell, times := range w.Cells {
			f := strings.Fields(cell)
			if pick(f[1], f[2], f[3]) {
				n += int64(times)
			}
		}
		return n
	}
	same(t, "refused", r.Totals.Refused, sum(func(_, _, v string) bool { return v == "refused" }))
	same(t, "put off", r.Totals.PutOff, sum(func(_, _, v string) bool { return v == "put_off" }))
	same(t, "would", r.Totals.Would, sum(func(_, _, v string) bool { return v == "would" }))
	for _, c := range r.Rules {
		same(t, c.Rule, c.Refused+c.PutOff+c.Would, sum(func(rule, _, _ string) bool { return rule == c.Rule }))
	}
	for _, c := range r.Ports {
		same(t, fmt.Sprint("port ", c.Port), c.Refused+c.PutOff+c.Would, sum(func(_, port, _ string) bool { return port == strconv.Itoa(c.Port) }))
	}
	hours := map[string]int{}
	for d := range r.Hours {
		for h, n := range r.Hours[d] {
			if n > 0 {
				hours[fmt.Sprintf("%d %02d", d, h)] = int(n)
			}
		}
	}
	same(t, "hours of the week", hours, w.Hours)
	networks := map[string]int{}
	for _, n := range r.Networks {
		networks[n.Net] = int(n.Refused)
	}
	same(t, "networks", networks, w.Networks)
	guesses := map[string]int{}
	for _, a := range r.Accounts.Worst {
		guesses[a.Name] = int(a.Tries)
	}
	same(t, "accounts", guesses, w.Guesses)
	same(t, "failed logins", int(r.Totals.FailedLogins), w.Failed)
	lists := map[string]int{}
	for _, l := range r.Lists {
		if l.Refused+l.Would > 0 {
			lists[l.List] = int(l.Refused + l.Would)
		}
	}
	same(t, "lists", lists, w.Lists)
	dead, skipped := map[string]int{}, map[string]int{}
	for _, d := range r.Worry.Dead {
		dead[d.List] = int(d.Times)
	}
	for _, x := range r.Worry.Skipped {
		skipped[x.Check] += int(x.Times)
	}
	same(t, "dead lists", dead, w.Dead)
	same(t, "skipped", skipped, w.Skipped)

	before, most := int64(0), int64(0)
	for _, n := range w.First454 {
		before, most = before+int64(n), max(most, int64(n))
	}
	same(t, "guesses before refusal", []int64{r.Guesses.Hosts, r.Guesses.Before, r.Guesses.Most}, []int64{int64(len(w.First454)), before, most})
	same(t, "guessers that met none", []int64{r.Guesses.Unstopped, r.Guesses.Their}, []int64{1, 2}) // the knocker
	// Half an hour between the guesser's first failure and its refusal; the clock
	// went on while it was at it.
	if got := r.Reaction; got.Hosts != 2 || got.Longest < 1800 || got.Longest > 1860 {
		t.Errorf("reaction: %+v", got)
	}
	same(t, "learn", r.Learn.Hosts, int64(len(w.WouldHost)))
}

func names(s report.Some[report.HostLine]) []string {
	var all []string
	for _, h := range s.First {
		all = append(all, h.Host+": "+strings.Join(h.For, ", ")+" | "+strings.Join(h.Rules, " "))
	}
	slices.Sort(all)
	return all
}

// The worry has those, and only those, whom somebody should look at.
func TestWorry(t *testing.T) {
	r := newServer(t).report()
	want := []string{
		sender + ": a proven sender, delivered before, delivered after | dnsbl",
		friend + ": in whitelist_connect_hosts | history",
	}
	var users []string
	for _, host := range wanted(t).Users454 {
		users = append(users, host+": a user has logged in from it | auth")
	}
	want = append(want, users...)
	slices.Sort(want)
	same(t, "hosts", names(r.Worry.Hosts), want)
	same(t, "users", names(r.Worry.Users), users)
	same(t, "learn", names(r.Learn.Delivered), []string{newsmail + ":  | dnsbl"})
	for _, h := range r.Worry.Users.First {
		if h.Command != "symbiosis-connect-db show "+h.Host {
			t.Errorf("the command that helps: %q", h.Command)
		}
	}
	st := r.Standing
	same(t, "standing", []int64{st.Users, st.Senders, st.Over}, []int64{1, 1, 0})
	same(t, "advice", fmt.Sprint(r.Advice[0].About, r.Advice[1].About, r.Advice[2].About), "ratethresholdlists")

	// An empty section says that there was nobody.
	s := newServer(t)
	s.write("var/log/exim4/mainlog", nil)
	for _, format := range []string{"text", "html"} {
		out := strings.Join(strings.Fields(s.run("--format", format)), " ")
		for _, want := range []string{"Nobody: no host that was refused", "Nobody: no user", "None: every check was made.", "None: every list answered."} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: an empty report does not say %q:\n%s", format, want, out)
			}
		}
	}
}

// Text, JSON and the page say the same.
func TestFormatsAgree(t *testing.T) {
	s := newServer(t)
	r, text := s.report(), s.run()
	for _, l := range strings.Split(text, "\n") {
		if len([]rune(l)) > 80 {
			t.Errorf("longer than 80 columns: %q", l)
		}
	}
	tables := pageTables(t, s.run("--format", "html"))
	section := func(head string) string {
		_, rest, ok := strings.Cut(text, "\n"+head+"\n")
		if !ok {
			t.Errorf("the text has no %q", head)
		}
		body, _, _ := strings.Cut(rest, "\n\n")
		return body
	}
	row := func(cells ...any) string {
		var all []string
		for _, c := range cells {
			all = append(all, fmt.Sprint(c))
		}
		return strings.Join(all, " ")
	}
	check := func(caption, head string, want []string) {
		t.Helper()
		got := tables[caption]
		if len(got) == 0 || !slices.Equal(got[1:], want) {
			t.Errorf("%s: the page has %q; want %q", caption, got, want)
		}
		if head == "" {
			return
		}
		var lines []string
		for _, l := range strings.Split(section(head), "\n") {
			lines = append(lines, strings.Join(strings.Fields(l), " "))
		}
		for _, w := range want {
			if !slices.Contains(lines, w) {
				t.Errorf("%s: the text has no line %q:\n%s", head, w, section(head))
			}
		}
	}
	var rules, ports, nets, rates []string
	for _, c := range r.Rules {
		rules = append(rules, row(c.Rule, c.Refused, c.PutOff, c.Would))
	}
	rules = append(rules, row("all", r.Totals.Refused, r.Totals.PutOff, r.Totals.Would))
	for _, p := range r.Ports {
		port := fmt.Sprint(p.Port)
		if p.Port == 0 {
			port = "not logged"
		}
		ports = append(ports, row(port, p.Refused, p.PutOff, p.Would))
	}
	for _, n := range r.Networks {
		nets = append(nets, row(n.Net, n.Refused, n.Hosts))
	}
	for _, b := range r.Rates.Buckets {
		rates = append(rates, row(b.Name(), b.Proven, b.Others))
	}
	check("By rule", "Refusals by rule", rules)
	check("By port", "By port", ports)
	check("Refused or put off, networks", "", nets)
	check("Hosts by their highest rate in 15m", "Highest rate of each host", rates)
	for _, n := range r.Networks {
		if !regexp.MustCompile(fmt.Sprintf(`(?m)^  %s +%d  %d host`, regexp.QuoteMeta(n.Net), n.Refused, n.Hosts)).MatchString(text) {
			t.Errorf("the text does not have %+v", n)
		}
	}
	var days []string
	for _, d := range r.Days {
		days = append(days, row(d.Day, d.Total.Refused, d.Total.PutOff, d.Total.Would))
	}
	for _, d := range days {
		if !strings.Contains(strings.Join(strings.Fields(section("By day")), " "), d) {
			t.Errorf("the text has no day %q", d)
		}
	}
	for i, got := range tables["Refused or put off, days"][1:] {
		f := strings.Fields(got)
		if d := r.Days[i]; f[0] != d.Day || f[len(f)-1] != fmt.Sprint(d.Total.Stopped()) {
			t.Errorf("the page's day is %q; want %s with %d", got, d.Day, d.Total.Stopped())
		}
	}
}

// pageTables gives the rows of each table, by its caption. Three have the same
// one, and are told apart by their first column.
func pageTables(t *testing.T, page string) map[string][]string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	must(t, err)
	var words func(n *html.Node) string
	words = func(n *html.Node) string {
		if n.Type == html.TextNode {
			return n.Data
		}
		s := ""
		for c := range n.ChildNodes() {
			s += words(c)
		}
		return s
	}
	all := map[string][]string{}
	for table := range root.Descendants() {
		if table.Data != "table" {
			continue
		}
		caption, rows := "", []string{}
		for n := range table.Descendants() {
			switch n.Data {
			case "caption":
				caption = words(n)
			case "tr":
				var cells []string
				for c := range n.ChildNodes() {
					if c.Type == html.ElementNode {
						cells = append(cells, words(c))
					}
				}
				rows = append(rows, strings.Join(cells, " "))
			}
		}
		if caption == "Refused or put off" {
			first, _, _ := strings.Cut(rows[0], " ")
			caption += ", " + first + "s"
		}
		all[caption] = rows
	}
	return all
}

// Whatever a client calls itself is text in the page, and no more. The log is
// one that a careless Exim might have written.
func TestHostileNames(t *testing.T) {
	s := newServer(t)
	const evil = `<img src=x onerror=alert(1)>`
	s.write("var/log/exim4/mainlog", []byte(strings.Join([]string{
		`2026-11-20 10:00:00 H=(` + evil + `) [192.0.2.1] rejected connection in "connect" ACL: 192.0.2.1 is blacklisted at "><script>alert(1)</script> (127.0.0.2, score 1)`,
		`2026-11-20 10:00:01 H=(` + evil + `) [192.0.2.1] Warning: <b>bold</b> check skipped: </pre><script>alert(2)</script>`,
		`2026-11-20 10:00:01 H=[192.0.2.1] Warning: history check skipped: </pre><script>alert(2)</script>` + "\x1b[31m",
		`2026-11-20 10:00:02 H=[192.0.2.1] Warning: DNSBL check: <svg/onload=alert(3)>.example: no answer`,
		`2026-11-20 10:00:03 connect-acl: failed login from [192.0.2.1] (set_id=<script>alert(4)</script>)`,
		`2026-11-20 10:00:04 1xWiZA-000AIm-0o <= "` + evil + `"@x H=(` + evil + `) [192.0.2.1] P=smtp S=1 T="` + evil + `"`,
	}, "\n")+"\n"))
	page := s.run("--format", "html")
	for _, bad := range []string{"<script", "<img", "<svg/", "onerror=alert", "<b>"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if !strings.Contains(page, "&lt;script&gt;alert(2)") {
		t.Error("what was said does not stand in the page as text")
	}
	if text := s.run(); strings.Contains(text, "\x1b") {
		t.Error("the text has an escape sequence")
	}
	if out := s.run("--prometheus", filepath.Join(s.root, "m.prom")); out != "" {
		t.Errorf("with --prometheus alone: %q", out)
	}
	promtool(t, filepath.Join(s.root, "m.prom"))
}

func promtool(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	if _, err := exec.LookPath("promtool"); err != nil && os.Getenv("CONNECT_ACL_LAB") != "require" {
		t.Skip("this needs promtool")
	}
	cmd := exec.Command("promtool", "check", "metrics")
	cmd.Stdin = f
	if out, err := cmd.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// The metrics have the numbers too, and nobody's name or address.
func TestMetrics(t *testing.T) {
	s := newServer(t)
	path := filepath.Join(s.root, "connect.prom")
	s.run("--prometheus", path)
	promtool(t, path)
	data, err := os.ReadFile(path)
	must(t, err)
	got, want := map[string]int64{}, map[string]int64{}
	for _, m := range regexp.MustCompile(`(?m)^connect_acl_(?:refusals|learn_verdicts)\{rule="(\w+)",port="(\w+)",verdict="(refused|put_off|would_refuse)"\} (\d+)$`).FindAllStringSubmatch(string(data), -1) {
		n, _ := strconv.ParseInt(m[4], 10, 64)
		got[m[1]+" "+strings.Replace(m[2], "unknown", "0", 1)+" "+strings.TrimSuffix(m[3], "_refuse")] = n
	}
	for cell, n := range wanted(t).Cells {
		want[cell[len("2026-11-16 "):]] += int64(n)
	}
	if !maps.Equal(got, want) {
		t.Errorf("the metrics have %v; want %v", got, want)
	}
	for _, private := range []string{family, sender, "example.org\"", "bob", "info"} {
		if strings.Contains(string(data), private) {
			t.Errorf("the metrics name %q", private)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o644 {
		t.Errorf("the collector must be able to read it: %v %v", st.Mode(), err)
	}
	page := filepath.Join(s.root, "page.html")
	s.run("--format", "html", "--output", page)
	if st, err := os.Stat(page); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the page has names in it, and is for root: %v %v", st.Mode(), err)
	}
}

// accessible looks for what axe does not need to be asked: it runs without it.
const accessible = `(() => {
  const bad = [];
  if (!document.documentElement.lang) bad.push("no language");
  if (!document.title) bad.push("no title");
  if (document.querySelectorAll("main").length !== 1) bad.push("no main");
  let level = 0;
  for (const h of document.querySelectorAll("h1,h2,h3,h4")) { const n = +h.tagName[1]; if (n > level + 1) bad.push("heading " + h.textContent + " leaves one out"); level = n; }
  for (const t of document.querySelectorAll("table")) if (!t.caption && !t.querySelector("th[scope]") || t.querySelector("th:not([scope])")) bad.push("a table without headings");
  for (const f of document.querySelectorAll("svg")) {
    if (f.getAttribute("role") !== "img" || !f.getAttribute("aria-labelledby").split(" ").every(id => document.getElementById(id).textContent)) bad.push("a figure without words");
    const r = f.getBoundingClientRect(), drawn = [...f.querySelectorAll("rect:not(.field)")].filter(x => x.getBoundingClientRect().width > 0.5 && x.getBoundingClientRect().height > 0.5);
    if (r.width < 200 || r.height < 40 || drawn.length === 0) bad.push("an empty figure");
    for (const x of f.querySelectorAll("rect,text")) { const q = x.getBoundingClientRect(); if (q.left < r.left - 1 || q.right > r.right + 1 || q.top < r.top - 1 || q.bottom > r.bottom + 1) bad.push("out of its figure: " + x.outerHTML.slice(0, 100)); }
    for (const x of f.querySelectorAll("text")) if (x.getBoundingClientRect().height < 9) bad.push("too small to read: " + x.textContent);
  }
  if (document.documentElement.scrollWidth > innerWidth) bad.push("wider than the window: " + document.documentElement.scrollWidth);
  for (const e of document.querySelectorAll("main *:not(svg *)")) { const q = e.getBoundingClientRect(); if (q.right > innerWidth + 1 && !e.closest(".scroll")) bad.push("over the edge: " + e.outerHTML.slice(0, 100)); }
  return bad;
})()`

// The page in a browser: nothing overflows, at three widths, in light and in
// dark; nothing is said on the console; nobody is asked for anything; and axe
// has nothing against it.
func TestPage(t *testing.T) {
	s := newServer(t)
	path := filepath.Join(s.root, "page.html")
	s.run("--format", "html", "--output", path)
	url := "file://" + path
	b := browse(t, url)
	axe, err := os.ReadFile(filepath.Join(lab.SourceDir(), "build", "axe.min.js"))
	if err != nil && os.Getenv("CONNECT_ACL_LAB") == "require" {
		t.Fatalf("%v: make deps-test fetches it", err)
	}
	if got := b.complaints(url); len(got) > 0 {
		t.Errorf("the page: %q", got)
	}
	shots := map[string]bool{}
	for _, width := range []int{360, 768, 1440} {
		for _, scheme := range []string{"light", "dark"} {
			b.look(width, scheme)
			var bad []string
			if b.eval(accessible, &bad); len(bad) > 0 {
				t.Errorf("%d, %s: %q", width, scheme, bad)
			}
			shot := b.shot()
			shots[string(shot)] = true
			if dir := os.Getenv("CONNECT_ACL_SHOTS"); dir != "" {
				must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("page-%d-%s.png", width, scheme)), shot, 0o644))
			}
			if axe == nil {
				continue
			}
			var found []string
			b.eval(string(axe)+`; axe.run().then(r => r.violations.map(v => v.id + ": " + v.nodes.map(n => n.html.slice(0, 120)).join(" ; ")))`, &found)
			if len(found) > 0 {
				t.Errorf("axe at %d, %s: %q", width, scheme, found)
			}
		}
	}
	if len(shots) != 6 {
		t.Errorf("%d different pictures of 6", len(shots))
	}
}

var update = flag.Bool("update", false, "make the README's figure again")

// README's figure is the one that the command makes.
func TestFigure(t *testing.T) {
	const path = "../../docs/report.svg"
	got := newServer(t).run("--format", "svg")
	if *update {
		must(t, os.WriteFile(path, []byte(got), 0o644))
	}
	old, err := os.ReadFile(path)
	must(t, err)
	if string(old) != got {
		t.Errorf("%s is another: go test ./tests/report -run Figure -update", path)
	}
}

// BenchmarkLog measures time and memory on large logs.
func BenchmarkLog(b *testing.B) {
	day, err := os.ReadFile("testdata/week.log")
	must(b, err)
	lines := strings.SplitAfter(strings.TrimSuffix(string(day), "\n")+"\n", "\n")
	lines = lines[:len(lines)-1]
	for _, kind := range []struct {
		name string
		line func(i int) string
		size int64
		gz   bool
	}{
		{"mixed", func(i int) string { return lines[i%len(lines)][20:] }, 1 << 30, false},
		{"mixed.gz", func(i int) string { return lines[i%len(lines)][20:] }, 1 << 30, true},
		{"refusals", func(i int) string {
			h := i * 7919 % 1000000
			return fmt.Sprintf("H=[%d.%d.%d.%d] rejected connection in \"connect\" ACL: Blacklisted: Denied access - history of unwanted activity (count 30, threshold 10)\n",
				45+h>>20, h>>12&255, h>>4&255, h&15*13+1)
		}, 0, false},
	} {
		b.Run(kind.name, func(b *testing.B) {
			s := newServer(b)
			path := filepath.Join(s.root, "var/log/exim4/mainlog")
			must(b, os.Remove(path))
			if kind.gz {
				path += ".1.gz"
			}
			f, err := os.Create(path)
			must(b, err)
			var packed io.WriteCloser = f
			if kind.gz {
				packed = gzip.NewWriter(f)
			}
			w := bufio.NewWriterSize(packed, 1<<20)
			begin := time.Date(2026, 11, 16, 0, 0, 0, 0, time.UTC)
			size := int64(0)
			for i := 0; kind.size > 0 && size < kind.size || kind.size == 0 && i < 10_000_000; i++ {
				n, err := w.WriteString(begin.Add(time.Duration(i)*60*time.Millisecond).Format("2006-01-02 15:04:05 ") + kind.line(i))
				must(b, err)
				size += int64(n)
			}
			must(b, w.Flush())
			must(b, packed.Close())
			b.SetBytes(size)
			var most int64
			for b.Loop() {
				most = max(most, s.memory())
			}
			b.ReportMetric(float64(most)/1024, "MB-resident")
		})
	}
}

// memory runs the report and gives the most memory that it had, in kB.
func (s server) memory() int64 {
	s.t.Helper()
	path, err := program()
	must(s.t, err)
	cmd := exec.Command(path, "--now", "2026-11-23T00:00:00Z", "report", "--root", s.root, "--log", filepath.Join(s.root, "var/log/exim4/mainlog"))
	cmd.Env = append(os.Environ(), "TZ=UTC")
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
	return cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
}
