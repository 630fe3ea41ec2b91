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
	IP      string      // as stored
	Key     address.Key // not valid when IP is no address
	Count   int64       // sum of the counts: what the connect check compares with its threshold
	Reports int64       // rows: one for each scan, or for each day that compaction summed up
	First   time.Time   // midnight UTC of the day of the first report; compaction keeps days, not hours
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

// A value that is no whole number, which only a hand can have put there, must not
// hide all other hosts: hence the casts.
const (
	listSymbiosis = "SELECT ip, CAST(sum(count) AS INTEGER) AS total, count(*), min(CAST(timestamp AS INTEGER)), max(CAST(timestamp AS INTEGER)) AS latest FROM " + Table +
		" GROUP BY ip HAVING total >= ? AND latest >= ? AND latest < ?"
	listNFTFW = "SELECT ip, matchcount, incidents, first, last FROM " + Table + " WHERE matchcount >= ? AND last >= ? AND last < ?"
)

// List gives the hosts in the database. It takes no lock while it reads, unless
// the file is being written to all the time.
func List(ctx context.Context, path string, f Filter) ([]Host, error) {
	if f.Order == "" {
		f.Order = ByLast
	}
	if !slices.Contains(Orders, f.Order) {
		return nil, fmt.Errorf("unknown order %q; known are %v", f.Order, Orders)
	}
	from, to := int64(-1<<63), int64(1<<63-1)
	if !f.Since.IsZero() {
		from = f.Since.Unix()
	}
	if !f.Before.IsZero() {
		to = f.Before.Unix()
	}
	var hosts []Host
	err := withoutLocks(ctx, path, func(db *sql.DB) error {
		hosts = nil
		s, err := schemaOf(ctx, db)
		if err != nil {
			return err
		}
		query := listSymbiosis
		if s == SchemaNFTFW {
			query = listNFTFW
		}
		min := f.MinCount
		if min == 0 {
			min = -1 << 63
		}
		rows, err := db.QueryContext(ctx, query, min, from, to)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var h Host
			var first, last int64
			if err := rows.Scan(&h.IP, &h.Count, &h.Reports, &first, &last); err != nil {
				return err
			}
			h.Key, _ = address.Parse(h.IP)
			if f.Net.IsValid() && !(h.Key.IsValid() && f.Net.Overlaps(h.Key.Prefix()) && f.Net.Bits() <= h.Key.Prefix().Bits()) {
				continue
			}
			h.First = time.Unix(first, 0).UTC().Truncate(Day)
			h.Last = time.Unix(last, 0).UTC()
			if f.Keep == nil || f.Keep(h) {
				hosts = append(hosts, h)
			}
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(hosts, func(a, b Host) int {
		c := 0
		switch f.Order {
		case ByCount:
			c = cmp.Compare(b.Count, a.Count)
		case ByReports:
			c = cmp.Compare(b.Reports, a.Reports)
		case ByFirst:
			c = a.First.Compare(b.First)
		case ByLast:
			c = b.Last.Compare(a.Last)
		}
		return cmp.Or(c, a.Key.Prefix().Addr().Compare(b.Key.Prefix().Addr()), strings.Compare(a.IP, b.IP))
	})
	if f.Top > 0 && len(hosts) > f.Top {
		hosts = hosts[:f.Top]
	}
	return hosts, nil
}

// A Row is one row of the table: one report, or one day that compaction summed up.
type Row struct {
	IP        string `json:"ip"`
	Timestamp int64  `json:"timestamp"` // seconds since 1970, UTC
	Count     int64  `json:"count"`
}

// Time is the row's time in UTC.
func (r Row) Time() time.Time { return time.Unix(r.Timestamp, 0).UTC() }

// History gives the rows of one host in the order of time.
func History(ctx context.Context, path string, key address.Key) ([]Row, error) {
	return Rows(ctx, path, []string{key.String()})
}

// Rows gives the rows of all the addresses, spelled as the database does,
// sorted by address, time and count. Nftfw's table gives one row for a host.
func Rows(ctx context.Context, path string, ips []string) ([]Row, error) {
	var all []Row
	err := withoutLocks(ctx, path, func(db *sql.DB) error {
		all = nil
		s, err := schemaOf(ctx, db)
		if err != nil {
			return err
		}
		cols := "rowid, ip, timestamp, count"
		if s == SchemaNFTFW {
			cols = "rowid, ip, last, matchcount"
		}
		const many = 500 // parameters in one statement
		for part := range slices.Chunk(ips, many) {
			args := make([]any, len(part))
			for i, ip := range part {
				args[i] = ip
			}
			rows, err := db.QueryContext(ctx, "SELECT "+cols+" FROM "+Table+" WHERE ip IN (?"+strings.Repeat(",?", len(part)-1)+")", args...)
			if err != nil {
				return err
			}
			for rows.Next() {
				r, _, err := scanRow(rows)
				if err != nil {
					rows.Close()
					return err
				}
				all = append(all, r)
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
func scanRow(rows *sql.Rows) (r Row, rowid int64, err error) {
	if err = rows.Scan(&rowid, &r.IP, &r.Timestamp, &r.Count); err != nil {
		err = fmt.Errorf("row %d is not as the firewall writes them; put it right or delete it with the sqlite3 program "+
			"(its rowid is %d): %w", rowid, rowid, err)
	}
	return r, rowid, err
}

func sortRows(rows []Row) {
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(strings.Compare(a.IP, b.IP), cmp.Compare(a.Timestamp, b.Timestamp), cmp.Compare(a.Count, b.Count))
	})
}
