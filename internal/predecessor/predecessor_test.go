package predecessor

import (
	"slices"
	"strings"
	"testing"
)

var shipped = map[string]string{
	"SYMBIOSIS_INCIDENT_THRESHOLD": "10",
	"CHECK_CONNECT_RATELIMIT":      "10 / 15m",
	"CHECK_CONNECT_IP_DNSBLS":      "zen.spamhaus.org=127.0.0.[2..7;9..11] : b.barracudacentral.org=127.0.0.2 : bl.spamcop.net=127.0.0.2",
	"CONNECT_STATE_RATELIMIT":      "enforce",
	"CONNECT_STATE_HISTORY":        "enforce",
	"CONNECT_STATE_DNSBLS":         "enforce",
	"CONNECT_STATE_REVERSE":        "off",
}

func TestRead(t *testing.T) {
	const main = "00-main/21-connect-check"
	for _, c := range []struct {
		what, name, data string
		settings, hosts  []string
		left             string // part of the one sentence
	}{
		{"as published", main, "# a comment\nhostlist whitelist_connection_check = ${if exists{/etc/exim4/whitelist_connect_hosts}{net-iplsearch;ETC_DIR/exim4/whitelist_connect_hosts}}\n" +
			"CHECK_CONNECT_IP_DNSBLS = zen.spamhaus.org : b.barracudacentral.org : bl.spamcop.net\n", nil, nil, ""},
		{"a threshold", main, "SYMBIOSIS_INCIDENT_THRESHOLD = 30\n", []string{"SYMBIOSIS_INCIDENT_THRESHOLD == 30"}, nil, ""},
		{"the published threshold", main, "SYMBIOSIS_INCIDENT_THRESHOLD=10\n", nil, nil, ""},
		{"a threshold that is none", main, "SYMBIOSIS_INCIDENT_THRESHOLD = ten\n", nil, nil, `SYMBIOSIS_INCIDENT_THRESHOLD cannot be "ten"`},
		{"a threshold under the author's later name", main, ".ifndef NFTFW_DB\nNFTFW_INCIDENT_THRESHOLD = 25\n.endif\n",
			[]string{".ifndef NFTFW_DB", "SYMBIOSIS_INCIDENT_THRESHOLD == 25", "NFTFW_INCIDENT_THRESHOLD = 25", ".endif"}, nil, ""},
		{"conditions around nothing", main, ".ifdef X\nSYMBIOSIS_INCIDENT_THRESHOLD = 10\n.endif\n", nil, nil, ""},
		{"somebody's own macro and list", main, "MY_NET = 192.0.2.0/24 \\\n  : 198.51.100.0/24\nhostlist mine = MY_NET\n",
			[]string{"MY_NET = 192.0.2.0/24 : 198.51.100.0/24", "hostlist mine = MY_NET"}, nil, ""},
		{"lists", main, "CHECK_CONNECT_IP_DNSBLS = zen.spamhaus.org : key0key0key0key0key0key0ke.zen.dq.spamhaus.net : dnsbl.example.net : b.barracudacentral.org=127.0.0.2\n",
			[]string{"CHECK_CONNECT_IP_DNSBLS == zen.spamhaus.org=127.0.0.[2..7;9..11] : key0key0key0key0key0key0ke.zen.dq.spamhaus.net=127.0.0.[2..7;9..11] : dnsbl.example.net : b.barracudacentral.org=127.0.0.2"}, nil, ""},
		{"a list that we cannot ask", main, "CHECK_CONNECT_IP_DNSBLS = zen.spamhaus.org : dsn.example.net/$sender_address_domain\n",
			[]string{"CHECK_CONNECT_IP_DNSBLS == zen.spamhaus.org=127.0.0.[2..7;9..11]"}, nil, "dsn.example.net"},
		{"another white list", main, "hostlist whitelist_connection_check = net-iplsearch;/etc/exim4/friends\n", nil, nil, "append its lines to /etc/exim4/whitelist_connect_hosts"},
		{"a log_selector", "00-main/25-logging", "  log_selector = +tls_sni +subject\n", []string{"log_selector = +tls_sni +subject"}, nil, ""},

		{"friends in the rule", known, "accept hosts = : +whitelisted_hosts_by_ip : 192.0.2.7 : 2001::db8::::/32 : +relay_from_hosts\n", nil, []string{"192.0.2.7", "2001:db8::/32"}, ""},
		{"a friend by name", known, "accept hosts = : *.example.org\n", nil, nil, "*.example.org is let past by address only"},
		{"a rule of one's own", known, "accept hosts = : +private_addresses\naccept condition = ${if eq{$received_port}{24}}\n", nil, nil, "accept condition = ${if eq{$received_port}{24}}"},

		{"a rate", rate, "defer message = slow\n ratelimit = 100 / 1h / strict\n", []string{"CHECK_CONNECT_RATELIMIT == 100 / 1h"}, nil, ""},
		{"the published rate, written otherwise", rate, "#warn ratelimit = 0 / 15m / strict\ndefer message = slow\n ratelimit = 10/15m/strict\n", nil, nil, ""},
		{"only measured", rate, "warn ratelimit = 0 / 15m / strict\n  log_message = rate\n#defer ratelimit = 10 / 15m\n", []string{"CONNECT_STATE_RATELIMIT == measure"}, nil, ""},
		{"commented out", rate, "#defer ratelimit = 10 / 15m\n", []string{"CONNECT_STATE_RATELIMIT == off"}, nil, ""},
		{"a number in the rule", history, "deny message = no\n condition = ${if >{$acl_m9}{50} }\n", []string{"SYMBIOSIS_INCIDENT_THRESHOLD == 50"}, nil, ""},
		{"lists in the rule", lists, "deny dnslists = bl.spamcop.net\n", []string{"CHECK_CONNECT_IP_DNSBLS == bl.spamcop.net=127.0.0.2"}, nil, ""},
		{"the reverse name", reverse, "deny !condition = ${lookup dnsdb{defer_never,ptr=$sender_host_address}{yes}}\n", []string{"CONNECT_STATE_REVERSE == enforce"}, nil, ""},
		{"another name of ours", "10-acl/12-acl-connect-leave", "accept\n", nil, nil, "out of use while ours stand"},
	} {
		t.Run(c.what, func(t *testing.T) {
			got := Read([]File{{Name: c.name, Path: "/etc/x", Data: []byte(c.data)}}, shipped, nil)
			text := func(all []Setting) (lines []string) {
				for _, s := range all {
					if !strings.HasPrefix(s.From, "/etc/x:") {
						t.Errorf("%q is from %q", s.Text, s.From)
					}
					lines = append(lines, s.Text)
				}
				return lines
			}
			if s := text(got.Settings); !slices.Equal(s, c.settings) {
				t.Errorf("settings %q; want %q", s, c.settings)
			}
			if h := text(got.Hosts); !slices.Equal(h, c.hosts) {
				t.Errorf("hosts %q; want %q", h, c.hosts)
			}
			if left := strings.Join(got.Left, "\n"); !strings.Contains(left, c.left) || (c.left == "") != (left == "") {
				t.Errorf("left %q; want %q", left, c.left)
			}
		})
	}
}

// What the administrator has set in a file of his own already, stays.
func TestReadKeepsLocal(t *testing.T) {
	got := Read([]File{{Name: rate, Data: []byte("defer ratelimit = 100 / 1h\n")}}, shipped, []string{"CHECK_CONNECT_RATELIMIT"})
	if len(got.Settings) > 0 {
		t.Errorf("%q", got.Settings)
	}
}
