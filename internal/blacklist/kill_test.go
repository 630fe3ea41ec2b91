package blacklist

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"symbiosis-connect-acl/internal/blacklist/blacklisttest"
)

// With childEnv set the test binary is a maintenance run on the database that
// it names, at the time that childNowEnv gives.
const (
	childEnv    = "BLACKLIST_TEST_MAINTAIN"
	childNowEnv = "BLACKLIST_TEST_NOW"
)

func maintainOptions() Options {
	return Options{Now: now, Index: true, Compact: true, Retention: 300 * Day, Reclaim: true, Pause: time.Millisecond}
}

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		o := maintainOptions()
		if sec, err := strconv.ParseInt(os.Getenv(childNowEnv), 10, 64); err == nil {
			o.Now = time.Unix(sec, 0)
		}
		if _, err := Maintain(context.Background(), path, o); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func maintainer(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(exe)
	c.Env = append(os.Environ(), childEnv+"="+path)
	c.Stderr = os.Stderr
	return c
}

// kept is what must survive: the sums by address, of rows that are not too old.
func kept(t *testing.T, path string) map[string]int64 { return keptAt(t, path, now) }

func keptAt(t *testing.T, path string, at time.Time) map[string]int64 {
	t.Helper()
	rows, err := ro(t, path).Query("SELECT ip, sum(count) FROM blacklist WHERE timestamp >= ? GROUP BY ip", at.Add(-300*Day).Unix())
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
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// A run killed at any moment, with the platform's writer beside it, loses no
// row and counts none twice, and the next run finishes the work.
// BLACKLIST_KILLS sets the number of kills.
func TestKilledAtAnyMoment(t *testing.T) {
	kills := 200
	if s := os.Getenv("BLACKLIST_KILLS"); s != "" {
		var err error
		if kills, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	// A restless writer makes it wait for gaps, with a lease, and catch up.
	for _, way := range []string{"new file", "new file, restless writer", "in place"} {
		t.Run(way, func(t *testing.T) {
			base := generated(t, blacklisttest.Spec{Seed: 7, Rows: 12000, Hosts: 150, Span: 320 * Day})
			if way == "in place" {
				execAll(t, base, "CREATE TABLE other (x)")
			}
			whole, err := os.ReadFile(base)
			if err != nil {
				t.Fatal(err)
			}
			path := base + ".work"
			reset := func() map[string]int64 {
				if err := os.WriteFile(path, whole, 0o644); err != nil {
					t.Fatal(err)
				}
				return kept(t, path)
			}
			reset()
			begin := time.Now()
			if err := maintainer(t, path).Run(); err != nil {
				t.Fatal(err)
			}
			full := time.Since(begin)
			r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
			var want map[string]int64
			done, killed, ended := 0, 0, false
			for n := 0; killed < (kills+2)/3; n++ {
				if n > 20*kills {
					t.Fatalf("only %d kills met a running child", killed)
				}
				if n%8 == 0 || ended {
					os.Remove(path)
					want = reset()
				}
				stop, inserts := func() int { return 0 }, r.IntN(4)
				if strings.Contains(way, "restless") {
					// The only writer: two of them that do not wait meet each other.
					stop, inserts = restless(t, path, "203.0.113.8", "0.01"), 0
				}
				c := maintainer(t, path)
				if err := c.Start(); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				after := time.AfterFunc(time.Duration(r.Int64N(int64(full))), func() { c.Process.Kill() })
				// The writer: open, insert, close, as a scan does.
				for range inserts {
					k := blacklisttest.Key(r.IntN(150)).String()
					execAll(t, path, fmt.Sprintf("INSERT INTO blacklist VALUES ('%s', %d, 9)", k, now.Unix()))
					want[k] += 9
				}
				// The moments reach as far as a run does, which depends on what
				// else the machine has to do.
				if ended = c.Wait() == nil; ended {
					done++
					full = max(full/2, time.Since(began))
				} else {
					killed++
					full += full / 10
				}
				after.Stop()
				if n := stop(); n > 0 {
					want["203.0.113.8"] += int64(n)
				}
				// As the writer's next run would, undo what was half done.
				execAll(t, path, "SELECT count(*) FROM sqlite_master")
				if got := kept(t, path); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("after kill %d the sums differ:\n got %v\nwant %v", killed, got, want)
				}
				var verdict string
				if err := ro(t, path).QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
					t.Fatalf("after kill %d: %s, %v", killed, verdict, err)
				}
			}
			t.Logf("a run takes %v; %d were killed, %d came to their end", full, killed, done)
			reset()
			if err := maintainer(t, path).Run(); err != nil {
				t.Fatal(err)
			}
			if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 2 {
				t.Errorf("there should be two databases and nothing else: %v, %v", left, err)
			}
		})
	}
}
