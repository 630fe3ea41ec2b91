package door

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"symbiosis-connect-acl/tests/lab"
)

// Whatever state the host database is in, an innocent host is greeted, a user
// logs in, nobody is refused for a history, and the log says once for each
// connection why the database was skipped.
func TestBrokenHostDatabase(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		db := d.Root.Path(d.Root.HostsDatabase())
		dir := filepath.Dir(db)
		for range 3 { // so that its tables have more than a page each
			d.Root.Hosts("insert or ignore into host (net, history) select '11.' || value || '.' || abs(random() % 250) || '.1', 0 from generate_series(1, 250);")
		}
		good, err := os.ReadFile(db)
		if err != nil {
			t.Fatal(err)
		}
		run := func(script string) func() {
			return func() {
				t.Helper()
				if out, err := exec.Command("sh", "-ec", "cd "+filepath.Dir(dir)+"; [ ! -d hosts ] || cd hosts; "+script).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
		}
		put := func(data []byte) func() {
			return func() {
				if err := os.WriteFile(db, data, 0o640); err != nil {
					t.Fatal(err)
				}
			}
		}
		then := func(all ...func()) func() {
			return func() {
				for _, f := range all {
					f()
				}
			}
		}
		absent, silent, cannot := "does not exist", "is locked, damaged, of another version, or its disk is full", "nable to open database file"
		for _, s := range []struct {
			name  string
			make  func()
			why   string // in the log
			reads bool   // it can be read, but not written to
		}{
			{name: "absent", make: run("rm hosts.db"), why: absent},
			{name: "no directory", make: run("cd .. && rm -r hosts"), why: absent},
			{name: "dangling link", make: run("rm hosts.db && ln -s nowhere hosts.db"), why: absent},
			{name: "unreadable", make: run("chown root:root hosts.db && chmod 600 hosts.db"), why: cannot},
			{name: "unreadable directory", make: run("chown root:root . && chmod 700 ."), why: absent},
			{name: "directory", make: run("rm hosts.db && mkdir hosts.db"), why: cannot},
			{name: "empty", make: put(nil), why: silent},
			{name: "no table", make: then(run("rm hosts.db"), func() { sqlite(t, db, "create table other (x);") }), why: silent},
			{name: "another version", make: then(run("rm hosts.db"), func() {
				sqlite(t, db, "create table host (net text primary key, standing text); create table state (name, value);")
			}), why: silent},
			{name: "not a database", make: put([]byte(strings.Repeat("not a database\n", 500))), why: silent},
			{name: "truncated", make: put(good[:len(good)/2]), why: silent},
			{name: "half a page", make: put(good[:1000]), why: silent},
			{name: "garbage for -wal", make: run("yes garbage | head -c 100000 > hosts.db-wal; chown Debian-exim: hosts.db-wal 2>/dev/null || true"), reads: true},
			{name: "-shm of root's", make: run("touch hosts.db-shm && chown root:root hosts.db-shm && chmod 600 hosts.db-shm"), why: silent},
			{name: "-wal of root's", make: run("touch hosts.db-wal && chown root:root hosts.db-wal && chmod 600 hosts.db-wal"), why: silent},
			{name: "read-only", make: run("chown root:root hosts.db && chmod 644 hosts.db"), why: silent, reads: true},
			{name: "directory of root's", make: run("chown root:root . && chmod 755 ."), why: silent},
		} {
			t.Run(s.name, func(t *testing.T) {
				d.forget()
				keep := run("cp -a . ../hosts.good")
				keep()
				defer run("cd " + filepath.Dir(dir) + "; rm -rf hosts; mv hosts.good hosts")()
				s.make()
				once := func(mark int) {
					t.Helper()
					if s.why == "" {
						return
					}
					since := d.LogSince(t, mark, s.why)
					if n := strings.Count(since, "skipped"); n != 1 {
						t.Errorf("the log says %d times that something was skipped; want once:\n%s", n, since)
					}
				}
				for _, from := range []string{innocent4, innocent6} {
					mark := len(d.Log())
					d.expect(t, from, 25, "220", "")
					if !s.reads {
						once(mark)
					}
				}
				mark := len(d.Log())
				if got := d.login(innocent4); lab.Code(got) != "235" {
					t.Errorf("a login: %q", got)
				}
				d.settled()
				once(mark)
				d.expect(t, bad4, 587, map[bool]string{true: "550", false: "220"}[s.reads], "")
				// The other rules go on.
				d.expect(t, listed4, 25, "550", "is blacklisted at")
				if _, err := os.Stat(db); s.why == absent && err == nil && s.name != "unreadable directory" {
					t.Error("Exim has made a file")
				}
			})
		}

		t.Run("locked", func(t *testing.T) {
			d.forget()
			defer d.hold(t, "PRAGMA locking_mode = exclusive; BEGIN EXCLUSIVE")()
			mark := len(d.Log())
			d.expect(t, innocent4, 25, "220", "")
			d.expect(t, bad4, 587, "220", "")
			d.LogSince(t, mark, silent)
			mark = len(d.Log())
			if got := d.login(innocent4); lab.Code(got) != "235" {
				t.Errorf("a login: %q", got)
			}
			d.settled()
			if n := strings.Count(d.Log()[mark:], "skipped"); n != 1 {
				t.Errorf("the log says %d times that something was skipped:\n%s", n, d.Log()[mark:])
			}
		})
		// Whoever holds the lock for writing keeps nobody from reading.
		t.Run("written to", func(t *testing.T) {
			d.forget()
			defer d.hold(t, "BEGIN IMMEDIATE")()
			mark := len(d.Log())
			d.expect(t, bad4, 587, "550", history)
			d.expect(t, innocent4, 587, "220", "")
			if got := d.login(innocent4); lab.Code(got) != "235" {
				t.Errorf("a login: %q", got)
			}
			d.settled()
			if n := strings.Count(d.LogSince(t, mark, silent), "skipped"); n != 1 {
				t.Errorf("the log says %d times that something was skipped:\n%s", n, d.Log()[mark:])
			}
		})
		t.Run("good again", func(t *testing.T) {
			d.forget()
			mark := len(d.Log())
			d.expect(t, bad4, 25, "550", history)
			if got := d.login(innocent4); lab.Code(got) != "235" {
				t.Errorf("a login: %q", got)
			}
			d.settled()
			if strings.Contains(d.Log()[mark:], "skipped") {
				t.Errorf("skipped with everything in order:\n%s", d.Log()[mark:])
			}
		})
	})
}

