package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"symbiosis-connect-acl/internal/atomicfile"
	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/clock"
)

// save writes the rows where restore finds them, before they are deleted.
func save(p place, rows []blacklist.Row) (file string, err error) {
	if err := os.MkdirAll(p.platform.StateDir, 0o755); err != nil {
		return "", err
	}
	if err := atomicfile.SyncDir(filepath.Dir(p.platform.StateDir)); err != nil { // as it may be new
		return "", err
	}
	var b bytes.Buffer
	w, err := newRowWriter(&b, "json")
	if err != nil {
		return "", err
	}
	for _, r := range rows {
		if err := w.Write(r); err != nil {
			return "", err
		}
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	base := filepath.Join(p.platform.StateDir, "deleted-"+clock.Now().UTC().Format("20060102-150405"))
	for n := 1; ; n++ {
		file = base + ".json"
		if n > 1 {
			file = fmt.Sprintf("%s-%d.json", base, n)
		}
		// Another delete may be at it in this very second.
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		} else if err != nil {
			return "", err
		}
		f.Close()
		if err := atomicfile.Write(file, b.Bytes(), 0o600); err != nil {
			os.Remove(file)
			return "", err
		}
		return file, nil
	}
}

// quoted spells a path for a shell.
func quoted(s string) string {
	if strings.IndexFunc(s, func(r rune) bool {
		return !(r == '/' || r == '.' || r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
	}) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
