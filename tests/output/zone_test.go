package output

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"symbiosis-connect-acl/internal/hosts"
)

// A zone is written into a device or a pipe, and replaces no such thing.
func TestZoneOutput(t *testing.T) {
	dir := root(t)
	defer machineIsWell(t)
	must(t, os.Mkdir(filepath.Join(dir, "var/lib/symbiosis-connect-acl"), 0o755))
	_, err := hosts.Create(t.Context(), filepath.Join(dir, "var/lib/symbiosis-connect-acl/hosts/hosts.db"), uint32(os.Getuid()), uint32(os.Getgid()), false)
	must(t, err)
	before := devices(t, dir)
	zone := func(out *bytes.Buffer, more ...string) (string, int) {
		return run(dir, out, "db", append([]string{"zone", "--zone", "bl.example.org", "--origin", "mail1.example.org"}, more...)...)
	}
	serial := regexp.MustCompile(`\b\d{10}\b`)
	var want, got bytes.Buffer
	if errs, code := zone(&want); code != 0 || !strings.Contains(want.String(), "2.0.0.127 A 127.0.0.2") {
		t.Fatalf("%d, %s%s", code, want.String(), errs)
	}
	for _, file := range []string{"/dev/null", "/dev/stdout", "/proc/self/fd/1", "/new"} {
		got.Reset()
		if errs, code := zone(&got, "--output", file); code != 0 {
			t.Errorf("%s: %d, %s", file, code, errs)
		}
		if strings.HasSuffix(file, "1") || strings.HasSuffix(file, "out") {
			if serial.ReplaceAllString(got.String(), "") != serial.ReplaceAllString(want.String(), "") {
				t.Errorf("%s: %s", file, got.String())
			}
		}
	}
	if data, err := os.ReadFile(dir + "/new"); err != nil || serial.ReplaceAllString(string(data), "") != serial.ReplaceAllString(want.String(), "") {
		t.Errorf("a file: %s, %v", data, err)
	}
	if errs, code := zone(&got, "--output", "/dev/full"); code != 1 || !strings.Contains(errs, "no space left on device") {
		t.Errorf("/dev/full: %d, %s", code, errs)
	}
	read := make(chan string)
	go func() {
		data, _ := os.ReadFile(dir + "/dev/pipe")
		read <- string(data)
	}()
	if errs, code := zone(&got, "--output", "/dev/pipe"); code != 0 {
		t.Errorf("a pipe: %d, %s", code, errs)
	}
	if data := <-read; serial.ReplaceAllString(data, "") != serial.ReplaceAllString(want.String(), "") {
		t.Errorf("a pipe: %s", data)
	}
	if now := devices(t, dir); !slices.Equal(now, before) {
		t.Errorf("/dev is now %q; was %q", now, before)
	}
	for _, command := range []string{"zone", "publish"} {
		if errs, code := run(dir, nil, "db", command, "--zone", "bl.example.org", "--database", "/dev/null"); code != 2 || !strings.Contains(errs, "leave --database out") {
			t.Errorf("%s --database: %d, %s", command, code, errs)
		}
	}
}