// Files and settings of the administrator that cannot be used refuse nobody.
func TestBrokenSettings(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		friends := d.Root.Path("etc/exim4/whitelist_connect_hosts")
		for name, make := range map[string]func(){
			"unreadable": func() { os.WriteFile(friends, nil, 0o600) },
			"directory":  func() { os.Mkdir(friends, 0o755) },
			"nonsense":   func() { os.WriteFile(friends, []byte("nonsense\n::::\n1.2.3.4/99\n${if\n/etc/passwd\n*\n"), 0o644) },
		} {
			t.Run("friends "+name, func(t *testing.T) {
				os.RemoveAll(friends)
				make()
				defer os.RemoveAll(friends)
				d.expect(t, innocent4, 25, "220", "")
				d.expect(t, innocent6, 25, "220", "")
				if name == "nonsense" { // must not take everyone for a friend either
					d.expect(t, bad4, 25, "550", history)
				}
			})
		}
		for _, line := range []string{
			"SYMBIOSIS_INCIDENT_THRESHOLD == ten",
			"SYMBIOSIS_INCIDENT_THRESHOLD ==",
			"SYMBIOSIS_INCIDENT_DATABASE == relative/path",
			"CHECK_CONNECT_RATELIMIT == ten / 15m",
			"CHECK_CONNECT_RATELIMIT ==",
			"CHECK_CONNECT_RATELIMIT == 10 / 15 minutes",
			"CHECK_CONNECT_IP_DNSBLS == zen.spamhaus.org=127.0.0.[2",
			"CHECK_CONNECT_IP_DNSBLS ==",
			"CHECK_CONNECT_DNSBL_THRESHOLD == x",
			"CHECK_CONNECT_DNSBL_TIMEOUT == soon",
			"CONNECT_STATE_HISTORY == enfroce",
			"CONNECT_PORTS_HISTORY == none",
			"CONNECT_GREETING_DELAY == long",
			"CONNECT_GREETING_BUSY == often",
			"CONNECT_AUTH_FAILURES == few",
			"CONNECT_REFUSED_NAMES_FILE == /nonexistent",
		} {
			t.Run(line, func(t *testing.T) {
				d.forget()
				d.with(t, func() {
					for _, port := range []int{25, 587} {
						c := d.Connect(innocent4, port)
						if lab.Code(c.Greeting) != "220" {
							t.Errorf("port %d: greeted with %q", port, c.Greeting)
						} else if got := c.Cmd("EHLO client.example"); lab.Code(got) != "250" {
							t.Errorf("port %d: EHLO: %q", port, got)
						} else if port == 587 {
							c.StartTLS("client.example", "mail.example.org")
							if got := c.AuthPlain("user@example.org", "correct horse"); lab.Code(got) != "235" {
								t.Errorf("AUTH: %q", got)
							}
						}
						c.Quit()
					}
				}, "CONNECT_STATE_GREETING == enforce", "CONNECT_STATE_REVERSE == enforce", "CONNECT_STATE_RATELIMIT == enforce", line)
			})
		}
	})
}

