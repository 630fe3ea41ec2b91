package setup

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// faultVariable names an environment variable with which the tests stop a run
// at any moment: "7:kill" kills the process at its seventh fault point, as a
// loss of power would, and "7:fail" makes that point return an error, as a
// full disk would. It is honoured in every build, because what the tests prove
// must be the program that is shipped; whoever can set it for a run by the
// superuser can do worse than stop it.
const faultVariable = "SYMBIOSIS_CONNECT_SETUP_FAULT"

// faults counts the fault points of one run.
type faults struct {
	at   int
	kill bool
	seen int
}

func newFaults() *faults {
	number, how, _ := strings.Cut(os.Getenv(faultVariable), ":")
	at, err := strconv.Atoi(number)
	if err != nil {
		at = 0
	}
	return &faults{at: at, kill: how == "kill"}
}

// point is one moment between two changes.
func (f *faults) point(name string) error {
	f.seen++
	if f.seen != f.at {
		return nil
	}
	if f.kill {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	return fmt.Errorf("stopped by %s at %s", faultVariable, name)
}
