package door

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"symbiosis-connect-acl/internal/doctor"
	"symbiosis-connect-acl/internal/explain"
	"symbiosis-connect-acl/tests/lab"
)

// A setting as other programs have it refuses nobody. The log, explain and the
// doctor say in the same words what to write instead, and that works as it
// stands there.
func TestAdviceOnSettings(t *testing.T) {
	d := open(t, lab.DefaultSuite)
	for _, c := range []struct{ macro, value, advice string }{
		{"CHECK_CONNECT_IP_DNSBLS", "zen.spamhaus.org=127.0.0.[2..11]*2, bl.spamcop.net*2", "lists are separated by colons: write zen.spamhaus.org=127.0.0.(2..11)*2 : bl.spamcop.net*2"},
		{"CHECK_CONNECT_IP_DNSBLS", "zen.spamhaus.org=127.0.0.[2..11]   # was all", "a comment needs a line of its own: write zen.spamhaus.org=127.0.0.(2..11)"},
		{"CHECK_CONNECT_DNSBL_THRESHOLD", "1   # was 2", "write CHECK_CONNECT_DNSBL_THRESHOLD == 1: a comment needs a line of its own"},
		{"CHECK_CONNECT_DNSBL_THRESHOLD", "[1]", "write CHECK_CONNECT_DNSBL_THRESHOLD == 1"},
		{"CHECK_CONNECT_DNSBL_TIMEOUT", `2s # at most`, "write CHECK_CONNECT_DNSBL_TIMEOUT == 2s: a comment needs a line of its own"},
	} {
		d.with(t, func() {
			mark := len(d.Log())
			d.expect(t, listed4, 25, "220", "")
			d.LogSince(t, mark, c.advice)
			i := slices.IndexFunc(d.explained(t, listed4).Rules, func(r explain.Rule) bool {
				return r.Name == "dnsbl" && strings.Contains(strings.Join(r.Evidence, "\n"), c.advice)
			})
			if i < 0 {
				t.Errorf("%s == %s: explain does not say %q", c.macro, c.value, c.advice)
			}
			var found []doctor.Finding
			if err := json.Unmarshal([]byte(d.inside(t, 2, "symbiosis-connect-setup", "check", "--json")), &found); err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(found, func(f doctor.Finding) bool { return strings.Contains(f.Text+" "+f.Remedy, c.advice) }) {
				t.Errorf("%s == %s: the doctor does not say %q: %+v", c.macro, c.value, c.advice, found)
			}
		}, c.macro+" == "+c.value)
		_, written, _ := strings.Cut(c.advice, "write ")
		written = strings.TrimSuffix(written, ": a comment needs a line of its own")
		if !strings.Contains(written, "==") {
			written = c.macro + " == " + written
		}
		d.with(t, func() { d.expect(t, listed4, 25, "550", "is blacklisted at "+zen) }, written)
	}
}