// The platform's lists are read by lookups, and Exim dies of a lookup's file
// that it cannot open. It does so without our rules too: what 20-accept-known
// says of it, and what the doctor and explain say, is true.
func TestUnreadableLookupFiles(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		rules := d.Root.Path("etc/exim4/symbiosis.d/00-main/20-connect-acl-enabled")
		for file, before := range map[string]string{"relay_from_hosts": "421", "whitelist/by_ip": "220"} {
			t.Run(file, func(t *testing.T) {
				d.Root.Write("etc/exim4/"+file, "192.0.2.1\n", 0o600)
				defer os.Remove(d.Root.Path("etc/exim4", file))
				talk := func(greeting string) {
					t.Helper()
					c := d.Connect(innocent4, 25)
					defer c.Close()
					if lab.Code(c.Greeting) != greeting {
						t.Errorf("greeted with %q; want %s", c.Greeting, greeting)
					}
					if got := c.Cmd("EHLO client.example"); lab.Code(got) != "421" {
						t.Errorf("EHLO: %q; want 421", got)
					}
				}
				talk("421")
				if out, code := d.Root.Try("symbiosis-connect-setup", "check"); code == 0 || !strings.Contains(out, file+" cannot be read by Debian-exim") {
					t.Errorf("the doctor, exit status %d:\n%s", code, out)
				}
				if out, code := d.Root.Try("symbiosis-connect-check", "explain", innocent4); code != 3 || !strings.Contains(out, "cannot be read") || !strings.Contains(out, "421") {
					t.Errorf("explain, exit status %d:\n%s", code, out)
				}
				if err := os.Rename(rules, rules+".off"); err != nil {
					t.Fatal(err)
				}
				d.Rebuild()
				talk(before)
				os.Rename(rules+".off", rules)
				d.Rebuild()
			})
		}
	})
}

// eachBrokenHelper breaks the helper in every way that it can be, runs do each
// time, and puts it back.
func (d *door) eachBrokenHelper(t *testing.T, do func(t *testing.T)) {
	const helper = "usr/sbin/symbiosis-connect-check"
	real := d.Root.Read(helper)
	for name, script := range map[string]string{
		"missing":     "",
		"killed":      "#!/bin/sh\nkill -9 $$\n",
		"crashes":     "#!/bin/sh\necho panic: oh dear >&2\nexit 2\n",
		"silent":      "#!/bin/sh\n",
		"talkative":   "#!/bin/sh\nyes 'nonsense } ${ \\'  | head -c 100000\n",
		"other words": "#!/bin/sh\necho 'verdict= list= score=\"'\n",
	} {
		t.Run(name, func(t *testing.T) {
			os.Remove(d.Root.Path(helper))
			if script != "" {
				d.Root.Write(helper, script, 0o755)
			}
			do(t)
		})
	}
	os.Remove(d.Root.Path(helper))
	d.Root.Write(helper, real, 0o755)
}

