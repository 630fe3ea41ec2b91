package blacklist

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/blacklist/blacklisttest"
)

var now = time.Date(2026, 3, 15, 12, 0, 0, 0, time.UTC)

func key(t testing.TB, s string) address.Key {
	t.Helper()
	k, err := address.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// rw opens a database as another program would. As long as it is open,
// maintenance waits for it.
func rw(t testing.TB, path string) *sql.DB { return opened(t, path, "rwc") }

// ro opens a database to look at it.
func ro(t testing.TB, path string) *sql.DB { return opened(t, path, "ro") }

func opened(t testing.TB, path, mode string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path+"?_busy_timeout=10000&_sync=OFF&mode="+mode)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	return db
}

func execAll(t testing.TB, path string, statements ...string) {
	t.Helper()
	db := rw(t, path)
	defer db.Close()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// small makes a database with the given rows as the platform's writer does.
func small(t testing.TB, rows ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "firewall-blacklist-count.db")
	stmts := []string{blacklisttest.CreateTable}
	for _, r := range rows {
		stmts = append(stmts, "INSERT INTO blacklist VALUES "+r)
	}
	execAll(t, path, stmts...)
	return path
}

func generated(t testing.TB, s blacklisttest.Spec) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "firewall-blacklist-count.db")
	if s.Now.IsZero() {
		s.Now = now
	}
	if err := blacklisttest.Generate(path, s); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSum(t *testing.T) {
	path := small(t, "('192.0.2.1',1000,3)", "('192.0.2.1',2000,30)", "('192.0.2.10',1000,5)", "('2a01:7e00::/64',1000,7)")
	for _, tt := range []struct {
		addr string
		want int64
	}{
		{"192.0.2.1", 33}, {"192.0.2.10", 5}, {"192.0.2.2", 0}, {"2a01:7e00:0:0:1:2:3:4", 7}, {"2a01:7e00:0:1::", 0},
	} {
		got, err := Sum(context.Background(), path, key(t, tt.addr))
		if err != nil || got != tt.want {
			t.Errorf("Sum(%s) = %d, %v; want %d", tt.addr, got, err, tt.want)
		}
	}
}

func TestSumOfNFTFW(t *testing.T) {
	path := filepath.Join(t.TempDir(), "firewall.db")
	execAll(t, path, `CREATE TABLE blacklist (ip TEXT UNIQUE PRIMARY KEY, pattern TEXT, incidents INTEGER, matchcount INTEGER,
		first INTEGER, last INTEGER, ports TEXT, useall INTEGER, multiple INTEGER, isdnsbl INTEGER)`,
		"INSERT INTO blacklist VALUES ('192.0.2.1','exim4',4,12,1000,2000,'25',0,0,0)")
	if n, err := Sum(context.Background(), path, key(t, "192.0.2.1")); err != nil || n != 12 {
		t.Errorf("got %d, %v; want 12", n, err)
	}
	before, _ := os.ReadFile(path)
	if _, err := Maintain(context.Background(), path, Options{Index: true, Compact: true}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("maintaining nftfw's database gave %v; want ErrReadOnly", err)
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("nftfw's database was changed")
	}
}

// Whatever is wrong, the sum is 0 with an error, and nothing is created.
func TestSumOfBrokenDatabase(t *testing.T) {
	// Several pages, so that a cut one is missed.
	good := generated(t, blacklisttest.Spec{Seed: 3, Rows: 1000})
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func(path string){
		"absent":         func(path string) {},
		"empty":          func(path string) { os.WriteFile(path, nil, 0o644) },
		"no table":       func(path string) { execAll(t, path, "CREATE TABLE other (x)") },
		"other columns":  func(path string) { execAll(t, path, "CREATE TABLE blacklist (ip TEXT, badness INTEGER)") },
		"not a database": func(path string) { os.WriteFile(path, []byte(strings.Repeat("no database\n", 500)), 0o644) },
		"truncated":      func(path string) { os.WriteFile(path, whole[:len(whole)/8192*4096], 0o644) },
		"header only":    func(path string) { os.WriteFile(path, whole[:100], 0o644) },
		"directory":      func(path string) { os.Mkdir(path, 0o755) },
		"dangling link":  func(path string) { os.Symlink("nowhere", path) },
		"hot journal": func(path string) {
			os.WriteFile(path, whole, 0o644)
			os.Mkdir(path+"-journal", 0o755)
		},
		"locked": func(path string) {
			os.WriteFile(path, whole, 0o644)
			if _, err := rw(t, path).Exec("BEGIN EXCLUSIVE"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "db?%20#")
			if name != "no table" && name != "other columns" && name != "locked" {
				// rw above spells the path plainly
			} else {
				path = filepath.Join(dir, "db")
			}
			make(path)
			list := func() string { e, _ := os.ReadDir(dir); return fmt.Sprint(e) }
			before := list()
			n, err := Sum(context.Background(), path, key(t, "192.0.2.1"))
			if name == "hot journal" && err == nil {
				t.Skip("SQLite takes a directory for no journal")
			}
			if n != 0 || err == nil {
				t.Errorf("Sum = %d, %v; want 0 and an error", n, err)
			} else if !strings.Contains(err.Error(), path) {
				t.Errorf("the error does not name the file: %v", err)
			}
			if after := list(); after != before {
				t.Errorf("the directory changed from %s to %s", before, after)
			}
		})
	}
}

