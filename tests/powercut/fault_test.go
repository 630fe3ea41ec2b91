package powercut

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"symbiosis-connect-acl/internal/blacklist"
)

// A fault is what the kernel does to one call of the program, or to all from
// one on.
type fault struct {
	name  string
	calls string
	does  string
	on    bool                 // from then on
	count func(*recording) int // how often there could be one
}

func ofKind(kinds ...kind) func(*recording) int {
	return func(r *recording) (n int) {
		for _, o := range r.ops {
			for _, k := range kinds {
				if o.kind == k {
					n++
				}
			}
		}
		return n
	}
}

var faults = []fault{
	{"full disk", "pwrite64,write,copy_file_range,ftruncate", "error=ENOSPC", true, ofKind(opWrite, opTruncate)},
	{"failing disk", "fsync,fdatasync", "error=EIO", false, ofKind(opSync)},
	{"no more names", "openat,?rename,renameat,?renameat2,?unlink,unlinkat,linkat", "error=EACCES", false, ofKind(opName)},
	{"kill -9", "openat,pwrite64,write,fsync,fdatasync,?rename,renameat,?unlink,unlinkat,linkat", "signal=KILL", false, ofKind(opName, opWrite, opSync)},
}

// moments is how many calls of each sort each fault meets, all of them with
// CONNECT_ACL_LONG set.
const moments = 4

// faulted runs the program again and again on the disk of before, meets it with
// every fault at many moments, and looks at what it leaves behind; then it
// runs the program without one. The kernel counts calls by thread, so that not
// every moment comes.
func (r *recording) faulted(look look, args ...string) {
	t := r.t
	t.Helper()
	bin, err := build()
	must(t, err)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	dir = filepath.Join(dir, "root")
	db := filepath.Join(dir, database)
	var paths []string
	for _, p := range []string{db, db + "-journal", filepath.Dir(db), filepath.Join(dir, "var/lib"), filepath.Join(dir, "var/lib/symbiosis-connect-acl"),
		filepath.Join(filepath.Dir(db), ".firewall-blacklist-count.db.connect-acl-copy"), filepath.Join(filepath.Dir(db), ".firewall-blacklist-count.db.connect-acl-new")} {
		paths = append(paths, "-P", p)
	}
	command := append([]string{filepath.Join(bin, "symbiosis-connect-db")}, args...)
	command = append(command, "--root", dir, "--database", db)
	for _, f := range faults {
		all, met := f.count(r), 0
		step := max(1, all/moments)
		if os.Getenv("CONNECT_ACL_LONG") != "" {
			step = 1
		}
		for n := 1; n <= all; n += step {
			must(t, os.Mkdir(dir, 0o755))
			must(t, r.before.write(dir))
			when := fmt.Sprint(n)
			if f.on {
				when += "+"
			}
			strace := append([]string{"-f", "-qq", "-o", os.DevNull}, paths...)
			strace = append(strace, "-e", "trace="+f.calls, "-e", "inject="+f.calls+":"+f.does+":when="+when)
			cmd := exec.Command("strace", append(strace, command...)...)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			stuck := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
			failed := cmd.Run() != nil
			stuck.Stop()
			if failed {
				met++
			}
			fail := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatalf("%s at call %s: %v\nthe program said: %s", f.name, when, err, out.String())
				}
			}
			fail(look(dir))
			if failed && !strings.Contains(f.does, "KILL") {
				if !strings.Contains(out.String(), dir) || strings.Contains(out.String(), "goroutine") {
					t.Errorf("%s at call %s: it says nothing of use: %s", f.name, when, out.String())
				}
			}
			fail(program(dir, args...))
			fail(look(dir))
			must(t, os.RemoveAll(dir))
		}
		t.Logf("%s: %d of %d met the program", f.name, met, (all+step-1)/step)
		if met == 0 {
			t.Errorf("%s never met the program", f.name)
		}
	}
}

func TestFaultsWhileANewFileIsMade(t *testing.T) {
	t.Parallel()
	r := recorded(t, `symbiosis-connect-db maintain $HERE --writer-minutes= --retention-days 0`,
		func(db string) { generate(t, db, false) })
	r.did(newFile)
	r.faulted(keeps(1000, r.sumsOf(1000)), "maintain", "--writer-minutes=", "--retention-days", "0")
}

func TestFaultsInPlace(t *testing.T) {
	t.Parallel()
	r := recorded(t, `symbiosis-connect-db maintain $HERE --writer-minutes= --retention-days 0`, func(db string) {
		generate(t, db, true)
		execute(t, db, "CREATE TABLE other (x)", "INSERT INTO blacklist SELECT ip, timestamp, 5 FROM blacklist WHERE rowid % 30 = 1", "DROP INDEX "+blacklist.IndexName)
	})
	r.did(journal)
	r.faulted(keeps(1000, r.sumsOf(1000)), "maintain", "--writer-minutes=", "--retention-days", "0")
}
