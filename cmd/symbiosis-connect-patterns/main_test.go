package main

import (
	"io/fs"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"symbiosis-connect-acl/internal/safepath/safepathtest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"symbiosis-connect-patterns": main})
}

func TestScripts(t *testing.T) {
	ours, err := os.ReadFile("../../patterns.d/exim4.patterns")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			if err := os.MkdirAll(e.WorkDir+"/root/usr/share/symbiosis-connect-acl/patterns.d", 0o755); err != nil {
				return err
			}
			return os.WriteFile(e.WorkDir+"/root/usr/share/symbiosis-connect-acl/patterns.d/exim4.patterns", ours, 0o644)
		},
	})
}

// The pattern file is in a folder of an unprivileged user's: root follows no
// link there, also none that is swapped in while it works.
func TestUserSwapsLinks(t *testing.T) {
	p := safepathtest.New(t, "file = /var/log/exim4/mainlog\n")
	p.Try(func() error {
		for _, command := range [][]string{{"install", "--patterns", "../../patterns.d/exim4.patterns"}, {"remove"}} {
			if err := app().Run(append([]string{own, command[0], "--quiet", "--file", p.File}, command[1:]...)); err != nil {
				return err
			}
		}
		return nil
	}, fs.ErrNotExist)
}
