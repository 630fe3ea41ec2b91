package door

import (
	"container/heap"
	"fmt"
	"os"
	"testing"
	"time"

	"symbiosis-connect-acl/tests/lab"
)

// A clock is the one that a root's Exim sees. Go programs do not.
type clock struct {
	root *lab.Root
	now  time.Time
}

func startClock(t *testing.T, r *lab.Root) *clock {
	const lib = "usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
	data, err := os.ReadFile("/" + lib)
	if err != nil {
		t.Fatalf("%v (package faketime)", err)
	}
	r.Write(lib, string(data), 0o755)
	c := &clock{r, time.Now().UTC().Truncate(time.Second)}
	c.set(c.now)
	r.Write("etc/ld.so.preload", "/"+lib+"\n", 0o644)
	return c
}

func (c *clock) set(now time.Time) {
	c.now = now
	c.write("@" + now.Format(time.DateTime))
}

// stop lets it stand still.
func (c *clock) stop() { c.write(c.now.Format(time.DateTime)) }

func (c *clock) write(text string) {
	// In place of the old file at once: Exim's processes read it all the time.
	c.root.Write("etc/faketimerc.new", text+"\n", 0o644)
	if err := os.Rename(c.root.Path("etc/faketimerc.new"), c.root.Path("etc/faketimerc")); err != nil {
		panic(err)
	}
}

// A try is a message that is due.
type try struct {
	mail  int
	at    time.Time
	after time.Duration // until the next one
}

type tries []try

func (t tries) Len() int           { return len(t) }
func (t tries) Less(i, j int) bool { return t[i].at.Before(t[j].at) }
func (t tries) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }
func (t *tries) Push(x any)        { *t = append(*t, x.(try)) }
func (t *tries) Pop() any {
	last := (*t)[len(*t)-1]
	*t = (*t)[:len(*t)-1]
	return last
}

// A mail server that sends a little more than the limit is not starved: all its
// mail comes in, with the back-off of an ordinary server. (A limit that counts
// the attempts it refuses delivers 21 of 121, and none after half an hour.)
func TestSteadySender(t *testing.T) {
	r := lab.NewRoot(t, lab.DefaultSuite, "symbiosis")
	d := openOn(t, r)
	d.Stop()
	c := startClock(t, r)
	r.Local("CONNECT_STATE_GREETING == off", "CONNECT_STATE_DNSBLS == off", "CHECK_CONNECT_RATELIMIT == 10 / 15m")
	r.Make("exim4.conf")
	d.Env = []string{"FAKETIME_NO_CACHE=1"}
	d.Start()

	for i, each := range []int{12, 15} {
		t.Run(fmt.Sprintf("%d in 15 minutes", each), func(t *testing.T) {
			begin := c.now
			var due tries
			mails := 8 * each // two hours
			for m := range mails {
				heap.Push(&due, try{m, begin.Add(time.Duration(m) * 15 * time.Minute / time.Duration(each)), 5 * time.Minute})
			}
			put := 0
			for len(due) > 0 {
				x := heap.Pop(&due).(try)
				if x.at.Sub(begin) > 150*time.Minute {
					t.Fatalf("%d messages of %d have not been delivered in 2.5 hours, %d times put off", len(due)+1, mails, put)
				}
				c.set(x.at)
				d.settled() // what the one before has delivered is known
				switch got := handOver(d, d.Connect(fmt.Sprintf("2a02:7:%d::%x", i, x.mail%16+1), 25)); lab.Code(got) {
				case "250":
				case "451":
					put++
					heap.Push(&due, try{x.mail, x.at.Add(x.after), min(2*x.after, time.Hour)})
				default:
					t.Fatalf("message %d: %q", x.mail, got)
				}
			}
			t.Logf("%d messages delivered in %v, %d times put off", mails, c.now.Sub(begin), put)
		})
	}

	// A provider that has never been here sends thirty at once, and the rest of
	// them again when an ordinary server would.
	t.Run("30 at once", func(t *testing.T) {
		begin, left := c.now, 30
		for _, minutes := range []int{0, 5, 15} {
			c.set(begin.Add(time.Duration(minutes) * time.Minute))
			var open []*lab.Client
			for n := range left {
				open = append(open, d.Connect(fmt.Sprintf("2a02:8::%x", n+1), 25))
			}
			for _, cl := range open {
				if lab.Code(handOver(d, cl)) == "250" {
					left--
				}
			}
			t.Logf("after %d minutes %d are left", minutes, left)
		}
		if left > 0 {
			t.Errorf("%d of 30 are not served within 15 minutes", left)
		}
	})
}

// handOver delivers a message on a connection, if that was greeted, and gives
// the last reply.
func handOver(d *door, c *lab.Client) string {
	defer c.Quit()
	if lab.Code(c.Greeting) != "220" {
		return c.Greeting
	}
	for _, line := range []string{"EHLO mx.sender.example", "MAIL FROM:<a@sender.example>", "RCPT TO:<user@example.org>", "DATA"} {
		c.Cmd("%s", line)
	}
	return c.Cmd("From: <a@sender.example>\r\n\r\nhello\r\n.")
}
