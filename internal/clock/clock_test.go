package clock

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestNow(t *testing.T) {
	t.Cleanup(func() { set.Store(nil) })
	if before, now, after := time.Now(), Now(), time.Now(); now.Before(before) || now.After(after) {
		t.Errorf("%v is not between %v and %v", now, before, after)
	}
	at := time.Unix(1_800_000_000, 0)
	Set(at)
	if !Now().Equal(at) || Since(at.Add(-time.Hour)) != time.Hour {
		t.Errorf("set to %v, it says %v", at, Now())
	}
}

// All programs ask this clock. The machine's own is for how long something takes,
// for the minutes in which the firewall's scan starts, and for signatures that a
// name server compares with its own.
func TestOneClock(t *testing.T) {
	other := regexp.MustCompile(`\btime\.(Now|Since|Until)\(`)
	duration := regexp.MustCompile(`\b(begin|last|left|untilQuiet|next|again|SetTsig)\b|[dD]eadline`)
	files := 0
	for _, dir := range []string{"..", "../../cmd"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || path == "../clock/clock.go" || strings.Contains(path, "blacklisttest") {
				return nil
			}
			files++
			text, err := os.ReadFile(path)
			for i, line := range strings.Split(string(text), "\n") {
				if other.MatchString(line) && !duration.MatchString(line) {
					t.Errorf("%s:%d asks another clock: %s", path, i+1, strings.TrimSpace(line))
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if files < 100 {
		t.Errorf("only %d files were looked at", files)
	}
}
