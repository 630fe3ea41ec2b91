package blacklist

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// A priority is this process's share of the processor and the disk, as nice(1)
// gives it. The zero value is left as it is.
type priority struct {
	low  bool
	base int // the niceness it began with
}

// low is the niceness that maintenance runs with: a tenth of what a busy Exim
// gets, and no less, because a table without an index is what keeps that busy.
// The kernel derives the priority for the disk from it.
const low = 10

// lowPriority makes the process give way to every other one.
func lowPriority() *priority {
	p := &priority{}
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return p
	}
	// The system call gives 20 less the niceness.
	p.low, p.base = true, 20-raw
	renice(max(p.base, low))
	return p
}

// usual is for the time in which others wait for something that this process
// holds: if it gave way to them then, they would wait the longer. It returns
// what ends that time.
func (p *priority) usual() (again func()) {
	if p == nil || !p.low {
		return func() {}
	}
	renice(p.base)
	return func() { renice(max(p.base, low)) }
}

// restore undoes lowPriority.
func (p *priority) restore() { p.usual() }

// renice sets the niceness of every thread, for which Linux keeps it one by
// one. It is a kindness and no condition: an error does not matter. A new
// thread has it from the one that made it, possibly just before.
func renice(n int) {
	for range 2 {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return
		}
		for _, t := range tasks {
			if id, err := strconv.Atoi(t.Name()); err == nil {
				unix.Setpriority(unix.PRIO_PROCESS, id, n)
			}
		}
	}
}
