// Package corpus holds what real Exims have logged of every event and of every
// way to forge one that we know of, and judges pattern files by it.
package corpus

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"symbiosis-connect-acl/internal/patterns"
)

// An Entry is one line of the corpus.
type Entry struct {
	Version  string // Exim's
	Set      string // the log selectors in force
	Scenario string
	Kind     string // event, attack, ordinary, or relay: a host that passes on what others have made up
	Peer     netip.Addr
	Want     string // the events the whole scenario must be counted for; "?" where only framing matters
	Line     string // as it stands in the log
}

// Load reads a corpus that the recorder has written.
func Load(path string) ([]Entry, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for i, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.SplitN(line, "\t", 7)
		if len(f) != 7 {
			return nil, fmt.Errorf("%s:%d: %d fields, want 7; record the corpus again", path, i+1, len(f))
		}
		peer, err := netip.ParseAddr(f[4])
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
		}
		entries = append(entries, Entry{f[0], f[1], f[2], f[3], peer, f[5], f[6]})
	}
	return entries, nil
}

// A Hit is what one pattern took from one line.
type Hit struct {
	Pattern int
	Address string
}

// An Engine applies a pattern file to lines and gives the hits for each.
type Engine struct {
	Name  string
	Apply func(patternFile string, lines []string) ([][]Hit, error)
}

// Engines gives the three languages in which the patterns run: Symbiosis and
// Sympl run them in Ruby, nftfw in Python, and our own tool in Go.
func Engines(dir string) []Engine {
	return []Engine{
		{"ruby", script("ruby", filepath.Join(dir, "engine.rb"))},
		{"python", script("python3", filepath.Join(dir, "engine.py"))},
		{"go", goEngine},
	}
}

// NftfwReading is the Python engine with nftfw's way to read a log, in which a
// carriage return ends a line.
func NftfwReading(dir string) Engine {
	return Engine{"python, carriage returns end lines", script("python3", filepath.Join(dir, "engine.py"), "--newlines")}
}

func script(program string, args ...string) func(string, []string) ([][]Hit, error) {
	return func(patternFile string, lines []string) ([][]Hit, error) {
		cmd := exec.Command(program, append(args[:len(args):len(args)], patternFile)...)
		cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil || stderr.Len() > 0 {
			return nil, fmt.Errorf("%s: %v: %s", program, err, stderr.String())
		}
		answers := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
		if len(answers) != len(lines) {
			return nil, fmt.Errorf("%s: %d answers to %d lines", program, len(answers), len(lines))
		}
		hits := make([][]Hit, len(lines))
		for i, a := range answers {
			if a == "" {
				continue
			}
			for _, h := range strings.Split(a, "\t") {
				index, address, _ := strings.Cut(h, " ")
				n, err := strconv.Atoi(index)
				if err != nil {
					return nil, fmt.Errorf("%s: answer %q", program, a)
				}
				hits[i] = append(hits[i], Hit{n, address})
			}
		}
		return hits, nil
	}
}

func goEngine(patternFile string, lines []string) ([][]Hit, error) {
	data, err := os.ReadFile(patternFile)
	if err != nil {
		return nil, err
	}
	f, err := patterns.Parse(data)
	if err != nil {
		return nil, err
	}
	if err := f.Compile(); err != nil {
		return nil, err
	}
	hits := make([][]Hit, len(lines))
	for i, line := range lines {
		for _, h := range f.Match([]byte(line), nil) {
			hits[i] = append(hits[i], Hit{h.Pattern, string(h.Address)})
		}
	}
	return hits, nil
}

// A Score says how a pattern file does over a part of the corpus.
type Score struct {
	Offences int // what there was to count
	Caught   int // of them, taken with the true peer
	Evaded   int // of them, not taken
	Wrong    int // taken from a line that holds no offence of that kind, with the true peer
	Framed   int // lines from which an address was taken that is not the peer's
	Double   int // lines that two patterns took
	Ordinary int // lines of ordinary traffic that were taken and should not have been
	Relays   int // lines of relays that were taken: none may be, whatever the scenario wants

	Examples []string // one for each kind of failure and scenario
}

func (s *Score) fail(what string, e Entry) {
	for _, x := range s.Examples {
		if strings.HasPrefix(x, what+": "+e.Scenario+" ") {
			return
		}
	}
	s.Examples = append(s.Examples, fmt.Sprintf("%s: %s (%s, %s): %.400s", what, e.Scenario, e.Version, e.Set, e.Line))
}

