package main

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"symbiosis-connect-acl/tests/lab"
)

// A bot tries a password if it is let in.
func bot(s *smtp) {
	s.cmd("EHLO bot.example")
	s.cmd("AUTH LOGIN dXNlckBleGFtcGxlLm9yZw==")
}

// A sender delivers a message every second, and tries again with one that has
// not been accepted, as mail servers do (RFC 5321, section 4.5.4.1).
type sender struct {
	mu       sync.Mutex
	sent     int
	accepted int // at the first try
	waits    []time.Duration
	refused  []string
}

// tries bounds how often, and patience for how many seconds it waits for a reply.
const tries, patience = 5, 20

func (o *sender) deliver(n *lab.Net, i int) {
	o.mu.Lock()
	o.sent++
	o.mu.Unlock()
	for try := range tries {
		wait, reply := o.try(n, i)
		o.mu.Lock()
		if try == 0 {
			o.waits = append(o.waits, wait)
			if lab.Code(reply) == "250" {
				o.accepted++
			}
		}
		if lab.Code(reply) != "250" {
			o.refused = append(o.refused, fmt.Sprintf("%q", reply))
		}
		o.mu.Unlock()
		if lab.Code(reply) == "250" {
			return
		}
	}
}

// try gives the time until the greeting, and the reply to the message or to
// what was refused before that; "" stands for none in time.
func (o *sender) try(n *lab.Net, i int) (wait time.Duration, reply string) {
	lab.Enter(n.Clients, func() error {
		begin := time.Now()
		s, err := dial(innocent(i%visitors), patience)
		if err != nil {
			wait, reply = time.Since(begin), err.Error()
			return nil
		}
		wait, reply = s.wait, s.code
		if s.code == "220" {
			s.cmd("EHLO mx.sender.example")
			s.cmd("MAIL FROM:<someone@sender.example>")
			s.cmd("RCPT TO:<user@example.org>")
			s.cmd("DATA")
			reply = s.cmd(fmt.Sprintf("From: <someone@sender.example>\r\nTo: <user@example.org>\r\nSubject: message %d\r\n\r\nOrdinary mail.\r\n.", i))
		}
		s.leave()
		return nil
	})
	return wait, reply
}

// delivered counts the messages in the user's mailbox.
func delivered(s *server) int {
	d, _ := os.ReadDir(s.Root.Path("srv/example.org/mailboxes/user/Maildir/new"))
	return len(d)
}

