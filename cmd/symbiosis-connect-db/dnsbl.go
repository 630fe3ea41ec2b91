package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/cmd/internal/command"
	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/dnsbl"
)

// parallel is how many hosts are asked about at once: enough to hide the way to
// the lists, few enough not to look like an abuse of them.
const parallel = 8

// defaultLists are those of the connect check as it is shipped.
const defaultLists = "zen.spamhaus.org=127.0.0.[2..7;9..11] : b.barracudacentral.org=127.0.0.2 : bl.spamcop.net=127.0.0.2"

func dnsblFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "lists", Value: defaultLists, Usage: "the DNS `LISTS` to ask, separated by colons, if not CHECK_CONNECT_IP_DNSBLS in Exim's configuration in force"},
		&cli.IntFlag{Name: "score", Value: dnsbl.DefaultThreshold, Usage: "the `SCORE` from which the lists deny a host, if not CHECK_CONNECT_DNSBL_THRESHOLD in Exim's configuration in force"},
		&cli.DurationFlag{Name: "timeout", Value: dnsbl.DefaultTimeout, Usage: "the longest `TIME` to wait for all lists about one host"},
		&cli.StringSliceFlag{Name: "server", Usage: "ask the resolver at `HOST[:PORT]` instead of the system's; may be repeated"},
	}
}

// A listed is what the lists say about one host.
type listed struct {
	Score  int      `json:"score"`
	Deny   bool     `json:"deny"`
	Lists  []string `json:"listed"`
	Failed []string `json:"failed,omitempty"` // lists that could not be asked
}

func (l *listed) text() string {
	if l == nil {
		return ""
	}
	parts := append([]string(nil), l.Lists...)
	if len(l.Failed) > 0 {
		parts = append(parts, "no answer: "+strings.Join(l.Failed, " "))
	}
	return strings.Join(parts, " ")
}

// askLists asks about each key, several at a time. An IPv6 /64 is asked about
// by its first address, as the lists name whole /64s.
func askLists(c *cli.Context, p place, keys []address.Key) ([]*listed, error) {
	lists, err := dnsbl.ParseLists(c.String("lists"))
	if err != nil {
		return nil, usagef("--lists: %v", err)
	}
	o := dnsbl.Options{Threshold: c.Int("score"), Timeout: c.Duration("timeout"), All: true}
	for _, s := range c.StringSlice("server") {
		a, err := dnsbl.ParseServer(s)
		if err != nil {
			return nil, usagef("--server: %v", err)
		}
		o.Servers = append(o.Servers, a)
	}
	ctx, stop := context.WithCancelCause(c.Context)
	defer stop(nil)
	out := make([]*listed, len(keys))
	next := make(chan int)
	var done atomic.Int64
	var wg sync.WaitGroup
	for range min(parallel, len(keys)) {
		wg.Go(func() {
			for i := range next {
				if keys[i].IsValid() {
					l, err := ask(ctx, keys[i].Prefix().Addr(), lists, o)
					if err != nil {
						stop(err)
					}
					out[i] = l
				}
				done.Add(1)
			}
		})
	}
	finished := progress(&done, len(keys))
feeding:
	for i := range keys {
		select {
		case next <- i:
		case <-ctx.Done():
			break feeding
		}
	}
	close(next)
	wg.Wait()
	finished()
	return out, context.Cause(ctx)
}

func ask(ctx context.Context, a netip.Addr, lists []dnsbl.List, o dnsbl.Options) (*listed, error) {
	r, err := dnsbl.Check(ctx, a, lists, o)
	if err != nil {
		return nil, err
	}
	l := &listed{Score: r.Score, Deny: r.Deny, Lists: []string{}}
	for _, a := range r.Answers {
		if a.Status == dnsbl.Listed {
			l.Lists = append(l.Lists, a.List.DisplayName()+"="+a.Code.String())
		}
	}
	for _, a := range r.Failures() {
		l.Failed = append(l.Failed, a.List.DisplayName())
	}
	return l, nil
}

// progress draws a bar on standard error when that is a terminal, until the
// function that it returns is called.
func progress(done *atomic.Int64, total int) (finished func()) {
	columns, ok := command.Terminal(os.Stderr)
	if !ok || total == 0 {
		return func() {}
	}
	quit, gone := make(chan struct{}), make(chan struct{})
	draw := func() {
		n := int(done.Load())
		text := fmt.Sprintf(" %d of %d hosts", n, total)
		room := max(1, columns-len(text)-3)
		full := n * room / total
		fmt.Fprintf(os.Stderr, "\r[%s%s]%s", strings.Repeat("#", full), strings.Repeat("-", room-full), text)
	}
	go func() {
		defer close(gone)
		t := time.NewTicker(100 * time.Millisecond)
		defer t.Stop()
		for {
			draw()
			select {
			case <-t.C:
			case <-quit:
				fmt.Fprintf(os.Stderr, "\r%s\r", strings.Repeat(" ", columns-1))
				return
			}
		}
	}()
	return func() { close(quit); <-gone }
}
