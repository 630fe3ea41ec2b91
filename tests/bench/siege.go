package main

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"symbiosis-connect-acl/tests/article"
	"symbiosis-connect-acl/tests/lab"
)

// A field is one server on one day of the siege.
type field struct {
	*lab.Exim
	name  string
	begin time.Time
	now   time.Duration
	when  string // before what is said of a harm: "" for the day
	gate  gate
	slots chan bool // who talks at once: fewer than Exim's queue of connections holds
	mu    sync.Mutex
	deeds []deed
	wall  *wall
	jail  *jail // nil without fail2ban
	ours  bool
	syncs int

	users, senders int // hosts that had proven themselves when the day began
}

const (
	stockField   = "stock"
	jailField    = "stock with fail2ban"
	articleField = "the article's"
	oursField    = "ours, its first day"
	weekField    = "ours, after a week"
)

var fieldNames = []string{stockField, jailField, articleField, oursField, weekField}

// The first visits take half the time.
const firstVisit = "CONNECT_GREETING_DELAY == 1"

// The article's patterns, which its text adds to the platform's.
const articlePatterns = `
authenticator failed for .*\) \[__IP__\]: 535 Incorrect authentication data.*$
\[__IP__\] AUTH command used when not advertised.*$
\[__IP__\] .*Blacklisted: Denied access - history of unwanted activity.*$
\[__IP__\] .* Sender deferred.*$
`

// A day is what one server has seen of the siege.
type day struct {
	received, mine  int // guesses of bots that dovecot received; all failed logins
	harmed          []*actor
	bans, blocks    int
	counted         int // lines that the firewall took
	refused, lists  int
	history, recent int
	kinds           map[string]int // received, by the kind of bot
	users, senders  int            // see field
	took            time.Duration
	wrong           string
}

// newField sets a server up, up to its programs.
func (b *bench) newField(name string, c *cast) *field {
	r := lab.NewDovecotRoot(b, b.suite, "symbiosis", "fail2ban", "python3-pyinotify", "iptables")
	n := lab.NewNet(b)
	dns := lab.StartDNS(b, n)
	dns.Add(b, c.records()...)
	for addr, answer := range c.listed {
		dns.List(b, "zen.spamhaus.org", addr, answer, "https://www.spamhaus.org/query/ip/"+addr)
	}
	// In the future: no program of the root has seen a later time. A week from
	// tomorrow, for the server that learns meanwhile.
	tomorrow := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, 1)
	f := &field{name: name, begin: tomorrow.AddDate(0, 0, 7), now: -time.Minute, slots: make(chan bool, 16)}
	f.gate.empty = sync.NewCond(&f.gate)
	f.wall = newWall(b, r, n, c.old, f.begin)
	const patternFile = "etc/symbiosis/firewall/patterns.d/exim4.patterns"
	switch name {
	case articleField:
		article.LayOver(b, r)
		r.Append(patternFile, articlePatterns)
	case oursField:
		f.ours = true
		r.Install()
		r.Local(firstVisit)
	case weekField:
		f.ours, f.begin = true, tomorrow
		r.Install()
		r.Local(firstVisit, "CONNECT_STATE_SUITE == learn") // as README has it
	}
	r.Make("exim4.conf")
	const faketime = "usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
	data, err := os.ReadFile("/" + faketime)
	if err != nil {
		b.Fatalf("%v (package faketime)", err)
	}
	r.Write(faketime, string(data), 0o755)
	// Dovecot tells of a failed login at the next half second, so its time runs
	// faster. It has no other use for it.
	r.Append("etc/dovecot/dovecot.conf", "auth_verbose = yes\nimport_environment = TZ LD_PRELOAD FAKETIME\n")
	lab.StartDovecot(b, r, c.users, "LD_PRELOAD=/"+faketime, "FAKETIME=+0 x25")
	r.Run("install", "-o", "Debian-exim", "-g", "adm", "-m", "640", "/dev/null", "/var/log/exim4/mainlog")
	f.Exim = &lab.Exim{Root: r, Net: n}
	f.set(f.now)
	f.wall.start(b)
	if name == jailField {
		f.jail = startJail(b, f)
	}
	r.Write("etc/ld.so.preload", "/"+faketime+"\n", 0o644)
	f.Exim = lab.NewExim(b, r, n, "FAKETIME_NO_CACHE=1")
	f.Start()
	b.Cleanup(f.Stop)
	if f.ours {
		(&server{Exim: f.Exim}).stay(b)
	}
	return f
}

