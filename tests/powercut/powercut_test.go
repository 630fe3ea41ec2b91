// Package powercut tests that the count database survives a loss of power at
// any moment of any change that symbiosis-connect-db makes to it.
//
// As in SQLite's own crash tests, what was not synced may be on the disk, or
// not, or in part, in any order: a run of the real program is recorded under
// strace, and of every moment the disks that there could be are laid out and
// looked at with the real SQLite. No order is assumed that POSIX does not
// promise: a name (created, renamed, removed) is durable when its directory has
// been synced, contents when their file has been.
package powercut

import (
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/blacklist/blacklisttest"
	"symbiosis-connect-acl/tests/lab"
)

const database = "var/lib/symbiosis/firewall-blacklist-count.db"

// crashes is how many losses of power each test has, ten times as many with
// CONNECT_ACL_LONG set.
const crashes = 200

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "powercut")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", dir, "./cmd/symbiosis-connect-db")
	cmd.Dir = lab.SourceDir()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := build(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// A recording is a run of the program: how the disk was, and what was done to it.
type recording struct {
	t      *testing.T
	before disk
	ops    []op
	after  disk

	over bool // the disk that is looked at is one of after the program's end
}

// recorded runs a shell script in which DB is the database in the root ROOT, and
// symbiosis-connect-db the program. arrange makes what is there before.
func recorded(t *testing.T, script string, arrange func(db string)) *recording {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		if os.Getenv("CONNECT_ACL_LAB") == "require" {
			t.Fatal("strace is not installed")
		}
		t.Skip("strace is not installed")
	}
	bin, err := build()
	must(t, err)
	work, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	dir := filepath.Join(work, "root")
	db := filepath.Join(dir, database)
	must(t, os.MkdirAll(filepath.Dir(db), 0o755))
	arrange(db)
	must(t, os.Chmod(db, 0o640))
	r := &recording{t: t}
	r.before, err = readDisk(dir)
	must(t, err)
	trace := filepath.Join(work, "trace")
	cmd := exec.Command("strace", "-f", "--seccomp-bpf", "-qq", "-y", "-xx", "-s", fmt.Sprint(maxString), "-o", trace, "-e", "trace="+calls,
		"-e", "signal=none", "sh", "-ec", fmt.Sprintf("umask %04o\n%s", umask, script))
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PATH="+bin+":"+os.Getenv("PATH"), "ROOT="+dir, "DB="+db,
		"HERE=--root "+dir+" --database "+db)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f, err := os.Open(trace)
	must(t, err)
	defer f.Close()
	r.ops, err = record(f, dir, r.before)
	must(t, err)
	r.after, err = readDisk(dir)
	must(t, err)
	if d := difference(after(r.before, r.ops), r.after); d != "" {
		t.Fatalf("the recording does not lead to what is there: %s", d)
	}
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A look is what a test does with a crashed disk that is laid out below root.
type look func(root string) error

// crashed lays out disks as they could be after losses of power, and looks at
// each of them.
func (r *recording) crashed(look look) {
	t := r.t
	t.Helper()
	n := crashes
	if os.Getenv("CONNECT_ACL_LONG") != "" {
		n *= 10
	}
	var steps []int // moments at which names change or something becomes durable
	for i, o := range r.ops {
		if o.kind == opName || o.kind == opSync {
			steps = append(steps, i, i+1)
		}
	}
	if len(steps) == 0 {
		t.Fatal("nothing was done")
	}
	dir := filepath.Join(t.TempDir(), "crashed")
	for seed := range uint64(n) {
		random := rand.New(rand.NewPCG(seed, 2))
		at := random.IntN(len(r.ops) + 1)
		if seed%3 != 0 {
			at = steps[random.IntN(len(steps))]
		}
		temper := tempers[random.IntN(len(tempers))]
		d, fates := crash(r.before, r.ops, at, temper, random)
		must(t, os.Mkdir(dir, 0o755))
		must(t, d.write(dir))
		r.over = at == len(r.ops)
		if err := look(dir); err != nil {
			next := "the end"
			if at < len(r.ops) {
				next = r.ops[at].text
			}
			t.Fatalf("power lost (seed %d, %s) after %d of %d operations, before %s: %v\nnot synced were:\n  %s",
				seed, temper.name, at, len(r.ops), next, err, strings.Join(fates, "\n  "))
		}
		must(t, os.RemoveAll(dir))
	}
	t.Logf("%d operations, %d losses of power", len(r.ops), n)
}

