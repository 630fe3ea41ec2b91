// Package blacklisttest makes count databases for tests and benchmarks, as the
// platform's writer makes them, from a seed.
package blacklisttest

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	_ "github.com/mattn/go-sqlite3" // the driver that the databases are made with

	"symbiosis-connect-acl/internal/address"
)

// CreateTable is the statement with which the platform makes its table.
const CreateTable = "CREATE TABLE blacklist (ip TEXT NOT NULL, timestamp INTEGER NOT NULL, count INTEGER NOT NULL)"

// A Spec says what a generated database holds.
type Spec struct {
	Seed  uint64
	Rows  int
	Hosts int           // different hosts; 0 means a tenth of the rows
	Now   time.Time     // the newest row is a little older than this
	Span  time.Duration // how far back the rows reach; 0 means two years
}

// Key gives the n-th host of a generated database. One in five is an IPv6 /64.
// None is in 203.0.113.0/24 or 2001:db8::/32, which are left to innocents.
func Key(n int) address.Key {
	h := uint64(n)*0x9e3779b97f4a7c15 + 0x632be59bd9b4e019
	h ^= h >> 29
	if n%5 == 4 {
		b := [16]byte{0x2a, byte(h >> 40), byte(h >> 32), byte(h >> 24), byte(h >> 16), byte(h >> 8), byte(n >> 8), byte(n)}
		return address.FromAddr(netip.AddrFrom16(b))
	}
	// Counted up, so that the hosts are different.
	return address.FromAddr(netip.AddrFrom4([4]byte{byte(11 + n>>24), byte(n >> 16), byte(n >> 8), byte(n)}))
}

// Generate makes the database at path, which must not exist. The rows are in
// the order of their times, as a scan every 15 minutes leaves them, with no
// index.
func Generate(path string, s Spec) error {
	db, err := sql.Open("sqlite3", "file:"+path+"?_journal_mode=OFF&_sync=OFF&_locking_mode=EXCLUSIVE")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if s.Hosts == 0 {
		s.Hosts = max(1, s.Rows/10)
	}
	if s.Span == 0 {
		s.Span = 2 * 365 * 24 * time.Hour
	}
	if _, err := db.Exec(CreateTable); err != nil {
		return err
	}
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	const many = 100
	insert := "INSERT INTO blacklist VALUES (?,?,?)" + strings.Repeat(",(?,?,?)", many-1)
	st, err := tx.Prepare(insert)
	if err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(s.Seed, 1))
	begin, step := s.Now.Add(-s.Span).Unix(), float64(s.Span/time.Second)/float64(max(1, s.Rows))
	args := make([]any, 0, 3*many)
	for i := range s.Rows {
		// A few hosts come again and again; most only now and then.
		host := int(float64(s.Hosts) * r.Float64() * r.Float64())
		args = append(args, Key(host).String(), begin+int64(step*float64(i)), int64(3*(1+r.IntN(8))))
		if len(args) == 3*many {
			if _, err := st.Exec(args...); err != nil {
				return err
			}
			args = args[:0]
		}
	}
	for ; len(args) > 0; args = args[3:] {
		if _, err := tx.Exec("INSERT INTO blacklist VALUES (?,?,?)", args[:3]...); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
