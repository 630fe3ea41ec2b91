package blacklist

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"symbiosis-connect-acl/internal/address"
)

// Export calls do for every row, in the order of their storage. It reads some
// thousand rows at a time, each time without a lock; rows that are added
// meanwhile may come too.
func Export(ctx context.Context, path string, do func(Row) error) error {
	const step = 20_000
	for next := int64(-1 << 63); ; {
		var part []Row
		_, err := unlocked(ctx, path, func(db *sql.DB) error {
			part = part[:0]
			if s, err := schemaOf(ctx, db); err != nil {
				return err
			} else if s != SchemaSymbiosis {
				return fmt.Errorf("a table of %s has no rows to export: it keeps sums only", s)
			}
			rows, err := db.QueryContext(ctx, "SELECT rowid, ip, timestamp, count FROM "+Table+
				" WHERE rowid >= ? ORDER BY rowid LIMIT ?", next, step)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				r, err := scanRow(rows)
				if err != nil {
					return err
				}
				part = append(part, r)
			}
			return rows.Err()
		})
		if err != nil {
			return err
		}
		for _, r := range part {
			if err := do(r); err != nil {
				return err
			}
		}
		if len(part) < step || part[len(part)-1].rowid == 1<<63-1 {
			return nil
		}
		next = part[len(part)-1].rowid + 1
	}
}

// A RowWriter writes rows as JSON (an array, one row on a line) or CSV.
type RowWriter struct {
	w    *bufio.Writer
	csv  *csv.Writer
	rows int
}

// NewRowWriter gives a writer of "json" or "csv".
func NewRowWriter(w io.Writer, format string) (*RowWriter, error) {
	b := bufio.NewWriter(w)
	switch format {
	case "json":
		return &RowWriter{w: b}, nil
	case "csv":
		c := csv.NewWriter(b)
		return &RowWriter{w: b, csv: c}, c.Write(csvHeader)
	}
	return nil, fmt.Errorf("unknown format %q; known are json and csv", format)
}

var csvHeader = []string{"ip", "timestamp", "count"}

// Write writes one row.
func (w *RowWriter) Write(r Row) error {
	w.rows++
	if w.csv != nil {
		return w.csv.Write([]string{r.IP, itoa(r.Timestamp), itoa(r.Count)})
	}
	lead := ",\n"
	if w.rows == 1 {
		lead = "[\n"
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	w.w.WriteString(lead)
	_, err = w.w.Write(b)
	return err
}

// Close ends the text. It does not close what it writes to.
func (w *RowWriter) Close() error {
	if w.csv != nil {
		w.csv.Flush()
		return errors.Join(w.csv.Error(), w.w.Flush())
	}
	if w.rows == 0 {
		w.w.WriteString("[")
	}
	w.w.WriteString("\n]\n")
	return w.w.Flush()
}

// ReadRows reads what RowWriter wrote, JSON or CSV by its first character, or
// what an administrator wrote like it: an address in any spelling becomes the
// key. All of it is checked before anything is returned; an error names the
// line or the row.
func ReadRows(r io.Reader) ([]Row, error) {
	b := bufio.NewReader(r)
	for {
		c, err := b.ReadByte()
		if err == io.EOF {
			return nil, errors.New("there is nothing to read: JSON begins with [, CSV with the line ip,timestamp,count")
		} else if err != nil {
			return nil, err
		}
		if c == ' ' || c == '\t' || c == '\r' || c == '\n' {
			continue
		}
		b.UnreadByte()
		if c == '[' {
			return readJSON(b)
		}
		return readCSV(b)
	}
}

func readJSON(r io.Reader) ([]Row, error) {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	var all []Row
	for d.More() {
		var v struct {
			IP        *string `json:"ip"`
			Timestamp *int64  `json:"timestamp"`
			Count     *int64  `json:"count"`
		}
		err := d.Decode(&v)
		if err == nil && (v.IP == nil || v.Timestamp == nil || v.Count == nil) {
			err = errors.New("a row needs ip, timestamp and count")
		}
		var row Row
		if err == nil {
			row, err = newRow(*v.IP, *v.Timestamp, *v.Count)
		}
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", len(all)+1, err)
		}
		all = append(all, row)
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("after row %d: %w", len(all), err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("after row %d: there is more after the closing ]", len(all))
	}
	return all, nil
}

func readCSV(r io.Reader) ([]Row, error) {
	c := csv.NewReader(r)
	c.FieldsPerRecord = -1
	c.ReuseRecord = true
	var all []Row
	for first := true; ; first = false {
		f, err := c.Read()
		if err == io.EOF && !first {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		line, _ := c.FieldPos(0)
		if first {
			if len(f) != 3 || strings.TrimSpace(f[0]) != "ip" || f[1] != "timestamp" || f[2] != "count" {
				return nil, fmt.Errorf("line %d: the first line must be ip,timestamp,count", line)
			}
			continue
		}
		if len(f) != 3 {
			return nil, fmt.Errorf("line %d: %d fields where there should be 3", line, len(f))
		}
		ts, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("line %d: timestamp %q is not a whole number", line, f[1])
		}
		n, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("line %d: count %q is not a whole number", line, f[2])
		}
		row, err := newRow(f[0], ts, n)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		all = append(all, row)
	}
}

func newRow(ip string, timestamp, count int64) (Row, error) {
	k, err := address.Parse(ip)
	if err != nil {
		return Row{}, err
	}
	r := Row{IP: k.String(), Timestamp: timestamp, Count: count}
	// A network inside a host's, as Sympl's firewall stores it, stays that.
	if p, err := netip.ParsePrefix(ip); err == nil && k.Is6() && p.Masked().String() == ip {
		r.IP = ip
	}
	return r, r.check()
}
