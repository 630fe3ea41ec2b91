package blacklist

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
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

// rw opens a database as another program would.
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

// allSums asks SQLite for the sum of every address, as the platform and the
// article do.
func allSums(t testing.TB, path string) map[string]int64 {
	t.Helper()
	rows, err := ro(t, path).Query("SELECT ip, sum(count) FROM blacklist GROUP BY ip")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := map[string]int64{}
	for rows.Next() {
		var ip string
		var n int64
		if err := rows.Scan(&ip, &n); err != nil {
			t.Fatal(err)
		}
		all[ip] = n
	}
	return all
}

func same(t testing.TB, what string, got, want map[string]int64) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %d sums, not %d, or others", what, len(got), len(want))
	}
}

// A host's sum is the platform's, to the unit, for every history. The keys of a
// firewall that stores IPv6 by /112 add up to the host's.
func TestSumsAreThePlatforms(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 7))
		var rows []string
		for range 1 + r.IntN(2000) {
			ip := blacklisttest.Key(r.IntN(60)).String()
			if net := key(t, ip).Prefix(); net.Addr().Is6() && r.IntN(2) == 0 {
				a := net.Addr().As16()
				for i := 8; i < 14; i++ {
					a[i] = byte(r.IntN(2) * r.IntN(256))
				}
				ip = netip.PrefixFrom(netip.AddrFrom16(a), 112).String()
			}
			count := 3 * int64(1+r.IntN(40))
			if r.IntN(50) == 0 {
				count = r.Int64N(1<<40) - 1<<39
			}
			rows = append(rows, fmt.Sprintf("('%s',%d,%d)", ip, r.Int64N(2_000_000_000), count))
		}
		path := small(t, strings.Join(rows, ","))
		s, err := ReadSums(t.Context(), path, Limit{})
		if err != nil || s.Alien != 0 {
			t.Fatal(s.Some, err)
		}
		want := map[address.Key]int64{}
		for ip, n := range allSums(t, path) {
			want[key(t, ip)] += n
		}
		if len(s.Hosts) != len(want) {
			t.Errorf("seed %d: %d hosts, not %d", seed, len(s.Hosts), len(want))
		}
		for k, n := range want {
			if s.Hosts[k].Count != n {
				t.Errorf("seed %d: %s has %d, not %d", seed, k, s.Hosts[k].Count, n)
			}
			// What show and delete find of it is the same.
			rows, err := Rows(t.Context(), path, k)
			for _, r := range rows {
				n -= r.Count
			}
			if err != nil || n != 0 {
				t.Errorf("seed %d: the rows of %s are %d short (%v)", seed, k, n, err)
			}
		}
	}
}

func TestSumsAtTheBounds(t *testing.T) {
	path := small(t, fmt.Sprintf("('192.0.2.1',5,%d),('192.0.2.1',9,%d),('192.0.2.2',7,3),('192.0.2.3',7,'many')", int64(math.MaxInt64), int64(math.MaxInt64)),
		"('unknown',1,2),('192.0.2.0/24',1,2)")
	s, err := ReadSums(t.Context(), path, Limit{Threshold: 12, Refuses: true})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := s.Hosts[key(t, "192.0.2.1")], s.Hosts[key(t, "192.0.2.2")]; a != (Sum{math.MaxInt64, 9, 5}) || b != (Sum{3, 7, 0}) {
		t.Errorf("%+v %+v", a, b)
	}
	if s.Alien != 2 || strings.Join(s.Some, " ") != "unknown 192.0.2.0/24" {
		t.Errorf("%d rows of no host: %v", s.Alien, s.Some)
	}
}

const nftfw = `CREATE TABLE blacklist (ip TEXT UNIQUE PRIMARY KEY, pattern TEXT, incidents INTEGER, matchcount INTEGER,
	first INTEGER, last INTEGER, ports TEXT, useall INTEGER, multiple INTEGER, isdnsbl INTEGER)`

