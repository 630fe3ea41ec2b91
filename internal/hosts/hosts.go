// Package hosts owns hosts.db: one SQLite row for each host, with everything
// that this server knows of it. Exim reads and writes it at a connection, by
// its own lookup; root's tools bring the firewall's history in and keep the
// file in shape.
//
// The file lies in a directory of Exim's user. Whoever has that user's rights
// can put a link there, so root does nothing in it with root's rights: With
// takes on the rights of the directory's owner for as long as it works there.
package hosts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"
)

// Version is the user_version of the layout below. A later one adds columns and
// tables; Exim names the columns that it wants, and does not ask for it.
const Version = 3

// layout1 is version 1. What a client says never gets in: addresses, times and
// fixed words only. A time is in seconds since 1970; 0 means never.
const layout1 = `
create table if not exists host (
	net            text primary key,            -- as internal/address spells it
	history        integer not null default 0,  -- the sum of the firewall's counts; written by sync alone
	history_last   integer not null default 0,  -- the latest of them; likewise
	first          integer not null default 0,  -- first visit; from here on written by Exim alone
	last           integer not null default 0,  -- last visit
	greeted        integer not null default 0,  -- last greeting that it waited for
	lists_passed   integer not null default 0,  -- when the DNS lists had nothing against it
	login          integer not null default 0,  -- last login
	delivered      integer not null default 0,  -- last message accepted
	failures       integer not null default 0,  -- failed logins since failures_since
	failures_since integer not null default 0
) without rowid;
create table if not exists state (name text primary key, value not null) without rowid;
pragma user_version = 1;`

// layouts[n] makes version n+1 of version n, so a new file gets all of them.
var layouts = [Version]string{layout1, layout2, layout3}

// layout2 is what version 2 adds. Sync writes
// history_passed, Exim all else.
const layout2 = `
alter table host add column history_passed   integer not null default 0; -- when the history passed the threshold: the last real offence in it
alter table host add column delivered_before integer not null default 0; -- last message accepted on an earlier day (UTC) than delivered
alter table host add column offence          integer not null default 0; -- last offence
alter table host add column offence_kind     text    not null default '';
alter table host add column offences         integer not null default 0; -- offences in the 24 hours that begin with offences_since
alter table host add column offences_since   integer not null default 0;
alter table host add column guesser          integer not null default 0; -- when it last became a guesser
alter table host add column lost             integer not null default 0; -- connections that it closed before the greeting, since lost_since
alter table host add column lost_since       integer not null default 0;
alter table host add column rate             integer not null default 0; -- connections, as the rate rule counts them
alter table host add column rate_at          integer not null default 0;
insert or ignore into state values ('salt', lower(hex(randomblob(8))));
` + guessing + `
pragma user_version = 2;`

// layout3 takes a trigger out, which Exim would read at every connection: a tenth of
// what a connection costs (make bench BENCH=ablation). Instead first tells which
// try was the first, by a stamp that each try has of its own.
const layout3 = `
drop view if exists failed_login;
alter table guess add column first integer not null default 0;
alter table account add column first integer not null default 0;
pragma user_version = 3;`

// Errors that callers tell apart. They come wrapped with the file's name; a file
// that does not exist is fs.ErrNotExist.
var (
	ErrEmpty   = errors.New("there are no tables in it")
	ErrVersion = errors.New("another version of this package has made it")
	ErrOld     = errors.New("an older version of this package has made it; sync upgrades it")
	ErrCorrupt = errors.New("the database is corrupt")
	ErrBusy    = errors.New("another program holds the database")
	ErrRights  = errors.New("only root and Exim's user may open it")
	ErrRunning = errors.New("another run is in progress")
)

// A DB is an open hosts.db.
type DB struct {
	path   string
	db     *sql.DB
	thread int // the only one that may use it; 0 means any
}

// Open opens the database with the rights that the process has. Root's tools
// use With. It never makes a file.
func Open(path string) (*DB, error) {
	d, err := open(path)
	if err != nil {
		return nil, err
	}
	if err := d.version(); err != nil {
		d.Close()
		return nil, explain(path, err)
	}
	return d, nil
}

// open gives the file one connection: pragmas and transactions must not be
// spread over several. Exim's connections hold the lock for milliseconds.
func open(path string) (*DB, error) { return openFor(path, 5*time.Second) }

