package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/blacklist/blacklisttest"
	"symbiosis-connect-acl/internal/history"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/tests/article"
	"symbiosis-connect-acl/tests/lab"
)

// A server is one way to set Exim up.
type server struct {
	name string
	*lab.Exim
	dns    *lab.DNS
	hosts  bool // it has the package, and hosts.db
	shift  int  // addresses used so far
	looked int  // octets of the log that skips has read
	slow   bool // it reads the whole table at every connection
}

// visitors is how many hosts have been at a server before it is measured.
const visitors = 256

const (
	databaseLink  = "var/lib/symbiosis/firewall-blacklist-count.db"
	hostsDatabase = "var/lib/symbiosis-connect-acl/hosts/hosts.db"
)

// base makes a server that has the databases at hand, and no rules yet.
func (b *bench) base(name string) *server {
	r := lab.NewRoot(b, b.suite, "symbiosis")
	n := lab.NewNet(b)
	s := &server{name: name, dns: lab.StartDNS(b, n)}
	// Read-only: nothing that happens to a root may reach the databases.
	at := r.Path("mnt")
	if out, err := exec.Command("mount", "-o", "bind,ro", b.dir, at).CombinedOutput(); err != nil {
		b.Fatalf("mount: %v\n%s", err, out)
	}
	b.Cleanup(func() { exec.Command("umount", "-l", at).Run() })
	s.Exim = &lab.Exim{Root: r, Net: n}
	return s
}

// use makes the server read this database from the next connection on.
func (s *server) use(b *bench, path string) {
	link := s.Root.Path(databaseLink)
	os.Remove(link)
	b.must(os.Symlink("/mnt/"+filepath.Base(path), link))
}

// useSize makes the server judge by the database of so many rows: ours by the
// history that sync brings over from it.
func (s *server) useSize(b *bench, rows int) {
	s.use(b, b.plain(rows))
	if s.hosts {
		_, err := history.Sync(context.Background(), s.Root.Path(hostsDatabase), []string{b.plain(rows)}, history.Rules{})
		b.must(err)
	}
}

func (s *server) start(b *bench) *server {
	s.Root.Make("exim4.conf")
	s.Exim = lab.StartExim(b, s.Root, s.Net)
	if s.hosts {
		s.stay(b)
	}
	return s
}

// stay keeps hosts.db open, as the cron job does.
func (s *server) stay(b *bench) {
	ctx, end := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- hosts.Stay(ctx, s.Root.Path(hostsDatabase), 24*time.Hour) }()
	b.Cleanup(func() { end(); b.must(<-done) })
}

func (b *bench) stock() *server { return b.base("stock").start(b) }

func (b *bench) article() *server {
	s := b.base("article")
	s.slow = true
	article.LayOver(b, s.Root)
	return s.start(b)
}

// ours is a server with the package.
func (b *bench) ours(name string, local ...string) *server {
	return b.installed(name, local...).start(b)
}

// installed installs the package and starts nothing yet. Some of the benchmark's
// hosts have not offended for long: nobody is on parole.
func (b *bench) installed(name string, local ...string) *server {
	s := b.base(name)
	s.hosts = true
	s.use(b, b.plain(b.rows[0]))
	s.Root.Install()
	s.Root.Local(append([]string{"CONNECT_PAROLE == 0"}, local...)...)
	return s
}

var historyOnly = []string{"CONNECT_STATE_RATELIMIT == off", "CONNECT_STATE_DNSBLS == off", "CONNECT_STATE_GREETING == off"}

// acquaint lets the visitors wait for their first greeting, and then knows all
// innocents as it knows the first of them. So none of them connects more often than
// the package lets a host.
func (s *server) acquaint(b *bench) {
	r, err := load{clients: 4, n: visitors, addr: innocent, talk: func(c *smtp) { c.cmd("EHLO client.example") }}.run(s.Net)
	if err != nil {
		b.Fatalf("%s: first visits: %v\n%s", s.name, err, s.Log())
	}
	s.skips() // what is measured comes later
	if r.codes["220"] != visitors {
		b.Fatalf("%s: first visits: %v\n%s", s.name, r.codes, s.Log())
	}
	s.Root.Hosts("with recursive n(i) as (select 0 union all select i+1 from n where i < 65535)" +
		" insert or ignore into host (net, first, last, greeted, lists_passed)" +
		" select '193.' || (64 + (i >> 16)) || '.' || ((i >> 8) & 255) || '.' || (i & 255), first, last, greeted, lists_passed" +
		" from n, host where net = '193.64.0.0' and greeted > 0 and lists_passed > 0")
	if n := strings.TrimSpace(s.Root.Hosts("select count(*) from host where greeted > 0 and lists_passed > 0")); n != "65536" {
		b.Fatalf("%s: %s hosts are known", s.name, n)
	}
}

