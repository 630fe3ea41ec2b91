package blacklist

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mattn/go-sqlite3"

	"symbiosis-connect-acl/internal/address"
)

// SumQuery is the query that the connect ACL makes, with a parameter for the
// key. It must be an index search: it runs at every connection.
const SumQuery = "select coalesce(sum(count),0) from " + Table + " where ip=?"

const nftfwSumQuery = "select coalesce(sum(matchcount),0) from " + Table + " where ip=?"

// sumWait bounds how long Sum waits for a writer, in milliseconds. Maintenance
// keeps readers out for no longer than 250 ms.
const sumWait = "500"

// Sum gives the sum of all counts that the database has for key, 0 for a host
// that it does not know. It opens the file read-only, never creates it, and
// waits at most half a second for a writer, less if ctx ends sooner. Whatever
// is wrong with the file is an error, and the sum is then 0.
//
// It speaks to the SQLite driver itself: the connection pool of database/sql
// would cost a goroutine and some allocations at every connection to Exim.
func Sum(ctx context.Context, path string, key address.Key) (int64, error) {
	if !key.IsValid() {
		return 0, errors.New("no address to look up")
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := regular(path); err != nil {
		return 0, err
	}
	wait := sumWait
	if d, ok := ctx.Deadline(); ok {
		wait = itoa(max(0, min(500, time.Until(d).Milliseconds())))
	}
	c, err := (&sqlite3.SQLiteDriver{}).Open(dsn(path, "mode=ro&cache=private&_busy_timeout="+wait))
	if err != nil {
		return 0, explain(path, err)
	}
	defer c.Close()
	n, err := sumOn(c.(*sqlite3.SQLiteConn), SumQuery, key)
	if err != nil {
		// A query that cannot be made may be another layout's table: only now
		// is it worth asking.
		s, serr := DetectSchema(ctx, path)
		switch {
		case serr != nil:
			return 0, serr
		case s == SchemaNFTFW:
			n, err = sumOn(c.(*sqlite3.SQLiteConn), nftfwSumQuery, key)
		}
		if err != nil {
			return 0, explain(path, err)
		}
	}
	return n, nil
}

func sumOn(c *sqlite3.SQLiteConn, query string, key address.Key) (int64, error) {
	rows, err := c.Query(query, []driver.Value{key.String()})
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	row := make([]driver.Value, 1)
	if err := rows.Next(row); err != nil {
		if err == io.EOF {
			err = errors.New("the query for the sum gave no row")
		}
		return 0, err
	}
	switch n := row[0].(type) {
	case int64:
		return n, nil
	case float64: // a count that is not a whole number makes SQLite add in floating point
		return int64(n), nil
	}
	return 0, fmt.Errorf("the sum is %v, not a number", row[0])
}
