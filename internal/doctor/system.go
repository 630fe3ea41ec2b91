package doctor

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// dpkg gives what dpkg knows of each package.
func (d *doctor) dpkg() (stanzas []string, err error) {
	data, err := os.ReadFile(filepath.Join(d.Root, "var/lib/dpkg/status"))
	return strings.Split(string(data), "\n\n"), err
}

// daemon compares the running Exim with the configuration on the disk.
func (d *doctor) daemon() {
	started, running := d.exim.Started()
	if !running {
		if _, ok := d.exim.Running(); !ok {
			d.fail("daemon", "run: service exim4 start", "Exim does not run")
		}
		return
	}
	st, err := os.Stat(d.exim.Config())
	// The clock's steps since the start make a comparison to the second futile.
	if err == nil && st.ModTime().After(started.Add(5*time.Second)) {
		d.warn("daemon", "run: service exim4 restart", "Exim was started at %s, before its configuration was built", started.Format(time.DateTime))
		return
	}
	d.ok("daemon", "Exim runs with the configuration in force")
}

// clock asks the kernel whether something keeps the clock right: counts and
// rates are by time, and so is whether a list's answer is still good.
func (d *doctor) clock() {
	var t syscall.Timex
	const timeError = 5 // TIME_ERROR of adjtimex(2)
	state, err := syscall.Adjtimex(&t)
	switch {
	case err != nil:
		d.ok("clock", "the kernel does not say whether the clock is kept right")
	case state == timeError && d.contained():
		d.ok("clock", "this is a container, whose host keeps its clock")
	case state == timeError:
		d.warn("clock", "run: apt-get install systemd-timesyncd, or chrony", "nothing keeps the clock right")
	default:
		d.ok("clock", "kept right")
	}
}

// contained reports whether this is a container, whose clock is its host's, and
// which could not set it.
func (d *doctor) contained() bool {
	for _, mark := range []string{"run/systemd/container", "run/.containerenv", ".dockerenv", "dev/lxd/sock"} {
		if _, err := os.Stat(filepath.Join(d.Root, mark)); err == nil {
			return true
		}
	}
	// What systemd and LXC give to the first process.
	env, _ := os.ReadFile(filepath.Join(d.Root, "proc/1/environ"))
	return bytes.HasPrefix(env, []byte("container=")) || bytes.Contains(env, []byte("\x00container="))
}

var providesCron = regexp.MustCompile(`(?m)^Provides:.*\bcron-daemon\b`)

func (d *doctor) cron() {
	path := filepath.Join(d.Root, "etc/cron.d", d.Package)
	if _, err := os.Stat(path); err != nil {
		d.warn("cron", "run: apt-get install --reinstall -o Dpkg::Options::=--force-confmiss "+d.Package, "%s is not there: the firewall's history does not reach hosts.db, and nothing maintains the databases", path)
		return
	}
	if !d.cronDaemon() {
		d.warn("cron", "run: apt-get install cron", "no cron is installed: the firewall's history does not reach hosts.db, and nothing maintains the databases")
		return
	}
	d.ok("cron", "sync and the daily maintenance are in place")
}

// cronDaemon reports whether a cron is installed, Debian's or another that takes
// its place.
func (d *doctor) cronDaemon() bool {
	if _, err := os.Stat(filepath.Join(d.Root, "usr/sbin/cron")); err == nil {
		return true
	}
	stanzas, _ := d.dpkg()
	for _, s := range stanzas {
		if strings.Contains(s, "\nStatus: install ok installed\n") && providesCron.MatchString(s) {
			return true
		}
	}
	return false
}
