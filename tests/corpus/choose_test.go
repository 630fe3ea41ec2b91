package corpus

import (
	"net/netip"
	"slices"
	"testing"

	"symbiosis-connect-acl/internal/patterns"
	"symbiosis-connect-acl/internal/patterns/attacks"
)

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
