package hosts

import (
	"context"
	"time"
)

// Stay brings the log into the database, which Exim's connections leave to it,
// and keeps the database open until ctx is done or the time is over. As long as somebody has it open, SQLite keeps its log. When the
// last one closes it, SQLite brings the log into the file, waits for the disk,
// and locks everybody out meanwhile: on a quiet server that would be at the end
// of every connection.
func Stay(ctx context.Context, path string, d time.Duration) error {
	return With(path, func(db *DB) error {
		// Passive: nobody waits for it.
		if err := db.Exec(ctx, "pragma wal_checkpoint(passive)"); err != nil {
			return err
		}
		// Only a connection that has read takes part.
		if _, err := db.State(ctx, "salt"); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
		return nil
	})
}
