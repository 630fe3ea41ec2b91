package exim

import (
	"fmt"
	"testing"
)

func TestLogsOf(t *testing.T) {
	for list, want := range map[string]string{
		"":                                    "{[/var/log/exim4/mainlog] false false}",
		"/var/log/exim4/%slog":                "{[/var/log/exim4/mainlog] false false}",
		"syslog":                              "{[] true false}",
		":syslog":                             "{[/var/log/exim4/mainlog] true false}",
		"syslog : /var/log/exim4/%slog":       "{[/var/log/exim4/mainlog] true false}",
		"/var/log/exim4/%slog-%D":             "{[/var/log/exim4/mainlog-%D] false false}",
		"<; /var/log/a ; syslog":              "{[/var/log/a] true false}",
		"/var/log/exim4/%slog: /srv/exim_%s ": "{[/var/log/exim4/mainlog /srv/exim_main] false false}",
	} {
		if got := fmt.Sprint(logsOf(list)); got != want {
			t.Errorf("%q: %s; want %s", list, got, want)
		}
	}
}
