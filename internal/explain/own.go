package explain

import (
	"net/netip"
	"strings"

	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/dnsbl"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/rules"
	"symbiosis-connect-acl/internal/zone"
)

// ownDNSBLs asks the zone in which the administrator's own servers publish whom
// they have caught.
func (e *examiner) ownDNSBLs() Rule {
	r, ask := e.rule("own", snippetOwn, rules.StateOwnDNSBLs, rules.PortsOwnDNSBLs)
	setting := strings.TrimSpace(e.value(rules.OwnLists))
	switch {
	case !any3(ask):
		return r
	case setting == "":
		r.set(ask, Off)
		r.tell("no zone of your own servers is asked: %s is empty", rules.OwnLists)
		return r
	case e.noRow != "":
		r.set(ask, e.forgets())
		r.tell("not asked, because the host's row is not known: %s", e.noRow)
		return r
	}
	var servers []netip.AddrPort
	if s := strings.TrimSpace(e.value(rules.OwnResolver)); s != "" {
		server, err := dnsbl.ParseServer(s)
		if err != nil {
			r.set(ask, Skipped)
			r.tell("%s: %v", rules.OwnResolver, err)
			return r
		}
		servers = append(servers, server)
	}
	round := Round{Ports: on(ask), Lists: []List{}}
	verdict := e.askRound(&round, setting, dnsbl.DefaultThreshold, servers)
	r.DNSBL = append(r.DNSBL, round)
	r.set(ask, verdict)
	e.tellRound(&r, round, verdict)
	for _, l := range round.Lists {
		for _, text := range strings.Split(l.Text, " / ") {
			if origin, reason, day, ok := zone.ParseText(text); ok {
				r.tell("caught by %s on %s (%s); to take it back everywhere, on %s: %s-connect-db delete %s", origin, day, reason, origin, e.Name, e.key)
			}
		}
	}
	if verdict != Deny {
		return r
	}
	switch standing := e.row.Standing(hosts.PolicyOf(e.macros), clock.Now()); {
	case within(e.row.Login, month):
		r.set(ask, Pass)
		r.tell("passed over, because somebody has logged in from there, last %s", stamp(e.row.Login))
	case standing.Sender:
		r.set(ask, Pass)
		r.tell("passed over, because it has delivered, last %s", stamp(e.row.Delivered))
	case within(e.lost, mourning):
		r.set(users(ask), Pass)
		r.tell("passed over on the users' ports, because the host database was lost, %s: for a week nobody knows who is a user", stamp(e.lost))
	}
	return r
}

// on gives the ports that are asked about.
func on(ask [len(Ports)]bool) (ports []int) {
	for i, port := range Ports {
		if ask[i] {
			ports = append(ports, port)
		}
	}
	return ports
}