// A helper that is missing, killed, silent or talkative refuses nobody.
func TestBrokenHelper(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		d.eachBrokenHelper(t, func(t *testing.T) {
			d.expect(t, innocent4, 25, "220", "")
			d.expect(t, listed4, 25, "220", "")
			d.expect(t, bad4, 25, "550", history) // Exim's own lookup goes on
		})
		d.expect(t, listed4, 25, "550", "is blacklisted at")
	})
}

// An Exim that cannot read SQLite has the helper do all of it. When that does
// not run, everyone is let in, and the log says why.
func TestWithoutSQLite(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		// What Debian's exim4-daemon-light does, in which the macro is not defined.
		rule := d.Root.Snippet("10-acl/15-acl-connect-hosts")
		text, err := os.ReadFile(rule)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(rule, []byte(strings.ReplaceAll(string(text), "_HAVE_LOOKUP_SQLITE", "_HAVE_LOOKUP_NOTHING")), 0o644); err != nil {
			t.Fatal(err)
		}
		d.Rebuild()
		for _, port := range []int{25, 587} {
			d.expect(t, bad4, port, "550", history)
			d.expect(t, bad6, port, "550", history)
			d.expect(t, neighbour, port, "220", "")
			d.expect(t, innocent4, port, "220", "")
		}
		d.with(t, func() {
			d.guess(t, "5.5.5.5", 3, func(i int, got string) {
				if putOff(got) != (i > 2) {
					t.Errorf("try %d: %q", i, got)
				}
			})
		}, "CONNECT_AUTH_FAILURES == 2")
		if got := d.login(innocent4); lab.Code(got) != "235" {
			t.Errorf("a login: %q", got)
		}
		d.settled()
		if got := d.Root.Hosts("select login > 0 from host where net = '" + innocent4 + "';"); got != "1" {
			t.Errorf("the login was not written down: %q", got)
		}
		d.eachBrokenHelper(t, func(t *testing.T) {
			for _, from := range []string{innocent4, bad4} {
				mark := len(d.Log())
				d.expect(t, from, 587, "220", "")
				if since := d.LogSince(t, mark, "skipped"); strings.Count(since, "skipped") != 1 {
					t.Errorf("the log does not say once that the database was skipped:\n%s", since)
				}
			}
		})
		d.expect(t, bad4, 587, "550", history)
		db := d.Root.Path(d.Root.HostsDatabase())
		if err := os.WriteFile(db, []byte(strings.Repeat("not a database\n", 500)), 0o640); err != nil {
			t.Fatal(err)
		}
		mark := len(d.Log())
		d.expect(t, bad4, 587, "220", "")
		d.LogSince(t, mark, "host database skipped: "+d.Root.HostsDatabase()+": the database is corrupt")
	})
}

