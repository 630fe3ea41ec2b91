package patterns

import (
	"bytes"
	"math/rand"
	"os"
	"strings"
	"testing"
)

const stock = `# Exim4's main log
file = /var/log/exim4/mainlog

# SMTP, SMTPS and submission
ports = 25,465,587

\[__IP__\] rejected AUTH LOGIN: SSL or TLS encryption required when authenticating.$
`

// Every pattern of the article, of both its lists.
const article = `
# Catch "TLS Required" messages
\[__IP__\] rejected AUTH LOGIN: SSL or TLS encryption required when authenticating.$

# auth fail
authenticator failed for .*\) \[__IP__\]: 535 Incorrect authentication data.*$

# bad guys whose robots keep coming trying to login when it's not allowed
# this needs +smtp_protocol_error added to log_selector
\[__IP__\] AUTH command used when not advertised.*$

# returning bad guys being blocked - here to generate an entry in the database
\[__IP__\] .*Blacklisted: Denied access - history of unwanted activity.*$

# bad guys whose robots keep coming trying to login when it's not allowed
# this needs +smtp_protocol_error added to log_selector
\[__IP__\] AUTH command used when not advertised.*$

# Sender deferred ratelimiting
\[__IP__\] .* Sender deferred.*$
`

// What nftfw ships, and what the article's author has published since, for logs
// with +incoming_interface.
const later = `
\[__IP__\] rejected AUTH LOGIN: SSL or TLS encryption required when authenticating.*$
authenticator failed for .*\) \[__IP__\]: 535 Incorrect authentication data.*$
\[__IP__\].*Blacklisted: Denied access - history of unwanted activity.*$
\[__IP__\] rejected.*Blacklisted: Denied access - history of unwanted activity.*$
\[__IP__\].*AUTH command used when not advertised.*$
\[__IP__\].* Sender deferred.*$
\[__IP__\] temporarily.* Sender deferred.*$
\[__IP__\] I=.*rejected AUTH LOGIN: SSL or TLS encryption required when authenticating.*$
authenticator failed for .*\) \[__IP__\] I=.*: 535 Incorrect authentication data.*$
\[__IP__\] I=.*Blacklisted: Denied access - history of unwanted activity.*$
\[__IP__\].*I=.* Sender deferred.*$
\[__IP__\].*I=.*AUTH command used when not advertised.*$
`

func ours(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile("../../patterns.d/exim4.patterns")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func mustInstall(t *testing.T, existing []byte) []byte {
	t.Helper()
	merged, _, err := Install(existing, ours(t))
	if err != nil {
		t.Fatal(err)
	}
	return merged
}

func live(t *testing.T, data []byte) []string {
	t.Helper()
	f, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range f.Patterns {
		out = append(out, p.Source)
	}
	return out
}

func TestInstallRemoveRestores(t *testing.T) {
	own := `^\S+ mine \[__IP__\] done$`
	cases := map[string][]byte{
		"missing":                   nil,
		"empty":                     {},
		"one line end":              []byte("\n"),
		"stock":                     []byte(stock),
		"stock and article":         []byte(stock + article),
		"stock, article and later":  []byte(stock + article + later),
		"later, CRLF, no final end": []byte(strings.TrimSuffix(strings.ReplaceAll(later, "\n", "\r\n"), "\r\n")),
		"no final newline":          []byte(strings.TrimSuffix(stock, "\n")),
		"CRLF":                      []byte(strings.ReplaceAll(stock+article, "\n", "\r\n")),
		"CRLF, no final line end":   []byte(strings.TrimSuffix(strings.ReplaceAll(stock, "\n", "\r\n"), "\r\n")),
		"ends in a lone CR":         []byte(stock + own + "\r"),
		"mixed line ends":           []byte(strings.Replace(stock, "\n", "\r\n", 2) + own),
		"changed file and ports":    []byte("file = /var/log/exim4/other\nports = 25\n" + own + "\n"),
		"no ports":                  []byte("file = /var/log/exim4/other\n" + own + "\n"),
		"only comments":             []byte("# nothing here\n"),
		"a leftover of our marker":  []byte(stock + supersededMarker + "x\n"),
		"white space at line start": []byte("\t" + `\[__IP__\]  AUTH command used when not advertised.*$` + "  \n"),
	}
	for name, existing := range cases {
		t.Run(name, func(t *testing.T) {
			merged := mustInstall(t, existing)
			again := mustInstall(t, merged)
			if !bytes.Equal(again, merged) {
				t.Errorf("a second install changed the file:\n%s", again)
			}
			if !Installed(merged) || Installed(existing) {
				t.Error("Installed is wrong about it")
			}
			got, deleteFile, err := Remove(merged)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, existing) {
				t.Errorf("remove gave back %q, want %q", got, existing)
			}
			if deleteFile != (existing == nil) {
				t.Errorf("delete the file: %v", deleteFile)
			}
			f, err := Parse(merged)
			if err != nil {
				t.Fatal(err)
			}
			if len(f.Notes) != 0 {
				t.Errorf("notes on the merged file: %v", f.Notes)
			}
			if name == "CRLF" && bytes.Count(merged, []byte("\r\n")) != bytes.Count(merged, []byte("\n")) {
				t.Error("the block brings other line ends than the file has")
			}
			if f.Log == "" {
				t.Error("the merged file names no log")
			}
		})
	}
}

