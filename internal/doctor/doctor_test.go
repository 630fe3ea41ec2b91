package doctor

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"symbiosis-connect-acl/internal/history"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/setup"
	"symbiosis-connect-acl/tests/lab"
)

// The test binary is also the tool, to be run in a server's namespace.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "apply" {
		if err := setup.Apply(context.Background(), setup.Options{Root: os.Args[2], Note: func(s string) { fmt.Println(s) }}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 3 && strings.HasPrefix(os.Args[1], "check") {
		// A machine with much else to do is not what is tested here.
		found, err := Check(context.Background(), Options{Root: os.Args[2], Limit: map[string]time.Duration{"check": time.Minute}[os.Args[1]]})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		json.NewEncoder(os.Stdout).Encode(found)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// install makes a package of our files and lets dpkg install it, without the
// maintainer scripts, which the tests of the real package are for.
func install(t *testing.T, r *lab.Root) {
	t.Helper()
	tree := t.TempDir()
	stage := func(from, to string, mode os.FileMode) {
		data, err := os.ReadFile(from)
		must(t, err)
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(tree, to)), 0o755))
		must(t, os.WriteFile(filepath.Join(tree, to), data, mode))
	}
	source := lab.SourceDir()
	var conffiles []string
	must(t, filepath.WalkDir(filepath.Join(source, "symbiosis.d"), func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(source, p)
		conffiles = append(conffiles, "/etc/exim4/"+rel)
		stage(p, "etc/exim4/"+rel, 0o644)
		return err
	}))
	stage(filepath.Join(source, "debian/cron.d"), "etc/cron.d/symbiosis-connect-acl", 0o644)
	conffiles = append(conffiles, "/etc/cron.d/symbiosis-connect-acl")
	share := "usr/share/symbiosis-connect-acl/"
	stage(filepath.Join(source, "patterns.d/exim4.patterns"), share+"patterns.d/exim4.patterns", 0o644)
	stage(filepath.Join(source, "debian/marker.conf"), share+"marker.conf", 0o644)
	stage(filepath.Join(source, "debian/refused-helo-names"), share+"refused-helo-names", 0o644)
	check := filepath.Join(tree, "usr/sbin/symbiosis-connect-check")
	sh(t, "go", "build", "-C", source, "-tags", "netgo,osusergo,sqlite_omit_load_extension",
		"-ldflags", "-linkmode external -extldflags -static", "-o", check, "./cmd/symbiosis-connect-check")
	must(t, os.MkdirAll(filepath.Join(tree, "DEBIAN"), 0o755))
	must(t, os.WriteFile(filepath.Join(tree, "DEBIAN/conffiles"), []byte(strings.Join(conffiles, "\n")+"\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(tree, "DEBIAN/control"), []byte(
		"Package: symbiosis-connect-acl\nVersion: 0\nArchitecture: all\nMaintainer: a test <test@example.org>\nDescription: files only\n"), 0o644))
	deb := r.Path("tmp/files.deb")
	must(t, os.Chmod(tree, 0o755))
	sh(t, "dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, deb)
	r.Run("dpkg", "--install", "/tmp/files.deb")
	must(t, os.Remove(deb))
}

