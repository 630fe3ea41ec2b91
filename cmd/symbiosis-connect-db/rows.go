package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"symbiosis-connect-acl/cmd/internal/command"
	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/words"
)

// A rowWriter writes rows as JSON (an array, one row on a line) or CSV.
type rowWriter struct {
	w    *bufio.Writer
	csv  *csv.Writer
	rows int
}

// newRowWriter gives a writer of "json" or "csv".
func newRowWriter(w io.Writer, format string) (*rowWriter, error) {
	b := bufio.NewWriter(w)
	switch format {
	case "json":
		return &rowWriter{w: b}, nil
	case "csv":
		c := csv.NewWriter(b)
		return &rowWriter{w: b, csv: c}, c.Write(csvHeader)
	}
	return nil, fmt.Errorf("unknown format %q; known are json and csv", format)
}

var csvHeader = []string{"ip", "timestamp", "count"}

// A jsonRow is a row in JSON. What is not there is nil.
type jsonRow struct {
	IP        *string         `json:"ip"`
	Timestamp *int64          `json:"timestamp"`
	Count     *int64          `json:"count"`
	NFTFW     json.RawMessage `json:"nftfw,omitempty"` // the other columns of nftfw's table
}

// Write writes one row.
func (w *rowWriter) Write(r blacklist.Row) error {
	w.rows++
	if w.csv != nil {
		return w.csv.Write([]string{cell(r.IP), strconv.FormatInt(r.Timestamp, 10), strconv.FormatInt(r.Count, 10)})
	}
	lead := ",\n"
	if w.rows == 1 {
		lead = "[\n"
	}
	b, err := json.Marshal(jsonRow{&r.IP, &r.Timestamp, &r.Count, json.RawMessage(r.NFTFW)})
	if err != nil {
		return err
	}
	w.w.WriteString(lead)
	_, err = w.w.Write(command.EscapeJSON(b))
	return err
}

// cell makes a text fit for a cell of CSV: a terminal obeys nothing in it, and a
// spreadsheet takes it for no formula.
func cell(s string) string {
	if s = words.Printable(s); strings.IndexAny(s, "=+-@＝＋－＠") == 0 {
		return "'" + s
	}
	return s
}

// Close ends the text. It does not close what it writes to.
func (w *rowWriter) Close() error {
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

// readRows reads what rowWriter wrote, JSON or CSV by its first character, or
// what an administrator wrote like it: an address in any spelling becomes the
// key. All of it is checked before anything is returned; an error names the
// line or the row.
func readRows(r io.Reader) ([]blacklist.Row, error) {
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

func readJSON(r io.Reader) ([]blacklist.Row, error) {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	var all []blacklist.Row
	for d.More() {
		var v jsonRow
		err := d.Decode(&v)
		if err == nil && (v.IP == nil || v.Timestamp == nil || v.Count == nil) {
			err = errors.New("a row needs ip, timestamp and count")
		}
		var row blacklist.Row
		if err == nil {
			row, err = blacklist.NewRow(*v.IP, *v.Timestamp, *v.Count)
			if v.NFTFW != nil && err == nil {
				row.IP, row.NFTFW = *v.IP, string(v.NFTFW)
			}
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

func readCSV(r io.Reader) ([]blacklist.Row, error) {
	c := csv.NewReader(r)
	c.FieldsPerRecord = -1
	c.ReuseRecord = true
	var all []blacklist.Row
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
		row, err := blacklist.NewRow(f[0], ts, n)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		all = append(all, row)
	}
}
