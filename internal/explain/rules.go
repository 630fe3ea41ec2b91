package explain

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/dnsbl"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/rules"
	"symbiosis-connect-acl/internal/words"
)

// askReverse makes the query of 21-check-sender-host-name.
func (e *examiner) askReverse() answer {
	return e.askExim(reverseLimit, "${sg{${lookup dnsdb{defer_strict,ptr="+e.host.String()+"}{$value}{}}}{\\N\\s+\\N}{ }}")[0]
}

func (e *examiner) reverse(name answer) Rule {
	r, ask := e.rule("reverse", snippetReverse, rules.StateReverse, rules.PortsReverse)
	switch {
	case name.failed():
		r.set(ask, Pass) // only a clear "there is no such name" counts
		r.tell("reverse name unknown: %s", name.text)
	case name.text == "":
		r.set(ask, Deny)
		r.tell("no reverse name")
	default:
		r.set(ask, Pass)
		r.Reverse = strings.Fields(name.text)
		r.tell("reverse name %s", strings.Join(r.Reverse, ", "))
	}
	return r
}

// history compares what the host database has of the firewall's counts. The
// rows behind it are the firewall's.
func (e *examiner) history() Rule {
	r, ask := e.rule("history", snippetHistory, rules.StateHistory, rules.PortsHistory)
	h := &History{Count: e.row.History, Threshold: strings.TrimSpace(e.value(rules.Threshold))}
	rows, err := blacklist.Rows(e.ctx, filepath.Join(e.Root, e.database()), e.key)
	var sum int64
	for _, row := range rows {
		sum = blacklist.Plus(sum, row.Count)
	}
	if len(rows) > 0 {
		h.Rows, h.First, h.Last = len(rows), rows[0].Time(), rows[len(rows)-1].Time()
	}
	if e.noRow != "" {
		r.set(ask, e.forgets())
		r.tell("history not known: %s", e.noRow)
		h.Count = sum
	}
	r.History = h
	text := fmt.Sprintf("count %d", h.Count)
	if h.Rows > 0 {
		text += fmt.Sprintf(" in %s, first %s, last %s", words.Plural(h.Rows, "row"), stamp(h.First), stamp(h.Last))
	}
	if err != nil {
		text += fmt.Sprintf(" (the firewall's rows cannot be read: %v)", err)
	}
	if e.inForce(snippetHistory) {
		text += fmt.Sprintf("; refused above %s", h.Threshold)
	}
	r.tell("%s", text)
	if err == nil && sum != h.Count {
		r.tell("the firewall has counted %d meanwhile: %s-connect-db sync brings it over", sum, e.Name)
	}
	if e.blind || e.noRow != "" {
		return r
	}
	// As the rule does, look at the threshold only when there is a count.
	if h.Count <= 0 {
		r.set(ask, Pass)
		return r
	}
	if valid := e.ask(askLimit, e.thresholdValid())[0]; valid.text != "yes" {
		r.set(ask, Skipped)
		r.tell("%s", unfit(rules.Threshold, h.Threshold))
		return r
	}
	if threshold, err := strconv.ParseInt(h.Threshold, 10, 64); err == nil && h.Count > threshold {
		r.set(ask, Deny)
		e.passOver(&r, ask)
	} else {
		r.set(ask, Pass)
	}
	return r
}

// passOver lets a host in whatever has been counted, as the history rule does: on
// parole, a sender on port 25, the host of a user on the users' ports.
func (e *examiner) passOver(r *Rule, ask [len(Ports)]bool) {
	p := hosts.PolicyOf(e.macros)
	s := e.row.Standing(p, clock.Now())
	if _, has := e.macros[rules.Parole]; has {
		if s.Parole {
			r.set(ask, Pass)
			r.tell("passed over, because it is on parole: its last offence was %s. Its next one refuses it again", stamp(e.row.LastOffence()))
			return
		}
		if most := hosts.SenderFactor * p.Threshold; s.Sender && e.row.History <= most {
			on25 := ask
			for i, port := range Ports {
				on25[i] = ask[i] && port == 25
			}
			if any3(on25) {
				r.set(on25, Pass)
				r.tell("passed over on port 25, because it is a sender: up to %d", most)
			}
		}
	}
	ask = users(ask)
	switch {
	case !any3(ask):
	case s.User:
		r.set(ask, Pass)
		r.tell("passed over on the users' ports, because somebody has logged in from there, last %s", stamp(e.row.Login))
	case within(e.lost, mourning):
		r.set(ask, Pass)
		r.tell("passed over on the users' ports, because the host database was lost, %s: for a week nobody knows who is a user", stamp(e.lost))
	}
}

// users gives those of the ports that are the users'.
func users(ask [len(Ports)]bool) [len(Ports)]bool {
	for i, port := range Ports {
		ask[i] = ask[i] && port != 25
	}
	return ask
}

