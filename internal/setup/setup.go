// Package setup builds our rules into the platform's Exim and takes them out
// again: as a transaction of named steps, each with its undo, journalled on
// disk, so that a run which fails, or which is killed at any moment, is taken
// back whole, and the configuration in force is valid all the time.
package setup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/atomicfile"
	"symbiosis-connect-acl/internal/exim"
	"symbiosis-connect-acl/internal/patterns"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/safepath"
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
	ErrNotRebuilt = errors.New("our files are undone, but the configuration could not be built again")
	// ErrNotRestarted says that all is done on disk, but that the restart of
	// Exim failed.
	ErrNotRestarted = errors.New("Exim could not be restarted")
	// ErrBusy says that another run is at work.
	ErrBusy = errors.New("another run of this tool is at work: wait for its end and try again")
)

// Names in the tree of snippets. The first is written and removed by this
// package alone; the others are conffiles of the Debian package.
const (
	enablingSnippet = "00-main/20-connect-acl-enabled"
	markerMacro     = "SYMBIOSIS_CONNECT_ACL"
	quitMacro       = "CONNECT_ACL_QUIT_IS_TAKEN"
	quitSnippet     = "00-main/31-acl-definitions-connect"
)

// The ports that the platform's Exim listens on.
var ports = []int{25, 465, 587}

// How long one imagined session may take. A resolver that does not answer
// makes Exim's own reverse lookup take most of this.
const greetDeadline = 60 * time.Second

// How long to wait for another run.
const busyDeadline = 2 * time.Minute

// How long the databases may keep us. Cron goes on when this was too short.
const databaseDeadline = 90 * time.Second

// run is one run on one platform.
type run struct {
	platform.Platform
	exim   exim.Installation
	opt    Options
	wants  wants
	faults *faults
	locked *os.File
	down   bool // Exim ran, and could not be started again
	made   bool // this run has made hosts.db
}

func (r *run) note(format string, args ...any) {
	if r.opt.Note != nil {
		r.opt.Note(fmt.Sprintf(format, args...))
	}
}

func newRun(p platform.Platform, opt Options) *run {
	return &run{Platform: p, exim: exim.Installation{Platform: p}, opt: opt, faults: newFaults()}
}

// wants are the settings in the defaults file.
type wants struct {
	patterns, restart bool
}

