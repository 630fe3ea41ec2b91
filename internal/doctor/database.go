package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/history"
	"symbiosis-connect-acl/internal/rules"
)

// staleAfter is how long the firewall may count nothing before that is worth a
// remark: a mail server on the Internet meets offenders every day.
const staleAfter = 7 * 24 * time.Hour

// firewallDatabases looks at the databases from which the history comes. Exim
// asks none of them.
func (d *doctor) firewallDatabases() {
	sources, err := history.Sources(d.Platform)
	if err != nil {
		return // told above
	}
	if set := strings.TrimSpace(d.macros[rules.Database]); set != "" && set != d.exim.Inside(d.Database) {
		named := false
		for _, s := range sources {
			named = named || d.exim.Inside(s) == set
		}
		if !named {
			d.warn("database", fmt.Sprintf("write %s=%q into %s", history.Setting, set, d.exim.Inside(d.DefaultsFile)),
				"%s names %s, which nobody reads any more", rules.Database, set)
		}
	}
	if len(sources) == 0 {
		d.warn("database", "wait until the firewall has counted its first offender, or see whether its cron job runs", "%s does not exist: hosts are not judged by their history", d.exim.Inside(d.Database))
	}
	for _, path := range sources {
		d.firewallDatabase(path)
	}
}

func (d *doctor) firewallDatabase(path string) {
	inside := d.exim.Inside(path)
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		d.warn("database", "mend "+history.Setting+" in "+d.exim.Inside(d.DefaultsFile), "%s does not exist", inside)
		return
	} else if err != nil {
		d.fail("database", "see that "+inside+" can be reached", "%v", err)
		return
	}
	schema, err := blacklist.DetectSchema(d.ctx, path)
	silent, empty := false, errors.Is(err, blacklist.ErrNoTable)
	if err == nil {
		if empty, err = blacklist.Empty(d.ctx, path); err == nil && !empty {
			silent, err = blacklist.Silent(d.ctx, path, clock.Now().Add(-staleAfter))
		}
	}
	age := clock.Since(st.ModTime()).Round(time.Hour)
	switch {
	case empty && age <= staleAfter:
		d.ok("database", "%s is empty: no scan has counted anybody yet", inside)
	case empty:
		d.warn("database", "see whether the firewall's cron job runs", "%s is empty, and was made %s ago: no scan has counted anybody yet", inside, days(age))
	case errors.Is(err, blacklist.ErrUnsteady):
		d.warn("database", "try again in a minute", "%v", err)
	case errors.Is(err, blacklist.ErrCorrupt):
		d.fail("database", "between two scans, run: "+blacklist.Recipe(inside), "%v; the last good history holds meanwhile", err)
	case errors.Is(err, blacklist.ErrWAL):
		d.fail("database", "run: sqlite3 "+inside+" 'PRAGMA journal_mode=DELETE'", "%v", err)
	case err != nil:
		d.fail("database", "if this lasts, move the file away: the firewall makes a new one", "%v", err)
	case age > staleAfter:
		d.warn("database", "see whether the firewall's cron job runs", "%s was last written %s ago", inside, days(age))
	case silent:
		d.warn("database", "see whether the firewall's cron job runs", "the firewall has counted nobody in %s for more than %s", inside, days(staleAfter))
	case age < 0:
		d.warn("database", "set the clock right", "%s was written in the future", inside)
	default:
		d.ok("database", "%s, in the layout of %s, can be read; last written at %s", inside, schema, st.ModTime().Format(time.DateTime))
	}
}

func days(t time.Duration) string { return fmt.Sprintf("%d days", int(t.Hours()/24)) }

// helper runs the helper as Exim does.
func (d *doctor) helper() {
	program := "/usr/sbin/" + d.Name + "-connect-check"
	reinstall := "run: apt-get install --reinstall " + d.Package
	if _, err := os.Stat(filepath.Join(d.Root, program)); err != nil {
		d.fail("helper", reinstall, "%v: DNS lists are not asked", err)
		return
	}
	out, problem, err := d.exim.RunAs(d.ctx, d.user, helperDeadline, program, "host", "--database", d.exim.Inside(d.HostsDatabase), "select 'yes' done")
	problem = strings.Join(strings.Fields(problem), " ")
	out = strings.TrimSpace(out)
	switch {
	case err != nil:
		d.fail("helper", reinstall, "%s does not run as %s: %v %s", program, d.user.Name, err, problem)
	// What is wrong with the database is reported elsewhere.
	case out != "done=yes" && !strings.HasPrefix(out, "trouble="):
		d.fail("helper", reinstall, "%s printed %q, not an answer", program, out)
	default:
		d.ok("helper", "%s runs as %s", program, d.user.Name)
	}
}
