package main

import (
	"bytes"
	"database/sql"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	_ "github.com/mattn/go-sqlite3"

	"symbiosis-connect-acl/internal/patterns"
	"symbiosis-connect-acl/tests/lab"
)

// What the platform's scan blocks for: more hits than this for a port in one
// scan, or a sum over this in a day.
const scanLimit, dayLimit = 25, 100

const blacklistDir = "etc/symbiosis/firewall/blacklist.d"

// A wall is the platform's firewall: a scan that counts and blocks as the
// platform's does, and its rules by iptables in the server's namespace.
type wall struct {
	root    *lab.Root
	net     *lab.Net
	files   []*patterns.File
	db      *sql.DB
	offset  int64
	blocks  map[string]bool
	counted int
	err     error
}

func newWall(b *bench, r *lab.Root, n *lab.Net, old []string, begin time.Time) *wall {
	w := &wall{root: r, net: n, blocks: map[string]bool{}}
	os.Remove(r.Path(databaseLink))
	db, err := sql.Open("sqlite3", r.Path(databaseLink))
	b.must(err)
	b.Cleanup(func() { db.Close() })
	w.db = db
	_, err = db.Exec("CREATE TABLE blacklist (ip TEXT NOT NULL, timestamp INTEGER NOT NULL, count INTEGER NOT NULL)")
	b.must(err)
	for _, ip := range old { // twenty offences, within hours
		for i := range 20 {
			_, err = db.Exec("INSERT INTO blacklist VALUES (?,?,3)", ip, begin.Add(-120*24*time.Hour+time.Duration(i)*15*time.Minute).Unix())
			b.must(err)
		}
	}
	script, err := os.ReadFile(filepath.Join(lab.SourceDir(), "tests/retain/symbiosis-firewall"))
	b.must(err)
	r.Write("usr/sbin/symbiosis-firewall", string(script), 0o755)
	return w
}

// start reads the patterns that are installed, and sets the rules up.
func (w *wall) start(b *bench) {
	names, err := filepath.Glob(w.root.Path("etc/symbiosis/firewall/patterns.d/*.patterns"))
	b.must(err)
	for _, name := range names {
		data, err := os.ReadFile(name)
		b.must(err)
		f, err := patterns.Parse(data)
		b.must(err)
		b.must(f.Compile())
		w.files = append(w.files, f)
	}
	w.run("load")
	b.must(w.err)
}

// inside prepares a command in the root and in the server's namespace.
func inside(r *lab.Root, n *lab.Net, args ...string) *exec.Cmd {
	cmd := exec.Command("ip", append([]string{"netns", "exec", n.Server, "chroot", r.Dir}, args...)...)
	cmd.Env = r.Command("true").Env
	return cmd
}

func (w *wall) run(what string) {
	if out, err := inside(w.root, w.net, "symbiosis-firewall", what).CombinedOutput(); err != nil {
		w.fail(fmt.Errorf("symbiosis-firewall %s: %v\n%s", what, err, out))
	}
}

