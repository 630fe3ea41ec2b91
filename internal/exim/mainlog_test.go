package exim

import (
	"errors"
	"testing"

	"symbiosis-connect-acl/internal/platform"
)

func TestMainLog(t *testing.T) {
	x := Installation{Platform: platform.Symbiosis("/r")}
	for value, want := range map[string]string{
		"": "/r/var/log/exim4/mainlog", "/var/log/exim4/%slog": "/r/var/log/exim4/mainlog", "syslog : /x/exim_%s": "/r/x/exim_main",
		": syslog": "/r/var/log/exim4/mainlog", "/x/%slog-%D": "/r/x/mainlog-*", "syslog": "",
	} {
		got, err := x.mainLog(value)
		if got != want || want == "" && !errors.Is(err, ErrSyslog) {
			t.Errorf("log_file_path = %q: %q, %v; want %q", value, got, err, want)
		}
	}
}