// dnsbls asks the lists of each port as symbiosis-connect-check dnsbl does, but
// waits for every one of them.
func (e *examiner) dnsbls() Rule {
	r, ask := e.rule("dnsbl", snippetDNSBLs, rules.StateDNSBLs, "")
	if !any3(ask) {
		return r
	}
	setting := map[int]string{}
	var remembers [len(Ports)]bool
	for i, a := range e.ask(askLimit, e.onPorts(rules.PortsDNSBLs)...) {
		switch a.text {
		case "yes":
			setting[i], remembers[i] = e.value(rules.ConnectLists), true
		case "no":
			setting[i] = e.value(rules.SubmissionLists)
		}
	}
	helper := filepath.Join(e.Root, "usr/sbin", e.Name+"-connect-check")
	st, err := os.Stat(helper)
	for i := range Ports {
		lists := strings.TrimSpace(setting[i])
		if lists == "" || i > 0 && lists == strings.TrimSpace(setting[0]) || i > 1 && lists == strings.TrimSpace(setting[1]) {
			continue
		}
		var on, spares [len(Ports)]bool
		round := Round{Lists: []List{}}
		for j, port := range Ports {
			if strings.TrimSpace(setting[j]) == lists {
				on[j], spares[j] = true, remembers[j]
				round.Ports = append(round.Ports, port)
			}
		}
		var verdict Verdict
		switch {
		case !e.inForce(snippetHelper):
			verdict, round.Problem = Skipped, snippetHelper+" is not in the configuration in force"
		case err != nil:
			verdict, round.Problem = Skipped, err.Error()
		case !st.Mode().IsRegular() || st.Mode().Perm()&0o111 == 0:
			verdict, round.Problem = Skipped, e.Inside(helper)+" is not a program"
		default:
			verdict = e.round(&round, lists)
		}
		r.set(on, verdict)
		passed := any3(spares) && within(e.row.ListsPassed, time.Duration(rules.Seconds(e.value(rules.DNSBLMemory)))*time.Second)
		if passed {
			verdict = Pass
			r.set(spares, verdict)
		}
		r.DNSBL = append(r.DNSBL, round)
		e.tellRound(&r, round, verdict)
		if passed {
			r.tell("Exim does not ask: the lists had nothing against it, %s, which holds for %s", stamp(e.row.ListsPassed), e.value(rules.DNSBLMemory))
		}
	}
	return r
}

func (e *examiner) round(out *Round, setting string) Verdict {
	lists, err := dnsbl.ParseLists(setting)
	if err != nil {
		out.Problem = err.Error()
		return Skipped
	}
	threshold, err := strconv.Atoi(strings.TrimSpace(e.value(rules.DNSBLThreshold)))
	if err != nil || threshold < 1 {
		out.Problem = unfit(rules.DNSBLThreshold, e.value(rules.DNSBLThreshold))
		return Skipped
	}
	timeout, err := time.ParseDuration(strings.TrimSpace(e.value(rules.DNSBLTimeout)))
	if err != nil || timeout <= 0 {
		out.Problem = unfit(rules.DNSBLTimeout, e.value(rules.DNSBLTimeout))
		return Skipped
	}
	result, err := dnsbl.Check(e.ctx, e.host, lists, dnsbl.Options{Threshold: threshold, Timeout: timeout,
		ResolvConf: filepath.Join(e.Root, dnsbl.DefaultResolvConf), All: true})
	if err != nil {
		out.Problem = err.Error()
		return Skipped
	}
	out.Score, out.Threshold = result.Score, result.Threshold
	for _, a := range result.Answers {
		l := List{List: a.List.DisplayName(), Status: a.Status.String(), Weight: a.List.Weight, Text: a.Text}
		if a.Code.IsValid() {
			l.Code = a.Code.String()
		}
		if a.Failure != nil {
			l.Problem = a.Failure.Error()
		}
		out.Lists = append(out.Lists, l)
	}
	if result.Deny {
		return Deny
	}
	return Pass
}

func (e *examiner) tellRound(r *Rule, round Round, verdict Verdict) {
	var ports []string
	for _, p := range round.Ports {
		ports = append(ports, strconv.Itoa(p))
	}
	on := "on " + strings.Join(ports, ", ")
	if round.Problem != "" {
		r.tell("%s: not asked: %s", on, round.Problem)
		return
	}
	spared := ""
	if verdict == Pass && round.Score >= round.Threshold {
		spared = ", but a list of good hosts that may have it failed"
	}
	r.tell("%s: score %d; refused from %d%s", on, round.Score, round.Threshold, spared)
	var not []string
	for _, l := range round.Lists {
		switch {
		case l.Problem != "":
			r.tell("%s: %s", l.List, l.Problem)
		case l.Status == dnsbl.Listed.String():
			text := ""
			if l.Text != "" {
				text = ", " + l.Text
			}
			r.tell("%s: %s, weight %+d%s", l.List, l.Code, l.Weight, text)
		case l.Status == dnsbl.NotListed.String():
			not = append(not, l.List)
		}
	}
	if len(not) > 0 {
		r.tell("not listed at %s", strings.Join(not, ", "))
	}
}

