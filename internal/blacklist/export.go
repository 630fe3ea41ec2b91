package blacklist

import (
	"context"
	"database/sql"
	"fmt"
)

// Export calls do for every row, in the order of their storage. It reads some
// thousand rows at a time, each time without a lock; rows that are added
// meanwhile may come too.
func Export(ctx context.Context, path string, do func(Row) error) error {
	const step = 20_000
	for next := int64(-1 << 63); ; {
		var part []Row
		_, err := unlocked(ctx, path, func(db *sql.DB) error {
			part = part[:0]
			if s, err := schemaOf(ctx, db); err != nil {
				return err
			} else if s != SchemaSymbiosis {
				return fmt.Errorf("a table of %s has no rows to export: it keeps sums only", s)
			}
			rows, err := db.QueryContext(ctx, "SELECT rowid, ip, timestamp, count FROM "+Table+
				" WHERE rowid >= ? ORDER BY rowid LIMIT ?", next, step)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				r, err := scanRow(rows)
				if err != nil {
					return err
				}
				part = append(part, r)
			}
			return rows.Err()
		})
		if err != nil {
			return err
		}
		for _, r := range part {
			if err := do(r); err != nil {
				return err
			}
		}
		if len(part) < step || part[len(part)-1].rowid == 1<<63-1 {
			return nil
		}
		next = part[len(part)-1].rowid + 1
	}
}
