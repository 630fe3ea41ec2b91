package hosts

import (
	"context"
	"database/sql"

	"symbiosis-connect-acl/internal/address"
)

// A History is what the firewall has counted against one host. It is a
// blacklist.Sum by another name, so that a million of them need not be copied.
type History = struct {
	Count  int64
	Last   int64 // seconds since 1970
	Passed int64 // likewise
}

// SetHistory makes the history of every host what is given, and that of all
// others nothing. It writes only what differs, and tells how many rows that
// were. It takes what is given: histories is empty afterwards.
func (d *DB) SetHistory(ctx context.Context, histories map[address.Key]History) (changed int, err error) {
	type change struct {
		net string
		History
	}
	var changes []change
	rows, err := d.db.QueryContext(d.here(ctx), "select net, history, history_last, history_passed from host"+
		" where history <> 0 or history_last <> 0 or history_passed <> 0")
	if err != nil {
		return 0, explain(d.path, err)
	}
	defer rows.Close()
	for rows.Next() {
		var c change
		if err := rows.Scan(&c.net, &c.Count, &c.Last, &c.Passed); err != nil {
			return 0, explain(d.path, err)
		}
		k, err := address.Parse(c.net)
		want := histories[k] // of a key that is none: nothing
		if err == nil {
			delete(histories, k)
		}
		if want != c.History {
			changes = append(changes, change{c.net, want})
		}
	}
	if err := rows.Err(); err != nil {
		return 0, explain(d.path, err)
	}
	rows.Close()
	for k, h := range histories {
		if h != (History{}) {
			changes = append(changes, change{k.String(), h})
		}
	}
	clear(histories)
	err = d.batches(ctx, len(changes), func(tx *sql.Tx, from, to int) error {
		st, err := tx.PrepareContext(d.here(ctx), "insert into host (net, history, history_last, history_passed) values (?, ?, ?, ?)"+
			" on conflict(net) do update set history = excluded.history, history_last = excluded.history_last, history_passed = excluded.history_passed")
		if err != nil {
			return err
		}
		defer st.Close()
		for _, c := range changes[from:to] {
			if _, err := st.ExecContext(d.here(ctx), c.net, c.Count, c.Last, c.Passed); err != nil {
				return err
			}
		}
		changed += to - from
		return nil
	})
	return changed, err
}
