package lab

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
)

// Unpack gives a root the files of our package as dpkg unpacks them.
func Unpack(t testing.TB, r *Root) {
	t.Helper()
	rename := strings.NewReplacer("symbiosis-connect", "sympl-connect", "/symbiosis", "/sympl")
	if r.Platform == "symbiosis" {
		rename = strings.NewReplacer()
	}
	share := "usr/share/" + r.Platform + "-connect-acl"
	for from, to := range map[string]string{
		"symbiosis.d":               "etc/exim4/" + r.Platform + ".d",
		"patterns.d":                share + "/patterns.d",
		"debian/marker.conf":        share + "/marker.conf",
		"debian/refused-helo-names": share + "/refused-helo-names",
	} {
		from = filepath.Join(SourceDir(), from)
		must(t, filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(from, p)
			if err != nil {
				return err
			}
			r.Write(filepath.Join(to, rel), rename.Replace(string(data)), 0o644)
			return nil
		}))
	}
}

// Snapshot describes every file below the directories that setup may touch:
// content, owner, mode and, with times, the time of change.
func Snapshot(t testing.TB, r *Root, times bool) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, dir := range []string{"etc", "var/lib", "var/spool/exim4", "var/log/exim4", "tmp", "run", "srv"} {
		must(t, filepath.WalkDir(r.Path(dir), func(p string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			// hosts.db stays until the package is purged, and its directory's.
			if filepath.Base(filepath.Dir(p)) == "lib" && strings.HasSuffix(p, "-connect-acl") {
				return nil
			} else if strings.Contains(p, "-connect-acl/hosts") {
				return fs.SkipDir
			}
			st, err := d.Info()
			if err != nil {
				return err
			}
			sys := st.Sys().(*syscall.Stat_t)
			s := fmt.Sprintf("%v %d:%d", st.Mode(), sys.Uid, sys.Gid)
			if st.Mode().IsRegular() {
				data, err := os.ReadFile(p)
				if err != nil {
					return err
				}
				s += fmt.Sprintf(" %x links %d", sha256.Sum256(data), sys.Nlink)
				if times {
					s += " " + st.ModTime().String()
				}
			}
			all[strings.TrimPrefix(p, r.Dir)] = s
			return nil
		}))
	}
	return all
}

// Differ lists what is not the same in two snapshots.
func Differ(a, b map[string]string, except ...string) []string {
	var all []string
	seen := map[string]bool{}
	for _, m := range []map[string]string{a, b} {
		for p := range m {
			skip := seen[p]
			for _, e := range except {
				skip = skip || p == e
			}
			seen[p] = true
			if !skip && a[p] != b[p] {
				all = append(all, fmt.Sprintf("%s: %s | %s", p, a[p], b[p]))
			}
		}
	}
	sort.Strings(all)
	return all
}

// Same reports what is not the same in two snapshots as errors.
func Same(t testing.TB, when string, a, b map[string]string, except ...string) {
	t.Helper()
	if d := Differ(a, b, except...); len(d) > 0 {
		t.Errorf("%s:\n%s", when, strings.Join(d, "\n"))
	}
}
