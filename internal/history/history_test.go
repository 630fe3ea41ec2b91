package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/blacklist/blacklisttest"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/platform"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func exec(t testing.TB, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path+"?_sync=OFF")
	must(t, err)
	defer db.Close()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// place gives hosts.db and a database of the platform's firewall.
func place(t testing.TB) (path, source string) {
	t.Helper()
	dir := t.TempDir()
	path, source = filepath.Join(dir, "hosts", "hosts.db"), filepath.Join(dir, "count.db")
	_, err := hosts.Create(context.Background(), path, uint32(os.Getuid()), uint32(os.Getgid()), false)
	must(t, err)
	exec(t, source, blacklisttest.CreateTable)
	return path, source
}

func synced(t testing.TB, path string, sources ...string) Result {
	t.Helper()
	r, err := Sync(context.Background(), path, sources, Rules{})
	must(t, err)
	return r
}

// histories gives all that hosts.db has.
func histories(t testing.TB, path string) map[string]int64 {
	t.Helper()
	all := map[string]int64{}
	must(t, hosts.With(path, func(d *hosts.DB) error {
		for r, err := range d.All(context.Background()) {
			if err != nil {
				return err
			}
			if r.History != 0 {
				all[r.Key.String()] = r.History
			}
		}
		return nil
	}))
	return all
}

// asThePlatform compares hosts.db with what the platform's query gives.
func asThePlatform(t testing.TB, path, source string) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+source+"?mode=ro")
	must(t, err)
	defer db.Close()
	rows, err := db.Query("SELECT ip, sum(count) FROM blacklist GROUP BY ip HAVING sum(count) <> 0")
	must(t, err)
	defer rows.Close()
	got, n := histories(t, path), 0
	for rows.Next() {
		var ip string
		var sum int64
		must(t, rows.Scan(&ip, &sum))
		if n++; got[ip] != sum {
			t.Errorf("%s has %d, the platform %d", ip, got[ip], sum)
		}
	}
	if n != len(got) {
		t.Errorf("%d hosts have a history, and the platform knows %d", len(got), n)
	}
}

// Whatever the firewall adds and whoever deletes from it, the next run has the
// platform's sums, and writes what differs.
func TestHistoryIsThePlatforms(t *testing.T) {
	path, source := place(t)
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 30 {
		changed := map[string]bool{}
		for range r.IntN(40) {
			ip := blacklisttest.Key(r.IntN(50)).String()
			changed[ip] = true
			exec(t, source, fmt.Sprintf("INSERT INTO blacklist VALUES ('%s', %d, %d)", ip, round, 3*(1+r.IntN(9))))
		}
		if r.IntN(4) == 0 {
			ip := blacklisttest.Key(r.IntN(50)).String()
			changed[ip] = true
			exec(t, source, "DELETE FROM blacklist WHERE ip = '"+ip+"'")
		}
		if r.IntN(9) == 0 {
			exec(t, source, "VACUUM")
		}
		if got := synced(t, path, source); got.Written > len(changed) || len(changed) > 0 && !got.Read {
			t.Errorf("round %d: %+v for %d hosts", round, got, len(changed))
		}
		asThePlatform(t, path, source)
	}
}

func TestNothingChanged(t *testing.T) {
	path, source := place(t)
	exec(t, source, "INSERT INTO blacklist VALUES ('192.0.2.1', 5, 12), ('nobody', 5, 3)")
	if r := synced(t, path, source); !r.Read || r.Written != 1 || r.Alien != 1 {
		t.Errorf("%+v", r)
	}
	if r := synced(t, path, source); r.Read || r.Alien != 1 || slices.Compare(r.Some, []string{"nobody"}) != 0 {
		t.Errorf("the second time: %+v", r)
	}
	exec(t, source, "INSERT INTO blacklist VALUES ('192.0.2.2', 5, 12)")
	if l, err := Look(t.Context(), path, []string{source}); err != nil || l.Current || l.Alien != 1 {
		t.Errorf("%+v %v", l, err)
	}
	if r := synced(t, path, source); !r.Read || r.Written != 1 {
		t.Errorf("after a change: %+v", r)
	}
	if l, err := Look(t.Context(), path, []string{source}); err != nil || !l.Current {
		t.Errorf("%+v %v", l, err)
	}
}

// What cannot be read takes nothing away.
func TestLastGoodHistoryStays(t *testing.T) {
	for name, tt := range map[string]struct {
		damage func(t *testing.T, source string)
		want   error
	}{
		"absent":   {func(t *testing.T, s string) { must(t, os.Remove(s)) }, nil},
		"corrupt":  {func(t *testing.T, s string) { must(t, os.Truncate(s, 5000)) }, blacklist.ErrCorrupt},
		"garbage":  {func(t *testing.T, s string) { must(t, os.WriteFile(s, []byte(strings.Repeat("x", 9000)), 0o644)) }, blacklist.ErrCorrupt},
		"emptied":  {func(t *testing.T, s string) { must(t, os.Truncate(s, 0)) }, nil},
		"no table": {func(t *testing.T, s string) { exec(t, s, "DROP TABLE blacklist", "VACUUM") }, nil},
		"WAL":      {func(t *testing.T, s string) { exec(t, s, "PRAGMA journal_mode=WAL") }, blacklist.ErrWAL},
		"columns":  {func(t *testing.T, s string) { exec(t, s, "ALTER TABLE blacklist ADD COLUMN more") }, blacklist.ErrUnknownSchema},
	} {
		t.Run(name, func(t *testing.T) {
			path, source := place(t)
			exec(t, source, "INSERT INTO blacklist VALUES ('192.0.2.1', 5, 12)")
			synced(t, path, source)
			tt.damage(t, source)
			if _, err := Sync(t.Context(), path, []string{source}, Rules{}); !errors.Is(err, tt.want) {
				t.Errorf("%v", err)
			}
			if h := histories(t, path); h["192.0.2.1"] != 12 {
				t.Errorf("%v", h)
			}
		})
	}
}

