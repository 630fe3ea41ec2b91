package history

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"symbiosis-connect-acl/internal/blacklist/blacklisttest"
	"symbiosis-connect-acl/internal/hosts"
)

const day = 24 * time.Hour

// passed gives what hosts.db has in history_passed.
func passed(t testing.TB, path string) map[string]int64 {
	t.Helper()
	all := map[string]int64{}
	must(t, hosts.With(path, func(d *hosts.DB) error {
		for r, err := range d.All(t.Context()) {
			if err != nil {
				return err
			}
			if !r.HistoryPassed.IsZero() {
				all[r.Key.String()] = r.HistoryPassed.Unix()
			}
		}
		return nil
	}))
	return all
}

// ask gives rows of address and number.
func ask(t testing.TB, path, query string) map[string]int64 {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path+"?mode=ro")
	must(t, err)
	defer db.Close()
	rows, err := db.Query(query)
	must(t, err)
	defer rows.Close()
	all := map[string]int64{}
	for rows.Next() {
		var ip string
		var n int64
		must(t, rows.Scan(&ip, &n))
		all[ip] = n
	}
	must(t, rows.Err())
	return all
}

func same(t testing.TB, what string, got, want map[string]int64) {
	t.Helper()
	for ip := range want {
		if got[ip] != want[ip] {
			t.Errorf("%s: %s passed at %d, not %d", what, ip, got[ip], want[ip])
		}
	}
	for ip := range got {
		if _, ok := want[ip]; !ok {
			t.Errorf("%s: %s has not passed, and it says %d", what, ip, got[ip])
		}
	}
}

// The last offence in a history is what a plain computation says, in whichever
// order the rows are, whatever goes, and whatever the numbers become.
func TestPassed(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	path, source := place(t)
	nine := hosts.Policy{Threshold: 9, Refuses: true}
	now := int64(1_700_000_000)
	for round := range 60 {
		var rows []string
		for range 1 + r.IntN(30) {
			now += r.Int64N(10 * 86400)
			at := now
			if round%3 == 2 && r.IntN(5) == 0 {
				at -= r.Int64N(100 * 86400) // an administrator's
			}
			rows = append(rows, fmt.Sprintf("('%s', %d, %d)", blacklisttest.Key(r.IntN(12)), at, 3*(1+r.IntN(3))))
		}
		exec(t, source, "INSERT INTO blacklist VALUES "+strings.Join(rows, ","))
		if r.IntN(3) == 0 {
			exec(t, source, fmt.Sprintf("DELETE FROM blacklist WHERE timestamp < %d", now-r.Int64N(900*86400)))
		}
		for _, policy := range []hosts.Policy{nine, {Threshold: 20, Refuses: true}, {Threshold: 20}, {Threshold: 20, Refuses: true, Parole: 90 * day}, {Threshold: 0, Refuses: true, Parole: 5 * day}} {
			what := fmt.Sprintf("round %d, %+v", round, policy)
			if _, err := Sync(t.Context(), path, []string{source}, ruled(t, &policy)); err != nil {
				t.Fatal(what, err)
			}
			const sums = "(SELECT ip, timestamp, sum(count) OVER (PARTITION BY ip ORDER BY timestamp, rowid) s FROM blacklist)"
			switch {
			case !policy.Refuses:
				same(t, what, passed(t, path), ask(t, source, fmt.Sprintf("SELECT ip, max(timestamp) FROM blacklist GROUP BY ip HAVING sum(count) > %d", policy.Threshold)))
			case policy.Parole == 0:
				same(t, what, passed(t, path), ask(t, source, fmt.Sprintf("SELECT ip, min(timestamp) FROM "+sums+" WHERE s > %d GROUP BY ip", policy.Threshold)))
			default:
				// From one offence to the next: the first row after a parole began.
				next := fmt.Sprintf("WITH RECURSIVE o(ip, at) AS (SELECT ip, min(timestamp) FROM "+sums+" WHERE s > %d GROUP BY ip"+
					" UNION ALL SELECT ip, (SELECT min(timestamp) FROM blacklist b WHERE b.ip = o.ip AND timestamp > o.at + %d) FROM o WHERE at IS NOT NULL)"+
					" SELECT ip, max(at) FROM o WHERE at IS NOT NULL GROUP BY ip", policy.Threshold, int64(policy.Parole/time.Second)+3600)
				same(t, what, passed(t, path), ask(t, source, next))
			}
		}
		asThePlatform(t, path, source)
	}
}

// ruled gives rules that have just been written.
func ruled(t *testing.T, p *hosts.Policy) Rules {
	t.Helper()
	file := filepath.Join(t.TempDir(), "exim4.conf")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return Rules{file, func() *hosts.Policy { return p }}
}

