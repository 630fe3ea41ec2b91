package blacklist

import (
	"cmp"
	"context"
	"database/sql"
	"net/netip"
	"os"
	"slices"
	"time"

	"symbiosis-connect-acl/internal/address"
)

// Stats describes a database as a whole.
type Stats struct {
	Path       string    `json:"path"`
	Schema     string    `json:"schema"`
	Rows       int64     `json:"rows"`
	Addresses  int64     `json:"addresses"`
	Bytes      int64     `json:"bytes"`           // size of the file
	FreeBytes  int64     `json:"free_bytes"`      // of it unused
	Oldest     time.Time `json:"oldest"`          // zero when there is no row
	Newest     time.Time `json:"newest"`          // zero when there is no row
	RowsPerDay float64   `json:"rows_per_day"`    // over the last 30 days that it has
	BytesPDay  float64   `json:"bytes_per_day"`   // the same in the size of the file
	Alien      int64     `json:"rows_of_no_host"` // rows whose address fits no host
	Worst      []Network `json:"worst_networks"`
}

// A Network is a sum over an IPv4 /24 or an IPv6 /48.
type Network struct {
	Net   netip.Prefix `json:"net"`
	Hosts int64        `json:"hosts"`
	Count int64        `json:"count"`
}

// Empty reports whether the table has no row. The error is ErrNoTable where there
// is no table either: no scan has counted anybody yet.
func Empty(ctx context.Context, path string) (empty bool, err error) {
	_, err = unlocked(ctx, path, func(db *sql.DB) error {
		if _, err := schemaOf(ctx, db); err != nil {
			return err
		}
		return db.QueryRowContext(ctx, "SELECT NOT EXISTS (SELECT 1 FROM "+Table+")").Scan(&empty)
	})
	return empty, err
}

// Silent reports whether the last report in the database is older than since:
// the firewall counts nothing any more. The file's time says nothing about that,
// because maintenance writes it too. An empty table is not silent. It stops
// reading at the first report that is young enough.
func Silent(ctx context.Context, path string, since time.Time) (silent bool, err error) {
	_, err = unlocked(ctx, path, func(db *sql.DB) error {
		schema, err := schemaOf(ctx, db)
		if err != nil {
			return err
		}
		ts := "timestamp"
		if schema == SchemaNFTFW {
			ts = "last"
		}
		return db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM "+Table+") AND NOT EXISTS (SELECT 1 FROM "+Table+
			" WHERE "+ts+" >= ?)", since.Unix()).Scan(&silent)
	})
	return silent, err
}

// ReadStats reads the whole table.
func ReadStats(ctx context.Context, path string) (Stats, error) {
	var s Stats
	var nets map[netip.Prefix]Network
	_, err := unlocked(ctx, path, func(db *sql.DB) error {
		s, nets = Stats{Path: path}, map[netip.Prefix]Network{}
		schema, err := schemaOf(ctx, db)
		if err != nil {
			return err
		}
		s.Schema = schema.String()
		ts, count := "timestamp", "count"
		if schema == SchemaNFTFW {
			ts, count = "last", nftfwCount
		}
		var oldest, newest sql.NullInt64
		if err := db.QueryRowContext(ctx, "SELECT count(*), min(CAST("+ts+" AS INTEGER)), max(CAST("+ts+" AS INTEGER)) FROM "+Table).Scan(&s.Rows, &oldest, &newest); err != nil {
			return err
		}
		if err := db.QueryRowContext(ctx, "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size").Scan(&s.FreeBytes); err != nil {
			return err
		}
		if st, err := os.Stat(path); err == nil {
			s.Bytes = st.Size()
		}
		if s.Rows > 0 {
			s.Oldest, s.Newest = at(oldest.Int64), at(newest.Int64)
			const month = 30 * daySeconds
			var recent int64
			if err := db.QueryRowContext(ctx, "SELECT count(*) FROM "+Table+" WHERE "+ts+" > ?", newest.Int64-month).Scan(&recent); err != nil {
				return err
			}
			days := min(30, max(1, float64(newest.Int64-oldest.Int64)/daySeconds))
			s.RowsPerDay = float64(recent) / days
			s.BytesPDay = s.RowsPerDay * float64(s.Bytes-s.FreeBytes) / float64(s.Rows)
		}
		rows, err := db.QueryContext(ctx, "SELECT coalesce(ip, ''), CAST(total("+count+") AS INTEGER), count(*) FROM "+Table+" GROUP BY ip")
		if err != nil {
			return err
		}
		defer rows.Close()
		hosts := map[address.Key]bool{}
		for rows.Next() {
			var ip string
			var sum, reports int64
			if err := rows.Scan(&ip, &sum, &reports); err != nil {
				return err
			}
			k, err := address.Parse(ip)
			if err != nil {
				s.Alien += reports
				continue
			}
			bits := 24
			if k.Is6() {
				bits = 48
			}
			p, _ := k.Prefix().Addr().Prefix(bits)
			w := nets[p]
			if w.Net, w.Count = p, Plus(w.Count, sum); !hosts[k] {
				w.Hosts++
			}
			nets[p], hosts[k] = w, true
		}
		s.Addresses = int64(len(hosts))
		return rows.Err()
	})
	if err != nil {
		return s, err
	}
	for _, w := range nets {
		s.Worst = append(s.Worst, w)
	}
	slices.SortFunc(s.Worst, func(a, b Network) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), a.Net.Addr().Compare(b.Net.Addr()))
	})
	s.Worst = s.Worst[:min(10, len(s.Worst))]
	return s, nil
}
