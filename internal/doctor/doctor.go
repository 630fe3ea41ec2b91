// Package doctor examines an installation and tells what is wrong with it and
// what to do. It changes nothing, waits for no run of the setup tool, and needs
// nothing of one.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"symbiosis-connect-acl/internal/exim"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/settings"
)

// The time that programs and lists have to answer in.
const (
	helperDeadline    = 10 * time.Second
	listsDeadline     = 4 * time.Second
	handshakeDeadline = 20 * time.Second
)

// doctor collects findings.
type doctor struct {
	platform.Platform
	exim   exim.Installation
	ctx    context.Context
	found  []Finding
	user   exim.User
	macros map[string]string // in force
	wants  settings.Switches
}

func (d *doctor) ok(topic, format string, args ...any) {
	d.found = append(d.found, Finding{OK, topic, fmt.Sprintf(format, args...), ""})
}

func (d *doctor) warn(topic, remedy, format string, args ...any) {
	d.found = append(d.found, Finding{WARN, topic, fmt.Sprintf(format, args...), remedy})
}

func (d *doctor) fail(topic, remedy, format string, args ...any) {
	d.found = append(d.found, Finding{FAIL, topic, fmt.Sprintf(format, args...), remedy})
}

// Check examines the installation and changes nothing. Each finding that is
// not OK has its remedy. It needs the superuser's rights, because it tries
// things as Exim's user.
//
// The platform lies under root; "" means "/".
func Check(ctx context.Context, root string) ([]Finding, error) {
	p, err := platform.Find(root)
	if errors.Is(err, platform.ErrNone) {
		return []Finding{{OK, "platform", "neither Symbiosis nor Sympl is installed here: nothing to check", ""}}, nil
	}
	if err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("check tries things as Exim's user: run it as root")
	}
	d := &doctor{Platform: p, exim: exim.Installation{Platform: p}, ctx: ctx}
	work, err := os.MkdirTemp(filepath.Join(d.Root, "tmp"), d.Package+"-check-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	if err := os.Chmod(work, 0o755); err != nil {
		return nil, err
	}
	if d.configuration() {
		d.snippets()
		d.foreign()
		d.daemon()
		d.values()
		d.logging()
		resolves := d.runTime(work)
		d.tls()
		d.files()
		d.hosts()
		d.firewallDatabases()
		d.hints()
		d.helper()
		d.lists(resolves)
	}
	d.patterns()
	d.clock()
	d.cron()
	return d.found, nil
}

// setup is the name under which the package installs the setup tool.
func (d *doctor) setup() string { return d.Name + "-connect-setup" }

func (d *doctor) apply() string { return "run: " + d.setup() + " apply" }

func (d *doctor) build() string {
	return "run: cd " + d.exim.Inside(d.EximDir) + " && make test && make"
}

func sorted(names []string) []string {
	slices.Sort(names)
	return names
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