func (r *run) readWants() error {
	r.wants = wants{true, true}
	set, err := settings.Read(r.DefaultsFile)
	if err != nil {
		return err
	}
	for name, b := range map[string]*bool{
		"CONNECT_ACL_PATTERNS": &r.wants.patterns,
		"CONNECT_ACL_RESTART":  &r.wants.restart,
	} {
		if *b, err = set.Bool(name, true); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) enabling() string    { return filepath.Join(r.SnippetDir, enablingSnippet) }
func (r *run) marker() string      { return filepath.Join(r.ShareDir, "marker.conf") }
func (r *run) patternFile() string { return filepath.Join(r.FirewallDir, "patterns.d/exim4.patterns") }
func (r *run) ourPatterns() string { return filepath.Join(r.ShareDir, "patterns.d/exim4.patterns") }
func (r *run) journalDir() string  { return filepath.Join(r.StateDir, "journal") }
func (r *run) workDir() string     { return filepath.Join(r.StateDir, "work") }
func (r *run) stateFile() string   { return filepath.Join(r.StateDir, "state.json") }

// program is the name under which the package installs this tool.
func (r *run) program() string { return r.Name + "-connect-setup" }

// prefix stands before every line of somebody else's that we put out of use.
func (r *run) prefix() string { return "#" + r.Package + "# " }

// State is what apply remembers for remove, and shows in status. What has to
// be undone is marked in the files themselves, so that losing it is no harm.
type State struct {
	Platform      string    // "symbiosis" or "sympl"
	Applied       time.Time // when apply last changed something
	Config        string    // SHA-256 of the configuration that was put in force
	LogSelector   string    // the value that was taken over, "" when there was none
	LogSnippets   []string  // the snippets in which it stood
	EventAction   string    `json:",omitempty"` // likewise
	EventSnippets []string  `json:",omitempty"`
	PatternsFile  string    // where the patterns were merged, "" when they were not
}

func (r *run) readState() (State, bool, error) {
	var s State
	data, err := os.ReadFile(r.stateFile())
	if errors.Is(err, fs.ErrNotExist) {
		return s, false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return s, false, fmt.Errorf("%s: %w", r.stateFile(), err)
	}
	return s, true, nil
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
			r.note("another run is at work: waiting for its end")
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
	entries, committed, found, err := journal(r.journalDir())
	if err != nil || !found {
		return err
	}
	if err := r.faults.point("recovery"); err != nil {
		return err
	}
	if committed {
		return finish(r.journalDir(), entries)
	}
	if len(entries) > 0 {
		r.note("an earlier run did not come to its end: taking back what it had changed")
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
		if err := r.exim.RestartOnly(ctx); err != nil {
			r.note("Exim could not be restarted with the configuration as it was before: %v", err)
			r.down = errors.Is(err, exim.ErrNotUp)
		}
		return nil
	}
	reconcile := func(path string, now []byte) []byte {
		r.note("%s was edited in the meantime: your edit stays", path)
		if path == r.patternFile() {
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
	if err := undo(r.journalDir(), entries, r.faults, action, reconcile); err != nil {
		return fmt.Errorf("%w; the journal is kept in %s, run this again when the cause is gone", err, r.journalDir())
	}
	return nil
}

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
}

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
	if _, _, unfinished, _ := journal(r.journalDir()); unfinished {
		return nil, fmt.Errorf("an earlier run did not come to its end, and the next one will take back what it had changed first: run %s apply or %s remove", r.program(), r.program())
	}
	pl, err := r.plan(ctx)
	return pl.changes, err
}

func (r *run) plan(ctx context.Context) (plan, error) {
	var pl plan
	if err := r.readWants(); err != nil {
		return pl, err
	}
	if _, err := os.Stat(r.marker()); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return pl, fmt.Errorf("this is a %s server, and %s is not there: install the package %s", r.Name, r.marker(), r.Package)
		}
		return pl, err
	}
	pl.state = State{Platform: r.Name}
	if err := r.planOptions(ctx, &pl); err != nil {
		return pl, err
	}
	return pl, r.planPatterns(&pl)
}

// add plans a change, if it is one; done says what was done to the file.
func (pl *plan) add(step, path string, old, new []byte, done string) {
	if (old == nil) != (new == nil) || !bytes.Equal(old, new) {
		pl.changes = append(pl.changes, Change{step, path, old, new, done})
	}
}

// planPatterns merges our patterns, or takes them out where the settings say
// that they are not wanted.
func (r *run) planPatterns(pl *plan) error {
	dir := filepath.Dir(r.patternFile())
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		r.note("%s is not there: no patterns installed", dir)
		return nil
	}
	old, err := safepath.ReadFile(r.patternFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if old == nil && err == nil {
		old = []byte{}
	}
	if !r.wants.patterns {
		return r.planPatternsRemoved(pl, old)
	}
	pl.state.PatternsFile = r.exim.Inside(r.patternFile())
	ours, err := os.ReadFile(r.ourPatterns())
	if err != nil {
		return err
	}
	merged, superseded, err := patterns.Install(old, ours)
	if err != nil {
		return fmt.Errorf("%s: %w", r.patternFile(), err)
	}
	for _, s := range superseded {
		r.note("%s:%d: superseded by ours (%s)", r.patternFile(), s.Line, s.Why)
	}
	pl.add("patterns", r.patternFile(), old, merged, "our patterns merged into "+r.patternFile())
	return nil
}

func (r *run) planPatternsRemoved(pl *plan, old []byte) error {
	if old == nil {
		return nil
	}
	original, gone, err := patterns.Remove(old)
	if err != nil {
		return fmt.Errorf("%s: %w", r.patternFile(), err)
	}
	done := "our patterns taken out of " + r.patternFile()
	if gone {
		original = nil
		done = r.patternFile() + " deleted: it held nothing but our patterns"
	} else if original == nil {
		original = []byte{}
	}
	pl.add("patterns", r.patternFile(), old, original, done)
	return nil
}

