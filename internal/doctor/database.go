package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/exim"
	"symbiosis-connect-acl/internal/rules"
)

// staleAfter is how long the firewall may count nothing before that is worth a
// remark: a mail server on the Internet meets offenders every day.
const staleAfter = 7 * 24 * time.Hour

func (d *doctor) databasePath() string {
	if path := strings.TrimSpace(d.macros[rules.Database]); path != "" {
		return path
	}
	return d.exim.Inside(d.Database)
}

// database looks at the count database, as root and as Exim's user.
func (d *doctor) database() {
	inside := d.databasePath()
	path := filepath.Join(d.Root, inside)
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		d.warn("database", "wait until the firewall has counted its first offender, or see whether its cron job runs", "%s does not exist: hosts are not judged by their history", inside)
		return
	}
	if err != nil {
		d.fail("database", "see that "+inside+" can be reached", "%v", err)
		return
	}
	schema, err := blacklist.DetectSchema(d.ctx, path)
	if err != nil {
		d.fail("database", "if it stays so, move the file away: the firewall makes a new one", "%v", err)
		return
	}
	if _, _, err := d.exim.RunAs(d.ctx, d.user, helperDeadline, "/bin/sh", "-c", `test -r "$1"`, "sh", inside); err != nil {
		d.fail("database", "run: chmod a+r "+inside+", and see that its directories can be searched", "%s cannot be read by %s", inside, d.user.Name)
		return
	}
	if schema != blacklist.SchemaSymbiosis {
		d.warn("database", "let "+rules.Database+" name the database of "+d.Name, "%s has the layout of %s, which the rule does not ask", inside, schema)
		return
	}
	age := time.Since(st.ModTime()).Round(time.Hour)
	indexed, err := blacklist.HasIndex(d.ctx, path)
	silent := false
	if err == nil && indexed {
		silent, err = blacklist.Silent(d.ctx, path, time.Now().Add(-staleAfter))
	}
	switch {
	case err != nil:
		d.warn("database", "try again in a minute", "%v", err)
	case !indexed:
		d.warn("database", "run: "+d.Name+"-connect-db maintain", "%s has no index: every connection reads the whole table", inside)
	case age > staleAfter:
		d.warn("database", "see whether the firewall's cron job runs", "%s was last written %s ago", inside, days(age))
	case silent:
		d.warn("database", "see whether the firewall's cron job runs", "the firewall has counted nobody in %s for more than %s", inside, days(staleAfter))
	case age < 0:
		d.warn("database", "set the clock right", "%s was written in the future", inside)
	default:
		d.ok("database", "%s is indexed and can be read by %s; last written at %s", inside, d.user.Name, st.ModTime().Format(time.DateTime))
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
	host := exim.Innocent()[0][0].String()
	out, problem, err := d.exim.RunAs(d.ctx, d.user, helperDeadline, program, "db", "--verbose", "--database", d.databasePath(), host)
	problem = strings.Join(strings.Fields(problem), " ")
	_, notNumber := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	switch _, statErr := os.Stat(filepath.Join(d.Root, d.databasePath())); {
	case err != nil:
		d.fail("helper", reinstall, "%s does not run as %s: %v %s", program, d.user.Name, err, problem)
	case notNumber != nil:
		d.fail("helper", reinstall, "%s printed %q, not a number", program, out)
	case problem != "" && statErr == nil:
		d.fail("helper", "see that "+d.user.Name+" can read the database", "%s", problem)
	default:
		d.ok("helper", "%s runs as %s", program, d.user.Name)
	}
}
