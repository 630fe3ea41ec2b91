package exim

import (
	"context"
	"slices"
	"strings"
)

// defaultLogs is Debian's log_file_path: what an empty item of a list means.
const defaultLogs = "/var/log/exim4/%slog"

// Logs says where the main log goes.
type Logs struct {
	Files  []string // with %D or %M where the name has a date
	Syslog bool
	// Twice says that syslog gets the lines for the reject log as well, which it
	// has had for the main log.
	Twice bool
}

// Logs asks where the configuration at path lets Exim log to. The syntax must
// have been checked.
func (x Installation) Logs(ctx context.Context, path string) (Logs, error) {
	values, err := x.options(ctx, path, "log_file_path")
	if err != nil {
		return Logs{}, err
	}
	l := logsOf(values[0])
	// A boolean prints as its name, or as no_ and its name.
	out, err := x.bP(ctx, path, "syslog_duplication")
	l.Twice = l.Syslog && strings.TrimSpace(out) == "syslog_duplication"
	return l, err
}

// logsOf reads the value of log_file_path.
func logsOf(list string) (l Logs) {
	list = strings.TrimSpace(list)
	all := items(list)
	if list == "" || strings.HasPrefix(list, ":") || strings.Contains(strings.ReplaceAll(list, " ", ""), "::") {
		all = append(all, defaultLogs)
	}
	for _, item := range all {
		if item == "syslog" {
			l.Syslog = true
		} else if file := strings.ReplaceAll(item, "%s", "main"); !slices.Contains(l.Files, file) {
			l.Files = append(l.Files, file)
		}
	}
	return l
}
