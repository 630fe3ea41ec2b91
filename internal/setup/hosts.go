package setup

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/history"
	"symbiosis-connect-acl/internal/hosts"
)

// hosts makes hosts.db for Exim's user and brings the firewall's history in. No
// file but that one is changed. Without it everyone is a stranger to Exim and
// nobody is refused for that, so a failure is told and is none; cron tries again
// each minute. upgraded says that this server was judging hosts before.
func (r *run) hosts(ctx context.Context, upgraded bool) {
	ctx, cancel := context.WithTimeout(ctx, databaseDeadline)
	defer cancel()
	_, err := os.Lstat(filepath.Dir(r.HostsDatabase))
	r.made = errors.Is(err, os.ErrNotExist)
	user, err := r.exim.User(ctx, r.exim.Draft())
	if err != nil {
		r.note("%s not made, because Exim's user is not known: %v", r.HostsDatabase, err)
		return
	}
	switch state, err := hosts.Create(ctx, r.HostsDatabase, user.UID, user.GID, upgraded); {
	case err != nil:
		r.note("Exim cannot remember hosts yet: %v", err)
		return
	case state == hosts.Made:
		r.note("%s made: Exim remembers hosts in it", r.HostsDatabase)
	case state == hosts.Restored:
		r.note("%s was lost or damaged: the nightly copy is in its place", r.HostsDatabase)
	case state == hosts.Anew:
		r.note("%s begun: for 7 days history refuses nobody on ports 465 and 587, because nobody knows yet who the users are", r.HostsDatabase)
	}
	sources, err := history.Sources(r.Platform)
	if err == nil {
		_, err = history.Sync(ctx, r.HostsDatabase, sources, history.Rules{})
	}
	if err != nil && !errors.Is(err, hosts.ErrRunning) {
		r.note("the firewall's history is not in yet; cron tries again each minute: %v", err)
	}
}

// unmakeHosts takes back what this run has made.
func (r *run) unmakeHosts() {
	if r.made {
		os.RemoveAll(filepath.Dir(r.HostsDatabase))
	}
}

// dropIndex takes out the index that version 0.2.0 made in the firewall's
// database, and no other. It may be big, so the start of a scan is waited for.
func (r *run) dropIndex(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, databaseDeadline)
	defer cancel()
	if dropped, err := blacklist.DropOldIndex(ctx, r.Database, blacklist.ScanMinutes); err != nil {
		r.note("index %s not dropped from %s, where it does no harm: %v", blacklist.OldIndex, r.Database, err)
	} else if dropped {
		r.note("index dropped from %s: Exim does not ask it any more", r.Database)
	}
}
