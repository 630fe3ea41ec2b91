package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// Whatever is wrong, Exim is told why in one line that it can read, and the
// exit status is 0: with another, ${run} would give its second string.
func TestHostSaysWhatIsWrong(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "hosts.db")
	for _, args := range [][]string{{"select 'yes' done"}, {}, {"select 1", "select 2"}, {"select '\"'"}} {
		stdout, stderr, code := runApp(t, append([]string{"host", "--database", absent}, args...)...)
		value, found := strings.CutPrefix(strings.TrimSuffix(stdout, "\n"), `trouble="`)
		if !found || !strings.HasSuffix(value, `"`) || strings.ContainsAny(value[:len(value)-1], "\"\\\n") || stderr != "" || code != 0 {
			t.Errorf("%q: %q, %q, exit status %d", args, stdout, stderr, code)
		}
	}
}