func sh(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// The doctor finds each thing that is wrong, calls it by its name, and finds
// nothing where all is well.
func TestCheck(t *testing.T) {
	t.Parallel()
	lab.SkipUnlessReady(t)
	r := lab.NewRoot(t, lab.DefaultSuite, "symbiosis")
	install(t, r)
	n := lab.NewNet(t)
	d := lab.StartDNS(t, n)
	lists := []string{"zen.spamhaus.org", "b.barracudacentral.org", "bl.spamcop.net"}
	for _, zone := range lists {
		d.List(t, zone, "127.0.0.2", "127.0.0.2", "test entry")
		d.List(t, zone, "::ffff:7f00:2", "127.0.0.2", "test entry")
	}
	// Exim asks for this machine's own name each time it is started.
	host, err := os.Hostname()
	must(t, err)
	r.Append("etc/hosts", "127.0.0.1 "+host+"\n::1 "+host+"\n")
	must(t, setup.Apply(context.Background(), setup.Options{Root: r.Dir}))
	now := time.Now().Unix()
	r.Write("tmp/make.sql", "CREATE TABLE blacklist (ip TEXT NOT NULL, timestamp INTEGER NOT NULL, count INTEGER NOT NULL);"+
		fmt.Sprintf("INSERT INTO blacklist VALUES('203.0.113.7',%d,30);", now)+
		"CREATE INDEX symbiosis_connect_acl_ip ON blacklist(ip,count);", 0o644)
	db := r.Path("var/lib/symbiosis/firewall-blacklist-count.db")
	sh(t, "sh", "-c", "sqlite3 "+db+" < "+r.Path("tmp/make.sql"))
	must(t, os.Remove(r.Path("tmp/make.sql")))
	e := lab.StartExim(t, r, n)

	// In the server's namespace, where the resolver is.
	check := func() []Finding {
		t.Helper()
		cmd := exec.Command("ip", "netns", "exec", n.Server, os.Args[0], "check", r.Dir)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var all []Finding
		must(t, json.Unmarshal(out, &all))
		return all
	}
	// Whether the machine's clock is kept right is not ours to say.
	worst := func(all []Finding, topic string) Finding {
		found := Finding{Topic: topic}
		for _, f := range all {
			if (topic == "" && f.Topic != "clock" || f.Topic == topic) && f.Level >= found.Level {
				found = f
			}
		}
		return found
	}

	before := lab.Snapshot(t, r, true)
	all := check()
	lab.Same(t, "check changes something", before, lab.Snapshot(t, r, true), "/var/log/exim4/mainlog", "/tmp", "/etc/exim4")
	if f := worst(all, ""); f.Level != OK {
		t.Fatalf("all is well, but: %+v", f)
	}
	topics := map[string]bool{}
	for _, f := range all {
		topics[f.Topic] = true
		if strings.Contains(f.Text, "  ") || strings.Contains(f.Text, "\n") {
			t.Errorf("not one neat line: %+v", f)
		}
	}
	for _, topic := range []string{"platform", "configuration", "snippets", "build", "daemon", "values", "logging", "door", "acts", "tls", "resolver", "files", "hosts", "database", "hints", "helper", "lists", "patterns", "clock", "cron"} {
		if !topics[topic] {
			t.Errorf("nothing is said about %s", topic)
		}
	}

	local := func(t *testing.T, lines string) {
		r.Write("etc/exim4/symbiosis.d/00-main/22-connect-check-local", lines+"\n", 0o644)
		r.Make("exim4.conf")
		// What changed is the subject, not that Exim has not been restarted.
		must(t, os.Chtimes(r.Path("etc/exim4/exim4.conf"), time.Unix(now, 0), time.Unix(now, 0)))
	}
	noCron := func(t *testing.T) {
		must(t, os.Remove(r.Path("usr/sbin/cron")))
		r.Write("var/lib/dpkg/status", strings.Replace(r.Read("var/lib/dpkg/status"), "Provides: cron-daemon\n", "", 1), 0o644)
	}
	whitelist := r.Path("etc/exim4/whitelist_connect_hosts")
	rule := r.Snippet("10-acl/10-acl-check-connect/60-check-dnsbls")
	hostsDB := r.Path("var/lib/symbiosis-connect-acl/hosts/hosts.db")
	chown := func(t *testing.T, path string) {
		var st syscall.Stat_t
		must(t, syscall.Lstat(filepath.Dir(hostsDB), &st))
		must(t, os.Lchown(path, int(st.Uid), int(st.Gid)))
	}
	// hint makes an empty file of Exim's hints, an old one of root's.
	hint := func(t *testing.T, name string) string {
		dir := r.Path("var/spool/exim4/db")
		must(t, os.MkdirAll(dir, 0o750))
		path := filepath.Join(dir, name)
		must(t, os.RemoveAll(path))
		must(t, os.WriteFile(path, nil, 0o640))
		must(t, os.Chtimes(path, time.Unix(now-60, 0), time.Unix(now-60, 0)))
		t.Cleanup(func() { os.Remove(path) })
		return path
	}
	t.Run("one snippet gone and one edited", func(t *testing.T) {
		undo := keepFiles(t, r)
		defer undo()
		must(t, os.Remove(rule))
		r.Append("etc/exim4/symbiosis.d/10-acl/10-acl-check-connect/50-ratelimit", "# mine\n")
		said := ""
		for _, f := range check() {
			said += f.Text + "\n"
		}
		for _, want := range []string{"switched off, because the file is gone: 10-acl/10-acl-check-connect/60-check-dnsbls", "edited: 10-acl/10-acl-check-connect/50-ratelimit"} {
			if !strings.Contains(said, want) {
				t.Errorf("%q is not said in\n%s", want, said)
			}
		}
	})
	for _, c := range []struct {
		name, topic string
		level       Level
		text        string
		breaks      func(t *testing.T)
	}{
		{"a misspelt state", "values", FAIL, `CONNECT_STATE_HISTORY is "enfroce"`, func(t *testing.T) { local(t, "CONNECT_STATE_HISTORY == enfroce") }},
		{"a bad rate", "values", FAIL, "CHECK_CONNECT_RATELIMIT", func(t *testing.T) { local(t, "CHECK_CONNECT_RATELIMIT == ten / 15m") }},
		{"a limit of no logins", "values", FAIL, `CONNECT_AUTH_FAILURES is "0"`, func(t *testing.T) { local(t, "CONNECT_AUTH_FAILURES == 0") }},
		{"a period of nothing", "values", FAIL, `CONNECT_AUTH_PERIOD is "0h"`, func(t *testing.T) { local(t, "CONNECT_AUTH_PERIOD == 0h") }},
		{"a period that is too long", "values", FAIL, `CHECK_CONNECT_RATELIMIT is "10 / 4000w"`, func(t *testing.T) { local(t, "CHECK_CONNECT_RATELIMIT == 10 / 4000w") }},
		{"a negative threshold", "values", FAIL, `SYMBIOSIS_INCIDENT_THRESHOLD is "-1"`, func(t *testing.T) { local(t, "SYMBIOSIS_INCIDENT_THRESHOLD == -1") }},
		{"no threshold", "values", FAIL, `SYMBIOSIS_INCIDENT_THRESHOLD is ""`, func(t *testing.T) { local(t, "SYMBIOSIS_INCIDENT_THRESHOLD ==") }},
		{"bad ports", "values", FAIL, "CONNECT_PORTS_DNSBLS", func(t *testing.T) { local(t, "CONNECT_PORTS_DNSBLS == 25, 587") }},
		{"a bad deadline", "values", FAIL, "CHECK_CONNECT_DNSBL_TIMEOUT", func(t *testing.T) { local(t, "CHECK_CONNECT_DNSBL_TIMEOUT == 2") }},
		{"learning", "values", WARN, "CONNECT_STATE_SUITE is learn", func(t *testing.T) { local(t, "CONNECT_STATE_SUITE == learn") }},
		{"a list with a syntax error", "lists", FAIL, "expected the bracket to be closed", func(t *testing.T) { local(t, "CHECK_CONNECT_IP_DNSBLS == zen.spamhaus.org=127.0.0.[2") }},
		{"a dead list", "lists", WARN, "gone.example", func(t *testing.T) { local(t, "CHECK_CONNECT_IP_DNSBLS == gone.example=127.0.0.2") }},
		{"a list of everyone", "lists", FAIL, "world.example", func(t *testing.T) {
			d.Behave("world.example", lab.AlwaysA("127.0.0.2"))
			t.Cleanup(func() { d.Behave("world.example", nil) })
			local(t, "CHECK_CONNECT_IP_DNSBLS == world.example=127.0.0.2")
		}},
		{"lists that are all gone", "resolver", WARN, "none of 2 DNS lists answers as a list does, so the resolver is the likely cause: dead: gone.example, lost.example", func(t *testing.T) {
			local(t, "CHECK_CONNECT_IP_DNSBLS == gone.example=127.0.0.2 : lost.example")
		}},
		{"a list that is gone among others", "lists", WARN, "gone.example", func(t *testing.T) {
			local(t, "CHECK_CONNECT_IP_DNSBLS == gone.example : zen.spamhaus.org")
		}},
		{"a silent resolver", "resolver", FAIL, "no answer from DNS", func(t *testing.T) {
			d.Behave(".", lab.Silent)
			t.Cleanup(func() { d.Behave(".", nil) })
		}},
		{"a failing resolver", "resolver", FAIL, "no answer from DNS", func(t *testing.T) {
			d.Behave(".", lab.Rcode(2)) // SERVFAIL
			t.Cleanup(func() { d.Behave(".", nil) })
		}},
		{"a key for root only", "tls", FAIL, "no TLS connection on port 465", func(t *testing.T) {
			// Exim may hold on to a key that it has read when it was started.
			must(t, os.Chmod(r.Path("etc/ssl/ssl.key"), 0o600))
			e.Restart()
			t.Cleanup(func() {
				must(t, os.Chmod(r.Path("etc/ssl/ssl.key"), 0o640))
				e.Restart()
			})
		}},
		{"nobody on port 465", "tls", WARN, "does not listen on port 465", func(t *testing.T) {
			e.Stop()
			other := exec.Command("ip", "netns", "exec", n.Server, "chroot", r.Dir, "exim4", "-bdf", "-oX", "25 : 587")
			must(t, other.Start())
			t.Cleanup(func() {
				other.Process.Signal(syscall.SIGTERM)
				other.Wait()
				e.Start()
			})
			for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) { // between two looks at a condition
				if c, err := n.Dial("8.8.8.8", 587); err == nil {
					c.Close()
					return
				}
				if time.Now().After(deadline) {
					t.Fatal("Exim does not listen")
				}
			}
		}},
		{"everyone refused", "door", FAIL, "550", func(t *testing.T) {
			d.Behave("world.example", lab.AlwaysA("127.0.0.2"))
			t.Cleanup(func() { d.Behave("world.example", nil) })
			local(t, "CHECK_CONNECT_IP_DNSBLS == world.example=127.0.0.2")
		}},
		{"another's file in the place of our macros", "acts", FAIL, "nothing defines", func(t *testing.T) {
			const file = "etc/exim4/symbiosis.d/00-main/21-connect-check"
			kept := strings.Split(r.Read(file), "CHECK_CONNECT_RATELIMIT = ")[0]
			r.Write(file, kept+"CHECK_CONNECT_RATELIMIT = 10 / 15m\n", 0o644)
			r.Make("exim4.conf")
		}},
		{"a rule that does nothing", "acts", FAIL, "a rule of ours does not act: the history rule lets a host with a history", func(t *testing.T) {
			const file = "etc/exim4/symbiosis.d/10-acl/10-acl-check-connect/20-look-up-host"
			r.Write(file, "# symbiosis-connect-acl: nothing\n", 0o644)
			r.Make("exim4.conf")
		}},
		{"the selector that the patterns need", "logging", WARN, "smtp_protocol_error", func(t *testing.T) {
			local(t, "CONNECT_LOG_SELECTOR_EXTRA == +subject")
			r.Write("etc/exim4/symbiosis.d/00-main/25-logging", strings.Replace(r.Read("etc/exim4/symbiosis.d/00-main/25-logging"), "+smtp_protocol_error", "-smtp_protocol_error", -1), 0o644)
			r.Make("exim4.conf")
		}},
		{"a snippet not built in", "build", WARN, "not what", func(t *testing.T) {
			r.Write("etc/exim4/symbiosis.d/00-main/22-connect-check-local", "SYMBIOSIS_INCIDENT_THRESHOLD == 30\n", 0o644)
		}},
		{"an edited snippet", "snippets", WARN, "edited: 10-acl/10-acl-check-connect/60-check-dnsbls", func(t *testing.T) {
			r.Append("etc/exim4/symbiosis.d/10-acl/10-acl-check-connect/60-check-dnsbls", "# mine\n")
		}},
		{"a snippet switched off", "snippets", WARN, "switched off", func(t *testing.T) { must(t, os.Rename(rule, rule+".disabled")) }},
		{"a new version waiting", "snippets", WARN, "waits", func(t *testing.T) { must(t, os.WriteFile(rule+".dpkg-dist", nil, 0o644)) }},
		{"rules not in force", "configuration", FAIL, "not in force", func(t *testing.T) {
			must(t, os.Remove(r.Path("usr/share/symbiosis-connect-acl/marker.conf")))
		}},
		{"a configuration that is none", "configuration", FAIL, "does not take", func(t *testing.T) { r.Write("etc/exim4/exim4.conf", "nonsense = 1\n", 0o644) }},
		{"an interrupted run", "setup", WARN, "was interrupted", func(t *testing.T) { must(t, os.MkdirAll(r.Path("var/lib/symbiosis-connect-acl/journal"), 0o700)) }},
		{"no database", "database", WARN, "does not exist", func(t *testing.T) { must(t, os.Remove(db)) }},
		{"no database at all", "database", FAIL, "the last good history holds", func(t *testing.T) { must(t, os.WriteFile(db, []byte(strings.Repeat("nonsense", 1000)), 0o644)) }},
		{"a database in WAL mode", "database", FAIL, "set it back with", func(t *testing.T) { sh(t, "sqlite3", db, "PRAGMA journal_mode=WAL") }},
		{"a firewall that has stopped", "database", WARN, "days ago", func(t *testing.T) {
			long := time.Now().Add(-30 * 24 * time.Hour)
			must(t, os.Chtimes(db, long, long))
		}},
		{"a firewall that has stopped beside a maintenance that goes on", "database", WARN, "counted nobody in /var/lib/symbiosis/firewall-blacklist-count.db for more than 7 days", func(t *testing.T) {
			sh(t, "sqlite3", db, fmt.Sprintf("UPDATE blacklist SET timestamp = %d", now-30*24*3600))
		}},
		{"no hosts.db", "hosts", FAIL, "is not there, or empty", func(t *testing.T) { must(t, os.Remove(hostsDB)) }},
		{"an empty hosts.db", "hosts", FAIL, "is not there, or empty", func(t *testing.T) { must(t, os.Truncate(hostsDB, 0)) }},
		{"no directory for hosts.db", "hosts", FAIL, "to Exim every host is a stranger", func(t *testing.T) { must(t, os.RemoveAll(filepath.Dir(hostsDB))) }},
		{"a directory for hosts.db", "hosts", FAIL, "not a regular file", func(t *testing.T) {
			must(t, os.Remove(hostsDB))
			must(t, os.Mkdir(hostsDB, 0o755))
			chown(t, hostsDB)
		}},
		{"a dangling link for hosts.db", "hosts", FAIL, "is not there", func(t *testing.T) {
			must(t, os.Remove(hostsDB))
			must(t, os.Symlink("nowhere", hostsDB))
			chown(t, hostsDB)
		}},
		{"a corrupt hosts.db", "hosts", FAIL, "corrupt", func(t *testing.T) { must(t, os.WriteFile(hostsDB, []byte(strings.Repeat("nonsense", 1000)), 0o640)) }},
		{"a hosts.db of root's", "hosts", FAIL, "belongs to another user", func(t *testing.T) { must(t, os.Chown(hostsDB, 0, 0)) }},
		{"a hosts.db that cannot be read", "hosts", FAIL, "only root and Exim's user may open it", func(t *testing.T) { must(t, os.Chmod(hostsDB, 0)) }},
		{"a -shm of root's", "hosts", FAIL, "hosts.db-shm belongs to another user", func(t *testing.T) { must(t, os.WriteFile(hostsDB+"-shm", nil, 0o644)) }},
		{"another version of hosts.db", "hosts", FAIL, "another version", func(t *testing.T) { sh(t, "sqlite3", hostsDB, "PRAGMA user_version = 99") }},
		{"an older hosts.db", "hosts", FAIL, "an older version", func(t *testing.T) { sh(t, "sqlite3", hostsDB, "PRAGMA user_version = 1; DROP TABLE guess") }},
		{"a hosts.db that is held", "hosts", FAIL, "another program holds", func(t *testing.T) {
			holder, err := sql.Open("sqlite3", hostsDB+"?_txlock=immediate")
			must(t, err)
			_, err = holder.Begin()
			must(t, err)
			t.Cleanup(func() { holder.Close() })
		}},
		{"a hosts.db begun anew", "hosts", WARN, "was lost at", func(t *testing.T) {
			sh(t, "sqlite3", hostsDB, fmt.Sprintf("INSERT INTO state VALUES ('lost', %d)", now-3600))
		}},
		{"rows of no host", "hosts", WARN, "1 rows of the firewall's database fit no host and do not count, such as \"somebody\"", func(t *testing.T) {
			sh(t, "sqlite3", db, fmt.Sprintf("INSERT INTO blacklist VALUES ('somebody', %d, 3)", now))
			_, err := history.Sync(t.Context(), hostsDB, []string{db}, history.Rules{})
			must(t, err)
		}},
		{"a sync that has stopped", "hosts", WARN, "are not in /var/lib/symbiosis-connect-acl/hosts/hosts.db yet", func(t *testing.T) {
			sh(t, "sqlite3", db, fmt.Sprintf("INSERT INTO blacklist VALUES ('192.0.2.1', %d, 3)", now))
			must(t, os.Chtimes(db, time.Now().Add(-time.Hour), time.Now().Add(-time.Hour)))
		}},
		{"another database in the old macro", "database", WARN, "/srv/other.db, which nobody reads any more", func(t *testing.T) { local(t, "SYMBIOSIS_INCIDENT_DATABASE == /srv/other.db") }},
		{"hints that a full disk left behind", "hints", FAIL, "/var/spool/exim4/db/__db.ratelimit is empty", func(t *testing.T) {
			hint(t, "__db.ratelimit")
		}},
		{"hints of root's", "hints", WARN, "ratelimit.lockfile cannot be used by Debian-exim", func(t *testing.T) { hint(t, "ratelimit.lockfile") }},
		{"hints that are held", "hints", FAIL, fmt.Sprintf("process %d holds Exim's hints", os.Getpid()), func(t *testing.T) {
			path := hint(t, "ratelimit.lockfile")
			chown(t, path)
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			must(t, err)
			t.Cleanup(func() { f.Close() })
			must(t, syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK}))
		}},
		{"other hints that a full disk left behind", "hints", FAIL, "/var/spool/exim4/db/__db.retry is empty, as a full disk leaves it: Exim waits 100 s each time", func(t *testing.T) {
			hint(t, "__db.retry")
		}},
		{"other hints that are held", "hints", FAIL, fmt.Sprintf("process %d holds Exim's hints /var/spool/exim4/db/wait-remote_smtp.lockfile", os.Getpid()), func(t *testing.T) {
			path := hint(t, "wait-remote_smtp.lockfile")
			chown(t, path)
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			must(t, err)
			t.Cleanup(func() { f.Close() })
			must(t, syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK, Start: 1 << 30, Len: 1}))
		}},
		{"a log with a date in its name", "logging", FAIL, "reads /var/log/exim4/mainlog, which Exim does not write: it logs to /var/log/exim4/mainlog-%D", func(t *testing.T) {
			local(t, "log_file_path = /var/log/exim4/%slog-%D")
		}},
		{"a log in syslog", "logging", FAIL, "which Exim does not write: it logs to syslog", func(t *testing.T) { local(t, "log_file_path = syslog") }},
		{"a log that syslog has twice", "logging", WARN, "counts it twice from /var/log/mail.log", func(t *testing.T) {
			local(t, "log_file_path = syslog")
			readMailLog(t, r)
		}},
		{"rows that nobody asks for", "hosts", WARN, "1 row in /var/lib/symbiosis-connect-acl/hosts/hosts.db under keys that Exim asks for no host, such as \"2a0e:20::/112\"", func(t *testing.T) {
			sh(t, "sqlite3", hostsDB, "INSERT INTO host (net, history) VALUES ('2a0e:20::/112', 60)")
		}},
		{"a firewall that has never counted", "database", WARN, "no scan has counted anybody yet", func(t *testing.T) {
			sh(t, "sqlite3", db, "DELETE FROM blacklist")
			long := time.Now().Add(-30 * 24 * time.Hour)
			must(t, os.Chtimes(db, long, long))
		}},
		{"no helper", "helper", FAIL, "no such file", func(t *testing.T) { must(t, os.Remove(r.Path("usr/sbin/symbiosis-connect-check"))) }},
		{"a helper that does not run", "helper", FAIL, "does not run", func(t *testing.T) { must(t, os.Chmod(r.Path("usr/sbin/symbiosis-connect-check"), 0o600)) }},
		{"a white list for root only", "files", FAIL, "cannot be read", func(t *testing.T) { must(t, os.WriteFile(whitelist, []byte("192.0.2.1\n"), 0o600)) }},
		{"a white list with something else", "whitelist", WARN, `whitelist_connect_hosts:3: "45.80.2.3/8x" is passed over`, func(t *testing.T) {
			must(t, os.WriteFile(whitelist, []byte("192.0.2.1\n\"2001:db8::/32\": yes\n45.80.2.3/8x\n2001:db8::5\n"), 0o644))
		}},
		{"a key that all can read", "keys", WARN, "can read the key of a DNS list in /etc/exim4/exim4.conf, /etc/exim4/symbiosis.d/00-main/22-connect-check-local", func(t *testing.T) {
			local(t, "CHECK_CONNECT_IP_DNSBLS == abcdefghij0123456789klmnop.zen.dq.spamhaus.net=127.0.0.2")
			must(t, os.Remove(r.Path("etc/exim4/exim4.conf~")))
		}},
		{"a key that nobody else can read", "keys", OK, "nobody else can read", func(t *testing.T) {
			local(t, "CHECK_CONNECT_IP_DNSBLS == abcdefghij0123456789klmnop.zen.dq.spamhaus.net=127.0.0.2")
			sh(t, "chmod", "o-r", r.Path("etc/exim4/exim4.conf"), r.Snippet("00-main/22-connect-check-local"))
		}},
		{"a key that Exim puts together", "keys", WARN, "can see with ps", func(t *testing.T) {
			local(t, "CHECK_CONNECT_IP_DNSBLS == ${lc:abcdefghij0123456789klmnop.zen.dq.spamhaus.net}=127.0.0.2")
			sh(t, "chmod", "o-r", r.Path("etc/exim4/exim4.conf"), r.Snippet("00-main/22-connect-check-local"))
		}},
		{"everybody in the white list", "whitelist", WARN, `whitelist_connect_hosts:1: "0.0.0.0/0" lets in every IPv4 host`, func(t *testing.T) {
			must(t, os.WriteFile(whitelist, []byte("0.0.0.0/0\n"), 0o644))
		}},
		{"a name that nobody has looked up", "whitelist", WARN, "home.example.org has not been looked up lately", func(t *testing.T) {
			must(t, os.WriteFile(whitelist, []byte("home.example.org\n"), 0o644))
		}},
		{"no patterns", "patterns", WARN, "not in", func(t *testing.T) {
			must(t, os.Remove(r.Path("etc/symbiosis/firewall/patterns.d/exim4.patterns")))
		}},
		{"a superseded pattern", "patterns", WARN, "a pattern of ours replaces it", func(t *testing.T) {
			r.Append("etc/symbiosis/firewall/patterns.d/exim4.patterns", `\[__IP__\] rejected AUTH LOGIN: SSL or TLS encryption required when authenticating.$`+"\n")
		}},
		{"a superseded pattern in another file", "patterns", WARN, "mine.patterns:3 is in use, although a pattern of ours replaces it", func(t *testing.T) {
			r.Write("etc/symbiosis/firewall/patterns.d/mine.patterns", "file = /var/log/exim4/mainlog\n\n"+`\[__IP__\] rejected AUTH LOGIN: SSL or TLS encryption required when authenticating.$`+"\n", 0o644)
		}},
		{"an old pattern with I=", "patterns", WARN, "a pattern of ours replaces it", func(t *testing.T) {
			r.Append("etc/symbiosis/firewall/patterns.d/exim4.patterns", `\[__IP__\].*I=.*AUTH command used when not advertised.*$`+"\n")
		}},
		{"a pattern of one's own that frames", "patterns", WARN, "this pattern can be used to block others: it takes 8.8.8.8 from a line that", func(t *testing.T) {
			r.Append("etc/symbiosis/firewall/patterns.d/exim4.patterns", `H=.*\[__IP__\].* rejected RCPT .*relay not permitted$`+"\n")
		}},
		{"one in another file", "patterns", WARN, "mine.patterns:2: this pattern can be used to block others", func(t *testing.T) {
			r.Write("etc/symbiosis/firewall/patterns.d/mine.patterns", "file = /var/log/exim4/mainlog\n"+`dropped.*\[__IP__\].*$`+"\n", 0o644)
		}},
		{"one that is live although ours are not wanted", "patterns", WARN, "this pattern can be used to block others", func(t *testing.T) {
			r.Write("etc/default/symbiosis-connect-acl", "CONNECT_ACL_PATTERNS=no\n", 0o644)
			r.Append("etc/symbiosis/firewall/patterns.d/exim4.patterns", `\[__IP__\] AUTH command used when not advertised.*$`+"\n")
		}},
		{"a pattern that only Ruby knows", "patterns", WARN, "mine.patterns:2: could not be tried", func(t *testing.T) {
			r.Write("etc/symbiosis/firewall/patterns.d/mine.patterns", "file = /var/log/exim4/mainlog\n"+`(?~x)\[__IP__\]$`+"\n", 0o644)
		}},
		{"a slow pattern", "patterns", WARN, "mine.patterns:2: not finished", func(t *testing.T) {
			r.Write("etc/symbiosis/firewall/patterns.d/mine.patterns", "file = /var/log/exim4/mainlog\n"+`(?<!y)(?:H|.+)+z\[__IP__\]$`+"\n", 0o644)
		}},
		{"a pipe among the pattern files", "patterns", WARN, "pipe.patterns could not be tried: not a regular file", func(t *testing.T) {
			must(t, syscall.Mkfifo(r.Path("etc/symbiosis/firewall/patterns.d/pipe.patterns"), 0o644))
		}},
		{"no cron job", "cron", WARN, "not there", func(t *testing.T) { must(t, os.Remove(r.Path("etc/cron.d/symbiosis-connect-acl"))) }},
		{"no cron", "cron", WARN, "no cron is installed", noCron},
		{"a bad setting", "settings", FAIL, "write yes or no", func(t *testing.T) {
			r.Write("etc/default/symbiosis-connect-acl", "CONNECT_ACL_PATTERNS=perhaps\n", 0o644)
		}},
		{"a configuration newer than the daemon", "daemon", WARN, "before its configuration", func(t *testing.T) {
			later := time.Now().Add(time.Hour)
			must(t, os.Chtimes(r.Path("etc/exim4/exim4.conf"), later, later))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			undo := keepFiles(t, r)
			defer undo()
			c.breaks(t)
			all := check()
			f := worst(all, c.topic)
			if f.Level != c.level || !strings.Contains(f.Text, c.text) || (f.Remedy == "") != (c.level == OK) {
				t.Errorf("%+v; want %s with %q and a remedy", f, c.level, c.text)
			}
			for _, other := range all {
				if c.topic == "resolver" && other.Topic == "lists" {
					t.Errorf("beside the resolver a list is blamed: %+v", other)
				}
				if take := "take it out"; strings.Count(other.Text+other.Remedy, take) > 1 {
					t.Errorf("%q is said more than once: %+v", take, other)
				}
			}
		})
	}
	for name, change := range map[string]string{"no row yet": "DELETE FROM blacklist", "no table yet": "DROP TABLE blacklist", "no table and no page yet": ""} {
		t.Run(name, func(t *testing.T) {
			undo := keepFiles(t, r)
			defer undo()
			if change == "" {
				must(t, os.Truncate(db, 0))
			} else {
				sh(t, "sqlite3", db, change)
			}
			if f := worst(check(), "database"); f.Level != OK || !strings.Contains(f.Text, "no scan has counted anybody yet") {
				t.Errorf("%+v", f)
			}
		})
	}
	t.Run("a log in syslog that counts once", func(t *testing.T) {
		undo := keepFiles(t, r)
		defer undo()
		local(t, "log_file_path = syslog : /var/log/exim4/%slog\nsyslog_duplication = false")
		readMailLog(t, r)
		if f := worst(check(), "logging"); f.Level != OK {
			t.Errorf("%+v", f)
		}
	})
	t.Run("another cron", func(t *testing.T) {
		undo := keepFiles(t, r)
		defer undo()
		noCron(t)
		r.Append("var/lib/dpkg/status", "\nPackage: systemd-cron\nStatus: install ok installed\nMaintainer: a test <test@example.org>\n"+
			"Architecture: all\nVersion: 1\nProvides: anacron, cron-daemon\nDescription: a cron\n")
		if f := worst(check(), "cron"); f.Level != OK {
			t.Errorf("%+v", f)
		}
	})
	// What was written above may be older by now than sync may be late.
	must(t, os.Chtimes(db, time.Time{}, time.Now()))
	if f := worst(check(), ""); f.Level != OK {
		t.Errorf("all is well again, but: %+v", f)
	}
}

