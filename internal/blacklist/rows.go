package blacklist

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/address"
)

// A Row is one row of the table: one report. Of nftfw's, which has one row for a
// key, it is what this package can compare with the others, and the rest as
// NFTFW.
type Row struct {
	IP        string // as it is stored
	Timestamp int64  // seconds since 1970, UTC
	Count     int64
	NFTFW     string // a JSON object of the other columns of nftfw's table; "" elsewhere

	rowid int64 // where it was found
}

// Time is the row's time in UTC.
func (r Row) Time() time.Time { return at(r.Timestamp) }

// nftfwColumns are the columns of nftfw's table beside the address.
var nftfwColumns = []string{"pattern", "incidents", "matchcount", "first", "last", "ports", "useall", "multiple", "isdnsbl"}

// object is an SQL expression that gives them as a JSON object.
func object() string {
	var pairs []string
	for _, c := range nftfwColumns {
		pairs = append(pairs, "'"+c+"', "+c)
	}
	return "json_object(" + strings.Join(pairs, ", ") + ")"
}

// few is the number of hosts up to which SQLite looks for them itself.
const few = 200

// plain is a condition on the addresses that have one spelling only, those of
// IPv4. All others are read, and the hosts found among them here, as ReadSums
// finds them: an IPv6 host has keys of several lengths, each with many
// spellings.
const plain = "ip NOT GLOB '*[^0-9.]*'"

// Rows gives the rows of all the hosts, whatever the length and the spelling of
// the address in them, sorted by address, time and count.
func Rows(ctx context.Context, path string, keys ...address.Key) ([]Row, error) {
	wanted := map[address.Key]bool{}
	var four []any
	for _, k := range keys {
		if wanted[k] = true; !k.Is6() {
			four = append(four, k.String())
		}
	}
	where := ""
	if len(keys) <= few {
		where = " WHERE NOT (" + plain + ") OR ip IN (" + strings.TrimSuffix(strings.Repeat("?,", len(four)), ",") + ")"
	} else {
		four = nil
	}
	var all []Row
	_, err := unlocked(ctx, path, func(db *sql.DB) error {
		all = nil
		s, err := schemaOf(ctx, db)
		if err != nil {
			return err
		}
		cols := "rowid, ip, timestamp, count, ''"
		if s == SchemaNFTFW {
			cols = "rowid, coalesce(ip, ''), last, " + nftfwCount + ", " + object()
		}
		rows, err := db.QueryContext(ctx, "SELECT "+cols+" FROM "+Table+where, four...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var r Row
			var timestamp, count any
			if err := rows.Scan(&r.rowid, &r.IP, &timestamp, &count, &r.NFTFW); err != nil {
				return err
			}
			if k, err := address.Parse(r.IP); err != nil || !wanted[k] {
				continue
			}
			var ok, ok2 bool
			r.Timestamp, ok = timestamp.(int64)
			if r.Count, ok2 = count.(int64); !ok || !ok2 {
				return odd(r.rowid, fmt.Errorf("its time is %v and its count %v", timestamp, count))
			}
			all = append(all, r)
		}
		return rows.Err()
	})
	slices.SortFunc(all, func(a, b Row) int {
		return cmp.Or(strings.Compare(a.IP, b.IP), cmp.Compare(a.Timestamp, b.Timestamp), cmp.Compare(a.Count, b.Count))
	})
	return all, err
}

func odd(rowid int64, err error) error {
	return fmt.Errorf("row %d is not as the firewall writes them; put it right or delete it with the sqlite3 program "+
		"(its rowid is %d): %w", rowid, rowid, err)
}

// scanRow reads one row after its rowid.
func scanRow(rows *sql.Rows) (r Row, err error) {
	if err = rows.Scan(&r.rowid, &r.IP, &r.Timestamp, &r.Count); err != nil {
		err = odd(r.rowid, err)
	}
	return r, err
}
