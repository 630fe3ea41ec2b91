// Package report tells what happened at the door in a period: whom the rules
// turned away, whether anybody innocent was among them, and which number to
// change. It adds up Exim's log (internal/eximlog) and what hosts.db knows, and
// writes the result as text, JSON, a page or metrics.
package report

import (
	"net/netip"
	"time"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/dnsbl"
	"symbiosis-connect-acl/internal/firewall"
	"symbiosis-connect-acl/internal/hosts"
)

// A Report is what is told, in its order.
type Report struct {
	Server   string    `json:"server"`
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until"`
	Made     time.Time `json:"made"`
	First    time.Time `json:"first_event"` // zero when there was none
	Last     time.Time `json:"last_event"`
	Logs     []string  `json:"logs"`
	Problems []string  `json:"problems"` // what could not be read
	Totals   Totals    `json:"totals"`

	Worry Worry `json:"worry"`

	Rules    []RuleCount  `json:"rules"`
	Days     []Day        `json:"days"`
	Ports    []PortCount  `json:"ports"`
	Hours    [7][24]int64 `json:"hours"` // refused or put off; Monday first, local time
	Learn    Learn        `json:"learn"`
	Networks []Network    `json:"worst_networks"`
	Accounts *Accounts    `json:"accounts,omitempty"` // nil where names are not wanted
	Guesses  Guesses      `json:"guesses"`
	Reaction Reaction     `json:"reaction"`
	Lists    []ListCount  `json:"lists"`
	Asked    int64        `json:"asked_hosts"` // that the lists were asked about again, for this report
	Rates    Rates        `json:"rates"`
	Standing Standing     `json:"standing"`
	Advice   []Advice     `json:"advice"`

	Databases []Database `json:"databases"`
	LastScan  time.Time  `json:"last_scan"` // when the firewall's database was last written; zero where there is none
	Blocked   Blocked    `json:"firewall"`
}

// Totals are of the whole period.
type Totals struct {
	Refused      int64 `json:"refused"`
	PutOff       int64 `json:"put_off"`
	Would        int64 `json:"would"` // by rules in learn mode
	Delays       int64 `json:"would_delay"`
	Spared       int64 `json:"spared"` // proven hosts that a history did not keep out
	FailedLogins int64 `json:"failed_logins"`
	Skipped      int64 `json:"skipped_checks"`
	Hosts        int64 `json:"hosts"` // that were refused or put off
}

// Worry is what to look at first.
type Worry struct {
	Hosts   Some[HostLine] `json:"hosts"`         // refused or put off, and something speaks for them
	Users   Some[HostLine] `json:"users_put_off"` // users' hosts that met 454
	Skipped []Skipped      `json:"skipped"`
	Dead    []DeadList     `json:"dead_lists"`
}

// Some are the first of many.
type Some[T any] struct {
	All   int64 `json:"all"`
	First []T   `json:"first"`
}

// A HostLine is one host.
type HostLine struct {
	Host      string    `json:"host"`
	Refused   int64     `json:"refused"`
	PutOff    int64     `json:"put_off"`
	Would     int64     `json:"would"`
	Rules     []string  `json:"rules"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	Delivered int64     `json:"delivered"`
	For       []string  `json:"for"` // what speaks for it
	Command   string    `json:"command"`
}

// Skipped is one reason for which a check was not made.
type Skipped struct {
	Check   string    `json:"check"`
	Reason  string    `json:"reason"`
	Times   int64     `json:"times"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	Command string    `json:"command"`
}

