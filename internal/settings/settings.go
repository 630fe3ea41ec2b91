// Package settings reads the KEY=VALUE file in /etc/default that our cron job
// and the setup tool share.
package settings

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// A File holds the settings of one file. The zero File has none, so that every
// lookup gives its default.
type File struct {
	path   string
	values map[string]value
}

type value struct {
	text string
	line int
}

// Read reads the settings in path. A file that is not there has no settings
// and is no error.
func Read(path string) (File, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return File{path: path}, nil
	}
	if err != nil {
		return File{}, err
	}
	return Parse(path, data)
}

// Parse reads settings from data; path only names the file in errors. The
// syntax is the part of the shell's that a file in /etc/default needs, since
// the cron job sources the same file: NAME=VALUE, the value bare or in single
// or double quotes, blank lines, and comments from "#" to the end of the line.
// Expansions are refused, because they would mean one thing here and another
// there. Of two lines for one name the later counts.
func Parse(path string, data []byte) (File, error) {
	f := File{path: path, values: map[string]value{}}
	sc := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, ok := strings.Cut(line, "=")
		if !ok || !validName(name) {
			return File{}, fmt.Errorf("%s:%d: %q is not a setting: write NAME=VALUE without spaces around the \"=\"", path, n, line)
		}
		text, err := unquote(rest)
		if err != nil {
			return File{}, fmt.Errorf("%s:%d: %s: %w", path, n, name, err)
		}
		f.values[name] = value{text, n}
	}
	return f, sc.Err()
}

func validName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func unquote(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if q := s[0]; q == '"' || q == '\'' {
		end := strings.IndexByte(s[1:], q)
		if end < 0 {
			return "", fmt.Errorf("the quote %c is not closed", q)
		}
		text, rest := s[1:1+end], strings.TrimSpace(s[2+end:])
		if rest != "" && rest[0] != '#' {
			return "", fmt.Errorf("%q follows the closing quote: remove it", rest)
		}
		if q == '"' && strings.ContainsAny(text, "$`\\") {
			return "", fmt.Errorf("%q has an expansion: write the value itself", text)
		}
		return text, nil
	}
	for i := 1; i < len(s); i++ {
		if s[i] == '#' && (s[i-1] == ' ' || s[i-1] == '\t') {
			s = s[:i]
			break
		}
	}
	s = strings.TrimSpace(s)
	if s != "" && s[0] == '#' {
		return "", fmt.Errorf("%q: put the value in quotes", s)
	}
	if strings.ContainsAny(s, " \t\"'$`\\;&|<>()*?") {
		return "", fmt.Errorf("%q: put the value in single quotes", s)
	}
	return s, nil
}

// String gives the setting, or def where the file does not set it or sets it
// to nothing.
func (f File) String(name, def string) string {
	if v, ok := f.values[name]; ok && v.text != "" {
		return v.text
	}
	return def
}

// Bool gives a setting that is yes or no (also true/false, on/off, 1/0), or
// def where the file does not set it. Any other value is an error that names
// the file and the line.
func (f File) Bool(name string, def bool) (bool, error) {
	v, ok := f.values[name]
	if !ok || v.text == "" {
		return def, nil
	}
	switch strings.ToLower(v.text) {
	case "yes", "true", "on", "1":
		return true, nil
	case "no", "false", "off", "0":
		return false, nil
	}
	return def, fmt.Errorf("%s:%d: %s=%s: write yes or no", f.path, v.line, name, v.text)
}

// Int gives a setting that is a whole number from min to max, or def where the
// file does not set it. Any other value is an error that names the file and
// the line.
func (f File) Int(name string, def, min, max int) (int, error) {
	v, ok := f.values[name]
	if !ok || v.text == "" {
		return def, nil
	}
	n, err := strconv.Atoi(v.text)
	if err != nil || n < min || n > max {
		return def, fmt.Errorf("%s:%d: %s=%s: write a whole number from %d to %d", f.path, v.line, name, v.text, min, max)
	}
	return n, nil
}
