package hosts

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	setVariable = regexp.MustCompile(`set (acl_c_connect_auth_(?:guess|first|doubt|unknown|becomes)) *= (.*)`)
	eximIf      = regexp.MustCompile(`\$\{if eq\{([^{}]*)\}\{([^{}]*)\}\{([^{}]*)\}(?:\{([^{}]*)\})?\}`)
)

// guessStatement gives what 10-acl/18-acl-connect-guess writes, with these values of
// Exim's variables in it.
func guessStatement(t *testing.T) func(values ...string) string {
	t.Helper()
	data, err := os.ReadFile("../../symbiosis.d/10-acl/18-acl-connect-guess")
	must(t, err)
	text := regexp.MustCompile(`\\\n\s*`).ReplaceAllString(string(data), "")
	_, write, ok := strings.Cut(text, "accept hosts = ${acl{acl_connect_hosts}{")
	write, _, ok2 := strings.Cut(write, "select 0 _")
	set := setVariable.FindAllStringSubmatch(text, -1)
	if !ok || !ok2 || len(set) != 5 {
		t.Fatalf("no statement found, or not all variables: %q", set)
	}
	slices.Reverse(set) // what is set last uses the others
	for _, m := range set {
		write = strings.ReplaceAll(write, "$"+m[1], m[2])
	}
	return func(values ...string) string {
		s := strings.NewReplacer(values...).Replace(write)
		for eximIf.MatchString(s) {
			s = eximIf.ReplaceAllStringFunc(s, func(s string) string {
				if m := eximIf.FindStringSubmatch(s); m[1] != m[2] {
					return m[4]
				} else {
					return m[3]
				}
			})
		}
		return s
	}
}

