package corpus

import (
	"net/netip"
	"os"
	"slices"
	"testing"

	"symbiosis-connect-acl/internal/patterns"
	"symbiosis-connect-acl/internal/patterns/attacks"
)

// Installing ours comments each of the old patterns out; removing ours puts it
// back byte for byte.
func TestOldPatternsAreSuperseded(t *testing.T) {
	ours, err := os.ReadFile("../../patterns.d/exim4.patterns")
	if err != nil {
		t.Fatal(err)
	}
	for _, old := range OldPatterns {
		merged, superseded, err := patterns.Install([]byte(old.Text), ours)
		if err != nil || len(superseded) != 1 {
			t.Errorf("%s: superseded %v, error %v", old.Name, superseded, err)
		}
		if back, _, err := patterns.Remove(merged); err != nil || string(back) != old.Text {
			t.Errorf("%s: came back as %q, error %v", old.Name, back, err)
		}
	}
}

// What ships is chosen from the corpus as it is now.
func TestAttacksAreChosen(t *testing.T) {
	lines, err := Choose(load(t))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(lines, attacks.Lines()) {
		t.Errorf("%d lines ship, Choose gives %d; run: go generate ./internal/patterns/attacks", len(attacks.Lines()), len(lines))
	}
}

// Each of the old patterns is caught by what ships, with every Exim on which the
// whole corpus catches it; ours takes the peer or nothing.
func TestAttacksCatchOldPatterns(t *testing.T) {
	entries := load(t)
	version := map[attacks.Line]string{}
	for _, e := range entries {
		version[attacks.Line{Peer: e.Peer.Unmap(), Text: e.Line}] = e.Version
	}
	for _, old := range OldPatterns {
		f, err := patterns.Parse([]byte(old.Text))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Compile(); err != nil {
			t.Fatal(err)
		}
		framed := func(peer netip.Addr, line string) bool {
			taken, ok, _ := f.Patterns[0].Match([]byte(line))
			a, err := netip.ParseAddr(string(taken))
			return ok && err == nil && a.Unmap() != peer.Unmap()
		}
		want, got := map[string]bool{}, map[string]bool{}
		for _, e := range entries {
			if e.Kind == "attack" && framed(e.Peer, e.Line) {
				want[e.Version] = true
			}
		}
		for _, l := range attacks.Lines() {
			if framed(l.Peer, l.Text) {
				got[version[l]] = true
			}
		}
		if len(got) != len(want) || len(want) == 0 {
			t.Errorf("%s: frames with %v in the corpus, with %v in what ships", old.Name, want, got)
		}
	}
}
