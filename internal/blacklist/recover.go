package blacklist

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/safepath"
)

// IntegrityCheck runs SQLite's integrity check on a copy of the database, so
// that nobody waits for it. ErrCorrupt says that it did not pass, with what was
// found.
func IntegrityCheck(ctx context.Context, path string) error {
	return withoutLocks(ctx, path, func(db *sql.DB) error {
		if _, err := schemaOf(ctx, db); err != nil {
			return err
		}
		return integrity(ctx, db)
	})
}

// A Recovery tells what Recover did.
type Recovery struct {
	Rows int64  // rows that were readable
	Gaps int64  // places at which rows could not be read
	Kept string // the old file's new name
}

// Recover writes what is readable of a damaged database into a new one, puts
// that in its place, and keeps the old file under another name beside it. It
// is for files that fail the integrity check; on a sound one it gives all rows.
// With dryRun it only counts.
func Recover(ctx context.Context, path string, dryRun bool) (rec Recovery, err error) {
	if err := regular(path); err != nil {
		return rec, err
	}
	real, err := safepath.RealPath(path)
	if err != nil {
		return rec, err
	}
	unlock, err := lockRuns(real)
	if err != nil {
		return rec, err
	}
	defer unlock()
	removeLeftovers(real)
	defer removeLeftovers(real)
	if !dryRun {
		if err := removeKept(real); err != nil {
			return rec, err
		}
	}
	for range 3 {
		if rec, err = recoverOnce(ctx, path, real, dryRun); !errors.Is(err, errUnsteady) {
			break
		}
	}
	if errors.Is(err, errUnsteady) {
		err = fmt.Errorf("%s: %w; nothing was changed, try again later", path, err)
	}
	return rec, err
}

