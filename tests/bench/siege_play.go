package main

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"symbiosis-connect-acl/tests/lab"
)

// A gate holds the day's clock while somebody acts.
type gate struct {
	sync.Mutex
	in    int
	empty *sync.Cond
}

func (g *gate) add(n int) {
	g.Lock()
	defer g.Unlock()
	if g.in += n; g.in == 0 {
		g.empty.Broadcast()
	}
}

func (g *gate) wait() {
	g.Lock()
	defer g.Unlock()
	for g.in > 0 {
		g.empty.Wait()
	}
}

// patiently does what may take long without Exim, such as connecting to a firewall
// that drops packets: the day goes on meanwhile. It does not while Exim talks: its
// rules take the time.
func (f *field) patiently(do func()) {
	t := time.AfterFunc(200*time.Millisecond, func() { f.gate.add(-1) })
	do()
	if !t.Stop() {
		f.gate.add(1)
	}
}

// play plays a day.
func (f *field) play(deeds []deed) {
	f.deeds = slices.Clone(deeds)
	var all sync.WaitGroup
	for {
		due := f.next()
		if len(due) == 0 { // who still waits may try again
			all.Wait()
			if due = f.next(); len(due) == 0 {
				return
			}
		}
		f.until(due[0].at.Truncate(time.Minute))
		f.gate.add(len(due))
		for _, d := range due {
			all.Go(func() {
				f.patiently(func() { <-d.who.turn })
				f.slots <- true
				defer func() { <-f.slots; d.who.turn <- struct{}{}; f.gate.add(-1) }()
				d.do(f, d.at)
			})
		}
		f.gate.wait()
		if f.jail != nil {
			f.jail.read(f.now)
		}
	}
}

// next takes the deeds of the next minute in which there are some.
func (f *field) next() []deed {
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.SortStableFunc(f.deeds, func(a, b deed) int { return int(a.at - b.at) })
	n := 0
	for n < len(f.deeds) && f.deeds[n].at.Truncate(time.Minute) <= f.deeds[0].at.Truncate(time.Minute) {
		n++
	}
	due := f.deeds[:n:n]
	f.deeds = f.deeds[n:]
	return due
}

// until lets the time pass, and what runs at its minutes run.
func (f *field) until(to time.Duration) {
	for t := f.now + time.Minute; t <= to; t += time.Minute {
		switch int(t.Minutes()) % 15 {
		case 5:
			f.set(t)
			f.wall.scan(f.begin.Add(t))
		case 6:
			if f.ours {
				f.set(t)
				f.Root.Run("symbiosis-connect-db", "--now", f.begin.Add(t).Format(time.RFC3339), "sync")
				f.syncs++
			}
		}
	}
	f.set(max(f.now, to))
}

// set sets the clock of all programs in the root that ask for it at every turn.
func (f *field) set(t time.Duration) {
	f.now = t
	offset := time.Until(f.begin.Add(t)).Seconds()
	path := f.Root.Path("etc/faketimerc")
	err := os.WriteFile(path+".new", fmt.Appendf(nil, "+%.3f\n", offset), 0o644)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		panic(failure(err.Error()))
	}
}

// harmed notes what happened to an innocent, the first time.
func (f *field) harmed(a *actor, at time.Duration, what string) {
	if !a.bot && a.harm == "" {
		a.harm = fmt.Sprintf("%s%s (%02d:%02d)", f.when, strings.TrimSpace(what), int(at.Hours()), int(at.Minutes())%60)
	}
}

// A talk is one connection.
type talk struct {
	net.Conn
	f   *field
	tcp *net.TCPConn // below TLS
	r   *bufio.Reader
}

// open gives a connection that has been greeted, or why there is none.
func (f *field) open(from string, port int, early string) (c *talk, why string) {
	if f.jail != nil {
		f.jail.before(from, f.now)
	}
	var conn net.Conn
	var err error
	f.patiently(func() { conn, err = f.Net.DialWithin(1500*time.Millisecond, from, port) })
	if err != nil {
		return nil, "no connection: the firewall"
	}
	limit := 40 * time.Second
	if f.jail != nil {
		limit = 10 * time.Second // a ban cuts connections off
	}
	conn.SetDeadline(time.Now().Add(limit))
	c = &talk{Conn: conn, f: f, tcp: conn.(*net.TCPConn)}
	if port == 465 {
		c.Conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // the lab's own certificate
	}
	c.r = bufio.NewReader(c.Conn)
	fmt.Fprint(c, early)
	if why = c.read(); lab.Code(why) != "220" {
		c.quit()
		return nil, first(why)
	}
	return c, why
}

func first(reply string) string {
	if reply == "" {
		return "hung up on"
	}
	line, _, _ := strings.Cut(reply, "\n")
	return line
}

// read reads a reply. A ban of fail2ban's may come in the middle, and then there is
// none; the day does not wait for that.
func (c *talk) read() (reply string) {
	if c.f.jail != nil {
		c.f.patiently(func() { reply = c.lines() })
		return reply
	}
	return c.lines()
}

func (c *talk) lines() string {
	var all []string
	for {
		l, err := c.r.ReadString('\n')
		if l = strings.TrimRight(l, "\r\n"); l != "" {
			all = append(all, l)
		}
		if err != nil || len(l) < 4 || l[3] != '-' {
			return strings.Join(all, "\n")
		}
	}
}

