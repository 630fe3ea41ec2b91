package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// A variant is our tree with something taken out, to find out what it costs.
type variant struct {
	name  string
	local []string          // lines of 00-main/22-connect-check-local
	edit  map[string]string // connect rules by name, and what is left of them
	inDB  bool              // what is done with a failed login is a trigger in hosts.db
}

const nothing = "# taken out\n"

var variants = []variant{
	{name: "all our rules, all switched off", local: []string{"CONNECT_STATE_SUITE == off"}},
	{name: "ours, history only", local: historyOnly},
	{name: "ours, history only, without 20-accept-known", local: historyOnly, edit: map[string]string{"20-accept-known": nothing}},
	{name: "ours, history only, without the rules that are off", local: historyOnly, edit: map[string]string{
		"21-check-sender-host-name": nothing, "50-ratelimit": nothing, "60-check-dnsbls": nothing, "80-delay-greeting": nothing}},
	{name: "ours, history only, failed logins as a trigger in hosts.db", local: historyOnly, inDB: true},
	{name: "the bare lookup: one line, no rule of ours", edit: map[string]string{
		"15-connect-variables": nothing, "20-accept-known": nothing, "20-look-up-host": nothing, "21-check-sender-host-name": nothing,
		"50-ratelimit": nothing, "60-check-dnsbls": nothing, "80-delay-greeting": nothing,
		"30-check-symbiosis-db": "  warn set acl_c_connect_count = ${lookup sqlite {CONNECT_HOSTS_DATABASE select history from host where net='$sender_host_address';}}\n"}},
}

var (
	eximVariable = regexp.MustCompile(`\$acl_c_connect_(?:auth_)?([a-z]+)`)
	eximIf       = regexp.MustCompile(`\$\{if eq\{[^{}]*\}\{[^{}]*\}\{`)
)

// trigger makes a trigger of what 18-acl-connect-guess writes.
func trigger(b *bench, s *server) string {
	text, err := os.ReadFile(s.Root.Snippet("10-acl/18-acl-connect-guess"))
	b.must(err)
	_, write, _ := strings.Cut(string(text), "accept hosts = ${acl{acl_connect_hosts}{")
	write, _, found := strings.Cut(write, "select 0 _")
	if !found {
		b.Fatalf("no statement in 18-acl-connect-guess")
	}
	const unknown = "(select count(distinct name) from guess where net=new.key and not known) >= 5"
	write = strings.NewReplacer("\\\n", "\n", "'$acl_c_connect_key'", "new.key",
		"$acl_c_connect_auth_becomes", "guesser not between new.at-86400 and new.at and (failures >= 10 or "+unknown+")",
		"$acl_c_connect_auth_unknown", unknown,
		"$acl_c_connect_auth_doubt", "(select count(distinct name) from doubt where at > new.at-3600) > 1", "}}", "").
		Replace(eximIf.ReplaceAllString(write, ""))
	return "create view failed_login as select '' key, 0 name, 0 account, 0 guess, 0 known, 0 at, 0 stamp, 0 period;\n" +
		"create trigger failed_login instead of insert on failed_login begin " + eximVariable.ReplaceAllString(write, "new.$1") + " end;"
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
		s.start(b)
		if v.inDB {
			s.Root.Hosts(trigger(b, s))
		}
		servers = append(servers, s)
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
