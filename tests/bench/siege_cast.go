package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"symbiosis-connect-acl/tests/lab"
)

// The cast of the siege. notes/siege.md has the proportions and their reasons.

// An actor is a bot, or an innocent: a mail server or a user.
type actor struct {
	name  string
	bot   bool
	mail  bool     // it delivers mail; else a user, or a bot
	at    []string // its addresses
	ports []int
	plain bool // PLAIN instead of LOGIN
	harm  string
	tries int           // a bot's guesses
	turn  chan struct{} // holds one token: it does one thing after the other
}

// A deed is something that an actor does at a time of the day.
type deed struct {
	at  time.Duration
	who *actor
	do  func(f *field, at time.Duration)
}

// A cast is who takes part in a day and what they will do, the same for every
// server.
type cast struct {
	*rand.Rand
	scale  float64
	actors []*actor
	deeds  []deed
	daily  []deed            // of each day of the week before
	before [][]deed          // the days of it that are played
	listed map[string]string // addresses on the DNS list, and its answer
	users  map[string]string // names and passwords
	old    []string          // addresses that were a bot's
	used   map[string]bool
}

const (
	xbl, pbl = "127.0.0.4", "127.0.0.11"
	right    = "correct horse"
)

func newCast(seed uint64, scale float64) *cast {
	c := &cast{Rand: rand.New(rand.NewPCG(seed, 15)), scale: scale, listed: map[string]string{},
		users: map[string]string{"user@example.org": right}, used: map[string]bool{}}
	shared := c.bots()
	c.mailServers()
	c.people(shared)
	c.week()
	return c
}

// of gives how many of n take part.
func (c *cast) of(n int) int { return max(1, int(math.Round(float64(n)*c.scale))) }

// address rolls a public one that nobody has.
func (c *cast) address(first ...int) string {
	for {
		a := fmt.Sprintf("%d.%d.%d.%d", first[c.IntN(len(first))], c.IntN(256), c.IntN(256), 1+c.IntN(254))
		if !c.used[a] {
			c.used[a] = true
			return a
		}
	}
}

func (c *cast) add(a *actor) *actor {
	a.turn = make(chan struct{}, 1)
	a.turn <- struct{}{}
	c.actors = append(c.actors, a)
	return a
}

func (c *cast) due(a *actor, at time.Duration, do func(f *field, at time.Duration)) {
	c.deeds = append(c.deeds, deed{at, a, do})
}

// between rolls a time.
func (c *cast) between(from, to time.Duration) time.Duration {
	return from + time.Duration(c.Int64N(int64(to-from)))
}

func (c *cast) bot(kind string, i int) *actor {
	a := c.add(&actor{name: fmt.Sprintf("%s %d", kind, i+1), bot: true, at: []string{c.address(45, 77, 103, 185)}, plain: c.Float64() < 0.3})
	switch p := c.Float64(); {
	case p < 0.5:
		a.ports = []int{587}
	case p < 0.8:
		a.ports = []int{25}
	default:
		a.ports = []int{465}
	}
	if c.Float64() < 0.6 {
		c.listed[a.at[0]] = xbl
	}
	return a
}

// names that bots try.
var botNames = []string{"info", "admin", "test", "sales", "office", "mail", "support", "contact", "scanner", "backup", "web", "root",
	"postmaster", "service", "hr", "billing", "noreply", "marketing", "demo", "guest", "john", "mary", "david", "anna", "peter"}

// guesses is a connection with n guesses, at other names or at one.
func (c *cast) guesses(a *actor, at time.Duration, n int, name string) {
	var tries []login
	for range n {
		who := name
		if who == "" {
			who = fmt.Sprintf("%s%d@example.org", botNames[c.IntN(len(botNames))], c.IntN(20))
		}
		tries = append(tries, login{who, fmt.Sprintf("guess%d", c.Uint32())})
	}
	a.tries += n
	c.due(a, at, func(f *field, _ time.Duration) { f.logIn(a, a.at[0], a.ports[0], tries...) })
}