// removeKept removes the second name of the database at real that a run left
// which was killed just before it would have put the new file in place.
func removeKept(real string) error {
	db, err := os.Stat(real)
	if err != nil {
		return err
	}
	files, err := os.ReadDir(filepath.Dir(real))
	if err != nil {
		return err
	}
	for _, f := range files {
		name := filepath.Join(filepath.Dir(real), f.Name())
		if !strings.HasPrefix(name, real+".corrupt-") {
			continue
		}
		if st, err := os.Lstat(name); err == nil && os.SameFile(st, db) {
			if err := os.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

func recoverOnce(ctx context.Context, path, real string, dryRun bool) (rec Recovery, err error) {
	removeLeftovers(real)
	settle(ctx, real) // if it fails, the damage is in what is read below
	copied, fresh := workFile(real, "copy"), workFile(real, "new")
	h, err := snapshot(ctx, real, copied, editWait)
	if errors.Is(err, errUnsteady) {
		return rec, err
	} else if err != nil {
		return rec, fmt.Errorf("%w; when nothing of it can be read, move %s away: the platform makes a new one at its next scan",
			explain(path, err), path)
	}
	old, err := open(copied, "mode=ro&immutable=1&_cache_size=-2048")
	if err != nil {
		return rec, err
	}
	defer old.Close()
	if err := writable(ctx, old); err != nil {
		return rec, explain(path, err)
	}
	db, err := newPrivate(fresh)
	if err != nil {
		return rec, err
	}
	defer db.Close()
	for _, s := range []string{fmt.Sprintf("PRAGMA page_size = %d", h.pageSize),
		"CREATE TABLE " + Table + " (ip TEXT NOT NULL, timestamp INTEGER NOT NULL, count INTEGER NOT NULL)", createIndex} {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return rec, explain(fresh, err)
		}
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return rec, explain(fresh, err)
	}
	defer tx.Rollback()
	st, err := tx.PrepareContext(ctx, "INSERT INTO "+Table+" VALUES (?, ?, ?)")
	if err != nil {
		return rec, explain(fresh, err)
	}
	if err := salvage(ctx, old, &rec, func(v [3]any) error {
		_, err := st.ExecContext(ctx, v[:]...)
		return err
	}); err != nil {
		return rec, explain(fresh, err)
	}
	if err := tx.Commit(); err != nil {
		return rec, explain(fresh, err)
	}
	if dryRun {
		return rec, nil
	}
	if err := db.Close(); err != nil {
		return rec, explain(fresh, err)
	}
	if err := dress(fresh, real); err != nil {
		return rec, err
	}
	if err := syncPath(fresh); err != nil {
		return rec, err
	}
	if ok, err := awaitNoWriter(ctx, real, nil, editWait); err != nil {
		return rec, err
	} else if !ok {
		return rec, fmt.Errorf("%s: %w for writing; stop it and try again", path, ErrBusy)
	}
	// The firewall may have added rows while this was reading.
	if now, err := stampOf(real); err != nil || now != h.stamp {
		return rec, errors.Join(ignoreUnsteady(err), errUnsteady)
	}
	rec.Kept = real + ".corrupt-" + time.Now().UTC().Format("20060102-150405")
	if err := os.Link(real, rec.Kept); err != nil {
		return rec, err
	}
	// A journal that belongs to the damaged file would be taken for the new
	// one's, and undo pages in it.
	if err := os.Rename(real+"-journal", rec.Kept+"-journal"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return rec, err
	}
	// The disk too must have let go of that journal, and have the old file under
	// its new name, before the new file can be there.
	if err := syncPath(filepath.Dir(real)); err != nil {
		return rec, err
	}
	if err := os.Rename(fresh, real); err != nil {
		return rec, err
	}
	return rec, syncPath(filepath.Dir(real))
}

// salvage calls do for every row that can be read: from the first up to the
// damage, from the last down to it, and then between the two with ever longer
// steps over what cannot be read.
func salvage(ctx context.Context, old *sql.DB, rec *Recovery, do func([3]any) error) error {
	// read goes on until it meets damage, and gives the last row that it read.
	read := func(where, order string, bound, from int64) (last int64, ok bool, err error) {
		last = from
		rows, err := old.QueryContext(ctx, "SELECT rowid, ip, timestamp, count FROM "+Table+" NOT INDEXED WHERE rowid "+where+" ORDER BY rowid "+order, from, bound)
		if err != nil {
			return last, false, ctx.Err()
		}
		defer rows.Close()
		for rows.Next() {
			var v [3]any
			var id int64
			if err := rows.Scan(&id, &v[0], &v[1], &v[2]); err != nil {
				return last, false, ctx.Err()
			}
			last = id
			if v[0] == nil || v[1] == nil || v[2] == nil {
				continue // the table allows none, so this is damage
			}
			if err := do(v); err != nil {
				return last, false, err
			}
			rec.Rows++
		}
		return last, rows.Err() == nil, ctx.Err()
	}
	const lowest, highest = -1 << 63, 1<<63 - 1
	low, whole, err := read("> ?1 AND rowid < ?2", "ASC", highest, lowest)
	if err != nil || whole {
		return err
	}
	rec.Gaps++
	high, whole, err := read("< ?1 AND rowid > ?2", "DESC", low, highest)
	if err != nil || whole {
		return err
	}
	if high == highest {
		// Nothing can be read from the end: look as far as there could be rows.
		var st int64
		if old.QueryRowContext(ctx, "SELECT page_count * page_size / 8 FROM pragma_page_count, pragma_page_size").Scan(&st) != nil {
			return nil
		}
		high = max(low, 0) + st
	}
	low = max(low, 0)
	for step := int64(1); low+step < high; {
		last, whole, err := read("> ?1 AND rowid < ?2", "ASC", high, low+step)
		if err != nil || whole {
			return err
		}
		if last > low+step {
			rec.Gaps++
			low, step = last, 1
		} else {
			low += step
			step *= 2
			if step > 64 {
				step = 64 // no more than a page's worth of rows is passed over
			}
		}
	}
	return nil
}
