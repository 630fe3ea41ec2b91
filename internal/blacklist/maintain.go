package blacklist

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"

	"symbiosis-connect-acl/internal/safepath"
)

// CompactAfter is the age from which rows are summed up by day. The platform
// looks back 24 hours; twice that leaves no doubt at any time zone or clock.
const CompactAfter = 48 * time.Hour

// Options say what Maintain does. The zero value does nothing.
type Options struct {
	Index     bool          // make the index when there is none
	Retention time.Duration // delete rows older than this; 0 keeps them all
	Compact   bool          // sum up rows older than CompactAfter by address and UTC day
	Reclaim   bool          // give free space back when a quarter of the file is free
	Force     bool          // with Reclaim: however little it is
	DryRun    bool          // only find out what there is to do

	Now           time.Time     // the time from which ages count; zero means the clock's
	WriterMinutes []int         // minutes of the hour at which the platform's scan starts; nil for none
	Wait          time.Duration // longest wait for another writer to close the file; 0 means five minutes
	Pause         time.Duration // least pause between two transactions; 0 means 50 ms
	Progress      func(string)  // told what is being done, unless nil
	GiveWay       bool          // run at a low priority while nobody waits for a lock of ours

	priority *priority
}

// A Result says what Maintain did, or with DryRun would do.
type Result struct {
	Rows      int64 // rows found
	Pruned    int64 // rows deleted for their age
	Merged    int64 // rows that compaction did away with
	Skipped   int64 // rows left for the next run, because another program changed them
	Indexed   bool  // the index was missing
	Rewritten bool  // the file was replaced by a new one

	BytesBefore, BytesAfter int64         // size of the file
	LongestLock             time.Duration // longest time for which another writer was kept out
	Paused                  time.Duration // time spent in pauses and waiting for the platform's scan
	Elapsed                 time.Duration
}

const (
	// Up to here building the index in place, where it must be, keeps writers
	// out for some tens of milliseconds, and readers for a few.
	indexInPlace = 50_000
	// Beyond this many rows to remove, or a hundredth of all, a new file is
	// written. It keeps nobody out, and costs less: a row to remove is as a rule
	// a page to write to the journal, to sync, and to write to the file.
	inPlaceRows = 500
	// Giving back less than this is not worth a new file.
	reclaimBytes = 256 << 10
	// The time for which one transaction aims to keep other writers out.
	holdAim = 25 * time.Millisecond
)

// The rows that prune deletes. A time that is no whole number, which no known
// writer stores, has no age.
const prunable = "(timestamp < :prune AND typeof(timestamp) = 'integer')"

// The rows that compaction may sum up: those that look as the platform writes
// them. Bounds on the count keep the sum of a day far from overflowing.
const mergeable = "(typeof(ip) = 'text' AND typeof(timestamp) = 'integer' AND typeof(count) = 'integer'" +
	" AND timestamp >= 0 AND timestamp < :compact AND count BETWEEN -1099511627776 AND 1099511627776)"

