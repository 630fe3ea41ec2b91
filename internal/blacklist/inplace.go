package blacklist

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"time"
)

// Every statement is IF NOT EXISTS, so that a run that was killed can be run
// again and two administrators do not trip over each other.
const createIndex = "CREATE INDEX IF NOT EXISTS " + IndexName + " ON " + Table + " (ip)"

// leastRows is how many rows one transaction changes at least. With fewer the
// disk's time for syncing, which is the same for all, would be all there is.
const leastRows = 128

// errChanged says that a row is no longer as the copy has it.
var errChanged = errors.New("changed meanwhile")

// A task is a change that must be made whole or not at all: rows to delete, and
// the row that takes over their counts.
type task struct {
	rows []row // for a merge in the order of time; the last one stays
	keep bool
	sum  int64 // the count that the last row gets
}

type row struct {
	rowid, timestamp, count int64
	ip                      string
}

// inPlace does the plan's work in the file itself, from the lists of rows that
// the copy gives.
func inPlace(ctx context.Context, path string, copied *sql.DB, p *plan, o Options, r *Result) error {
	r.Pruned, r.Merged, r.Skipped = 0, 0, 0
	w := &worker{path: path, o: o, r: r, size: leastRows, prune: p.args[0], patience: min(o.Wait, editWait)}
	if p.prune > 0 {
		o.Progress(fmt.Sprintf("deleting %d old rows", p.prune))
		if err := w.prunes(ctx, copied); err != nil {
			return err
		}
	}
	if p.merge > 0 {
		o.Progress(fmt.Sprintf("summing up %d rows by day", p.merge))
		if err := w.merges(ctx, copied, p); err != nil {
			return err
		}
	}
	if p.index && p.rows > indexInPlace {
		r.Indexed = false
		why := "there are other tables, views or triggers in the file: move them to another one"
		if p.rewrite {
			why = "some program has the file open for writing all the time: stop it"
		}
		return fmt.Errorf("%s: %w (%d rows); %s, and run it again", path, ErrNoIndex, p.rows, why)
	}
	if p.index {
		o.Progress("building the index")
		if err := w.transact(ctx, func(tx querier) error {
			_, err := tx.ExecContext(ctx, createIndex)
			return err
		}); err != nil {
			return err
		}
	}
	if st, err := os.Stat(path); err == nil {
		r.BytesAfter = st.Size()
	}
	return nil
}

// A worker runs tasks in transactions short enough for the platform's writer.
type worker struct {
	path string
	o    Options
	r    *Result
	size int // rows for one transaction
	// How long to wait for another program to close the file.
	patience time.Duration
	prune    any

	batch []task
	rows  int
}

func (w *worker) prunes(ctx context.Context, copied *sql.DB) error {
	rows, err := copied.QueryContext(ctx, "SELECT rowid FROM "+Table+" WHERE "+prunable, w.prune)
	if err != nil {
		return explain(w.path, err)
	}
	defer rows.Close()
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.rowid); err != nil {
			return explain(w.path, err)
		}
		if err := w.add(ctx, task{rows: []row{r}}); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return explain(w.path, err)
	}
	return w.flush(ctx)
}

func (w *worker) merges(ctx context.Context, copied *sql.DB, p *plan) error {
	rows, err := copied.QueryContext(ctx, "SELECT rowid, ip, timestamp, count, timestamp / 86400 FROM (SELECT rowid, ip, timestamp, count,"+
		" count(*) OVER (PARTITION BY ip, timestamp / 86400) AS n FROM "+Table+" WHERE "+mergeable+" AND NOT "+prunable+
		") WHERE n > 1 ORDER BY ip, timestamp, rowid", p.args...)
	if err != nil {
		return explain(w.path, err)
	}
	defer rows.Close()
	t := task{keep: true}
	var day int64
	for rows.Next() {
		var r row
		var d int64
		if err := rows.Scan(&r.rowid, &r.ip, &r.timestamp, &r.count, &d); err != nil {
			return explain(w.path, err)
		}
		if n := len(t.rows); n > 0 && (d != day || r.ip != t.rows[0].ip) {
			if err := w.add(ctx, t); err != nil {
				return err
			}
			t = task{keep: true}
		}
		day = d
		t.rows = append(t.rows, r)
		t.sum += r.count
	}
	if err := rows.Err(); err != nil {
		return explain(w.path, err)
	}
	if len(t.rows) > 0 {
		if err := w.add(ctx, t); err != nil {
			return err
		}
	}
	return w.flush(ctx)
}