// make makes the changes, one after the other.
func (r *run) make(t *transaction, changes []Change) error {
	for _, c := range changes {
		var err error
		if c.New == nil {
			err = t.remove(c.Step, c.Path)
		} else {
			err = t.write(c.Step, c.Path, c.New, 0o644)
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

// Apply builds our rules in and puts them in force. A second call changes
// nothing. When it fails, every file is as it was before, and so are the
// configuration in force and the running Exim. On a host with neither
// Symbiosis nor Sympl it does nothing.
func Apply(ctx context.Context, opt Options) error {
	p, found, err := find(opt)
	if err != nil {
		return err
	}
	r := newRun(p, opt)
	if !found {
		r.note("neither Symbiosis nor Sympl is installed here: nothing to do")
		return nil
	}
	if err := r.lock(ctx); err != nil {
		return err
	}
	defer r.unlock()
	if err := r.apply(ctx); err != nil {
		return err
	}
	r.dropIndex(ctx)
	return nil
}

func (r *run) apply(ctx context.Context) (err error) {
	if _, err := os.Stat(r.enabling()); errors.Is(err, fs.ErrNotExist) {
		if err := r.exim.BuildDraft(ctx); err != nil {
			var ce *exim.ConfigError
			if errors.As(err, &ce) {
				return fmt.Errorf("the configuration does not build, and did not before this tool changed anything: %w. Mend that snippet, or give it a name with a dot to leave it out, then run: %s apply", err, r.program())
			}
			return err
		}
	}
	pl, err := r.plan(ctx)
	if err != nil {
		return err
	}
	old, hasState, err := r.readState()
	if err != nil {
		return err
	}

	t, err := begin(r.journalDir(), r.Package, r.faults)
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
			err = fmt.Errorf("%w. Every file is as it was, but Exim does not serve with them either: remove the cause, then run: service exim4 restart", err)
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
		return r.hint(err)
	}
	if err := r.overridden(ctx); err != nil {
		return err
	}
	draft, err := os.ReadFile(r.exim.Draft())
	if err != nil {
		return err
	}
	now, err := os.ReadFile(r.exim.Config())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
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
		pl.state.Applied = time.Now().UTC().Truncate(time.Second)
	} else if len(pl.changes) == 0 {
		r.note("the rules are in force already: nothing changed")
	}
	if data := encode(pl.state); !hasState || !bytes.Equal(data, encode(old)) {
		if err := t.write("state", r.stateFile(), data, 0o644); err != nil {
			return err
		}
	}
	return t.commit()
}

// hint adds the remedy to a configuration error.
func (r *run) hint(err error) error {
	var ce *exim.ConfigError
	if !errors.As(err, &ce) {
		return err
	}
	if name, ok := strings.CutSuffix(ce.Message, " option set for the second time"); ok {
		name = strings.Trim(name, `"`)
		where, remedy := r.setIn(name), "leave one of them out"
		if ours := filepath.Join(r.SnippetDir, quitSnippet); slices.Contains(where, ours) {
			remedy = "do as the comment in " + ours + " says"
		}
		if len(where) > 1 {
			return fmt.Errorf("%w. It stands in %s: %s, then run: %s apply", err, strings.Join(where, " and in "), remedy, r.program())
		}
		return fmt.Errorf("%w. %s", err, unseen(name))
	}
	return fmt.Errorf("%w. Mend that snippet, then run: %s apply", err, r.program())
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

func encode(s State) []byte {
	data, _ := json.MarshalIndent(s, "", "  ")
	return append(data, '\n')
}

// prove imagines innocent hosts at the candidate's door.
func (r *run) prove(ctx context.Context) error {
	if err := r.faults.point("proof"); err != nil {
		return err
	}
	p, err := r.exim.NewProof(ctx, r.exim.Draft(), r.workDir())
	if err != nil {
		return err
	}
	defer p.Close()
	var refused []exim.Session
	for _, s := range r.greet(ctx, p) {
		if !s.OK() {
			refused = append(refused, s)
		}
	}
	if len(refused) > 0 {
		before := r.greetBefore(ctx, refused)
		for i, s := range refused {
			if i >= len(before) || before[i].Reply() != s.Reply() || before[i].OK() {
				return fmt.Errorf("the new configuration turns away a host that did nothing: %s", s)
			}
			r.note("not our doing, but look at it: %s", before[i])
		}
		return nil
	}
	r.note("an innocent host is greeted on ports 25, 465 and 587, over IPv4 and IPv6")
	return nil
}

// greet gives, for each family and port, the session of the first innocent
// host that is greeted, or the last one that was not. A host that the count
// database knows is not asked for.
func (r *run) greet(ctx context.Context, p *exim.Proof) []exim.Session {
	best := make([]exim.Session, 2*len(ports))
	for _, pair := range r.innocent(ctx) {
		var hosts []netip.Addr
		for f, host := range pair {
			for i := range ports {
				if !best[f*len(ports)+i].OK() {
					hosts = append(hosts, host)
					break
				}
			}
		}
		if len(hosts) == 0 {
			break
		}
		for i, s := range p.GreetAll(ctx, hosts, ports, greetDeadline) {
			f := 0
			if s.Host.Is6() {
				f = 1
			}
			if b := &best[f*len(ports)+i%len(ports)]; !b.OK() {
				*b = s
			}
		}
		// Something broken is broken for every host.
		for _, s := range best {
			if !s.OK() && s.Broken() {
				return best
			}
		}
	}
	return best
}

func (r *run) innocent(ctx context.Context) [][2]netip.Addr {
	var all [][2]netip.Addr
	for _, pair := range exim.Innocent() {
		known := false
		for _, a := range pair {
			n, err := r.historyOf(ctx, address.FromAddr(a))
			known = known || err == nil && n > 0
		}
		if !known {
			all = append(all, pair)
		}
	}
	if len(all) == 0 {
		return exim.Innocent()[:1]
	}
	return all
}

// greetBefore imagines the same sessions with the configuration in force: what
// it answers alike is not our doing. It gives nothing when that cannot be
// asked.
func (r *run) greetBefore(ctx context.Context, like []exim.Session) []exim.Session {
	if r.exim.Check(ctx, r.exim.Config()) != nil {
		return nil
	}
	p, err := r.exim.NewProof(ctx, r.exim.Config(), r.workDir())
	if err != nil {
		return nil
	}
	defer p.Close()
	before := make([]exim.Session, len(like))
	var wg sync.WaitGroup
	for i, s := range like {
		wg.Go(func() { before[i] = p.Greet(ctx, s.Host, s.Port, greetDeadline) })
	}
	wg.Wait()
	return before
}

// putInForce lets the Makefile move the tested draft over the configuration in
// force and, if Exim runs, restart it. Exim is not started where it does not
// run: somebody will have stopped it.
func (r *run) putInForce(ctx context.Context, t *transaction, draft []byte) error {
	restart := !r.opt.NoRestart && r.wants.restart
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
	var err error
	if restart {
		err = r.exim.Restart(ctx)
	} else {
		err = r.exim.Install(ctx)
	}
	if now, e := os.ReadFile(r.exim.Config()); e != nil || !bytes.Equal(now, draft) {
		if err == nil {
			err = fmt.Errorf("make did not put %s in force as it was tested: was a snippet changed at the same moment?", r.exim.Config())
		}
		return err
	}
	if e := atomicfile.SyncDir(r.EximDir); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotRestarted, err)
	}
	if err := t.faults.point("put in force when done"); err != nil {
		return err
	}
	// Where a policy-rc.d forbids it, invoke-rc.d restarts nothing and reports
	// success.
	now, running := r.exim.Running()
	if restart && running && now == old {
		r.note("%s is in force, but Exim was not restarted, perhaps by /usr/sbin/policy-rc.d: process %d still has the old rules; run: service exim4 restart", r.exim.Config(), old)
	} else if restart {
		r.note("%s is in force, and Exim was restarted", r.exim.Config())
	} else {
		r.note("%s is in force; Exim was not restarted", r.exim.Config())
	}
	return nil
}