// A hosts.db that is lost or damaged gets its history back with the next run.
func TestLostHosts(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string){
		"removed": func(t *testing.T, path string) { must(t, os.Remove(path)) },
		"empty":   func(t *testing.T, path string) { must(t, os.Truncate(path, 0)) },
		"a page":  func(t *testing.T, path string) { scribble(t, path) },
	} {
		t.Run(name, func(t *testing.T) {
			path, source := place(t)
			exec(t, source, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2000)"+
				" INSERT INTO blacklist SELECT '10.9.'||(i/256)||'.'||(i%256), 5, 6 FROM n")
			synced(t, path, source)
			must(t, hosts.With(path, func(d *hosts.DB) error { return d.Exec(t.Context(), "pragma wal_checkpoint(truncate)") }))
			damage(t, path)
			exec(t, source, "INSERT INTO blacklist VALUES ('192.0.2.1', 5, 12)") // the firewall goes on
			if r := synced(t, path, source); r.Hosts != hosts.Anew || r.Written != 2001 {
				t.Errorf("%+v", r)
			}
			asThePlatform(t, path, source)
			if l, err := Look(t.Context(), path, []string{source}); err != nil || time.Since(l.Lost) > time.Minute {
				t.Errorf("%+v %v", l, err)
			}
		})
	}
}

func scribble(t testing.TB, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	st, err := f.Stat()
	must(t, err)
	_, err = f.WriteAt([]byte(strings.Repeat("x", 4096)), st.Size()/4096/2*4096)
	must(t, errors.Join(err, f.Close()))
}

func TestSeveralFirewalls(t *testing.T) {
	path, source := place(t)
	nftfw := filepath.Join(filepath.Dir(source), "firewall.db")
	exec(t, source, "INSERT INTO blacklist VALUES ('192.0.2.1', 5, 12), ('2a0e:20::/112', 6, 3), ('2a0e:20::5:0/112', 6, 3)")
	exec(t, nftfw, `CREATE TABLE blacklist (ip TEXT UNIQUE PRIMARY KEY, pattern TEXT, incidents INTEGER, matchcount INTEGER,
		first INTEGER, last INTEGER, ports TEXT, useall INTEGER, multiple INTEGER, isdnsbl INTEGER)`,
		"INSERT INTO blacklist VALUES ('192.0.2.1','exim4',1,2,1,9,'25,465,587',0,0,0), ('192.0.2.2','exim4',1,1,1,9,'25',0,0,0)")
	synced(t, path, source, nftfw)
	h := histories(t, path)
	if len(h) != 3 || h["192.0.2.1"] != 18 || h["192.0.2.2"] != 1 || h["2a0e:20::/64"] != 6 {
		t.Errorf("%v", h)
	}
}

func TestSources(t *testing.T) {
	root := t.TempDir()
	p := platform.Sympl(root)
	for _, f := range []string{p.Database, filepath.Join(root, "/usr/local/var/lib/nftfw/firewall.db")} {
		must(t, os.MkdirAll(filepath.Dir(f), 0o755))
		must(t, os.WriteFile(f, nil, 0o644))
	}
	got, err := Sources(p)
	if err != nil || len(got) != 2 || got[0] != p.Database || !strings.HasSuffix(got[1], "/usr/local/var/lib/nftfw/firewall.db") {
		t.Errorf("%v %v", got, err)
	}
	must(t, os.MkdirAll(filepath.Dir(p.DefaultsFile), 0o755))
	must(t, os.WriteFile(p.DefaultsFile, []byte(Setting+"='/srv/a.db /srv/b.db'\n"), 0o644))
	if got, err := Sources(p); err != nil || strings.Join(got, " ") != root+"/srv/a.db "+root+"/srv/b.db" {
		t.Errorf("%v %v", got, err)
	}
	must(t, os.WriteFile(p.DefaultsFile, []byte(Setting+"=a.db\n"), 0o644))
	if _, err := Sources(p); err == nil {
		t.Error("a path that is none is taken")
	}
}

func TestNotSetUp(t *testing.T) {
	_, err := Sync(t.Context(), filepath.Join(t.TempDir(), "hosts", "hosts.db"), nil, Rules{})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// A run that is killed anywhere is made good by the next.
func TestStoppedHalfWay(t *testing.T) {
	path, source := place(t)
	exec(t, source, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<12000)"+
		" INSERT INTO blacklist SELECT '10.'||(i/65536)||'.'||(i/256%256)||'.'||(i%256), 5, 6 FROM n")
	keys := map[address.Key]hosts.History{}
	k, err := address.Parse("10.0.0.9")
	must(t, err)
	keys[k] = hosts.History{Count: 1}
	must(t, hosts.With(path, func(d *hosts.DB) error { _, err := d.SetHistory(t.Context(), keys); return err }))
	for wait := time.Millisecond; ; wait *= 2 {
		ctx, stop := context.WithTimeout(t.Context(), wait)
		_, err := Sync(ctx, path, []string{source}, Rules{})
		stop()
		if err == nil {
			break
		}
	}
	asThePlatform(t, path, source)
}
