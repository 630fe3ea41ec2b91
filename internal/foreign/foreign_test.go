package foreign

import (
	"strings"
	"testing"

	"symbiosis-connect-acl/internal/platform"
)

const tree = "/etc/exim4/symbiosis.d/10-acl/"

func section(name, text string) string {
	return "# ----\n# " + tree + name + "\n# ----\n\n" + text
}

func TestRefusing(t *testing.T) {
	conf := section("10-acl-check-connect/10-accept-local", "  accept hosts = :\n") +
		section("10-acl-check-connect/25-dnsbl-reject", ".ifdef ASK\n  deny dnslists = zen.spamhaus.org\n  message = listed\n.else\n deny condition = yes\n.endif\n") +
		section("10-acl-check-connect/26-off", ".ifdef DONT\n  deny condition = yes\n.endif\n") +
		section("10-acl-check-connect/27-check-sender-host-name", "  deny !condition = ${lookup dnsdb{defer_strict,ptr=$sender_host_address}{yes}}\n  condition = ${if eq{$received_port}{25}}\n") +
		section("10-acl-check-connect/30-check-symbiosis-db", "# symbiosis-connect-acl: refuse hosts.\n  deny condition = yes\n") +
		section("10-acl-check-connect/85-count", "  warn set acl_c_n = 1\n") +
		section("10-acl-check-connect/90-default", "  accept\n") +
		section("50-acl-check-rcpt/65-deny-blacklisted-hosts", "  deny hosts = +bad\n") +
		section("50-acl-check-rcpt/77-check-sender-host-name", "  deny !condition = ${lookup dnsdb{defer_never,ptr=$sender_host_address}{yes}}\n")
	want := []string{
		"10-acl/10-acl-check-connect/25-dnsbl-reject is not ours and turns away, on all ports: hosts on the DNS lists zen.spamhaus.org",
		"10-acl/10-acl-check-connect/27-check-sender-host-name is not ours and turns away, on the ports that it names: hosts without a reverse name",
		"10-acl/50-acl-check-rcpt/77-check-sender-host-name is not ours and turns away, on all ports, later than at the connection: hosts without a reverse name",
	}
	var got []string
	all := Refusing([]byte(conf), platform.Symbiosis("/"), map[string]string{"ASK": ""})
	for _, s := range all {
		got = append(got, s.String())
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := all[0].Retire(); got != "mv "+tree+"10-acl-check-connect/25-dnsbl-reject "+tree+"10-acl-check-connect/25-dnsbl-reject.retired && cd /etc/exim4 && make" {
		t.Errorf("retire: %s", got)
	}
}
