package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"symbiosis-connect-acl/internal/blacklist/blacklisttest"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/rules"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"symbiosis-connect-db": main,
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("DB", "--database="+e.WorkDir+"/root/var/lib/symbiosis/firewall-blacklist-count.db")
			e.Setenv("ROOT", "--root="+e.WorkDir+"/root")
			e.Setenv("COUNTS", "root/var/lib/symbiosis/firewall-blacklist-count.db")
			e.Setenv("HOSTS", "root/var/lib/symbiosis-connect-acl/hosts/hosts.db")
			e.Setenv("ONE", "SELECT history FROM host WHERE net = '192.0.2.1'")
			e.Setenv("NOW", "2026-06-01T12:00:00Z")
			// Not the clock's minute decides how long a test takes.
			e.Setenv("NOWAIT", "--writer-minutes=")
			return layOut(e.WorkDir + "/root")
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// sql FILE STATEMENT: as another program would. {now-3d} is a time.
			"sql": func(ts *testscript.TestScript, neg bool, args []string) {
				db, err := sql.Open("sqlite3", ts.MkAbs(args[0]))
				ts.Check(err)
				defer db.Close()
				_, err = db.Exec(times(args[1]))
				ts.Check(err)
			},
			// query FILE SELECT WANT: compares the one value, with what it is in
			// another database if WANT is one.
			"query": func(ts *testscript.TestScript, neg bool, args []string) {
				ask := func(file string) (got string) {
					db, err := sql.Open("sqlite3", ts.MkAbs(file)+"?mode=ro")
					ts.Check(err)
					defer db.Close()
					ts.Check(db.QueryRow(times(args[1])).Scan(&got))
					return got
				}
				want := args[2]
				if strings.HasSuffix(want, ".db") {
					want = ask(want)
				}
				if got := ask(args[0]); (got == want) == neg {
					ts.Fatalf("%s gives %q, want %q", args[1], got, want)
				}
			},
			// generate FILE ROWS
			"generate": func(ts *testscript.TestScript, neg bool, args []string) {
				n, err := strconv.Atoi(args[1])
				ts.Check(err)
				ts.Check(blacklisttest.Generate(ts.MkAbs(args[0]), blacklisttest.Spec{Seed: 1, Rows: n, Now: time.Now()}))
			},
			// hosts: makes hosts.db, as setup does.
			"hosts": func(ts *testscript.TestScript, neg bool, args []string) {
				ts.Check(os.MkdirAll(filepath.Dir(filepath.Dir(ts.MkAbs(ts.Getenv("HOSTS")))), 0o755))
				_, err := hosts.Create(context.Background(), ts.MkAbs(ts.Getenv("HOSTS")), uint32(os.Getuid()), uint32(os.Getgid()), false)
				ts.Check(err)
			},
			// damage FILE PAGE: overwrites a page; -1 is the last one.
			"damage": func(ts *testscript.TestScript, neg bool, args []string) {
				n, err := strconv.ParseInt(args[1], 10, 64)
				ts.Check(err)
				f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_WRONLY, 0)
				ts.Check(err)
				defer f.Close()
				if n < 0 {
					st, err := f.Stat()
					ts.Check(err)
					n += st.Size() / 4096
				}
				_, err = f.WriteAt([]byte(strings.Repeat("damaged ", 512)), n*4096)
				ts.Check(err)
			},
			// run-undo: runs the command that delete printed.
			"run-undo": func(ts *testscript.TestScript, neg bool, args []string) {
				_, undo, ok := strings.Cut(ts.ReadFile("stdout"), "To undo it: ")
				if !ok {
					ts.Fatalf("no command to undo it was printed")
				}
				line, _, _ := strings.Cut(undo, "\n")
				f := strings.Fields(line)
				ts.Check(ts.Exec(f[0], f[1:]...))
			},
		},
	})
}

