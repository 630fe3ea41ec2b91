// Package guard holds what a connection may cost against limits that do not
// depend on the speed of the machine: the plans of the queries, and what the
// helper links in.
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
func generate(t *testing.T, index bool) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "count.db")
	if err := blacklisttest.Generate(path, blacklisttest.Spec{Seed: 1, Rows: 1000, Now: time.Now()}); err != nil {
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
	with, without := generate(t, true), generate(t, false)
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
