package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/blacklist"
)

// A job is one piece of maintenance for a process of its own, whose memory can
// then be told.
type job struct {
	Path    string
	Options struct {
		Index, Compact, Reclaim bool
		Retention               time.Duration
	}
}

// maintainChild is that process.
func maintainChild(arg string) {
	var j job
	err := json.Unmarshal([]byte(arg), &j)
	if err == nil {
		var r blacklist.Result
		r, err = blacklist.Maintain(context.Background(), j.Path, blacklist.Options{
			Index: j.Options.Index, Compact: j.Options.Compact, Reclaim: j.Options.Reclaim, Retention: j.Options.Retention})
		json.NewEncoder(os.Stdout).Encode(r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A watched is a command of which time(1) tells how much memory it has held. The
// kernel's own figure for a child of this process begins with this process's.
type watched struct {
	*exec.Cmd
	file string
}

func (b *bench) watch(name string, args ...string) watched {
	file := filepath.Join(b.dir, "memory")
	return watched{exec.Command("time", append([]string{"-f", "%M", "-o", file, name}, args...)...), file}
}

// peak gives the most memory that the command has held, in bytes.
func (w watched) peak(b *bench) (n int64) {
	text, err := os.ReadFile(w.file)
	b.must(err)
	_, err = fmt.Sscan(string(text), &n)
	b.must(err)
	return n << 10
}

// shrunk fails when a task has left all rows as they were.
func (b *bench) shrunk(path string, rows int) {
	out, err := exec.Command("sqlite3", "-readonly", path, "SELECT count(*) FROM blacklist").Output()
	b.must(err)
	if n, err := strconv.Atoi(strings.TrimSpace(string(out))); err != nil || n < 1 || n >= rows {
		b.Fatalf("of %d rows %s are left: nothing was maintained (%v)", rows, out, err)
	}
}

func database(b *bench) string {
	const year = 365 * blacklist.Day
	now := time.Now().Unix()
	prune := fmt.Sprintf("DELETE FROM blacklist WHERE timestamp < %d;\n", now-int64(year/time.Second))
	// What is older than two days, summed up by address and day.
	old := now - 48*3600
	compact := fmt.Sprintf(`CREATE TEMP TABLE days AS SELECT ip, max(timestamp) AS t, sum(count) AS c FROM blacklist WHERE timestamp < %d GROUP BY ip, timestamp/86400;
DELETE FROM blacklist WHERE timestamp < %d;
INSERT INTO blacklist SELECT ip, t, c FROM days ORDER BY t;
`, old, old)
	index := "CREATE INDEX i ON blacklist(ip);\n"
	type task struct {
		name, sql string
		vacuum    bool
		set       func(*job)
	}
	tasks := []task{
		{"prune: DELETE", prune, false, func(j *job) { j.Options.Retention = year }},
		{"compact: GROUP BY", compact, false, func(j *job) { j.Options.Compact = true }},
		{"maintain: all of it, index and VACUUM", prune + compact + index, true, func(j *job) {
			j.Options.Index, j.Options.Compact, j.Options.Reclaim, j.Options.Retention = true, true, true, year
		}},
	}
	self, err := os.Executable()
	b.must(err)
	work := filepath.Join(b.dir, "work.db")
	defer os.Remove(work)
	t := newTable("task", "rows", "rows per second ÷ sqlite3", "ours, rows per second", "pauses and waiting", "memory of ours", "memory of sqlite3")
	sizes := append([]int{100_000}, b.rows...)
	slices.Sort(sizes)
	missed := []string{}
	memory := map[int]int64{}
	for _, rows := range slices.Compact(sizes) {
		for _, task := range tasks {
			rounds := b.rounds
			if rows >= 1_000_000 {
				rounds = max(1, min(b.rounds, 3_000_000/rows))
			}
			var ratio, speed spread
			var paused time.Duration
			var ourMemory, theirMemory int64
			for range rounds {
				b.copyFile(b.plain(rows), work)
				j := job{Path: work}
				task.set(&j)
				arg, err := json.Marshal(j)
				b.must(err)
				ours := b.watch(self, "-maintain", string(arg))
				ours.Stderr = os.Stderr
				begin := time.Now()
				out, err := ours.Output()
				b.must(err)
				at := time.Since(begin)
				var r blacklist.Result
				b.must(json.Unmarshal(out, &r))
				b.shrunk(work, rows)
				at -= r.Paused
				paused += r.Paused / time.Duration(rounds)
				ourMemory = max(ourMemory, ours.peak(b))

				b.copyFile(b.plain(rows), work)
				sql := "BEGIN IMMEDIATE;\n" + task.sql + "COMMIT;\n"
				if task.vacuum {
					sql += "VACUUM;\n"
				}
				theirs := b.watch("sqlite3", "-bail", work)
				theirs.Stdin = strings.NewReader(sql)
				theirs.Stderr = os.Stderr
				begin = time.Now()
				_, err = theirs.Output()
				b.must(err)
				took := time.Since(begin)
				b.shrunk(work, rows)
				theirMemory = max(theirMemory, theirs.peak(b))
				ratio = append(ratio, float64(took)/float64(at))
				speed = append(speed, float64(rows)/at.Seconds())
			}
			memory[rows] = max(memory[rows], ourMemory)
			if ratio.median() < 0.5 {
				missed = append(missed, fmt.Sprintf("%s at %s rows", task.name, rowsText(rows)))
			}
			b.Logf("%s, %d rows: %v of sqlite3's speed", task.name, rows, ratio)
			t.row(task.name, rowsText(rows), ratio.String(), fmt.Sprintf("%.0f", speed.median()), fmt.Sprintf("%.1f s", paused.Seconds()),
				fmt.Sprintf("%d MiB", ourMemory>>20), fmt.Sprintf("%d MiB", theirMemory>>20))
		}
	}
	verdict := "met"
	if len(missed) > 0 {
		verdict = "missed: " + strings.Join(missed, "; ")
	}
	var peaks []string
	for _, rows := range slices.Sorted(maps.Keys(memory)) {
		peaks = append(peaks, fmt.Sprintf("%d MiB at %s", memory[rows]>>20, rowsText(rows)))
	}
	return `A database of two years without an index, of which one year is kept. Beside it
the same in the sqlite3 program, in one transaction that keeps everybody out
until it is over; ours works on a copy, proves its integrity, and keeps nobody
out. Rows per second are rows found; both times are the whole process's, pauses
not counted.

` + t.String() + fmt.Sprintf("\nTargets: at least half the speed of sqlite3: %s. Peak memory, flat is the target: %s.\n", verdict, strings.Join(peaks, ", "))
}
