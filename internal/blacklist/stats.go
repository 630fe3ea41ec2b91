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
	Path       string        `json:"path"`
	Schema     string        `json:"schema"`
	Indexed    bool          `json:"indexed"` // whether the lookup is an index search
	Rows       int64         `json:"rows"`
	Addresses  int64         `json:"addresses"`
	Bytes      int64         `json:"bytes"`         // size of the file
	FreeBytes  int64         `json:"free_bytes"`    // of it unused
	Oldest     time.Time     `json:"oldest"`        // zero when there is no row
	Newest     time.Time     `json:"newest"`        // zero when there is no row
	RowsPerDay float64       `json:"rows_per_day"`  // over the last 30 days that it has
	BytesPDay  float64       `json:"bytes_per_day"` // the same in the size of the file
	Worst      []Network     `json:"worst_networks"`
	Lookups    int           `json:"lookups_timed"`
	Median     time.Duration `json:"lookup_median_ns"` // of the lookup that Exim makes, with opening the file
	Slowest    time.Duration `json:"lookup_worst_ns"`
}

// A Network is a sum over an IPv4 /24 or an IPv6 /48.
type Network struct {
	Net   netip.Prefix `json:"net"`
	Hosts int64        `json:"hosts"`
	Count int64        `json:"count"`
}

// Silent reports whether the last report in the database is older than since:
// the firewall counts nothing any more. The file's time says nothing about that,
// because maintenance writes it too. An empty table is not silent. It stops
// reading at the first report that is young enough.
func Silent(ctx context.Context, path string, since time.Time) (silent bool, err error) {
	err = withoutLocks(ctx, path, func(db *sql.DB) error {
		return db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM "+Table+") AND NOT EXISTS (SELECT 1 FROM "+Table+
			" NOT INDEXED WHERE timestamp >= ?)", since.Unix()).Scan(&silent)
	})
	return silent, err
}

// ReadStats reads the whole table and times some lookups.
func ReadStats(ctx context.Context, path string) (Stats, error) {
	s := Stats{Path: path}
	var sample []address.Key
	err := withoutLocks(ctx, path, func(db *sql.DB) error {
		s, sample = Stats{Path: path}, nil
		schema, err := schemaOf(ctx, db)
		if err != nil {
			return err
		}
		s.Schema = schema.String()
		if s.Indexed, err = hasIndex(ctx, db); err != nil {
			return err
		}
		ts, count := "timestamp", "count"
		if schema == SchemaNFTFW {
			ts, count = "last", "matchcount"
		}
		var oldest, newest sql.NullInt64
		if err := db.QueryRowContext(ctx, "SELECT count(*), min(CAST("+ts+" AS INTEGER)), max(CAST("+ts+" AS INTEGER)) FROM "+Table).Scan(&s.Rows, &oldest, &newest); err != nil {
			return err
		}
		var free int64
		if err := db.QueryRowContext(ctx, "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size").Scan(&free); err != nil {
			return err
		}
		s.FreeBytes = free
		if st, err := os.Stat(path); err == nil {
			s.Bytes = st.Size()
		}
		if s.Rows > 0 {
			s.Oldest, s.Newest = time.Unix(oldest.Int64, 0).UTC(), time.Unix(newest.Int64, 0).UTC()
			const month = 30 * daySeconds
			var recent int64
			if err := db.QueryRowContext(ctx, "SELECT count(*) FROM "+Table+" WHERE "+ts+" > ?", newest.Int64-month).Scan(&recent); err != nil {
				return err
			}
			days := min(30, max(1, float64(newest.Int64-oldest.Int64)/daySeconds))
			s.RowsPerDay = float64(recent) / days
			s.BytesPDay = s.RowsPerDay * float64(s.Bytes-s.FreeBytes) / float64(s.Rows)
		}
		rows, err := db.QueryContext(ctx, "SELECT ip, CAST(sum("+count+") AS INTEGER) FROM "+Table+" GROUP BY ip")
		if err != nil {
			return err
		}
		defer rows.Close()
		nets := map[netip.Prefix]Network{}
		for rows.Next() {
			var ip string
			var n int64
			if err := rows.Scan(&ip, &n); err != nil {
				return err
			}
			s.Addresses++
			k, err := address.Parse(ip)
			if err != nil {
				continue
			}
			// A sample spread over the whole: every 1st, 2nd, 4th, 8th one.
			if s.Addresses&(s.Addresses-1) == 0 || len(sample) < 50 {
				sample = append(sample, k)
			}
			bits := 24
			if k.Is6() {
				bits = 48
			}
			p, _ := k.Prefix().Addr().Prefix(bits)
			w := nets[p]
			nets[p] = Network{Net: p, Hosts: w.Hosts + 1, Count: w.Count + n}
		}
		if err := rows.Err(); err != nil {
			return err
		}
		for _, w := range nets {
			s.Worst = append(s.Worst, w)
		}
		slices.SortFunc(s.Worst, func(a, b Network) int {
			return cmp.Or(cmp.Compare(b.Count, a.Count), a.Net.Addr().Compare(b.Net.Addr()))
		})
		s.Worst = s.Worst[:min(10, len(s.Worst))]
		return nil
	})
	if err != nil {
		return s, err
	}
	// One that it does not have: an innocent host.
	sample = append(sample, address.FromAddr(netip.AddrFrom4([4]byte{203, 0, 113, 1})))
	var times []time.Duration
	begin := time.Now()
	for range 4 {
		for _, k := range sample {
			t := time.Now()
			if _, err := Sum(ctx, path, k); err != nil {
				return s, err
			}
			times = append(times, time.Since(t))
			if time.Since(begin) > 5*time.Second {
				break
			}
		}
	}
	slices.Sort(times)
	s.Lookups, s.Median, s.Slowest = len(times), times[len(times)/2], times[len(times)-1]
	return s, nil
}
