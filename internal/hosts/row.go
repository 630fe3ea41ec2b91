package hosts

import (
	"context"
	"database/sql"
	"errors"
	"iter"
	"time"

	"symbiosis-connect-acl/internal/address"
)

// A Row is what is known of one host. A time that is zero means never.
type Row struct {
	Key address.Key

	History       int64     // the sum of the firewall's counts
	HistoryLast   time.Time // the latest of them
	HistoryPassed time.Time // the one with which the sum passed the threshold

	First, Last     time.Time // visits
	Greeted         time.Time // last greeting that it waited for
	ListsPassed     time.Time // when the DNS lists had nothing against it
	Login           time.Time // last login
	Delivered       time.Time // last message accepted
	DeliveredBefore time.Time // last message accepted on an earlier day than that
	Failures        int64     // different guesses, when one last failed
	FailuresSince   time.Time // that moment
	Offence         time.Time // last offence
	OffenceKind     string    // what it was: one of the words of offence_kind
	Offences        int64     // offences in the 24 hours that begin with OffencesSince
	OffencesSince   time.Time
	Guesser         time.Time // when it last became a guesser
	Lost            int64     // connections that it closed before the greeting, since LostSince
	LostSince       time.Time
	Rate            float64 // connections, as the rate rule counts them
	RateAt          time.Time
}

// Known reports whether anything is known of the host.
func (r Row) Known() bool {
	r.Key = address.Key{}
	return r != Row{}
}

// Accused reports whether there is anything that Forget would end.
func (r Row) Accused() bool {
	return r.History != 0 || r.Failures != 0 || !r.Offence.IsZero() || r.Offences != 0 || !r.Guesser.IsZero()
}

const columns = "net, history, history_last, history_passed, first, last, greeted, lists_passed, login, delivered, delivered_before," +
	" failures, failures_since, offence, offence_kind, offences, offences_since, guesser, lost, lost_since, rate, rate_at"

// A moment scans a time as the table has it.
type moment struct{ to *time.Time }

func (m moment) Scan(v any) error {
	if n, _ := v.(int64); n != 0 { // what is no number somebody has made by hand
		*m.to = time.Unix(n, 0).UTC()
	}
	return nil
}

func scan(scan func(...any) error) (r Row, err error) {
	var net string
	at := func(t *time.Time) moment { return moment{t} }
	if err := scan(&net, &r.History, at(&r.HistoryLast), at(&r.HistoryPassed), at(&r.First), at(&r.Last), at(&r.Greeted), at(&r.ListsPassed),
		at(&r.Login), at(&r.Delivered), at(&r.DeliveredBefore), &r.Failures, at(&r.FailuresSince), at(&r.Offence), &r.OffenceKind,
		&r.Offences, at(&r.OffencesSince), at(&r.Guesser), &r.Lost, at(&r.LostSince), &r.Rate, at(&r.RateAt)); err != nil {
		return r, err
	}
	r.Key, _ = address.Parse(net) // a row that somebody made by hand hides no other
	return r, nil
}

// Get gives the row of a host: one with nothing but its key when there is none.
func (d *DB) Get(ctx context.Context, key address.Key) (Row, error) {
	r, err := scan(d.db.QueryRowContext(d.here(ctx), "select "+columns+" from host where net = ?", key.String()).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return Row{Key: key}, nil
	}
	return r, explain(d.path, err)
}

// All gives every row, sorted by the spelling of the key.
func (d *DB) All(ctx context.Context) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		rows, err := d.db.QueryContext(d.here(ctx), "select "+columns+" from host order by net")
		if err != nil {
			yield(Row{}, explain(d.path, err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			r, err := scan(rows.Scan)
			if !yield(r, explain(d.path, err)) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(Row{}, explain(d.path, err))
		}
	}
}

// Forget ends what stands against the hosts: their history, their offences and
// their failed logins. What speaks for them stays.
func (d *DB) Forget(ctx context.Context, keys []address.Key) (n int64, err error) {
	err = d.batches(ctx, len(keys), func(tx *sql.Tx, from, to int) error {
		for _, k := range keys[from:to] {
			res, err := tx.ExecContext(d.here(ctx), "update host set history = 0, history_last = 0, history_passed = 0, failures = 0, failures_since = 0,"+
				" offence = 0, offence_kind = '', offences = 0, offences_since = 0, guesser = 0"+
				" where net = ? and (history <> 0 or failures <> 0 or offence <> 0 or offences <> 0 or guesser <> 0)", k.String())
			if err != nil {
				return err
			}
			for _, table := range []string{"guess", "doubt"} {
				if _, err := tx.ExecContext(d.here(ctx), "delete from "+table+" where net = ?", k.String()); err != nil {
					return err
				}
			}
			changed, err := res.RowsAffected()
			if err != nil {
				return err
			}
			n += changed
		}
		return nil
	})
	return n, err
}

// AddHistory adds to the history of a host what was just added to the
// firewall's database, so that it counts before sync has seen it there.
func (d *DB) AddHistory(ctx context.Context, key address.Key, count int64, at time.Time) error {
	return d.Exec(ctx, "insert into host (net, history, history_last) values (?1, ?2, ?3) on conflict(net) do update set"+
		" history = history + ?2, history_last = max(history_last, ?3)", key.String(), count, at.Unix())
}

// most is how many rows one transaction changes at most: Exim's writes wait for
// it.
const most = 5000

// batches runs do for n things, as many in a transaction as may be.
func (d *DB) batches(ctx context.Context, n int, do func(tx *sql.Tx, from, to int) error) error {
	for from := 0; from < n; from += most {
		if err := ctx.Err(); err != nil {
			return err
		}
		tx, err := d.db.BeginTx(d.here(ctx), nil)
		if err != nil {
			return explain(d.path, err)
		}
		if err := do(tx, from, min(n, from+most)); err != nil {
			tx.Rollback()
			return explain(d.path, err)
		}
		if err := tx.Commit(); err != nil {
			return explain(d.path, err)
		}
	}
	return nil
}

// Stats describes the database as a whole.
type Stats struct {
	Path    string    `json:"path"`
	Hosts   int64     `json:"hosts"`   // rows
	History int64     `json:"history"` // of them with a history
	Logins  int64     `json:"logins"`  // of them with a login within a month
	Bytes   int64     `json:"bytes"`   // size of the file
	Lost    time.Time `json:"lost"`    // when it was begun anew; zero when that has not happened
}

// Month is how long a login counts.
const Month = 30 * 24 * time.Hour

// Stats reads the whole table.
func (d *DB) Stats(ctx context.Context, now time.Time) (s Stats, err error) {
	s.Path = d.path
	if s.Lost, err = d.Lost(ctx); err != nil {
		return s, err
	}
	err = d.db.QueryRowContext(d.here(ctx), "select count(*), count(nullif(history, 0)), coalesce(sum(login > ?), 0),"+
		" (select page_count * page_size from pragma_page_count, pragma_page_size) from host", now.Add(-Month).Unix()).
		Scan(&s.Hosts, &s.History, &s.Logins, &s.Bytes)
	return s, explain(d.path, err)
}