var failedLogin = regexp.MustCompile(`\(([^,() ]+),([0-9a-f.:]+)[^()]*\): (?:[Pp]assword mismatch|[Uu]nknown user)`)

// judge counts, from what the server's programs have logged.
func (f *field) judge(c *cast) *day {
	d := &day{kinds: map[string]int{}, users: f.users, senders: f.senders, counted: f.wall.counted, blocks: len(f.wall.blocks)}
	bots := map[string]string{}
	for _, a := range c.actors {
		if a.bot {
			bots[a.at[0]] = a.name[:strings.LastIndexByte(a.name, ' ')]
		} else if a.harm != "" {
			d.harmed = append(d.harmed, a)
		}
	}
	for _, m := range failedLogin.FindAllStringSubmatch(f.Root.Read("var/log/dovecot.log"), -1) {
		d.mine++
		if kind := bots[m[2]]; kind != "" {
			d.received++
			d.kinds[kind]++
		}
	}
	log := f.Log()
	for line := range strings.Lines(log) {
		switch {
		case strings.Contains(line, "skipped") || strings.Contains(line, "failed to expand") || strings.Contains(line, "DNSBL check: "):
			d.wrong = "a check did not ask: " + line
		case !strings.Contains(line, `in "connect" ACL: `):
			continue
		}
		d.refused++
		switch {
		case strings.Contains(line, "is blacklisted at"):
			d.lists++
		case strings.Contains(line, "recent offences") || strings.Contains(line, "guessed passwords"):
			d.recent++
		case strings.Contains(line, "Blacklisted: Denied access"):
			d.history++
		}
	}
	if f.jail != nil {
		for _, n := range f.jail.bans {
			d.bans += n
		}
		if f.jail.err != nil {
			d.wrong = f.jail.err.Error()
		}
	}
	if f.wall.err != nil {
		d.wrong = f.wall.err.Error()
	}
	// What was measured has to have run.
	for what, bad := range map[string]bool{
		"dovecot received no guess":          d.received == 0,
		"fail2ban banned nobody":             f.jail != nil && d.bans == 0,
		"our history refused nobody":         f.ours && d.history == 0,
		"our recent offences refused nobody": f.ours && d.recent == 0,
		"our lists refused nobody":           f.ours && d.lists == 0,
		"the article's lists refused nobody": f.name == articleField && d.lists == 0,
		"nothing was brought over":           f.ours && f.syncs == 0,
		"the week has taught it nothing":     f.name == weekField && (f.users == 0 || f.senders == 0),
		"the firewall counted nothing":       f.name != stockField && f.name != jailField && d.counted == 0,
	} {
		if bad && d.wrong == "" {
			d.wrong = what
		}
	}
	return d
}

