package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"symbiosis-connect-acl/cmd/internal/command"
	"symbiosis-connect-acl/internal/logfile"
	"symbiosis-connect-acl/internal/patterns"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/remedy"
	"symbiosis-connect-acl/internal/safepath"
	"symbiosis-connect-acl/internal/words"
)

// What --json prints.
type (
	fileResult struct {
		PatternFile  string          `json:"pattern_file"`
		Error        string          `json:"error,omitempty"`
		Logs         []string        `json:"logs"`
		Lines        int64           `json:"lines"`
		Bytes        int64           `json:"bytes"`
		LinesTaken   int64           `json:"lines_taken"`
		Patterns     []patternResult `json:"patterns"`
		Notes        []noteResult    `json:"notes,omitempty"`
		Twice        int64           `json:"lines_taken_twice"`
		TwiceLines   []lineResult    `json:"lines_taken_twice_samples,omitempty"`
		Wrong        int64           `json:"wrong_addresses"`
		WrongLines   []lineResult    `json:"wrong_addresses_samples,omitempty"`
		Unclear      int64           `json:"unclear_lines"`
		UnclearLines []lineResult    `json:"unclear_lines_samples,omitempty"`
	}
	patternResult struct {
		Line       int              `json:"line"`
		Pattern    string           `json:"pattern"`
		Comment    string           `json:"comment,omitempty"`
		Engine     string           `json:"engine,omitempty"`
		Error      string           `json:"error,omitempty"`
		Hits       int64            `json:"hits"`
		Addresses  map[string]int64 `json:"addresses,omitempty"`
		NotAddress int64            `json:"hits_without_address,omitempty"`
		Wrong      int64            `json:"wrong_addresses,omitempty"`
		Unclear    int64            `json:"unclear_lines,omitempty"`
		Timeouts   int64            `json:"timeouts,omitempty"`
	}
	noteResult struct {
		Line int    `json:"line,omitempty"`
		Text string `json:"text"`
	}
	lineResult struct {
		Patterns []int    `json:"pattern_lines"`
		Taken    []string `json:"taken"`
		Peer     string   `json:"peer,omitempty"`
		Line     string   `json:"line"`
	}
)

const exitFound = 2

