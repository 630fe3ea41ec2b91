package door

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"symbiosis-connect-acl/tests/lab"
)

// hold runs SQL on the host database, which takes a lock, and keeps that until
// release is called.
func (d *door) hold(t *testing.T, statements string) (release func()) {
	t.Helper()
	c := exec.Command("sqlite3", "-cmd", ".timeout 5000", d.Root.Path(d.Root.HostsDatabase()))
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = c.Stdout
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	io.WriteString(in, statements+"; SELECT 'held';\n")
	said := ""
	for buf := make([]byte, 100); !strings.Contains(said, "held\n"); {
		n, err := out.Read(buf)
		if said += string(buf[:n]); err != nil || strings.Contains(said, "rror") {
			in.Close()
			c.Wait()
			t.Fatalf("%s: %q, %v", statements, said, err)
		}
	}
	return func() { in.Close(); c.Wait() }
}

// The moments of a session, before each of which something can go wrong. The
// logins are those of a user.
var moments = []string{"connection", "HELO", "login", "next login", "MAIL", "DATA", "QUIT", "end"}

// talk has an innocent host send a message: on port 25 a mail server, on the
// others a user who mistypes the password first. It calls at before each moment.
// The session ends with QUIT, or as it is told.
func (d *door) talk(t *testing.T, from string, port int, abrupt bool, at func(moment string)) {
	t.Helper()
	var c *lab.Client
	for _, moment := range moments {
		if port == 25 && strings.Contains(moment, "login") || abrupt && moment == "QUIT" || !abrupt && moment == "end" {
			continue
		}
		at(moment)
		expect := func(want string, got string) {
			t.Helper()
			if lab.Code(got) != want {
				t.Errorf("%s: %q; want %s", moment, got, want)
			}
		}
		switch moment {
		case "connection":
			c = d.Connect(from, port)
			defer c.Close()
			expect("220", c.Greeting)
		case "HELO":
			expect("250", c.Cmd("EHLO client.example"))
			if port == 587 {
				expect("250", c.StartTLS("client.example", "mail.example.org"))
			}
		case "login":
			expect("535", c.AuthPlain("user@example.org", "correct house"))
		case "next login":
			expect("235", c.AuthPlain("user@example.org", "correct horse"))
		case "MAIL":
			expect("250", c.Cmd("MAIL FROM:<friend@innocent.example>"))
			expect("250", c.Cmd("RCPT TO:<user@example.org>"))
		case "DATA":
			expect("354", c.Cmd("DATA"))
			expect("250", c.Cmd("Subject: hello\r\n\r\nhello\r\n."))
		case "QUIT":
			expect("221", c.Cmd("QUIT"))
		case "end":
			c.Reset()
		}
	}
}