func TestSumsOfNFTFW(t *testing.T) {
	path := filepath.Join(t.TempDir(), "firewall.db")
	execAll(t, path, nftfw, `INSERT INTO blacklist VALUES ('192.0.2.1','exim4',4,4,1000,2000,'25,465,587',0,0,0), ('192.0.2.2','x',1,12,1000,2000,'all',1,0,0),
		('2001:db8::/112','exim4',1,1,1,5,'25,465,587',0,0,0), ('2001:db8::1:0/112','exim4',1,2,1,4,'25',0,0,0),
		('192.0.2.3','x',1,9223372036854775807,1,6,'25,465',0,0,0), (NULL,NULL,1,1,1,1,NULL,0,0,0)`)
	before, _ := os.ReadFile(path)
	s, err := ReadSums(t.Context(), path, Limit{Threshold: 12, Refuses: true})
	want := map[address.Key]Sum{key(t, "192.0.2.1"): {12, 2000, 0}, key(t, "192.0.2.2"): {12, 2000, 0}, key(t, "2001:db8::"): {5, 5, 0},
		key(t, "192.0.2.3"): {math.MaxInt64, 6, 6}}
	if err != nil || s.Alien != 1 || !reflect.DeepEqual(s.Hosts, want) {
		t.Errorf("%v %v", s.Hosts, err)
	}
	if _, err := Prune(t.Context(), path, now, nil, false); !errors.Is(err, ErrReadOnly) {
		t.Errorf("pruning nftfw's database gave %v; want ErrReadOnly", err)
	}
	if err := Add(t.Context(), path, key(t, "192.0.2.1"), 1, now); !errors.Is(err, ErrReadOnly) {
		t.Errorf("adding to nftfw's database gave %v; want ErrReadOnly", err)
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("nftfw's database was changed")
	}
}

// Whatever is wrong, it is an error that names the file, and nothing is made.
func TestBrokenDatabase(t *testing.T) {
	// Several pages, so that a cut one is missed.
	good := generated(t, blacklisttest.Spec{Seed: 3, Rows: 1000})
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		make func(path string)
		want error
	}{
		"absent":         {func(path string) {}, os.ErrNotExist},
		"other columns":  {func(path string) { execAll(t, path, "CREATE TABLE blacklist (ip TEXT, badness INTEGER)") }, ErrUnknownSchema},
		"not a database": {func(path string) { os.WriteFile(path, []byte(strings.Repeat("no database\n", 500)), 0o644) }, ErrCorrupt},
		"truncated":      {func(path string) { os.WriteFile(path, whole[:len(whole)/8192*4096], 0o644) }, ErrCorrupt},
		"header only":    {func(path string) { os.WriteFile(path, whole[:100], 0o644) }, ErrCorrupt},
		"directory":      {func(path string) { os.Mkdir(path, 0o755) }, ErrNotFile},
		"dangling link":  {func(path string) { os.Symlink("nowhere", path) }, os.ErrNotExist},
		"WAL":            {func(path string) { execAll(t, path, "PRAGMA journal_mode=WAL", blacklisttest.CreateTable) }, ErrWAL},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "db")
			tt.make(path)
			list := func() string { e, _ := os.ReadDir(dir); return fmt.Sprint(e) }
			before := list()
			s, err := ReadSums(t.Context(), path, Limit{})
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("%v, %v; want %v", s.Hosts, err, tt.want)
			}
			if after := list(); after != before {
				t.Errorf("the directory changed from %s to %s", before, after)
			}
		})
	}
	for name, make := range map[string]func(path string){
		"empty":    func(path string) { os.WriteFile(path, nil, 0o644) },
		"no table": func(path string) { execAll(t, path, "CREATE TABLE other (x)") },
	} {
		path := filepath.Join(t.TempDir(), "db")
		make(path)
		stamp, err := ReadStamp(path)
		if s, e := ReadSums(t.Context(), path, Limit{}); err != nil || !errors.Is(e, ErrNoTable) || s.Stamp != stamp {
			t.Errorf("%s: %v %v %v", name, s, e, err)
		}
	}
}