// innocents gives addresses that have not been used lately.
func (s *server) innocents() func(int) netip.Addr {
	first := s.shift
	return func(i int) netip.Addr { return innocent((first + i) % 65536) }
}

// offenders gives hosts of the databases. Their IPv6 ones are passed over.
func offenders(i int) netip.Addr {
	i %= 400
	a, err := netip.ParseAddr(blacklisttest.Key(i/4*5 + i%4).String())
	if err != nil {
		panic(err)
	}
	return a
}

// skips gives the log's lines since the last look that say of a rule that it did
// not ask.
func (s *server) skips() (found []string) {
	log := s.Log()
	for line := range strings.Lines(log[s.looked:]) {
		if strings.Contains(line, "skipped") || strings.Contains(line, "DNSBL check: ") {
			found = append(found, line)
		}
	}
	s.looked = len(log)
	return found
}

// asked fails when a rule did not ask: the figure would be that of a log line.
func (s *server) asked(b *bench) {
	if found := s.skips(); len(found) > 0 {
		b.Fatalf("%s: %d times a rule did not ask, so nothing is measured:\n%s", s.name, len(found), strings.Join(found, ""))
	}
}

// A cell is one server at one number of clients.
type cell struct {
	waits  []time.Duration
	rounds []time.Duration // each round's median
	ended  int             // waits of the rounds that are over
	wall   time.Duration
	cpu    time.Duration
	faults int64
}

// endRound ends a round of one turn or several.
func (c *cell) endRound() {
	c.rounds = append(c.rounds, median(slices.Clone(c.waits[c.ended:])))
	c.ended = len(c.waits)
}

// add is one turn.
func (c *cell) add(b *bench, s *server, l load, want string) {
	before, err := used(s.Exim)
	b.must(err)
	r, err := l.run(s.Net)
	if err != nil {
		_, gone := daemonPID(s.Exim)
		log := s.Log()
		b.Fatalf("%s: %v (daemon: %v)\n%s", s.name, err, gone, log[max(0, len(log)-2000):])
	}
	after, err := used(s.Exim)
	b.must(err)
	s.shift += l.n
	if r.codes[want] != len(r.waits) {
		log := s.Log()
		b.Fatalf("%s: want %s for all: %v\n%s", s.name, want, r.codes, log[max(0, len(log)-2000):])
	}
	c.waits = append(c.waits, r.waits...)
	c.wall += r.wall
	c.cpu += after.cpu - before.cpu
	c.faults += after.faults - before.faults
}

// against gives the ratios of the rounds' medians.
func (c *cell) against(d *cell) (s spread) {
	for i := range min(len(c.rounds), len(d.rounds)) {
		s = append(s, float64(c.rounds[i])/float64(d.rounds[i]))
	}
	return s
}

// A trial lets servers take turns.
type trial struct {
	clients int
	rounds  int
	n       int // connections of a server in a round
	want    string
	addr    func(*server) func(int) netip.Addr
}

// With one client a round has many short turns, so that what the machine does
// beside it meets every server alike.
const shortTurn = 20

func (b *bench) run(tr trial, servers []*server) map[*server]*cell {
	cells := map[*server]*cell{}
	for _, s := range servers {
		cells[s] = &cell{}
	}
	for range tr.rounds {
		for done, n := 0, tr.n; done < tr.n; done += n {
			if tr.clients == 1 {
				n = shortTurn
			}
			for _, s := range servers {
				l := load{clients: tr.clients, n: n, addr: tr.addr(s)}
				if s.slow {
					if done > 0 {
						continue
					}
					s.ClearHints() // of its rate limit
					l.limit = 1500 * time.Millisecond
				}
				cells[s].add(b, s, l, tr.want)
			}
		}
		for s, c := range cells {
			c.endRound()
			s.asked(b)
		}
	}
	return cells
}

