// Package guard holds what a connection may cost against limits that do not
// depend on the speed of the machine: the plans of the queries and the number
// of instructions.
package guard

import (
	"context"
	"database/sql"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"

	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/blacklist/blacklisttest"
	"symbiosis-connect-acl/tests/lab"
)

// generate makes a count database, as the platform leaves it or with our index.
func generate(t *testing.T, rows int, index bool) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "count.db")
	if err := blacklisttest.Generate(path, blacklisttest.Spec{Seed: 1, Rows: rows, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if index {
		if _, err := blacklist.Maintain(context.Background(), path, blacklist.Options{Index: true}); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// lookups finds the SQL of every sqlite lookup in a snippet: what stands behind
// the file's name, with the lines joined.
var lookups = regexp.MustCompile(`(?s)\$\{lookup\s+sqlite\s*\{\s*(\S+)\s+(.*?;)\s*\}`)

// connectStatements gives every SQL statement that runs at connect time, by
// the place where it stands.
func connectStatements(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{"blacklist.SumQuery": blacklist.SumQuery}
	top := filepath.Join(lab.SourceDir(), "symbiosis.d")
	uses := 0
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		var code []string
		for _, l := range strings.Split(string(data), "\n") {
			if !strings.HasPrefix(strings.TrimSpace(l), "#") {
				code = append(code, l)
			}
		}
		text := regexp.MustCompile(`\\\n\s*`).ReplaceAllString(strings.Join(code, "\n"), "")
		name, err := filepath.Rel(top, p)
		uses += strings.Count(text, "lookup sqlite")
		for i, m := range lookups.FindAllStringSubmatch(text, -1) {
			all[name+" #"+strconv.Itoa(i+1)] = regexp.MustCompile(`\$\w+`).ReplaceAllString(m[2], "192.0.2.1")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if uses == 0 || uses != len(all)-1 {
		t.Fatalf("the snippets have %d sqlite lookups, and the SQL of %d was found", uses, len(all)-1)
	}
	// The helper asks before Go's runtime is up; it must ask the same.
	early, err := os.ReadFile(filepath.Join(lab.SourceDir(), "cmd/symbiosis-connect-check/early.c"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`sqlite3_prepare_v2\(db, "([^"]+)"`).FindStringSubmatch(string(early))
	if m == nil {
		t.Fatal("early.c has no query")
	}
	all["early.c"] = m[1]
	return all
}

// scans gives the steps of the statement's plan that read a whole table.
func scans(t *testing.T, path, statement string) (bad []string) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var args []any
	if strings.Contains(statement, "?") {
		args = append(args, "192.0.2.1")
	}
	rows, err := db.Query("EXPLAIN QUERY PLAN "+statement, args...)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		if detail != "SCAN CONSTANT ROW" && !(strings.HasPrefix(detail, "SEARCH ") && strings.Contains(detail, "INDEX") && strings.Contains(detail, "(ip=?)")) {
			bad = append(bad, detail)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return bad
}

func TestEveryStatementAtConnectTimeIsAnIndexSearch(t *testing.T) {
	with, without := generate(t, 1000, true), generate(t, 1000, false)
	for place, statement := range connectStatements(t) {
		if bad := scans(t, with, statement); len(bad) > 0 {
			t.Errorf("%s: %s: %q; want a search by index", place, statement, bad)
		}
		// This test can fail: without the index they are no such thing.
		if strings.Contains(statement, "from") && len(scans(t, without, statement)) == 0 {
			t.Errorf("%s: %s: no scan is seen in a database without an index", place, statement)
		}
	}
}

// maxInstructions is the ceiling for one answer of the helper from the count
// database, starting and ending the process included. It was measured with
// Debian 12's compiler and has a third of headroom, which is less than what
// the start of Go's runtime alone would cost.
const maxInstructions = 340_000

// instructions runs the program under valgrind and counts.
func instructions(t *testing.T, args ...string) int {
	t.Helper()
	out, err := exec.Command("valgrind", append([]string{"--tool=callgrind",
		"--callgrind-out-file=" + filepath.Join(t.TempDir(), "callgrind")}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("valgrind: %v\n%s", err, out)
	}
	m := regexp.MustCompile(`Collected : (\d+)`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("valgrind does not say how many instructions it saw:\n%s", out)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestInstructionsOfTheHelper(t *testing.T) {
	if _, err := exec.LookPath("valgrind"); err != nil {
		if os.Getenv("CONNECT_ACL_LAB") == "require" {
			t.Fatal("valgrind is not installed")
		}
		t.Skip("valgrind is not installed")
	}
	// As make builds it.
	program := filepath.Join(t.TempDir(), "symbiosis-connect-check")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-tags", "netgo,osusergo,sqlite_omit_load_extension,urfave_cli_no_docs",
		"-ldflags", "-s -w -linkmode external -extldflags -static", "-o", program, "./cmd/symbiosis-connect-check")
	build.Dir = lab.SourceDir()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	addr := blacklisttest.Key(7).String()
	few := instructions(t, program, "db", "--database", generate(t, 1000, true), addr)
	unknown := instructions(t, program, "db", "--database", generate(t, 100_000, true), "193.0.6.139")
	scan := instructions(t, program, "db", "--database", generate(t, 1000, false), addr)
	t.Logf("%d instructions with 1000 rows, %d with 100000, %d without an index", few, unknown, scan)
	if few > maxInstructions {
		t.Errorf("the helper takes %d instructions for an answer; the ceiling is %d", few, maxInstructions)
	}
	if unknown > few+few/5 {
		t.Errorf("with 100 times the rows the helper takes %d instructions instead of %d", unknown, few)
	}
	if scan <= few {
		t.Errorf("reading a whole table takes %d instructions and searching an index %d: the count means nothing", scan, few)
	}
}

// What a program links in is initialised at every start of it, whether it is
// used or not: TLS alone made the helper's start longer by a tenth.
func TestTheHelperLinksNoMoreThanItNeeds(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "-tags", "netgo,osusergo,sqlite_omit_load_extension,urfave_cli_no_docs", "./cmd/symbiosis-connect-check")
	list.Dir = lab.SourceDir()
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for _, p := range strings.Fields(string(out)) {
		switch p {
		case "crypto/tls", "crypto/x509", "net/http", "html/template":
			t.Errorf("symbiosis-connect-check links %s in; go list -deps tells for which package", p)
		}
	}
}
