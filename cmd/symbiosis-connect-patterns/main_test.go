package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
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