func (c *talk) cmd(line string) string {
	fmt.Fprint(c, line+"\r\n")
	return c.read()
}

// quit reads the answer to QUIT: all that a rule writes is written then. Without TLS
// Exim keeps the answer back until the client closes, for 200 ms at most.
func (c *talk) quit() {
	fmt.Fprint(c, "QUIT\r\n")
	if c.Conn == net.Conn(c.tcp) {
		c.tcp.CloseWrite()
	}
	c.read()
	c.tcp.Close()
}

func (c *talk) startTLS(helo string) {
	if lab.Code(c.cmd("STARTTLS")) == "220" {
		conn := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
		c.Conn, c.r = conn, bufio.NewReader(conn)
		c.cmd("EHLO " + helo)
	}
}

// A login is a name with a password.
type login struct{ name, password string }

// login gives a user's name.
func (a *actor) login() string {
	return strings.ReplaceAll(strings.ReplaceAll(a.name, ",", ""), " ", "-") + "@example.org"
}

func (c *talk) auth(l login, plain bool) string {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	if plain {
		return c.cmd("AUTH PLAIN " + b64("\x00"+l.name+"\x00"+l.password))
	}
	for _, line := range []string{"AUTH LOGIN", b64(l.name)} {
		if reply := c.cmd(line); lab.Code(reply) != "334" {
			return reply
		}
	}
	return c.cmd(b64(l.password))
}

// logIn tries passwords: a bot all in one connection, a user each in one of its
// own, and with the right one he sends a message.
func (f *field) logIn(a *actor, from string, port int, tries ...login) {
	for len(tries) > 0 {
		now := tries
		if !a.bot {
			now = tries[:1]
		}
		tries = tries[len(now):]
		why := f.tryThese(a, from, port, now)
		if !a.bot && now[0].password == right && why != "" {
			f.harmed(a, f.now, fmt.Sprintf("right password refused on %d: %s", port, why))
		}
	}
}

func (f *field) tryThese(a *actor, from string, port int, tries []login) (why string) {
	c, why := f.open(from, port, "")
	if c == nil {
		return why
	}
	defer c.quit()
	if hello := c.cmd("EHLO client.example"); lab.Code(hello) != "250" {
		return first(hello)
	}
	if port != 465 {
		c.startTLS("client.example")
	}
	for _, l := range tries {
		reply := c.auth(l, a.plain)
		if lab.Code(reply) == "235" {
			return c.message("<"+l.name+">", "<user@example.org>")
		}
		if why = first(reply); lab.Code(reply) != "535" && lab.Code(reply) != "435" {
			return why
		}
	}
	return why
}

// message sends one, and gives the first reply that is no acceptance.
func (c *talk) message(from, to string) string {
	for _, line := range []string{"MAIL FROM:" + from, "RCPT TO:" + to, "DATA"} {
		if reply := c.cmd(line); lab.Code(reply) != "250" && lab.Code(reply) != "354" {
			return first(reply)
		}
	}
	if reply := c.cmd("From: " + from + "\r\nSubject: a message\r\n\r\nhello\r\n."); lab.Code(reply) != "250" {
		return first(reply)
	}
	return ""
}

// later is how long a mail server waits before each new try.
var later = []time.Duration{5 * time.Minute, 5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 40 * time.Minute}

// mail delivers a message that was first due at one time, now.
func (f *field) mail(a *actor, due, now time.Duration, sender string, tried int) {
	c, why := f.open(a.at[0], 25, "")
	if c != nil {
		if hello := c.cmd("EHLO mx.sender.example"); lab.Code(hello) != "250" {
			why = first(hello)
		} else {
			why = c.message(sender, "<user@example.org>")
		}
		c.quit()
	}
	if why == "" {
		return
	}
	if why[0] == '5' {
		f.harmed(a, due, "mail refused: "+why)
		return
	}
	if tried == len(later) {
		return
	}
	again := now + later[tried]
	if again-due > 15*time.Minute {
		f.harmed(a, due, "mail late: "+why)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deeds = append(f.deeds, deed{again, a, func(f *field, at time.Duration) { f.mail(a, due, at, sender, tried+1) }})
}

// pass is a forwarder that delivers what somebody has sent through it.
func (f *field) pass(a *actor) {
	if c, _ := f.open(a.at[0], 25, ""); c != nil {
		c.cmd("EHLO mx.sender.example")
		c.cmd("MAIL FROM:<\"a\x01b\"@evil.example>")
		c.cmd("RCPT TO:<user@example.org>")
		c.quit()
	}
}

// say is a bot's talk, which hears nothing.
func (f *field) say(a *actor, port int, lines ...string) {
	if c, _ := f.open(a.at[0], port, ""); c != nil {
		for _, l := range lines {
			c.cmd(l)
		}
		c.quit()
	}
}

func (f *field) blast(a *actor) {
	if c, _ := f.open(a.at[0], 25, "EHLO ylmf-pc\r\nAUTH LOGIN\r\n"); c != nil {
		c.read()
		c.read()
		c.quit()
	}
}

// forge says a HELO name that gets into the line about a failed login.
func (f *field) forge(a *actor, helo string) {
	if c, _ := f.open(a.at[0], 587, ""); c != nil {
		c.cmd("EHLO " + helo)
		c.startTLS(helo)
		c.auth(login{"info@example.org", "forged"}, true)
		c.quit()
	}
}