// Maintain brings the database at path into shape and leaves every sum that
// anyone asks for as it was: the total for an address, its sum for the last 24
// hours, and its sums by UTC day, as far back as the retention reaches. It can
// be killed at any moment without losing a row or counting one twice.
//
// It works from a private copy, which it takes without locking the file, and
// checks that copy's integrity first. A corrupt one is ErrCorrupt, and nothing
// is changed. A few rows are then removed in place, in short transactions; for
// anything more a new file is written beside the old one, gets the rows that
// came to that meanwhile, and is renamed over it at a moment when no program
// has the old one open for writing. Readers are not kept out at that moment at
// all: they hold the file they opened. A writer that comes just then is held up
// in opening the file, and does not see a lock.
//
// When some program keeps the file open for writing for longer than o.Wait, all
// is done in place but the index of a big table, which is ErrNoIndex.
//
// A second call while one is at work returns ErrRunning.
func Maintain(ctx context.Context, path string, o Options) (r Result, err error) {
	begin := time.Now()
	defer func() { r.Elapsed = time.Since(begin) }()
	if o.Now.IsZero() {
		o.Now = begin
	}
	if o.Wait == 0 {
		o.Wait = 5 * time.Minute
	}
	if o.Pause == 0 {
		o.Pause = 2 * holdAim
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if err := regular(path); err != nil {
		return r, err
	}
	real, err := safepath.RealPath(path)
	if err != nil {
		return r, err
	}
	unlock, err := lockRuns(real)
	if err != nil {
		return r, err
	}
	defer unlock()
	removeLeftovers(real)
	defer removeLeftovers(real)
	if o.GiveWay {
		o.priority = lowPriority()
		defer o.priority.restore()
	}
	for range 3 {
		r, err = maintain(ctx, real, o)
		if !errors.Is(err, errUnsteady) || time.Since(begin) > o.Wait {
			break
		}
	}
	if errors.Is(err, errUnsteady) {
		err = fmt.Errorf("%w; nothing was changed, try again later", err)
	}
	return r, err
}

// The private files lie beside the database, where a rename can put one in its
// place. Nothing takes names that begin with a dot for a database.
func workFile(path, what string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".connect-acl-"+what)
}

func removeLeftovers(path string) {
	for _, what := range []string{"copy", "new", "old"} {
		for _, suffix := range []string{"", "-journal"} {
			os.Remove(workFile(path, what) + suffix)
		}
	}
}

func maintain(ctx context.Context, path string, o Options) (Result, error) {
	r := Result{}
	st, err := os.Stat(path)
	if err != nil {
		return r, err
	}
	r.BytesBefore, r.BytesAfter = st.Size(), st.Size()
	if err := settle(ctx, path); err != nil {
		return r, err
	}
	if err := room(path, st.Size()); err != nil {
		return r, err
	}
	o.Progress("reading the database")
	copied := workFile(path, "copy")
	defer os.Remove(copied)
	h, err := snapshot(ctx, path, copied, o.Wait)
	r.Paused += h.waited
	if err != nil {
		return r, explain(path, err)
	}
	if h.wal {
		return r, fmt.Errorf("%s: the database is in WAL mode, which Exim's user cannot read: "+
			"set it back with: sqlite3 %s 'PRAGMA journal_mode=DELETE'", path, path)
	}
	db, err := openCopy(copied)
	if err != nil {
		return r, err
	}
	defer func() { db.Close() }()
	// The check reads every page and needs a processor of its own; nothing is
	// changed before it has passed.
	checked := make(chan error, 1)
	checkCtx, stop := context.WithCancel(ctx)
	go func() { checked <- checkCopy(checkCtx, copied) }()
	verdict := func() error {
		err := <-checked
		checked <- err
		return explain(path, err)
	}
	defer func() { stop(); <-checked }()

	d, err := layoutOf(ctx, db, "main")
	var p *plan
	if err == nil {
		p, err = makePlan(ctx, db, d, o)
	}
	if err != nil {
		if v := verdict(); v != nil {
			return r, v
		}
		return r, explain(path, err)
	}
	r.Rows, r.Pruned, r.Merged, r.Indexed = p.rows, max(0, p.prune), max(0, p.merge), p.index
	r.Rewritten = p.rewrite
	if o.DryRun || !p.rewrite && p.prune+p.merge == 0 && !p.index {
		if p.rewrite && p.merge < 0 {
			if r.Merged, err = p.countMerges(ctx, db); err != nil {
				return r, explain(path, err)
			}
		}
		return r, verdict()
	}
	if p.rewrite {
		err := rewrite(ctx, path, copied, h, p, o, &r, verdict)
		if !errors.Is(err, ErrBusy) {
			return r, err
		}
		// The copy may have got the rows that came since.
		db.Close()
		if db, err = openCopy(copied); err != nil {
			return r, err
		}
		// Some program keeps the file open for writing all the time and would
		// go on writing to the old one. What can be done is done in place.
		r.Rewritten = false
		if p.merge < 0 {
			if p.merge, err = p.countMerges(ctx, db); err != nil {
				return r, explain(path, err)
			}
			r.Merged = p.merge
		}
	}
	if err := verdict(); err != nil {
		return r, err
	}
	return r, inPlace(ctx, path, db, p, o, &r)
}