func TestInstallSupersedes(t *testing.T) {
	own := live(t, ours(t))
	spellings := []string{
		`\[__IP__\] rejected AUTH LOGIN: SSL or TLS encryption required when authenticating.$`,
		`\[__IP__\] rejected AUTH LOGIN: SSL or TLS encryption required when authenticating.*$`,
		`\[__IP__\] rejected AUTH LOGIN: SSL or TLS encryption required when authenticating`,
		`authenticator failed for .*\) \[__IP__\]: 535 Incorrect authentication data.*$`,
		`authenticator failed for .*\) \[__IP__\]: 535 Incorrect authentication data`,
		`\[__IP__\] AUTH command used when not advertised.*$`,
		`\[__IP__\].*AUTH command used when not advertised.*$`,
		"\t" + `\[__IP__\]   AUTH  command used` + "\u00a0" + `when not advertised.*$  `,
		`\[__IP__\] .*Blacklisted: Denied access - history of unwanted activity.*$`,
		`\[__IP__\].*Blacklisted: Denied access - history of unwanted activity.*$`,
		`\[__IP__\] .*Blacklisted: Denied access – history of unwanted activity.*$`,
		`\[__IP__\] .* Sender deferred.*$`,
		`\[__IP__\].* Sender deferred.*$`,
		`\[__IP__\] rejected.*Blacklisted: Denied access - history of unwanted activity.*$`,
		`\[__IP__\] temporarily.* Sender deferred.*$`,
		`\[__IP__\] I=\[.*\]:\d+ AUTH command used when not advertised.*$`,
		`H=.*\[__IP__\](:\d+)? I=\S+ temporarily rejected connection in "connect" ACL: Sender deferred.*$`,
		`\[__IP__\]:[0-9]+ I=[^ ]+: 535 Incorrect authentication data`,
		`\[__IP__\]: 535 Incorrect authentication data.*$`,
		`.*authenticator failed for (.*) \[__IP__\].*I=.*535 Incorrect authentication data.*$`,
		own[0],
	}
	for _, s := range strings.Split(strings.TrimSpace(article+later), "\n") {
		if s != "" && s[0] != '#' {
			spellings = append(spellings, s)
		}
	}
	for _, s := range spellings {
		merged, superseded, err := Install([]byte(stock+s+"\n"), ours(t))
		if err != nil {
			t.Fatal(err)
		}
		if got := live(t, merged); strings.Join(got, "\n") != strings.Join(own, "\n") {
			t.Errorf("%s\nleaves live: %q", s, got)
		}
		if len(superseded) != 2 || superseded[1].Line != 8 || superseded[1].Text != s {
			t.Errorf("superseded: %+v", superseded)
		}
	}
	for _, s := range []string{
		`\[__IP__\] rejected AUTH PLAIN: something else$`,
		`\[__IP__\]: 535 of my own$`,
		`# \[__IP__\] AUTH command used when not advertised.*$`,
		`authenticator failed for mine \[__IP__\]$`,
		`\[__IP__\] I=.* RCPT .*Unrouteable address$`,
		`TLS error on connection from \[__IP__\].*An unexpected TLS packet was received.*$`,
		`^[-0-9]{10} [:0-9]{8} H=\(mine\) \[__IP__\] AUTH command used when not advertised$`,
	} {
		_, superseded, err := Install([]byte(s+"\n"), ours(t))
		if err != nil || len(superseded) != 0 {
			t.Errorf("%s: superseded %+v, error %v", s, superseded, err)
		}
	}
}

