package corpus

import (
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"symbiosis-connect-acl/internal/patterns/compose"
	"symbiosis-connect-acl/tests/lab"
)

const (
	corpusFile  = "corpus.tsv"
	patternFile = "../../patterns.d/exim4.patterns"
)

var corpus = sync.OnceValues(func() ([]Entry, error) { return Load(corpusFile) })

func load(t *testing.T) []Entry {
	t.Helper()
	entries, err := corpus()
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func lines(entries []Entry) []string {
	out := make([]string, len(entries))
	for i, e := range entries {
		out[i] = e.Line
	}
	return out
}

// Every engine that runs the patterns takes the same, and what they take is the
// true peer of every offence, once, and nothing else.
func TestOurPatterns(t *testing.T) {
	entries := load(t)
	rules := compose.Rules()
	event := func(i int) string { return rules[i].Event }
	var results [][][]Hit
	for _, e := range Engines(".") {
		hits, err := e.Apply(patternFile, lines(entries))
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, hits)
		if s := Judge(entries, hits, event); s.Framed+s.Evaded+s.Double+s.Wrong+s.Ordinary+s.Relays > 0 || s.Caught != s.Offences || s.Offences == 0 {
			t.Errorf("%s: of %d offences %d caught, %d evaded; %d framed, %d double-counted, %d of ordinary traffic, %d of relays, %d otherwise counted too often",
				e.Name, s.Offences, s.Caught, s.Evaded, s.Framed, s.Double, s.Ordinary, s.Relays, s.Wrong)
			for _, x := range s.Examples {
				t.Log(x)
			}
		}
	}
	for i := range entries {
		for j := range results[1:] {
			if !reflect.DeepEqual(results[0][i], results[j+1][i]) {
				t.Errorf("%s takes %v, %s takes %v, from %s", Engines(".")[0].Name, results[0][i], Engines(".")[j+1].Name, results[j+1][i], entries[i].Line)
			}
		}
	}
	// Every rule has been seen at work.
	used := map[int]bool{}
	for _, h := range results[0] {
		for _, x := range h {
			used[x.Pattern] = true
		}
	}
	for i, r := range rules {
		if !used[i] {
			t.Errorf("no line of the corpus is for the pattern %q", r.Comment)
		}
	}
}

// The example above a pattern is a line of the corpus, and its own pattern alone
// takes the address from it, in every engine.
func TestExamples(t *testing.T) {
	// A corpus that is recorded again has other times and addresses.
	changing := regexp.MustCompile(`^[-0-9]+ [:0-9]+ |\[[0-9.]+\]`)
	recorded := map[string]bool{}
	for _, e := range load(t) {
		recorded[changing.ReplaceAllString(e.Line, "")] = true
	}
	rules := compose.Rules()
	var examples []string
	for _, r := range rules {
		examples = append(examples, r.Example)
		if !recorded[changing.ReplaceAllString(r.Example, "")] {
			t.Errorf("the example of %q is no line of the corpus: %s", r.Comment, r.Example)
		}
	}
	for _, e := range Engines(".") {
		hits, err := e.Apply(patternFile, examples)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range rules {
			if len(hits[i]) != 1 || hits[i][0].Pattern != i {
				t.Errorf("%s: the example of %q is taken by %v, not by pattern %d alone", e.Name, r.Comment, hits[i], i)
			}
		}
	}
}

// No line of a relay may be taken, be it with the relay's own address.
func TestRelaysAreJudged(t *testing.T) {
	relay := netip.MustParseAddr("192.0.2.1")
	entries := []Entry{
		{Kind: "relay", Scenario: "a", Peer: relay, Line: "taken"},
		{Kind: "relay", Scenario: "a", Peer: relay, Line: "passed over"},
		{Kind: "relay", Scenario: "b", Peer: relay, Want: "?", Line: "taken"},
	}
	s := Judge(entries, [][]Hit{{{0, "192.0.2.1"}}, nil, {{0, "192.0.2.9"}}}, nil)
	if s.Relays != 2 || s.Framed+s.Ordinary+s.Wrong+s.Offences > 0 || len(s.Examples) != 2 {
		t.Errorf("%+v", s)
	}
}