// now is one time for all ages.
var now = time.Now()

// sums spells what must stay: the sums of each address by day, as far back as
// the days are kept, and each row of the last day.
func sums(db string, days int) (string, error) {
	since := now.Add(-time.Duration(days) * blacklist.Day).Unix()
	return query(db, fmt.Sprintf(`SELECT ip, timestamp / 86400, sum(count) FROM blacklist WHERE timestamp >= %d GROUP BY 1, 2
		UNION ALL SELECT ip, timestamp, count FROM blacklist WHERE timestamp >= %d ORDER BY 1, 2, 3`, since, now.Add(-blacklist.Day).Unix()))
}

// rows gives every row.
func rows(db string) ([]string, error) {
	text, err := query(db, "SELECT ip, timestamp, count FROM blacklist ORDER BY 1, 2, 3")
	return strings.Split(text, "\n"), err
}

// query opens the database as a writer, which undoes what a journal says, and
// checks it.
func query(db, q string) (string, error) {
	c, err := sql.Open("sqlite3", "file:"+db+"?mode=rw&_sync=OFF")
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetMaxOpenConns(1)
	var verdict string
	if err := c.QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		return "", fmt.Errorf("integrity check: %s %v", verdict, err)
	}
	rows, err := c.Query(q)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var ip string
		var a, b int64
		if err := rows.Scan(&ip, &a, &b); err != nil {
			return "", err
		}
		all = append(all, fmt.Sprint(ip, " ", a, " ", b))
	}
	return strings.Join(all, "\n"), rows.Err()
}