// readMailLog lets the firewall's patterns read the file of syslog.
func readMailLog(t *testing.T, r *lab.Root) {
	t.Helper()
	const file = "etc/symbiosis/firewall/patterns.d/exim4.patterns"
	r.Write("var/log/mail.log", "", 0o640)
	t.Cleanup(func() { os.Remove(r.Path("var/log/mail.log")) })
	r.Write(file, strings.Replace(r.Read(file), "file = /var/log/exim4/mainlog", "file = /var/log/mail.log", 1), 0o644)
}

// A container's clock is its host's.
func TestContained(t *testing.T) {
	for file, want := range map[string]bool{"run/systemd/container": true, ".dockerenv": true, "etc/passwd": false} {
		root := t.TempDir()
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, file)), 0o755))
		must(t, os.WriteFile(filepath.Join(root, file), nil, 0o644))
		d := &doctor{Platform: platform.Symbiosis(root)}
		if got := d.contained(); got != want {
			t.Errorf("with %s: %v; want %v", file, got, want)
		}
	}
	for env, want := range map[string]bool{"container=lxc\x00": true, "PATH=/bin\x00container=podman\x00": true, "TERM=container=\x00": false} {
		root := t.TempDir()
		must(t, os.MkdirAll(filepath.Join(root, "proc/1"), 0o755))
		must(t, os.WriteFile(filepath.Join(root, "proc/1/environ"), []byte(env), 0o644))
		if got := (&doctor{Platform: platform.Symbiosis(root)}).contained(); got != want {
			t.Errorf("with %q: %v; want %v", env, got, want)
		}
	}
}