// oneDay plays a day on one server.
func (b *bench) oneDay(seed uint64, name string) (d *day, failed string) {
	// Its programs end with it: some would go on asking for the time.
	mine := &bench{shim: &shim{}, suite: b.suite}
	defer func() {
		if r := recover(); r != nil {
			why, ok := r.(failure)
			if !ok {
				panic(r)
			}
			failed = fmt.Sprintf("\nday %d, %s: %s", seed, name, why)
		}
	}()
	b.Cleanup(func() { mine.cleanTo(0) })
	defer mine.cleanTo(0)
	c := newCast(seed, b.scale)
	f := mine.newField(name, c)
	begin := time.Now()
	if name == weekField {
		f.learn(c)
		b.Logf("siege, seed %d, %s: the week, %.0f s; %d users' hosts, %d senders", seed, name, time.Since(begin).Seconds(), f.users, f.senders)
	}
	f.play(c.deeds)
	d = f.judge(c)
	d.took = time.Since(begin)
	b.Logf("siege, seed %d, %s: %d guesses (%d failed logins), %d innocents harmed, %d refused (lists %d, history %d, recent offences %d), %d lines counted, %d blocks, %d bans, %.0f s",
		seed, name, d.received, d.mine, len(d.harmed), d.refused, d.lists, d.history, d.recent, d.counted, d.blocks, d.bans, d.took.Seconds())
	if keep := os.Getenv("CONNECT_ACL_SIEGE_LOGS"); keep != "" {
		for _, l := range []string{"var/log/exim4/mainlog", "var/log/dovecot.log", "var/log/fail2ban.log"} {
			data, _ := os.ReadFile(f.Root.Path(l))
			os.WriteFile(fmt.Sprintf("%s/%d %s %s", keep, seed, name, strings.ReplaceAll(l, "/", "-")), data, 0o644)
		}
	}
	if d.wrong != "" {
		failed = fmt.Sprintf("\nday %d, %s: %s", seed, name, d.wrong)
	}
	return d, failed
}

func siege(b *bench) string {
	c := newCast(1, b.scale)
	bots, innocents := 0, 0
	for _, a := range c.actors {
		if a.bot {
			bots++
		} else {
			innocents++
		}
	}
	guesses, harmed := map[string][]int{}, map[string][]int{}
	names := map[string]map[string][]string{} // by server and what happened: who
	kinds := map[string]map[string]int{}
	var evidence [7]int
	var least, users, senders []int // of each day
	// Much of each is waiting, so some servers play at once; with all of them a busy
	// machine would keep their clients waiting. Ours take longest, and begin.
	places := make(chan bool, 3*runtime.NumCPU())
	all, why := make([]map[string]*day, b.days), ""
	var mu sync.Mutex
	var played sync.WaitGroup
	for _, name := range slices.Backward(fieldNames) {
		for i := range b.days {
			places <- true
			played.Go(func() {
				defer func() { <-places }()
				d, failed := b.oneDay(uint64(i+1), name)
				mu.Lock()
				defer mu.Unlock()
				if all[i] == nil {
					all[i] = map[string]*day{}
				}
				all[i][name], why = d, why+failed
			})
		}
	}
	played.Wait()
	if why != "" {
		b.Fatalf("siege:%s", why)
	}
	for seed, days := range all {
		for name, d := range days {
			guesses[name] = append(guesses[name], d.received)
			harmed[name] = append(harmed[name], len(d.harmed))
			for kind, n := range d.kinds {
				if kinds[kind] == nil {
					kinds[kind] = map[string]int{}
				}
				kinds[kind][name] += n
			}
			if names[name] == nil {
				names[name] = map[string][]string{}
			}
			for _, a := range d.harmed {
				what := timeOfDay.ReplaceAllString(anyAddress.ReplaceAllString(a.harm, "ADDRESS"), "")
				if who := fmt.Sprintf("%s (day %d)", a.name, seed+1); !slices.Contains(names[name][what], who) {
					names[name][what] = append(names[name][what], who)
				}
			}
		}
		least = append(least, newCast(uint64(seed+1), b.scale).least())
		users, senders = append(users, days[weekField].users), append(senders, days[weekField].senders)
		evidence[0] += days[jailField].bans
		for i, name := range []string{oursField, weekField} {
			evidence[1+3*i] += days[name].history
			evidence[2+3*i] += days[name].recent
			evidence[3+3*i] += days[name].lists
		}
	}
	t := newTable("server", "guesses that dovecot received", "innocents harmed", "guesses ÷ fail2ban's")
	var innocent, guessed []string // the targets, for each of ours
	for _, name := range fieldNames {
		var ratio spread
		for i, n := range guesses[name] {
			ratio = append(ratio, float64(n)/float64(guesses[jailField][i]))
		}
		if when, ok := strings.CutPrefix(name, "ours, "); ok {
			worst := slices.Max(harmed[name])
			innocent = append(innocent, fmt.Sprintf("%s at worst %d (%s)", when, worst, met(worst == 0)))
			guessed = append(guessed, fmt.Sprintf("%s %s (%s)", when, ratio, met(slices.Max(ratio) <= 0.1)))
		}
		t.row(name, numbers(guesses[name]), numbers(harmed[name]), ratio.String())
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%d days, each of another seed. %d bots and %d innocents, on each server the same\nat the same times; Exim %s and dovecot, the platform's firewall, Debian's fail2ban with\nits jails exim and exim-spam at their defaults (backend auto, which is pyinotify).\nEach figure is that of one day.\n\n%s\n",
		b.days, bots, innocents, lab.SuiteNamed(b, b.suite).Exim, t)
	fmt.Fprintf(&out, "Targets: innocents harmed with ours 0: %s; guesses at most\na tenth of fail2ban's: %s.\n",
		strings.Join(innocent, ", "), strings.Join(guessed, ", "))
	fmt.Fprintf(&out, "\nOur rules' own numbers let at least %s of these guesses pass: the first four of each bot that no\nlist keeps from its port.\n", numbers(least))
	fmt.Fprintf(&out, "\nThat it ran: fail2ban banned %d times; ours refused, on its first day and after a week, %d and %d\nconnections for their history, %d and %d for recent offences, %d and %d for the lists; after the week it\nknew %s users' hosts and %s senders, some of them both; no line of its log says of a check that it did not ask.\n",
		evidence[0], evidence[1], evidence[4], evidence[2], evidence[5], evidence[3], evidence[6], numbers(users), numbers(senders))
	k := newTable(append([]string{"guesses of all days, by the kind of bot"}, fieldNames...)...)
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		row := []string{kind}
		for _, name := range fieldNames {
			row = append(row, strconv.Itoa(kinds[kind][name]))
		}
		k.row(row...)
	}
	out.WriteString("\n" + k.String())
	for _, name := range fieldNames {
		fmt.Fprintf(&out, "\nHarmed by %s:", name)
		if len(names[name]) == 0 {
			out.WriteString(" nobody.\n")
			continue
		}
		out.WriteString("\n\n")
		for _, what := range slices.Sorted(maps.Keys(names[name])) {
			fmt.Fprintf(&out, "- %s: %s\n", what, strings.Join(gather(names[name][what]), "; "))
		}
	}
	return out.String()
}

