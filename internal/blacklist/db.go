// Package blacklist owns the count database that the platform's firewall
// writes: one SQLite table of addresses, times and counts, kept with a rollback
// journal. Nftfw's, which has one row for each address, it reads as well, and
// deletes hosts from it; nothing is added to it but what was deleted.
//
// The platform's scan writes to it without waiting for a lock (Ruby's SQLite
// library has no busy timeout unless it is asked for one), so a lock of ours
// that meets it makes it fail, and what it had counted is lost. Hence:
//
//   - Reading takes no lock at all. What was read counts only if nobody has
//     written meanwhile.
//   - Writing is done in short transactions, away from the minutes in which the
//     scan starts, and while it does not run.
//
// Exim does not ask this database; internal/hosts has what it asks.
package blacklist

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"
)

// Table is the name of the count table, the same on every known system.
const Table = "blacklist"

// Errors that callers tell apart. They come wrapped with the file's name.
var (
	ErrNoTable       = errors.New("there is no table " + Table)
	ErrUnknownSchema = errors.New("unknown schema")
	ErrReadOnly      = errors.New("this database belongs to nftfw, which keeps it itself: use nftfwedit to add to it")
	ErrCorrupt       = errors.New("the database is corrupt")
	ErrBusy          = errors.New("another program holds the database")
	ErrUnsteady      = errors.New("the database is being written to all the time")
	ErrWAL           = errors.New("the database is in WAL mode, so the file alone does not have the latest rows; " +
		"set it back with: PRAGMA journal_mode=DELETE")
	ErrNotFile = errors.New("not a regular file")
)

// A Schema is a layout of the table that this package can read.
type Schema int

// The layouts known.
const (
	SchemaUnknown   Schema = iota
	SchemaSymbiosis        // blacklist(ip, timestamp, count): a row for each report. Symbiosis and Sympl
	SchemaNFTFW            // one row for each address, with its first and last time
)

func (s Schema) String() string {
	switch s {
	case SchemaSymbiosis:
		return "Symbiosis"
	case SchemaNFTFW:
		return "nftfw"
	}
	return "unknown"
}

// regular refuses what SQLite would block on or misreport: a directory, a
// device, a pipe. It follows links.
func regular(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return &fs.PathError{Op: "open", Path: path, Err: ErrNotFile}
	}
	return nil
}

// dsn spells the name under which the SQLite driver opens path. The path is
// escaped, because "?", "#" and "%" mean something in a URI.
func dsn(path, params string) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + params
}

// Every connection of this package is the only one in its pool: a transaction
// and its pragmas must not be spread over several.
func open(path, params string) (*sql.DB, error) {
	if err := regular(path); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite3", dsn(path, params))
	if err != nil {
		return nil, explain(path, err)
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// openWrite opens path for a short transaction. FULL, because a rollback
// journal at NORMAL can lose the database to a power failure.
func openWrite(path string) (*sql.DB, error) {
	return open(path, "mode=rw&cache=private&_busy_timeout=1000&_sync=FULL&_txlock=immediate&_cache_size=-16384")
}

// explain turns the driver's error into one that names the file and says in
// plain words what is wrong.
func explain(path string, err error) error {
	if err == nil {
		return nil
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return err
	}
	var se sqlite3.Error
	if !errors.As(err, &se) {
		return fmt.Errorf("%s: %w", path, err)
	}
	switch se.Code {
	case sqlite3.ErrBusy, sqlite3.ErrLocked:
		return fmt.Errorf("%s: %w (%v)", path, ErrBusy, se)
	case sqlite3.ErrCorrupt, sqlite3.ErrNotADB, sqlite3.ErrFormat:
		return fmt.Errorf("%s: %w", path, fmt.Errorf("%w (%v)", ErrCorrupt, se))
	case sqlite3.ErrFull:
		return fmt.Errorf("%s: the disk is full, here or where temporary files go: %w", path, err)
	case sqlite3.ErrReadonly, sqlite3.ErrCantOpen:
		if _, e := os.Stat(path + "-journal"); e == nil {
			return fmt.Errorf("%s: a writer died and left %s-journal, which the firewall's next scan undoes (%v)", path, path, se)
		}
	}
	return fmt.Errorf("%s: %w", path, err)
}

// SchemaOf tells which layout the table in db has. It returns ErrNoTable or
// ErrUnknownSchema (with the columns found), unwrapped by a file name.
func schemaOf(ctx context.Context, db querier) (Schema, error) {
	rows, err := db.QueryContext(ctx, "SELECT name FROM pragma_table_info('"+Table+"')")
	if err != nil {
		return SchemaUnknown, err
	}
	defer rows.Close()
	var cols []string
	for rows.Next() {
		var c string
		if err := rows.Scan(&c); err != nil {
			return SchemaUnknown, err
		}
		cols = append(cols, strings.ToLower(c))
	}
	if err := rows.Err(); err != nil {
		return SchemaUnknown, err
	}
	if len(cols) == 0 {
		return SchemaUnknown, ErrNoTable
	}
	has := map[string]bool{}
	for _, c := range cols {
		has[c] = true
	}
	switch {
	case strings.Join(cols, ",") == "ip,timestamp,count":
		return SchemaSymbiosis, nil
	case has["ip"] && has["incidents"] && has["matchcount"] && has["first"] && has["last"]:
		return SchemaNFTFW, nil
	}
	return SchemaUnknown, fmt.Errorf("%w: table %s has the columns (%s); known are (ip, timestamp, count) of Symbiosis and Sympl, and nftfw's",
		ErrUnknownSchema, Table, strings.Join(cols, ", "))
}

// querier is what *sql.DB, *sql.Conn and *sql.Tx have in common.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// takes returns ErrReadOnly for a table to which this package adds no rows of
// its own, and of which it prunes none.
func (s Schema) takes() error {
	if s != SchemaSymbiosis {
		return ErrReadOnly
	}
	return nil
}

// DetectSchema tells the database's layout.
func DetectSchema(ctx context.Context, path string) (s Schema, err error) {
	_, err = unlocked(ctx, path, func(db *sql.DB) (err error) {
		s, err = schemaOf(ctx, db)
		return err
	})
	return s, err
}

// Day is a day. The times in the database are UTC's.
const Day = 24 * time.Hour

const daySeconds = 86400
