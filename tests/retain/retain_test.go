// Package retain tests how long the firewall's automatic blocks last: with the
// real iptables, both of its variants, in a namespace, and packets from hosts that
// go on trying over simulated weeks. The commands get the time by --now, and the
// files have it as theirs.
package retain

import (
	"database/sql"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"

	"symbiosis-connect-acl/tests/lab"
)

// Who is blocked.
const (
	knocker4 = "185.14.30.66" // on the three ports
	knocker6 = "2a01:7e00::66"
	quiet    = "185.14.30.67" // stops after an hour
	user     = "185.14.30.68" // a user has logged in from there
	sender6  = "2a01:7e01::68"
	white    = "185.14.30.69" // in whitelist_connect_hosts
	walled   = "185.14.30.70" // in the firewall's whitelist.d
	relay    = "185.14.30.71"
	callee   = "185.14.30.72" // this server calls it, so its packets may be answers
	byHand   = "185.14.30.73" // an administrator's file
	both     = "185.14.30.74" // an administrator's file beside the automatic one
)

const (
	blacklist = "etc/symbiosis/firewall/blacklist.d"
	day       = 24 * time.Hour
)

// A server has the package, and a firewall in a namespace.
type server struct {
	*lab.Root
	t    *testing.T
	net  *lab.Net
	now  time.Time
	sent int64 // packets that the chain has to have counted since it was filled
}

