package blacklist

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"

	"symbiosis-connect-acl/internal/address"
)

// A Sum is what the database has about one host. Times are in seconds since
// 1970.
type Sum = struct {
	Count  int64 // the sum of its counts, as the connect check compares it
	Last   int64 // the latest of its times
	Passed int64 // the last of its offences, if the sum is above the threshold; 0 if not
}

// A Limit is what the history check makes of a sum. A host above the threshold
// is refused, so whatever is counted from then on is a knock, and not an
// offence, until it is on parole.
type Limit struct {
	Threshold int64
	Refuses   bool          // false where the check is off or only learns: then all are offences
	Parole    time.Duration // so long after the last offence it is let in again; 0 means never
}

// scanLag is how much later a row is written than what it counts was done: the
// time from one scan to the next, and some more. What a host on parole does in
// that time may be its last knocks.
const scanLag = 3600

// add gives the sum with one more row, which is not older than the others.
func (l Limit) add(s Sum, count, at int64) Sum {
	before := s.Count
	s.Count, s.Last = Plus(s.Count, count), max(s.Last, at)
	switch {
	case s.Count <= l.Threshold:
		s.Passed = 0
	case before <= l.Threshold, !l.Refuses, l.Parole > 0 && s.Last > s.Passed && s.Last-s.Passed > int64(l.Parole/time.Second)+scanLag:
		s.Passed = s.Last
	}
	return s
}

// Merge adds what a second database has about a host, which counts as one row.
func (l Limit) Merge(s, more Sum) Sum {
	sum := l.add(s, more.Count, more.Last)
	if sum.Passed != 0 && s.Passed == 0 && more.Passed != 0 {
		sum.Passed = more.Passed
	}
	return sum
}

// Sums are the sums of all hosts.
type Sums struct {
	Hosts map[address.Key]Sum
	Stamp Stamp    // of the database that was read
	Alien int64    // rows whose address fits no host
	Some  []string // a few of those addresses
}

// someAliens is how many of them are named.
const someAliens = 5

// The queries that Sums makes: address, count and time. A count that is no whole
// number, which only a hand can have stored, is cut to one.
//
// Nftfw counts lines, and Symbiosis and Sympl lines times ports, with one line
// for a pattern of all ports: the ports column has the list or "all".
const (
	sumsSymbiosis = "SELECT ip, CAST(count AS INTEGER), CAST(timestamp AS INTEGER) FROM " + Table + " NOT INDEXED"
	sumsNFTFW     = "SELECT coalesce(ip, ''), " + nftfwCount + ", CAST(last AS INTEGER) FROM " + Table
	nftfwCount    = "CAST(CAST(matchcount AS INTEGER) * coalesce(" + nftfwPorts + ", 1) AS INTEGER)" // at the bounds where it is more
	nftfwPorts    = "(1 + length(ports) - length(replace(ports, ',', '')))"
)

// inOrder is what makes a query give the rows by their times. The firewall writes
// them so; an administrator who adds or restores some does not.
const inOrder = " ORDER BY 3"

// errDisorder says that a host's rows are not in the order of their times.
var errDisorder = errors.New("the rows are not in the order of their times")

// ReadSums adds up the whole table by host, without any lock. A key of a network
// smaller than a host's, as Sympl's firewall and nftfw store IPv6 by /112,
// counts for the host. With ErrNoTable, which says that the firewall has counted
// nobody yet, it gives the stamp too.
func ReadSums(ctx context.Context, path string, limit Limit) (s Sums, err error) {
	stamp, err := unlocked(ctx, path, func(db *sql.DB) error {
		schema, err := schemaOf(ctx, db)
		if err != nil {
			return err
		}
		query := sumsSymbiosis
		if schema == SchemaNFTFW {
			query = sumsNFTFW
		}
		c, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		// With the driver itself: database/sql costs as much again for each of
		// ten million rows.
		return c.Raw(func(c any) error {
			s = Sums{Hosts: map[address.Key]Sum{}}
			err := s.add(ctx, c.(*sqlite3.SQLiteConn), query, limit)
			if err == errDisorder {
				s = Sums{Hosts: map[address.Key]Sum{}}
				err = s.add(ctx, c.(*sqlite3.SQLiteConn), query+inOrder, limit)
			}
			return err
		})
	})
	s.Stamp = stamp
	return s, err
}

func (s *Sums) add(ctx context.Context, c *sqlite3.SQLiteConn, query string, limit Limit) error {
	rows, err := c.Query(query, nil)
	if err != nil {
		return err
	}
	defer rows.Close()
	row := make([]driver.Value, 3)
	for n := 0; ; n++ {
		if n%100_000 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := rows.Next(row); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if row[0] == nil {
			return fmt.Errorf("%w: there is a row without an address, which the table does not allow", ErrCorrupt)
		}
		ip, count, last := text(row[0]), number(row[1]), number(row[2])
		k, err := address.Parse(ip)
		if err != nil {
			s.alien(ip)
			continue
		}
		sum, known := s.Hosts[k]
		if known && last < sum.Last {
			return errDisorder
		}
		s.Hosts[k] = limit.add(sum, count, last)
	}
}

func (s *Sums) alien(ip string) {
	if s.Alien++; len(s.Some) < someAliens {
		s.Some = append(s.Some, ip)
	}
}

func text(v driver.Value) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	return fmt.Sprint(v)
}

func number(v driver.Value) int64 {
	n, _ := v.(int64)
	return n
}

// Plus adds, and stops at the bounds: the sum of one host must not hide those of
// all others.
func Plus(a, b int64) int64 {
	switch {
	case b > 0 && a > math.MaxInt64-b:
		return math.MaxInt64
	case b < 0 && a < math.MinInt64-b:
		return math.MinInt64
	}
	return a + b
}

// spellings gives a condition on the column ip that the rows of a host meet:
// its own key, and for IPv6 what begins as the keys of smaller networks in it
// do, in each of the forms that RFC 5952 can give them. Some that only begin
// alike meet it too.
func spellings(k address.Key) (condition string, args []any) {
	if !k.Is6() {
		return "ip = ?", []any{k.String()}
	}
	a := k.Prefix().Addr().As16()
	var full strings.Builder
	for i := 0; i < 8; i += 2 {
		fmt.Fprintf(&full, "%x:", int(a[i])<<8|int(a[i+1]))
	}
	// With the zeros inside the /64 folded, and with those behind it.
	a[15] = 1
	behind := strings.TrimSuffix(netip.AddrFrom16(a).String(), "1")
	for i := 8; i < 16; i++ {
		a[i] = 0xff
	}
	inside := strings.TrimSuffix(netip.AddrFrom16(a).String(), "ffff:ffff:ffff:ffff")
	return "(ip = ? OR ip GLOB ? OR ip GLOB ? OR ip GLOB ?)", []any{k.String(), full.String() + "*", behind + "*", inside + "*"}
}
