package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/cmd/internal/command"
	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/primary"
	"symbiosis-connect-acl/internal/publish"
	"symbiosis-connect-acl/internal/syslog"
	"symbiosis-connect-acl/internal/tsig"
	"symbiosis-connect-acl/internal/words"
	"symbiosis-connect-acl/internal/zone"
)

func publishCommand() *cli.Command {
	return &cli.Command{
		Name: "publish", Usage: "keep this server's hosts in a zone that several servers share",
		Description: `Brings the primary name server of the zone up to date by dynamic updates (RFC
2136), signed (TSIG) and over TCP. Only what has changed since the last time is
sent; once a day, and when the name server has lost something, everything is
compared. Several servers may publish into one zone: a host stays listed for as
long as one of them lists it.

For cron, each minute, or with --watch as a service that sends within a second.
Without settings in /etc/default it does nothing. While the name server does not
answer it is asked less and less often, at last every five minutes, and nothing
is lost. An error is told once an hour, and each time with --verbose.

The key file is as tsig-keygen or keymgr -t writes it, and only root may read it.

--withdraw takes back all that a server has published, for example one that
somebody has broken into. Take its key from the primary first.`,
		Flags: append(criteriaFlags(),
			&cli.StringFlag{Name: "server", Usage: "the primary name server: `HOST[:PORT]`, if not CONNECT_ACL_PUBLISH_SERVER in /etc/default"},
			&cli.StringFlag{Name: "key", Usage: "the `FILE` with the key, if not CONNECT_ACL_PUBLISH_KEY in /etc/default"},
			&cli.BoolFlag{Name: "watch", Usage: "go on, and send each change of hosts.db at once"},
			&cli.StringFlag{Name: "withdraw", Usage: "take back all that the server `ORIGIN` has published"},
			verboseFlag(),
		),
		Action: func(c *cli.Context) error { return seldom(c, publishHosts(c)) },
	}
}

// seldom tells cron an error once an hour, because it comes each minute. What
// the name server has done wrong is told at once, when it is new.
func seldom(c *cli.Context, err error) error {
	_, onTerminal := command.Terminal(os.Stdout)
	var failure *publish.Failure
	var usage command.UsageError
	switch {
	case err == nil, errors.As(err, &usage), onTerminal, c.Bool("verbose"), c.Bool("watch"), c.IsSet("withdraw"), c.Context.Err() != nil:
		return err
	case errors.As(err, &failure):
		if failure.New {
			return err
		}
	case clock.Now().Minute() == 0:
		syslog.Send(syslog.Socket, syslog.CronErr, "publish: "+err.Error())
		return err
	}
	return cli.Exit("", 1)
}

const (
	serverSetting = "CONNECT_ACL_PUBLISH_SERVER"
	keySetting    = "CONNECT_ACL_PUBLISH_KEY"
)

// target gives the name server. ok is false where none is configured.
func target(c *cli.Context, p place) (s primary.Server, origin string, ok bool, err error) {
	setting := func(flag, name string) string {
		if v := c.String(flag); v != "" {
			return v
		}
		return p.settings.String(name, "")
	}
	addr, key := setting("server", serverSetting), setting("key", keySetting)
	if addr == "" && key == "" {
		return s, "", false, nil
	}
	for _, need := range []struct{ value, flag, name string }{{addr, "server", serverSetting}, {key, "key", keySetting}} {
		if need.value == "" {
			return s, "", false, usagef("publish: name --%s, or %s in %s", need.flag, need.name, p.platform.DefaultsFile)
		}
	}
	if s.Addr, err = hostPort(addr); err != nil {
		return s, "", false, err
	}
	head, err := headOf(c, p)
	if err != nil {
		return s, "", false, err
	}
	if c.String("key") == "" {
		key = filepath.Join(p.platform.Root, key)
	}
	s.Zone = head.Zone
	s.Key, err = tsig.Read(key)
	return s, head.Origin, true, err
}

func hostPort(s string) (string, error) {
	s = strings.TrimSpace(s)
	if ip := net.ParseIP(strings.Trim(s, "[]")); ip != nil {
		return net.JoinHostPort(ip.String(), "53"), nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = s, "53"
	}
	if net.ParseIP(host) == nil {
		if host, err = zone.Domain(host); err != nil {
			return "", usagef("--server: %v", err)
		}
	}
	if n, err := net.LookupPort("tcp", port); err != nil || n < 1 {
		return "", usagef("--server: %q is no port", port)
	}
	return net.JoinHostPort(host, port), nil
}

