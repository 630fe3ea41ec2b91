package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A watched is a command of which time(1) tells how much memory it has held and
// how much processor time it took. The kernel's own figure for a child of this
// process begins with this process's.
type watched struct {
	*exec.Cmd
	file string
}

func (b *bench) watch(name string, args ...string) watched {
	file := filepath.Join(b.dir, "memory")
	return watched{exec.Command("time", append([]string{"-f", "%M %U %S", "-o", file, name}, args...)...), file}
}

// took gives the most memory that the command has held, in bytes, and its
// processor time.
func (w watched) took(b *bench) (memory int64, cpu time.Duration) {
	text, err := os.ReadFile(w.file)
	b.must(err)
	var user, system float64
	_, err = fmt.Sscan(string(text), &memory, &user, &system)
	b.must(err)
	return memory << 10, time.Duration((user + system) * float64(time.Second))
}

// aims are what one sync may take of work and memory, by rows.
var aims = map[int]struct {
	cpu    time.Duration
	memory int64
}{1_000_000: {2 * time.Second, 64 << 20}, 10_000_000: {20 * time.Second, 300 << 20}}

// database measures what sync takes in a root that has nothing but what the
// command looks at.
func database(b *bench) string {
	root, err := os.MkdirTemp(b.dir, "root")
	b.must(err)
	defer os.RemoveAll(root)
	for _, f := range []string{"etc/exim4/Makefile", "etc/exim4/symbiosis.d/00-main/30-acl-definitions"} {
		b.must(os.MkdirAll(filepath.Dir(filepath.Join(root, f)), 0o755))
		b.must(os.WriteFile(filepath.Join(root, f), nil, 0o644))
	}
	state := filepath.Join(root, filepath.Dir(filepath.Dir(hostsDatabase)))
	b.must(os.MkdirAll(filepath.Dir(filepath.Join(root, databaseLink)), 0o755))
	t := newTable("rows", "what", "processor time", "time", "memory")
	var missed []string
	for _, rows := range b.rows {
		link := filepath.Join(root, databaseLink)
		os.Remove(link)
		b.must(os.Symlink(b.plain(rows), link))
		b.must(os.RemoveAll(state))
		b.must(os.MkdirAll(filepath.Join(state, "hosts"), 0o750))
		for _, what := range []string{"the first time", "nothing changed"} {
			c := b.watch(b.program("symbiosis-connect-db"), "sync", "--root", root)
			c.Stderr = os.Stderr
			begin := time.Now()
			b.must(c.Run())
			wall := time.Since(begin)
			memory, cpu := c.took(b)
			t.row(rowsText(rows), what, ms(cpu), ms(wall), fmt.Sprintf("%d MiB", memory>>20))
			if aim, ok := aims[rows]; ok && (cpu > aim.cpu || memory > aim.memory) {
				missed = append(missed, rowsText(rows)+" rows")
			}
		}
	}
	verdict := "met"
	if len(missed) > 0 {
		verdict = "missed: " + strings.Join(slices.Compact(missed), ", ")
	}
	return "`symbiosis-connect-db sync` reads the firewall's database without a lock, a tenth as\nmany hosts as rows, and writes what differs to hosts.db.\n\n" + t.String() +
		"\nTargets: a million rows in 2 s of work and 64 MiB, ten million in 20 s and 300 MiB: " + verdict + ".\n"
}