// layOut makes root look like Symbiosis, as far as this command looks.
func layOut(root string) error {
	for _, d := range []string{"etc/exim4/symbiosis.d/00-main", "var/lib/symbiosis", "etc/symbiosis/firewall/blacklist.d"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return err
		}
	}
	for _, f := range []string{"etc/exim4/Makefile", "etc/exim4/symbiosis.d/00-main/30-acl-definitions"} {
		if err := os.WriteFile(filepath.Join(root, f), nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// times replaces {now-3d} by seconds since 1970 at the same time of an earlier
// day, a little past midnight so that hours before it are on the same day.
func times(s string) string {
	for {
		i := strings.Index(s, "{now-")
		if i < 0 {
			return s
		}
		j := i + strings.Index(s[i:], "d}")
		days, err := strconv.Atoi(s[i+5 : j])
		if err != nil {
			return s
		}
		at := time.Now().UTC().Truncate(24*time.Hour).Unix() - int64(days)*86400 + 3600
		s = fmt.Sprintf("%s%d%s", s[:i], at, s[j+2:])
	}
}

func TestFitNeverCutsTheAddress(t *testing.T) {
	records := []record{{Address: "2001:41c8:1111:2222::/64", Count: 123456, Reports: 44, First: "2026-01-02", Last: "2026-03-04T05:06:07Z",
		Firewall: []block{{Net: "2001:41c8:1111:2222::/64", Automatic: true, Ports: []string{"25", "465", "587"}}}, Denied: true, denied: "yes"}}
	for _, columns := range []int{0, 200, 120, 100, 80, 60, 40, 33} {
		var b strings.Builder
		writeTable(&b, records, false, columns, false)
		for _, line := range strings.Split(b.String(), "\n") {
			if columns > 0 && len(line) > columns {
				t.Errorf("at %d columns a line has %d: %q", columns, len(line), line)
			}
		}
		if !strings.Contains(b.String(), records[0].Address) || !strings.Contains(b.String(), "123456") {
			t.Errorf("at %d columns:\n%s", columns, b.String())
		}
		if strings.Contains(b.String(), "\x1b") {
			t.Error("colour where none was asked for")
		}
	}
	var b strings.Builder
	writeTable(&b, records, false, 80, true)
	if !strings.Contains(b.String(), "\x1b[31m") {
		t.Error("no colour")
	}
}

func TestWhoIsDenied(t *testing.T) {
	for _, tt := range []struct {
		suite, own string
		want       string // of a host that is above the threshold
	}{
		{"enforce", "enforce", "yes"}, {" enforce ", "enforce", "yes"}, {"", "", "yes"},
		{"learn", "enforce", "learn"}, {"enforce", "learn", "learn"}, {"enforce", "enforec", "learn"},
		{"learn", "off", "off"}, {"off", "enforce", "off"}, {"enforce", " off", "off"},
	} {
		j := judge{Policy: hosts.Defaults, state: stateOf(tt.suite, tt.own)}
		if got := j.denies(11, hosts.Standing{}); got != tt.want {
			t.Errorf("suite %q, history %q: %s, want %s", tt.suite, tt.own, got, tt.want)
		}
		if got := j.denies(10, hosts.Standing{}); got != "no" {
			t.Errorf("suite %q, history %q: a host at the threshold: %s", tt.suite, tt.own, got)
		}
	}
	j := judge{Policy: hosts.Defaults, state: rules.Enforce}
	for _, tt := range []struct {
		count int64
		s     hosts.Standing
		want  string
	}{
		{100, hosts.Standing{Sender: true}, "sender"}, {101, hosts.Standing{Sender: true}, "yes"},
		{999, hosts.Standing{Parole: true, Offender: true}, "parole"}, {11, hosts.Standing{User: true}, "yes"},
	} {
		if got := j.denies(tt.count, tt.s); got != tt.want {
			t.Errorf("%d, %+v: %s, want %s", tt.count, tt.s, got, tt.want)
		}
	}
}

func FuzzParseNet(f *testing.F) {
	for _, s := range []string{"192.0.2.0/24", "192.0.2.1", "2001:db8::/32", "2001:db8::1", "0.0.0.0/0", "x", "[::1]", "1.2.3.4|32"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parseNet(s)
		if err == nil && (!p.IsValid() || p != p.Masked()) {
			t.Errorf("%q gives %v", s, p)
		}
	})
}