func test(c *cli.Context) error {
	if c.Bool("attacks") {
		return testAttacks(c)
	}
	names := c.Args().Slice()
	if len(names) == 0 {
		p, err := platform.Find(c.String("root"))
		if err != nil {
			return remedy.Add(err, "run it on the server, or name a pattern file")
		}
		for _, file := range p.PatternFiles() {
			if file == p.PatternFile() || exists(file) {
				names = append(names, file)
			}
		}
	}
	if len(names) > 1 {
		for _, l := range c.StringSlice("log") {
			if l == "-" {
				return errors.New("standard input can be read once only: name one pattern file")
			}
		}
	}
	var results []fileResult
	bad := false
	for _, n := range names {
		r, err := testFile(n, c.StringSlice("log"), c.String("root"))
		if err != nil {
			return err
		}
		results = append(results, r)
		for _, p := range r.Patterns {
			bad = bad || p.Error != ""
		}
		bad = bad || r.Wrong > 0 || r.Unclear > 0
	}
	if c.Bool("json") {
		if err := command.WriteJSON(os.Stdout, results); err != nil {
			return err
		}
	} else {
		w := bufio.NewWriter(os.Stdout)
		for _, r := range results {
			show(w, r, c.Int("top"), c.Bool("verbose"), command.Coloured(os.Stdout))
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if bad {
		return cli.Exit("", exitFound)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// readPatterns reads a file, or a pipe that the user named.
func readPatterns(path string) ([]byte, error) {
	data, err := safepath.ReadFile(path)
	if errors.Is(err, safepath.ErrNotRegular) || errors.Is(err, safepath.ErrDescriptor) {
		return os.ReadFile(path)
	}
	return data, err
}

func testFile(path string, logs []string, root string) (fileResult, error) {
	result := fileResult{PatternFile: path, Logs: logs}
	data, err := readPatterns(path)
	if err != nil {
		return result, err
	}
	f, err := patterns.Parse(data)
	if err != nil {
		return result, fmt.Errorf("%s: %w", path, err)
	}
	reasons := map[int]string{}
	if err := f.Compile(); err != nil {
		for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
			var pe *patterns.Error
			if errors.As(e, &pe) {
				reasons[pe.Line] = pe.Reason
			}
		}
	}
	for _, n := range f.Notes {
		result.Notes = append(result.Notes, noteResult{n.Line, n.Text})
	}
	if len(logs) == 0 {
		if f.Log == "" {
			return result, fmt.Errorf("%s: no \"file =\" in it, so name a log with --log", path)
		}
		logs = []string{filepath.Join(root, f.Log)}
		result.Logs = logs
	}
	var total *patterns.Report
	for _, l := range logs {
		report, err := scanLog(f, l)
		var packed *logfile.PackedError
		if errors.As(err, &packed) {
			return result, remedy.Add(fmt.Errorf("%s: %w", l, err), "run: %s -dc %s | %s test --log - %s", packed.Packer, words.Shell(l), command.Name(own), words.Shell(path))
		} else if err != nil {
			return result, fmt.Errorf("%s: %w", l, err)
		}
		if total == nil {
			total = report
		} else {
			total.Add(report)
		}
	}
	result.Lines, result.Bytes, result.LinesTaken = total.Lines, total.Bytes, total.Taken
	result.Twice, result.Wrong, result.Unclear = total.Doubles, total.Wrong, total.Unclear
	samples := func(from []patterns.Sample) []lineResult {
		var out []lineResult
		for _, s := range from {
			l := lineResult{Taken: s.Taken, Peer: s.Peer, Line: s.Line}
			for _, i := range s.Patterns {
				l.Patterns = append(l.Patterns, f.Patterns[i].Line)
			}
			out = append(out, l)
		}
		return out
	}
	result.TwiceLines, result.WrongLines, result.UnclearLines = samples(total.DoubleSamples), samples(total.WrongSamples), samples(total.UnclearSamples)
	for i, p := range f.Patterns {
		r := total.Patterns[i]
		result.Patterns = append(result.Patterns, patternResult{
			Line: p.Line, Pattern: p.Source, Comment: p.Comment, Engine: string(p.Engine), Error: reasons[p.Line],
			Hits: r.Hits, Addresses: r.Addresses, NotAddress: r.NotAddress, Wrong: r.Wrong, Unclear: r.Unclear, Timeouts: r.Timeouts,
		})
	}
	return result, nil
}

// exims reports whether patterns are for Exim's log, which a file that names
// another is not.
func exims(f *patterns.File) bool { return f.Log == "" || strings.Contains(f.Log, "exim") }

// scanLog reads one log, packed or not. On a terminal it tells how far it is.
func scanLog(f *patterns.File, path string) (*patterns.Report, error) {
	log, err := logfile.Open(path)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	var progress func(int64)
	if term.IsTerminal(int(os.Stderr.Fd())) {
		name := words.Printable(path)
		shown, last := false, time.Now()
		progress = func(read int64) {
			if time.Since(last) < 200*time.Millisecond {
				return
			}
			shown, last = true, time.Now()
			if packed, size := log.Progress(); size > 0 {
				fmt.Fprintf(os.Stderr, "\r%s: %d%% of %d MiB\x1b[K", name, min(100, 100*packed/size), size>>20)
			} else {
				fmt.Fprintf(os.Stderr, "\r%s: %d MiB\x1b[K", name, read>>20)
			}
		}
		defer func() {
			if shown {
				fmt.Fprint(os.Stderr, "\r\x1b[K")
			}
		}()
	}
	report, err := f.Scan(log, progress)
	if err == nil && report.Lines > 0 && !report.Exim && exims(f) {
		return nil, remedy.Add(fmt.Errorf("%d lines, and none begins as those of Exim's log do: the patterns find nothing there", report.Lines),
			"name Exim's main log; before its words a line may have the time, as Exim or syslog writes it, and nothing else")
	}
	return report, err
}

func show(w io.Writer, r fileResult, top int, verbose, coloured bool) {
	red := func(s string) string { return command.Red.Paint(s, coloured) }
	fmt.Fprintf(w, "%s: %d lines of %s, %d taken\n", words.Printable(r.PatternFile), r.Lines, words.Printable(strings.Join(r.Logs, ", ")), r.LinesTaken)
	for _, n := range r.Notes {
		if n.Line > 0 {
			fmt.Fprintf(w, "  line %d: note: %s\n", n.Line, words.Printable(n.Text))
		} else {
			fmt.Fprintf(w, "  note: %s\n", words.Printable(n.Text))
		}
	}
	for _, p := range r.Patterns {
		switch {
		case p.Comment == "":
			fmt.Fprintf(w, "\n  line %d: %s\n", p.Line, words.Printable(p.Pattern))
		case verbose || p.Error != "":
			fmt.Fprintf(w, "\n  line %d: %s\n    %s\n", p.Line, words.Printable(p.Comment), words.Printable(p.Pattern))
		default:
			fmt.Fprintf(w, "\n  line %d: %s\n", p.Line, words.Printable(p.Comment))
		}
		if p.Error != "" {
			fmt.Fprintf(w, "    %s\n", red("does not compile: "+words.Printable(p.Error)))
			continue
		}
		fmt.Fprintf(w, "    %d hits from %d addresses%s\n", p.Hits, len(p.Addresses), most(p.Addresses, top))
		if p.Engine == string(patterns.Backtracking) {
			fmt.Fprintln(w, "    uses Ruby syntax that RE2 lacks: tested with a backtracking engine, which a hostile line can keep busy")
		}
		if p.Timeouts > 0 {
			fmt.Fprintf(w, "    %s\n", red(fmt.Sprintf("gave up on %d lines after %v each: the firewall would be kept busy too", p.Timeouts, patterns.BacktrackLimit)))
		}
		if p.NotAddress > 0 {
			fmt.Fprintf(w, "    %d hits took something that is no address\n", p.NotAddress)
		}
		if p.Wrong > 0 {
			fmt.Fprintf(w, "    %s\n", red(fmt.Sprintf("WARNING: %d times what it took is not the peer that Exim wrote: this pattern can be used to block others", p.Wrong)))
		}
		if p.Unclear > 0 {
			fmt.Fprintf(w, "    %s\n", red(fmt.Sprintf("WARNING: it took an address from %d lines that can be read in two ways: this pattern can be used to block others", p.Unclear)))
		}
	}
	list := func(title string, n int64, samples []lineResult, warn bool) {
		if n == 0 {
			return
		}
		head := fmt.Sprintf("%d %s", n, title)
		if warn {
			head = red(head)
		}
		fmt.Fprintf(w, "\n  %s\n", head)
		for _, s := range samples {
			peer := ""
			if s.Peer != "" {
				peer = ", the peer is " + s.Peer
			}
			fmt.Fprintf(w, "    pattern of line %s took %s%s:\n      %s\n",
				strings.Trim(fmt.Sprint(s.Patterns), "[]"), words.Printable(strings.Join(s.Taken, ", ")), peer, words.Printable(s.Line))
		}
	}
	list("addresses taken that are not the peer that Exim wrote; the first of them:", r.Wrong, r.WrongLines, true)
	list("lines taken by more than one pattern: they count twice; the first of them:", r.Twice, r.TwiceLines, false)
	list("lines that can be read in two ways, because the client wrote a copy of Exim's words; the first of them:", r.Unclear, r.UnclearLines, true)
}

func most(addresses map[string]int64, top int) string {
	type entry struct {
		address string
		n       int64
	}
	var all []entry
	for a, n := range addresses {
		all = append(all, entry{a, n})
	}
	sort.Slice(all, func(i, j int) bool {
		return all[i].n > all[j].n || all[i].n == all[j].n && all[i].address < all[j].address
	})
	var b strings.Builder
	for i, e := range all {
		if i >= top {
			b.WriteString(", ...")
			break
		}
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		fmt.Fprintf(&b, "%s%s (%d)", sep, words.Printable(e.address), e.n)
	}
	return b.String()
}
