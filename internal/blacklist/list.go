package blacklist

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/address"
)

// A Host is what the database has about one address.
type Host struct {
	IP      string      // the key, or what is stored when that is no host's
	Key     address.Key // not valid when IP is no address
	Count   int64       // sum of the counts: what the connect check compares with its threshold
	Reports int64       // rows: one for each scan that met the host
	First   time.Time   // midnight UTC of the day of the first report
	Last    time.Time   // the latest report
}

// An Order is how List sorts.
type Order string

// The orders known.
const (
	ByLast    Order = "last" // latest offence first
	ByCount   Order = "count"
	ByReports Order = "reports"
	ByFirst   Order = "first" // oldest first
	ByAddress Order = "address"
)

// Orders are all orders, for messages.
var Orders = []Order{ByLast, ByCount, ByReports, ByFirst, ByAddress}

// A Filter says which hosts List gives. The zero Filter gives all of them, the
// latest offender first.
type Filter struct {
	MinCount int64
	Since    time.Time       // latest report at or after this
	Before   time.Time       // latest report before this
	Net      netip.Prefix    // hosts inside this network
	Keep     func(Host) bool // unless nil, asked last
	Order    Order
	Top      int // no more than this; 0 for all
}

// The columns from which List makes hosts. A value that is no whole number, which
// only a hand can have put there, must not hide all other hosts: hence the casts.
// Nftfw's table allows columns without a value, even the address.
const (
	listSymbiosis = "SELECT ip, CAST(count AS INTEGER), 1, CAST(timestamp AS INTEGER), CAST(timestamp AS INTEGER) FROM " + Table
	listNFTFW     = "SELECT coalesce(ip, ''), coalesce(" + nftfwCount + ", 0), coalesce(CAST(incidents AS INTEGER), 0), " +
		"coalesce(CAST(first AS INTEGER), 0), coalesce(CAST(last AS INTEGER), 0) FROM " + Table
)

// at gives a time of the table's in UTC. One that only a hand can have put there
// stops at the years that can be written with four digits.
func at(seconds int64) time.Time {
	const year0, year9999 = -62167219200, 253402300799
	return time.Unix(min(max(seconds, year0), year9999), 0).UTC()
}

// List gives the hosts in the database. It takes no lock.
func List(ctx context.Context, path string, f Filter) ([]Host, error) {
	if f.Order == "" {
		f.Order = ByLast
	}
	if !slices.Contains(Orders, f.Order) {
		return nil, fmt.Errorf("unknown order %q; known are %v", f.Order, Orders)
	}
	var all map[string]*Host
	_, err := unlocked(ctx, path, func(db *sql.DB) error {
		all = map[string]*Host{}
		s, err := schemaOf(ctx, db)
		if err != nil {
			return err
		}
		query := listSymbiosis
		if s == SchemaNFTFW {
			query = listNFTFW
		}
		rows, err := db.QueryContext(ctx, query)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var ip string
			var count, reports, first, last int64
			if err := rows.Scan(&ip, &count, &reports, &first, &last); err != nil {
				return err
			}
			key, err := address.Parse(ip)
			if err == nil {
				ip = key.String()
			}
			from, to := at(first).Truncate(Day), at(last)
			h := all[ip]
			if h == nil {
				h = &Host{IP: ip, Key: key, First: from}
				all[ip] = h
			}
			h.Count, h.Reports = Plus(h.Count, count), Plus(h.Reports, reports)
			if from.Before(h.First) {
				h.First = from
			}
			if to.After(h.Last) {
				h.Last = to
			}
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	hosts := make([]Host, 0, len(all))
	for _, h := range all {
		hosts = append(hosts, *h)
	}
	return f.Apply(hosts), nil
}

// Apply gives those of the hosts that the filter lets through, in its order. It
// works in the slice that it is given.
func (f Filter) Apply(hosts []Host) []Host {
	hosts = slices.DeleteFunc(hosts, func(h Host) bool { return !f.keeps(h) })
	slices.SortFunc(hosts, func(a, b Host) int {
		c := 0
		switch f.Order {
		case ByCount:
			c = cmp.Compare(b.Count, a.Count)
		case ByReports:
			c = cmp.Compare(b.Reports, a.Reports)
		case ByFirst:
			c = a.First.Compare(b.First)
		case ByLast, "":
			c = b.Last.Compare(a.Last)
		}
		return cmp.Or(c, a.Key.Prefix().Addr().Compare(b.Key.Prefix().Addr()), strings.Compare(a.IP, b.IP))
	})
	if f.Top > 0 && len(hosts) > f.Top {
		hosts = hosts[:f.Top]
	}
	return hosts
}

func (f Filter) keeps(h Host) bool {
	switch {
	case f.MinCount != 0 && h.Count < f.MinCount:
		return false
	case !f.Since.IsZero() && h.Last.Before(f.Since), !f.Before.IsZero() && !h.Last.Before(f.Before):
		return false
	case f.Net.IsValid() && !(h.Key.IsValid() && f.Net.Overlaps(h.Key.Prefix()) && f.Net.Bits() <= h.Key.Prefix().Bits()):
		return false
	}
	return f.Keep == nil || f.Keep(h)
}

// A Row is one row of the table: one report.
type Row struct {
	IP        string
	Timestamp int64 // seconds since 1970, UTC
	Count     int64

	rowid int64 // where it was found
}

// Time is the row's time in UTC.
func (r Row) Time() time.Time { return at(r.Timestamp) }

// Rows gives the rows of all the hosts, sorted by address, time and count.
// Nftfw's table gives one row for a key.
func Rows(ctx context.Context, path string, keys ...address.Key) ([]Row, error) {
	var all []Row
	_, err := unlocked(ctx, path, func(db *sql.DB) error {
		all = nil
		s, err := schemaOf(ctx, db)
		if err != nil {
			return err
		}
		cols := "rowid, ip, timestamp, count"
		if s == SchemaNFTFW {
			cols = "rowid, ip, last, " + nftfwCount
		}
		const many = 200 // hosts in one statement
		for part := range slices.Chunk(keys, many) {
			var conditions []string
			var args []any
			for _, k := range part {
				c, a := spellings(k)
				conditions, args = append(conditions, c), append(args, a...)
			}
			rows, err := db.QueryContext(ctx, "SELECT "+cols+" FROM "+Table+" WHERE "+strings.Join(conditions, " OR "), args...)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				r, err := scanRow(rows)
				if err != nil {
					return err
				}
				if k, err := address.Parse(r.IP); err == nil && slices.Contains(part, k) {
					all = append(all, r)
				}
			}
			if err := rows.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	sortRows(all)
	return all, err
}

// scanRow reads one row after its rowid.
func scanRow(rows *sql.Rows) (r Row, err error) {
	if err = rows.Scan(&r.rowid, &r.IP, &r.Timestamp, &r.Count); err != nil {
		err = fmt.Errorf("row %d is not as the firewall writes them; put it right or delete it with the sqlite3 program "+
			"(its rowid is %d): %w", r.rowid, r.rowid, err)
	}
	return r, err
}

func sortRows(rows []Row) {
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(strings.Compare(a.IP, b.IP), cmp.Compare(a.Timestamp, b.Timestamp), cmp.Compare(a.Count, b.Count))
	})
}
