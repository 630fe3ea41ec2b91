package hosts

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// answerWait is how long a statement of Exim's waits for a lock: see
// 15-acl-connect-hosts.
const answerWait = 800 * time.Millisecond

// Answer carries out a statement that Exim cannot carry out itself, with the
// rights of the process, and gives the row that it ends in as Exim's own lookup
// does: name=value, with a space behind each.
func Answer(ctx context.Context, path, statement string) (string, error) {
	d, err := openFor(path, answerWait)
	if err != nil {
		return "", err
	}
	defer d.Close()
	// The driver carries out no more than the last statement of a query.
	if i := strings.LastIndexByte(statement, ';'); i >= 0 {
		if err := d.Exec(ctx, statement[:i]); err != nil {
			return "", err
		}
		statement = statement[i+1:]
	}
	rows, err := d.db.QueryContext(ctx, statement)
	if err != nil {
		return "", explain(path, err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return "", explain(path, err)
	}
	if !rows.Next() {
		return "", explain(path, errors.Join(rows.Err(), errors.New("the statement gave no row")))
	}
	values, to := make([]any, len(names)), make([]any, len(names))
	for i := range values {
		to[i] = &values[i]
	}
	if err := rows.Scan(to...); err != nil {
		return "", explain(path, err)
	}
	var b strings.Builder
	for i, name := range names {
		value := fmt.Sprint(values[i])
		if strings.ContainsAny(value, " \t\r\n\"\\") || value == "" {
			return "", fmt.Errorf("%s: %s is not one word", path, name)
		}
		fmt.Fprintf(&b, "%s=%s ", name, value)
	}
	return b.String(), nil
}
