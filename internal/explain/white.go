package explain

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"symbiosis-connect-acl/internal/exim"
	"symbiosis-connect-acl/internal/platform"
)

// together is how many hosts Exim is asked about in one go: its command line has
// an end.
const together = 100

// Known tells for each address which of the lists of known hosts has it, in
// Exim's words, and "" where none has. Such a host passes every check. Where
// 20-accept-known is not in force nobody is known.
func Known(ctx context.Context, p platform.Platform, addrs []netip.Addr) ([]string, error) {
	x := exim.Installation{Platform: p}
	conf, err := os.ReadFile(x.Config())
	if err != nil {
		return nil, err
	}
	found := make([]string, 0, len(addrs))
	if !bytes.Contains(conf, []byte("\n# "+x.Inside(filepath.Join(p.SnippetDir, snippetKnown))+"\n")) {
		return make([]string, len(addrs)), nil
	}
	for part := range slices.Chunk(addrs, together) {
		var questions []string // short ones: Exim takes no more than 256 characters
		for _, a := range part {
			questions = append(questions, isKnown(a)...)
		}
		answers, err := x.Expand(ctx, questions)
		if err != nil {
			return nil, err
		}
		for one := range slices.Chunk(answers, len(knownLists)) {
			list := ""
			// A list that cannot be read is told by the doctor and by explain.
			if i := slices.Index(one, "yes"); i >= 0 {
				list = knownLists[i].name
			}
			found = append(found, list)
		}
	}
	return found, nil
}
