package door

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/clock"
	"symbiosis-connect-acl/internal/exim"
	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/rules"
)

// The snippets of the two rules that are tried, and what they say when they act.
const (
	historySnippet = "10-acl/10-acl-check-connect/30-check-symbiosis-db"
	heloSnippet    = "10-acl/20-acl-check-helo/30-check-helo-name"

	historyWords = "Blacklisted: Denied access - history of unwanted activity"
	heloWords    = "HELO name refused"
)

// BotName is a HELO name that the package's own list refuses.
const BotName = "ylmf-pc"

// An Act is what became of a guilty host.
type Act struct {
	Rule  string      // "history" or "helo"
	State rules.State // what the administrator wants of the rule
	Host  string      // in words
	Acted bool        // it refused the host or, where it learns, would have
	// Untried says why nothing could be found out, "" where it was.
	Untried string
	Session exim.Session
}

func (a Act) String() string {
	switch {
	case a.Untried != "":
		return "the " + a.Rule + " rule was not tried: " + a.Untried
	case !a.Acted && a.State == rules.Learn:
		return fmt.Sprintf("the %s rule says nothing of %s, %s", a.Rule, a.Host, a.Session)
	case !a.Acted:
		return fmt.Sprintf("the %s rule lets %s in, %s", a.Rule, a.Host, a.Session)
	case a.State == rules.Learn:
		return fmt.Sprintf("%s would be refused, and is let in while the %s rule learns", a.Host, a.Rule)
	}
	return fmt.Sprintf("%s is refused on port %d", a.Host, a.Session.Port)
}

// Failed reports whether the rule does not do what the administrator wants of it.
func (a Act) Failed() bool { return a.Untried == "" && !a.Acted }