var (
	timeOfDay  = regexp.MustCompile(` \(\d\d:\d\d\)$`)
	anyAddress = regexp.MustCompile(`\b\d+\.\d+\.\d+\.\d+\b|\b2a[0-9a-f:]+\b`)
	numbered   = regexp.MustCompile(`^(.*) (\d+) \(day (\d+)\)$`)
)

func numbers(all []int) string {
	var s []string
	for _, n := range all {
		s = append(s, strconv.Itoa(n))
	}
	return strings.Join(s, ", ")
}

// gather writes "user at home 1 (day 1)", "user at home 2 (day 1)" as "user at home 1-2 (day 1)".
func gather(names []string) (all []string) {
	by := map[string][]int{}
	for _, n := range names {
		m := numbered.FindStringSubmatch(n)
		i, _ := strconv.Atoi(m[2])
		by[m[1]+"|"+m[3]] = append(by[m[1]+"|"+m[3]], i)
	}
	for _, k := range slices.Sorted(maps.Keys(by)) {
		n := by[k]
		slices.Sort(n)
		var runs []string
		for i := 0; i < len(n); {
			j := i
			for j+1 < len(n) && n[j+1] == n[j]+1 {
				j++
			}
			if runs = append(runs, strconv.Itoa(n[i])); j > i {
				runs[len(runs)-1] += "-" + strconv.Itoa(n[j])
			}
			i = j + 1
		}
		kind, day, _ := strings.Cut(k, "|")
		all = append(all, fmt.Sprintf("%s %s (day %s)", kind, strings.Join(runs, ", "), day))
	}
	return all
}
