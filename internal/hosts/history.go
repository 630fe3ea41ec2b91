package hosts

import (
	"context"
	"database/sql"
	"slices"

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
	rows, err := d.db.QueryContext(d.here(ctx), "select net, history, history_last, history_passed from host"+
		" where history <> 0 or history_last <> 0 or history_passed <> 0")
	if err != nil {
		return 0, explain(d.path, err)
	}
	defer rows.Close()
	var gone []string
	for rows.Next() {
		var net string
		var has, want History
		if err := rows.Scan(&net, &has.Count, &has.Last, &has.Passed); err != nil {
			return 0, explain(d.path, err)
		}
		k, err := address.Parse(net)
		if err == nil && k.String() == net { // a row with another spelling is nobody's
			want = histories[k]
		}
		switch want {
		case History{}:
			gone = append(gone, net)
		case has:
			delete(histories, k)
		}
	}
	if err := rows.Err(); err != nil {
		return 0, explain(d.path, err)
	}
	rows.Close()
	// Only the names of what is left, because there may be a million.
	differ := make([]string, 0, len(histories))
	for k, h := range histories {
		if h != (History{}) {
			differ = append(differ, k.String())
		}
	}
	set := func(nets []string, history func(net string) History) error {
		// In the order of the table, so that a transaction writes few pages.
		slices.Sort(nets)
		return d.batches(ctx, len(nets), func(tx *sql.Tx, from, to int) error {
			st, err := tx.PrepareContext(d.here(ctx), "insert into host (net, history, history_last, history_passed) values (?, ?, ?, ?)"+
				" on conflict(net) do update set history = excluded.history, history_last = excluded.history_last, history_passed = excluded.history_passed")
			if err != nil {
				return err
			}
			defer st.Close()
			for _, net := range nets[from:to] {
				h := history(net)
				if _, err := st.ExecContext(d.here(ctx), net, h.Count, h.Last, h.Passed); err != nil {
					return err
				}
			}
			changed += to - from
			return nil
		})
	}
	if err = set(gone, func(string) (none History) { return none }); err == nil {
		err = set(differ, func(net string) History {
			k, _ := address.Parse(net)
			return histories[k]
		})
	}
	clear(histories)
	return changed, err
}
