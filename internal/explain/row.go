package explain

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/rules"
)

// What the snippets take for a month, and for how long nobody knows who is a
// user after the host database was lost.
const (
	month    = hosts.Month
	mourning = 7 * 24 * time.Hour
)

// hostsDatabase is the path of the host database, as Exim sees it.
func (e *examiner) hostsDatabase() string {
	if !e.report.Active {
		return e.Inside(e.HostsDatabase)
	}
	return e.value(rules.HostsDatabase)
}

// lookUp does what 20-look-up-host does, with the rights of Exim's user.
func (e *examiner) lookUp() {
	for _, needed := range []string{snippetLookUp, snippetHosts} {
		if e.report.Active && !e.inForce(needed) {
			e.noRow = "it needs " + needed
			return
		}
	}
	read := func(d *hosts.DB) (err error) {
		if e.row, err = d.Get(e.ctx, e.key); err != nil {
			return err
		}
		e.lost, err = d.Lost(e.ctx)
		return err
	}
	path := filepath.Join(e.Root, e.hostsDatabase())
	if err := hosts.With(path, read); err != nil {
		e.row = hosts.Row{Key: e.key}
		e.noRow = fmt.Sprintf("%v (%s-connect-setup check says more)", err, e.Name)
		e.hidden = os.Geteuid() != 0 && errors.Is(err, hosts.ErrRights)
	}
}

// within reports whether a moment is less than d ago, and not to come.
func within(t time.Time, d time.Duration) bool {
	ago := clock.Since(t)
	return !t.IsZero() && ago < d && ago >= 0
}

// forgets gives the verdict of a rule that would have to know the row.
func (e *examiner) forgets() Verdict {
	if e.hidden {
		return Unknown
	}
	return Skipped
}
