package blacklist

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/safepath"
)

// ScanMinutes are the minutes of the hour at which Symbiosis and Sympl start
// the scan that writes to the database.
var ScanMinutes = []int{5, 20, 35, 50}

// Around the start of the scan nothing is written: from a little before, for the
// clocks of cron, until its process has surely started. From then on that is
// seen.
const (
	quietBefore = 5 * time.Second
	quietAfter  = 20 * time.Second
)

// most is how many rows one transaction changes at most, and breath the pause
// after it, in which others come to their turn.
const (
	most   = 1000
	breath = 50 * time.Millisecond
)

// scanWait bounds how long a transaction waits for a scan that is running.
const scanWait = 5 * time.Minute

// untilQuiet tells how long to wait at the time now for the start of the
// platform's scan to be over.
func untilQuiet(now time.Time, minutes []int) time.Duration {
	for _, start := range []time.Time{now.Truncate(time.Minute), now.Truncate(time.Minute).Add(time.Minute)} {
		if !slices.Contains(minutes, start.Minute()) {
			continue
		}
		if from, to := start.Add(-quietBefore), start.Add(quietAfter); !now.Before(from) && now.Before(to) {
			return to.Sub(now)
		}
	}
	return 0
}

// scanning reports whether the platform's scan is running: a program of that
// name, or an interpreter with it as its script.
func scanning() bool {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range all {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		args := strings.Split(string(b), "\x00")
		for _, arg := range args[:min(3, len(args))] {
			switch filepath.Base(arg) {
			case "symbiosis-firewall-blacklist", "sympl-firewall-blacklist":
				return true
			}
		}
	}
	return false
}

// quiet waits until it is away from the given minutes and the scan does not run.
func quiet(ctx context.Context, minutes []int) error {
	for begin := time.Now(); ; {
		if d := untilQuiet(time.Now(), minutes); d > 0 {
			if err := sleep(ctx, d); err != nil {
				return err
			}
		}
		if !scanning() {
			return nil
		}
		if time.Since(begin) > scanWait {
			return ErrBusy
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write makes one small change, away from the given minutes and while the
// firewall's scan does not run: it runs do, which is told the layout of the table,
// in one transaction, and undoes that when do fails. What
// an administrator is waiting for keeps away from no minutes.
func write(ctx context.Context, path string, minutes []int, do func(querier, Schema) error) error {
	if err := quiet(ctx, minutes); err != nil {
		return explain(path, err)
	}
	real, err := safepath.RealPath(path)
	if err != nil {
		return err
	}
	db, err := openWrite(real)
	if err != nil {
		return err
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return explain(path, err)
	}
	defer tx.Rollback()
	s, err := schemaOf(ctx, tx)
	if err != nil {
		return explain(path, err)
	}
	if err := do(tx, s); err != nil {
		return explain(path, err)
	}
	if err := tx.Commit(); err != nil {
		return explain(path, err)
	}
	return sleep(ctx, breath)
}
