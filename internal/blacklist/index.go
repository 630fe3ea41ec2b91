package blacklist

import (
	"context"
	"errors"
	"io/fs"
	"time"
)

// HasIndex reports whether a lookup by address is an index search: whether any
// index, ours or another's, has ip as its first column and covers every row.
func HasIndex(ctx context.Context, path string) (bool, error) {
	db, err := openReadOnly(path)
	if err != nil {
		return false, err
	}
	defer db.Close()
	ok, err := hasIndex(ctx, db)
	return ok, explain(path, err)
}

func hasIndex(ctx context.Context, db querier) (bool, error) {
	if _, err := schemaOf(ctx, db); err != nil {
		return false, err
	}
	var n int
	err := db.QueryRowContext(ctx, `SELECT count(*) FROM pragma_index_list('`+Table+`') AS l
		JOIN pragma_index_xinfo(l.name) AS i
		WHERE l.partial = 0 AND i.seqno = 0 AND lower(i.name) = 'ip' AND i.coll = 'BINARY' COLLATE NOCASE`).Scan(&n)
	return n > 0, err
}

// DropIndex drops the index that this suite made and no other. It reports
// whether there was one. A database that does not exist has none.
func DropIndex(ctx context.Context, path string) (bool, error) {
	var dropped bool
	err := shortWrite(ctx, path, func(tx querier) error {
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master WHERE type = 'index' AND name = ?",
			IndexName).Scan(&n); err != nil || n == 0 {
			return err
		}
		_, err := tx.ExecContext(ctx, "DROP INDEX "+IndexName)
		dropped = err == nil
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return dropped && err == nil, err
}

// Index makes the index if no index serves the lookup by address. It reports
// whether it made one. A big table is rewritten into a new file for it, so
// that nobody waits (see Maintain).
func Index(ctx context.Context, path string) (created bool, err error) {
	if ok, err := HasIndex(ctx, path); err != nil || ok {
		return false, err
	}
	r, err := Maintain(ctx, path, Options{Index: true, WriterMinutes: WriterMinutes, Wait: 30 * time.Second})
	return r.Indexed && err == nil, err
}
