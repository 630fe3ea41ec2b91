package blacklist

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// Maintaining a database of one's own: BLACKLIST_DB names it.
func TestMaintainGiven(t *testing.T) {
	path := os.Getenv("BLACKLIST_DB")
	if path == "" {
		t.Skip("BLACKLIST_DB is not set")
	}
	r, err := Maintain(context.Background(), path, Options{Index: true, Compact: true, Retention: 365 * Day, Reclaim: true, Progress: func(s string) { fmt.Println(s) }})
	fmt.Printf("%+v %v\n", r, err)
}