func queryPlan(t *testing.T, path, query string) string {
	t.Helper()
	rows, err := ro(t, path).Query("EXPLAIN QUERY PLAN " + query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var a, b, c int
		var s string
		if err := rows.Scan(&a, &b, &c, &s); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return strings.Join(all, "\n")
}

func TestIndex(t *testing.T) {
	ctx := context.Background()
	path := generated(t, blacklisttest.Spec{Seed: 1, Rows: 2000})
	query := strings.Replace(SumQuery, "?", "'192.0.2.1'", 1)
	if p := queryPlan(t, path, query); !strings.Contains(p, "SCAN") {
		t.Fatalf("without an index the plan is %q", p)
	}
	if created, err := Index(ctx, path); err != nil || !created {
		t.Fatalf("Index = %v, %v", created, err)
	}
	if p := queryPlan(t, path, query); !strings.Contains(p, "SEARCH") || !strings.Contains(p, IndexName) || strings.Contains(p, "SCAN") {
		t.Errorf("the plan is %q", p)
	}
	if created, err := Index(ctx, path); err != nil || created {
		t.Errorf("second Index = %v, %v", created, err)
	}
	if dropped, err := DropIndex(ctx, path); err != nil || !dropped {
		t.Errorf("DropIndex = %v, %v", dropped, err)
	}
	if dropped, err := DropIndex(ctx, path); err != nil || dropped {
		t.Errorf("second DropIndex = %v, %v", dropped, err)
	}
	// Another's index serves as well, and is not ours to drop.
	execAll(t, path, "CREATE INDEX theirs ON blacklist (IP, timestamp)")
	if created, err := Index(ctx, path); err != nil || created {
		t.Errorf("Index beside another = %v, %v", created, err)
	}
	if dropped, err := DropIndex(ctx, path); err != nil || dropped {
		t.Errorf("DropIndex of another = %v, %v", dropped, err)
	}
	// One that does not serve this lookup does not count.
	execAll(t, path, "DROP INDEX theirs", "CREATE INDEX part ON blacklist (ip) WHERE count > 3",
		"CREATE INDEX nocase ON blacklist (ip COLLATE NOCASE)", "CREATE INDEX late ON blacklist (timestamp, ip)")
	if ok, err := HasIndex(ctx, path); err != nil || ok {
		t.Errorf("HasIndex with useless ones = %v, %v", ok, err)
	}
}

// A view of everything that anyone asks the database, by address.
type sums struct {
	total, day, last int64
	days             map[int64]int64
}

func allSums(t testing.TB, path string) map[string]sums {
	t.Helper()
	rows, err := ro(t, path).Query("SELECT ip, timestamp, count FROM blacklist")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := map[string]sums{}
	for rows.Next() {
		var ip string
		var ts, n int64
		if err := rows.Scan(&ip, &ts, &n); err != nil {
			t.Fatal(err)
		}
		s := all[ip]
		if s.days == nil {
			s.days = map[int64]int64{}
		}
		s.total += n
		s.days[ts/daySeconds] += n
		s.last = max(s.last, ts)
		if ts >= now.Add(-Day).Unix() {
			s.day += n
		}
		all[ip] = s
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func same(t testing.TB, what string, got, want map[string]sums) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Fatalf("%s: the sums are not the same\n got %.2000s\nwant %.2000s", what, g, w)
	}
}

// history makes a random history of a few hosts, dense enough to have several
// reports in a day and some exactly on the limits.
func history(r *rand.Rand, rows int) []string {
	var all []string
	limits := []int64{now.Add(-CompactAfter).Unix(), now.Add(-Day).Unix(), now.Add(-365 * Day).Unix(), now.Truncate(Day).Unix()}
	for range rows {
		ts := now.Unix() - r.Int64N(400*daySeconds)
		switch r.IntN(10) {
		case 0:
			ts = limits[r.IntN(len(limits))] + r.Int64N(3) - 1
		case 1, 2, 3, 4:
			ts = now.Unix() - r.Int64N(5*daySeconds)
		}
		ip := blacklisttest.Key(r.IntN(1 + rows/40)).String()
		all = append(all, fmt.Sprintf("('%s',%d,%d)", ip, ts, r.IntN(40)-2))
	}
	return all
}

func TestCompactKeepsEverySum(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 2))
		path := small(t, history(r, 1+r.IntN(400))...)
		if seed%2 == 0 {
			execAll(t, path, "CREATE INDEX "+IndexName+" ON blacklist (ip)")
		}
		if seed%3 == 0 { // what is not ours to move: then it is done in place
			execAll(t, path, "CREATE TABLE other (x)")
		}
		want := allSums(t, path)
		res, err := Maintain(context.Background(), path, Options{Now: now, Index: true, Compact: true, Reclaim: true, Pause: 1})
		if err != nil {
			t.Fatal(err)
		}
		same(t, fmt.Sprintf("seed %d, %+v", seed, res), allSums(t, path), want)
		var n int64
		cut := now.Add(-CompactAfter).Unix()
		if err := ro(t, path).QueryRow(`SELECT count(*) FROM (SELECT 1 FROM blacklist WHERE timestamp < ?
			GROUP BY ip, timestamp/86400 HAVING count(*) > 1)`, cut).Scan(&n); err != nil || n != 0 {
			t.Errorf("seed %d: %d days are not compacted (%v); %+v", seed, n, err, res)
		}
		if seed%3 == 0 == res.Rewritten && res.Merged > 0 {
			t.Errorf("seed %d: rewritten = %v", seed, res.Rewritten)
		}
		again, err := Maintain(context.Background(), path, Options{Now: now, Index: true, Compact: true, Reclaim: true, Pause: 1})
		if err != nil || again.Merged != 0 || again.Indexed || again.Rewritten {
			t.Errorf("seed %d: a second run found work: %+v, %v", seed, again, err)
		}
	}
}
