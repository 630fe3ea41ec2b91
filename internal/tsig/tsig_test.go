package tsig

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"symbiosis-connect-acl/internal/remedy"
)

const secret = "K2tf3TRjvQkVCmJF3/Z9vK2tf3TRjvQkVCmJF3/Z9vA="

func TestParse(t *testing.T) {
	for _, text := range []string{
		"key \"mail1.example.org\" {\n\talgorithm hmac-sha256;\n\tsecret \"" + secret + "\";\n};\n",
		"# comment\nkey Mail1.Example.org. { algorithm HMAC-SHA256; secret " + secret + "; };",
		"# hmac-sha256:mail1.example.org:" + secret + "\nkey:\n- id: mail1.example.org.\n  algorithm: hmac-sha256\n  secret: " + secret + "\n",
		"key:\n  - id: \"mail1.example.org\"\n    algorithm: hmac-sha256\n    secret: \"" + secret + "\"\n",
	} {
		k, err := Parse(text)
		if want := (Key{"mail1.example.org.", "hmac-sha256.", secret}); err != nil || k != want {
			t.Errorf("%s: %v %v", text, k, err)
		}
		if shown := fmt.Sprintf("%v %+v %#v %s", k, k, k, k.Secret); strings.Contains(shown, secret) {
			t.Errorf("the secret shows: %s", shown)
		}
	}
	for _, text := range []string{"", "key:", secret, "key x { secret \"" + secret + "\"; };", "key x { algorithm hmac-md5; secret \"" + secret + "\"; };",
		"key x { algorithm hmac-sha1; secret \"" + secret + "\"; };", "key x { algorithm hmac-sha256; secret \"c2hvcnQ=\"; };",
		"key x { algorithm hmac-sha256; secret \"not base64 at all!\"; };", "key x { algorithm hmac-sha256; secret " + secret + "; secret " + secret + "; };",
		"key:\n- id: a\n  algorithm: hmac-sha256\n  secret: " + secret + "\n- id: b\n  algorithm: hmac-sha256\n  secret: " + secret + "\n",
	} {
		if k, err := Parse(text); err == nil {
			t.Errorf("%q is taken for %v", text, k)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("the secret shows: %v", err)
		}
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	write := func(mode os.FileMode) {
		if err := os.WriteFile(path, []byte("key x { algorithm hmac-sha512; secret \""+secret+"\"; };"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	write(0o600)
	if k, err := Read(path); err != nil || k.Algorithm != "hmac-sha512." {
		t.Errorf("%v, %v", k, err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620} {
		write(mode)
		if _, err := Read(path); err == nil || !strings.Contains(remedy.Of(err), "chmod 600 "+path) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	if _, err := Read(filepath.Dir(path)); err == nil {
		t.Error("a directory has a key")
	}
}