// What a failed login leads to, without Exim.
func TestFailedLogin(t *testing.T) {
	const now = 1_800_000_000
	stamp, state, sure, made := 0, "enforce", "", false
	statement := guessStatement(t)
	fail := func(d *DB, net string, name int, response string, known, after int) {
		t.Helper()
		stamp++
		must(t, d.Exec(t.Context(), statement(
			"$acl_c_connect_auth_account", fmt.Sprint(name),
			"$acl_c_connect_auth_response", response,
			"$acl_c_connect_auth_known", fmt.Sprint(known),
			"$acl_c_connect_auth_name", fmt.Sprint(name),
			"$acl_c_connect_auth_stamp", fmt.Sprint((now+after)*1024_000_000+stamp),
			"$acl_c_connect_auth_state", state,
			"$acl_c_connect_auth_at", fmt.Sprint(now+after),
			"$acl_c_connect_auth_period", "3600",
			"$acl_c_connect_auth_old", "1",
			"$acl_c_connect_key", net,
			"$acl_arg1", sure,
			"CONNECT_AUTH_FAILURES", "10")))
		must(t, d.db.QueryRow("select changes()").Scan(&made))
	}
	ask := func(d *DB, query string) (s string) {
		t.Helper()
		must(t, d.db.QueryRow(query).Scan(&s))
		return s
	}
	check := func(d *DB, what, net, want string) {
		t.Helper()
		if got := ask(d, "select failures || ' ' || (guesser > 0) || ' ' || login from host where net = '"+net+"'"); got != want {
			t.Errorf("%s: guesses, guesser, login: %s; want %s", what, got, want)
		}
	}
	for _, c := range []struct {
		name string
		do   func(d *DB)
	}{
		{"the same guess", func(d *DB) {
			for i := range 500 {
				fail(d, "a", 1, "7", 0, i*3000) // the hour begins anew with each try
			}
			check(d, "500 tries of one guess", "a", "1 0 0")
			if got := ask(d, "select tries from guess"); got != "500" {
				t.Errorf("%s tries", got)
			}
		}},
		{"ten guesses", func(d *DB) {
			for i := range 10 {
				check := func(want string) { check(d, fmt.Sprint(i+1, " guesses"), "a", want) }
				fail(d, "a", 1, fmt.Sprint(i), 0, i)
				check(fmt.Sprint(i+1, " ", map[bool]int{true: 1}[i == 9], " ", 0))
				if made != (i == 9) {
					t.Errorf("guess %d made the guesser: %v", i+1, made)
				}
			}
			fail(d, "a", 1, "99", 0, 11)
			if made {
				t.Error("it became one twice")
			}
		}},
		{"learning", func(d *DB) {
			must(t, d.Exec(t.Context(), "insert into host (net, login) values ('a', 77)"))
			state = "learn"
			for i := range 12 {
				fail(d, "a", i, "null", 0, 0)
			}
			state = "enforce"
			check(d, "a dozen guesses", "a", "12 0 77")
		}},
		{"an hour later", func(d *DB) {
			for i := range 9 {
				fail(d, "a", 1, fmt.Sprint(i), 0, 0)
			}
			fail(d, "a", 1, "99", 0, 3600)
			check(d, "the nine before are gone", "a", "1 0 0")
		}},
		{"steps", func(d *DB) {
			for range 9 {
				fail(d, "a", 1, "null", 0, 0)
			}
			check(d, "nine tries of an unknown name", "a", "9 0 0")
			for i := range 62 {
				fail(d, "b", 1, "null", 1, i)
			}
			check(d, "62 tries of a known name", "b", "3 0 0")
			// The firewall counts the first within an hour.
			for _, c := range []struct {
				name, response, after int
				lines                 string
			}{
				{2, 0, 0, "1"}, {2, 0, 1200, "1"}, {2, 0, 2400, "1"}, // until an hour after the first, not after the last
				{2, 0, 3600, "1"}, {2, 0, 4800, "1"},
				{3, 0, 4801, "2"},
				{2, 7, 4802, "3"}, {2, 7, 4803, "3"}, // a password that Exim has seen
				{2, 0, 7199, "3"}, {2, 0, 7200, "3"},
				{-4, 0, 7201, "3"}, {4, 0, 7202, "4"}, // one that may have been given up comes first
			} {
				if sure = ""; c.name < 0 {
					c.name, sure = -c.name, "unsure"
				}
				response := "null"
				if c.response > 0 {
					response = fmt.Sprint(c.response)
				}
				fail(d, "c", c.name, response, 0, c.after)
				if got := ask(d, "select count(*) from guess where net = 'c' and tries > 0"); got != c.lines {
					t.Errorf("name %d after %d s: %s have been the first; want %s", c.name, c.after, got, c.lines)
				}
			}
		}},
		{"five names", func(d *DB) {
			must(t, d.Exec(t.Context(), "insert into host (net, login) values ('a', 77)"))
			for i := range 5 {
				fail(d, "a", i, "null", 0, 0)
				if i == 3 {
					check(d, "four names", "a", "4 0 77")
				}
			}
			check(d, "five names", "a", "5 1 0")
		}},
		{"doubt", func(d *DB) {
			fail(d, "a", 1, "1", 0, 0)
			fail(d, "a", 1, "1", 1, 1) // it failed before
			fail(d, "b", 2, "1", 1, 1)
			fail(d, "c", 2, "1", 1, 1) // the same name
			if got := ask(d, "select count(*) || ' ' || (select count(*) from state where name = 'doubt') from guess"); got != "3 0" {
				t.Errorf("one name in doubt: %s guesses, said; want 3 0", got)
			}
			fail(d, "d", 3, "1", 1, 1)
			fail(d, "e", 4, "1", 0, 1)
			if got := ask(d, "select count(*) || ' ' || (select count(*) from state where name = 'doubt') from guess"); got != "3 1" {
				t.Errorf("two names in doubt: %s guesses, said; want 3 1", got)
			}
			must(t, d.Exec(t.Context(), "delete from doubt")) // somebody has logged in
			fail(d, "e", 4, "1", 0, 1)
			check(d, "afterwards", "e", "1 0 0")
			fail(d, "b", 2, "2", 1, 2)
			fail(d, "a", 1, "2", 1, 2)
			if got := ask(d, "select count(*) from doubt"); got != "0" {
				t.Errorf("%s that failed before the login are in doubt", got)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			with(t, place(t), func(d *DB) error { c.do(d); return nil })
		})
	}
}
