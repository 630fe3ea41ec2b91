package firewall

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/safepath"
	"symbiosis-connect-acl/internal/safepath/safepathtest"
)

func key(t *testing.T, s string) address.Key {
	t.Helper()
	k, err := address.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"192.0.2.1.auto": "25\n465\n", "192.0.2.0|28": "", "2001:db8:1:2::|64.auto": "all\n", "2001:db8:1:3::5": "22",
		"README": "no address", "192.0.2.999": "", ".192.0.2.1": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	all, err := Read(dir)
	if err != nil || len(all) != 4 {
		t.Fatalf("got %v, %v; want 4 entries", all, err)
	}
	for _, tt := range []struct {
		addr      string
		n         int
		automatic bool
		ports     int
	}{
		{"192.0.2.1", 2, true, 2}, {"192.0.2.2", 1, false, 0}, {"192.0.2.99", 0, false, 0},
		{"2001:db8:1:2::77", 1, true, 0}, {"2001:db8:1:3::9", 1, false, 1},
	} {
		got := all.Lookup(key(t, tt.addr))
		auto, ports := false, 0
		for _, e := range got {
			auto = auto || e.Automatic
			ports = max(ports, len(e.Ports))
		}
		if len(got) != tt.n || auto != tt.automatic || ports != tt.ports {
			t.Errorf("%s: got %+v", tt.addr, got)
		}
	}
	// Of a host whose files are for smaller networks, all go.
	other := t.TempDir()
	for _, name := range []string{"2001:db8:1:2::|112.auto", "2001:db8:1:2:7::|112.auto", "2001:db8:1:2:8::1.auto", "2001:db8:1:22::|112.auto", "2001:db8::|32.auto"} {
		if err := os.WriteFile(filepath.Join(other, name), []byte("all\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int{4, 0} {
		if removed, err := RemoveAutomatic([]string{dir, other, filepath.Join(dir, "nowhere")}, key(t, "2001:db8:1:2::1")); len(removed) != want || err != nil {
			t.Errorf("RemoveAutomatic = %v, %v; want %v", removed, err, want)
		}
	}
	if left, err := Read(other); len(left) != 2 || err != nil {
		t.Errorf("of others there are left: %v (%v)", left, err)
	}
	// What the administrator wrote stays.
	if removed, err := RemoveAutomatic([]string{dir}, key(t, "2001:db8:1:3::5")); len(removed) != 0 || err != nil {
		t.Errorf("a manual entry: %v, %v", removed, err)
	}
	if none, err := Read(filepath.Join(dir, "nowhere")); none != nil || err != nil {
		t.Errorf("an absent directory: %v, %v", none, err)
	}
}

// The folder belongs to a user whose links root neither reads nor removes
// through.
func TestUserSwapsLinks(t *testing.T) {
	k := key(t, "192.0.2.1")
	auto := k.FileName() + autoSuffix
	p := safepathtest.New(t, "25\n", auto)
	p.File = filepath.Join(p.Dir, auto)
	real, err := safepath.OpenDir(p.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer real.Close()
	p.Try(func() error {
		all, err := Read(p.Dir)
		if err != nil {
			return err
		}
		for _, e := range all {
			// A link in the place of one file hides no other entry.
			if slices.Equal(e.Ports, []string{UnknownPorts}) {
				return &safepath.LinkError{Link: e.File, Folder: p.Dir}
			}
		}
		if f, err := real.OpenFile(auto, os.O_CREATE, 0o644); err == nil {
			f.Close()
		}
		_, err = RemoveAutomatic([]string{p.Dir}, k)
		return err
	})
}