func execute(t *testing.T, db string, statements ...string) {
	t.Helper()
	c, err := sql.Open("sqlite3", "file:"+db)
	must(t, err)
	defer c.Close()
	c.SetMaxOpenConns(1)
	for _, s := range statements {
		if _, err := c.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// generate makes a database that has been kept in shape until yesterday, or
// never.
func generate(t *testing.T, db string, shaped bool) {
	t.Helper()
	must(t, blacklisttest.Generate(db, blacklisttest.Spec{Seed: 3, Rows: 2500, Hosts: 100, Now: now, Span: 90 * blacklist.Day}))
	if shaped {
		_, err := blacklist.Maintain(t.Context(), db, blacklist.Options{Index: true, Compact: true})
		must(t, err)
	}
}

// program runs symbiosis-connect-db, of which no power loss is to be feared.
func program(root string, args ...string) error {
	bin, err := build()
	if err != nil {
		return err
	}
	args = append(args, "--root", root, "--database", filepath.Join(root, database))
	out, err := exec.Command(filepath.Join(bin, "symbiosis-connect-db"), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", args, err, out)
	}
	return nil
}

// keeps looks whether the sums are one of those wanted, the file is whose it
// was, and now and then whether the next run of maintenance ends well.
func keeps(days int, wanted ...string) look {
	n := 0
	return func(root string) error {
		db := filepath.Join(root, database)
		if st, err := os.Stat(db); err != nil {
			return err
		} else if st.Mode() != 0o640 {
			return fmt.Errorf("the mode is %v", st.Mode())
		}
		got, err := sums(db, days)
		if err != nil {
			return err
		}
		if !slices.Contains(wanted, got) {
			return fmt.Errorf("the sums are not those of before: %d lines, %d wanted", strings.Count(got, "\n"), strings.Count(wanted[0], "\n"))
		}
		if n++; n%60 != 0 {
			return nil
		}
		if err := program(root, "maintain", "--writer-minutes="); err != nil {
			return err
		}
		if again, err := sums(db, days); err != nil || again != got {
			return fmt.Errorf("the next run changed the sums (%v)", err)
		}
		left, err := os.ReadDir(filepath.Dir(db))
		if err != nil {
			return err
		}
		for _, e := range left {
			// A journal that does not even begin says nothing, and SQLite leaves
			// it to the next transaction.
			if text, err := os.ReadFile(filepath.Join(filepath.Dir(db), e.Name())); e.Name() != filepath.Base(db) &&
				(err != nil || e.Name() != filepath.Base(db)+"-journal" || len(text) > 0 && text[0] != 0) {
				return fmt.Errorf("the next run left %s, %v", e.Name(), err)
			}
		}
		return nil
	}
}

// sumsOf gives the sums of a recorded disk, and of what statements make of it.
func (r *recording) sumsOf(days int, statements ...string) string {
	r.t.Helper()
	dir := r.t.TempDir()
	must(r.t, r.before.write(dir))
	db := filepath.Join(dir, database)
	if len(statements) > 0 {
		execute(r.t, db, statements...)
	}
	s, err := sums(db, days)
	must(r.t, err)
	return s
}

// rowsOf gives the rows of the database on a disk.
func (r *recording) rowsOf(d disk) []string {
	r.t.Helper()
	dir := r.t.TempDir()
	must(r.t, d.write(dir))
	all, err := rows(filepath.Join(dir, database))
	must(r.t, err)
	return all
}

// newFileStays adds to what is looked for that the new file is there to stay
// when the program has ended.
func (r *recording) newFileStays(also look) look {
	return func(root string) error {
		if r.over {
			d, err := readDisk(root)
			if err != nil {
				return err
			}
			if d.find(database) != r.after.find(database) {
				return errors.New("the program has ended, and its work is lost")
			}
		}
		return also(root)
	}
}

// count tells how many operations there were that are described so.
func (r *recording) count(text string) (n int) {
	for _, o := range r.ops {
		if strings.HasPrefix(o.text, text) {
			n++
		}
	}
	return n
}

// did fails the test when the recorded run has not done what it is recorded for.
func (r *recording) did(texts ...string) {
	r.t.Helper()
	for _, text := range texts {
		if r.count(text) == 0 {
			r.t.Fatalf("the recorded run did not %s", text)
		}
	}
}

const (
	newFile = "rename var/lib/symbiosis/.firewall-blacklist-count.db.connect-acl-new to " + database
	journal = "create " + database + "-journal"
)

var insert = fmt.Sprintf("INSERT INTO blacklist VALUES ('192.0.2.1', %d, 9)", now.Unix())

// The firewall has written a row just before, and its journal's removal is not
// durable yet.
func TestNewFile(t *testing.T) {
	t.Parallel()
	r := recorded(t, `sqlite3 "$DB" "`+insert+`"
		symbiosis-connect-db maintain $HERE --writer-minutes= --retention-days 0`,
		func(db string) { generate(t, db, false) })
	r.did(journal, newFile)
	r.crashed(r.newFileStays(keeps(1000, r.sumsOf(1000), r.sumsOf(1000, insert))))
}

// The firewall adds a row, or somebody takes some away, while the new file is
// written.
func TestNewFileWithChangesThatCame(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{"added": insert, "deleted": "DELETE FROM blacklist WHERE rowid % 50 = 7"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := recorded(t, `mkfifo says
				exec 3<>"$DB"
				symbiosis-connect-db maintain $HERE --writer-minutes= --retention-days 0 -v 3>&- >says & pid=$!
				while read -r line; do
					case $line in
					putting*) # once: it may begin again from a new copy
						[ -e changed ] || sqlite3 "$DB" "`+change+`" 3>&-
						: >changed
						exec 3>&- ;;
					esac
				done <says
				wait $pid`,
				func(db string) { generate(t, db, false) })
			r.did(journal, newFile)
			r.crashed(r.newFileStays(keeps(1000, r.sumsOf(1000), r.sumsOf(1000, change))))
		})
	}
}