func (w *wall) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// scan is one of the firewall's, every quarter of an hour.
func (w *wall) scan(now time.Time) {
	log, err := os.Open(w.root.Path("var/log/exim4/mainlog"))
	if err != nil {
		w.fail(err)
		return
	}
	defer log.Close()
	log.Seek(w.offset, io.SeekStart)
	data, _ := io.ReadAll(log)
	data = data[:bytes.LastIndexByte(data, '\n')+1]
	w.offset += int64(len(data))
	lines, sums := map[string]int{}, map[string]int{}
	for line := range bytes.Lines(data) {
		for _, f := range w.files {
			for _, h := range f.Match(bytes.TrimSuffix(line, []byte("\n")), nil) {
				a, err := netip.ParseAddr(string(h.Address))
				if err != nil {
					continue
				}
				ip := a.Unmap().String()
				if a.Is6() && !a.Is4In6() {
					p, _ := a.Prefix(64)
					ip = p.String()
				}
				lines[ip]++
				sums[ip] += max(1, len(f.Ports))
			}
		}
	}
	changed := false
	for ip, n := range lines {
		w.counted += n
		if _, err := w.db.Exec("INSERT INTO blacklist VALUES (?,?,?)", ip, now.Unix(), sums[ip]); err != nil {
			w.fail(err)
		}
		var day int
		if err := w.db.QueryRow("SELECT SUM(count) FROM blacklist WHERE ip = ? AND timestamp >= ?", ip, now.Unix()-86400).Scan(&day); err != nil {
			w.fail(err)
		}
		ports := ""
		if day > dayLimit {
			ports = "all\n"
		} else if n > scanLimit {
			ports = "25\n465\n587\n"
		}
		if ports == "" {
			continue
		}
		name := w.root.Path(blacklistDir, strings.ReplaceAll(ip, "/", "|")+".auto")
		err := os.WriteFile(name, []byte(ports), 0o644)
		if err == nil {
			err = os.Chown(name, 1000, 1000)
		}
		if err == nil {
			err = os.Chtimes(name, now, now)
		}
		if err != nil {
			w.fail(err)
		}
		w.blocks[ip], changed = true, true
	}
	if changed {
		w.run("reload-blacklist")
	}
}

// A jail is Debian's fail2ban, in the server's root and namespace. It goes by the
// day's clock.
type jail struct {
	sync.Mutex
	f     *field
	dirty map[string]bool        // who has done something that it has not read yet
	found map[string][]time.Time // its lines about a host, within ten minutes of the first
	bans  map[string]int
	fresh []string // banned just now
	ticks int
	seen  int
	told  int64 // of its own log
	rest  []byte
	err   error
}

// ticker is an address that fail2ban ignores, and says so: so much of the log it
// has read.
const ticker = "192.0.2.9"

// Its pauses are shorter, since the day is, and its own notion of the time (MyTime,
// which its tests set too) is the day's: libfaketime makes Python's sleep fail.
// Nothing else of it is changed.
const jailProgram = `import sys, time, datetime
from fail2ban.server.mytime import MyTime
from fail2ban.server.utils import Utils
Utils.DEFAULT_SLEEP_TIME = 0.01
Utils.DEFAULT_SLEEP_INTERVAL = 0.01
def now():
    with open("/etc/faketimerc") as f:
        return time.time() + float(f.read())
MyTime.time = staticmethod(now)
MyTime.now = staticmethod(lambda: datetime.datetime.fromtimestamp(now()))
MyTime.gmtime = staticmethod(lambda: time.gmtime(now()))
MyTime.localtime = staticmethod(lambda x=None: time.localtime(now() if x is None else x))
from fail2ban.client.fail2banserver import exec_command_line
exec_command_line(sys.argv)
`

func startJail(b *bench, f *field) *jail {
	j := &jail{f: f, dirty: map[string]bool{}, found: map[string][]time.Time{}, bans: map[string]int{}}
	f.Root.Write("etc/fail2ban/jail.local", "[DEFAULT]\nignoreip = "+ticker+"\n[sshd]\nenabled = false\n[exim]\nenabled = true\n[exim-spam]\nenabled = true\n", 0o644)
	f.Root.Write("usr/local/bin/fail2ban-siege", jailProgram, 0o755)
	cmd := inside(f.Root, f.Net, "python3", "/usr/local/bin/fail2ban-siege", "-f", "start")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	b.must(cmd.Start())
	b.Cleanup(func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM); cmd.Wait() })
	for end := time.Now().Add(60 * time.Second); ; {
		log, _ := os.ReadFile(f.Root.Path("var/log/fail2ban.log"))
		if bytes.Contains(log, []byte("Jail 'exim' started")) && bytes.Contains(log, []byte("Jail 'exim-spam' started")) {
			return j
		}
		if time.Now().After(end) {
			b.Fatalf("fail2ban does not start:\n%s%s", out.Bytes(), log)
		}
		time.Sleep(10 * time.Millisecond) // between two looks at a condition
	}
}