// At each moment of a session the disk gets full, or somebody takes the lock of
// the host database and does not give it back as long as the session lasts. A mail
// server and a user get through all the same. The log says once that the database
// was skipped, or all was written down. Afterwards it is sound, and written to.
func TestObstacleAtEachMoment(t *testing.T) {
	const user = "5.5.5.9"
	everySuite(t, func(t *testing.T, d *door) {
		dir := filepath.Dir(d.Root.Path(d.Root.HostsDatabase()))
		if out, err := exec.Command("sh", "-ec", "cd "+filepath.Dir(dir)+"; cp -a hosts hosts.good; mount -t tmpfs -o size=1m tmpfs hosts; "+
			"cp -a hosts.good/. hosts; chown --reference=hosts.good hosts; chmod --reference=hosts.good hosts").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Cleanup(func() { exec.Command("umount", "-l", dir).Run() })

		full := func(*testing.T, string) (again, away func()) {
			// Filled again before each later moment, because Exim gives room back.
			file := filepath.Join(dir, "full")
			return func() { exec.Command("sh", "-c", "cat /dev/zero >> "+file).Run() }, // fails when the disk is full
				func() { os.Remove(file) }
		}
		held := func(t *testing.T, moment string) (again, away func()) {
			if moment == "connection" || moment == "QUIT" || moment == "end" { // when Exim has let go of the file
				return func() {}, d.hold(t, "PRAGMA locking_mode = exclusive; BEGIN EXCLUSIVE")
			}
			return func() {}, d.hold(t, "BEGIN IMMEDIATE")
		}

		// session has the obstacle put before a moment, and away when all is over. It
		// gives how often the log says that the database was skipped.
		session := func(t *testing.T, port int, moment string, put func(*testing.T, string) (again, away func())) int {
			t.Helper()
			// It was greeted here before. So it does not wait, and that it was greeted is written again.
			from, all := innocent4, "1|1|0"
			if port != 25 {
				from, all = user, "0|1|1"
			}
			d.forget()
			d.Root.Hosts("insert into host (net, greeted) values ('" + from + "', strftime('%s','now') - 7200);")
			mark := len(d.Log())
			again, away := func() {}, func() {}
			d.talk(t, from, port, moment == "end", func(now string) {
				if now == moment {
					again, away = put(t, now)
				}
				again()
			})
			d.settled()
			away()
			since := d.Log()[mark:]
			n := strings.Count(since, "host database skipped")
			got := d.Root.Hosts("select greeted > strftime('%s','now') - 3600, delivered > 0, login > 0 from host where net = '" + from + "';")
			if n > 1 || n == 0 && got != all {
				t.Errorf("the log says %d times that the database was skipped, and what is written down is %s:\n%s", n, got, since)
			}
			if got := d.Root.Hosts("pragma integrity_check;"); got != "ok" {
				t.Errorf("the database: %s", got)
			}
			return n
		}
		d.with(t, func() {
			for _, o := range []struct {
				name  string
				put   func(t *testing.T, moment string) (again, away func())
				stay  bool // somebody has the database open all the time, as "sync --stay" does
				ports []int
			}{
				{"full", full, false, []int{25, 465, 587}},
				{"full, kept open", full, true, []int{25, 465, 587}},
				{"locked", held, false, []int{25, 587}},
			} {
				for _, port := range o.ports {
					t.Run(fmt.Sprint(o.name, ", ", port), func(t *testing.T) {
						if o.stay {
							defer d.hold(t, "SELECT count(*) FROM host")()
						}
						for _, moment := range moments {
							if port == 25 && strings.Contains(moment, "login") {
								continue
							}
							// When nobody else has it open, Exim may give its room back after our last look.
							sure := o.stay || o.name == "locked" || moment == "connection"
							if session(t, port, moment, o.put) == 0 && sure {
								t.Errorf("%s: nothing was in the way", moment)
							}
						}
						if session(t, port, "", o.put) != 0 {
							t.Error("the database is skipped for ever")
						}
					})
				}
			}
		}, "CONNECT_STATE_RATELIMIT == enforce", "CONNECT_STATE_GREETING == enforce", "CONNECT_GREETING_DELAY == 1")
	})
}

