package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"symbiosis-connect-acl/internal/blacklist"
)

func FuzzReadRows(f *testing.F) {
	for _, s := range []string{
		"[]", "[\n]\n", `[{"ip":"192.0.2.1","timestamp":1700000000,"count":3}]`, "ip,timestamp,count\n192.0.2.1,1700000000,3\n",
		"ip,timestamp,count\r\n\"2001:db8::/64\",1,-1\r\n", "", "  [", `[{"ip":"192.0.2.1"}]`, `[{"ip":"x","timestamp":1,"count":1}]`,
		"ip,timestamp\n", `[{"ip":"192.0.2.1","timestamp":1e3,"count":1}]`, `[1]`, `[] []`, "ip,timestamp,count\n1.2.3.4,99999999999999999999,1",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, err := readRows(bytes.NewReader(b))
		if err != nil {
			if rows != nil {
				t.Error("an error with rows")
			}
			return
		}
		for _, format := range []string{"json", "csv"} {
			var out bytes.Buffer
			w, _ := newRowWriter(&out, format)
			for _, r := range rows {
				if as, err := blacklist.NewRow(r.IP, r.Timestamp, r.Count); err != nil || as != r {
					t.Errorf("a bad row got through: %+v", r)
				}
				if err := w.Write(r); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			again, err := readRows(&out)
			if err != nil || fmt.Sprint(again) != fmt.Sprint(rows) {
				t.Errorf("%s: %v became %v, %v", format, rows, again, err)
			}
		}
	})
}

func TestReadRowsNamesTheLine(t *testing.T) {
	for in, want := range map[string]string{
		"ip,timestamp,count\n192.0.2.1,1,1\n192.0.2.300,1,1\n":            "line 3",
		"ip,timestamp,count\n192.0.2.1,x,1\n":                             "line 2",
		"address,count\n":                                                 "line 1",
		`[{"ip":"192.0.2.1","timestamp":1,"count":1},{"ip":"192.0.2.1"}]`: "row 2",
		`[{"ip":"192.0.2.1","timestamp":1,"count":1,"more":1}]`:           "row 1",
		`[{"ip":"192.0.2.1","timestamp":-1,"count":1}]`:                   "row 1",
		`[{"ip":"192.0.2.1","timestamp":1,"count":1}] x`:                  "after row 1",
		`[{"ip":"192.0.2.1","timestamp":1,"count":1}`:                     "after row 1",
		`[{"ip":"192.0.2.0/24","timestamp":1,"count":1}]`:                 "several IPv4 addresses",
		" \n": "nothing to read",
	} {
		if rows, err := readRows(strings.NewReader(in)); err == nil || rows != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v; want an error with %q", in, rows, err, want)
		}
	}
}