// before is called when a host comes: fail2ban has read what it did before.
func (j *jail) before(from string, now time.Duration) {
	j.Lock()
	again := j.dirty[from]
	j.Unlock()
	if again {
		j.read(now)
	}
	j.Lock()
	j.dirty[from] = true
	j.Unlock()
}

// read waits until fail2ban has read Exim's log, and has banned whom it will.
func (j *jail) read(now time.Duration) {
	j.Lock()
	defer j.Unlock()
	if len(j.dirty) == 0 || j.err != nil {
		return
	}
	clear(j.dirty)
	log, err := os.OpenFile(j.f.Root.Path("var/log/exim4/mainlog"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = fmt.Fprintf(log, "%s PLAIN authenticator failed for (tick) [%s]: 535 Incorrect authentication data (set_id=tick)\n",
			j.f.begin.Add(now).Format("2006-01-02 15:04:05"), ticker)
		log.Close()
	}
	j.ticks++
	for begin := time.Now(); err == nil && (j.seen < j.ticks || j.due()); {
		if time.Since(begin) > 20*time.Second {
			err = fmt.Errorf("fail2ban has not read the log in %v: %d of %d ticks, due: %v", time.Since(begin), j.seen, j.ticks, j.found)
		}
		j.look()
		if j.seen >= j.ticks && time.Since(begin) > 2*time.Second {
			clear(j.found) // it has counted otherwise, as with a line that came late
		}
		time.Sleep(time.Millisecond) // between two looks at a condition
	}
	// It says so before its rule is there.
	for begin := time.Now(); err == nil && len(j.fresh) > 0 && time.Since(begin) < 5*time.Second; {
		out, _ := inside(j.f.Root, j.f.Net, "iptables", "-w", "-S").Output()
		if strings.Contains(string(out), " "+j.fresh[0]+"/") {
			j.fresh = j.fresh[1:]
		}
	}
	j.fresh = nil
	j.err = err
}

// due tells whether fail2ban has found enough to ban somebody, and has not yet.
func (j *jail) due() bool {
	for _, at := range j.found {
		if len(at) >= 5 {
			return true
		}
	}
	return false
}

var jailLine = regexp.MustCompile(`\[exim(?:-spam)?\] (Found|Ban|Ignore|Unban|.* already banned)? ?([0-9a-f.:]+)?`)

// look reads fail2ban's own log on.
func (j *jail) look() {
	log, err := os.Open(j.f.Root.Path("var/log/fail2ban.log"))
	if err != nil {
		return
	}
	defer log.Close()
	log.Seek(j.told, io.SeekStart)
	data, _ := io.ReadAll(log)
	j.told += int64(len(data))
	data = append(j.rest, data...)
	end := bytes.LastIndexByte(data, '\n') + 1
	j.rest = append([]byte(nil), data[end:]...)
	for line := range strings.Lines(string(data[:end])) {
		m := jailLine.FindStringSubmatch(line)
		switch {
		case m == nil:
		case m[1] == "Ignore":
			j.seen++
		case m[1] == "Found":
			at, _ := time.Parse(time.DateTime, strings.TrimSpace(line[strings.LastIndex(line, " - ")+3:]))
			if all := j.found[m[2]]; len(all) > 0 && at.Sub(all[0]) > 10*time.Minute {
				delete(j.found, m[2])
			}
			j.found[m[2]] = append(j.found[m[2]], at)
		case m[1] == "Ban":
			j.bans[m[2]]++
			j.fresh = append(j.fresh, m[2])
			delete(j.found, m[2])
		case strings.Contains(line, "already banned"):
			delete(j.found, strings.Fields(m[1] + " x")[0])
		}
	}
}