func newServer(t *testing.T, variant string) *server {
	t.Helper()
	s := &server{Root: lab.NewRoot(t, lab.DefaultSuite, "symbiosis", "iptables"), t: t, net: lab.NewNet(t),
		now: time.Now().UTC().Truncate(time.Hour)}
	script, err := os.ReadFile(filepath.Join(lab.SourceDir(), "tests/retain/symbiosis-firewall"))
	must(t, err)
	s.Write("usr/sbin/symbiosis-firewall", string(script), 0o755)
	for _, name := range []string{"iptables", "ip6tables"} {
		s.Run("update-alternatives", "--set", name, "/usr/sbin/"+name+"-"+variant)
	}
	s.Install()
	s.Append("etc/default/symbiosis-connect-acl", "CONNECT_ACL_RETAIN=retain\n")
	s.inside("symbiosis-firewall", "load")
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// command is one that runs in the root and the namespace.
func (s *server) command(before []string, args ...string) *exec.Cmd {
	all := append([]string{"netns", "exec", s.net.Server}, before...)
	cmd := exec.Command("ip", append(append(all, "chroot", s.Dir), args...)...)
	cmd.Env = s.Command("true").Env
	return cmd
}

func (s *server) inside(args ...string) string {
	s.t.Helper()
	out, err := s.command(nil, args...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return string(out)
}

func (s *server) db(args ...string) string {
	s.t.Helper()
	return s.inside(append([]string{"symbiosis-connect-db", "--now", s.now.Format(time.RFC3339)}, args...)...)
}

// reload is the platform's, hourly and at every change of the folder.
func (s *server) reload() {
	s.t.Helper()
	s.inside("symbiosis-firewall", "reload-blacklist")
	s.sent = 0
}

// refill is a reload, and the reading after it, which sees counters of 0.
func (s *server) refill() { s.t.Helper(); s.reload(); s.db("retain") }

// block is what the platform's scan does: it writes the file, with the folder's
// owner for its owner.
func (s *server) block(file, ports string) {
	s.t.Helper()
	path := filepath.Join(blacklist, file)
	s.Write(path, ports, 0o644)
	must(s.t, os.Chown(s.Path(path), 1000, 1000))
	must(s.t, os.Chtimes(s.Path(path), s.now, s.now))
}

// expire is what the scan does next: it removes old files.
func (s *server) expire() {
	s.t.Helper()
	files, err := filepath.Glob(s.Path(blacklist, "*.auto"))
	must(s.t, err)
	gone := false
	for _, f := range files {
		st, err := os.Stat(f)
		must(s.t, err)
		if st.ModTime().Before(s.now.Add(-2 * day)) {
			must(s.t, os.Remove(f))
			gone = true
		}
	}
	if gone {
		s.reload()
	}
}

func (s *server) blocked(file string) bool {
	_, err := os.Stat(s.Path(blacklist, file))
	return err == nil
}

func (s *server) until(file string) time.Time {
	s.t.Helper()
	st, err := os.Stat(s.Path(blacklist, file))
	must(s.t, err)
	return st.ModTime().Add(2 * day).UTC()
}

var counter = regexp.MustCompile(`(?m)^\[(\d+):\d+\] -A blacklist -s (\S+) `)

// counted gives what the chain has dropped, of both families, but for the answers
// to our own call.
func (s *server) counted() (n int64) {
	s.t.Helper()
	for _, m := range counter.FindAllStringSubmatch(s.inside("iptables-save", "-c")+s.inside("ip6tables-save", "-c"), -1) {
		v, err := strconv.ParseInt(m[1], 10, 64)
		must(s.t, err)
		if m[2] != callee+"/32" {
			n += v
		}
	}
	return n
}

// knock sends the first packet of a connection to port 25, from each of the
// hosts that are blocked, and waits until the firewall has met them.
func (s *server) knock(from ...string) {
	s.t.Helper()
	must(s.t, lab.Enter(s.net.Clients, func() error {
		for _, f := range from {
			if err := syn(netip.MustParseAddr(f), 25); err != nil {
				return fmt.Errorf("%s: %w", f, err)
			}
		}
		return nil
	}))
	for _, f := range from {
		if f != callee {
			s.sent++
		}
	}
	for end := time.Now().Add(30 * time.Second); s.counted() < s.sent; {
		if time.Now().After(end) {
			s.t.Fatalf("the chain has counted %d packets of %d:\n%s", s.counted(), s.sent, s.inside("iptables-save", "-c"))
		}
	}
}

// syn begins a connection and gives it up at once.
func syn(from netip.Addr, port int) error {
	family, level, freebind := unix.AF_INET, unix.SOL_IP, unix.IP_FREEBIND
	var local, remote unix.Sockaddr
	if from.Is6() {
		family, level, freebind = unix.AF_INET6, unix.SOL_IPV6, unix.IPV6_FREEBIND
		local, remote = &unix.SockaddrInet6{Addr: from.As16()}, &unix.SockaddrInet6{Port: port, Addr: netip.MustParseAddr(lab.ServerV6).As16()}
	} else {
		local, remote = &unix.SockaddrInet4{Addr: from.As4()}, &unix.SockaddrInet4{Port: port, Addr: netip.MustParseAddr(lab.ServerV4).As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, level, freebind, 1); err != nil {
		return err
	}
	if err := unix.Bind(fd, local); err != nil {
		return err
	}
	if err := unix.Connect(fd, remote); err != unix.EINPROGRESS {
		return fmt.Errorf("connect: %v", err)
	}
	return nil
}

// hosts writes to hosts.db what Exim would have.
func (s *server) hosts(statement string, args ...any) {
	s.t.Helper()
	db, err := sql.Open("sqlite3", s.Path("var/lib/symbiosis-connect-acl/hosts/hosts.db"))
	must(s.t, err)
	defer db.Close()
	_, err = db.Exec(statement, args...)
	must(s.t, err)
}

func (s *server) file(path string) string {
	s.t.Helper()
	var st unix.Stat_t
	must(s.t, unix.Lstat(s.Path(path), &st))
	return fmt.Sprint(s.Read(path), st.Ino, st.Mode, st.Uid, st.Gid, st.Mtim, st.Ctim)
}

// auto gives the name of the file about a host.
func auto(host string) string {
	if a := netip.MustParseAddr(host); a.Is6() {
		p, _ := a.Prefix(64)
		return strings.Replace(p.Masked().String(), "/", "|", 1) + ".auto"
	}
	return host + ".auto"
}

// Five weeks of attempts.
func TestRetain(t *testing.T) {
	s := newServer(t, "nft")
	begin := s.now
	ports := "25\n465\n587\n"
	for _, h := range []string{knocker4, quiet, user, white, walled, relay, both} {
		s.block(auto(h), ports)
	}
	s.block(auto(knocker6), "all\n")
	s.block(auto(sender6), "all\n")
	s.block(auto(callee), "all\n")
	s.Write(filepath.Join(blacklist, byHand), ports, 0o640)
	s.Write(filepath.Join(blacklist, both), ports, 0o600)
	s.Write("etc/symbiosis/firewall/whitelist.d/"+walled, "22\n", 0o644)
	s.Append("etc/exim4/whitelist_connect_hosts", white+"\n")
	s.Append("etc/exim4/relay_from_hosts", relay+"\n")
	s.hosts("insert into host (net, login) values (?, ?)", user, begin.Add(-day).Unix())
	s.hosts("insert into host (net, delivered, delivered_before) values (?, ?, ?)", "2a01:7e01::/64", begin.Add(-day).Unix(), begin.Add(-3*day).Unix())
	mine := s.file(blacklist+"/"+byHand) + s.file(blacklist+"/"+both)
	s.reload()

	// A call of ours that the host answers: the answer is dropped.
	must(t, lab.Enter(s.net.Server, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		t.Cleanup(func() { unix.Close(fd) })
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 25, Addr: netip.MustParseAddr(callee).As4()}); err != unix.EINPROGRESS {
			return err
		}
		return nil
	}))

	s.knock(quiet)
	step, limit := 2*time.Hour, begin.Add(30*day)
	var last time.Time // attempt of the knockers
	for ; s.now.Before(begin.Add(33 * day)); s.now = s.now.Add(step) {
		if s.now.Sub(begin) > 50*time.Hour {
			step = 12 * time.Hour
		}
		var from []string
		// What comes from the callee is not waited for: it goes before the others.
		for _, h := range []string{callee, knocker4, knocker6, user, sender6, white, walled, relay, both} {
			if s.blocked(auto(h)) {
				from = append(from, h)
			}
		}
		if s.blocked(auto(knocker4)) {
			last = s.now
		}
		s.knock(append(from, byHand)...)
		s.db("retain")
		s.expire()
		for _, h := range []string{knocker4, knocker6} {
			if want := s.now.Before(limit) || s.now.Equal(limit); s.blocked(auto(h)) != want {
				t.Fatalf("%v after its offence %s is blocked: %v", s.now.Sub(begin), h, !want)
			}
		}
		for _, h := range []string{quiet, user, sender6, white, walled, relay, callee, both} {
			if want := s.now.Sub(begin) <= 2*day; s.blocked(auto(h)) != want {
				t.Fatalf("%v after its offence %s is blocked: %v\n%s", s.now.Sub(begin), h, !want, s.db("show", h))
			}
		}
		switch s.now.Sub(begin) {
		case day:
			s.tells(map[string]string{
				"show " + knocker4: `blocked since .*, 13 attempts, last ` + stamp(s.now) + `, retained until ` + stamp(s.now.Add(2*day)) + `, in UTC`,
				"show " + knocker6: `blocked since .* attempts, last ` + stamp(s.now) + `, retained until`,
				"show " + quiet:    `blocked since .*, 1 attempt, last .* until ` + stamp(begin.Add(2*day)),
				"show " + user:     `not retained: a user has logged in from it`,
				"show " + sender6:  `not retained: it has delivered mail`,
				"show " + white:    `not retained: it is in whitelist_connect_hosts`,
				"show " + walled:   `not retained: it is in whitelist.d`,
				"show " + relay:    `not retained: it is in relay_from_hosts`,
				"show " + callee:   `not retained: this server calls it`,
				"show " + both:     `not retained: an administrator's file`,
			})
			b, _ := s.command(nil, "symbiosis-connect-check", "--now", s.now.Format(time.RFC3339), "explain", knocker4).CombinedOutput()
			out := string(b)
			if flat := strings.Join(strings.Fields(out), " "); !strings.Contains(flat, "13 attempts, last "+stamp(s.now)+", retained until") ||
				!strings.Contains(out, "symbiosis-connect-db release "+knocker4) {
				t.Errorf("explain:\n%s", out)
			}
		case 10 * day:
			if got, want := s.until(auto(knocker4)), s.now.Add(2*day); !got.Equal(want) {
				t.Errorf("after ten days the block lasts until %v, want %v", got, want)
			}
		}
		s.refill()
	}
	if last.Before(limit.Add(-day)) {
		t.Errorf("the last attempt at a block was at %v", last)
	}
	if now := s.file(blacklist+"/"+byHand) + s.file(blacklist+"/"+both); now != mine {
		t.Errorf("the administrator's files were\n%s\nand are\n%s", mine, now)
	}
	// The next offence decides anew.
	s.block(auto(knocker4), ports)
	s.refill()
	s.knock(knocker4)
	s.now = s.now.Add(day)
	s.db("retain")
	if got, want := s.until(auto(knocker4)), s.now.Add(2*day); !got.Equal(want) {
		t.Errorf("blocked again, it lasts until %v, want %v", got, want)
	}
}

