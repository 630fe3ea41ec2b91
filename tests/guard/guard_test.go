// Package guard holds what a connection may cost against limits that do not
// depend on the speed of the machine: the plans of the queries, and what the
// helper links in.
package guard

import (
	"database/sql"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	_ "github.com/mattn/go-sqlite3"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/blacklist/blacklisttest"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/tests/lab"
)

// generate makes a hosts.db that knows so many hosts.
func generate(t *testing.T, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hosts", "hosts.db")
	if _, err := hosts.Create(t.Context(), path, uint32(os.Getuid()), uint32(os.Getgid()), false); err != nil {
		t.Fatal(err)
	}
	all := map[address.Key]hosts.History{}
	for i := range n {
		all[blacklisttest.Key(i)] = hosts.History{Count: 3, Last: 1}
	}
	if err := hosts.With(path, func(d *hosts.DB) error { _, err := d.SetHistory(t.Context(), all); return err }); err != nil {
		t.Fatal(err)
	}
	return path
}

// ask stands before every statement that a snippet hands to the ACL that asks
// hosts.db.
const ask = "{acl_connect_hosts}{"

// eximIf is a condition with no other in it.
var eximIf = regexp.MustCompile(`\$\{if eq\{[^{}]*\}\{[^{}]*\}\{([^{}]*)\}(?:\{[^{}]*\})?\}`)

// connectStatements gives every SQL statement that runs at a connection, by the
// place where it stands. What Exim expands in it is 1, and its conditions are true.
func connectStatements(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	top := filepath.Join(lab.SourceDir(), "symbiosis.d")
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
		text = eximIf.ReplaceAllString(text, "$1")
		if strings.Contains(text, "{SYMBIOSIS_INCIDENT_DATABASE") {
			t.Errorf("%s asks the firewall's database", p)
		}
		name, err := filepath.Rel(top, p)
		for i := 1; ; i++ {
			_, rest, found := strings.Cut(text, ask)
			if !found {
				return err
			}
			sql, after := balanced(rest)
			all[name+" #"+strconv.Itoa(i)], text = sql, after
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("no snippet asks hosts.db")
	}
	return all
}

// balanced gives the text up to the brace that closes it, without what is to be
// expanded, and what stands behind that.
func balanced(text string) (inside, after string) {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '{':
			depth++
		case c == '}' && depth == 0:
			return regexp.MustCompile(`\$\w+|\b[A-Z][A-Z_]{5,}\b`).ReplaceAllString(inside, "1"), text[i+1:]
		case c == '}':
			depth--
		case c == '$' && depth == 0 && strings.HasPrefix(text[i:], "${"):
			inside += "1"
		case depth == 0:
			inside += string(c)
		}
	}
	return inside, ""
}

// scans gives the steps of the statements' plans that read a whole table.
func scans(t *testing.T, path, statements string) (bad []string) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range strings.Split(statements, ";") {
		if statement = strings.TrimSpace(statement); statement == "" || strings.HasPrefix(statement, "pragma ") {
			continue
		}
		rows, err := db.Query("EXPLAIN QUERY PLAN " + statement)
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
			if strings.HasPrefix(detail, "SCAN ") && !strings.HasSuffix(detail, "CONSTANT ROW") && !strings.HasPrefix(detail, "SCAN (subquery") {
				bad = append(bad, detail)
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return bad
}

func TestEveryStatementAtConnectTimeIsASearch(t *testing.T) {
	path := generate(t, 1000)
	for place, statements := range connectStatements(t) {
		if bad := scans(t, path, statements); len(bad) > 0 {
			t.Errorf("%s: %s: %q; want a search by key", place, statements, bad)
		}
	}
	// This test can fail.
	if bad := scans(t, path, "select 1 from host where history > 5"); len(bad) == 0 {
		t.Error("no scan is seen")
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