func (w *worker) add(ctx context.Context, t task) error {
	w.batch = append(w.batch, t)
	w.rows += len(t.rows)
	if w.rows < w.size {
		return nil
	}
	return w.flush(ctx)
}

// flush makes the changes of the batch. A batch with a row that another program
// changed is left for the next run.
func (w *worker) flush(ctx context.Context) error {
	if len(w.batch) == 0 {
		return nil
	}
	var pruned, merged int64
	err := w.transact(ctx, func(tx querier) error {
		pruned, merged = 0, 0
		for _, t := range w.batch {
			p, m, err := t.apply(ctx, tx, w.prune)
			if err != nil {
				return err
			}
			pruned, merged = pruned+p, merged+m
		}
		return nil
	})
	if errors.Is(err, errChanged) {
		w.r.Skipped += int64(w.rows)
		pruned, merged, err = 0, 0, nil
	}
	if err != nil {
		return err
	}
	w.r.Pruned += pruned
	w.r.Merged += merged
	w.batch, w.rows = w.batch[:0], 0
	return nil
}

func (t task) apply(ctx context.Context, tx querier, prune any) (pruned, merged int64, err error) {
	if !t.keep {
		// Whatever the row is by now, it goes only if it is too old.
		res, err := tx.ExecContext(ctx, "DELETE FROM "+Table+" WHERE rowid = :rowid AND "+prunable, sql.Named("rowid", t.rows[0].rowid), prune)
		if err != nil {
			return 0, 0, err
		}
		n, err := res.RowsAffected()
		return n, 0, err
	}
	const same = " WHERE rowid = ? AND ip = ? AND timestamp = ? AND count = ?"
	last := len(t.rows) - 1
	for i, r := range t.rows {
		query, args := "DELETE FROM "+Table+same, []any{r.rowid, r.ip, r.timestamp, r.count}
		if i == last {
			query, args = "UPDATE "+Table+" SET count = ?"+same, append([]any{t.sum}, args...)
		}
		res, err := tx.ExecContext(ctx, query, args...)
		if err != nil {
			return 0, 0, err
		}
		if n, err := res.RowsAffected(); err != nil || n != 1 {
			return 0, 0, errors.Join(err, errChanged)
		}
	}
	return 0, int64(last), nil
}

// transact runs do in a transaction of its own, between waits for other
// writers. The connection is a new one each time: while one is open, nobody
// can tell whether another program has the file open as well.
func (w *worker) transact(ctx context.Context, do func(querier) error) error {
	var held time.Duration
	for try := 0; ; try++ {
		begin := time.Now()
		alone, err := awaitNoWriter(ctx, w.path, w.o.WriterMinutes, w.patience)
		if err != nil {
			return err
		}
		if !alone {
			// It never closes the file: waiting again would take for ever.
			w.patience = 0
		}
		w.r.Paused += time.Since(begin)
		held, err = w.write(ctx, do)
		if errors.Is(err, ErrBusy) && try < 20 {
			if err := sleep(ctx, w.o.Pause); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		break
	}
	w.r.LongestLock = max(w.r.LongestLock, held)
	switch {
	case held > holdAim:
		w.size = max(leastRows, w.size/2)
	case held < holdAim/2:
		w.size = min(4096, w.size*2)
	}
	// Four times as long as it was held, so that others get most of the time.
	pause := max(w.o.Pause, 4*held)
	w.r.Paused += pause
	return sleep(ctx, pause)
}

func (w *worker) write(ctx context.Context, do func(querier) error) (held time.Duration, err error) {
	defer w.o.priority.usual()()
	db, err := openWrite(w.path)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	return writeOn(ctx, w.path, db, do)
}
