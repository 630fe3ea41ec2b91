package setup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/atomicfile"
	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/exim"
	"symbiosis-connect-acl/internal/remedy"
)

// How long the databases may keep us. Cron goes on when this was too short.
const databaseDeadline = 90 * time.Second

// plan is what apply is about to do to files, and the state after it.
type plan struct {
	changes []Change
	state   State
}

// Plan tells what Apply would change in files, without changing anything. The
// configuration that is built from them is not among them.
func Plan(ctx context.Context, opt Options) ([]Change, error) {
	p, found, err := find(opt)
	if err != nil || !found {
		return nil, err
	}
	r := newRun(p, opt)
	old, _, err := r.readState()
	if err != nil {
		return nil, err
	}
	if _, _, unfinished, _ := journal(r.JournalDir()); unfinished {
		return nil, remedy.Add(errors.New("an earlier run was interrupted, and the next one will undo its changes first"), "run: %s apply, or %s remove", r.program(), r.program())
	}
	pl, err := r.plan(ctx, old)
	return pl.changes, err
}

func (r *run) plan(ctx context.Context, old State) (plan, error) {
	var pl plan
	if err := r.readSettings(); err != nil {
		return pl, err
	}
	if _, err := os.Stat(r.marker()); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return pl, remedy.Add(fmt.Errorf("this is a %s server, and %s is not there", r.Name, r.marker()), "run: apt-get install %s", r.Package)
		}
		return pl, err
	}
	pl.state = State{Platform: r.Name}
	over, err := r.planCopies(&pl, old)
	if err != nil {
		return pl, err
	}
	if err := r.planCarry(&pl, old, over); err != nil {
		return pl, err
	}
	if err := r.planOptions(ctx, &pl, over); err != nil {
		return pl, err
	}
	return pl, r.planPatterns(&pl)
}

// Apply builds our rules in and puts them in force. A second call changes
// nothing. When it fails, every file is as it was before, and so are the
// configuration in force and the running Exim. On a host with neither
// Symbiosis nor Sympl it does nothing.
func Apply(ctx context.Context, opt Options) error {
	p, found, err := find(opt)
	if err != nil {
		return err
	}
	return newRun(p, opt).alone(ctx, found, (*run).apply)
}

func (r *run) apply(ctx context.Context) (err error) {
	old, hasState, err := r.readState()
	if err != nil {
		return err
	}
	if _, err := os.Stat(r.enabling()); errors.Is(err, fs.ErrNotExist) {
		if err := r.exim.BuildDraft(ctx); err != nil {
			var ce *exim.ConfigError
			if errors.As(err, &ce) && r.inTheWay() {
				err = nil // what our files stand in the way of is carried over first
			} else if ce != nil {
				return remedy.Add(fmt.Errorf("the configuration does not build, and did not before this tool changed anything: %w", err),
					"%s, or give it a name with a dot to leave it out, then run: %s apply", ce.Remedy(), r.program())
			}
			if err != nil {
				return err
			}
		}
	}
	pl, err := r.plan(ctx, old)
	if err != nil {
		return err
	}

	t, err := begin(r.JournalDir(), r.Package, r.faults)
	if t == nil {
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		t.log.Close()
		r.unmakeHosts()
		if e := r.undo(ctx, t.entries); e != nil {
			err = fmt.Errorf("%w; and not everything could be put back: %w", err, e)
		} else if r.down {
			err = remedy.Add(fmt.Errorf("%w. Every file is as it was, but Exim does not serve with them either", err), "remove the cause, then run: service exim4 restart")
		} else {
			err = fmt.Errorf("%w. Every file is as it was, and Exim runs as before", err)
		}
	}()
	if err != nil {
		return err
	}
	if err := r.make(t, pl.changes); err != nil {
		return err
	}
	if err := r.exim.BuildDraft(ctx); err != nil {
		return r.remedied(err)
	}
	if err := r.overridden(ctx); err != nil {
		return err
	}
	draft, now, err := r.built()
	if err != nil {
		return err
	}
	// Before the rules that ask it, and the proof of them.
	r.hosts(ctx, hasState)
	pl.state.Config = digest(draft)
	pl.state.Applied = old.Applied
	if same := bytes.Equal(draft, now); !same {
		if err := r.prove(ctx); err != nil {
			return err
		}
		if err := r.putInForce(ctx, t, draft); err != nil {
			return err
		}
		pl.state.Applied = clock.Now().UTC().Truncate(time.Second)
	} else if len(pl.changes) == 0 {
		r.note("the rules are in force already: nothing changed")
	}
	if data := encode(pl.state); !hasState || !bytes.Equal(data, encode(old)) {
		if err := t.write("state", r.stateFile(), data, 0o644); err != nil {
			return err
		}
	}
	if err := t.commit(); err != nil {
		return err
	}
	r.dropIndex(ctx)
	return nil
}

