package setup

import (
	"context"
	"crypto/md5"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"symbiosis-connect-acl/internal/door"
	"symbiosis-connect-acl/internal/exim"
	"symbiosis-connect-acl/internal/foreign"
	"symbiosis-connect-acl/internal/remedy"
)

// prove imagines innocent hosts at the candidate's door, and guilty ones.
func (r *run) prove(ctx context.Context) error {
	if err := r.faults.point("proof"); err != nil {
		return err
	}
	// Both at once: a resolver that does not answer is waited for in each. They are
	// told one after the other.
	looks := []func(*run, context.Context) error{(*run).proveGreets, (*run).proveActs}
	notes, errs := make([][]string, len(looks)), make([]error, len(looks))
	var wg sync.WaitGroup
	for i, look := range looks {
		own := *r
		own.opt.Note = func(text string) { notes[i] = append(notes[i], text) }
		wg.Go(func() { errs[i] = look(&own, ctx) })
	}
	wg.Wait()
	for i, err := range errs {
		for _, text := range notes[i] {
			r.note("%s", text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// proveGreets sees that innocent hosts are greeted, or are not for a reason that
// is none of ours.
func (r *run) proveGreets(ctx context.Context) error {
	p, err := r.exim.NewProof(ctx, r.exim.Draft(), r.workDir())
	if err != nil {
		return err
	}
	defer p.Close()
	var refused []exim.Session
	for _, s := range door.Greet(ctx, p, r.Platform) {
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
			r.note("not caused by our rules, but look at it: %s", before[i])
		}
		return nil
	}
	r.note("an innocent host is greeted on ports 25, 465 and 587, over IPv4 and IPv6")
	return nil
}

// proveActs sees that our rules act: that innocents get in says nothing of it.
func (r *run) proveActs(ctx context.Context) error {
	draft, err := os.ReadFile(r.exim.Draft())
	if err != nil {
		return err
	}
	macros, err := r.exim.Macros(ctx, r.exim.Draft())
	if err != nil {
		return err
	}
	if missing := door.Undefined(draft, r.Platform, macros); len(missing) > 0 {
		return r.notOurs(ctx, fmt.Errorf("our rules would not act, because nothing defines %s", strings.Join(missing, ", ")))
	}
	acts, err := door.Acts(ctx, r.Platform, r.exim.Draft(), r.workDir(), macros)
	if err != nil {
		return err
	}
	for _, a := range acts {
		if !a.Failed() {
			r.note("%s", a)
			continue
		}
		foreign, edited := r.changed(ctx)
		if len(foreign) > 0 || len(edited) == 0 {
			return r.notOurs(ctx, fmt.Errorf("our rules do not act in the new configuration: %s", a))
		}
		// He wants it so, or has kept what an older version knew.
		r.note("not all of our rules act: %s. You have edited %s; dpkg has put ours beside them, under names that end in .dpkg-dist", a, strings.Join(edited, ", "))
	}
	for _, s := range foreign.Refusing(draft, r.Platform, macros) {
		r.note("%s. If our rules are to decide alone: %s", s, s.Retire())
	}
	return nil
}

// notOurs adds to an error what stands under names of ours in the tree.
func (r *run) notOurs(ctx context.Context, cause error) error {
	foreign, _ := r.changed(ctx)
	if len(foreign) == 0 {
		return cause
	}
	return remedy.Add(fmt.Errorf("%w. These stand under our names and are not ours: %s", cause, strings.Join(foreign, ", ")),
		"move them away, then run: apt-get install --reinstall -o Dpkg::Options::=--force-confmiss %s", r.Package)
}

// changed lists what stands under names of ours in the tree and is not ours, and
// what is ours but edited, and was kept in an upgrade.
func (r *run) changed(ctx context.Context) (foreign, edited []string) {
	list, _, err := r.exim.RunAs(ctx, exim.User{Name: "root"}, 10*time.Second, "/usr/bin/dpkg-query", "-W", "-f", "${Conffiles}", r.Package)
	if err != nil {
		return nil, nil
	}
	for line := range strings.Lines(list) { // paths and their MD5 sums
		name, sum, ok := strings.Cut(strings.TrimSpace(line), " ")
		path := filepath.Join(r.Root, name)
		data, err := os.ReadFile(path)
		if !ok || err != nil || !strings.HasPrefix(path, r.SnippetDir+"/") {
			continue
		}
		switch {
		case !r.isOurs(data):
			foreign = append(foreign, path)
		case fmt.Sprintf("%x", md5.Sum(data)) != strings.Fields(sum)[0]:
			if _, err := os.Lstat(path + ".dpkg-dist"); err == nil {
				edited = append(edited, path)
			}
		}
	}
	return foreign, edited
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
		wg.Go(func() { before[i] = p.Greet(ctx, s.Host, s.Port, door.Deadline) })
	}
	wg.Wait()
	return before
}
