package exim

import (
	"context"
	"fmt"
	"strings"
)

// Expand gives what the configuration in force makes of each string, which must
// give one line. One that does not expand gives "Failed: " and Exim's words. Its
// syntax must have been checked.
func (x Installation) Expand(ctx context.Context, texts []string) ([]string, error) {
	out, err := x.query(ctx, queryDeadline, "/usr/sbin/exim4", append([]string{"-C", x.Inside(x.Config()), "-be"}, texts...)...)
	if err != nil {
		return nil, fmt.Errorf("exim4 -be: %w: %s", err, oneLine(tail(out, 300)))
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(texts) {
		return nil, fmt.Errorf("exim4 -be printed %d lines for %d strings", len(lines), len(texts))
	}
	return lines, nil
}