// What no Exim of the corpus has been made to write yet.
func TestFurtherLines(t *testing.T) {
	const peer, name = "192.0.2.1", "info.x-y_z+1@example.org"
	events := map[string]string{
		// A new guess, in our own line; and the lines that are none.
		`2026-11-23 12:00:00 connect-acl: failed login from [192.0.2.1]`:                                          "auth-failed",
		`2026-11-23 12:00:00 [77] connect-acl: failed login from [192.0.2.1] (set_id=` + name + `)`:               "auth-failed",
		`2026-11-23 12:00:00 connect-acl: too many failed logins from [192.0.2.1]`:                                "auth-flood",
		`2026-11-23 12:00:00 connect-acl: failed login from [192.0.2.1] (set_id=a b)`:                             "",
		`2026-11-23 12:00:00 connect-acl: failed login from [192.0.2.1] (set_id=)`:                                "",
		`2026-11-23 12:00:00 x connect-acl: failed login from [192.0.2.1]`:                                        "",
		`2026-11-23 12:00:00 connect-acl: failed login again from [192.0.2.1] (set_id=x)`:                         "",
		`2026-11-23 12:00:00 connect-acl: failed login of a known user from [192.0.2.1] (set_id=x)`:               "",
		`2026-11-23 12:00:00 connect-acl: failed login, not counted, from [192.0.2.1]`:                            "",
		`2026-11-23 12:00:00 connect-acl: refused login from [192.0.2.1]: too many have failed`:                   "",
		`2026-11-23 12:00:00 connect-acl: account under attack: guess from [192.0.2.1]`:                           "",
		`2026-11-23 12:00:00 LOGIN authenticator failed for (x) [192.0.2.1]: 535 Incorrect authentication data`:   "",
		`2026-11-23 12:00:00 LOGIN authenticator failed for H=(x) [192.0.2.1]: 535 Incorrect authentication data`: "",
		// The HELO name is in the way where the rule for it only learns.
		`2026-11-23 12:00:00 H=(x) [8.8.8.8] rejected AUTH LOGIN) [192.0.2.1] rejected AUTH LOGIN: SSL or TLS encryption required when authenticating.`:                    "",
		`2026-11-23 12:00:00 SMTP protocol error in "AUTH LOGIN" H=(x) [8.8.8.8] U=) [192.0.2.1] AUTH command used when not advertised`:                                    "",
		`2026-11-23 12:00:00 rejected EHLO from (x) [8.8.8.8]: syntactically invalid argument(s): [y) [192.0.2.1]: syntactically invalid argument(s): (no argument given)`: "",
		`2026-11-23 12:00:00 H=(a (b) c) [192.0.2.1] rejected AUTH LOGIN: SSL or TLS encryption required when authenticating.`:                                             "auth-no-tls",
		// Any spelling.
		`2026-11-23 12:00:00 SMTP protocol error in "auth login" H=(x) [192.0.2.1] AUTH command used when not advertised`:                                              "auth-not-advertised",
		`2026-11-23 12:00:00 SMTP protocol error in "aUTh  pLAIN" H=(x) [192.0.2.1] AUTH command used when not advertised`:                                             "auth-not-advertised",
		`2026-11-23 12:00:00 SMTP protocol error in "auth" H=(x) [192.0.2.1] AUTH command used when not advertised`:                                                    "auth-not-advertised",
		`2026-11-23 12:00:00 SMTP protocol error in "Auth\tLOGIN " H=(x) [192.0.2.1] AUTH command used when not advertised`:                                            "auth-not-advertised",
		`2026-11-23 12:00:00 H=(x) [192.0.2.1] rejected AUTH login: SSL or TLS encryption required when authenticating.`:                                               "auth-no-tls",
		`2026-11-23 12:00:00 SMTP protocol synchronization error (input sent without waiting for greeting): rejected connection from H=[192.0.2.1] input="ehlo x\r\n"`: "early-input",
		`2026-11-23 12:00:00 SMTP protocol synchronization error (input sent without waiting for greeting): rejected connection from H=[192.0.2.1] input="HeLo x\r\n"`: "early-input",
		// What a link makes others send.
		`2026-11-23 12:00:00 SMTP protocol synchronization error (input sent without waiting for greeting): rejected connection from H=[192.0.2.1] input="GET /EHLO HTTP/1.1\r\n"`: "",
		`2026-11-23 12:00:00 SMTP protocol synchronization error (input sent without waiting for greeting): rejected connection from H=[192.0.2.1] input="\026\003\001EHLO"`:       "",
		`2026-11-23 12:00:00 SMTP protocol error in "auth  tls" H=[192.0.2.1] AUTH command used when not advertised`:                                                               "",
		`2026-11-23 12:00:00 SMTP protocol error in "AUTH SSL" H=[192.0.2.1] AUTH command used when not advertised`:                                                                "",
		`2026-11-23 12:00:00 SMTP call from [192.0.2.1] dropped: too many unrecognized commands (last was "")`:                                                                     "",
		`2026-11-23 12:00:00 SMTP call from [192.0.2.1] dropped: too many unrecognized commands (last was "X-y: z [")`:                                                             "",
		`2026-11-23 12:00:00 SMTP call from [192.0.2.1] dropped: too many unrecognized commands (last was "root")`:                                                                 "too-many-errors",
		// What another server answered about a recipient.
		`2026-11-23 12:00:00 H=mx.example [192.0.2.1] F=<a@b> rejected RCPT <c@d>: 550 x rejected connection in "connect" ACL: Blacklisted: Denied access - history of unwanted activity`: "",
		// What a smuggler makes a relay send, whose HELO name is its own and so not in the line.
		`2026-11-23 12:00:00 SMTP call from mx.example [192.0.2.1] dropped: too many unrecognized commands (last was "root")`:                                                     "",
		`2026-11-23 12:00:00 SMTP call from mx.example [192.0.2.1] dropped: too many syntax or protocol errors (last command was "RCPT TO:<a@b_c>",  C=EHLO,MAIL,RCPT,RCPT,RCPT)`: "",
		`2026-11-23 12:00:00 SMTP call from mx.example [192.0.2.1] dropped: too many syntax or protocol errors (last command was "RCPT TO:<a@b_c>", C=...,RCPT,RCPT,RCPT)`:        "",
	}
	rules := compose.Rules()
	lines := slices.Collect(maps.Keys(events))
	for _, e := range Engines(".") {
		hits, err := e.Apply(patternFile, lines)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range lines {
			got := ""
			for _, h := range hits[i] {
				got += rules[h.Pattern].Event
				if h.Address != peer {
					t.Errorf("%s takes %s from %s", e.Name, h.Address, line)
				}
			}
			if got != events[line] {
				t.Errorf("%s: counted for %q, want %q: %s", e.Name, got, events[line], line)
			}
		}
	}
}