func (c *cell) row(t *table, ratio string, lead ...string) {
	n := float64(len(c.waits))
	t.row(append(lead, ratio, ms(median(c.waits)), ms(quantile(c.waits, 0.99)),
		fmt.Sprintf("%.0f", n/c.wall.Seconds()), number(c.cpu.Seconds()/n*1000))...)
}

func connection(b *bench) string {
	for _, rows := range b.rows {
		b.plain(rows)
	}
	b.Logf("setting four servers up")
	stock, article := b.stock(), b.article()
	b.Logf("stock and article are up")
	onlyHistory := b.ours("ours, history only", historyOnly...)
	defaults := b.ours("ours, defaults", "CONNECT_GREETING_DELAY == 1") // the first visits take half the time
	b.Logf("ours are up")
	defaults.acquaint(b)
	servers := []*server{stock, onlyHistory, defaults, article}

	var out strings.Builder
	out.WriteString(`Connecting to port 25 of a real Exim until the greeting (or the refusal) has
been read. *stock* is the platform's own tree; *history only* has the history
check and no other of ours; *defaults* are all of ours as installed, the DNS
lists answering at once, for a host that has been there before (a stranger is
kept waiting on purpose); *article* are the rules in ` + "`tests/article`" + ` on the
database as the platform leaves it, without an index. The hosts come from
many addresses. Processor time is that of Exim and all its children.

`)
	t := newTable("rows", "clients", "server", "× stock", "median", "99 %", "per second", "CPU s per 1,000")
	worst, cpu, largest := 0.0, 0.0, spread(nil)
	for _, rows := range b.rows {
		for _, s := range servers {
			s.useSize(b, rows)
		}
		for _, clients := range []int{1, 2, 8, 32} {
			rounds := b.rounds
			if clients > 1 {
				rounds = rounds/2 + 1
			}
			cells := b.run(trial{clients: clients, rounds: rounds, n: 160, want: "220", addr: (*server).innocents}, servers)
			for _, s := range servers {
				ratio := cells[s].against(cells[stock])
				if s == stock {
					ratio = nil
				}
				cells[s].row(t, ratio.String(), rowsText(rows), fmt.Sprint(clients), s.name)
			}
			b.Logf("%d rows, %d clients: history only %v, defaults %v, article %v", rows, clients,
				cells[onlyHistory].against(cells[stock]), cells[defaults].against(cells[stock]), cells[article].against(cells[stock]))
			if clients == 1 {
				worst = max(worst, cells[defaults].against(cells[stock]).median())
				cpu = max(cpu, cells[defaults].cpu.Seconds()/cells[stock].cpu.Seconds())
				if rows == slices.Max(b.rows) {
					largest = cells[article].against(cells[onlyHistory])
				}
			}
		}
	}
	out.WriteString(t.String())

	out.WriteString("\nA host with a history, one client, refused:\n\n")
	t = newTable("rows", "server", "× history only", "median", "99 %", "per second", "CPU s per 1,000")
	for _, rows := range b.rows {
		refuse := []*server{onlyHistory, defaults, article}
		for _, s := range refuse {
			s.useSize(b, rows)
		}
		cells := b.run(trial{clients: 1, rounds: b.rounds, n: 100, want: "550",
			addr: func(*server) func(int) netip.Addr { return offenders }}, refuse)
		for _, s := range refuse {
			ratio := cells[s].against(cells[onlyHistory])
			if s == onlyHistory {
				ratio = nil
			}
			cells[s].row(t, ratio.String(), rowsText(rows), s.name)
		}
	}
	out.WriteString(t.String())
	fmt.Fprintf(&out, "\nTargets, one client: defaults at most 1.5 times stock at every size: the worst is %s (%s), in processor time %s (%s). The article's rules at %s rows: %s times history only.\n",
		number(worst), met(worst <= 1.5), number(cpu), met(cpu <= 1.5), rowsText(slices.Max(b.rows)), largest)
	return out.String()
}

func met(ok bool) string {
	if ok {
		return "met"
	}
	return "missed"
}
