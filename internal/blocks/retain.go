package blocks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"symbiosis-connect-acl/internal/firewall"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/safepath"
)

// A Policy says what Retain does.
type Policy struct {
	Renew bool          // false: only say which blocks would be
	Limit time.Duration // the longest time that a block lasts without a new offence
	Count bool          // an attempt at a block is an offence
}

// A Change is a block about which something else was decided than before.
type Change struct {
	Net     netip.Prefix
	Verdict Verdict
	Why     string
	Until   time.Time // from which on the platform ends the block
}

// A Result says what Retain has found and done.
type Result struct {
	Blocks  int            // automatic blocks that there are
	Renewed int            // of them
	Knocks  []netip.Prefix // blocks that somebody has knocked at since the last run, without those that were spared
	Changes []Change
	Damaged error // the book could not be read, and was begun anew
}

// ErrRunning says that another run is in progress.
var ErrRunning = errors.New("another run is in progress")

// Retain reads the counters and renews the blocks that somebody still knocks at.
//
// It may be killed at any moment. What was seen is kept before a file is touched,
// and a file whose time is not what the book says is touched by the next run.
func Retain(ctx context.Context, p platform.Platform, policy Policy, now time.Time) (r Result, err error) {
	now = now.Truncate(time.Second).UTC()
	unlock, err := lock(p)
	if err != nil {
		return r, err
	}
	defer unlock()
	book, err := Open(Path(p))
	if errors.Is(err, ErrDamaged) {
		book, r.Damaged = Book{}, err
	} else if err != nil {
		return r, err
	}
	dir := filepath.Join(p.FirewallDir, "blacklist.d")
	entries, err := firewall.Read(dir)
	if err != nil {
		return r, err
	}
	counts, err := ReadCounts(ctx)
	if err != nil {
		return r, err
	}
	book.take(entries, counts, now)
	r.Blocks = len(book)
	due := book.due(entries)
	called, err := callees()
	if err != nil {
		return r, err
	}
	book.mark(entries, called)
	found, err := judge(ctx, p, due, now)
	if err != nil {
		// What was seen is kept, and nobody is kept out.
		return r, errors.Join(err, book.save(Path(p)))
	}
	times := map[string]time.Time{}
	byHand := manual(entries)
	for i, e := range due {
		name := filepath.Base(e.File)
		block := book[name]
		if found[i].offence.After(block.Offence) {
			block.Offence = found[i].offence
		}
		if policy.Count {
			block.Offence = block.Last
		}
		spare := found[i].spare
		switch {
		case spare != "":
		case overlap(byHand, e.Net) != nil:
			spare = "an administrator's file blocks it: " + filepath.Base(overlap(byHand, e.Net).File)
		case block.Called && e.Ports == nil:
			spare = "this server calls it, and the packets may be its answers"
		}
		verdict, want := Learned, block.renewal(policy.Limit)
		switch {
		case spare != "":
			verdict = Spared
		case policy.Renew && want.After(block.file):
			verdict = Retained
			times[name], block.Time = want, want
		case !policy.Renew && want.After(block.file):
		default:
			verdict = Capped
		}
		if spare == "" && block.Last.Equal(now) {
			r.Knocks = append(r.Knocks, e.Net)
		}
		if block.Verdict != verdict || block.Why != spare {
			block.Verdict, block.Why = verdict, spare
			r.Changes = append(r.Changes, Change{e.Net, verdict, spare, block.Until()})
		}
	}
	if err := book.save(Path(p)); err != nil {
		return r, err
	}
	r.Renewed, err = renew(dir, times)
	return r, err
}

// renew gives the files their times, with the rights of the directory's owner.
func renew(dir string, times map[string]time.Time) (n int, err error) {
	if len(times) == 0 {
		return 0, nil
	}
	d, err := safepath.OpenDir(dir)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	err = d.AsOwner(func() (failed error) {
		for name, t := range times {
			switch err := d.SetTime(name, t); {
			case errors.Is(err, fs.ErrNotExist): // the scan has just ended it
			case errors.Is(err, fs.ErrPermission):
				// The firewall gives all files to that user at its hourly reload.
				failed = fmt.Errorf("%w: it does not belong to the folder's owner", err)
			case err != nil:
				failed = err
			default:
				n++
			}
		}
		return failed
	})
	return n, err
}

// lock keeps other runs away, those of the setup tool too.
func lock(p platform.Platform) (unlock func(), err error) {
	d, err := os.Open(p.StateDir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		d.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrRunning
		}
		return nil, fmt.Errorf("%s: %w", p.StateDir, err)
	}
	return func() { d.Close() }, nil
}

// overlap gives an entry about some of the network's addresses, nil when there
// is none.
func overlap(entries firewall.Entries, net netip.Prefix) *firewall.Entry {
	for i := range entries {
		if entries[i].Net.Overlaps(net) {
			return &entries[i]
		}
	}
	return nil
}
