package corpus

import (
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"

	"symbiosis-connect-acl/internal/patterns/compose"
)

const (
	corpusFile  = "corpus.tsv"
	patternFile = "../../patterns.d/exim4.patterns"
)

var corpus = sync.OnceValues(func() ([]Entry, error) { return Load(corpusFile) })

func load(t *testing.T) []Entry {
	t.Helper()
	entries, err := corpus()
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func lines(entries []Entry) []string {
	out := make([]string, len(entries))
	for i, e := range entries {
		out[i] = e.Line
	}
	return out
}

// Every engine that runs the patterns takes the same, and what they take is the
// true peer of every offence, once, and nothing else.
func TestOurPatterns(t *testing.T) {
	entries := load(t)
	rules := compose.Rules()
	event := func(i int) string { return rules[i].Event }
	var results [][][]Hit
	for _, e := range Engines(".") {
		hits, err := e.Apply(patternFile, lines(entries))
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, hits)
		if s := Judge(entries, hits, event); s.Framed+s.Evaded+s.Double+s.Wrong+s.Ordinary > 0 || s.Caught != s.Offences || s.Offences == 0 {
			t.Errorf("%s: of %d offences %d caught, %d evaded; %d framed, %d double-counted, %d of ordinary traffic, %d otherwise counted too often",
				e.Name, s.Offences, s.Caught, s.Evaded, s.Framed, s.Double, s.Ordinary, s.Wrong)
			for _, x := range s.Examples {
				t.Log(x)
			}
		}
	}
	for i := range entries {
		for j := range results[1:] {
			if !reflect.DeepEqual(results[0][i], results[j+1][i]) {
				t.Errorf("%s takes %v, %s takes %v, from %s", Engines(".")[0].Name, results[0][i], Engines(".")[j+1].Name, results[j+1][i], entries[i].Line)
			}
		}
	}
	// Every rule has been seen at work.
	used := map[int]bool{}
	for _, h := range results[0] {
		for _, x := range h {
			used[x.Pattern] = true
		}
	}
	for i, r := range rules {
		if !used[i] {
			t.Errorf("no line of the corpus is for the pattern %q", r.Comment)
		}
	}
}

// nftfw takes a carriage return for the end of a line. With the rules in force,
// Exim writes none that a client has sent, and nobody can write lines for it.
// One is left: with +smtp_connection (a part of +all) Exim logs the end of a
// connection with the HELO name, and does so even when "drop" has refused it.
func TestNftfwReading(t *testing.T) {
	var inForce []Entry
	for _, e := range load(t) {
		if e.Want != "?" && e.Set != "all" {
			inForce = append(inForce, e)
		}
	}
	e := NftfwReading(".")
	hits, err := e.Apply(patternFile, lines(inForce))
	if err != nil {
		t.Fatal(err)
	}
	if s := Judge(inForce, hits, nil); s.Framed > 0 || s.Evaded > 0 {
		t.Errorf("%s: %d framed, %d evaded: %q", e.Name, s.Framed, s.Evaded, s.Examples)
	}
}

// The same test finds the patterns wanting that ours take the place of, each of
// them alone: an innocent host pays for what another one wrote.
func TestOldPatternsFrame(t *testing.T) {
	entries := load(t)
	for _, old := range OldPatterns {
		file := filepath.Join(t.TempDir(), "old.patterns")
		if err := os.WriteFile(file, []byte(old.Text), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, e := range Engines(".") {
			hits, err := e.Apply(file, lines(entries))
			if err != nil {
				t.Fatal(err)
			}
			if s := Judge(entries, hits, nil); s.Framed == 0 {
				t.Errorf("%s: %s frames nobody here: the corpus has lost its teeth", e.Name, old.Name)
			}
		}
	}
}

// The corpus has what it is meant to have.
func TestCorpusIsComplete(t *testing.T) {
	versions, sets, ways := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, e := range load(t) {
		versions[e.Version], sets[e.Version+" "+e.Set] = true, true
		if e.Kind == "attack" {
			vector, _, _ := cutScenario(e.Scenario)
			ways[vector] = true
		}
	}
	if len(versions) < 3 || len(sets) < 3*10 || len(ways) < 20 {
		t.Errorf("%d versions, %d combinations of version and selectors, %d ways of forging", len(versions), len(sets), len(ways))
	}
}
