package blacklist

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"slices"
	"time"
)

// Prune deletes the rows older than before, the oldest first, some at a time,
// away from the given minutes and while the firewall's scan does not run. It
// can be killed at any moment. With dryRun it only counts.
//
// Where no row is younger than before it deletes none: then the firewall has
// counted nobody for all that time, or, more likely, the clock is wrong.
func Prune(ctx context.Context, path string, before time.Time, minutes []int, dryRun bool) (n int64, err error) {
	// A time that is no whole number, which no known writer stores, has no age.
	const old = "timestamp < ? AND typeof(timestamp) = 'integer'"
	var rowids []int64
	if _, err := unlocked(ctx, path, func(db *sql.DB) error {
		rowids = nil
		if s, err := schemaOf(ctx, db); err != nil {
			return err
		} else if err := s.takes(); err != nil {
			return err
		}
		var younger bool // found soon: the newest rows are the last
		if err := db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM "+Table+" NOT INDEXED WHERE timestamp >= ? AND typeof(timestamp) = 'integer' ORDER BY rowid DESC)", before.Unix()).
			Scan(&younger); err != nil || !younger {
			return err
		}
		rows, err := db.QueryContext(ctx, "SELECT rowid FROM "+Table+" NOT INDEXED WHERE "+old+" ORDER BY rowid", before.Unix())
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id int64
			if err := rows.Scan(&id); err != nil {
				return err
			}
			rowids = append(rowids, id)
		}
		return rows.Err()
	}); err != nil || dryRun {
		return int64(len(rowids)), err
	}
	for part := range slices.Chunk(rowids, most) {
		var gone int64
		if err := write(ctx, path, minutes, func(tx querier, s Schema) error {
			gone = 0
			if err := s.takes(); err != nil {
				return err
			}
			for _, id := range part {
				// Whatever the row is by now, it goes only if it is too old.
				res, err := tx.ExecContext(ctx, "DELETE FROM "+Table+" WHERE rowid = ? AND "+old, id, before.Unix())
				if err != nil {
					return err
				}
				g, err := res.RowsAffected()
				if err != nil {
					return err
				}
				gone += g
			}
			return nil
		}); err != nil {
			return n, err
		}
		n += gone
	}
	return n, nil
}

// OldIndex is the name of the index that version 0.2.0 of this suite made, when
// Exim asked this database.
const OldIndex = "symbiosis_connect_acl_ip"

// DropOldIndex takes that index out, and no other. It reports whether there was
// one. A database that does not exist has none.
func DropOldIndex(ctx context.Context, path string, minutes []int) (dropped bool, err error) {
	const count = "SELECT count(*) > 0 FROM sqlite_master WHERE type = 'index' AND name = ?"
	_, err = unlocked(ctx, path, func(db *sql.DB) error {
		return db.QueryRowContext(ctx, count, OldIndex).Scan(&dropped)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || !dropped {
		return false, err
	}
	err = write(ctx, path, minutes, func(tx querier, _ Schema) error {
		_, err := tx.ExecContext(ctx, "DROP INDEX IF EXISTS "+OldIndex)
		return err
	})
	return err == nil, err
}
