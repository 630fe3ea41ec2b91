package lab

import (
	"fmt"
	"os"
	"runtime"
	"testing"
)

// Main runs f as a test outside of "go test": what f makes in the lab is
// cleaned up when it returns, and a failure ends f. It gives the program's
// exit code.
func Main(f func(t testing.TB)) int {
	p := &program{}
	done := make(chan struct{})
	go func() { // Fatalf ends this goroutine, as it does in a test
		defer close(done)
		defer p.cleanUp()
		f(p)
	}()
	<-done
	if p.failed {
		return 1
	}
	return 0
}

// A program is the part of testing.TB that the lab uses. The embedded
// interface is nil: whatever else is called panics, and is to be added here.
type program struct {
	testing.TB
	failed   bool
	cleanups []func()
}

func (p *program) cleanUp() {
	for len(p.cleanups) > 0 {
		last := len(p.cleanups) - 1
		f := p.cleanups[last]
		p.cleanups = p.cleanups[:last]
		f()
	}
}

func (p *program) Helper()                   {}
func (p *program) Cleanup(f func())          { p.cleanups = append(p.cleanups, f) }
func (p *program) Failed() bool              { return p.failed }
func (p *program) Log(a ...any)              { fmt.Fprintln(os.Stderr, a...) }
func (p *program) Error(a ...any)            { p.failed = true; p.Log(a...) }
func (p *program) Name() string              { return os.Args[0] }
func (p *program) FailNow()                  { p.failed = true; runtime.Goexit() }
func (p *program) Fatal(a ...any)            { p.Error(a...); runtime.Goexit() }
func (p *program) Skipf(f string, a ...any)  { p.Fatalf(f, a...) }
func (p *program) Logf(f string, a ...any)   { fmt.Fprintf(os.Stderr, f+"\n", a...) }
func (p *program) Errorf(f string, a ...any) { p.failed = true; p.Logf(f, a...) }
func (p *program) Fatalf(f string, a ...any) { p.Errorf(f, a...); runtime.Goexit() }
