package hosts

import (
	"context"

	"symbiosis-connect-acl/internal/address"
)

// Unasked counts the rows under keys that Exim asks for no host: whatever is not
// spelled as this package spells it. Only a hand or another program can have
// written them. It gives a few of the keys.
func (d *DB) Unasked(ctx context.Context) (n int64, some []string, err error) {
	const few = 5
	rows, err := d.db.QueryContext(d.here(ctx), "select net from host")
	if err != nil {
		return 0, nil, explain(d.path, err)
	}
	defer rows.Close()
	for rows.Next() {
		var net string
		if err := rows.Scan(&net); err != nil {
			return 0, nil, explain(d.path, err)
		}
		if ctx.Err() != nil {
			return 0, nil, ctx.Err()
		}
		if k, err := address.Parse(net); err == nil && k.String() == net {
			continue
		}
		if n++; len(some) < few {
			some = append(some, net)
		}
	}
	return n, some, explain(d.path, rows.Err())
}