// Exim is asked for its numbers when they may be others, and when they decide.
func TestRulesAreAsked(t *testing.T) {
	path, source := place(t)
	exec(t, source, "INSERT INTO blacklist VALUES ('192.0.2.1', 1000, 9)")
	p, asked := &hosts.Defaults, 0
	r := ruled(t, p)
	r.Policy = func() *hosts.Policy { asked++; return p }
	for _, tt := range []struct {
		what string
		do   func()
		want int
	}{
		{"first", func() {}, 1},
		{"nothing has changed", func() {}, 1},
		{"a count", func() { exec(t, source, "INSERT INTO blacklist VALUES ('192.0.2.1', 1001, 9)") }, 2},
		{"nothing has changed", func() {}, 2},
		{"a configuration", func() { r.File = ruled(t, p).File }, 3},
		{"nothing has changed", func() {}, 3},
		{"a broken configuration", func() { r.File, p = ruled(t, p).File, nil }, 4},
		{"still broken", func() {}, 5},
		{"mended", func() { p = &hosts.Defaults }, 6},
		{"nothing has changed", func() {}, 6},
	} {
		tt.do()
		if _, err := Sync(t.Context(), path, []string{source}, r); err != nil || asked != tt.want {
			t.Errorf("%s: %v, Exim was asked %d times; want %d", tt.what, err, asked, tt.want)
		}
	}
}

// Another threshold is another last offence, though the firewall has counted
// nothing meanwhile; without a configuration that could say, it is the last.
func TestAnotherThreshold(t *testing.T) {
	path, source := place(t)
	exec(t, source, "INSERT INTO blacklist VALUES ('192.0.2.1', 1000, 9), ('192.0.2.1', 2000, 3), ('192.0.2.1', 3000, 30)")
	for _, tt := range []struct {
		threshold int64
		read      bool
		want      int64
	}{{-1, true, 2000}, {10, false, 2000}, {40, true, 3000}, {-1, false, 3000}, {3, true, 1000}, {42, true, 0}, {42, false, 0}} {
		var policy *hosts.Policy
		if tt.threshold >= 0 {
			p := hosts.Defaults
			p.Threshold = tt.threshold
			policy = &p
		}
		r, err := Sync(t.Context(), path, []string{source}, ruled(t, policy))
		if got := passed(t, path)["192.0.2.1"]; err != nil || r.Read != tt.read || got != tt.want {
			t.Errorf("threshold %d: passed at %d, %+v %v; want %+v", tt.threshold, got, r, err, tt)
		}
	}
}

// Of two firewalls the second begins where the first ends. Nftfw has one row,
// with its last time.
func TestPassedOfSeveral(t *testing.T) {
	path, source := place(t)
	nftfw := filepath.Join(filepath.Dir(source), "firewall.db")
	exec(t, source, "INSERT INTO blacklist VALUES ('192.0.2.1', 1000, 9), ('192.0.2.3', 1000, 12), ('192.0.2.4', 1000, 12)")
	exec(t, nftfw, `CREATE TABLE blacklist (ip TEXT UNIQUE PRIMARY KEY, pattern TEXT, incidents INTEGER, matchcount INTEGER,
		first INTEGER, last INTEGER, ports TEXT, useall INTEGER, multiple INTEGER, isdnsbl INTEGER)`,
		"INSERT INTO blacklist VALUES ('192.0.2.1','exim4',1,2,1,2000,'25',0,0,0), ('192.0.2.2','exim4',1,12,1,3000,'25',0,0,0),"+
			" ('192.0.2.3','exim4',1,12,1,4000,'25',0,0,0), ('192.0.2.4','exim4',1,1,1,900000000,'25',0,0,0)")
	synced(t, path, source, nftfw)
	same(t, "both", passed(t, path), map[string]int64{"192.0.2.1": 2000, "192.0.2.2": 3000, "192.0.2.3": 1000, "192.0.2.4": 900000000})
}

// What is counted within the hour after parole began may be the last knocks.
func TestOffenceOnParole(t *testing.T) {
	const first, parole = 1_700_000_000, 90 * 86400
	for after, want := range map[int64]int64{parole - 1: first, parole + 3600: first, parole + 3601: first + parole + 3601} {
		path, source := place(t)
		exec(t, source, fmt.Sprintf("INSERT INTO blacklist VALUES ('192.0.2.1', %d, 12), ('192.0.2.1', %d, 3)", first, first+after))
		synced(t, path, source)
		if got := passed(t, path)["192.0.2.1"]; got != want {
			t.Errorf("counted %d s later: last offence %d, not %d", after, got, want)
		}
	}
}