// The firewall was killed in the middle of a transaction that had reached the
// file.
func TestNewFileAfterAKilledWriter(t *testing.T) {
	t.Parallel()
	r := recorded(t, `symbiosis-connect-db maintain $HERE --writer-minutes= --retention-days 0`, func(db string) {
		generate(t, db, false)
		c, err := sql.Open("sqlite3", "file:"+db+"?_cache_size=5")
		must(t, err)
		defer c.Close()
		c.SetMaxOpenConns(1)
		tx, err := c.Begin()
		must(t, err)
		_, err = tx.Exec("UPDATE blacklist SET count = count + 1")
		must(t, err)
		var halfDone [2][]byte
		for i, suffix := range []string{"", "-journal"} {
			halfDone[i], err = os.ReadFile(db + suffix)
			must(t, err)
		}
		must(t, tx.Rollback())
		must(t, c.Close())
		for i, suffix := range []string{"", "-journal"} {
			must(t, os.WriteFile(db+suffix, halfDone[i], 0o640))
		}
	})
	r.did("unlink "+database+"-journal", newFile)
	r.crashed(r.newFileStays(keeps(1000, r.sumsOf(1000))))
}

func TestInPlace(t *testing.T) {
	t.Parallel()
	r := recorded(t, `symbiosis-connect-db maintain $HERE --writer-minutes= --retention-days 60`, func(db string) {
		generate(t, db, true)
		// A table of somebody else's keeps the file from being replaced.
		execute(t, db, "CREATE TABLE other (x)", "DELETE FROM blacklist WHERE rowid % 20 AND timestamp < "+fmt.Sprint(now.Unix()-60*86400),
			"INSERT INTO blacklist SELECT ip, timestamp, 5 FROM blacklist WHERE rowid % 30 = 1", "DROP INDEX "+blacklist.IndexName)
	})
	r.did(journal)
	if n := r.count(journal); n < 3 {
		t.Fatalf("%d transactions are too few to tell much", n)
	}
	r.crashed(keeps(59, r.sumsOf(59)))
}

// What is deleted is on the disk elsewhere before.
func TestDelete(t *testing.T) {
	t.Parallel()
	const firewall = "etc/symbiosis/firewall/blacklist.d"
	r := recorded(t, `symbiosis-connect-db delete $HERE --yes --firewall --net 0.0.0.0/0`, func(db string) {
		generate(t, db, true)
		dir := filepath.Join(strings.TrimSuffix(db, database), firewall)
		must(t, os.MkdirAll(dir, 0o755))
		must(t, os.WriteFile(filepath.Join(dir, blacklisttest.Key(1).String()+".auto"), []byte("all\n"), 0o644))
	})
	r.did(journal, "unlink "+firewall)
	before, after := r.rowsOf(r.before), r.rowsOf(r.after)
	if len(before)-len(after) < 600 || len(after) < 100 {
		t.Fatalf("from %d rows to %d", len(before), len(after))
	}
	r.crashed(deletedAreSaved(before, after))
	r.faulted(deletedAreSaved(before, after), "delete", "--yes", "--net", "0.0.0.0/0")
}