// Exim's own hints: whatever is wrong with them, nobody notices, because no rule
// of ours asks them.
func TestBrokenHints(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		const user, sender = "5.5.5.7", "5.5.5.8"
		hints := d.Root.Path("var/spool/exim4/db")
		if out, err := d.Root.Command("install", "-d", "-o", "Debian-exim", "-g", "Debian-exim", "-m", "750", "/var/spool/exim4/db").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got := d.login(user); lab.Code(got) != "235" {
			t.Fatalf("a login: %q", got)
		}
		d.settled()
		d.Root.History(user, 45)
		d.Root.Hosts("insert into host (net,greeted,delivered) values ('" + sender + "', strftime('%s','now'), strftime('%s','now'));")
		d.with(t, func() {
			for name, breaks := range map[string]string{
				"good":            "true",
				"garbage":         "yes garbage | head -c 16000 > ratelimit",
				"for root only":   "touch ratelimit; chown root:root ratelimit* && chmod 600 ratelimit*",
				"lock":            "chown root:root . && chmod 700 .",
				"not a directory": "cd .. && rm -r db && touch db",
				// What a full disk leaves behind: Berkeley DB turns in circles on it.
				"stale": "rm -f ratelimit; install -o Debian-exim -g Debian-exim -m 640 /dev/null __db.ratelimit",
			} {
				t.Run(name, func(t *testing.T) {
					if out, err := exec.Command("cp", "-a", hints, hints+".good").CombinedOutput(); err != nil {
						t.Fatalf("%v: %s", err, out)
					}
					defer func() {
						os.RemoveAll(hints)
						os.Rename(hints+".good", hints)
					}()
					cmd := d.Root.Command("sh", "-ec", "cd /var/spool/exim4/db && "+breaks)
					if out, err := cmd.CombinedOutput(); err != nil {
						t.Fatalf("%v: %s", err, out)
					}
					mark := len(d.Log())
					if got := d.login(user); lab.Code(got) != "235" {
						t.Errorf("the user: %q", got)
					}
					d.expect(t, user, 465, "220", "")
					d.expect(t, bad4, 587, "550", history)
					if l := d.LogSince(t, mark, "history passed over: a user has logged in from here lately (count 45, threshold 10)"); strings.Contains(l, "skipped") {
						t.Errorf("the users' ports ask the hints:\n%s", l)
					}
					d.expect(t, user, 25, "550", history) // it stands before the rate
					d.expect(t, sender, 25, "220", "")
					d.expect(t, innocent4, 25, "220", "")
				})
			}
		}, "CONNECT_STATE_RATELIMIT == enforce", "CONNECT_STATE_GREETING == enforce")
	})
}

// For a week after the host database was lost nobody knows who is a user: a
// history refuses none of them. On port 25 it counts as always.
func TestHostDatabaseLost(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		for value, code := range map[string]string{
			"strftime('%s','now') - 6*86400": "220", "cast(strftime('%s','now') as integer) - 6*86400": "220",
			"strftime('%s','now') - 8*86400": "550", "strftime('%s','now') + 8*86400": "550", "'nonsense'": "550",
		} {
			d.Root.Hosts("insert or replace into state values ('lost', " + value + ");")
			mark := len(d.Log())
			d.expect(t, bad4, 587, code, "")
			d.expect(t, bad4, 25, "550", history)
			if code == "220" {
				d.LogSince(t, mark, "history passed over: the host database was lost less than a week ago")
			}
		}
	})
}

