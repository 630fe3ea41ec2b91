// Package publish keeps the entries of this server in a shared zone what
// hosts.db says: it remembers what it has published, and sends what differs.
package publish

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	_ "github.com/mattn/go-sqlite3" // the driver
	"golang.org/x/sys/unix"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/primary"
	"symbiosis-connect-acl/internal/zone"
)

// ErrRunning says that another run holds the state.
var ErrRunning = errors.New("another run is in progress")

// A state is what this server has published, in a database of root's. An entry
// that is not sure was on its way when a run ended: nobody knows whether it has
// arrived.
type state struct {
	db   *sql.DB
	lock *os.File
}

const schema = `
create table if not exists entry (
	net    text primary key,
	reason integer not null,
	day    integer not null,
	sure   integer not null
) without rowid;
create table if not exists fact (name text primary key, value text not null) without rowid;
pragma user_version = 1;`

// open opens the state, or begins one. A damaged one is begun anew: the name
// server has all that was in it.
func open(ctx context.Context, path string) (*state, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrRunning
		}
		return nil, &os.PathError{Op: "flock", Path: path + ".lock", Err: err}
	}
	s := &state{lock: lock}
	if err = s.connect(ctx, path); err != nil {
		if s.db != nil {
			s.db.Close()
		}
		for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
			os.Remove(path + suffix)
		}
		if err = s.connect(ctx, path); err != nil {
			s.close()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return s, nil
}

func (s *state) connect(ctx context.Context, path string) (err error) {
	s.db, err = sql.Open("sqlite3", "file:"+(&url.URL{Path: path}).EscapedPath()+"?mode=rwc&_busy_timeout=5000&_journal_mode=WAL&_sync=NORMAL&_txlock=immediate")
	if err != nil {
		return err
	}
	s.db.SetMaxOpenConns(1)
	if _, err := s.db.ExecContext(ctx, schema); err != nil {
		return err
	}
	var word string
	if err := s.db.QueryRowContext(ctx, "pragma quick_check(1)").Scan(&word); err != nil {
		return err
	}
	if word != "ok" {
		return errors.New(word)
	}
	return os.Chmod(path, 0o600)
}

func (s *state) close() error {
	var err error
	if s.db != nil {
		err = s.db.Close()
	}
	return errors.Join(err, s.lock.Close()) // gives the lock back
}

func (s *state) fact(ctx context.Context, name string) (value string, err error) {
	err = s.db.QueryRowContext(ctx, "select coalesce((select value from fact where name = ?), '')", name).Scan(&value)
	return value, err
}

func (s *state) number(ctx context.Context, name string) (int64, error) {
	text, err := s.fact(ctx, name)
	if err != nil || text == "" {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		n = 0
	}
	return n, nil
}

func (s *state) time(ctx context.Context, name string) (time.Time, error) {
	n, err := s.number(ctx, name)
	if n == 0 {
		return time.Time{}, err
	}
	return time.Unix(n, 0), err
}

func (s *state) set(ctx context.Context, name, value string) error {
	_, err := s.db.ExecContext(ctx, "insert into fact values (?1, ?2) on conflict(name) do update set value = ?2 where value <> ?2", name, value)
	return err
}

func (s *state) setTime(ctx context.Context, name string, t time.Time) error {
	return s.set(ctx, name, strconv.FormatInt(t.Unix(), 10))
}

// A published entry is one that was sent.
type published struct {
	net  string
	sure bool
	zone.Entry
}

// entries gives what was published, sorted by the spelling of the keys.
func (s *state) entries(ctx context.Context) iter.Seq2[published, error] {
	return func(yield func(published, error) bool) {
		rows, err := s.db.QueryContext(ctx, "select net, reason, day, sure from entry order by net")
		if err != nil {
			yield(published{}, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			var p published
			if err := rows.Scan(&p.net, &p.Reason, &p.Day, &p.sure); err != nil {
				yield(p, err)
				return
			}
			if p.Key, err = address.Parse(p.net); err != nil {
				continue
			}
			if !yield(p, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(published{}, err)
		}
	}
}

// write runs do in one transaction with a statement.
func (s *state) write(ctx context.Context, statement string, do func(st *sql.Stmt) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	st, err := tx.PrepareContext(ctx, statement)
	if err != nil {
		return err
	}
	defer st.Close()
	if err := do(st); err != nil {
		return err
	}
	return tx.Commit()
}

const put = "insert into entry values (?1, ?2, ?3, ?4) on conflict(net) do update set reason = ?2, day = ?3, sure = ?4"

// sending notes that changes are on their way.
func (s *state) sending(ctx context.Context, changes []primary.Change) error {
	return s.write(ctx, put, func(st *sql.Stmt) error {
		for _, c := range changes {
			e := c.New
			if e.Reason == 0 {
				e = c.Old
			}
			if _, err := st.ExecContext(ctx, c.Key.String(), e.Reason, e.Day, false); err != nil {
				return err
			}
		}
		return nil
	})
}

// sent notes that they have arrived.
func (s *state) sent(ctx context.Context, changes []primary.Change) error {
	return s.write(ctx, "insert or replace into entry select ?1, ?2, ?3, 1 where ?2 <> 0", func(st *sql.Stmt) error {
		for _, c := range changes {
			if _, err := st.ExecContext(ctx, c.Key.String(), c.New.Reason, c.New.Day); err != nil {
				return err
			}
		}
		return nil
	})
}

// gone forgets entries that were taken back.
func (s *state) gone(ctx context.Context, changes []primary.Change) error {
	return s.write(ctx, "delete from entry where net = ?", func(st *sql.Stmt) error {
		for _, c := range changes {
			if c.New.Reason == 0 {
				if _, err := st.ExecContext(ctx, c.Key.String()); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// replace makes the entries what was found.
func (s *state) replace(ctx context.Context, found map[string]published) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "delete from entry"); err != nil {
		return err
	}
	st, err := tx.PrepareContext(ctx, put)
	if err != nil {
		return err
	}
	defer st.Close()
	for net, p := range found {
		if _, err := st.ExecContext(ctx, net, p.Reason, p.Day, p.sure); err != nil {
			return err
		}
	}
	return tx.Commit()
}
