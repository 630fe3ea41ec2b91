package blacklist

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"symbiosis-connect-acl/internal/address"
)

// maxCount bounds a count that may be stored: sums stay far from overflowing.
const maxCount = 1 << 40

// Add stores one report about key.
func Add(ctx context.Context, path string, key address.Key, count int64, at time.Time) error {
	_, err := insert(ctx, path, []Row{{IP: key.String(), Timestamp: at.Unix(), Count: count}})
	return err
}

// NewRow makes a row of what was written by hand: an address in any spelling
// becomes the key. The error says what cannot be stored.
func NewRow(ip string, timestamp, count int64) (Row, error) {
	k, err := address.Parse(ip)
	if err != nil {
		return Row{}, err
	}
	r := Row{IP: k.String(), Timestamp: timestamp, Count: count}
	// A network inside a host's, as Sympl's firewall stores it, stays that.
	if p, err := netip.ParsePrefix(ip); err == nil && k.Is6() && p.Masked().String() == ip {
		r.IP = ip
	}
	return r, r.check()
}

func (r Row) check() error {
	if r.Count < -maxCount || r.Count > maxCount {
		return fmt.Errorf("count %d is beyond %d", r.Count, int64(maxCount))
	}
	if r.Timestamp < 0 || r.Timestamp >= 1<<40 {
		return fmt.Errorf("timestamp %d is not a time in seconds since 1970", r.Timestamp)
	}
	return nil
}

// insert stores rows, and tells how many.
func insert(ctx context.Context, path string, rows []Row) (n int64, err error) {
	for _, r := range rows {
		if err := r.check(); err != nil {
			return 0, fmt.Errorf("%s: %w", r.IP, err)
		}
	}
	return batches(ctx, path, rows, func(tx querier, s Schema, r Row) (int64, error) {
		if s == SchemaNFTFW && r.NFTFW != "" {
			return insertNFTFW(ctx, tx, r)
		}
		if err := s.takes(); err != nil {
			return 0, err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO "+Table+" VALUES (?, ?, ?)", r.IP, r.Timestamp, r.Count)
		return 1, err
	})
}

// DeleteRows deletes rows that Rows has given, in several short transactions,
// and tells how many were still there as they were. Save them first:
// InsertMissing brings them back, also after a run that was killed half-way.
func DeleteRows(ctx context.Context, path string, rows []Row) (n int64, err error) {
	return batches(ctx, path, rows, func(tx querier, s Schema, r Row) (int64, error) {
		timestamp, count := "timestamp", "count"
		if s == SchemaNFTFW {
			timestamp, count = "last", nftfwCount
		}
		res, err := tx.ExecContext(ctx, "DELETE FROM "+Table+" WHERE rowid = ? AND ip = ? AND "+timestamp+" = ? AND "+count+" = ?",
			r.rowid, r.IP, r.Timestamp, r.Count)
		if err != nil {
			return 0, err
		}
		return res.RowsAffected()
	})
}

// insertNFTFW brings a row of nftfw's back, unless nftfw has counted the address
// again meanwhile: it has one row for each.
func insertNFTFW(ctx context.Context, tx querier, r Row) (int64, error) {
	columns, values, args := "ip", "?", []any{r.IP}
	for _, c := range nftfwColumns {
		columns, values, args = columns+", "+c, values+", json_extract(?, '$."+c+"')", append(args, r.NFTFW)
	}
	res, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO "+Table+" ("+columns+") VALUES ("+values+")", args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// InsertMissing stores those of the rows that the database does not have, in
// several short transactions, and tells how many. Doing it twice changes
// nothing. Two equal rows among rows are two reports.
func InsertMissing(ctx context.Context, path string, rows []Row) (n int64, err error) {
	missing, err := absent(ctx, path, rows)
	if err != nil {
		return 0, err
	}
	return insert(ctx, path, missing)
}

// CountMissing tells how many rows InsertMissing would store.
func CountMissing(ctx context.Context, path string, rows []Row) (n int, err error) {
	missing, err := absent(ctx, path, rows)
	return len(missing), err
}

// absent gives those of the rows that the database does not have.
func absent(ctx context.Context, path string, rows []Row) (missing []Row, err error) {
	var keys []address.Key
	known := map[address.Key]bool{}
	for _, r := range rows {
		if k, err := address.Parse(r.IP); err == nil && !known[k] {
			known[k] = true
			keys = append(keys, k)
		}
	}
	have, err := Rows(ctx, path, keys...)
	if err != nil {
		return nil, err
	}
	left := map[Row]int{}
	for _, r := range have {
		r.rowid = 0
		left[r]++
	}
	for _, r := range rows {
		r.rowid = 0
		if left[r]--; left[r] < 0 {
			missing = append(missing, r)
		}
	}
	return missing, nil
}

// batches runs do for every row, as many in a transaction as may be.
func batches(ctx context.Context, path string, rows []Row, do func(tx querier, s Schema, r Row) (int64, error)) (n int64, err error) {
	for part := range slices.Chunk(rows, most) {
		var changed int64
		if err := write(ctx, path, nil, func(tx querier, s Schema) error {
			changed = 0
			for _, r := range part {
				c, err := do(tx, s, r)
				if err != nil {
					return err
				}
				changed += c
			}
			return nil
		}); err != nil {
			return n, err
		}
		n += changed
	}
	return n, nil
}
