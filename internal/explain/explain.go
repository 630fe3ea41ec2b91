// Package explain tells what every rule of the connect checks says about one
// host on ports 25, 465 and 587, and why.
//
// Nothing is decided here by defaults of its own. The values are the macros of
// the configuration in force; conditions are put to Exim itself ("exim4 -be",
// with the rights that it has at a connection), in the words of the snippets;
// a rule whose snippet is not in the configuration does not act.
package explain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/blocks"
	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/exim"
	"symbiosis-connect-acl/internal/firewall"
	"symbiosis-connect-acl/internal/foreign"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/rules"
)

// examiner is one report in the making.
type examiner struct {
	exim.Installation
	ctx    context.Context
	host   netip.Addr
	key    address.Key
	macros map[string]string
	conf   []byte
	user   exim.User
	report *Report

	blind   bool              // the settings in force could not be read
	known   bool              // the host is let past
	others  bool              // somebody else's rule may turn it away at the connection
	row     hosts.Row         // what the host database knows
	lost    time.Time         // when that was begun anew
	noRow   string            // why the row could not be read; then the host is a stranger
	hidden  bool              // only from us
	answers map[string]answer // what Exim has been asked already
}

// The time that Exim has for an answer, and for one that needs a resolver.
const (
	askLimit     = 10 * time.Second
	reverseLimit = 5 * time.Second
)

// Explain examines the host at addr on the given platform. It changes nothing.
// What cannot be found out is told in the report. An error means that not even
// the superuser can read the configuration in force.
func Explain(ctx context.Context, p platform.Platform, addr netip.Addr) (*Report, error) {
	addr = addr.Unmap()
	e := &examiner{Installation: exim.Installation{Platform: p}, ctx: ctx, host: addr, key: address.FromAddr(addr)}
	if !e.key.IsValid() {
		return nil, errors.New("no address to explain")
	}
	e.report = &Report{Address: addr.String(), Key: e.key.String(), Platform: p.Name, Standing: []hosts.Remark{}, Commands: []string{}, Notes: []string{}}
	var err error
	if e.conf, err = os.ReadFile(e.Config()); err == nil {
		e.macros, err = e.Macros(ctx, e.Config())
	}
	if os.Geteuid() == 0 {
		if err == nil {
			e.user, err = e.User(ctx, e.Config())
		}
		if err != nil {
			return nil, err
		}
	} else if err != nil {
		// Exim tells its settings to root and to members of its own group only.
		e.blind = true
		e.note("run it as root: the settings in force cannot be read (%v)", err)
	} else {
		e.note("run it as root to see all: some of the firewall's files and the databases may be out of reach")
	}
	e.report.Complete = !e.blind
	_, e.report.Active = e.macros[rules.Marker]
	if !e.report.Active && !e.blind {
		e.note("the rules are not in force: %s-connect-setup apply", p.Name)
	}
	for _, needed := range []string{snippetVariables, snippetState} {
		if e.report.Active && !e.inForce(needed) {
			e.note("%s is not in the configuration in force: without it no rule acts", needed)
		}
	}

	e.lookUp() // before anything runs beside it: it changes the rights of the process
	// What waits for a resolver goes on meanwhile.
	var own, lists Rule
	var reverse answer
	var wg sync.WaitGroup
	wg.Add(2)
	go func() { defer wg.Done(); reverse = e.askReverse() }()
	e.askAll()
	go func() { defer wg.Done(); own, lists = e.ownDNSBLs(), e.dnsbls() }()
	if a := e.ask(askLimit, questionVersion)[0]; !a.failed() {
		e.report.Exim = a.text
	}
	wall := e.firewall()
	known, history, offences, rate, greeting, auth := e.accepted(), e.history(), e.offences(), e.ratelimit(), e.greeting(), e.auth()
	wg.Wait()
	e.report.Rules = []Rule{wall, known, e.reverse(reverse), history, offences, rate, own, lists, greeting, e.helo(), e.authArgument(), auth}
	if e.noRow == "" {
		e.report.Standing = append(e.report.Standing, e.row.Remarks(hosts.PolicyOf(e.macros), clock.Now())...)
	}
	e.foreign()
	e.decide()
	return e.report, nil
}

func (e *examiner) note(format string, args ...any) {
	e.report.Notes = append(e.report.Notes, fmt.Sprintf(format, args...))
}

// value gives a macro's value. Exim leaves the name of a macro that is not
// defined as it stands, so that is its value then.
func (e *examiner) value(name string) string {
	if v, ok := e.macros[name]; ok {
		return v
	}
	return name
}

// inForce reports whether the configuration in force holds the snippet.
func (e *examiner) inForce(name string) bool {
	if !e.report.Active {
		return false
	}
	return bytes.Contains(e.conf, []byte("\n# "+e.Inside(filepath.Join(e.SnippetDir, name))+"\n"))
}