// Judge holds hits against entries. event names what a pattern counts; nil
// means that any pattern will do for any event.
func Judge(entries []Entry, hits [][]Hit, event func(pattern int) string) *Score {
	s := &Score{}
	type key struct{ version, set, scenario string }
	taken := map[key]map[string]int{}
	first := map[key]Entry{}
	for i, e := range entries {
		k := key{e.Version, e.Set, e.Scenario}
		if _, ok := first[k]; !ok {
			first[k], taken[k] = e, map[string]int{}
		}
		if len(hits[i]) > 1 {
			s.Double++
			s.fail("double", e)
		}
		if e.Kind == "relay" {
			if len(hits[i]) > 0 {
				s.Relays++
				s.fail("relay", e)
			}
			continue
		}
		framed := false
		for _, h := range hits[i] {
			a, err := netip.ParseAddr(h.Address)
			if err != nil || a.Unmap() != e.Peer.Unmap() {
				framed = true
				continue
			}
			name := "any"
			if event != nil {
				name = event(h.Pattern)
			}
			taken[k][name]++
		}
		if framed {
			s.Framed++
			s.fail("framed", e)
		}
	}
	for k, e := range first {
		if e.Want == "?" || e.Kind == "relay" {
			continue
		}
		want := map[string]int{}
		for _, w := range strings.Fields(e.Want) {
			if event == nil {
				w = "any"
			}
			want[w]++
		}
		for name, n := range want {
			s.Offences += n
			got := min(n, taken[k][name])
			s.Caught += got
			if got < n {
				s.Evaded += n - got
				s.fail("evaded "+name, e)
			}
		}
		for name, n := range taken[k] {
			if n > want[name] {
				if e.Kind == "ordinary" {
					s.Ordinary += n - want[name]
				} else {
					s.Wrong += n - want[name]
				}
				s.fail("counted too often "+name, e)
			}
		}
	}
	sort.Strings(s.Examples)
	return s
}

// cutScenario splits the name of an attack: the way in, and what was sent.
func cutScenario(name string) (vector, payload string, ok bool) {
	return strings.Cut(name, "/")
}

// An Old is a pattern file that ours takes the place of.
type Old struct{ Name, Text string }

const header = "file = /var/log/exim4/mainlog\nports = 25,465,587\n"

// OldPatterns are the platform's stock pattern, each of the article's, nftfw's
// where they differ, and the forms that the article's author has published for
// logs with +incoming_interface.
var OldPatterns = []Old{
	{"stock: AUTH without TLS", header + `\[__IP__\] rejected AUTH LOGIN: SSL or TLS encryption required when authenticating.$`},
	{"article: authenticator failed", header + `authenticator failed for .*\) \[__IP__\]: 535 Incorrect authentication data.*$`},
	{"article: AUTH not advertised", header + `\[__IP__\] AUTH command used when not advertised.*$`},
	{"article: history", header + `\[__IP__\] .*Blacklisted: Denied access - history of unwanted activity.*$`},
	{"article: rate", header + `\[__IP__\] .* Sender deferred.*$`},
	{"nftfw: AUTH without TLS", header + `\[__IP__\] rejected AUTH LOGIN: SSL or TLS encryption required when authenticating.*$`},
	{"nftfw: AUTH not advertised", header + `\[__IP__\].*AUTH command used when not advertised.*$`},
	{"nftfw: history", header + `\[__IP__\].*Blacklisted: Denied access - history of unwanted activity.*$`},
	{"nftfw: history, before 0.8", header + `\[__IP__\] rejected.*Blacklisted: Denied access - history of unwanted activity.*$`},
	{"nftfw: rate", header + `\[__IP__\].* Sender deferred.*$`},
	{"nftfw: rate, before 0.8", header + `\[__IP__\] temporarily.* Sender deferred.*$`},
	{"later: AUTH without TLS", header + `\[__IP__\] I=.*rejected AUTH LOGIN: SSL or TLS encryption required when authenticating.*$`},
	{"later: authenticator failed", header + `authenticator failed for .*\) \[__IP__\] I=.*: 535 Incorrect authentication data.*$`},
	{"later: AUTH not advertised", header + `\[__IP__\] I=.*AUTH command used when not advertised.*$`},
	{"later: AUTH not advertised, anywhere", header + `\[__IP__\].*I=.*AUTH command used when not advertised.*$`},
	{"later: history", header + `\[__IP__\] I=.*Blacklisted: Denied access - history of unwanted activity.*$`},
	{"later: history, anywhere", header + `\[__IP__\].*I=.*Blacklisted: Denied access - history of unwanted activity.*$`},
	{"later: rate", header + `\[__IP__\] I=.* Sender deferred.*$`},
	{"later: rate, anywhere", header + `\[__IP__\].*I=.* Sender deferred.*$`},
}
