package explain

import (
	"time"

	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/rules"
)

// Ports are the ports that a report is about, in its order.
var Ports = rules.Ports

// A Verdict is what a rule says about the host on one port.
type Verdict string

// The verdicts.
const (
	Accept     Verdict = "accept"      // lets the host past all later connect rules
	Pass       Verdict = "pass"        // has nothing against it
	Deny       Verdict = "deny"        // refuses it
	Defer      Verdict = "defer"       // puts it off
	Delay      Verdict = "delay"       // greets it late
	WouldDeny  Verdict = "would deny"  // only learns: logs what it would do
	WouldDefer Verdict = "would defer" // likewise
	WouldDelay Verdict = "would delay" // likewise
	Off        Verdict = "off"         // does not ask: switched off, not on this port, or not in the configuration
	Skipped    Verdict = "skipped"     // could not ask; the host goes on
	Depends    Verdict = "depends"     // on what the host will say after the greeting
	Unknown    Verdict = "unknown"     // could not be found out here
)

// Refuses reports whether the verdict keeps the host out.
func (v Verdict) Refuses() bool { return v == Deny || v == Defer }

func (v Verdict) learning() Verdict {
	switch v {
	case Deny:
		return WouldDeny
	case Defer:
		return WouldDefer
	case Delay:
		return WouldDelay
	}
	return v
}

// A Finding is a rule's verdict on one port.
type Finding struct {
	Port    int     `json:"port"`
	Verdict Verdict `json:"verdict"`
	Reached bool    `json:"reached"` // false when an earlier rule has decided
}

// A Rule is one rule with its verdicts, which are in the order of Ports.
type Rule struct {
	Name     string              `json:"name"` // such as history; firewall is what stands before Exim
	Snippet  string              `json:"snippet,omitempty"`
	State    rules.State         `json:"state"` // in force: enforce, learn, off or measure; "" when it has none
	Findings [len(Ports)]Finding `json:"verdicts"`
	Evidence []string            `json:"evidence"`
	Firewall []FirewallEntry     `json:"firewall,omitempty"`
	Known    []KnownBy           `json:"known_by,omitempty"`
	History  *History            `json:"history,omitempty"`
	Rate     *Rate               `json:"rate,omitempty"`
	DNSBL    []Round             `json:"dnsbl,omitempty"`
	Reverse  []string            `json:"reverse_names,omitempty"`
}

// A FirewallEntry is a file of the firewall's blacklist.d about the host.
type FirewallEntry struct {
	File      string    `json:"file"`
	Automatic bool      `json:"automatic"` // written by the platform's scan
	Ports     []string  `json:"ports"`     // null means all
	Since     time.Time `json:"since"`
}

// A KnownBy is a host list that has the host.
type KnownBy struct {
	List string `json:"list"`           // Exim's name of it
	File string `json:"file,omitempty"` // "" when the configuration itself names the host
	Line int    `json:"line,omitempty"`
	Text string `json:"text,omitempty"` // the line
}

// A History is what the count database has about the host.
type History struct {
	Count     int64     `json:"count"`
	Threshold string    `json:"threshold"` // a count above it is refused
	Rows      int       `json:"rows"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
}

// A Rate is an average that Exim remembers about the host, or its number of
// different guesses.
type Rate struct {
	Now    float64   `json:"now"`  // events per period at this moment
	Next   float64   `json:"next"` // with the event that is asked about
	Limit  float64   `json:"limit"`
	Period string    `json:"period"`
	Last   time.Time `json:"last"` // the last event; zero when there is none
}

// A Round is what the DNS lists of some ports say.
type Round struct {
	Ports     []int  `json:"ports"`
	Score     int    `json:"score"`
	Threshold int    `json:"threshold"`
	Problem   string `json:"problem,omitempty"` // why no list was asked
	Lists     []List `json:"lists"`
}

// A List is what one DNS list says.
type List struct {
	List    string `json:"list"` // its zone, with any key hidden
	Status  string `json:"status"`
	Weight  int    `json:"weight"`
	Code    string `json:"code,omitempty"`
	Text    string `json:"text,omitempty"`
	Problem string `json:"problem,omitempty"`
}

// An Outcome is what becomes of the host on one port.
type Outcome struct {
	Port  int    `json:"port"`
	LetIn bool   `json:"let_in"`         // it is greeted, and its logins are looked at
	Rule  string `json:"rule,omitempty"` // the first rule that refuses it
	How   string `json:"how"`            // in words
}

// A Report is the whole answer.
type Report struct {
	Address  string              `json:"address"`
	Key      string              `json:"key"` // under which the host is counted
	Platform string              `json:"platform"`
	Exim     string              `json:"exim"`
	Active   bool                `json:"active"`   // whether the rules are in force at all
	Complete bool                `json:"complete"` // false when the settings in force could not be read
	Outcomes [len(Ports)]Outcome `json:"ports"`
	Standing []hosts.Remark      `json:"standing"` // what it has earned
	Rules    []Rule              `json:"rules"`
	Commands []string            `json:"let_in_commands"` // empty when nothing refuses the host
	Notes    []string            `json:"notes"`
}

// LetIn reports whether the host is let in on every port.
func (r *Report) LetIn() bool {
	for _, o := range r.Outcomes {
		if !o.LetIn {
			return false
		}
	}
	return true
}
