package dnsbl

import (
	"strings"
	"testing"
)

func TestSanitize(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"https://check.spamhaus.org/query/ip/192.0.2.1", "https://check.spamhaus.org/query/ip/192.0.2.1"},
		{"one\r\n550 two\x00three\ttab", "one 550 two three tab"},
		{"  spaces   around ", "spaces around"},
		{"\x1b[31mred\x7f", "(31mred"},
		{"na\xefve gr\xc3\xbc\xc3\x9fe", "na?ve gr????e"},
		{`say "no" \ or 'yes'` + "`", `say 'no' / or 'yes''`},
		{"${run{/bin/sh}} $acl_c0", "_(run(/bin/sh)) _acl_c0"},
		{"[8.8.8.8] rejected", "(8.8.8.8) rejected"},
		{strings.Repeat("x", 200), strings.Repeat("x", 200)},
		{strings.Repeat("x", 201), strings.Repeat("x", 197) + "..."},
		{strings.Repeat("x", 196) + " " + strings.Repeat("y", 60000), strings.Repeat("x", 196) + "..."},
	} {
		if got := Sanitize(tt.in, MaxText); got != tt.want {
			t.Errorf("Sanitize(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestMaskKeys(t *testing.T) {
	const key = "abcdefghij0123456789klmnop"
	for _, tt := range []struct{ in, want string }{
		{"zen.spamhaus.org", "zen.spamhaus.org"},
		{"b.barracudacentral.org", "b.barracudacentral.org"},
		{"bl.spameatingmonkey.net", "bl.spameatingmonkey.net"},
		{"zen.dq.spamhaus.net", "zen.dq.spamhaus.net"},
		{key + ".zen.dq.spamhaus.net", "***.zen.dq.spamhaus.net"},
		{"short.zen.DQ.spamhaus.net.", "***.zen.DQ.spamhaus.net."},
		{"2.0.0.127." + key + ".zen.dq.spamhaus.net", "2.0.0.127.***.zen.dq.spamhaus.net"},
		{"0123456789abcdef0123456789abcdef.combined.mail.abusix.zone", "***.combined.mail.abusix.zone"},
		{key + ".dnsbl.example", "***.dnsbl.example"},
		{strings.Repeat("a", 24) + ".dnsbl.example", "***.dnsbl.example"},
		{"see https://x/?k=" + key + "&ip=192.0.2.1, now", "see https://x/?k=***&ip=192.0.2.1, now"},
	} {
		if got := MaskKeys(tt.in); got != tt.want {
			t.Errorf("MaskKeys(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestCleanText(t *testing.T) {
	const zone = "mykey.zen.dq.spamhaus.net"
	got := cleanText("Listed in MyKey.zen.dq.spamhaus.net, key=mykey\r\n\"x\"", zone)
	if want := "Listed in ***.zen.dq.spamhaus.net, key=*** 'x'"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// A key that the cut would have left half of.
	const key = "abcdefghij0123456789klmnop"
	got = cleanText(strings.Repeat("x ", 92)+key, key+".zen.dq.spamhaus.net")
	if strings.Contains(got, "abcdef") || len(got) > MaxText {
		t.Errorf("got %q", got)
	}
}

// checkSafe fails unless out may stand in an SMTP reply, in a log line and
// between the quotes of a value for ${extract}.
func checkSafe(t *testing.T, in, out string, limit int) {
	t.Helper()
	if len(out) > limit {
		t.Errorf("%q: %d octets, want at most %d", in, len(out), limit)
	}
	for _, c := range []byte(out) {
		if c < ' ' || c > '~' || strings.IndexByte("\"\\[]{}$`", c) >= 0 {
			t.Errorf("%q: %q has %q", in, out, c)
			return
		}
	}
}

func FuzzSanitize(f *testing.F) {
	for _, s := range []string{"", "a\r\n250 ok", "\"\\${[]}", "\xff\x00\x7f", strings.Repeat("y", 300)} {
		f.Add(s, 200)
	}
	f.Add("abcdefgh", 2)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = max(limit, 0)
		out := Sanitize(s, limit)
		checkSafe(t, s, out, limit)
		if again := Sanitize(out, limit); again != strings.TrimSpace(out) && again != out {
			t.Errorf("%q: %q, then %q", s, out, again)
		}
		const key = "abcdefghij0123456789klmnop"
		text := cleanText(s+key+s, key+".zen.dq.spamhaus.net")
		checkSafe(t, s, text, MaxText)
		if strings.Contains(strings.ToLower(text), key) {
			t.Errorf("%q: the key is in %q", s, text)
		}
	})
}