// The snippets, in the order of the ACLs.
const (
	connectDir       = "10-acl/10-acl-check-connect/"
	snippetVariables = connectDir + "15-connect-variables"
	snippetKnown     = connectDir + "20-accept-known"
	snippetLookUp    = connectDir + "20-look-up-host"
	snippetReverse   = connectDir + "21-check-sender-host-name"
	snippetHistory   = connectDir + "30-check-symbiosis-db"
	snippetOffences  = connectDir + "35-check-recent-offences"
	snippetRatelimit = connectDir + "50-ratelimit"
	snippetOwn       = connectDir + "55-check-own-dnsbls"
	snippetDNSBLs    = connectDir + "60-check-dnsbls"
	snippetGreeting  = connectDir + "80-delay-greeting"
	snippetHelper    = "10-acl/11-acl-connect-helper"
	snippetState     = "10-acl/14-acl-connect-state"
	snippetHosts     = "10-acl/15-acl-connect-hosts"
	snippetHelo      = "10-acl/20-acl-check-helo/30-check-helo-name"
	snippetArgument  = "10-acl/30-acl-check-auth/03-check-auth-argument"
	snippetAuth      = "10-acl/30-acl-check-auth/05-check-auth-failures"
)

// rule begins a rule. It gives the state in force, and puts the verdict Off
// where the rule does not ask: ask tells the ports on which it does.
func (e *examiner) rule(name, snippet, stateMacro, portsMacro string) (r Rule, ask [len(Ports)]bool) {
	r = Rule{Name: name, Snippet: snippet, Evidence: []string{}}
	for i, port := range Ports {
		r.Findings[i] = Finding{Port: port, Verdict: Off}
	}
	if e.blind {
		r.set([...]bool{true, true, true}, Unknown)
		return r, ask
	}
	if !e.inForce(snippet) {
		if e.report.Active {
			r.Evidence = append(r.Evidence, "the snippet is not in the configuration in force")
		}
		return r, ask
	}
	if stateMacro != "" {
		for _, needed := range []string{snippetVariables, snippetState} {
			if !e.inForce(needed) {
				r.tell("it needs %s", needed)
				return r, ask
			}
		}
		r.State = e.state(stateMacro)
		if r.State == rules.Off {
			return r, ask
		}
	}
	for i := range ask {
		ask[i] = true
	}
	if portsMacro != "" {
		for i, a := range e.ask(askLimit, e.onPorts(portsMacro)...) {
			ask[i] = a.text == "yes"
			if a.failed() {
				r.Findings[i].Verdict = Skipped
				r.Evidence = append(r.Evidence, portsMacro+": "+a.text)
			}
		}
	}
	return r, ask
}

// state is the state in force.
func (e *examiner) state(macro string) rules.State {
	return rules.Milder(e.value(rules.StateSuite), macro, e.value(macro))
}

// set puts a verdict where the rule asks, as its state has it.
func (r *Rule) set(ask [len(Ports)]bool, v Verdict) {
	if r.State == rules.Learn {
		v = v.learning()
	}
	for i := range ask {
		if ask[i] {
			r.Findings[i].Verdict = v
		}
	}
}

func (r *Rule) tell(format string, args ...any) {
	r.Evidence = append(r.Evidence, fmt.Sprintf(format, args...))
}

func any3(b [len(Ports)]bool) bool { return b[0] || b[1] || b[2] }

// services are the names that a firewall's file may have for our ports.
func isPort(text string, port int) bool {
	switch strings.ToLower(text) {
	case strconv.Itoa(port):
		return true
	case "smtp":
		return port == 25
	case "smtps", "ssmtp", "urd", "submissions":
		return port == 465
	case "submission":
		return port == 587
	}
	return false
}

// firewall looks into every firewall's blacklist.d. What stands there is turned
// away before Exim hears of it.
func (e *examiner) firewall() Rule {
	r := Rule{Name: "firewall", Evidence: []string{}}
	for i, port := range Ports {
		r.Findings[i] = Finding{Port: port, Verdict: Pass}
	}
	for _, f := range e.Firewalls() {
		e.blocks(f, &r)
	}
	return r
}

// blocks adds what stands in one firewall's folder.
func (e *examiner) blocks(f platform.Firewall, r *Rule) {
	entries, err := firewall.Read(f.Blacklist())
	if err != nil {
		for i := range r.Findings {
			if r.Findings[i].Verdict == Pass {
				r.Findings[i].Verdict = Unknown
			}
		}
		r.tell("%v", err)
		return
	}
	book, err := blocks.Open(blocks.Path(e.Platform))
	if err != nil && !errors.Is(err, blocks.ErrDamaged) {
		r.tell("%v", err)
	}
	for _, x := range entries {
		if !x.Net.Contains(e.host) {
			continue
		}
		file := e.Inside(x.File)
		r.Firewall = append(r.Firewall, FirewallEntry{file, x.Automatic, x.Ports, x.Modified.UTC()})
		for i, port := range Ports {
			hit := x.Ports == nil
			for _, p := range x.Ports {
				hit = hit || isPort(p, port)
			}
			if hit {
				r.Findings[i].Verdict = Deny
			}
		}
		by, ports := "by hand, "+stamp(x.Modified), "all ports"
		if x.Automatic {
			by = "by the scan, " + book.Of(x).String()
			if f.Dir != e.FirewallDir { // the book is of the platform's
				by = fmt.Sprintf("by the scan, which takes it out %d days later", f.Days)
			}
		}
		if x.Ports != nil {
			ports = "ports " + strings.Join(x.Ports, ",")
		}
		r.tell("%s, %s, %s", file, ports, by)
	}
}