// bots gives the addresses of those who share one with an innocent.
func (c *cast) bots() (shared []string) {
	for i := range c.of(150) {
		a, helo := c.bot("unoffered AUTH", i), []string{"ylmf-pc", "mail.bot.example", "User"}[c.IntN(3)]
		begin := c.between(0, 20*time.Hour)
		for n := range 3 {
			c.due(a, begin+time.Duration(n)*5*time.Minute, func(f *field, _ time.Duration) {
				f.say(a, 25, "EHLO "+helo, "AUTH LOGIN", "AUTH LOGIN")
			})
		}
	}
	for i := range c.of(100) {
		a := c.bot("early talker", i)
		begin := c.between(0, 20*time.Hour)
		for n := range 3 {
			c.due(a, begin+time.Duration(n)*10*time.Minute, func(f *field, _ time.Duration) { f.blast(a) })
		}
	}
	loud := func(kind string, n int, one bool) {
		for i := range c.of(n) {
			a, name := c.bot(kind, i), c.oneName(one)
			begin := c.between(0, 22*time.Hour)
			for n := range 6 {
				c.guesses(a, begin+time.Duration(n)*20*time.Second, 3, name)
			}
		}
	}
	loud("many names at once", 120, false)
	loud("one name at once", 80, true)
	for i := range c.of(120) {
		a := c.bot("many names patiently", i)
		if i < 2 { // in a carrier's network, which is on the PBL
			c.listed[a.at[0]] = pbl
			shared = append(shared, a.at[0])
		}
		c.patient(a, "", c.between(0, 18*time.Hour))
	}
	for i := range c.of(80) {
		a := c.bot("one name patiently", i)
		if i == 0 { // in an office
			c.listed[a.at[0]] = pbl
			shared = append(shared, a.at[0])
			a.ports = []int{587}
			c.patient(a, c.oneName(true), 10*time.Hour)
			continue
		}
		c.patient(a, c.oneName(true), c.between(0, 18*time.Hour))
	}
	for i := range c.of(80) {
		a, name := c.bot("one guess an hour", i), c.oneName(i%2 == 0)
		begin := c.between(0, time.Hour)
		for n := range 24 {
			c.guesses(a, begin+time.Duration(n)*time.Hour, 1, name)
		}
	}
	for i := range c.of(60) {
		a := c.bot("returner", i)
		at := c.between(0, 10*time.Hour)
		for range 8 {
			for n := range 3 {
				c.guesses(a, at+time.Duration(n)*20*time.Second, 3, "")
			}
			at += c.between(40*time.Minute, 80*time.Minute)
		}
	}
	begin := c.between(2*time.Hour, 18*time.Hour)
	for i := range c.of(170) {
		c.guesses(c.bot("distributed", i), begin+c.between(0, 3*time.Hour), 1, "user@example.org")
	}
	return shared
}

func (c *cast) oneName(one bool) string {
	if !one {
		return ""
	}
	return botNames[c.IntN(len(botNames))] + "@example.org"
}

func (c *cast) patient(a *actor, name string, at time.Duration) {
	for range 8 {
		c.guesses(a, at, 3, name)
		at += c.between(20*time.Minute, 40*time.Minute)
	}
}

// forgers go for the first mail servers and homes.
func (c *cast) forgers(victims []*actor) {
	for i := range c.of(40) {
		a, victim := c.bot("forger", i), victims[i%len(victims)].at[0]
		begin := c.between(time.Hour, 12*time.Hour)
		for n := range 4 {
			how := c.IntN(3)
			c.due(a, begin+time.Duration(n)*4*time.Minute, func(f *field, _ time.Duration) {
				switch how {
				case 0:
					f.say(a, 25, "EHLO mx.bot.example", `AUTH LOGIN" H=(a) [`+victim+`] AUTH command used when not advertised`)
				case 1:
					f.say(a, 25, "EHLO ["+victim+"] AUTH command used when not advertised")
				default:
					f.forge(a, "evil) ["+victim+"]: 535 Incorrect authentication data")
				}
			})
		}
	}
}

// server adds a mail server with a name.
func (c *cast) server(kind string, i int, at string) *actor {
	return c.add(&actor{name: fmt.Sprintf("%s %d", kind, i+1), mail: true, at: []string{at}})
}

func (c *cast) mails(a *actor, at time.Duration) {
	c.due(a, at, func(f *field, at time.Duration) { f.mail(a, at, at, "<someone@sender.example>", 0) })
}

func (c *cast) mailServers() {
	var victims []*actor
	for i := range c.of(90) {
		a := c.server("small mail server", i, c.address(193, 194))
		for range 2 {
			c.mails(a, c.between(0, 23*time.Hour))
		}
		if i < c.of(20) {
			victims = append(victims, a)
		}
	}
	for i := range c.of(20) {
		a := c.server("large mail server", i, c.address(193, 194))
		begin := c.between(7*time.Hour, 12*time.Hour)
		for n := range 12 {
			c.mails(a, begin+time.Duration(n)*75*time.Second)
		}
		for range 6 {
			c.mails(a, c.between(13*time.Hour, 23*time.Hour))
		}
	}
	for i := range c.of(30) {
		a := c.server("machine of the provider", i, fmt.Sprintf("2a02:8:15:1::%x", i+1))
		c.mails(a, 9*time.Hour)
		c.mails(a, c.between(10*time.Hour, 23*time.Hour))
	}
	for i := range c.of(10) {
		a := c.server("forwarder", i, c.address(193, 194))
		for range 6 {
			c.mails(a, c.between(0, 23*time.Hour))
		}
		begin := c.between(2*time.Hour, 10*time.Hour)
		for n := range 4 {
			c.due(a, begin+time.Duration(n)*time.Minute, func(f *field, at time.Duration) { f.pass(a) })
		}
	}
	for i := range c.of(5) {
		a := c.server("mail server on a bot's old address", i, c.address(193, 194))
		c.old = append(c.old, a.at[0])
		for range 4 {
			c.mails(a, c.between(0, 23*time.Hour))
		}
	}
	for i := range c.of(80) {
		at := c.address(81, 86, 92)
		c.listed[at] = pbl
		a := c.user("user at home", i, at)
		if i < c.of(20) {
			victims = append(victims, a)
		}
		for n := range 3 {
			wrong := 0
			if n == 0 && i < c.of(10) {
				wrong = 1 + i%4
			}
			c.session(a, at, time.Duration(7+5*n)*time.Hour+c.between(0, 3*time.Hour), wrong)
		}
	}
	c.forgers(victims)
}

