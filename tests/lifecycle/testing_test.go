package lifecycle

import (
	"os"
	"os/exec"
	"testing"

	"symbiosis-connect-acl/tests/deb"
	"symbiosis-connect-acl/tests/lab"
)

const testingChild = "CONNECT_ACL_LIFECYCLE_SUITE"

// What Debian testing will bring is told, and is no failure: nobody runs a mail
// server on it, and it breaks for reasons of its own.
func TestDebianTesting(t *testing.T) {
	const suite = "testing"
	if os.Getenv(testingChild) == suite {
		lab.Suites = append(lab.Suites, lab.Suite{Name: suite})
		for _, platform := range deb.Platforms {
			t.Run(platform, func(t *testing.T) { lifecycle(newHost(t, suite, platform)) })
		}
		return
	}
	if os.Getenv("CONNECT_ACL_LONG") == "" {
		t.Skip("set CONNECT_ACL_LONG to try the next Debian too")
	}
	lab.SkipUnlessReady(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestDebianTesting$", "-test.v", "-test.timeout=20m")
	cmd.Env = append(os.Environ(), testingChild+"="+suite)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Logf("on Debian testing: %v\n%s", err, out)
	}
}