func TestTheirSettingsWin(t *testing.T) {
	for _, c := range []struct{ existing, log, ports string }{
		{"file = /their/log\nports = 25\n", "/their/log", "25"},
		{"file = /their/log\n", "/their/log", ""},
		{"  file=/their/log\nports=all", "/their/log", "all"},
		{"ports = 465\n", "/var/log/exim4/mainlog", "465"},
		{"#file = /their/log\n", "/var/log/exim4/mainlog", "25,465,587"},
		{"", "/var/log/exim4/mainlog", "25,465,587"},
	} {
		f, err := Parse(mustInstall(t, []byte(c.existing)))
		if err != nil {
			t.Fatal(err)
		}
		if f.Log != c.log || strings.Join(f.Ports, ",") != c.ports || len(f.Notes) != 0 {
			t.Errorf("%q: log %q, ports %q, notes %v", c.existing, f.Log, f.Ports, f.Notes)
		}
	}
	// A setting that they add below our block counts from the next install on.
	merged := mustInstall(t, nil)
	merged = mustInstall(t, append(merged, "file = /their/log\n"...))
	f, err := Parse(merged)
	if err != nil {
		t.Fatal(err)
	}
	if f.Log != "/their/log" {
		t.Errorf("log %q", f.Log)
	}
}

func TestEditsMeanwhileStay(t *testing.T) {
	mine := `^mine \[__IP__\]$` + "\n"
	for _, existing := range []string{stock, strings.TrimSuffix(stock, "\n"), stock + article} {
		merged := string(mustInstall(t, []byte(existing)))
		full := existing
		if !strings.HasSuffix(full, "\n") {
			full += "\n"
		}
		for name, edit := range map[string][2]string{
			"first line":    {mine + merged, mine + existing},
			"last line":     {merged + mine, full + mine},
			"before ours":   {strings.Replace(merged, beginMarker, mine+beginMarker, 1), full + mine},
			"ports changed": {strings.Replace(merged, "ports = 25,465,587", "ports = all", 1), strings.Replace(full, "ports = 25,465,587", "ports = all", 1)},
			"inside ours":   {strings.Replace(merged, endMarker, mine+endMarker, 1), existing},
			"uncommented": {strings.Replace(merged, supersededMarker, "", 1),
				existing},
		} {
			got, _, err := Remove([]byte(edit[0]))
			if err != nil {
				t.Fatal(err)
			}
			want := edit[1]
			if name == "first line" && existing != full {
				want = mine + full // the line end was added, and nothing proves it now
			}
			if string(got) != want {
				t.Errorf("%s: got %q\nwant %q", name, got, want)
			}
		}
	}
	// A file that we made, but that is theirs too by now, is not deleted.
	got, deleteFile, err := Remove(append(mustInstall(t, nil), mine...))
	if err != nil || deleteFile || string(got) != mine {
		t.Errorf("got %q, delete %v, error %v", got, deleteFile, err)
	}
	// The upgrade of a block keeps its place and what it knows of the original.
	merged := mustInstall(t, []byte(stock))
	upgraded, _, err := Install(append(merged, mine...), []byte("file = /x\n^new "+`\[__IP__\]$`))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasSuffix(upgraded, []byte(endMarker+"\n"+mine)) {
		t.Errorf("the block moved:\n%s", upgraded)
	}
	if got, _, _ := Remove(upgraded); string(got) != stock+mine {
		t.Errorf("after an upgrade: %q", got)
	}
}

func TestDamagedMarkers(t *testing.T) {
	merged := string(mustInstall(t, []byte(stock)))
	for name, damaged := range map[string]string{
		"no end":     strings.Replace(merged, endMarker+"\n", "", 1),
		"no begin":   strings.Replace(merged, beginMarker, "#", 1),
		"twice":      merged + merged,
		"a NUL byte": merged + "\x00",
	} {
		_, _, err := Install([]byte(damaged), ours(t))
		if err == nil || !strings.HasPrefix(err.Error(), "line ") {
			t.Errorf("%s: install says %v", name, err)
		}
		if name == "a NUL byte" {
			continue
		}
		if _, _, err := Remove([]byte(damaged)); err == nil || !strings.HasPrefix(err.Error(), "line ") {
			t.Errorf("%s: remove says %v", name, err)
		}
	}
}

// Any file at all comes back, whatever pieces it is made of.
func TestRestoresAnyFile(t *testing.T) {
	pieces := []string{"\n", "\r\n", "\r", " ", "\t", "#", "x", "file = /a", "ports = 1", supersededMarker, originMarker,
		`\[__IP__\] AUTH command used when not advertised.*$`, stock, article, "\xff\xfe", "\u00a0"}
	rnd := rand.New(rand.NewSource(1))
	for i := 0; i < 3000; i++ {
		existing := []byte{}
		for n := rnd.Intn(8); n > 0; n-- {
			existing = append(existing, pieces[rnd.Intn(len(pieces))]...)
		}
		merged := mustInstall(t, existing)
		if again := mustInstall(t, merged); !bytes.Equal(again, merged) {
			t.Fatalf("%q: a second install changed the file", existing)
		}
		got, deleteFile, err := Remove(merged)
		if err != nil || deleteFile || !bytes.Equal(got, existing) {
			t.Fatalf("%q came back as %q (delete %v, error %v)", existing, got, deleteFile, err)
		}
	}
}
