// Command bench measures what the connect checks cost, side by side with the
// alternatives, and writes docs/benchmarks.md.
//
//	go run ./tests/bench [flags] [NAME...]
//
// A NAME is one of the parts: connection, ablation, helper, dnsbl, attack,
// database, zone, fleet, patterns, siege. Without one all are run, which takes an hour. A part
// that is run alone replaces its own section of the document only.
//
// Every figure is of several rounds in which the alternatives take turns, so
// that a machine that is busy with something else slows all of them. What
// counts is the ratio of two medians of the same round.
package main

import (
	"embed"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"symbiosis-connect-acl/internal/blacklist/blacklisttest"
	"symbiosis-connect-acl/tests/lab"
)

//go:embed notes
var files embed.FS

// A part measures one thing and gives its section of the document.
type part struct {
	name, title string
	run         func(b *bench) string
}

var parts = []part{
	{"connection", "A connection", connection},
	{"ablation", "What of it costs what", ablation},
	{"helper", "The database helper as a process", helper},
	{"dnsbl", "The DNS lists", dnsLists},
	{"attack", "Under attack", attack},
	{"database", "Bringing the history over", database},
	{"zone", "A list of a million hosts", zoneCommand},
	{"fleet", "Many servers", fleetTimes},
	{"patterns", "Searching a log for offences", patternSearch},
	{"siege", "The siege", siege},
}

// A bench is one run.
type bench struct {
	*shim
	suite  string
	dir    string // for databases and programs
	rows   []int
	rounds int
	flood  time.Duration
	bots   int
	logMiB int
	scale  float64
	days   int
}

// A shim is what the lab wants of a test.
type shim struct {
	testing.TB
	mu       sync.Mutex
	cleanups []func()
}

type failure string

func (s *shim) Helper()                   {}
func (s *shim) Name() string              { return "bench" }
func (s *shim) Failed() bool              { return false }
func (s *shim) Log(a ...any)              { log.Println(a...) }
func (s *shim) Logf(f string, a ...any)   { log.Printf(f, a...) }
func (s *shim) Fatal(a ...any)            { panic(failure(fmt.Sprint(a...))) }
func (s *shim) Fatalf(f string, a ...any) { panic(failure(fmt.Sprintf(f, a...))) }
func (s *shim) Error(a ...any)            { s.Fatal(a...) }
func (s *shim) Errorf(f string, a ...any) { s.Fatalf(f, a...) }
func (s *shim) Skipf(f string, a ...any)  { s.Fatalf(f, a...) }
func (s *shim) Cleanup(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

// cleanTo undoes what was set up after the first n cleanups were given.
func (s *shim) cleanTo(n int) {
	for {
		s.mu.Lock()
		last := len(s.cleanups) - 1
		if last < n {
			s.mu.Unlock()
			return
		}
		f := s.cleanups[last]
		s.cleanups = s.cleanups[:last]
		s.mu.Unlock()
		f()
	}
}

func (b *bench) must(err error) {
	if err != nil {
		b.Fatal(err)
	}
}

func main() {
	os.Exit(run())
}

func run() (code int) {
	b := &bench{shim: &shim{}}
	var rows, keep, doc string
	flag.StringVar(&b.suite, "suite", lab.DefaultSuite, "Debian `release` whose Exim is measured")
	flag.StringVar(&rows, "rows", "10000,1000000,10000000", "`sizes` of the count database")
	flag.IntVar(&b.rounds, "rounds", 5, "rounds in which the alternatives take turns")
	flag.DurationVar(&b.flood, "flood", 30*time.Second, "how long an attack lasts")
	flag.IntVar(&b.bots, "bots", 64, "connections that an attack keeps open at once")
	flag.IntVar(&b.logMiB, "log", 128, "`MiB` of log to search")
	flag.Float64Var(&b.scale, "siege-scale", 1, "`part` of the siege's hosts that take part, such as 0.1")
	flag.IntVar(&b.days, "siege-days", 3, "`number` of the siege's days, each of another seed")
	flag.StringVar(&keep, "databases", "", "`directory` in which the databases are kept for the next run")
	flag.StringVar(&doc, "o", filepath.Join(lab.SourceDir(), "docs/benchmarks.md"), "`file` to write")
	flag.Parse()
	for _, f := range strings.Split(rows, ",") {
		var n int
		if _, err := fmt.Sscan(f, &n); err != nil || n < 1 {
			fmt.Fprintf(os.Stderr, "bench: -rows: %q is not a number of rows\n", f)
			return 2
		}
		b.rows = append(b.rows, n)
	}
	for _, name := range flag.Args() {
		if !slices.ContainsFunc(parts, func(p part) bool { return p.name == name }) {
			fmt.Fprintf(os.Stderr, "bench: no part is called %q\n", name)
			return 2
		}
	}
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(failure)
			if !ok {
				b.cleanTo(0)
				panic(r)
			}
			fmt.Fprintln(os.Stderr, "bench:", string(f))
			code = 1
		}
		b.cleanTo(0)
	}()
	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupt
		b.cleanTo(0)
		os.Exit(130)
	}()
	if b.dir = keep; keep == "" {
		// Beside the lab's roots: /tmp may be small, or memory.
		cache := os.Getenv("CONNECT_ACL_LAB_CACHE")
		if cache == "" {
			cache = "/var/cache/symbiosis-connect-acl-lab"
		}
		b.must(os.MkdirAll(cache, 0o755))
		dir, err := os.MkdirTemp(cache, "bench-")
		b.must(err)
		b.dir = dir
		b.Cleanup(func() { os.RemoveAll(dir) })
	}
	b.must(os.MkdirAll(b.dir, 0o755))
	b.must(os.Chmod(b.dir, 0o755)) // Exim's user reads there
	for _, p := range parts {
		if flag.NArg() > 0 && !slices.Contains(flag.Args(), p.name) {
			continue
		}
		begin, before := time.Now(), len(b.cleanups)
		text := p.run(b)
		b.cleanTo(before)
		if note, err := files.ReadFile("notes/" + p.name + ".md"); err == nil {
			text += "\n" + strings.TrimSpace(string(note)) + "\n"
		}
		text = fmt.Sprintf("`make bench BENCH=%s`, %s, %.0f s.\n\n%s", p.name, begin.UTC().Format("2 January 2006"), time.Since(begin).Seconds(), strings.TrimSpace(text))
		fmt.Printf("## %s\n\n%s\n\n", p.title, text)
		b.must(writeSection(doc, p.title, text, b.machine()))
	}
	return 0
}

