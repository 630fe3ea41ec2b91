package load

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"symbiosis-connect-acl/internal/blacklist/blacklisttest"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/tests/lab"
)

// A site is a root with nothing but what the command looks at, in which hosts.db
// belongs to a user who is not root.
func site(t *testing.T) (root, program string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("for root")
	}
	root, err := os.MkdirTemp("", "load")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	program = filepath.Join(root, "symbiosis-connect-db")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, "./cmd/symbiosis-connect-db")
	build.Dir = lab.SourceDir()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, f := range []string{"etc/exim4/Makefile", "etc/exim4/symbiosis.d/00-main/30-acl-definitions", "var/lib/symbiosis-connect-acl/x", database} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, f)), 0o755); err != nil {
			t.Fatal(err)
		}
		if f != database {
			if err := os.WriteFile(filepath.Join(root, f), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := hosts.Create(t.Context(), filepath.Join(root, hostsDB), 64_902, 64_902, false); err != nil {
		t.Fatal(err)
	}
	return root, program
}

// sync and maintain are killed, wherever they are. The next run has every sum
// right, and both files are sound.
func TestKilledAnywhere(t *testing.T) {
	root, program := site(t)
	counts, path := filepath.Join(root, database), filepath.Join(root, hostsDB)
	// Rows of two years, of which maintain prunes one.
	if err := blacklisttest.Generate(counts, blacklisttest.Spec{Seed: 8, Rows: 60_000, Hosts: 12_000, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	takes := 100 * time.Millisecond // how long a run takes that is not killed
	kills, killed := 100, 0
	if whole {
		kills = 200
	}
	i := 0
	for ; killed < kills || i%20 != 0; i++ {
		// A few thousand hosts that differ, so that there is much to write.
		change := exec.Command("sqlite3", counts, fmt.Sprintf("UPDATE blacklist SET count = count + 3 WHERE rowid %% 9 = %d", i%9))
		if out, err := change.CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		args := []string{"sync", "--root", root}
		if i%2 == 1 {
			args = []string{"maintain", "--writer-minutes=", "--root", root}
		}
		c := exec.Command(program, args...)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(random.Int64N(int64(takes))), func() { c.Process.Kill() })
		err := c.Wait()
		timer.Stop()
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() >= 0 {
			t.Fatalf("%v: %v", args, err)
		}
		if err == nil {
			takes = max(takes*9/10, 20*time.Millisecond)
		} else {
			takes = takes * 11 / 10
			killed++
		}
		if i%20 != 19 {
			continue
		}
		for _, args := range [][]string{{"sync"}, {"check"}} {
			if out, err := exec.Command(program, append(args, "--root", root)...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %v %s", args, err, out)
			}
		}
		asThePlatform(t, counts, path)
	}
	t.Logf("%d runs, %d of them killed", i, killed)
	if h := history(t, path, blacklisttest.Key(0).String()); h == 0 {
		t.Error("nothing has come over")
	}
}

// What bringing the history over takes, of a tenth as many hosts as rows.
func TestWhatSyncTakes(t *testing.T) {
	if _, err := exec.LookPath("time"); err != nil {
		t.Skip("there is no time(1)")
	}
	type size struct {
		rows int
		work time.Duration
		MiB  int // memory does not depend on how busy the machine is
	}
	sizes := []size{{300_000, 2 * time.Second, 64}}
	if whole {
		sizes = []size{{1_000_000, 2 * time.Second, 64}, {10_000_000, 20 * time.Second, 300}}
	}
	for _, size := range sizes {
		t.Run(fmt.Sprint(size.rows), func(t *testing.T) {
			root, program := site(t)
			counts := filepath.Join(root, database)
			// The generator leaves an eleventh of the hosts out.
			if err := blacklisttest.Generate(counts, blacklisttest.Spec{Seed: 8, Rows: size.rows, Hosts: size.rows * 11 / 100, Now: time.Now()}); err != nil {
				t.Fatal(err)
			}
			for _, what := range []string{"all of it", "a scan's rows", "nothing changed"} {
				if what == "a scan's rows" {
					ask(t, counts, "INSERT INTO blacklist VALUES ('11.0.0.9', strftime('%s','now'), 3) RETURNING 1")
				}
				figures := filepath.Join(root, "figures")
				c := exec.Command("time", "-f", "%M %U %S %e", "-o", figures, program, "sync", "--root", root)
				if out, err := c.CombinedOutput(); err != nil {
					t.Fatalf("%v %s", err, out)
				}
				text, err := os.ReadFile(figures)
				if err != nil {
					t.Fatal(err)
				}
				var memory int
				var user, system, wall float64
				if _, err := fmt.Sscan(string(text), &memory, &user, &system, &wall); err != nil {
					t.Fatal(err)
				}
				t.Logf("%d rows, %s: %.2f s of work in %.2f s, %d MiB", size.rows, what, user+system, wall, memory>>10)
				if memory>>10 > size.MiB {
					t.Errorf("%d MiB; at %d rows it is to be %d at most", memory>>10, size.rows, size.MiB)
				}
				atMost(t, what, time.Duration((user+system)*float64(time.Second)), size.work)
			}
		})
	}
}

// A minute in which nothing has changed costs one process, which reads the header
// of the firewall's database.
func TestQuietMinute(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("there is no strace(1)")
	}
	root, program := site(t)
	counts := filepath.Join(root, database)
	if err := blacklisttest.Generate(counts, blacklisttest.Spec{Seed: 8, Rows: 10_000, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	reads := regexp.MustCompile(`\b(?:read|readv|pread64|preadv|mmap)\(.*` + regexp.QuoteMeta(counts) + `>.* = (\d+|0x[0-9a-f]+)$`)
	var octets [2]int
	for i := range octets {
		calls := filepath.Join(root, "calls")
		c := exec.Command("strace", "-ff", "-y", "-s0", "-o", calls, "-e", "trace=read,readv,pread64,preadv,mmap,execve,fork,vfork", program, "sync", "--root", root)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		var text []byte // a file for each thread
		threads, _ := filepath.Glob(calls + ".*")
		for _, f := range threads {
			more, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			text = append(text, more...)
			os.Remove(f)
		}
		processes := 0
		for l := range strings.Lines(string(text)) {
			l = strings.TrimSpace(l)
			if strings.Contains(l, "execve(") || strings.Contains(l, "fork(") {
				processes++
			}
			if m := reads.FindStringSubmatch(l); m != nil {
				n, err := strconv.Atoi(m[1])
				if err != nil {
					t.Fatalf("%s: %v", l, err)
				}
				octets[i] += n
			}
		}
		if processes != 1 {
			t.Errorf("%d processes:\n%s", processes, text)
		}
	}
	t.Logf("of the firewall's database the first run reads %d octets, the second %d", octets[0], octets[1])
	if st, err := os.Stat(counts); err != nil || int64(octets[0]) < st.Size() || octets[1] != 100 {
		t.Errorf("it reads %v octets; the second time they are to be 100 (%v)", octets, err)
	}
}

// Where there is an Exim, such a minute starts none: sync has asked it before. It asks
// again when the configuration may be another.
func TestQuietMinuteWithExim(t *testing.T) {
	lab.SkipUnlessReady(t)
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("there is no strace(1)")
	}
	r := lab.NewRoot(t, lab.DefaultSuite, "symbiosis")
	if err := blacklisttest.Generate(r.Path(database), blacklisttest.Spec{Seed: 8, Rows: 1000, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	r.Install()
	calls := filepath.Join(t.TempDir(), "calls")
	for _, tt := range []struct {
		what string
		do   func()
		asks bool
	}{
		{"the first minute", func() {}, true},
		{"a quiet minute", func() {}, false},
		{"after make", func() { r.Make("exim4.conf") }, true},
		{"a quiet minute after it", func() {}, false},
	} {
		tt.do()
		out, err := exec.Command("strace", "-f", "-o", calls, "-e", "trace=execve", "chroot", r.Path(), "/usr/sbin/symbiosis-connect-db", "sync").CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v %s", tt.what, err, out)
		}
		text, err := os.ReadFile(calls)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(text), "/exim4\""); got != tt.asks {
			t.Errorf("%s: Exim was started: %v; want %v\n%s", tt.what, got, tt.asks, text)
		}
	}
}