// settle lets SQLite undo what a killed writer left half done, which a copy of
// the file could not know about.
func settle(ctx context.Context, path string) error {
	if !hasJournal(path) {
		return nil
	}
	// It is a killed writer's if no living one has the file open, and it is
	// still there.
	if openForWriting(path) || !hasJournal(path) {
		return nil
	}
	db, err := openWrite(path)
	if err != nil {
		return err
	}
	defer db.Close()
	var n int
	err = db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master").Scan(&n)
	return explain(path, err)
}

// room makes sure that there is space for the copy and the new file, which may
// be twice as big with an index.
func room(path string, size int64) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &fs); err != nil {
		return nil // not known: try
	}
	const slack = 8 << 20
	need := 3*size + slack
	if free := int64(fs.Bavail) * fs.Bsize; free < need {
		return fmt.Errorf("%s: maintenance needs %d MB free in %s for a copy and a new file, and there are %d: "+
			"make room and run it again; nothing was changed", path, need>>20, filepath.Dir(path), free>>20)
	}
	return nil
}

// openCopy opens a private file that nobody writes to.
func openCopy(path string) (*sql.DB, error) {
	return open(path, "mode=ro&immutable=1&_cache_size=-2048")
}

// newPrivate makes a private file, which is nobody else's and no link, and opens
// it as openPrivate does.
func newPrivate(path string) (*sql.DB, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	f.Close()
	return openPrivate(path)
}

// openPrivate opens a private file to write to. What is half done after a crash
// is thrown away.
func openPrivate(path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite3", dsn(path, "mode=rw&_journal_mode=OFF&_sync=OFF&_locking_mode=EXCLUSIVE&_cache_size=-4096"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

func checkCopy(ctx context.Context, path string) error {
	db, err := openCopy(path)
	if err != nil {
		return err
	}
	defer db.Close()
	return integrity(ctx, db)
}

// A plan is what there is to do, as found in the copy.
type plan struct {
	rows, maxRowid int64
	prune          int64 // rows too old; -1: many, not counted
	merge          int64 // rows that compaction does away with; -1: many, not counted
	index          bool  // an index is to be made
	rewrite        bool  // by way of a new file
	args           []any // :prune and :compact
	compact        bool
	layout         layout
}

func makePlan(ctx context.Context, db *sql.DB, d layout, o Options) (*plan, error) {
	if err := writable(ctx, db); err != nil {
		return nil, err
	}
	p := &plan{compact: o.Compact, layout: d}
	// With no retention nothing is older than the oldest time there is.
	var pruneBefore int64 = -1 << 63
	if o.Retention > 0 {
		pruneBefore = o.Now.Add(-o.Retention).Unix()
	}
	var compactBefore int64
	if o.Compact {
		compactBefore = o.Now.Add(-CompactAfter).Unix()
	}
	p.args = []any{sql.Named("prune", pruneBefore), sql.Named("compact", compactBefore)}
	if err := db.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM "+Table+"), coalesce(max(rowid), 0) FROM "+Table).Scan(&p.rows, &p.maxRowid); err != nil {
		return nil, err
	}
	limit := min(inPlaceRows, p.rows/100)
	// Where it is known that there are many, they are not counted before they
	// are gone: that would be the better part of the work.
	most := limit + 1
	if o.Compact || o.DryRun {
		most = p.rows
	}
	if err := p.countPruned(ctx, db, most); err != nil {
		return nil, err
	}
	p.index = o.Index && !d.indexed
	var pages, free, pageSize int64
	if err := db.QueryRowContext(ctx, `SELECT page_count, freelist_count, page_size
		FROM pragma_page_count, pragma_freelist_count, pragma_page_size`).Scan(&pages, &free, &pageSize); err != nil {
		return nil, err
	}
	others, err := otherObjects(ctx, db)
	if err != nil {
		return nil, err
	}
	switch {
	case others > 0:
		// Everything is done in place.
		if p.prune > limit {
			if err := p.countPruned(ctx, db, p.rows); err != nil {
				return nil, err
			}
		}
	case p.index, p.prune > limit:
		p.rewrite = true
	case o.Reclaim && free > 0 && (o.Force || free*4 > pages && free*pageSize >= reclaimBytes):
		p.rewrite = true
	}
	if p.rewrite && p.prune == most && most < p.rows {
		p.prune = -1
	}
	switch {
	case !o.Compact:
	case p.rewrite:
		p.merge = -1
	default:
		if p.merge, err = p.countMerges(ctx, db); err != nil {
			return nil, err
		}
		p.rewrite = others == 0 && p.prune+p.merge > limit
	}
	return p, nil
}

