package main

import (
	"testing"
	"time"
)

// One run has hosts.db open until the next does, even if that has much to read.
func TestStayFor(t *testing.T) {
	minute := time.Date(2026, 11, 27, 4, 10, 0, 0, time.UTC)
	for _, after := range []time.Duration{0, time.Second, 20 * time.Second, 59*time.Second + 999*time.Millisecond} {
		now := minute.Add(after)
		if until := now.Add(stayFor(now)).Sub(minute); until < 80*time.Second || until > 2*time.Minute {
			t.Errorf("a run that began %v after the minute stays until %v after it", after, until)
		}
	}
}
