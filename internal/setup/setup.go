// Package setup builds our rules into the platform's Exim and takes them out
// again: as a transaction of named steps, each with its undo, journalled on
// disk, so that a run which fails, or which is killed at any moment, is taken
// back whole, and the configuration in force is valid all the time.
package setup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"symbiosis-connect-acl/internal/exim"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/remedy"
	"symbiosis-connect-acl/internal/settings"
)

// Options are what a run is told.
type Options struct {
	Root      string // where the platform lies; "" means "/"
	NoRestart bool   // put the configuration in force on disk, but leave the daemon as it is
	// Note is told what is done, one line at a time. It may be nil.
	Note func(string)
}

// Errors that callers tell apart.
var (
	// ErrNotRebuilt says that everything of ours was taken out of the tree of
	// snippets, but that no configuration could be built from what is left, so
	// the one in force is still the old one.
	ErrNotRebuilt = errors.New("our changes are undone, but the configuration could not be built again")
	// ErrNotRestarted says that all is done on disk, but that the restart of
	// Exim failed.
	ErrNotRestarted = errors.New("Exim could not be restarted")
	// ErrBusy says that another run is in progress.
	ErrBusy = remedy.Add(errors.New("another run is in progress"), "wait for its end and try again")
)

// Names in the tree of snippets. The first is written and removed by this
// package alone; the others are conffiles of the Debian package.
const (
	enablingSnippet = "00-main/20-connect-acl-enabled"
	quitSnippet     = "00-main/31-acl-definitions-connect"
	envSnippet      = "00-main/27-environment"
)

// run is one run on one platform.
type run struct {
	platform.Platform
	exim   exim.Installation
	opt    Options
	wants  settings.Switches
	faults *faults
	locked *os.File
	begin  time.Time
	down   bool // Exim ran, and could not be started again
	made   bool // this run has made hosts.db
}

func (r *run) note(format string, args ...any) {
	if r.opt.Note != nil {
		r.opt.Note(fmt.Sprintf(format, args...))
	}
}

func newRun(p platform.Platform, opt Options) *run {
	return &run{Platform: p, exim: exim.Installation{Platform: p}, opt: opt, faults: newFaults(), begin: time.Now()}
}

func (r *run) readSettings() (err error) {
	r.wants, err = settings.ReadSwitches(r.DefaultsFile)
	return err
}

func (r *run) enabling() string  { return filepath.Join(r.SnippetDir, enablingSnippet) }
func (r *run) marker() string    { return filepath.Join(r.ShareDir, "marker.conf") }
func (r *run) workDir() string   { return filepath.Join(r.StateDir, "work") }
func (r *run) stateFile() string { return filepath.Join(r.StateDir, "state.json") }

// program is the name under which the package installs this tool.
func (r *run) program() string { return r.Name + "-connect-setup" }

// prefix stands before every line of another's that we comment out.
func (r *run) prefix() string { return "#" + r.Package + "# " }

// find gives the platform. found is false where there is none, which is no
// error.
func find(opt Options) (p platform.Platform, found bool, err error) {
	p, err = platform.Find(opt.Root)
	if errors.Is(err, platform.ErrNone) {
		return p, false, nil
	}
	return p, err == nil, err
}

// A Change is one file as it is and as apply or remove wants it. Old is nil
// where there is no file, New where it is to be removed.
type Change struct {
	Step     string
	Path     string
	Old, New []byte
	done     string // what to say when it is made, "" when it is not worth a word
	aside    string // another name for the file as it is, under which it stays
	back     string // a file that comes back under this one's name
}

// add plans a change, if it is one; done says what was done to the file. A second
// change of a file builds on the first.
func (pl *plan) add(step, path string, old, new []byte, done string) {
	for i := range pl.changes {
		if c := &pl.changes[i]; c.Path == path {
			if c.New = new; done != "" {
				c.done += "; " + done
			}
			return
		}
	}
	if (old == nil) != (new == nil) || !bytes.Equal(old, new) {
		pl.changes = append(pl.changes, Change{Step: step, Path: path, Old: old, New: new, done: done})
	}
}

// make makes the changes, one after the other.
func (r *run) make(t *transaction, changes []Change) error {
	for _, c := range changes {
		var err error
		if c.aside != "" {
			err = t.move(c.Step, c.Path, c.aside)
		}
		switch {
		case err != nil:
		case c.New != nil:
			err = t.write(c.Step, c.Path, c.New, 0o644)
		case c.aside == "":
			err = t.remove(c.Step, c.Path)
		}
		if err == nil && c.back != "" {
			err = t.move(c.Step, c.back, c.Path)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.Step, err)
		}
		if c.done != "" {
			r.note("%s", c.done)
		}
	}
	return nil
}