// Remove takes out what Apply has built in, exactly. A configuration that does
// not build for somebody else's reason gives ErrNotRebuilt: our files are
// undone all the same.
func Remove(ctx context.Context, opt Options) error {
	p, found, err := find(opt)
	if err != nil {
		return err
	}
	if !found {
		// The platform may have been removed before us.
		root := opt.Root
		if root == "" {
			root = "/"
		}
		if root, err = filepath.Abs(root); err != nil {
			return err
		}
		for _, c := range []platform.Platform{platform.Symbiosis(root), platform.Sympl(root)} {
			if _, err := os.Stat(c.StateDir); err == nil {
				p, found = c, true
				break
			}
		}
	}
	r := newRun(p, opt)
	if !found {
		r.note("neither Symbiosis nor Sympl is installed here: nothing to do")
		return nil
	}
	if err := r.lock(ctx); err != nil {
		return err
	}
	defer r.unlock()
	return r.remove(ctx)
}

func (r *run) planRemoval(ctx context.Context) ([]Change, error) {
	var pl plan
	// Whatever its name is: a copy that dpkg or an editor has left gets its
	// lines back too.
	content, snippets := map[string][]byte{}, map[string][]byte{}
	err := filepath.WalkDir(r.SnippetDir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == r.SnippetDir {
			return fs.SkipAll
		}
		if err != nil || !d.Type().IsRegular() || path == r.enabling() {
			return err
		}
		data, err := os.ReadFile(path)
		if restored := exim.Uncomment(data, r.prefix()); err == nil && !bytes.Equal(restored, data) {
			content[path] = data
			if exim.ValidName(d.Name()) {
				snippets[path] = data
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	restored := map[string][]byte{}
	if len(snippets) > 0 {
		restored = r.restored(ctx, snippets)
	}
	for _, path := range slices.Sorted(maps.Keys(content)) {
		whole, done := exim.Uncomment(content[path], r.prefix()), r.takenFrom(content[path])+" put back in "+path
		back, found := restored[path]
		if !found {
			back = whole
		} else if !bytes.Equal(back, whole) {
			done = "" // restored has said it
		}
		pl.add("options", path, content[path], back, done)
	}
	old, err := safepath.ReadFile(r.patternFile())
	if err == nil {
		if old == nil {
			old = []byte{}
		}
		err = r.planPatternsRemoved(&pl, old)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if old, err = os.ReadFile(r.enabling()); err == nil {
		pl.add("switch off", r.enabling(), old, nil, "rules switched off: "+r.enabling()+" deleted")
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if old, err = os.ReadFile(r.stateFile()); err == nil {
		pl.add("state", r.stateFile(), old, nil, "")
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return pl.changes, nil
}

func (r *run) remove(ctx context.Context) (err error) {
	// A slip of the pen in the settings must not keep the package installed.
	if err := r.readWants(); err != nil {
		r.note("%v", err)
	}
	changes, err := r.planRemoval(ctx)
	if err != nil {
		return err
	}
	t, err := begin(r.journalDir(), r.Package, r.faults)
	if t == nil {
		return err
	}
	defer func() {
		if err == nil || errors.Is(err, ErrNotRebuilt) || errors.Is(err, ErrNotRestarted) {
			return
		}
		t.log.Close()
		if e := r.undo(ctx, t.entries); e != nil {
			err = fmt.Errorf("%w; and not everything could be put back: %w", err, e)
		} else {
			err = fmt.Errorf("%w. Every file is as it was, and the rules are still in force", err)
		}
	}()
	if err != nil {
		return err
	}
	if err := r.make(t, changes); err != nil {
		return err
	}
	built := r.rebuild(ctx, t)
	if built != nil && !errors.Is(built, ErrNotRebuilt) && !errors.Is(built, ErrNotRestarted) {
		return built
	}
	if err := t.commit(); err != nil {
		return err
	}
	r.dropIndex(ctx)
	if len(changes) == 0 && built == nil {
		r.note("the rules were not built in: nothing changed")
	}
	return built
}

// rebuild puts the tree without us in force.
func (r *run) rebuild(ctx context.Context, t *transaction) error {
	if _, err := os.Stat(filepath.Join(r.EximDir, "Makefile")); errors.Is(err, fs.ErrNotExist) {
		return nil // the platform is gone, and its configuration with it
	}
	if err := r.exim.BuildDraft(ctx); err != nil {
		return fmt.Errorf("%w (%w). %s stays in force; our rules in it have no effect once the package is gone", ErrNotRebuilt, err, r.exim.Config())
	}
	draft, err := os.ReadFile(r.exim.Draft())
	if err != nil {
		return err
	}
	now, err := os.ReadFile(r.exim.Config())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if bytes.Equal(draft, now) {
		return nil
	}
	return r.putInForce(ctx, t, draft)
}