// remedied adds the remedy to a configuration error.
func (r *run) remedied(err error) error {
	var ce *exim.ConfigError
	if !errors.As(err, &ce) {
		return err
	}
	if name, ok := strings.CutSuffix(ce.Message, " option set for the second time"); ok {
		name = strings.Trim(name, `"`)
		where, what := r.setIn(name), "leave one of them out"
		for _, l := range leftOptions {
			if ours := filepath.Join(r.SnippetDir, l.snippet); slices.Contains(where, ours) {
				what = "do as the comment in " + ours + " says"
			}
		}
		if len(where) > 1 {
			return remedy.Add(fmt.Errorf("%w. It stands in %s", err, strings.Join(where, " and in ")), "%s, then run: %s apply", what, r.program())
		}
		return fmt.Errorf("%w. %s", err, unseen(name))
	}
	return remedy.Add(err, "%s, then run: %s apply", ce.Remedy(), r.program())
}

// setIn lists the snippets that set a main option.
func (r *run) setIn(option string) (where []string) {
	snippets, _ := r.exim.Snippets()
	for _, path := range snippets {
		data, err := os.ReadFile(path)
		if err == nil && len(exim.Settings(data, option)) > 0 {
			where = append(where, path)
		}
		if exim.Begins(data) {
			break
		}
	}
	return where
}

// built gives the draft, and the configuration in force: nil where there is none.
func (r *run) built() (draft, now []byte, err error) {
	if draft, err = os.ReadFile(r.exim.Draft()); err != nil {
		return nil, nil, err
	}
	now, err = os.ReadFile(r.exim.Config())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return draft, now, err
}

// putInForce lets the Makefile move the tested draft over the configuration in
// force and, if Exim runs, restarts it. Exim is not started where it does not
// run: somebody will have stopped it.
func (r *run) putInForce(ctx context.Context, t *transaction, draft []byte) error {
	restart := !r.opt.NoRestart && r.wants.Restart
	old := 0
	if restart {
		var running bool
		if old, running = r.exim.Running(); !running {
			r.note("Exim does not run: it will use the configuration when it is started")
			restart = false
		}
	}
	if restart {
		if err := t.record(entry{Step: restartStep}); err != nil {
			return err
		}
	}
	if _, err := t.prepare("put in force", r.exim.Config(), draft); err != nil {
		return err
	}
	err := r.exim.Install(ctx)
	if now, e := os.ReadFile(r.exim.Config()); e != nil || !bytes.Equal(now, draft) {
		if err == nil {
			err = remedy.Add(fmt.Errorf("make did not put %s in force as it was tested", r.exim.Config()), "if a snippet was changed at the same moment, try again")
		}
		return err
	}
	if e := atomicfile.SyncDir(r.EximDir); err == nil {
		err = e
	}
	if err == nil && restart {
		err = r.exim.Restart(ctx, r.patience())
	}
	underWay := errors.Is(err, exim.ErrUnderWay)
	if err != nil && !underWay {
		return fmt.Errorf("%w: %w", ErrNotRestarted, err)
	}
	if err := t.faults.point("put in force when done"); err != nil {
		return err
	}
	// Where a policy-rc.d forbids it, invoke-rc.d restarts nothing and reports
	// success.
	now, running := r.exim.Running()
	if underWay {
		r.noteUnderWay(r.exim.Config()+" is in force", err)
	} else if restart && running && now == old {
		r.note("%s is in force, but Exim was not restarted, perhaps by /usr/sbin/policy-rc.d: process %d still has the old rules; run: service exim4 restart", r.exim.Config(), old)
	} else if restart {
		r.note("%s is in force, and Exim was restarted", r.exim.Config())
	} else {
		r.note("%s is in force; Exim was not restarted", r.exim.Config())
	}
	return nil
}

// How long a run takes at most when DNS does not answer, and what of that is left
// for Exim to restart in, whatever came before.
const (
	limit       = 10 * time.Second
	restartTime = 4 * time.Second
)

// patience is how long a restart is waited for.
func (r *run) patience() time.Duration { return max(limit-time.Since(r.begin), restartTime) }

// noteUnderWay says that nobody has seen Exim serve yet, and what to do.
func (r *run) noteUnderWay(done string, err error) {
	do := "run"
	if what := remedy.Of(err); what != "" {
		do = what + ", then run"
	}
	r.note("%s, but %v; %s: %s check", done, err, do, r.program())
}