// keepFiles remembers the files that a case may break, and gives the way back.
func keepFiles(t *testing.T, r *lab.Root) (undo func()) {
	t.Helper()
	saved := filepath.Join(t.TempDir(), "saved")
	dirs := []string{"etc/exim4", "etc/default", "etc/cron.d", "etc/symbiosis", "var/lib/symbiosis", "var/lib/symbiosis-connect-acl", "usr/share/symbiosis-connect-acl", "usr/sbin/symbiosis-connect-check", "usr/sbin/cron", "var/lib/dpkg/status"}
	for _, d := range dirs {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(saved, d)), 0o755))
		sh(t, "cp", "-a", r.Path(d), filepath.Join(saved, d))
	}
	return func() {
		for _, d := range dirs {
			must(t, os.RemoveAll(r.Path(d)))
			sh(t, "cp", "-a", filepath.Join(saved, d), r.Path(d))
		}
	}
}

// Exim 4.100 takes an option twice and obeys the last. The doctor says that ours
// has no effect any more, and apply sees to it that it has.
func TestCheckOverruled(t *testing.T) {
	t.Parallel()
	r := lab.NewRoot(t, "forky", "symbiosis")
	lab.Unpack(t, r)
	r.Make("exim4.conf")
	opt := setup.Options{Root: r.Dir}
	ctx := context.Background()
	overruled := func() string {
		t.Helper()
		found, err := Check(ctx, Options{Root: r.Dir, Limit: time.Minute})
		must(t, err)
		said := ""
		for _, f := range found {
			if f.Topic == "logging" && f.Level == WARN && strings.Contains(f.Text, "is set again after ours") {
				said += strings.Fields(f.Text)[0] + " "
			}
		}
		return said
	}
	must(t, setup.Apply(ctx, opt))
	if got := overruled(); got != "" {
		t.Errorf("all is well, but: %s", got)
	}
	r.Write("etc/exim4/symbiosis.d/00-main/70-mine", "log_selector = +all\nevent_action = ${if eq{$event_name}{msg:complete}{x}}\n", 0o644)
	r.Make("exim4.conf")
	if got := overruled(); got != "log_selector event_action " {
		t.Errorf("the doctor names %q", got)
	}
	must(t, setup.Apply(ctx, opt))
	if got := overruled(); got != "" {
		t.Errorf("after apply: %s", got)
	}
}
