package main

import (
	"fmt"
	"os"
)

// A variant is our tree with something taken out, to find out what it costs.
type variant struct {
	name  string
	local []string          // lines of 00-main/22-connect-check-local
	edit  map[string]string // connect rules by name, and what is left of them
}

const nothing = "# taken out\n"

var variants = []variant{
	{name: "all our rules, all switched off", local: []string{"CONNECT_STATE_SUITE == off"}},
	{name: "ours, history only", local: historyOnly},
	{name: "ours, history only, without 20-accept-known", local: historyOnly, edit: map[string]string{"20-accept-known": nothing}},
	{name: "ours, history only, without the rules that are off", local: historyOnly, edit: map[string]string{
		"21-check-sender-host-name": nothing, "50-ratelimit": nothing, "60-check-dnsbls": nothing, "80-delay-greeting": nothing}},
	{name: "the bare lookup: one line, no rule of ours", edit: map[string]string{
		"15-connect-variables": nothing, "20-accept-known": nothing, "20-look-up-host": nothing, "21-check-sender-host-name": nothing,
		"50-ratelimit": nothing, "60-check-dnsbls": nothing, "80-delay-greeting": nothing,
		"30-check-symbiosis-db": "  warn set acl_c_connect_count = ${lookup sqlite {CONNECT_HOSTS_DATABASE select history from host where net='$sender_host_address';}}\n"}},
}

// ablation takes parts out of the tree, one after the other.
func ablation(b *bench) string {
	rows := b.rows[min(1, len(b.rows)-1)]
	servers := []*server{b.stock(), b.base("stock again: what chance gives").start(b)}
	for _, v := range variants {
		s := b.installed(v.name, v.local...)
		for name, left := range v.edit {
			name = s.Root.Snippet("10-acl/10-acl-check-connect/" + name)
			if _, err := os.Stat(name); err != nil {
				b.Fatalf("%s: %v", v.name, err)
			}
			b.must(os.WriteFile(name, []byte(left), 0o644))
		}
		servers = append(servers, s.start(b))
	}
	for _, s := range servers {
		s.useSize(b, rows)
	}
	cells := b.run(trial{clients: 1, rounds: b.rounds, n: 400, want: "220", addr: (*server).innocents}, servers)
	t := newTable("server", "× stock", "median", "99 %", "CPU s per 1,000", "page faults")
	for _, s := range servers {
		ratio := cells[s].against(cells[servers[0]])
		if s == servers[0] {
			ratio = nil
		}
		c := cells[s]
		n := float64(len(c.waits))
		t.row(s.name, ratio.String(), ms(median(c.waits)), ms(quantile(c.waits, 0.99)),
			number(c.cpu.Seconds()/n*1000), fmt.Sprintf("%.0f", float64(c.faults)/n))
	}
	return "Our tree with parts taken out, " + rowsText(rows) + " rows, one client, as a ratio to the stock tree. Page\nfaults are those of Exim and all its children for one connection.\n\n" + t.String()
}