// Whatever page of the host database is destroyed, and whatever of the files
// beside it, innocents get through, and the log says once that it was skipped; or
// nobody needed what is lost, and all was written down.
func TestHostDatabaseCorruptAnywhere(t *testing.T) {
	const user = "5.5.5.9"
	everySuite(t, func(t *testing.T, d *door) {
		db := d.Root.Path(d.Root.HostsDatabase())
		d.forget()
		// So many that the table has an inner page and some leaves.
		d.Root.Hosts("insert into host (net) select '11.1.' || value || '.1' from generate_series(1, 250); pragma wal_checkpoint(truncate);")
		good, err := os.ReadFile(db)
		if err != nil {
			t.Fatal(err)
		}
		write := func(path string, data []byte) {
			t.Helper()
			if err := os.WriteFile(path, data, 0o640); err != nil {
				t.Fatal(err)
			}
			if err := exec.Command("chown", "--reference="+filepath.Dir(db), path).Run(); err != nil {
				t.Fatal(err)
			}
		}
		type damage struct {
			name string
			do   func(t *testing.T) (away func())
		}
		// zeroed gives a file without a part of it.
		zeroed := func(data []byte, from, to int) []byte {
			data = slices.Clone(data)
			clear(data[from:to])
			return data
		}
		damages := []damage{{"header", func(*testing.T) func() {
			write(db, zeroed(good, 0, 100))
			return func() {}
		}}}
		kinds := d.Root.Hosts("select (pageno-1) * pgsize, name || ' ' || pagetype || ' ' || pageno from dbstat order by 1;")
		for _, kind := range []string{"sqlite_schema leaf", "host internal", "host leaf", "state leaf", "guess leaf", "account_at leaf"} {
			if !strings.Contains(kinds, kind) {
				t.Errorf("the database has no %q: %s", kind, kinds)
			}
		}
		for l := range strings.Lines(kinds) {
			var at int
			_, name, _ := strings.Cut(strings.TrimSpace(l), "|")
			fmt.Sscan(l, &at)
			damages = append(damages, damage{name, func(*testing.T) func() {
				write(db, zeroed(good, at, at+4096))
				return func() {}
			}})
		}
		// The files that are there as long as somebody has the database open.
		const wal, shm = "-wal", "-shm"
		for _, f := range []struct {
			suffix, name string
			from, to     int
		}{{wal, "header", 0, 32}, {wal, "first page", 32, 32 + 24 + 4096}, {shm, "header", 0, 136}, {shm, "index", 136, 32768}} {
			in := func(t *testing.T) (release func(), data []byte) {
				release = d.hold(t, "SELECT count(*) FROM host")
				d.Root.Hosts("update host set last = 1;")
				data, err := os.ReadFile(db + f.suffix)
				if err != nil {
					t.Fatal(err)
				}
				return release, zeroed(data, f.from, f.to)
			}
			damages = append(damages, damage{f.suffix + " " + f.name + ", in use", func(t *testing.T) func() {
				release, data := in(t)
				w, err := os.OpenFile(db+f.suffix, os.O_WRONLY, 0) // without making it shorter, as it is mapped
				if err == nil {
					_, err = w.WriteAt(data, 0)
					w.Close()
				}
				if err != nil {
					t.Fatal(err)
				}
				return release
			}}, damage{f.suffix + " " + f.name + ", left by a crash", func(t *testing.T) func() {
				release, data := in(t)
				other := map[string]string{wal: shm, shm: wal}[f.suffix]
				whole, err := os.ReadFile(db + other)
				if err != nil {
					t.Fatal(err)
				}
				release()
				write(db, good)
				write(db+f.suffix, data)
				write(db+other, whole)
				return func() {}
			}})
		}
		for _, what := range damages {
			t.Run(what.name, func(t *testing.T) {
				for _, port := range []int{25, 587} {
					from, all := innocent4, "1|0"
					if port != 25 {
						from, all = user, "1|1"
					}
					away := what.do(t)
					mark := len(d.Log())
					d.talk(t, from, port, false, func(string) {})
					d.settled()
					since := d.Log()[mark:]
					if n := strings.Count(since, "host database skipped"); n > 1 {
						t.Errorf("port %d: the log says %d times that the database was skipped:\n%s", port, n, since)
					} else if n == 0 {
						for _, needed := range []string{"header", "sqlite_schema", "host internal", "state"} {
							if strings.HasPrefix(what.name, needed) {
								t.Errorf("port %d: nobody has noticed", port)
							}
						}
						if got := d.Root.Hosts("select delivered > 0, login > 0 from host where net = '" + from + "';"); got != all {
							t.Errorf("port %d: the log says nothing, and what is written down is %q:\n%s", port, got, since)
						}
					}
					mark = len(d.Log())
					if got := d.Greet(bad4, 587); lab.Code(got) == "220" {
						d.LogSince(t, mark, "host database skipped")
					} else if !strings.Contains(got, history) {
						t.Errorf("a host with a history: %q", got)
					}
					d.settled()
					away()
					for _, suffix := range []string{wal, shm} {
						os.Remove(db + suffix)
					}
					write(db, good)
				}
			})
		}
		mark := len(d.Log())
		d.talk(t, innocent4, 25, false, func(string) {})
		d.settled()
		if since := d.Log()[mark:]; strings.Contains(since, "skipped") {
			t.Errorf("skipped with everything in order:\n%s", since)
		}
	})
}
