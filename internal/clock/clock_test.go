package clock

import (
	"testing"
	"time"
)

func TestNow(t *testing.T) {
	t.Cleanup(func() { set.Store(nil) })
	if before, now, after := time.Now(), Now(), time.Now(); now.Before(before) || now.After(after) {
		t.Errorf("%v is not between %v and %v", now, before, after)
	}
	at := time.Unix(1_800_000_000, 0)
	Set(at)
	if !Now().Equal(at) || Since(at.Add(-time.Hour)) != time.Hour {
		t.Errorf("set to %v, it says %v", at, Now())
	}
}