// What is read counts only if nobody has written meanwhile: not in the middle
// of a transaction that has begun to write, and not when one has ended.
func TestReadingBesideAWriter(t *testing.T) {
	path := generated(t, blacklisttest.Spec{Seed: 9, Rows: 20_000})
	writer := rw(t, path)
	exec := func(s string) {
		if _, err := writer.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
	n, want := 0, int64(0)
	stamp, err := unlocked(t.Context(), path, func(db *sql.DB) error {
		var sum int64
		if err := db.QueryRow("SELECT sum(count) FROM blacklist").Scan(&sum); err != nil {
			return err
		}
		if n++; n == 1 {
			exec("UPDATE blacklist SET count = 1") // committed while this reads
			want = 20_000
			return nil
		}
		if sum != want {
			t.Errorf("the sum is %d, not %d", sum, want)
		}
		return nil
	})
	if now, _ := ReadStamp(path); err != nil || n != 2 || stamp != now {
		t.Errorf("read %d times, %v (%v)", n, stamp, err)
	}
	// Pages are written to the file before the end of a big transaction.
	exec("PRAGMA cache_size = 1")
	exec("BEGIN")
	exec("UPDATE blacklist SET count = 2")
	ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	if s, err := ReadSums(ctx, path, Limit{}); err == nil {
		t.Errorf("read in the middle of a transaction: %d hosts", len(s.Hosts))
	}
	exec("ROLLBACK")
	s, err := ReadSums(t.Context(), path, Limit{Threshold: 12, Refuses: true})
	var sum int64
	for _, h := range s.Hosts {
		sum += h.Count
	}
	if err != nil || sum != 20_000 {
		t.Errorf("the sum is %d (%v)", sum, err)
	}
}

// Pruning deletes what is too old and nothing else, in whatever order it lies.
func TestPrune(t *testing.T) {
	path := generated(t, blacklisttest.Spec{Seed: 4, Rows: 5000})
	execAll(t, path, "CREATE TABLE other (x)", "CREATE TEMP TABLE s AS SELECT * FROM blacklist ORDER BY ip; DELETE FROM blacklist; INSERT INTO blacklist SELECT * FROM s",
		"INSERT INTO blacklist VALUES ('192.0.2.9', 'long ago', 1)")
	before := now.Add(-365 * Day)
	var want, left int64
	db := ro(t, path)
	if err := db.QueryRow("SELECT sum(timestamp < ? AND typeof(timestamp)='integer'), count(*) FROM blacklist", before.Unix()).Scan(&want, &left); err != nil {
		t.Fatal(err)
	}
	for _, dry := range []bool{true, false} {
		if n, err := Prune(t.Context(), path, before, nil, dry); err != nil || n != want || n < most {
			t.Errorf("pruned %d, not %d: %v", n, want, err)
		}
	}
	if n, err := Prune(t.Context(), path, before, nil, false); err != nil || n != 0 {
		t.Errorf("pruned %d the second time: %v", n, err)
	}
	var now int64
	if err := db.QueryRow("SELECT count(*) FROM blacklist").Scan(&now); err != nil || now != left-want {
		t.Errorf("%d rows are left, not %d (%v)", now, left-want, err)
	}
	if err := Check(t.Context(), path); err != nil {
		t.Error(err)
	}
}

// A clock that is a year ahead makes every row too old: nothing is deleted.
func TestPruneByAWrongClock(t *testing.T) {
	path := small(t, "('192.0.2.1',1000,3), ('192.0.2.2',2000,3), ('192.0.2.3','long ago',3)")
	if n, err := Prune(t.Context(), path, time.Unix(3000, 0), nil, false); n != 0 || err != nil {
		t.Errorf("pruned %d, %v; want nothing", n, err)
	}
	if n, err := Prune(t.Context(), path, time.Unix(2000, 0), nil, false); n != 1 || err != nil {
		t.Errorf("pruned %d, %v; want 1", n, err)
	}
}

// While the firewall's scan runs, nothing is written.
func TestNothingIsWrittenDuringAScan(t *testing.T) {
	path := small(t, "('192.0.2.1',1000,3)")
	script := filepath.Join(t.TempDir(), "symbiosis-firewall-blacklist")
	if err := os.WriteFile(script, []byte("echo ready\nread line\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("sh", script)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	io.ReadFull(out, make([]byte, 5)) // it runs
	ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	if err := Add(ctx, path, key(t, "192.0.2.1"), 1, now); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("written during a scan (%v)", err)
	}
	in.Close()
	c.Wait()
	if err := Add(t.Context(), path, key(t, "192.0.2.1"), 1, now); err != nil {
		t.Error(err)
	}
	same(t, "afterwards", allSums(t, path), map[string]int64{"192.0.2.1": 4})
}

func TestOldIndexIsTakenOut(t *testing.T) {
	path := generated(t, blacklisttest.Spec{Seed: 5, Rows: 2000})
	want := allSums(t, path)
	execAll(t, path, "CREATE INDEX "+OldIndex+" ON blacklist (ip)", "CREATE INDEX somebodys ON blacklist (ip)")
	for _, there := range []bool{true, false} {
		if dropped, err := DropOldIndex(t.Context(), path, nil); err != nil || dropped != there {
			t.Errorf("%v %v", dropped, err)
		}
	}
	var names string
	if err := ro(t, path).QueryRow("SELECT group_concat(name) FROM sqlite_master WHERE type='index'").Scan(&names); err != nil || names != "somebodys" {
		t.Errorf("%s %v", names, err)
	}
	same(t, "without the index", allSums(t, path), want)
	if dropped, err := DropOldIndex(t.Context(), path+"-absent", nil); err != nil || dropped {
		t.Errorf("%v %v", dropped, err)
	}
}

func TestCheckFindsDamage(t *testing.T) {
	path := generated(t, blacklisttest.Spec{Seed: 6, Rows: 5000})
	if err := Check(t.Context(), path); err != nil {
		t.Error(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte(strings.Repeat("x", 4096)), 10*4096)
	f.Close()
	if err := Check(t.Context(), path); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%v", err)
	}
	if _, err := ReadSums(t.Context(), path, Limit{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%v", err)
	}
}

func TestKeysOfANetworkAreListedAsTheHost(t *testing.T) {
	path := small(t, "('2a0e:20::/112',1000,60),('2a0e:20::5:0/112',2000,3),('2a0e:20::/64',1500,1)")
	hosts, err := List(t.Context(), path, Filter{})
	if err != nil || len(hosts) != 1 || hosts[0].IP != "2a0e:20::/64" || hosts[0].Count != 64 || hosts[0].Reports != 3 {
		t.Errorf("%+v %v", hosts, err)
	}
	rows, err := Rows(t.Context(), path, key(t, "2a0e:20::7"))
	if err != nil || len(rows) != 3 {
		t.Errorf("%v %v", rows, err)
	}
	if n, err := DeleteRows(t.Context(), path, rows); err != nil || n != 3 {
		t.Errorf("deleted %d, %v", n, err)
	}
	for _, want := range []int64{3, 0} {
		if n, err := InsertMissing(t.Context(), path, rows); err != nil || n != want {
			t.Errorf("restored %d, %v", n, err)
		}
	}
}

func TestQuietMinutes(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.TimeOnly, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, tt := range []struct {
		at   string
		want time.Duration
	}{
		{"12:04:54", 0}, {"12:04:55", 25 * time.Second}, {"12:05:00", 20 * time.Second}, {"12:05:19", time.Second},
		{"12:05:20", 0}, {"12:43:00", 0}, {"12:34:59", 21 * time.Second},
	} {
		if got := untilQuiet(at(tt.at), ScanMinutes); got != tt.want {
			t.Errorf("at %s: %v, want %v", tt.at, got, tt.want)
		}
		if got := untilQuiet(at(tt.at), nil); got != 0 {
			t.Errorf("without minutes: %v", got)
		}
	}
}

// One row that somebody put in by hand hides no other host, and what would have
// to be told wrong about it says which row it is.
func TestOddRowIsNamed(t *testing.T) {
	ctx := context.Background()
	path := small(t, "('192.0.2.1',1000,3)", "('192.0.2.2','2026-03-15 12:00',3)", "('192.0.2.3',1000,2.5)", "('192.0.2.4',1000,'many')")
	hosts, err := List(ctx, path, Filter{})
	if err != nil || len(hosts) != 4 {
		t.Errorf("%d hosts, %v", len(hosts), err)
	}
	if s, err := ReadStats(ctx, path); err != nil || s.Addresses != 4 {
		t.Errorf("%+v, %v", s, err)
	}
	_, showing := Rows(ctx, path, key(t, "192.0.2.3"))
	exporting := Export(ctx, path, func(Row) error { return nil })
	for err, row := range map[error]string{showing: "row 3", exporting: "row 2"} {
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), row+" ") {
			t.Errorf("%v; want %s of %s", err, row, path)
		}
	}
}

func TestList(t *testing.T) {
	ts := func(days int) int64 { return now.Unix() - int64(days)*daySeconds }
	path := small(t, fmt.Sprintf("('192.0.2.1',%d,3),('192.0.2.1',%d,9)", ts(10), ts(3)), fmt.Sprintf("('192.0.2.2',%d,30)", ts(5)),
		fmt.Sprintf("('2001:db8:1::/64',%d,6)", ts(1)), fmt.Sprintf("('nonsense',%d,1)", ts(20)))
	for _, tt := range []struct {
		f    Filter
		want string
	}{
		{Filter{}, "2001:db8:1::/64 192.0.2.1 192.0.2.2 nonsense"},
		{Filter{Order: ByCount}, "192.0.2.2 192.0.2.1 2001:db8:1::/64 nonsense"},
		{Filter{MinCount: 7}, "192.0.2.1 192.0.2.2"},
		{Filter{Since: now.Add(-4 * Day)}, "2001:db8:1::/64 192.0.2.1"},
		{Filter{Before: now.Add(-4 * Day)}, "192.0.2.2 nonsense"},
		{Filter{Net: key(t, "192.0.2.1").Prefix()}, "192.0.2.1"},
		{Filter{Top: 1}, "2001:db8:1::/64"},
		{Filter{Order: ByAddress, Keep: func(h Host) bool { return !h.Key.Is6() }}, "nonsense 192.0.2.1 192.0.2.2"},
	} {
		hosts, err := List(context.Background(), path, tt.f)
		var got []string
		for _, h := range hosts {
			got = append(got, h.IP)
		}
		if s := strings.Join(got, " "); err != nil || s != tt.want {
			t.Errorf("%+v: got %q, %v; want %q", tt.f, s, err, tt.want)
		}
	}
	hosts, err := List(context.Background(), path, Filter{Net: key(t, "192.0.2.1").Prefix()})
	if err != nil || hosts[0].Count != 12 || hosts[0].Reports != 2 || hosts[0].Last.Unix() != ts(3) || hosts[0].First.Unix() != ts(10)-12*3600 {
		t.Errorf("%+v, %v", hosts, err)
	}
}

// Deleting and bringing back gives the same rows, however often it is done.
func TestDeleteAndRestore(t *testing.T) {
	ctx := context.Background()
	path := generated(t, blacklisttest.Spec{Seed: 12, Rows: 4000, Hosts: 5})
	execAll(t, path, "INSERT INTO blacklist SELECT * FROM blacklist LIMIT 20") // equal rows are reports of their own
	want := allSums(t, path)
	host := blacklisttest.Key(0)
	rows, err := Rows(ctx, path, host)
	if err != nil || len(rows) < 600 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if n, err := DeleteRows(ctx, path, rows); err != nil || n != int64(len(rows)) {
		t.Fatalf("deleted %d, %v", n, err)
	}
	if s, err := ReadSums(ctx, path, Limit{}); err != nil || s.Hosts[host].Count != 0 {
		t.Fatalf("the sum is %+v, %v", s.Hosts[host], err)
	}
	for _, wantN := range []int64{int64(len(rows)), 0} {
		if n, err := InsertMissing(ctx, path, rows); err != nil || n != wantN {
			t.Fatalf("restored %d, %v; want %d", n, err, wantN)
		}
	}
	same(t, "after restoring", allSums(t, path), want)
}

// Whoever lists or exports a big table while the firewall scans waits for the
// end of that; a lock would meet the scan, which does not wait for one.
func TestReadersMeetNoScan(t *testing.T) {
	ctx := context.Background()
	path := generated(t, blacklisttest.Spec{Seed: 14, Rows: 50_000})
	for name, read := range map[string]func() error{
		"list":   func() error { _, err := List(ctx, path, Filter{}); return err },
		"sums":   func() error { _, err := ReadSums(ctx, path, Limit{}); return err },
		"export": func() error { return Export(ctx, path, func(Row) error { return nil }) },
	} {
		c := exec.Command("sh", "-c", `for i in $(seq 60); do echo "INSERT INTO blacklist VALUES ('203.0.113.8', $2, 1);"; sleep 0.02; done | sqlite3 -bail "$1"`,
			"scan", path, fmt.Sprint(now.Unix()))
		var out strings.Builder
		c.Stdout, c.Stderr = &out, &out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		over := make(chan error, 1)
		go func() { over <- c.Wait() }()
		for running := true; running; {
			if err := read(); err != nil && !errors.Is(err, ErrUnsteady) {
				t.Error(err)
			}
			select {
			case err := <-over:
				if running = false; err != nil {
					t.Errorf("%s: the scan failed: %v %s", name, err, out.String())
				}
			default:
			}
		}
	}
	if s, err := ReadSums(ctx, path, Limit{}); err != nil || s.Hosts[key(t, "203.0.113.8")].Count != 180 {
		t.Errorf("the scans counted %+v, %v; want 180", s.Hosts[key(t, "203.0.113.8")], err)
	}
}

func TestExportTakesSeveralSteps(t *testing.T) {
	path := generated(t, blacklisttest.Spec{Seed: 12, Rows: 40_000}) // the second step is full too
	var sum int64
	n := 0
	if err := Export(context.Background(), path, func(r Row) error { n++; sum += r.Count; return nil }); err != nil {
		t.Fatal(err)
	}
	var want int64
	for _, n := range allSums(t, path) {
		want += n
	}
	if n != 40_000 || sum != want {
		t.Errorf("%d rows with the sum %d; want 40000 with %d", n, sum, want)
	}
}
