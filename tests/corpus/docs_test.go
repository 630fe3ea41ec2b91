package corpus

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"symbiosis-connect-acl/internal/patterns/compose"
)

var update = flag.Bool("update", false, "write the table instead of comparing it")

const (
	docFile    = "../../docs/patterns.md"
	tableBegin = "<!-- made by: go test ./tests/corpus -run Table -update -->"
	tableEnd   = "<!-- end of the table -->"
)

// The table in docs/patterns.md is what the corpus says today.
func TestTableInDocs(t *testing.T) {
	entries := load(t)
	table := table(t, entries)
	data, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(data), tableBegin)
	_, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok1 || !ok2 {
		t.Fatalf("%s has lost the marks around its table", docFile)
	}
	want := before + tableBegin + "\n\n" + table + "\n" + tableEnd + after
	if *update {
		if err := os.WriteFile(docFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(data) {
		t.Errorf("%s is not what the corpus gives; run: go test ./tests/corpus -run Table -update", docFile)
	}
}

func table(t *testing.T, entries []Entry) string {
	t.Helper()
	var b strings.Builder
	byVersion := func(want string) (part []Entry, index []int) {
		for i, e := range entries {
			if want == "" || e.Version == want {
				part, index = append(part, e), append(index, i)
			}
		}
		return part, index
	}
	pick := func(hits [][]Hit, index []int) [][]Hit {
		out := make([][]Hit, len(index))
		for i, n := range index {
			out[i] = hits[n]
		}
		return out
	}
	var versions []string
	seen, ways, sets := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, e := range entries {
		if !seen[e.Version] {
			versions = append(versions, e.Version)
		}
		seen[e.Version], sets[e.Set] = true, true
		if e.Kind == "attack" {
			vector, _, _ := cutScenario(e.Scenario)
			ways[vector] = true
		}
	}
	sort.Strings(versions)
	fmt.Fprintf(&b, "%d lines, %d ways of forging, %d selector sets.\n\n", len(entries), len(ways), len(sets))

	rules := compose.Rules()
	event := func(i int) string { return rules[i].Event }
	b.WriteString("| patterns | engine | Exim | offences | caught | evaded | framed | counted twice | ordinary traffic taken | relays counted |\n|---|---|---|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, e := range append(Engines("."), NftfwReading(".")) {
		hits, err := e.Apply(patternFile, lines(entries))
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range versions {
			part, index := byVersion(v)
			s := Judge(part, pick(hits, index), event)
			fmt.Fprintf(&b, "| ours | %s | %s | %d | %d | %d | %d | %d | %d | %d |\n", e.Name, v, s.Offences, s.Caught, s.Evaded, s.Framed, s.Double, s.Ordinary, s.Relays)
		}
	}
	b.WriteString("\n| pattern | lines that frame an innocent host: Ruby | Python | Go |\n|---|---:|---:|---:|\n")
	for _, old := range OldPatterns {
		file := filepath.Join(t.TempDir(), "old.patterns")
		if err := os.WriteFile(file, []byte(old.Text), 0o644); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "| %s |", old.Name)
		for _, e := range Engines(".") {
			hits, err := e.Apply(file, lines(entries))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, " %d |", Judge(entries, hits, nil).Framed)
		}
		b.WriteString("\n")
	}

	b.WriteString("\n| event | offences | caught |\n|---|---:|---:|\n")
	hits, err := goEngine(patternFile, lines(entries))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range rules {
		if len(names) == 0 || names[len(names)-1] != r.Event {
			names = append(names, r.Event)
		}
	}
	for _, n := range names {
		var part []Entry
		var index []int
		for i, e := range entries {
			var want []string
			for _, w := range strings.Fields(e.Want) {
				if w == n {
					want = append(want, w)
				}
			}
			if len(want) > 0 {
				e.Want = strings.Join(want, " ")
				part, index = append(part, e), append(index, i)
			}
		}
		s := Judge(part, pick(hits, index), event)
		fmt.Fprintf(&b, "| %s | %d | %d |\n", n, s.Offences, s.Caught)
	}

	vectors := make([]string, 0, len(ways))
	for w := range ways {
		vectors = append(vectors, w)
	}
	sort.Strings(vectors)
	fmt.Fprintf(&b, "\nWays of forging: %s.\n", strings.Join(vectors, ", "))
	return b.String()
}
