package lab

import (
	"os/exec"
	"strconv"
	"strings"

	"symbiosis-connect-acl/internal/platform"
)

// HostsDatabase is where the root's database of hosts lies, seen from inside.
func (r *Root) HostsDatabase() string {
	p := platform.Symbiosis("/")
	if r.Platform == "sympl" {
		p = platform.Sympl("/")
	}
	return p.HostsDatabase
}

// Hosts runs SQL in the database of hosts and gives what it prints.
func (r *Root) Hosts(sql string) string {
	r.t.Helper()
	cmd := exec.Command("sqlite3", "-cmd", ".timeout 5000", r.Path(r.HostsDatabase()))
	cmd.Stdin = strings.NewReader(sql)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", sql, err, out)
	}
	return strings.TrimSpace(string(out))
}

// History makes the sum of the firewall's counts for a host what is given, as
// sync does.
func (r *Root) History(key string, count int) {
	r.t.Helper()
	r.Hosts("insert into host (net, history, history_last) values ('" + key + "', " + strconv.Itoa(count) + ", 1700000000)" +
		" on conflict(net) do update set history = excluded.history, history_last = excluded.history_last;")
}
