// Package tsig reads the key with which messages to a name server are signed
// (RFC 8945), from a file in BIND's form or Knot's.
package tsig

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"symbiosis-connect-acl/internal/remedy"
)

// A Key is one key. It never shows its secret when it is printed.
type Key struct {
	Name      string // in small letters, with a final dot
	Algorithm string // likewise, such as hmac-sha256.
	Secret    Secret // base64
}

// A Secret is a text that must not get into a log.
type Secret string

// String hides it.
func (Secret) String() string { return "(secret)" }

// GoString hides it.
func (Secret) GoString() string { return "(secret)" }

// algorithms are those that are good enough. SHA-1 and MD5 are not.
var algorithms = []string{"hmac-sha256", "hmac-sha384", "hmac-sha512"}

// leastSecret is how many octets a secret has at least.
const leastSecret = 16

// Read reads the key in the file at path, which nobody but its owner may read,
// and which must be root's or the caller's.
func Read(path string) (Key, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe waits for nobody
	if err != nil {
		return Key{}, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return Key{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return Key{}, fmt.Errorf("%s is no regular file", path)
	case st.Mode&0o077 != 0 || st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return Key{}, remedy.Add(fmt.Errorf("%s: others than root may read or change the key", path), "chown root: %s && chmod 600 %s", path, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, 1<<16))
	if err != nil {
		return Key{}, err
	}
	k, err := Parse(string(text))
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

var (
	bindKey  = regexp.MustCompile(`(?s)^key\s+"?([^"\s{]+)"?\s*\{(.*)\}\s*;?$`)
	bindItem = regexp.MustCompile(`^\s*(algorithm|secret)\s+"?([^"\s]+)"?\s*$`)
	knotItem = regexp.MustCompile(`^\s*(?:-\s+)?(id|algorithm|secret):\s*"?([^"\s]+)"?$`)
)

var errForm = errors.New(`not a key: write it as tsig-keygen or keymgr -t print it, key "NAME" { algorithm hmac-sha256; secret "BASE64"; };`)

// Parse reads a key in BIND's form, as tsig-keygen writes it, or in Knot's, as
// keymgr -t does.
func Parse(text string) (Key, error) {
	var lines []string
	for _, l := range strings.Split(text, "\n") {
		if l = strings.TrimSpace(l); l != "" && l[0] != '#' && !strings.HasPrefix(l, "//") {
			lines = append(lines, l)
		}
	}
	found := map[string]string{}
	add := func(name, value string) error {
		if found[name] != "" {
			return fmt.Errorf("it has two keys, or %s twice: leave one", name)
		}
		found[name] = value
		return nil
	}
	switch m := bindKey.FindStringSubmatch(strings.Join(lines, "\n")); {
	case m != nil:
		found["id"] = m[1]
		for _, item := range strings.Split(m[2], ";") {
			if strings.TrimSpace(item) == "" {
				continue
			}
			i := bindItem.FindStringSubmatch(item)
			if i == nil {
				return Key{}, errForm
			}
			if err := add(i[1], i[2]); err != nil {
				return Key{}, err
			}
		}
	case len(lines) > 1 && lines[0] == "key:":
		for _, l := range lines[1:] {
			i := knotItem.FindStringSubmatch(l)
			if i == nil {
				return Key{}, errForm
			}
			if err := add(i[1], i[2]); err != nil {
				return Key{}, err
			}
		}
	default:
		return Key{}, errForm
	}
	k := Key{Name: strings.ToLower(strings.TrimSuffix(found["id"], ".")) + ".", Algorithm: strings.ToLower(found["algorithm"]), Secret: Secret(found["secret"])}
	known := false
	for _, a := range algorithms {
		known = known || k.Algorithm == a
	}
	if !known {
		return Key{}, fmt.Errorf("the algorithm %q is none of %s", k.Algorithm, strings.Join(algorithms, ", "))
	}
	k.Algorithm += "."
	if secret, err := base64.StdEncoding.DecodeString(string(k.Secret)); err != nil || len(secret) < leastSecret {
		return Key{}, fmt.Errorf("the secret is not base64 of %d octets or more", leastSecret)
	}
	if k.Name == "." {
		return Key{}, errors.New("the key has no name")
	}
	return k, nil
}
