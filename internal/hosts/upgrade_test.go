package hosts

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"symbiosis-connect-acl/internal/address"
)

// older makes the database at path one of layout 1, in use, with one host.
func older(t *testing.T, path string) {
	t.Helper()
	must(t, asOwner(filepath.Dir(path), func() error {
		must(t, discard(path))
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o640)
		must(t, errors.Join(err, f.Close()))
		d, err := open(path)
		must(t, err)
		defer d.Close()
		d.bind()
		return d.Exec(t.Context(), layout1+";pragma journal_mode = wal;"+
			"insert into host values ('192.0.2.1', 12, 100, 1, 2, 3, 4, 5, 6, 7, 8); insert into state values ('read', 'x')")
	}))
}

func olderRow(t *testing.T, path string) {
	t.Helper()
	at := func(n int64) time.Time { return time.Unix(n, 0).UTC() }
	k := key(t, "192.0.2.1")
	with(t, path, func(d *DB) error {
		r, err := d.Get(t.Context(), k)
		if want := (Row{Key: k, History: 12, HistoryLast: at(100), First: at(1), Last: at(2), Greeted: at(3), ListsPassed: at(4), Login: at(5),
			Delivered: at(6), Failures: 7, FailuresSince: at(8)}); r != want {
			t.Errorf("%+v, not %+v", r, want)
		}
		must(t, err)
		if read, err := d.State(t.Context(), "read"); read != "x" || err != nil {
			t.Errorf("state: %q %v", read, err)
		}
		salt, err := d.State(t.Context(), "salt")
		if len(salt) != 16 {
			t.Errorf("salt %q", salt)
		}
		_, forget := d.Forget(t.Context(), []address.Key{k})
		return errors.Join(err, forget, d.Check(t.Context()))
	})
}

// A file of an older version gets what is new, and keeps its rows: in place, and
// when it comes back as the copy of one that is lost.
func TestUpgrade(t *testing.T) {
	path := place(t)
	older(t, path)
	if _, err := Open(path); !errors.Is(err, ErrOld) {
		t.Errorf("an older file: %v", err)
	}
	before := inode(t, path)
	for range 2 {
		if o, err := Ensure(t.Context(), path); o != Sound || err != nil {
			t.Fatalf("%v %v", o, err)
		}
	}
	if inode(t, path) != before {
		t.Error("the file is another; Exim has the old one open")
	}
	olderRow(t, path)

	older(t, path)
	must(t, os.Rename(path, Copy(path)))
	for _, suffix := range []string{"-wal", "-shm"} {
		os.Rename(path+suffix, Copy(path)+suffix)
	}
	if o, err := Ensure(t.Context(), path); o != Restored || err != nil {
		t.Fatalf("%v %v", o, err)
	}
	olderRow(t, path)
}

// Version 2 had a trigger, which Exim read at every connection.
func TestUpgradeWithoutTrigger(t *testing.T) {
	path := place(t)
	with(t, path, func(d *DB) error {
		return d.Exec(t.Context(), "create view failed_login as select 1; alter table guess drop column first; alter table account drop column first; pragma user_version = 2; insert into host (net, login) values ('192.0.2.1', 5)")
	})
	if o, err := Ensure(t.Context(), path); o != Sound || err != nil {
		t.Fatalf("%v %v", o, err)
	}
	with(t, path, func(d *DB) error {
		var rest string
		must(t, d.db.QueryRow("select group_concat(type || ' ' || name) || (select login from host) || (select count(first) from guess) from sqlite_master where type in ('view', 'trigger') or name = 'host'").Scan(&rest))
		if rest != "table host50" {
			t.Error(rest)
		}
		return nil
	})
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st syscall.Stat_t
	must(t, syscall.Stat(path, &st))
	return st.Ino
}
