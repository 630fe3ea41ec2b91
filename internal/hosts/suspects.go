package hosts

import (
	"context"
	"database/sql"
	"iter"
	"strconv"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/address"
)

// suspects is one word for each column that says what stands against a host, or
// for it. They come as one text: a million rows of many values would take the
// driver too long.
const suspects = "select net || ' ' || history || ' ' || history_last || ' ' || history_passed || ' ' || login || ' ' || delivered || ' ' ||" +
	" delivered_before || ' ' || offence || ' ' || offences || ' ' || offences_since || ' ' || guesser from host" +
	" where (history > ?1 or offences > ?2 or guesser > 0) order by net"

// Suspects gives the hosts with a history of at least least, with more than
// offences offences, or that were guessers once, sorted by the spelling of their
// keys and with those parts of their rows that a standing is made of. A row that
// somebody has made by hand, and that cannot be read, hides no other.
func (d *DB) Suspects(ctx context.Context, least, offences int64) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		rows, err := d.db.QueryContext(d.here(ctx), suspects, least-1, offences)
		if err != nil {
			yield(Row{}, explain(d.path, err))
			return
		}
		defer rows.Close()
		var text sql.RawBytes
		for rows.Next() {
			if err := ctx.Err(); err != nil {
				yield(Row{}, err)
				return
			}
			if err := rows.Scan(&text); err != nil {
				yield(Row{}, explain(d.path, err))
				return
			}
			if r, ok := parseSuspect(string(text)); ok && !yield(r, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(Row{}, explain(d.path, err))
		}
	}
}

func parseSuspect(text string) (r Row, ok bool) {
	net, rest, _ := strings.Cut(text, " ")
	var err error
	if r.Key, err = address.Parse(net); err != nil || r.Key.String() != net {
		return r, false
	}
	var n [10]int64
	for i := range n {
		var word string
		word, rest, _ = strings.Cut(rest, " ")
		if n[i], err = strconv.ParseInt(word, 10, 64); err != nil {
			return r, false
		}
	}
	at := func(n int64) time.Time {
		if n == 0 {
			return time.Time{}
		}
		return time.Unix(n, 0).UTC()
	}
	r.History, r.HistoryLast, r.HistoryPassed = n[0], at(n[1]), at(n[2])
	r.Login, r.Delivered, r.DeliveredBefore = at(n[3]), at(n[4]), at(n[5])
	r.Offence, r.Offences, r.OffencesSince, r.Guesser = at(n[6]), n[7], at(n[8]), at(n[9])
	return r, rest == ""
}

// Changed gives a number that differs from an earlier one when another
// connection has written to the database meanwhile. It reads no row.
func (d *DB) Changed(ctx context.Context) (n int64, err error) {
	err = d.db.QueryRowContext(d.here(ctx), "pragma data_version").Scan(&n)
	return n, explain(d.path, err)
}
