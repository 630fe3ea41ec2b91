// Package doctor examines an installation and tells what is wrong with it and
// what to do. It changes nothing, waits for no run of the setup tool, and needs
// nothing of one.
package doctor

import (
	"cmp"
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

// Limit is how long Check takes at most. A resolver that does not answer keeps
// Exim, the lists and much else waiting; what waits longer is not finished.
const Limit = 10 * time.Second

// grace is how much of it is left for what is under way to come to its end.
const grace = time.Second

// The time that programs and lists have to answer in, within the limit.
const (
	helperDeadline = 5 * time.Second
	listsDeadline  = 4 * time.Second
)

// Options are what Check is told.
type Options struct {
	Root  string        // where the platform lies; "" means "/"
	Limit time.Duration // 0 means Limit
	// Progress is told what is still being looked at, each time that changes.
	// It may be nil.
	Progress func(topics []string)
}

// doctor collects findings. Each step has one of its own.
type doctor struct {
	platform.Platform
	exim   exim.Installation
	ctx    context.Context
	found  []Finding
	late   bool // there was no time left for a finding
	user   exim.User
	macros map[string]string // in force
	wants  settings.Switches
}

func (d *doctor) ok(topic, format string, args ...any) { d.add(OK, topic, "", format, args...) }

func (d *doctor) warn(topic, remedy, format string, args ...any) {
	d.add(WARN, topic, remedy, format, args...)
}

func (d *doctor) fail(topic, remedy, format string, args ...any) {
	d.add(FAIL, topic, remedy, format, args...)
}

// add takes a finding down. One that comes when the time is over is not to be
// believed: what was asked was ended before it could answer.
func (d *doctor) add(level Level, topic, remedy, format string, args ...any) {
	if d.ctx.Err() != nil {
		d.late = true
		return
	}
	d.found = append(d.found, Finding{level, topic, fmt.Sprintf(format, args...), remedy})
}

// Check examines the installation and changes nothing. Each finding that is
// not OK has its remedy. It needs the superuser's rights, because it tries
// things as Exim's user. It ends within the limit, and says what is not finished
// then.
func Check(parent context.Context, opt Options) ([]Finding, error) {
	p, err := platform.Find(opt.Root)
	if errors.Is(err, platform.ErrNone) {
		return []Finding{{OK, "platform", "neither Symbiosis nor Sympl is installed here: nothing to check", ""}}, nil
	}
	if err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("check tries things as Exim's user: run it as root")
	}
	limit := cmp.Or(opt.Limit, Limit)
	over := time.After(limit)
	ctx, cancel := context.WithTimeout(parent, limit-grace)
	defer cancel()
	d := &doctor{Platform: p, exim: exim.Installation{Platform: p}, ctx: ctx}
	work, err := os.MkdirTemp(filepath.Join(d.Root, "tmp"), d.Package+"-check-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	if err := os.Chmod(work, 0o755); err != nil {
		return nil, err
	}
	read := d.configuration()
	if d.late {
		d.unfinished("configuration")
	}
	steps := []step{{"patterns", (*doctor).patterns}, {"clock", (*doctor).clock}, {"cron", (*doctor).cron}}
	if read || d.late {
		steps = append([]step{
			{"snippets", (*doctor).snippets},
			{"foreign", (*doctor).foreign},
			{"daemon", (*doctor).daemon},
			{"values", (*doctor).values},
			{"keys", (*doctor).keys},
			{"logging", (*doctor).logging},
			{"door", func(d *doctor) { d.door(work) }},
			{"acts", func(d *doctor) { d.acts(work) }},
			{"tls", (*doctor).tls},
			{"files", (*doctor).files},
			{"hosts", (*doctor).hosts},
			{"database", (*doctor).firewallDatabases},
			{"hints", (*doctor).hints},
			{"helper", (*doctor).helper},
			{"lists", func(d *doctor) { d.resolver(work) }},
			{"own lists", (*doctor).ownLists},
		}, steps...)
	}
	d.all(over, opt.Progress, steps)
	return d.found, parent.Err()
}

// A step looks at one thing.
type step struct {
	topic string
	look  func(*doctor)
}

// all takes the steps at once, so that those that wait hold up no other, and
// adds their findings in the order of the steps.
func (d *doctor) all(over <-chan time.Time, progress func([]string), steps []step) {
	if progress == nil {
		progress = func([]string) {}
	}
	type end struct {
		step int
		*doctor
	}
	ends := make(chan end, len(steps)) // nobody may be there to take the last of them
	for i, s := range steps {
		own := *d
		own.found, own.late = nil, false
		go func() {
			s.look(&own)
			own.late = own.late || len(own.found) == 0 && own.ctx.Err() != nil
			ends <- end{i, &own}
		}()
	}
	done := make([]*doctor, len(steps))
waiting:
	for range steps {
		var left []string
		for i, s := range steps {
			if done[i] == nil {
				left = append(left, s.topic)
			}
		}
		progress(left)
		select {
		case e := <-ends:
			done[e.step] = e.doctor
		case <-over:
			break waiting
		}
	}
	progress(nil)
	for i, s := range steps {
		if done[i] != nil {
			d.found = append(d.found, done[i].found...)
		}
		if done[i] == nil || done[i].late {
			d.unfinished(s.topic)
		}
	}
}

// unfinished says that there was no time left.
func (d *doctor) unfinished(topic string) {
	d.found = append(d.found, Finding{WARN, topic, "not finished: there was no time left for it",
		"see what is said about the resolver, then run: " + d.setup() + " check"})
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