func stamp(t time.Time) string { return t.Format("2006-01-02 15:04") }

// tells compares what commands say with expressions.
func (s *server) tells(want map[string]string) {
	s.t.Helper()
	for args, text := range want {
		if out := s.db(strings.Fields(args)...); !regexp.MustCompile(text).MatchString(out) {
			s.t.Errorf("%s does not say %q:\n%s", args, text, out)
		}
	}
}

// The other variant of iptables; learn; a run that is killed; release; nobody who
// can be asked; attempts that count; nftfw.
func TestLegacy(t *testing.T) {
	s := newServer(t, "legacy")
	begin := s.now
	for _, h := range []string{knocker4, knocker6, quiet} {
		s.block(auto(h), "25\n465\n587\n")
	}
	s.reload()
	s.knock(knocker4, knocker6)
	s.now = begin.Add(time.Hour)
	state := func(word string) {
		s.Write("etc/default/symbiosis-connect-acl", "CONNECT_ACL_RETAIN="+word+"\n", 0o644)
	}
	for word, says := range map[string]string{"off": "nothing to do: CONNECT_ACL_RETAIN is off", "learn": "would retain the block of " + knocker4} {
		state(word)
		if out := s.db("retain", "-v"); !strings.Contains(out, says) || !s.until(auto(knocker4)).Equal(begin.Add(2*day)) {
			t.Errorf("%s: until %v\n%s", word, s.until(auto(knocker4)), out)
		}
	}
	state("ratain")
	if out, code := s.Try("symbiosis-connect-db", "retain", "-v"); code != 1 || !strings.Contains(out, "symbiosis-connect-acl:1: CONNECT_ACL_RETAIN=ratain: write learn, retain or off") {
		t.Errorf("a wrong word: %d %s", code, out)
	}
	state("retain")

	// Whoever must be asked before somebody is kept out cannot be asked.
	for what, path := range map[string]string{
		"hosts.db": "var/lib/symbiosis-connect-acl/hosts/hosts.db", "Exim": "usr/sbin/exim4", "whitelist.d": "etc/symbiosis/firewall/whitelist.d",
	} {
		must(t, os.Rename(s.Path(path), s.Path(path+".away")))
		if what == "whitelist.d" {
			must(t, os.Symlink("/etc", s.Path(path)))
			must(t, os.Lchown(s.Path(path), 1000, 1000))
		}
		out, err := s.command(nil, "symbiosis-connect-db", "--now", s.now.Format(time.RFC3339), "retain", "-v").CombinedOutput()
		if err == nil || !s.until(auto(knocker4)).Equal(begin.Add(2*day)) {
			t.Errorf("without %s: %v, until %v\n%s", what, err, s.until(auto(knocker4)), out)
		}
		os.Remove(s.Path(path)) // the link
		must(t, os.Rename(s.Path(path+".away"), s.Path(path)))
	}

	// Killed before the book is replaced, before the first file gets its time, and
	// before the second: the next run does it, though the chain was filled anew
	// meanwhile wherever the book had been kept.
	for _, point := range []string{"renameat:when=1", "utimensat:when=1", "utimensat:when=2"} {
		s.now = s.now.Add(time.Hour)
		s.knock(knocker4, knocker6)
		call, when, _ := strings.Cut(point, ":")
		out, err := s.command([]string{"strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=" + call + ":signal=KILL:" + when},
			"symbiosis-connect-db", "--now", s.now.Format(time.RFC3339), "retain").CombinedOutput()
		if err == nil {
			t.Fatalf("%s: it was not killed: %s", point, out)
		}
		if call != "renameat" {
			s.reload()
		}
		s.now = s.now.Add(5 * time.Minute)
		s.db("retain")
		for _, h := range []string{knocker4, knocker6} {
			if got := s.until(auto(h)); got.Before(s.now.Add(2*day - 5*time.Minute)) {
				t.Errorf("%s: %s is blocked until %v only", point, h, got)
			}
		}
		s.refill()
	}
	s.tells(map[string]string{
		"show " + knocker4: `blocked since ` + stamp(begin) + `, 4 attempts, .* retained until`,
		"show " + knocker6: `blocked since ` + stamp(begin) + `, 4 attempts, .* retained until`,
	})

	// Rules of the one variant stay in force beside those of the other.
	for _, name := range []string{"iptables", "ip6tables"} {
		s.Run("update-alternatives", "--set", name, "/usr/sbin/"+name+"-nft")
	}
	must(t, lab.Enter(s.net.Clients, func() error { return syn(netip.MustParseAddr(knocker4), 25) }))
	for end := time.Now().Add(30 * time.Second); !strings.Contains(s.inside("iptables-legacy-save", "-c"), "[1:"); {
		if time.Now().After(end) {
			t.Fatal("no packet came")
		}
	}
	s.now = s.now.Add(time.Hour)
	s.db("retain")
	if got, want := s.until(auto(knocker4)), s.now.Add(2*day); !got.Equal(want) {
		t.Errorf("knocking at rules of the other variant: until %v, want %v", got, want)
	}
	for _, name := range []string{"iptables", "ip6tables"} {
		s.Run("update-alternatives", "--set", name, "/usr/sbin/"+name+"-legacy")
	}

	// release ends a block at once, and says what it does not end.
	if out := s.db("release", knocker4); !strings.Contains(out, "lets it in from now on") || s.blocked(auto(knocker4)) ||
		strings.Contains(s.inside("iptables-save"), knocker4) || !strings.Contains(s.inside("iptables-save"), quiet) {
		t.Errorf("release:\n%s%s", out, s.inside("iptables-save"))
	}
	s.Write(filepath.Join(blacklist, byHand), "25\n", 0o644)
	if out, code := s.Try("symbiosis-connect-db", "release", byHand); code != 1 || !strings.Contains(out, "an administrator wrote it") || !s.blocked(byHand) {
		t.Errorf("release of an administrator's file: %d\n%s", code, out)
	}
	s.hosts("insert into host (net, history, history_last) values (?, 30, ?)", quiet, s.now.Unix())
	if out := s.db("release", "--history", quiet); !strings.Contains(out, "hosts.db has forgotten") || s.blocked(auto(quiet)) {
		t.Errorf("release --history:\n%s", out)
	}

	// An attempt is an offence where the administrator has asked for that: the
	// block goes on, and the count grows.
	s.Append("etc/default/symbiosis-connect-acl", "CONNECT_ACL_RETAIN_DAYS=3\nCONNECT_ACL_RETAIN_COUNT=yes\n")
	counts, err := sql.Open("sqlite3", s.Path("var/lib/symbiosis/firewall-blacklist-count.db"))
	must(t, err)
	defer counts.Close()
	_, err = counts.Exec("CREATE TABLE blacklist (ip TEXT NOT NULL, timestamp INTEGER NOT NULL, count INTEGER NOT NULL)")
	must(t, err)
	for range 5 {
		s.refill()
		s.knock(knocker6)
		s.now = s.now.Add(day)
		s.db("retain")
	}
	var sum int
	must(t, counts.QueryRow("SELECT SUM(count) FROM blacklist WHERE ip = '2a01:7e00::/64'").Scan(&sum))
	if got, want := s.until(auto(knocker6)), s.now.Add(2*day); !got.Equal(want) || sum != 5 {
		t.Errorf("after five days of attempts that count, the count is %d, and the block lasts until %v, want %v", sum, got, want)
	}

	// Where nftfw is the firewall it does all that by itself.
	must(t, os.MkdirAll(s.Path("var/lib/nftfw"), 0o755))
	db, err := sql.Open("sqlite3", s.Path("var/lib/nftfw/firewall.db"))
	must(t, err)
	_, err = db.Exec("CREATE TABLE blacklist (ip TEXT UNIQUE PRIMARY KEY, pattern TEXT, incidents INTEGER, matchcount INTEGER," +
		" first INTEGER, last INTEGER, ports TEXT, useall INTEGER, multiple INTEGER, isdnsbl INTEGER)")
	must(t, err)
	must(t, db.Close())
	before := s.until(auto(knocker6))
	s.now = s.now.Add(time.Hour)
	if out := s.db("retain", "-v"); !strings.Contains(out, "nothing to do: nftfw") || !s.until(auto(knocker6)).Equal(before) {
		t.Errorf("beside nftfw: %s", out)
	}
}
