package main

import (
	"strings"
	"time"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/blacklist"
	"symbiosis-connect-acl/internal/firewall"
	"symbiosis-connect-acl/internal/hosts"
)

// A record is one host as list gives it in JSON.
type record struct {
	Address  string   `json:"address"`
	Count    int64    `json:"count"`
	Reports  int64    `json:"reports"`
	First    string   `json:"first"` // a day
	Last     string   `json:"last"`
	Firewall []block  `json:"firewall"`
	Over     bool     `json:"over_threshold"`
	Denied   bool     `json:"denied"`
	Standing []string `json:"standing"` // the words of hosts.Standings
	DNSBL    *listed  `json:"dnsbl,omitempty"`

	key    address.Key
	denied string // as judge has it
}

// standingText gives the standing as the table and CSV have it.
func (r record) standingText() string { return strings.Join(r.Standing, " ") }

type block struct {
	Net       string   `json:"net"`
	Automatic bool     `json:"automatic"`
	Ports     []string `json:"ports"` // null means all
}

func newRecord(h blacklist.Host, entries firewall.Entries, j judge, s hosts.Standing) record {
	denied := j.denies(h.Count, s)
	r := record{Address: h.IP, Count: h.Count, Reports: h.Reports, First: h.First.Format(time.DateOnly),
		Last: h.Last.Format(time.RFC3339), Firewall: []block{}, Over: denied != "no", Denied: denied == "yes", denied: denied, key: h.Key, Standing: s.Words()}
	for _, e := range entries.Lookup(h.Key) {
		net := e.Net.String()
		if e.Net.IsSingleIP() {
			net = e.Net.Addr().String()
		}
		r.Firewall = append(r.Firewall, block{Net: net, Automatic: e.Automatic, Ports: e.Ports})
	}
	return r
}

func (r record) firewallText() string {
	var all []string
	for _, b := range r.Firewall {
		kind, ports := "manual", "all ports"
		if b.Automatic {
			kind = "auto"
		}
		if b.Ports != nil {
			ports = strings.Join(b.Ports, ",")
		}
		text := kind + " " + ports
		if b.Net != r.Address && strings.Contains(b.Net, "/") {
			text += " (" + b.Net + ")"
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}
