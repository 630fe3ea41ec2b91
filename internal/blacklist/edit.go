package blacklist

import (
	"context"
	"fmt"
	"time"

	"symbiosis-connect-acl/internal/address"
)

// maxCount bounds a count that may be stored, as it bounds what compaction
// takes: sums stay far from overflowing.
const maxCount = 1 << 40

// batchRows is how many rows one transaction of an edit changes: a few
// milliseconds' worth.
const batchRows = 500

// Add stores one report about key.
func Add(ctx context.Context, path string, key address.Key, count int64, at time.Time) error {
	r := Row{IP: key.String(), Timestamp: at.Unix(), Count: count}
	if err := r.check(); err != nil {
		return err
	}
	return shortWrite(ctx, path, func(tx querier) error {
		_, err := tx.ExecContext(ctx, insertRow, r.IP, r.Timestamp, r.Count)
		return err
	})
}

const insertRow = "INSERT INTO " + Table + " VALUES (?, ?, ?)"

func (r Row) check() error {
	if r.Count < -maxCount || r.Count > maxCount {
		return fmt.Errorf("count %d is beyond %d", r.Count, int64(maxCount))
	}
	if r.Timestamp < 0 || r.Timestamp >= 1<<40 {
		return fmt.Errorf("timestamp %d is not a time in seconds since 1970", r.Timestamp)
	}
	return nil
}

// DeleteRows deletes these rows, in several short transactions, and tells how
// many were there to delete. Save them first: InsertMissing brings them back,
// also after a run that was killed half-way.
func DeleteRows(ctx context.Context, path string, rows []Row) (n int64, err error) {
	return batches(ctx, path, rows, func(tx querier, r Row, copies int64) (int64, error) {
		res, err := tx.ExecContext(ctx, "DELETE FROM "+Table+" WHERE rowid IN (SELECT rowid FROM "+Table+
			" WHERE ip = ? AND timestamp = ? AND count = ? LIMIT ?)", r.IP, r.Timestamp, r.Count, copies)
		if err != nil {
			return 0, err
		}
		return res.RowsAffected()
	})
}

// InsertMissing stores those of the rows that the database does not have, in
// several short transactions, and tells how many. Doing it twice changes
// nothing. Two equal rows among rows are two reports.
func InsertMissing(ctx context.Context, path string, rows []Row) (n int64, err error) {
	for _, r := range rows {
		if err := r.check(); err != nil {
			return 0, fmt.Errorf("%s: %w", r.IP, err)
		}
	}
	if len(rows) > batchRows { // without an index each row is looked for in the whole table
		if _, err := Index(ctx, path); err != nil {
			return 0, err
		}
	}
	return batches(ctx, path, rows, func(tx querier, r Row, copies int64) (int64, error) {
		var have int64
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM "+Table+" WHERE ip = ? AND timestamp = ? AND count = ?",
			r.IP, r.Timestamp, r.Count).Scan(&have); err != nil {
			return 0, err
		}
		missing := max(0, copies-have)
		for range missing {
			if _, err := tx.ExecContext(ctx, insertRow, r.IP, r.Timestamp, r.Count); err != nil {
				return 0, err
			}
		}
		return missing, nil
	})
}

// batches runs do for each different row and the number of its copies.
func batches(ctx context.Context, path string, rows []Row, do func(tx querier, r Row, copies int64) (int64, error)) (n int64, err error) {
	rows = append([]Row(nil), rows...)
	sortRows(rows)
	for len(rows) > 0 {
		// Equal rows stay together: their number counts.
		end := min(batchRows, len(rows))
		for end < len(rows) && rows[end] == rows[end-1] {
			end++
		}
		part := rows[:end]
		rows = rows[end:]
		var changed int64
		err := shortWrite(ctx, path, func(tx querier) error {
			changed = 0
			for i := 0; i < len(part); {
				copies := 1
				for i+copies < len(part) && part[i+copies] == part[i] {
					copies++
				}
				c, err := do(tx, part[i], int64(copies))
				if err != nil {
					return err
				}
				changed += c
				i += copies
			}
			return nil
		})
		if err != nil {
			return n, err
		}
		n += changed
		if len(rows) > 0 {
			if err := sleep(ctx, 2*holdAim); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}
