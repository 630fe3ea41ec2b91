package doctor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"symbiosis-connect-acl/internal/exim"
	"symbiosis-connect-acl/internal/patterns"
	"symbiosis-connect-acl/internal/safepath"
	"symbiosis-connect-acl/internal/words"
)

// logs compares where Exim logs to with what the firewall's patterns read.
func (d *doctor) logs() {
	l, err := d.exim.Logs(d.ctx, d.exim.Config())
	if err != nil {
		d.fail("logging", d.build(), "%v", err)
		return
	}
	syslog := "" // syslog's own file, where the patterns read that
	for _, file := range d.PatternFiles() {
		data, err := safepath.ReadFile(file)
		if err != nil || !patterns.Installed(data) {
			continue // told above
		}
		f, err := patterns.Parse(data)
		if err != nil {
			continue
		}
		name := words.Printable(f.Log)
		switch {
		case slices.ContainsFunc(l.Files, func(written string) bool { return reads(f.Log, written) }):
		case l.Syslog && !strings.HasPrefix(f.Log, "/var/log/exim4/") && d.there(f.Log):
			syslog = name // our patterns take its lines too
		default:
			d.fail("logging", blindRemedy(l, file), "%s reads %s, which Exim does not write: it logs to %s, so the firewall counts nobody",
				words.Printable(file), name, places(l))
		}
	}
	if l.Twice && syslog != "" {
		d.warn("logging", "set syslog_duplication = false in the main part of Exim's configuration, and "+d.build(),
			"Exim sends each line about a refusal to syslog twice, so the firewall counts it twice from %s", syslog)
	}
}

func (d *doctor) there(path string) bool {
	_, err := os.Stat(filepath.Join(d.Root, path))
	return err == nil
}

// reads reports whether a pattern file that names log reads what is written to a
// file whose name may have a date in it.
func reads(log, written string) bool {
	dated := strings.Contains(written, "%")
	for _, item := range strings.FieldsFunc(log, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		if match, _ := filepath.Match(filepath.Clean(item), filepath.Clean(strings.NewReplacer("%D", "20260101", "%M", "202601").Replace(written))); match {
			return !dated || strings.ContainsAny(item, "*?[")
		}
	}
	return false
}

func places(l exim.Logs) string {
	all := l.Files
	if l.Syslog {
		all = append([]string{"syslog"}, all...)
	}
	return strings.Join(all, " and ")
}

// blindRemedy says how the two come together.
func blindRemedy(l exim.Logs, file string) string {
	if slices.ContainsFunc(l.Files, func(f string) bool { return strings.Contains(f, "%") }) || len(l.Files) == 0 {
		also := ""
		if l.Syslog {
			also = "syslog : "
		}
		return "set log_file_path = " + also + "/var/log/exim4/%slog, a name without a date"
	}
	return "write file = " + l.Files[0] + " into " + words.Printable(file)
}
