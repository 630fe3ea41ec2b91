package doctor

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"symbiosis-connect-acl/internal/door"
	"symbiosis-connect-acl/internal/exim"
)

// door asks the configuration in force what no look at it can tell: whether
// innocent hosts get in.
func (d *doctor) door(work string) {
	p, err := d.exim.NewProof(d.ctx, d.exim.Config(), work)
	if err != nil {
		d.fail("door", d.build(), "%v", err)
		return
	}
	defer p.Close()
	bad := 0
	for _, s := range door.Greet(d.ctx, p, d.Platform) {
		if s.OK() {
			continue
		}
		bad++
		d.fail("door", "run: exim4 -bh "+s.Host.String()+"; to let everyone in meanwhile: "+d.setup()+" remove",
			"a host that did nothing is turned away: %s", s)
	}
	if bad == 0 {
		d.ok("door", "an innocent host is greeted on ports 25, 465 and 587, over IPv4 and IPv6")
	}
}

// resolver asks DNS through Exim, and the DNS lists where that is answered.
func (d *doctor) resolver(work string) {
	lists := d.namedLists()
	p, err := d.exim.NewProof(d.ctx, d.exim.Config(), work)
	if err != nil {
		d.fail("resolver", d.build(), "%v", err)
		return
	}
	defer p.Close()
	// That there is no such name is an answer too.
	host := exim.Innocent()[0][0]
	said, err := p.Expand(d.ctx, "${lookup dnsdb{defer_strict,ptr="+host.String()+"}{found}{none}}", helperDeadline)
	if err != nil || strings.Contains(said, "DEFER") {
		d.fail("resolver", "see that a server named in /etc/resolv.conf runs and answers: apt-get install unbound gives one of your own",
			"Exim gets no answer from DNS: mail to others waits, names of hosts are not found and DNS lists are not asked")
		return
	}
	d.lists(lists)
}

// tls tries what no imagined session can: a handshake with the running Exim.
// Where it fails, nobody can log in.
func (d *doctor) tls() {
	const port = 465
	conn, err := d.exim.Dial(d.ctx, d.exim.Config(), port)
	if err == nil {
		err = handshake(d.ctx, conn)
	}
	switch {
	case err == nil:
		d.ok("tls", "Exim makes TLS connections on port %d", port)
	case errors.Is(err, exim.ErrNoTLSPort):
	case errors.Is(err, syscall.ECONNREFUSED):
		d.warn("tls", "see daemon_smtp_ports and local_interfaces, then: service exim4 restart", "Exim does not listen on port %d: %v", port, err)
	default:
		d.fail("tls", fmt.Sprintf("run: grep TLS /var/log/exim4/mainlog; the files that tls_certificate and tls_privatekey name must be whole, and %s must be able to read them", d.user.Name),
			"Exim makes no TLS connection on port %d, so nobody can log in: %v", port, err)
	}
}