func publishHosts(c *cli.Context) error {
	if c.NArg() > 0 {
		return usagef("publish: unexpected argument %q", c.Args().First())
	}
	_, onTerminal := command.Terminal(os.Stdout)
	by := &publishing{c: c, loud: onTerminal || c.Bool("verbose") || c.Bool("watch")}
	var err error
	if by.place, err = hostsPlace(c); err != nil {
		return err
	}
	server, origin, configured, err := target(c, by.place)
	if err != nil {
		return err
	}
	if !configured {
		by.say("nothing to do: no name server is configured in %s", by.place.platform.DefaultsFile)
		return nil
	}
	if c.IsSet("withdraw") {
		return withdraw(c, server)
	}
	by.Publisher, err = publish.Open(c.Context, statePath(by.place, server.Zone), server, origin)
	if errors.Is(err, publish.ErrRunning) {
		by.say("%v", err) // the service, beside cron
		return nil
	} else if err != nil {
		return err
	}
	defer by.Close()
	by.reader = publish.NewReader(by.place.hosts)
	defer by.reader.Close()
	if c.Bool("watch") {
		return by.watch(c.Context)
	}
	_, err = by.once(c.Context, by.loud)
	return err
}

// statePath is where what was published into a zone is remembered.
func statePath(p place, zone string) string {
	return filepath.Join(p.platform.StateDir, "published", zone+".db")
}

func withdraw(c *cli.Context, server primary.Server) error {
	origin, err := zone.Domain(c.String("withdraw"))
	if err != nil {
		return usagef("--withdraw: %v", err)
	}
	n, err := publish.Withdraw(c.Context, server, origin)
	if err != nil {
		return err
	}
	fmt.Printf("%s of %s taken back\n", words.Plural(n, "entry"), origin)
	return nil
}

// A publishing is one run of the command.
type publishing struct {
	*publish.Publisher
	c      *cli.Context
	place  place
	reader *publish.Reader
	loud   bool
}

func (p *publishing) say(format string, args ...any) {
	if p.loud {
		fmt.Printf(format+"\n", args...)
	}
}

func (p *publishing) log(pr syslog.Priority, format string, args ...any) {
	syslog.Send(syslog.Socket, pr, "publish: "+fmt.Sprintf(format, args...))
}

// once brings the name server up to date. It gives the number by which the
// reader knows what was read.
func (p *publishing) once(ctx context.Context, now bool) (version int64, err error) {
	criteria, err := criteriaOf(p.c, p.place)
	if err != nil {
		return 0, err
	}
	entries, version, err := p.reader.Entries(ctx, criteria)
	if err != nil {
		return 0, unmade(p.place, err)
	}
	r, err := p.Run(ctx, entries, now)
	var failure *publish.Failure
	if errors.As(err, &failure) && failure.New {
		p.log(syslog.CronErr, "%v; what was not taken is sent later", err)
	}
	if err != nil {
		return version, err
	}
	if r.Recovered > 0 {
		p.log(syslog.CronInfo, "%s answers again, after %s", p.Server.Addr, words.Plural(r.Recovered, "failure"))
	}
	if r.Compared {
		p.say("compared with %s", p.Server.Addr)
	}
	if r.Sent() {
		p.say("%s added, %d changed, %d taken back", words.Plural(r.Added, "host"), r.Changed, r.Removed)
	} else {
		p.say("nothing to send")
	}
	return version, nil
}

const (
	// settle is how long a change waits for others.
	settle = 100 * time.Millisecond
	// idle is how often the service runs when nothing changes: hosts grow too old
	// for the list, and the name server may have lost something.
	idle = time.Minute
	// share is how much of the time reading may take: after a run that took a
	// second it is quiet for this many seconds.
	share = 5
)

// watch brings the name server up to date whenever hosts.db changes.
func (p *publishing) watch(ctx context.Context) error {
	w, err := publish.Watch(p.reader.Dir())
	if err != nil {
		return unmade(p.place, err)
	}
	defer w.Close()
	read := int64(-1)
	for {
		begin := time.Now()
		version, err := p.once(ctx, false)
		if ctx.Err() != nil {
			return nil // it was told to end
		}
		var failure *publish.Failure
		next := begin.Add(idle)
		switch {
		case errors.As(err, &failure):
			if failure.New {
				fmt.Fprintf(os.Stderr, "%s: %v\n", name(), err)
			}
			next, version = failure.Retry, -1
		case err != nil:
			return err // systemd starts it again
		}
		if retry, err := p.Wait(ctx); err == nil && retry.After(begin) {
			next = retry
		}
		read = version
		if err := pause(ctx, max(settle, share*time.Since(begin))); err != nil {
			return nil
		}
		if err := p.wait(ctx, w, read, next); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// wait waits until somebody has written to hosts.db, or until next. A file of the
// database changes a moment before what was written can be read. So after each
// change it looks twice.
func (p *publishing) wait(ctx context.Context, w *publish.Watcher, read int64, next time.Time) error {
	timer := time.NewTimer(time.Until(next))
	defer timer.Stop()
	var again <-chan time.Time
	for {
		version, err := p.reader.Version(ctx)
		if err == nil && read >= 0 && version != read {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		case <-again:
			again = nil
		case _, ok := <-w.Changes:
			if !ok {
				return errors.New("the watch on " + p.reader.Dir() + " has ended")
			}
			if err := pause(ctx, settle); err != nil {
				return err
			}
			again = time.After(time.Second)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