// Acts imagines guilty hosts at the door of the configuration at conf, which has
// these macros: one with a history, planted in a database of its own in the
// directory work, and one that says a bot's name at HELO. What the administrator
// has switched off is not tried.
func Acts(ctx context.Context, on platform.Platform, conf, work string, macros map[string]string) ([]Act, error) {
	x := exim.Installation{Platform: on}
	text, err := os.ReadFile(conf)
	if err != nil {
		return nil, err
	}
	p, err := x.NewProof(ctx, conf, work)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	guilty, innocent, ok := strangers(ctx, p, macros)
	if !ok {
		return []Act{{Rule: "history", Untried: "every host is on a list of known hosts"}, {Rule: "helo", Untried: "every host is on a list of known hosts"}}, nil
	}
	user, err := x.User(ctx, conf)
	if err != nil {
		return nil, err
	}
	count := int64(1)
	if n, err := strconv.ParseInt(strings.TrimSpace(macros[rules.Threshold]), 10, 64); err == nil {
		count = n + 1
	}
	dir, err := os.MkdirTemp(work, "guilty-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	db := filepath.Join(dir, "hosts", "hosts.db")
	if _, err := hosts.Create(ctx, db, user.UID, user.GID, false); err != nil {
		return nil, err
	}
	now := clock.Now().Unix()
	if err := hosts.With(db, func(d *hosts.DB) error {
		_, err := d.SetHistory(ctx, map[address.Key]hosts.History{address.FromAddr(guilty): {Count: count, Last: now, Passed: now}})
		return err
	}); err != nil {
		return nil, err
	}
	p.Define(rules.HostsDatabase, x.Inside(db))

	var history, helo Act
	var wg sync.WaitGroup
	wg.Go(func() {
		history = try(text, on, "history", historySnippet, rules.StateHistory, rules.PortsHistory, macros)
		history.Host = fmt.Sprintf("a host with a history (count %d, threshold %s)", count, macros[rules.Threshold])
		if form, _ := rules.FormOf(rules.Threshold); !form.Fits(macros[rules.Threshold]) {
			history.Untried = fmt.Sprintf("%s is %q, which is not %s", rules.Threshold, macros[rules.Threshold], form.Want)
		}
		if history.Untried == "" {
			history.ask(ctx, p, guilty, "mail.example.net", historyWords, "would deny: history")
		}
	})
	wg.Go(func() {
		helo = try(text, on, "helo", heloSnippet, rules.StateHelo, "", macros)
		helo.Host = "a host that says " + BotName + " at HELO"
		if helo.Untried == "" {
			helo.ask(ctx, p, innocent, BotName, heloWords, "would deny: HELO")
		}
	})
	wg.Wait()
	return []Act{history, helo}, nil
}

// try tells whether a rule is to be tried, and on which port.
func try(conf []byte, on platform.Platform, rule, snippet, state, ports string, macros map[string]string) Act {
	a := Act{Rule: rule, State: rules.Milder(macros[rules.StateSuite], state, macros[state])}
	a.Session.Port = rules.Ports[0]
	if ports != "" {
		a.Session.Port = 0
		for _, port := range rules.Ports {
			if a.Session.Port == 0 && slices.Contains(exim.Items(macros[ports]), strconv.Itoa(port)) {
				a.Session.Port = port
			}
		}
	}
	mark := "# " + exim.Installation{Platform: on}.Inside(filepath.Join(on.SnippetDir, snippet)) + "\n"
	switch {
	case !strings.Contains(string(conf), mark):
		a.Untried = snippet + " is not in the configuration"
	case a.State == rules.Off:
		a.Untried = "it is off"
	case a.Session.Port == 0:
		a.Untried = ports + " names no port of Exim's"
	}
	return a
}

// ask imagines the host. words are the rule's own in its refusal, learning those
// that it logs when it only learns.
func (a *Act) ask(ctx context.Context, p *exim.Proof, host netip.Addr, helo, words, learning string) {
	a.Session = p.GreetAs(ctx, host, a.Session.Port, helo, Deadline)
	said := strings.Join(append(a.Session.Log, a.Session.Greeting, a.Session.EHLO), "\n")
	if a.State == rules.Learn {
		a.Acted = strings.Contains(said, learning)
	} else {
		a.Acted = strings.Contains(said, words)
	}
	if !a.Acted && !a.Session.OK() && a.Session.Err == nil {
		a.Untried = "another rule turned the host away first: " + a.Session.String()
	}
}

// strangers gives two hosts that are on no list of known hosts.
func strangers(ctx context.Context, p *exim.Proof, macros map[string]string) (guilty, innocent netip.Addr, ok bool) {
	var all []netip.Addr
	for _, pair := range exim.Innocent() {
		said, err := p.Expand(ctx, "${if match_ip{"+pair[0].String()+"}{+whitelisted_hosts_by_ip : +whitelist_connection_check : +relay_from_hosts : +private_addresses}{known}{stranger}}", 10*time.Second)
		if err != nil || said != "known" {
			all = append(all, pair[0])
		}
	}
	if len(all) < 2 {
		return guilty, innocent, false
	}
	return all[0], all[1], true
}

var macroName = regexp.MustCompile(`\b(?:CONNECT|CHECK|SYMBIOSIS)_[A-Z0-9_]+\b`)

// Undefined lists the macros that our snippets in a configuration use and that
// are not defined in it. Exim leaves the name of such a macro as it stands, and
// the rule does nothing, or worse.
func Undefined(conf []byte, on platform.Platform, macros map[string]string) (missing []string) {
	tree := "# " + exim.Installation{Platform: on}.Inside(on.SnippetDir) + "/"
	ours, seen := false, map[string]bool{}
	for _, line := range strings.Split(string(exim.Active(conf, macros)), "\n") {
		text := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(text, tree):
			ours = false
		case strings.HasPrefix(text, "# "+on.Package+": "):
			ours = true
		case !ours || text == "" || text[0] == '#' || text[0] == '.':
		default:
			if _, value, _, ok := (exim.Line{Text: text}).Definition(); ok {
				text = value
			}
			for _, name := range macroName.FindAllString(text, -1) {
				if _, defined := macros[name]; !defined && !seen[name] {
					seen[name] = true
					missing = append(missing, name)
				}
			}
		}
	}
	return missing
}