func (c *cast) user(kind string, i int, at ...string) *actor {
	a := c.add(&actor{name: fmt.Sprintf("%s %d", kind, i+1), at: at, ports: []int{[]int{587, 465}[c.IntN(2)]}, plain: c.IntN(2) == 0})
	c.users[a.login()] = right
	return a
}

// session is one message that a user sends, after some mistyped passwords.
func (c *cast) session(a *actor, from string, at time.Duration, wrong int) {
	var tries []login
	for n := range wrong {
		tries = append(tries, login{a.login(), fmt.Sprint("mistyped", n)})
	}
	tries = append(tries, login{a.login(), right})
	c.due(a, at, func(f *field, _ time.Duration) { f.logIn(a, from, a.ports[0], tries...) })
}

// roads are where users' addresses on the road begin.
var roads = []int{31, 37, 81, 86}

func (c *cast) people(shared []string) {
	for office := range c.of(4) {
		at := c.address(81, 86, 92)
		if office == 3 {
			at = shared[len(shared)-1]
		}
		c.listed[at] = pbl
		for i := range 10 {
			a := c.user(fmt.Sprintf("office %d, user", office+1), i, at)
			for n := range 3 {
				c.session(a, at, time.Duration(8+3*n)*time.Hour+c.between(0, 2*time.Hour), 0)
			}
			if i == 9 && office < 3 {
				old := &actor{name: fmt.Sprintf("office %d, the old telephone", office+1), at: a.at, ports: []int{587}, plain: office == 1}
				old.turn = make(chan struct{}, 1)
				old.turn <- struct{}{}
				// In the week before, it had the right one.
				c.daily = append(c.daily, deed{7 * time.Hour, old, func(f *field, _ time.Duration) { f.logIn(old, old.at[0], 587, login{a.login(), right}) }})
				for at := 7 * time.Hour; at < 23*time.Hour; at += 15 * time.Minute {
					c.due(old, at, func(f *field, _ time.Duration) { f.logIn(old, old.at[0], 587, login{a.login(), "old"}) })
				}
			}
		}
	}
	for i := range c.of(25) {
		a := c.user("user on the road", i)
		for n := range 3 {
			at := c.address(roads...)
			if n == 2 && i < 2 && i < len(shared)-1 {
				at = shared[i]
			}
			c.listed[at] = pbl
			a.at = append(a.at, at)
			c.session(a, at, time.Duration(8+5*n)*time.Hour+c.between(0, 3*time.Hour), 0)
		}
	}
}

// least is how many guesses our rules' numbers let pass: of each bot the first four,
// since one more than SYMBIOSIS_INCIDENT_THRESHOLD / 3 make a history, and fewer make
// no guesser. On 25 the lists are before them.
func (c *cast) least() (n int) {
	for _, a := range c.actors {
		if a.bot && (a.ports[0] != 25 || c.listed[a.at[0]] == "") {
			n += min(a.tries, 4)
		}
	}
	return n
}

// records gives what the DNS has about the cast, in zone-file form.
func (c *cast) records() (all []string) {
	for _, a := range c.actors {
		if !a.mail {
			continue
		}
		name, zone, rr := fmt.Sprintf("mx%d.sender.example.", len(all)), ".in-addr.arpa.", "A"
		if len(a.at[0]) > 0 && a.at[0][0] == '2' && a.at[0][1] == 'a' {
			zone, rr = ".ip6.arpa.", "AAAA"
		}
		all = append(all, lab.Reverse(a.at[0])+zone+" 60 IN PTR "+name, name+" 60 IN "+rr+" "+a.at[0])
	}
	return append(all, "sender.example. 60 IN A 193.0.6.1", "sender.example. 60 IN MX 10 sender.example.")
}
