package setup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"symbiosis-connect-acl/internal/exim"
	"symbiosis-connect-acl/internal/patterns"
	"symbiosis-connect-acl/internal/remedy"
)

// How long to wait for another run.
const busyDeadline = 2 * time.Minute

// alone does what a run does, with other runs kept away. Where no platform was
// found there is nothing to do.
func (r *run) alone(ctx context.Context, found bool, do func(*run, context.Context) error) error {
	if !found {
		r.note("neither Symbiosis nor Sympl is installed here: nothing to do")
		return nil
	}
	if err := r.lock(ctx); err != nil {
		return err
	}
	defer r.unlock()
	return do(r, ctx)
}

// lock keeps other runs away and finishes or takes back what a killed one
// left.
func (r *run) lock(ctx context.Context) error {
	var d *os.File
	for {
		if err := os.MkdirAll(r.StateDir, 0o755); err != nil {
			return err
		}
		var err error
		if d, err = os.Open(r.StateDir); err != nil {
			return err
		}
		if err := r.flock(ctx, int(d.Fd())); err != nil {
			d.Close()
			return err
		}
		// The run that we have waited for may have removed the directory.
		ours, err := d.Stat()
		if err != nil {
			d.Close()
			return err
		}
		if now, err := os.Stat(r.StateDir); err == nil && os.SameFile(now, ours) {
			break
		}
		d.Close()
	}
	r.locked = d
	r.tidy()
	if err := r.recover(ctx); err != nil {
		r.unlock()
		return err
	}
	// Exim's user walks through both, whatever the umask is.
	err := os.Mkdir(r.workDir(), 0o755)
	if err == nil {
		err = errors.Join(os.Chmod(r.workDir(), 0o755), os.Chmod(r.StateDir, 0o755))
	}
	if err != nil {
		r.unlock()
		return err
	}
	return nil
}

// flock waits for another run to end, because dpkg may call us while an
// administrator does.
func (r *run) flock(ctx context.Context, fd int) error {
	ctx, cancel := context.WithTimeout(ctx, busyDeadline)
	defer cancel()
	for said := false; ; said = true {
		err := syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		if !said {
			r.note("another run is in progress: waiting for its end")
		}
		select {
		case <-ctx.Done():
			return ErrBusy
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// tidy removes what is only of use while a run lasts: scratch files, and the
// draft, which the Makefile builds anew every time.
func (r *run) tidy() {
	os.RemoveAll(r.workDir())
	os.Remove(r.exim.Draft())
	r.exim.RemoveProofs()
}

func (r *run) unlock() {
	r.tidy()
	// A run that has nothing to remember leaves no directory.
	os.Remove(r.StateDir)
	r.locked.Close()
}

// recover takes back a transaction that was not committed.
func (r *run) recover(ctx context.Context) error {
	entries, committed, found, err := journal(r.JournalDir())
	if err != nil || !found {
		return err
	}
	if err := r.faults.point("recovery"); err != nil {
		return err
	}
	if committed {
		return finish(r.JournalDir(), entries)
	}
	if len(entries) > 0 {
		r.note("an earlier run was interrupted: undoing its changes")
	}
	return r.undo(ctx, entries)
}

const restartStep = "restart"

func (r *run) undo(ctx context.Context, entries []entry) error {
	// Undoing must come to its end even when the run is being stopped.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Minute)
	defer cancel()
	action := func(e entry, putBack bool) error {
		// The entry stands before that of the configuration, so this comes
		// after the old one is back. A daemon that has not seen another one
		// is left alone.
		if e.Step != restartStep || r.opt.NoRestart || !putBack {
			return nil
		}
		// It ran before, so it is started if the failed restart has ended it.
		if err := r.exim.Restart(ctx, r.patience()); errors.Is(err, exim.ErrUnderWay) {
			r.noteUnderWay("the configuration is as it was before", err)
		} else if err != nil {
			r.note("Exim could not be restarted with the configuration as it was before: %v", err)
			r.down = errors.Is(err, exim.ErrNotUp)
		}
		return nil
	}
	reconcile := func(path string, now []byte) []byte {
		r.note("%s was edited in the meantime: your edit stays", path)
		if slices.Contains(r.PatternFiles(), path) {
			data, _, err := patterns.Remove(now)
			if err != nil {
				return nil
			}
			return data
		}
		if strings.HasPrefix(path, r.SnippetDir+"/") {
			return exim.Uncomment(now, r.prefix())
		}
		return nil
	}
	if err := undo(r.JournalDir(), entries, r.faults, action, reconcile); err != nil {
		return remedy.Add(fmt.Errorf("%w; the journal is kept in %s", err, r.JournalDir()), "remove the cause, then run this again")
	}
	return nil
}