// countPruned counts the rows that are too old, up to most.
func (p *plan) countPruned(ctx context.Context, db *sql.DB, most int64) error {
	return db.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT 1 FROM "+Table+" WHERE "+prunable+" LIMIT :most)",
		p.args[0], sql.Named("most", most)).Scan(&p.prune)
}

func (p *plan) countMerges(ctx context.Context, db *sql.DB) (n int64, err error) {
	if !p.compact {
		return 0, nil
	}
	err = db.QueryRowContext(ctx, "SELECT coalesce(sum(n - 1), 0) FROM (SELECT count(*) AS n FROM "+Table+
		" WHERE "+mergeable+" AND NOT "+prunable+" GROUP BY ip, timestamp / 86400)", p.args...).Scan(&n)
	return n, err
}

// rewrite does the plan's work in a new file and puts that in the place of the
// old. It returns ErrBusy, having changed nothing, when some program does not
// let go of the old one.
func rewrite(ctx context.Context, path, copied string, h shot, p *plan, o Options, r *Result, verdict func() error) error {
	o.Progress("writing a new database")
	fresh := workFile(path, "new")
	defer os.Remove(fresh)
	rows, err := build(ctx, copied, fresh, p)
	if err != nil {
		if v := verdict(); v != nil {
			return v
		}
		return explain(path, err)
	}
	if err := verdict(); err != nil {
		return err
	}
	if p.prune < 0 {
		p.prune = p.rows - rows
	}
	r.Pruned, r.Merged = p.prune, p.rows-p.prune-rows
	if err := dress(fresh, path); err != nil {
		return err
	}
	if err := syncPath(fresh); err != nil {
		return err
	}
	o.Progress("putting the new database in place")
	s := swapper{path: path, fresh: fresh, copied: copied, shot: h, maxRowid: p.maxRowid, priority: o.priority}
	for begin := time.Now(); ; {
		waiting := time.Now()
		quiet, err := awaitNoWriter(ctx, path, o.WriterMinutes, o.Wait-time.Since(begin))
		if err != nil {
			return err
		}
		r.Paused += time.Since(waiting)
		if !quiet {
			return fmt.Errorf("%s: %w", path, ErrBusy)
		}
		if err := settle(ctx, path); err != nil {
			return err
		}
		done, err := s.try(ctx)
		r.LongestLock = max(r.LongestLock, s.held)
		if done {
			if st, serr := os.Stat(path); serr == nil {
				r.BytesAfter = st.Size()
			}
			return err
		}
		if !errors.Is(err, ErrBusy) {
			return err
		}
		if err := sleep(ctx, tick); err != nil {
			return err
		}
	}
}