// Nothing is written when an administrator tries an address, and little when a
// host keeps coming.
func TestHostDatabaseIsWrittenSeldom(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		row := func(host string) string {
			return d.Root.Hosts("select first > 0, greeted > 0, lists_passed > 0, login > 0, delivered > 0, failures from host where net = '" + host + "';")
		}
		changes := func() string {
			b, err := os.ReadFile(d.Root.Path(d.Root.HostsDatabase()))
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		mail := func(host string) {
			c := d.Connect(host, 25)
			if got := c.Cmd("EHLO client.example"); lab.Code(got) != "250" {
				t.Errorf("EHLO: %q", got)
			}
			c.Cmd("EHLO client.example")
			c.Quit()
			d.settled()
		}
		d.with(t, func() {
			d.Root.Bh(innocent4, 25)
			if got := row(innocent4); got != "" {
				t.Errorf("exim4 -bh has written %s", got)
			}
			mail(innocent4)
			if got := row(innocent4); got != "1|1|1|0|0|0" {
				t.Errorf("after the first visit: %s", got)
			}
			if got := d.login(innocent4); lab.Code(got) != "235" {
				t.Errorf("a login: %q", got)
			}
			d.settled()
			if got := row(innocent4); got != "1|1|1|1|0|0" {
				t.Errorf("after a login: %s", got)
			}
			deliver := func() {
				c := d.Connect(innocent4, 25)
				for _, cmd := range []string{"EHLO client.example", "MAIL FROM:<friend@innocent.example>", "RCPT TO:<user@example.org>", "DATA", "Subject: hello\r\n\r\nhello\r\n."} {
					if got := lab.Code(c.Cmd("%s", cmd)); got != "250" && got != "354" {
						t.Errorf("%s: %s", cmd, got)
					}
				}
				c.Close()
				d.settled()
			}
			deliver()
			if got := row(innocent4); got != "1|1|1|1|1|0" {
				t.Errorf("after a message: %s", got)
			}
			// So that what is written again differs.
			d.Root.Hosts("update host set last = last - 100, greeted = greeted - 100, lists_passed = lists_passed - 100, login = login - 100, delivered = delivered - 100;")
			before := changes()
			asked := d.DNS.Questions(zen)
			for range 3 {
				mail(innocent4)
				deliver()
				d.login(innocent4)
				d.settled()
				d.expect(t, bad4, 25, "550", history)
				d.expect(t, listed4, 25, "550", "is blacklisted at")
			}
			if changes() != before {
				t.Errorf("it was written to again: %s", d.Root.Hosts("select * from host;"))
			}
			if n := d.DNS.Questions(zen) - asked; n < 3 {
				t.Errorf("the listed host was asked about %d times; want 3", n)
			}
			// An hour later it is asked about again.
			asked = d.DNS.Questions(zen)
			mail(innocent4)
			if n := d.DNS.Questions(zen) - asked; n != 0 {
				t.Errorf("a host that has just passed the lists was asked about %d times", n)
			}
			d.Root.Hosts("update host set lists_passed = lists_passed - 3601;")
			mail(innocent4)
			if n := d.DNS.Questions(zen) - asked; n == 0 {
				t.Error("a host that passed the lists an hour ago was not asked about")
			}
		}, "CONNECT_STATE_GREETING == enforce", "CONNECT_GREETING_DELAY == 1")
	})
}

// An administrator who switches one of our snippets off by renaming it loses
// that check, and no mail.
func TestSnippetsMissing(t *testing.T) {
	d := open(t, lab.DefaultSuite)
	for _, name := range []string{
		"10-acl/11-acl-connect-helper", "10-acl/12-acl-connect-leave", "10-acl/13-acl-connect-command", "10-acl/14-acl-connect-state",
		"10-acl/15-acl-connect-hosts", "10-acl/10-acl-check-connect/20-look-up-host", "10-acl/20-acl-check-helo/20-remember-host",
		"10-acl/10-acl-check-connect/15-connect-variables", "10-acl/10-acl-check-connect/20-accept-known",
		"10-acl/10-acl-check-connect/30-check-symbiosis-db", "10-acl/20-acl-check-helo/30-check-helo-name",
		"10-acl/30-acl-check-auth/03-check-auth-argument", "10-acl/15-acl-connect-login", "10-acl/16-acl-connect-offence",
	} {
		t.Run(name, func(t *testing.T) {
			p := d.Root.Snippet(name)
			if err := os.Rename(p, p+".disabled"); err != nil {
				t.Fatal(err)
			}
			d.Rebuild()
			defer func() { os.Rename(p+".disabled", p); d.Rebuild() }()
			// Somebody who guesses puts off nobody but himself.
			d.forget()
			d.guess(t, "5.5.5.5", 11, nil)
			c := d.Connect(innocent4, 587)
			defer c.Close()
			c.Cmd("EHLO client.example")
			c.StartTLS("client.example", "mail.example.org")
			if got := c.AuthPlain("user@example.org", "correct horse"); lab.Code(got) != "235" {
				t.Errorf("AUTH: %q", got)
			}
			for _, cmd := range []string{"MAIL FROM:<user@example.org>", "RCPT TO:<user@example.org>"} {
				if got := c.Cmd("%s", cmd); lab.Code(got) != "250" {
					t.Errorf("%s: %q", cmd, got)
				}
			}
			d.expect(t, innocent4, 25, "220", "")
		})
	}
}
