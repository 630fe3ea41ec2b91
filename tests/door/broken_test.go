package door

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"symbiosis-connect-acl/tests/lab"
)

// Whatever state the database is in, an innocent host is greeted and the log
// says once why the check was skipped.
func TestBrokenDatabase(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		db := d.Root.Path(database)
		good, err := os.ReadFile(db)
		if err != nil {
			t.Fatal(err)
		}
		write := func(data []byte, mode os.FileMode) func() {
			return func() {
				os.WriteFile(db, data, 0o644)
				os.Chmod(db, mode)
			}
		}
		states := []struct {
			name  string
			make  func()
			why   string // in the log
			opens bool   // Exim's error comes from opening the file, in two lines
		}{
			{name: "absent", make: func() {}, why: "does not exist"},
			{name: "dangling link", make: func() { os.Symlink("nowhere", db) }, why: "does not exist"},
			{name: "unreadable", make: write(good, 0o600), why: "unable to open database file"},
			{name: "directory", make: func() { os.Mkdir(db, 0o755) }, why: "unable to open database file"},
			{name: "empty", make: write(nil, 0o644), why: "locked, damaged or not the firewall's"},
			{name: "no table", make: func() { sqlite(t, db, "CREATE TABLE other (x);") }, why: "locked, damaged or not the firewall's"},
			{name: "wrong schema", make: func() { sqlite(t, db, "CREATE TABLE blacklist (a, b);") }, why: "locked, damaged or not the firewall's"},
			{name: "not a database", make: write([]byte(strings.Repeat("not a database\n", 500)), 0o644), why: "locked, damaged or not the firewall's"},
			{name: "truncated", make: write(good[:len(good)/2], 0o644), why: "locked, damaged or not the firewall's"},
			// The writer was killed in the middle: only root can put it right.
			{name: "hot journal", make: func() {
				sqlite(t, db, strings.Join([]string{goodSchema, "PRAGMA cache_size=1;",
					"INSERT INTO blacklist SELECT value,1,1 FROM generate_series(1,5000);",
					"BEGIN; UPDATE blacklist SET count=2;",
					".shell cp " + db + " " + db + ".hot",
					".shell cp " + db + "-journal " + db + ".hot-journal",
					"ROLLBACK;"}, "\n"))
				os.Rename(db+".hot", db)
				os.Rename(db+".hot-journal", db+"-journal")
				os.Chmod(db+"-journal", 0o600)
			}, why: "skipped"},
			{name: "text for a count", make: func() {
				sqlite(t, db, goodSchema+"INSERT INTO blacklist VALUES ('"+innocent4+"',1,'many');")
			}},
		}
		for _, s := range states {
			t.Run(s.name, func(t *testing.T) {
				os.Remove(db + "-journal")
				if err := os.RemoveAll(db); err != nil {
					t.Fatal(err)
				}
				s.make()
				for _, from := range []string{innocent4, innocent6} {
					mark := len(d.Log())
					d.expect(t, from, 25, "220", "")
					if s.why == "" {
						continue
					}
					since := d.LogSince(t, mark, s.why)
					if n := strings.Count(since, "skipped"); n != 1 {
						t.Errorf("the log says %d times that the check was skipped; want once:\n%s", n, since)
					}
				}
				// The other rules go on.
				d.expect(t, listed4, 25, "550", "is blacklisted at")
				os.Remove(db + "-journal")
				os.RemoveAll(db)
			})
		}

		t.Run("locked", func(t *testing.T) {
			os.WriteFile(db, good, 0o644)
			lock := exec.Command("sqlite3", db)
			in, _ := lock.StdinPipe()
			out, _ := lock.StdoutPipe()
			if err := lock.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { in.Close(); lock.Wait() }()
			in.Write([]byte("BEGIN EXCLUSIVE; SELECT 'locked';\n"))
			buf := make([]byte, 16)
			if n, err := out.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "locked") {
				t.Fatalf("%q, %v", buf[:n], err)
			}
			mark := len(d.Log())
			d.expect(t, innocent4, 25, "220", "")
			d.LogSince(t, mark, "history check skipped")
		})
		t.Run("good again", func(t *testing.T) {
			os.RemoveAll(db)
			os.Remove(db + "-journal")
			os.WriteFile(db, good, 0o644)
			d.expect(t, bad4, 25, "550", history)
			d.expect(t, innocent4, 25, "220", "")
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
				d.ClearHints()
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

// An Exim that cannot read SQLite asks the helper about the history. When that
// does not run, everyone is let in, and the log says why.
func TestBrokenHistoryHelper(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		// What Debian's exim4-daemon-light does, in which the macro is not defined.
		rule := d.Root.Snippet("10-acl/10-acl-check-connect/30-check-symbiosis-db")
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
		d.eachBrokenHelper(t, func(t *testing.T) {
			for _, from := range []string{innocent4, bad4} {
				mark := len(d.Log())
				d.expect(t, from, 587, "220", "")
				if since := d.LogSince(t, mark, "skipped"); strings.Count(since, "skipped") != 1 {
					t.Errorf("the log does not say once that the check was skipped:\n%s", since)
				}
			}
		})
		d.expect(t, bad4, 587, "550", history)
	})
}

