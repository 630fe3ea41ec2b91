package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/history"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/rules"
	"symbiosis-connect-acl/internal/words"
)

// What hosts.db should have free beside it, and how long sync and the nightly
// copy may be late.
const (
	hostsRoom = 16 << 20
	syncLate  = 5 * time.Minute
	copyLate  = 3 * 24 * time.Hour
	lossGrace = 7 * 24 * time.Hour // in which history refuses nobody on the users' ports
)

// hosts looks at hosts.db: whether Exim can use it, whether it is sound, and
// whether the firewall's history comes over.
func (d *doctor) hosts() {
	inside := d.exim.Inside(d.HostsDatabase)
	path, dir := d.HostsDatabase, filepath.Dir(d.HostsDatabase)
	if set := strings.TrimSpace(d.macros[rules.HostsDatabase]); set != "" && set != inside {
		d.warn("hosts", "take "+rules.HostsDatabase+" out of your own file and "+d.build(), "Exim asks %s, but the tools keep %s", set, inside)
	}
	bad := len(d.found)
	mine := fmt.Sprintf("run: chown -R %s: %s", d.user.Name, filepath.Dir(inside))
	for _, f := range []string{dir, path, path + "-wal", path + "-shm"} {
		var st syscall.Stat_t
		if syscall.Lstat(f, &st) == nil && st.Uid != d.user.UID {
			d.fail("hosts", mine, "%s belongs to another user than %s: Exim cannot remember hosts", d.exim.Inside(f), d.user.Name)
		}
	}
	if len(d.found) > bad {
		return
	}
	sync := "run: " + d.Name + "-connect-db sync"
	err := hosts.With(path, func(db *hosts.DB) error {
		if err := db.Check(d.ctx); err != nil {
			return err
		}
		// Whether it can be written to: nothing is.
		return db.Exec(d.ctx, "begin immediate; rollback")
	})
	const strangers = "; to Exim every host is a stranger meanwhile"
	_, missing := os.Lstat(dir)
	switch {
	case errors.Is(missing, fs.ErrNotExist):
		d.fail("hosts", d.apply(), "%s is not there%s", filepath.Dir(inside), strangers)
		return
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, hosts.ErrEmpty):
		d.fail("hosts", sync, "%s is not there, or empty%s", inside, strangers)
		return
	case errors.Is(err, hosts.ErrCorrupt):
		d.fail("hosts", "run: "+d.Name+"-connect-db maintain; it puts the nightly copy back", "%v%s", err, strangers)
		return
	case errors.Is(err, hosts.ErrOld):
		d.fail("hosts", sync, "%v%s", err, strangers)
		return
	case errors.Is(err, hosts.ErrVersion):
		d.fail("hosts", "install the version of this package that made it, or move the file away and "+sync, "%v%s", err, strangers)
		return
	case errors.Is(err, hosts.ErrBusy):
		d.fail("hosts", "see who holds it, with: fuser -v "+inside+"*", "%v%s", err, strangers)
		return
	case errors.Is(err, hosts.ErrRights):
		d.fail("hosts", mine, "%v%s", err, strangers)
		return
	case err != nil:
		d.fail("hosts", "move "+inside+" away and "+sync, "%v%s", err, strangers)
		return
	}
	d.hostsRoom(dir, inside)
	d.unasked(path, inside)
	d.sync(sync, inside)
	if st, err := os.Lstat(hosts.Copy(path)); err == nil && clock.Since(st.ModTime()) > copyLate {
		d.warn("hosts", "see whether cron runs "+d.Name+"-connect-db maintain", "the copy of %s is of %s ago", inside, days(clock.Since(st.ModTime())))
	}
	if len(d.found) == bad {
		d.ok("hosts", "%s is sound, and %s can use it", inside, d.user.Name)
	}
}

// unasked looks for rows that do nothing.
func (d *doctor) unasked(path, inside string) {
	var n int64
	var some []string
	err := hosts.With(path, func(db *hosts.DB) (err error) {
		n, some, err = db.Unasked(d.ctx)
		return err
	})
	if err == nil && n > 0 {
		d.warn("hosts", fmt.Sprintf("run: sqlite3 %s \"delete from host where net = 'KEY'\"", inside),
			"%s in %s under keys that Exim asks for no host, such as %q", words.Plural(n, "row"), inside, strings.Join(some, " "))
	}
}

func (d *doctor) hostsRoom(dir, inside string) {
	var st syscall.Statfs_t
	if syscall.Statfs(dir, &st) != nil {
		return
	}
	if free := int64(st.Bavail) * st.Bsize; free < hostsRoom {
		d.warn("hosts", "make room", "only %d MB are free for %s: soon Exim cannot remember hosts", free>>20, inside)
	}
}

// sync looks whether the firewall's history has come over.
func (d *doctor) sync(remedy, inside string) {
	sources, err := history.Sources(d.Platform)
	if err != nil {
		d.fail("hosts", "mend "+d.exim.Inside(d.DefaultsFile), "%v", err)
		return
	}
	r, err := history.Look(d.ctx, d.HostsDatabase, sources)
	if err != nil {
		return // told by the check of the firewall's database
	}
	if !r.Current {
		late := false
		for _, s := range sources {
			st, err := os.Stat(s)
			late = late || err == nil && clock.Since(st.ModTime()) > syncLate
		}
		if late {
			d.warn("hosts", remedy+", and see whether cron runs it each minute", "the firewall's counts are not in %s yet", inside)
		}
	}
	if r.Alien > 0 {
		d.warn("hosts", "look at them with: "+d.Name+"-connect-db export", "%d rows of the firewall's database fit no host and do not count, such as %q", r.Alien, strings.Join(r.Some, " "))
	}
	if age := clock.Since(r.Lost); age < lossGrace {
		d.warn("hosts", "nothing to do", "%s was lost at %s: for 7 days history refuses nobody on ports 465 and 587, because nobody knows who is a user",
			inside, r.Lost.Format("2006-01-02 15:04 UTC"))
	}
}