// deletedAreSaved looks whether every row that is gone is in a file that restore
// takes, and now and then whether restore brings them back.
func deletedAreSaved(before, after []string) look {
	n := 0
	return func(root string) error {
		db := filepath.Join(root, database)
		have, err := rows(db)
		if err != nil {
			return err
		}
		if err := between(after, have, before); err != nil || len(have) == len(before) {
			return err
		}
		saved, err := filepath.Glob(filepath.Join(root, "var/lib/symbiosis-connect-acl/deleted-*.json"))
		if err != nil {
			return err
		}
		lines := map[string]bool{}
		for _, file := range saved {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(text)) {
				lines[strings.TrimRight(line, ",\n")] = true
			}
		}
		for _, row := range before {
			f := strings.Fields(row)
			_, there := slices.BinarySearch(have, row)
			if !there && !lines[fmt.Sprintf(`{"ip":"%s","timestamp":%s,"count":%s}`, f[0], f[1], f[2])] {
				return fmt.Errorf("%s is neither in the database nor in %v", row, saved)
			}
		}
		if n++; n%40 != 1 {
			return nil
		}
		for _, file := range saved {
			if err := program(root, "restore", file); err != nil {
				return err
			}
		}
		if again, err := rows(db); err != nil || !slices.Equal(again, before) {
			return fmt.Errorf("after restore there are %d rows, there were %d (%v)", len(again), len(before), err)
		}
		return nil
	}
}

func TestImport(t *testing.T) {
	t.Parallel()
	var file string
	r := recorded(t, `symbiosis-connect-db import $HERE all.csv`, func(db string) {
		generate(t, db, true)
		file = filepath.Join(strings.TrimSuffix(db, "root/"+database), "all.csv")
		f, err := os.Create(file)
		must(t, err)
		w, err := blacklist.NewRowWriter(f, "csv")
		must(t, err)
		must(t, blacklist.Export(t.Context(), db, w.Write))
		must(t, w.Close())
		must(t, f.Close())
		execute(t, db, "DELETE FROM blacklist WHERE rowid % 3")
	})
	r.did(journal)
	before, after := r.rowsOf(r.before), r.rowsOf(r.after)
	n := 0
	r.crashed(func(root string) error {
		db := filepath.Join(root, database)
		have, err := rows(db)
		if err != nil {
			return err
		}
		if err := between(before, have, after); err != nil {
			return err
		}
		if n++; n%60 != 0 {
			return nil
		}
		if err := program(root, "import", file); err != nil {
			return err
		}
		if again, err := rows(db); err != nil || !slices.Equal(again, after) {
			return fmt.Errorf("when it is imported again there are %d rows, not %d (%v)", len(again), len(after), err)
		}
		return nil
	})
}

// The damaged file is in its place until the new one is, and then beside it.
func TestRecover(t *testing.T) {
	t.Parallel()
	r := recorded(t, `sqlite3 "$DB" "`+insert+`"
		symbiosis-connect-db recover $HERE`, func(db string) {
		generate(t, db, false)
		f, err := os.OpenFile(db, os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteAt([]byte(strings.Repeat("damaged ", 512)), 5*4096)
		must(t, err)
		must(t, f.Close())
	})
	r.did(journal, newFile)
	recovered := r.after.find(database)
	kept := func(d disk) (all []string) {
		for name, text := range d.list() {
			if strings.Contains(name, ".corrupt-") {
				all = append(all, text)
			}
		}
		return all
	}
	damaged := kept(r.after)
	if len(damaged) != 1 {
		t.Fatalf("kept were %d files", len(damaged))
	}
	r.crashed(r.newFileStays(func(root string) error {
		query(filepath.Join(root, database), "SELECT 1, 1, 1") // undoes what a journal says
		d, err := readDisk(root)
		if err != nil {
			return err
		}
		is := d.find(database)
		switch {
		case is == recovered:
			if !slices.Equal(kept(d), damaged) {
				return fmt.Errorf("the damaged file is not kept")
			}
		case is != r.before.find(database) && is != damaged[0]:
			return fmt.Errorf("the database is neither the damaged one nor the recovered one")
		}
		return nil
	}))
}

// between looks whether have has at least the rows of few and at most those of
// many. All are sorted.
func between(few, have, many []string) error {
	for _, pair := range [][2][]string{{few, have}, {have, many}} {
		rest := pair[1]
		for _, row := range pair[0] {
			i, ok := slices.BinarySearch(rest, row)
			if !ok {
				return fmt.Errorf("%s is in one of %d, %d and %d rows, but not in the next", row, len(few), len(have), len(many))
			}
			rest = rest[i+1:]
		}
	}
	return nil
}