// writeSection replaces one section of the document, and its introduction.
func writeSection(path, title, text, machine string) error {
	sections := map[string]string{}
	old, _ := os.ReadFile(path)
	for i, s := range strings.Split("\n"+string(old), "\n## ") {
		if head, body, ok := strings.Cut(s, "\n"); i > 0 && ok {
			sections[head] = strings.TrimSpace(body)
		}
	}
	sections[title] = text
	var out strings.Builder
	out.WriteString(intro + machine)
	for _, p := range parts {
		if s := sections[p.title]; s != "" {
			fmt.Fprintf(&out, "\n## %s\n\n%s\n", p.title, s)
		}
	}
	return os.WriteFile(path, []byte(out.String()), 0o644)
}

const intro = `# Benchmarks

Written by ` + "`make bench`" + ` (` + "`tests/bench`" + `); do not edit. The alternatives take turns in
every round, and a ratio is that of two medians of the same round: what is
shown is the median of the rounds' ratios and, in brackets, the lowest and the
highest. Times without a ratio are there to give a feeling for the size.
Each section has its date.

`

// machine describes what it was measured on and with.
func (b *bench) machine() string {
	model := "unknown processor"
	info, _ := os.ReadFile("/proc/cpuinfo")
	for _, l := range strings.Split(string(info), "\n") {
		if k, v, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(k) == "model name" {
			model = strings.TrimSpace(v)
			break
		}
	}
	var mem syscall.Sysinfo_t
	syscall.Sysinfo(&mem)
	first := func(name string, args ...string) string {
		out, err := exec.Command(name, args...).Output()
		if err != nil {
			return "none"
		}
		return strings.Fields(string(out) + " none")[0]
	}
	return fmt.Sprintf("Machine: %d cores, %s, %d GiB of memory. Exim %s of Debian %s; sqlite3 %s; %s.\n",
		runtime.NumCPU(), model, (mem.Totalram*uint64(mem.Unit)+1<<29)>>30,
		lab.SuiteNamed(b, b.suite).Exim, b.suite, first("sqlite3", "--version"), runtime.Version())
}

// plain gives a count database, as the platform leaves it.
func (b *bench) plain(rows int) string {
	path := filepath.Join(b.dir, fmt.Sprintf("plain-%d.db", rows))
	if _, err := os.Stat(path); err != nil {
		b.Logf("making a database of %d rows", rows)
		b.must(blacklisttest.Generate(path+".new", blacklisttest.Spec{Seed: 1, Rows: rows, Now: time.Now()}))
		b.must(os.Chmod(path+".new", 0o644))
		b.must(os.Rename(path+".new", path))
	}
	return path
}

// program gives a program of the package under test.
func (b *bench) program(name string) string {
	dir := filepath.Join(b.dir, "package")
	if _, err := os.Stat(dir); err != nil {
		if out, err := exec.Command("dpkg-deb", "-x", lab.Package(b, "symbiosis"), dir).CombinedOutput(); err != nil {
			b.Fatalf("dpkg-deb: %v\n%s", err, out)
		}
		b.Cleanup(func() { os.RemoveAll(dir) })
	}
	return filepath.Join(dir, "usr/sbin", name)
}