// openFor is open with the time that a statement waits for a lock.
func openFor(path string, wait time.Duration) (*DB, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, explain(path, err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	// The path is escaped, because "?", "#" and "%" mean something in a URI.
	db, err := sql.Open("sqlite3", "file:"+(&url.URL{Path: path}).EscapedPath()+
		fmt.Sprintf("?mode=rw&cache=private&_busy_timeout=%d", wait.Milliseconds())+"&_sync=NORMAL&_txlock=immediate&_cache_size=-8192")
	if err != nil {
		return nil, explain(path, err)
	}
	db.SetMaxOpenConns(1)
	return &DB{path: path, db: db}, nil
}

// version looks whether this is a database of ours.
func (d *DB) version() error {
	var version, tables int
	if err := d.db.QueryRow("select user_version, (select count(*) from sqlite_master where name in ('host','state','guess')) from pragma_user_version").
		Scan(&version, &tables); err != nil {
		return err
	}
	switch {
	case version == 0 && tables == 0:
		return ErrEmpty
	case version == 1 && tables == 2, version == 2 && tables == 3:
		return ErrOld
	case version != Version || tables != 3:
		return fmt.Errorf("%w (version %d, this one knows %d)", ErrVersion, version, Version)
	}
	return nil
}

// upgrade makes the layout of an older file today's, in one transaction. Its
// rows stay.
func (d *DB) upgrade(ctx context.Context) error {
	if err := d.version(); !errors.Is(err, ErrOld) {
		return explain(d.path, err)
	}
	tx, err := d.db.BeginTx(d.here(ctx), nil)
	if err != nil {
		return explain(d.path, err)
	}
	defer tx.Rollback()
	// Another run may just have done it.
	var version int
	if err := tx.QueryRow("pragma user_version").Scan(&version); err != nil || version < 1 || version > Version {
		return explain(d.path, err)
	}
	if _, err := tx.ExecContext(d.here(ctx), strings.Join(layouts[version:], "")); err != nil {
		return explain(d.path, err)
	}
	return explain(d.path, tx.Commit())
}

// Close closes it.
func (d *DB) Close() error { return d.db.Close() }

// Exec runs statements as Exim would.
func (d *DB) Exec(ctx context.Context, query string, args ...any) error {
	_, err := d.db.ExecContext(d.here(ctx), query, args...)
	return explain(d.path, err)
}

// With runs do with the database open and the rights of its directory's owner,
// so that nothing that lies in the directory can lead root anywhere else. What
// do reads and writes elsewhere it does with those rights too. It must hand the
// database to no other goroutine.
func With(path string, do func(*DB) error) error {
	return asOwner(filepath.Dir(path), func() error {
		d, err := Open(path)
		if err != nil {
			return err
		}
		defer d.Close()
		d.bind()
		return do(d)
	})
}

// Lost gives the time at which the file was begun anew, because it was lost and
// there was no copy of it, or only an old one; zero when that has not happened.
func (d *DB) Lost(ctx context.Context) (time.Time, error) {
	var n int64
	err := d.db.QueryRowContext(d.here(ctx), "select coalesce((select value from state where name = 'lost'), 0)").Scan(&n)
	if err != nil || n == 0 {
		return time.Time{}, explain(d.path, err)
	}
	return time.Unix(n, 0).UTC(), nil
}

// State gives a value that was kept with SetState, "" when there is none.
func (d *DB) State(ctx context.Context, name string) (value string, err error) {
	err = d.db.QueryRowContext(d.here(ctx), "select coalesce((select value from state where name = ?), '')", name).Scan(&value)
	return value, explain(d.path, err)
}

// SetState keeps a value under a name.
func (d *DB) SetState(ctx context.Context, name, value string) error {
	return d.Exec(ctx, "insert into state values (?, ?) on conflict(name) do update set value = excluded.value", name, value)
}

// explain turns the driver's error into one that names the file and says in
// plain words what is wrong.
func explain(path string, err error) error {
	if err == nil {
		return nil
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		if errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("%w: %w", err, ErrRights)
		}
		return err
	}
	var se sqlite3.Error
	if errors.As(err, &se) {
		switch se.Code {
		case sqlite3.ErrCorrupt, sqlite3.ErrNotADB, sqlite3.ErrFormat:
			return fmt.Errorf("%s: %w (%v)", path, ErrCorrupt, se)
		case sqlite3.ErrBusy, sqlite3.ErrLocked:
			return fmt.Errorf("%s: %w (%v)", path, ErrBusy, se)
		case sqlite3.ErrFull:
			return fmt.Errorf("%s: the disk is full: %w", path, err)
		case sqlite3.ErrReadonly, sqlite3.ErrCantOpen, sqlite3.ErrPerm:
			return fmt.Errorf("%s: %w (%v): it, or -wal or -shm beside it, belongs to somebody else", path, ErrRights, se)
		}
	}
	return fmt.Errorf("%s: %w", path, err)
}
