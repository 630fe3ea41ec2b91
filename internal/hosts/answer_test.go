package hosts

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What an Exim with SQLite gets of a statement, one without gets of Answer.
func TestAnswer(t *testing.T) {
	path := place(t)
	ask := func(statement string) (string, error) { return Answer(t.Context(), path, statement) }
	got, err := ask("pragma synchronous=normal; insert into host (net, login) values ('192.0.2.1', 5);" +
		" insert into host (net, failures) values ('192.0.2.2', 7); select 0 _, 'yes' done, 12 at")
	if want := "_=0 done=yes at=12 "; got != want || err != nil {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	got, err = ask("select 'yes' done, coalesce(login,0) login, coalesce(failures,0) failures from (select 1) left join host on net='192.0.2.2'")
	if want := "done=yes login=0 failures=7 "; got != want || err != nil {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	for _, statement := range []string{"", "nonsense", "select nothing from host", "select net from host where net = 'x'", "insert into nowhere values (1); select 1", "select 'two words' done", "select '' done"} {
		if got, err := ask(statement); err == nil || got != "" || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %q, %v; want an error that names the file", statement, got, err)
		}
	}
	with(t, path, func(d *DB) error { // somebody writes
		tx, err := d.db.Begin()
		must(t, err)
		defer tx.Rollback()
		if _, err := ask("update host set login = 6; select 'yes' done"); !errors.Is(err, ErrBusy) {
			t.Errorf("beside a writer: %v; want ErrBusy", err)
		}
		return nil
	})
	absent := filepath.Join(filepath.Dir(path), "absent.db")
	if _, err := Answer(t.Context(), absent, "select 'yes' done"); err == nil {
		t.Error("an absent file answers")
	}
	if _, err := os.Stat(absent); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the absent file was made: %v", err)
	}
}