// Exim's own hints database, which the rate rules need.
func TestBrokenHints(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		hints := d.Root.Path("var/spool/exim4/db")
		os.RemoveAll(hints)
		os.WriteFile(hints, []byte("not a directory"), 0o644)
		defer os.RemoveAll(hints)
		d.with(t, func() {
			mark := len(d.Log())
			c := d.Connect(innocent4, 25)
			if lab.Code(c.Greeting) != "220" {
				t.Errorf("greeted with %q", c.Greeting)
			}
			if got := c.Cmd("EHLO client.example"); lab.Code(got) != "250" {
				t.Errorf("EHLO: %q", got)
			}
			c.Quit()
			d.LogSince(t, mark, "ratelimit database not available")
			c = d.Connect(innocent4, 587)
			c.Cmd("EHLO client.example")
			c.StartTLS("client.example", "mail.example.org")
			if got := c.AuthPlain("user@example.org", "correct horse"); lab.Code(got) != "235" {
				t.Errorf("AUTH: %q", got)
			}
			c.Quit()
		}, "CONNECT_STATE_GREETING == enforce")
	})
}

// A user whose address has a history is not locked out when Exim cannot look
// up that a user has logged in from there.
func TestBrokenHintsOfUsers(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		const user = "5.5.5.7"
		hints := d.Root.Path("var/spool/exim4/db")
		if got := d.login(user); lab.Code(got) != "235" {
			t.Fatalf("a login: %q", got)
		}
		sqlite(t, d.Root.Path(database), "INSERT INTO blacklist VALUES ('"+user+"',1700000000,45);")
		mark := len(d.Log())
		if got := d.login(user); lab.Code(got) != "235" {
			t.Errorf("with hints that are whole: %q", got)
		}
		d.LogSince(t, mark, "history passed over: a user has logged in from here lately (count 45, threshold 10)")
		d.expect(t, bad4, 587, "550", history) // nobody has logged in from there

		for name, breaks := range map[string]string{
			"garbage":         "yes garbage | head -c 16000 > ratelimit",
			"for root only":   "chown root:root ratelimit* && chmod 600 ratelimit*",
			"lock":            "if [ -e ratelimit.lockfile ]; then chown root:root ratelimit.lockfile && chmod 600 ratelimit.lockfile; else chown root:root . && chmod 700 .; fi",
			"not a directory": "cd .. && rm -r db && touch db",
		} {
			t.Run(name, func(t *testing.T) {
				// Known: 4.100 keeps its hints in SQLite, and takes a file that is
				// no database for one in which nothing stands yet. It does not say
				// that it could not look, so the user is a stranger to it. This
				// ends when the rules stop asking the hints.
				if name == "garbage" && d.Root.Suite.Exim == "4.100.1" {
					t.Skip("known on 4.100")
				}
				if out, err := exec.Command("cp", "-a", hints, hints+".good").CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				defer func() {
					os.RemoveAll(hints)
					os.Rename(hints+".good", hints)
				}()
				if out, err := exec.Command("sh", "-ec", "cd "+hints+" && "+breaks).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				mark := len(d.Log())
				if got := d.login(user); lab.Code(got) != "235" {
					t.Errorf("the user: %q", got)
				}
				d.LogSince(t, mark, "history passed over: Exim cannot tell whether a user has logged in from here (count 45, threshold 10)")
				d.expect(t, user, 465, "220", "")
				d.expect(t, user, 25, "550", history)
				d.expect(t, innocent4, 25, "220", "")
			})
		}
	})
}

// An administrator who switches one of our snippets off by renaming it loses
// that check, and no mail.
func TestSnippetsMissing(t *testing.T) {
	d := open(t, lab.DefaultSuite)
	for _, name := range []string{
		"10-acl/11-acl-connect-helper", "10-acl/12-acl-connect-leave", "10-acl/13-acl-connect-command", "10-acl/14-acl-connect-state",
		"10-acl/15-acl-connect-login", "00-main/26-events",
		"10-acl/10-acl-check-connect/15-connect-variables", "10-acl/10-acl-check-connect/20-accept-known",
		"10-acl/10-acl-check-connect/30-check-symbiosis-db", "10-acl/20-acl-check-helo/30-check-helo-name",
		"10-acl/30-acl-check-auth/03-check-auth-argument",
	} {
		t.Run(name, func(t *testing.T) {
			p := d.Root.Snippet(name)
			if err := os.Rename(p, p+".disabled"); err != nil {
				t.Fatal(err)
			}
			d.Rebuild()
			defer func() { os.Rename(p+".disabled", p); d.Rebuild() }()
			// Somebody who guesses puts off nobody but himself.
			d.ClearHints()
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