func (e *examiner) greeting() Rule {
	r, ask := e.rule("greeting", snippetGreeting, rules.StateGreeting, rules.PortsGreeting)
	if !any3(ask) {
		return r
	}
	seconds := strings.TrimSpace(e.value(rules.GreetingDelay))
	on := e.ask(askLimit, e.delayValid())[0]
	switch {
	case seconds == "0":
		r.set(ask, Off)
		r.tell("CONNECT_GREETING_DELAY is 0: nobody waits")
		return r
	case on.text != "yes":
		r.set(ask, Skipped)
		r.tell("%s", unfit(rules.GreetingDelay, seconds))
		return r
	}
	switch {
	case e.hidden:
		r.set(ask, Unknown)
		r.tell("unknown whether it has been here: %s", e.noRow)
	case clock.Since(e.row.Greeted) < month:
		r.set(ask, Pass)
		r.tell("it has waited before, last %s", stamp(e.row.Greeted))
	default:
		r.set(ask, Delay)
		r.tell("this server does not know it: greeted after %s s", seconds)
	}
	return r
}

func (e *examiner) helo() Rule {
	r, ask := e.rule("helo", snippetHelo, rules.StateHelo, "")
	r.set(ask, Depends)
	if any3(ask) {
		r.tell("%s bots' names, and names with brackets or quotation marks", refuses(r.State))
	}
	return r
}

func (e *examiner) authArgument() Rule {
	r, ask := e.rule("auth-argument", snippetArgument, rules.StateAuth, "")
	r.set(ask, Depends)
	if any3(ask) {
		r.tell("%s malformed AUTH commands", refuses(r.State))
	}
	return r
}

func refuses(state rules.State) string {
	if state == rules.Learn {
		return "would refuse"
	}
	return "refuses"
}

// auth looks at the guesses of the host. It runs after accepted,
// because known hosts are not counted.
func (e *examiner) auth() Rule {
	r, ask := e.rule("auth", snippetAuth, rules.StateAuth, "")
	if !any3(ask) {
		return r
	}
	failures, leniency, period := e.value(rules.AuthFailures), e.value(rules.AuthLeniency), e.value(rules.AuthPeriod)
	valid := e.ask(askLimit, e.authValid())[0]
	switch {
	case e.known:
		r.set(ask, Off)
		r.tell("a known host's failed logins are not counted")
		return r
	case !e.inForce(snippetKnown):
		r.set(ask, Off)
		r.tell("it needs %s", snippetKnown)
		return r
	case valid.text != "yes":
		r.set(ask, Skipped)
		r.tell("CONNECT_AUTH_FAILURES, _LENIENCY, _PERIOD and CONNECT_ACCOUNT_HOSTS are %q, %q, %q and %q: not two whole numbers from 1 to 999999,"+
			" a period such as 1h and another number", failures, leniency, period, e.value(rules.AccountHosts))
		return r
	case e.noRow != "":
		r.set(ask, e.forgets())
		r.tell("failed logins unknown: %s", e.noRow)
		return r
	}
	limit, why := failures, ""
	if clock.Since(e.row.Login) < month {
		limit, why = leniency, ", because somebody has logged in from there, last "+stamp(e.row.Login)
	}
	most, _ := strconv.ParseInt(limit, 10, 64)
	rate := Rate{Limit: float64(most), Period: period}
	text := fmt.Sprintf("no guesses remembered; %s / %s allowed%s", limit, period, why)
	if clock.Since(e.row.FailuresSince).Abs() < time.Duration(rules.Seconds(period))*time.Second {
		rate.Now, rate.Last = float64(e.row.Failures), e.row.FailuresSince
		text = fmt.Sprintf("different guesses: %d, the last at %s; %s / %s allowed%s", e.row.Failures, stamp(rate.Last), limit, period, why)
	}
	rate.Next = rate.Now
	r.Rate = &rate
	r.tell("%s", text)
	s := e.row.Standing(hosts.PolicyOf(e.macros), clock.Now())
	switch {
	case rate.Now >= rate.Limit, s.Guesser && !s.User:
		r.set(ask, Defer)
	case s.Guesser:
		r.set(ask, Depends)
	default:
		r.set(ask, Pass)
	}
	if until := stamp(e.row.Guesser.Add(hosts.Day)); s.Guesser && s.User {
		r.tell("a guesser until %s: names that have not logged in from there before are refused", until)
	} else if s.Guesser {
		r.tell("a guesser until %s: its logins are refused", until)
	}
	return r
}
