// Package rules is the vocabulary of the connect rules: the names of their
// macros, the form of each value, the states and the ports. What the snippets
// say in Exim's words stands here once in Go, and a test compares the two.
package rules

import "strings"

// Marker is the macro that the package's marker file defines: where it is
// among the macros in force, the rules are.
const Marker = "SYMBIOSIS_CONNECT_ACL"

// The macros of 00-main/21-connect-check: what each rule does, and on which
// ports.
const (
	StateSuite     = "CONNECT_STATE_SUITE" // of all rules
	StateHistory   = "CONNECT_STATE_HISTORY"
	StateRatelimit = "CONNECT_STATE_RATELIMIT"
	StateDNSBLs    = "CONNECT_STATE_DNSBLS"
	StateGreeting  = "CONNECT_STATE_GREETING"
	StateHelo      = "CONNECT_STATE_HELO"
	StateAuth      = "CONNECT_STATE_AUTH"
	StateReverse   = "CONNECT_STATE_REVERSE"
	StateAccount   = "CONNECT_STATE_ACCOUNT"

	PortsHistory   = "CONNECT_PORTS_HISTORY"
	PortsRatelimit = "CONNECT_PORTS_RATELIMIT"
	PortsDNSBLs    = "CONNECT_PORTS_DNSBLS"
	PortsGreeting  = "CONNECT_PORTS_GREETING"
	PortsReverse   = "CONNECT_PORTS_REVERSE"
)

// The other macros there: the numbers and names that the rules work with.
const (
	Threshold       = "SYMBIOSIS_INCIDENT_THRESHOLD"
	Database        = "SYMBIOSIS_INCIDENT_DATABASE" // read by nobody; the doctor says where to name it now
	HostsDatabase   = "CONNECT_HOSTS_DATABASE"
	Ratelimit       = "CHECK_CONNECT_RATELIMIT"
	ConnectLists    = "CHECK_CONNECT_IP_DNSBLS"
	SubmissionLists = "CHECK_SUBMISSION_IP_DNSBLS"
	DNSBLThreshold  = "CHECK_CONNECT_DNSBL_THRESHOLD"
	DNSBLTimeout    = "CHECK_CONNECT_DNSBL_TIMEOUT"
	DNSBLMemory     = "CONNECT_DNSBL_MEMORY"
	GreetingDelay   = "CONNECT_GREETING_DELAY"
	GreetingBusy    = "CONNECT_GREETING_BUSY"
	RefusedNames    = "CONNECT_REFUSED_NAMES_FILE"
	AuthFailures    = "CONNECT_AUTH_FAILURES"
	AuthLeniency    = "CONNECT_AUTH_LENIENCY"
	AuthPeriod      = "CONNECT_AUTH_PERIOD"
	AccountHosts    = "CONNECT_ACCOUNT_HOSTS"
)

// LocalSnippet is the administrator's own, in which a macro gets another value.
const LocalSnippet = "00-main/22-connect-check-local"

// Ports are the ports on which the platform's Exim takes mail: 25 from other
// servers, 465 and 587 from users.
var Ports = [...]int{25, 465, 587}

// A State is what a rule does.
type State string

// The states.
const (
	Enforce State = "enforce" // refuse the host
	Learn   State = "learn"   // write to the log what it would do, and let the host go on
	Off     State = "off"     // do not ask
	Measure State = "measure" // of the rate rule: write every host's rate to the log, and put off none
)

// Milder gives what a rule does, as 14-acl-connect-state has it: the milder of
// the suite's state and the rule's own, which is the value of the macro own. A
// word that is none of the states only learns.
func Milder(suite, own, value string) State {
	all, one := State(strings.TrimSpace(suite)), State(strings.TrimSpace(value))
	switch {
	case all == Off || one == Off:
		return Off
	case one == Measure && own == StateRatelimit:
		return Measure
	case all == Enforce && one == Enforce:
		return Enforce
	}
	return Learn
}
