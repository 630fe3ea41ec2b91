package blacklist

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"slices"
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
	return batches(ctx, path, rows, func(tx querier, day []Row) (n int64, err error) {
		for _, r := range day {
			res, err := tx.ExecContext(ctx, "DELETE FROM "+Table+" WHERE rowid = (SELECT rowid FROM "+Table+
				" WHERE ip = ? AND timestamp = ? AND count = ? LIMIT 1)", r.IP, r.Timestamp, r.Count)
			if err != nil {
				return 0, err
			}
			deleted, err := res.RowsAffected()
			if err != nil {
				return 0, err
			}
			n += deleted
		}
		return n, nil
	})
}

// InsertMissing stores those of the rows that the database does not have, in
// several short transactions, and tells how many. Doing it twice changes
// nothing, also when compaction has summed the rows up in between. Two equal
// rows among rows are two reports.
func InsertMissing(ctx context.Context, path string, rows []Row) (n int64, err error) {
	for _, r := range rows {
		if err := r.check(); err != nil {
			return 0, fmt.Errorf("%s: %w", r.IP, err)
		}
	}
	return batches(ctx, path, rows, func(tx querier, day []Row) (int64, error) {
		begin := day[0].Timestamp / daySeconds * daySeconds
		found, err := tx.QueryContext(ctx, "SELECT rowid, ip, timestamp, count FROM "+Table+
			" WHERE ip = ? AND timestamp >= ? AND timestamp < ?"+
			" AND typeof(timestamp) = 'integer' AND typeof(count) = 'integer'", day[0].IP, begin, begin+daySeconds)
		if err != nil {
			return 0, err
		}
		defer found.Close()
		var have []Row
		for found.Next() {
			r, _, err := scanRow(found)
			if err != nil {
				return 0, err
			}
			have = append(have, r)
		}
		if err := found.Err(); err != nil {
			return 0, err
		}
		missing := absent(have, day)
		for _, r := range missing {
			if _, err := tx.ExecContext(ctx, insertRow, r.IP, r.Timestamp, r.Count); err != nil {
				return 0, err
			}
		}
		return int64(len(missing)), nil
	})
}

// CountMissing tells how many rows InsertMissing would store.
func CountMissing(ctx context.Context, path string, rows []Row) (n int, err error) {
	rows = slices.Clone(rows)
	sortRows(rows)
	var ips []string
	for _, r := range rows {
		ips = append(ips, r.IP)
	}
	all, err := Rows(ctx, path, slices.Compact(ips))
	if err != nil {
		return 0, err
	}
	have := map[Row][]Row{}
	for day := range days(all) {
		have[dayOf(day[0])] = day
	}
	for day := range days(rows) {
		n += len(absent(have[dayOf(day[0])], day))
	}
	return n, nil
}

// absent gives those rows of one address and day that are not among the ones
// that the database has of them. Compaction makes of the first rows of a day one
// with their sum and the time of the last: where that is there, so are they.
func absent(have, day []Row) (missing []Row) {
	count := map[Row]int{}
	for _, r := range have {
		count[r]++
	}
	each := func(rows []Row) (missing []Row) {
		left := maps.Clone(count)
		for _, r := range rows {
			if left[r]--; left[r] < 0 {
				missing = append(missing, r)
			}
		}
		return missing
	}
	if missing = each(day); len(missing) == 0 {
		return nil
	}
	var sum int64
	summedUp := 0
	for i, r := range day {
		if sum += r.Count; i > 0 && count[Row{r.IP, r.Timestamp, sum}] > 0 {
			summedUp = i + 1
		}
	}
	if summedUp > 0 {
		return each(day[summedUp:])
	}
	return missing
}

// dayOf gives what all rows of an address and UTC day have in common.
func dayOf(r Row) Row { return Row{IP: r.IP, Timestamp: r.Timestamp / daySeconds} }

// days parts sorted rows by address and UTC day.
func days(rows []Row) iter.Seq[[]Row] {
	return func(yield func([]Row) bool) {
		for len(rows) > 0 {
			end := 1
			for end < len(rows) && dayOf(rows[end]) == dayOf(rows[0]) {
				end++
			}
			if !yield(rows[:end]) {
				return
			}
			rows = rows[end:]
		}
	}
}

// scanBytes is how much of the file an edit may read for want of an index: what
// takes some tens of milliseconds, in which the firewall's writer is kept out.
const scanBytes = 16 << 20

// indexForEdit makes the index where each of so many rows would be looked for in
// the whole of a big table.
func indexForEdit(ctx context.Context, path string, rows int) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if int64(min(rows, batchRows))*st.Size() <= scanBytes {
		return nil
	}
	_, err = Index(ctx, path)
	if errors.Is(err, ErrNoIndex) {
		return nil // it cannot be helped, and the rows are to be changed all the same
	}
	return err
}

// batches runs do for the rows of each address and day.
func batches(ctx context.Context, path string, rows []Row, do func(tx querier, day []Row) (int64, error)) (n int64, err error) {
	if err := indexForEdit(ctx, path, len(rows)); err != nil {
		return 0, err
	}
	rows = slices.Clone(rows)
	sortRows(rows)
	for len(rows) > 0 {
		end := min(batchRows, len(rows))
		for end < len(rows) && dayOf(rows[end]) == dayOf(rows[end-1]) {
			end++
		}
		part := rows[:end]
		rows = rows[end:]
		var changed int64
		err := shortWrite(ctx, path, func(tx querier) error {
			changed = 0
			for day := range days(part) {
				c, err := do(tx, day)
				if err != nil {
					return err
				}
				changed += c
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