// build writes the new file: the same table, its rows pruned and compacted. For
// an index they are put in the order of their addresses, so that one host's rows
// share a page and a lookup reads few. It gives the number of rows.
func build(ctx context.Context, copied, fresh string, p *plan) (rows int64, err error) {
	db, err := newPrivate(fresh)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	exec := func(query string, args ...any) (n int64) {
		var res sql.Result
		if err == nil {
			res, err = db.ExecContext(ctx, query, args...)
		}
		if err == nil {
			n, err = res.RowsAffected()
		}
		return n
	}
	exec("ATTACH ? AS old", dsn(copied, "mode=ro&immutable=1"))
	if err != nil {
		return 0, err
	}
	for _, s := range p.layout.table {
		exec(s)
	}
	const into = "INSERT INTO main." + Table + " SELECT "
	const from = " FROM old." + Table + " NOT INDEXED WHERE NOT " + prunable
	switch {
	case p.compact:
		// A row that is not to be summed up is a group of its own, and a group
		// of one keeps its count as it is stored, whatever it is.
		const group = "CASE WHEN " + mergeable + " THEN timestamp / 86400 ELSE -1 - rowid END"
		rows = exec(into+"ip, max(timestamp), CASE WHEN count(*) = 1 THEN count ELSE sum(count) END"+from+
			" GROUP BY ip, "+group+" ORDER BY ip, "+group, p.args...)
	case p.index:
		rows = exec(into+"ip, timestamp, count"+from+" ORDER BY ip, rowid", p.args[0])
	default:
		rows = exec(into+"ip, timestamp, count"+from, p.args[0])
	}
	for _, index := range p.layout.indexes {
		exec(index)
	}
	if p.index {
		exec(createIndex)
	}
	return rows, err
}

// A layout is what there is to a database beside its rows.
type layout struct {
	table   []string // statements that make an empty table, with the file's settings
	indexes []string // statements that make the table's indexes
	indexed bool     // one of them serves the lookup by address
}

// layoutOf reads the layout of the database that is attached as schema.
func layoutOf(ctx context.Context, db querier, schema string) (d layout, err error) {
	for _, setting := range []string{"page_size", "encoding", "auto_vacuum", "user_version", "application_id"} {
		var v string
		if err := db.QueryRowContext(ctx, "PRAGMA "+schema+"."+setting).Scan(&v); err != nil {
			return d, err
		}
		d.table = append(d.table, "PRAGMA main."+setting+" = '"+v+"'")
	}
	rows, err := db.QueryContext(ctx, "SELECT type, sql FROM "+schema+".sqlite_master WHERE type IN ('table', 'index') AND sql IS NOT NULL"+
		" AND tbl_name = '"+Table+"' COLLATE NOCASE")
	if err != nil {
		return d, err
	}
	defer rows.Close()
	for rows.Next() {
		var kind, s string
		if err := rows.Scan(&kind, &s); err != nil {
			return d, err
		}
		if kind == "table" {
			d.table = append(d.table, s)
		} else {
			d.indexes = append(d.indexes, s)
		}
	}
	if err := rows.Err(); err != nil {
		return d, err
	}
	d.indexed, err = hasIndex(ctx, db)
	return d, err
}