// A DeadList is a DNS list that gave no answer.
type DeadList struct {
	List    string    `json:"list"`
	Times   int64     `json:"times"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	Command string    `json:"command"`
}

// Counts are numbers of refusals.
type Counts struct {
	Refused int64 `json:"refused"`
	PutOff  int64 `json:"put_off"`
	Would   int64 `json:"would"`
	Delays  int64 `json:"would_delay"`
}

func (c *Counts) add(d Counts) {
	c.Refused, c.PutOff, c.Would, c.Delays = c.Refused+d.Refused, c.PutOff+d.PutOff, c.Would+d.Would, c.Delays+d.Delays
}

// Stopped is how often a host was refused or put off.
func (c Counts) Stopped() int64 { return c.Refused + c.PutOff }

// A RuleCount is one rule's part.
type RuleCount struct {
	Rule string `json:"rule"`
	Counts
}

// A PortCount is one port's part; 0 is what the log does not say.
type PortCount struct {
	Port int `json:"port"`
	Counts
}

// A Day is one day's part, by local time.
type Day struct {
	Day   string `json:"day"`
	Total Counts `json:"total"`
	Rules []Cell `json:"rules"`
}

// A Cell is what a rule did on a port.
type Cell struct {
	Rule string `json:"rule"`
	Port int    `json:"port"`
	Counts
}

// Learn is what rules in learn mode would have done.
type Learn struct {
	Hosts     int64          `json:"hosts"`
	Delivered Some[HostLine] `json:"delivered"` // of them, those whose mail was accepted
}

// A Network is a /24 or /48.
type Network struct {
	Net     string `json:"net"`
	Refused int64  `json:"refused"` // or put off
	Hosts   int64  `json:"hosts"`
}

// Accounts are those under attack.
type Accounts struct {
	Worst   []Account `json:"worst"`
	Known   int64     `json:"known"`
	AtLeast bool      `json:"at_least"` // there were more than are counted
}

// An Account is one name that was tried.
type Account struct {
	Name  string `json:"name"`
	Tries int64  `json:"tries"`
	Hosts int64  `json:"hosts"`
}

// Guesses are failed logins of hosts that were refused for them, or for their
// history, before that happened.
type Guesses struct {
	Hosts     int64 `json:"hosts"` // that failed to log in and were then refused
	Before    int64 `json:"before"`
	Median    int64 `json:"median"`
	Most      int64 `json:"most"`
	Unstopped int64 `json:"unstopped_hosts"` // failed to log in, and met no refusal for it
	Their     int64 `json:"unstopped_guesses"`
}

// Reaction is the time from a host's first offence in the log to its first
// refusal for what it had done, in seconds.
type Reaction struct {
	Hosts   int64 `json:"hosts"`
	Median  int64 `json:"median_seconds"`
	Nine    int64 `json:"p90_seconds"` // of nine hosts in ten
	Longest int64 `json:"longest_seconds"`
}

// A ListCount is one DNS list. The log names the list that decided, and no other:
// the round ends when the sum is reached. So what the lists agree on is asked
// again, of those hosts that they refused.
type ListCount struct {
	List    string `json:"list"`
	Refused int64  `json:"refused"`
	Would   int64  `json:"would"`
	Failed  int64  `json:"failed"`
	Named   int64  `json:"named"` // of the hosts that were asked about
	Alone   int64  `json:"alone"` // of them, those that no other list names
}

// Rates are the highest rates of hosts, as the rate rule counts.
type Rates struct {
	Limit    float64  `json:"limit"` // in force
	Period   string   `json:"period"`
	Measured bool     `json:"measured"` // from the rate rule; otherwise from the messages of each host
	Highest  float64  `json:"highest_proven"`
	Buckets  []Bucket `json:"buckets"`
}

// A Bucket is how many hosts have a highest rate over From and up to To.
type Bucket struct {
	From   float64 `json:"from"`
	To     float64 `json:"to"`
	Proven int64   `json:"proven"`
	Others int64   `json:"others"`
}

// Standing is how many hosts of hosts.db there are of each kind.
type Standing struct {
	Hosts     int64 `json:"hosts"`
	Users     int64 `json:"users"`
	Senders   int64 `json:"senders"`
	Guessers  int64 `json:"guessers"`
	Offenders int64 `json:"offenders"`
	Parole    int64 `json:"parole"`
	Highest   int64 `json:"highest_proven_history"`
	Needed    int64 `json:"lowest_threshold"` // that lets all proven hosts in; for a sender it counts tenfold
	Over      int64 `json:"proven_over_threshold"`
	Threshold int64 `json:"threshold"`

	youngest time.Duration // of proven hosts over the threshold: since their last offence
}

// Advice is one number to change, or why not.
type Advice struct {
	About string `json:"about"`
	Text  string `json:"text"`
	Line  string `json:"line,omitempty"` // for 22-connect-check-local
}

// A Database is one file.
type Database struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// Blocked is what stands in blacklist.d.
type Blocked struct {
	Automatic int64 `json:"automatic"`
	Manual    int64 `json:"manual"`
}

// Options are what a report is made from.
type Options struct {
	Server       string
	Since, Until time.Time
	Now          time.Time
	Names        bool                                    // whether names of accounts are wanted
	Policy       hosts.Policy                            // in force
	Limit        float64                                 // the rate limit in force
	Period       string                                  // its period
	Lists        []dnsbl.List                            // that are asked on port 25
	Ask          func([]address.Key) ([][]string, error) // which lists name a host; nil asks nobody
	LocalSnippet string                                  // where macros are set
	Listed       func(netip.Prefix) string               // names the white list that has a host, "" for none; may be nil
	Commands     string                                  // our commands begin with it: symbiosis-connect

	Hosts     string   // hosts.db; "" for none
	Firewalls []string // the firewalls' databases
	Blacklist firewall.Entries
}