func attack(b *bench) string {
	rows := b.rows[min(1, len(b.rows)-1)]
	stock, article := b.stock(), b.article()
	ours := b.ours("ours, defaults", "CONNECT_GREETING_DELAY == 1") // the first visits take half the time
	ours.acquaint(b)
	for _, s := range []*server{stock, article, ours} {
		s.useSize(b, rows)
	}
	servers := []*server{stock, article, ours}

	type sum struct {
		bots, unanswered, sent, accepted, found int
		skipped                                 int
		quiet, waits, rounds                    []time.Duration
		cpu, wall                               time.Duration
		why                                     string
	}
	sums := map[*server]*sum{}
	rounds := max(2, b.rounds/2)
	for range rounds {
		for _, s := range servers {
			if sums[s] == nil {
				sums[s] = &sum{}
			}
			u := sums[s]
			if s == article {
				s.ClearHints() // of its rate limit, which the sender would run into
			}
			quiet, err := load{clients: 1, n: 30, addr: func(i int) netip.Addr { return innocent(100 + i) }}.run(s.Net)
			b.must(err)
			s.asked(b)
			u.quiet = append(u.quiet, median(quiet.waits))
			had := delivered(s)
			before, err := used(s.Exim)
			b.must(err)
			begin := time.Now()
			var o sender
			var all sync.WaitGroup
			all.Add(1)
			go func() {
				defer all.Done()
				tick := time.NewTicker(time.Second)
				defer tick.Stop()
				for i := 0; time.Since(begin) < b.flood; i++ {
					all.Add(1)
					go func() { defer all.Done(); o.deliver(s.Net, i) }()
					<-tick.C
				}
			}()
			flood, _ := load{clients: b.bots, n: 1 << 30, limit: b.flood, addr: offenders, talk: bot, patient: 10}.run(s.Net)
			all.Wait()
			for deadline := time.Now().Add(60 * time.Second); delivered(s)-had < o.sent && time.Now().Before(deadline); {
				time.Sleep(10 * time.Millisecond) // between two looks at a condition
			}
			after, err := used(s.Exim)
			b.must(err)
			for code, n := range flood.codes {
				if code == "none" || code == "" {
					u.unanswered += n
				} else {
					u.bots += n
				}
			}
			u.skipped += len(s.skips())
			u.sent += o.sent
			u.accepted += o.accepted
			u.found += delivered(s) - had
			u.waits = append(u.waits, o.waits...)
			u.rounds = append(u.rounds, median(o.waits))
			u.cpu += after.cpu - before.cpu
			u.wall += flood.wall
			if len(o.refused) > 0 && u.why == "" {
				u.why = o.refused[0]
			}
			b.Logf("attack on %s: bots %v, %d messages sent, %d accepted, %d delivered, refusals %v", s.name, flood.codes, o.sent, o.accepted, delivered(s)-had, o.refused)
		}
	}
	t := newTable("server", "messages sent", "accepted at once", "delivered", "greeting ÷ in quiet times", "median", "longest", "bots answered per second", "bots not answered", "CPU s per 1,000 bots")
	for _, s := range servers {
		u := sums[s]
		var ratio spread
		for i := range u.rounds {
			ratio = append(ratio, float64(u.rounds[i])/float64(u.quiet[i]))
		}
		t.row(s.name, fmt.Sprint(u.sent), fmt.Sprint(u.accepted), fmt.Sprint(u.found), ratio.String(), ms(median(u.waits)), ms(quantile(u.waits, 1)),
			fmt.Sprintf("%.0f", float64(u.bots)/u.wall.Seconds()), fmt.Sprint(u.unanswered), number(u.cpu.Seconds()/float64(max(1, u.bots))*1000))
	}
	var out strings.Builder
	fmt.Fprintf(&out, `%d bots at once, each from one of 400 addresses that the database (%s rows) has a
history of, connect as fast as they are served for %.0f s; who is let in tries a
password. An ordinary provider, whose servers have delivered here before, sends
a message every second, from another of its addresses each time. %d rounds.
The bots run on the same machine and take processor time from Exim.

`, b.bots, rowsText(rows), b.flood.Seconds(), rounds)
	out.WriteString(t.String())
	u := sums[ours]
	fmt.Fprintf(&out, "\nA message that is not accepted, or not answered within %d seconds, is sent again, as mail servers do.\n", patience)
	fmt.Fprintf(&out, "\nTarget: with ours no message is lost: %d of %d (%s).\n", u.sent-u.found, u.sent, met(u.found == u.sent))
	var greeting spread
	for i := range u.rounds {
		greeting = append(greeting, float64(u.rounds[i])/float64(sums[stock].rounds[i]))
	}
	served := float64(u.bots) / u.wall.Seconds() / (float64(sums[stock].bots) / sums[stock].wall.Seconds())
	fmt.Fprintf(&out, "Targets: the sender's greeting at most 1.2 times stock's: %s (%s); bots answered per second at least 0.9 of stock's: %.2f (%s).\n",
		greeting, met(greeting.median() <= 1.2), served, met(served >= 0.9))
	fmt.Fprintf(&out, "Lines in the log of ours that say of a check that it did not ask, or not all lists: %d.\n", u.skipped)
	for _, s := range servers {
		if sums[s].why != "" {
			fmt.Fprintf(&out, "The first reply of %s that was no acceptance: %s.\n", s.name, sums[s].why)
		}
	}
	return out.String()
}