// otherObjects counts what there is in the file beside the table and its
// indexes, which a new file would have to carry and which is not ours to know.
func otherObjects(ctx context.Context, db querier) (n int64, err error) {
	err = db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master WHERE type IN ('trigger', 'view')
		OR type = 'table' AND lower(name) != '`+Table+`' AND name NOT LIKE 'sqlite_stat%'`).Scan(&n)
	return n, err
}

// dress gives the new file the owner, mode and access lists of the old one.
func dress(fresh, old string) error {
	var st unix.Stat_t
	if err := unix.Stat(old, &st); err != nil {
		return &os.PathError{Op: "stat", Path: old, Err: err}
	}
	if st.Nlink > 1 {
		return fmt.Errorf("%s: the database has %d names (hard links), and a new file would take only one of them: "+
			"remove the others", old, st.Nlink)
	}
	var stx unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, old, 0, 0, &stx) == nil && stx.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return fmt.Errorf("%s: the database is a mount point, which a new file cannot replace: mount its directory instead", old)
	}
	if err := os.Chown(fresh, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Chmod(fresh, st.Mode&0o7777); err != nil {
		return &os.PathError{Op: "chmod", Path: fresh, Err: err}
	}
	for _, name := range []string{"system.posix_acl_access", "security.selinux"} {
		var b [4096]byte
		if n, err := unix.Getxattr(old, name, b[:]); err == nil && n > 0 {
			if err := unix.Setxattr(fresh, name, b[:n], 0); err != nil {
				return &os.PathError{Op: "setxattr " + name, Path: fresh, Err: err}
			}
		}
	}
	return nil
}

// A swapper puts the new file in the place of the old.
type swapper struct {
	path, fresh string
	copied      string // the old file as it was when the new one had all that it has
	shot        shot   // of that moment
	maxRowid    int64  // the last row in copied
	priority    *priority
	held        time.Duration
}

// try makes one attempt. It adds the rows that came to the old file since it
// was copied; then again, if more came, with a lease, which tells that nobody
// has the file open for writing, and holds up whoever is about to; and renames.
// Readers are not held up. It returns ErrBusy when a writer was met.
//
// What was added until then stays added, and the next attempt has the less to do.
func (s *swapper) try(ctx context.Context) (done bool, err error) {
	// Without a lock and a lease, for however long it takes.
	f, err := os.Open(s.path)
	if err != nil {
		return false, err
	}
	err = s.catchUp(ctx, f, nil)
	f.Close()
	if err != nil && !errors.Is(err, ErrBusy) {
		return false, err
	}
	defer s.priority.usual()()
	begin := time.Now()
	defer func() { s.held = time.Since(begin) }()
	l, err := takeLease(s.path)
	if err != nil {
		return false, err
	}
	// Given up last: closing its descriptor drops SQLite's locks.
	defer l.giveUp()
	if l.busy {
		return false, s.busy()
	}
	// Where there are no leases, at least nothing can be committed.
	ro, err := openReadOnly(s.path)
	if err != nil {
		return false, err
	}
	defer ro.Close()
	tx, err := ro.BeginTx(ctx, nil)
	if err != nil {
		return false, explain(s.path, err)
	}
	defer tx.Rollback()
	var cookie uint32
	if err := tx.QueryRowContext(ctx, "PRAGMA schema_version").Scan(&cookie); err != nil {
		return false, explain(s.path, err)
	}
	if err := s.catchUp(ctx, l.file, l); err != nil {
		return false, err
	}
	// The journal of the last transaction is gone, but not from the disk before
	// the directory is synced. After a loss of power it would be taken for the
	// new file's, and undo pages in it.
	if err := syncPath(filepath.Dir(s.path)); err != nil {
		return false, err
	}
	if err := s.replace(l); err != nil {
		return false, err
	}
	return true, syncPath(filepath.Dir(s.path))
}

// replace puts the new file in the place of the old one, or leaves that where
// it is and returns ErrBusy.
//
// A program that opened the old file for writing before would get
// SQLITE_READONLY_DBMOVED from then on. The kernel holds it up in open(2) for as
// long as the lease stands, and says so: the lease is asked before, and once
// more when whoever had found the old file by its name has had the time to open
// it. Until that is known, nobody can open the new one for writing either.
func (s *swapper) replace(l *lease) error {
	fresh, err := takeLease(s.fresh)
	if err != nil {
		return err
	}
	defer fresh.giveUp()
	old := workFile(s.path, "old")
	undo := os.Link(s.path, old) == nil
	defer os.Remove(old)
	if l.broken() {
		return s.busy()
	}
	if err := os.Rename(s.fresh, s.path); err != nil {
		return err
	}
	time.Sleep(2 * time.Millisecond)
	if undo && l.broken() && !fresh.broken() && os.Link(s.path, s.fresh) == nil {
		if err := os.Rename(old, s.path); err != nil {
			return err
		}
		return s.busy()
	}
	return nil
}

func (s *swapper) busy() error { return fmt.Errorf("%s: %w", s.path, ErrBusy) }

// catchUp adds to the new file the rows that were added to the old one, which
// is f, and syncs it. If anything else was done to the old file it returns
// errUnsteady, and everything begins again from a new copy. It returns ErrBusy,
// having done nothing, when somebody writes at this moment, or may have, for
// want of a lease.
func (s *swapper) catchUp(ctx context.Context, f *os.File, l *lease) error {
	now, err := soonSteady(ctx, s.path, l)
	if errors.Is(err, errUnsteady) {
		return s.busy()
	} else if err != nil {
		return err
	}
	if now == s.shot.stamp {
		return nil
	}
	h, err := readHeader(f)
	if err != nil {
		return explain(s.path, err)
	}
	c, err := os.OpenFile(s.copied, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer c.Close()
	p, err := comparePages(f, c, s.shot.pageSize, now.size)
	if err != nil && !errors.Is(err, errUnsteady) {
		return err
	}
	if after, serr := soonSteady(ctx, s.path, l); serr != nil || after != now {
		return s.busy()
	}
	if err != nil {
		return explain(s.path, err)
	}
	if h.schemaCookie != s.shot.schemaCookie || h.pageSize != s.shot.pageSize {
		return fmt.Errorf("%s: %w: its schema was changed", s.path, errUnsteady)
	}
	root, err := s.root(ctx)
	if err != nil {
		return err
	}
	if err := p.onlyAppends(root, s.maxRowid); err != nil {
		return explain(s.path, err)
	}
	if err := p.apply(); err != nil {
		return err
	}
	if err := s.appendRows(ctx); err != nil {
		return err
	}
	s.shot.header, s.shot.stamp = h, now
	if now.young() {
		s.shot.stamp = stamp{}
	}
	return syncPath(s.fresh)
}

func (s *swapper) root(ctx context.Context) (page int64, err error) {
	db, err := openCopy(s.copied)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	err = db.QueryRowContext(ctx, "SELECT rootpage FROM sqlite_master WHERE type = 'table' AND lower(name) = '"+Table+"'").Scan(&page)
	return page, explain(s.copied, err)
}

// appendRows adds to the new file the rows that the copy has beyond maxRowid,
// and closes it: a lock that it held would lie on the database after the rename.
func (s *swapper) appendRows(ctx context.Context) error {
	db, err := openPrivate(s.fresh)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "ATTACH ? AS old", dsn(s.copied, "mode=ro&immutable=1")); err != nil {
		return explain(s.copied, err)
	}
	if _, err := db.ExecContext(ctx, "INSERT INTO main."+Table+" SELECT ip, timestamp, count FROM old."+Table+
		" NOT INDEXED WHERE rowid > ? ORDER BY rowid", s.maxRowid); err != nil {
		return explain(s.fresh, err)
	}
	if err := db.QueryRowContext(ctx, "SELECT coalesce(max(rowid), 0) FROM old."+Table).Scan(&s.maxRowid); err != nil {
		return explain(s.copied, err)
	}
	return db.Close()
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// integrity runs SQLite's own check, with what it found in the error.
func integrity(ctx context.Context, db querier) error {
	rows, err := db.QueryContext(ctx, "PRAGMA integrity_check(5)")
	if err != nil {
		return damage(err)
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return damage(err)
		}
		if s != "ok" {
			found = append(found, strings.Join(strings.Fields(s), " "))
		}
	}
	if err := rows.Err(); err != nil {
		return damage(err)
	}
	if len(found) > 0 {
		return fmt.Errorf("%w: %s", ErrCorrupt, strings.Join(found, "; "))
	}
	return nil
}

// damage marks an error with which SQLite gives up on a damaged file.
func damage(err error) error {
	var se sqlite3.Error
	if errors.As(err, &se) && (se.Code == sqlite3.ErrCorrupt || se.Code == sqlite3.ErrNotADB || se.Code == sqlite3.ErrFormat) {
		return fmt.Errorf("%w (%v)", ErrCorrupt, se)
	}
	return err
}