// stamp writes a time for people.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

// foreign notes the rules in the connect ACL that are neither ours nor the
// platform's: they are the administrator's, and not explained here. Those that
// turn hosts away are told with what they do and say.
func (e *examiner) foreign() {
	if !e.report.Active {
		return
	}
	refusing := map[string]bool{}
	for _, s := range foreign.Refusing(e.conf, e.Platform, e.macros) {
		refusing[s.Name] = true
		e.others = e.others || strings.HasPrefix(s.Name, connectDir)
		e.note("%s; it says %q; exim4 -bh %s tries it", s, s.Says, e.host)
	}
	tree := "\n# " + e.Inside(e.SnippetDir) + "/"
	for _, part := range strings.Split("\n"+string(e.conf), tree)[1:] {
		name, text, _ := strings.Cut(part, "\n")
		base, in := strings.CutPrefix(name, connectDir)
		switch {
		case !in, refusing[name], strings.Contains(text, "\n# "+e.Package+": "), base == "00-header", base == "10-accept-local", base == "90-default":
		default:
			e.note("not explained here, because it is not ours: %s; exim4 -bh %s tries it", name, e.host)
		}
	}
}

// decide follows the host through the rules on each port.
func (e *examiner) decide() {
	refusedBy := map[string]bool{}
	for i, port := range Ports {
		o := &e.report.Outcomes[i]
		*o = Outcome{Port: port, LetIn: true, How: "let in"}
		accepted := false
		for j := range e.report.Rules {
			r := &e.report.Rules[j]
			f := &r.Findings[i]
			connect := strings.HasPrefix(r.Snippet, connectDir)
			f.Reached = o.LetIn && !(accepted && connect)
			if !f.Reached {
				continue
			}
			switch {
			case f.Verdict == Accept:
				accepted = true
				o.How = "let in as a known host"
			case f.Verdict.Refuses():
				o.LetIn, o.Rule = false, r.Name
				refusedBy[r.Name] = true
				switch {
				case r.Name == "known":
					o.How = "refused: Exim cannot read a list of known hosts"
				case r.Name == "firewall":
					o.How = "no connection: the firewall"
				case r.Name == "auth":
					o.How = "greeted, but its logins are put off: " + path.Base(r.Snippet)
				case f.Verdict == Defer:
					o.How = "put off: " + path.Base(r.Snippet)
				default:
					o.How = "refused: " + path.Base(r.Snippet)
				}
			case f.Verdict == Delay:
				o.How += ", after a delay"
			case f.Verdict == Unknown && e.blind:
				o.How = "not known"
			case f.Verdict == Unknown:
				o.How = "let in, as far as can be told here"
			}
		}
		if o.LetIn && !accepted && e.others {
			o.How += " by our rules; another's may refuse it"
		}
	}
	if len(refusedBy) == 0 {
		return
	}
	byHand := false
	for _, x := range e.report.Rules[0].Firewall {
		command := "rm '" + x.File + "'"
		if x.Automatic {
			command = e.Name + "-connect-db release " + e.host.String()
		}
		if refusedBy["firewall"] && !slices.Contains(e.report.Commands, command) {
			e.report.Commands = append(e.report.Commands, command)
			byHand = byHand || !x.Automatic
		}
	}
	if byHand {
		e.note("the firewall follows a change of blacklist.d at its next reload, within the hour")
	}
	if refusedBy["known"] {
		e.note("as long as Exim cannot read a list of known hosts, no list of known hosts helps")
		return
	}
	// Behind the firewall the rules may refuse the host as well.
	rules := false
	for _, r := range e.report.Rules[1:] {
		for _, f := range r.Findings {
			rules = rules || f.Verdict.Refuses()
		}
	}
	if !rules || e.known {
		return
	}
	if !e.inForce(snippetKnown) {
		e.note("%s is not in force, so no list of known hosts helps", snippetKnown)
		for _, r := range e.report.Rules {
			if (r.History != nil || r.Name == "offences") && refusedBy[r.Name] {
				e.report.Commands = append(e.report.Commands, e.Name+"-connect-db delete "+e.host.String())
			}
		}
		return
	}
	e.report.Commands = append(e.report.Commands, e.letIn(e.value("ETC_DIR")+"/exim4/whitelist_connect_hosts"))
}