// nftfw takes a carriage return for the end of a line. With the rules in force,
// Exim writes none that a client has sent, and nobody can write lines for it.
// One is left: with +smtp_connection (a part of +all) Exim logs the end of a
// connection with the HELO name, and does so even when "drop" has refused it.
func TestNftfwReading(t *testing.T) {
	var inForce []Entry
	for _, e := range load(t) {
		if e.Set != "learn" && e.Set != "all" {
			inForce = append(inForce, e)
		}
	}
	e := NftfwReading(".")
	hits, err := e.Apply(patternFile, lines(inForce))
	if err != nil {
		t.Fatal(err)
	}
	if s := Judge(inForce, hits, nil); s.Framed > 0 || s.Evaded > 0 || s.Relays > 0 {
		t.Errorf("%s: %d framed, %d evaded, %d of relays: %q", e.Name, s.Framed, s.Evaded, s.Relays, s.Examples)
	}
}

// The same test finds the patterns wanting that ours take the place of, each of
// them alone: an innocent host pays for what another one wrote.
func TestOldPatternsFrame(t *testing.T) {
	entries := load(t)
	for _, old := range OldPatterns {
		file := filepath.Join(t.TempDir(), "old.patterns")
		if err := os.WriteFile(file, []byte(old.Text), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, e := range Engines(".") {
			hits, err := e.Apply(file, lines(entries))
			if err != nil {
				t.Fatal(err)
			}
			if s := Judge(entries, hits, nil); s.Framed == 0 {
				t.Errorf("%s: %s frames nobody here: the corpus has lost its teeth", e.Name, old.Name)
			}
		}
	}
}

// The corpus has what it is meant to have, of each Exim that the lab knows.
func TestCorpusIsComplete(t *testing.T) {
	sets, ways, relays, spellings := map[string]map[string]bool{}, map[string]bool{}, map[string]map[string]bool{}, map[string]bool{}
	for _, e := range load(t) {
		if sets[e.Version] == nil {
			sets[e.Version], relays[e.Version] = map[string]bool{}, map[string]bool{}
		}
		sets[e.Version][e.Set] = true
		if _, spelling, other := strings.Cut(e.Scenario, "~"); other {
			spellings[spelling] = true
		}
		switch e.Kind {
		case "attack":
			vector, _, _ := cutScenario(e.Scenario)
			ways[vector] = true
		case "relay":
			relays[e.Version][e.Scenario] = true
		}
	}
	for _, s := range lab.Suites {
		if len(sets[s.Exim]) < 10 || len(relays[s.Exim]) < 20 {
			t.Errorf("Exim %s: %d selector sets, %d ways to use a relay", s.Exim, len(sets[s.Exim]), len(relays[s.Exim]))
		}
	}
	if len(ways) < 20 || !spellings["small"] || !spellings["mixed"] {
		t.Errorf("%d ways of forging, spellings %v", len(ways), spellings)
	}
}
