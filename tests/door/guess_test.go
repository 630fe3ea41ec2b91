package door

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"symbiosis-connect-acl/tests/lab"
)

// everyDovecot runs a test on every Exim, with a dovecot that knows these users.
func everyDovecot(t *testing.T, passwords map[string]string, f func(t *testing.T, d *door, dovecot *lab.Dovecot)) {
	for _, suite := range lab.Suites {
		t.Run(suite.Exim, func(t *testing.T) {
			t.Parallel()
			r := lab.NewDovecotRoot(t, suite.Name, "symbiosis")
			dovecot := lab.StartDovecot(t, r, passwords)
			f(t, openOn(t, r), dovecot)
		})
	}
}

// attempt tries one password on a connection of its own, in one line or step by
// step, and gives the reply: that to the connection where it is refused.
func (d *door) attempt(from, mechanism, user, password string) (reply string) {
	c := d.Connect(from, 587)
	defer d.settled() // an older Exim counts when it notices that the client is gone
	defer c.Quit()
	if lab.Code(c.Greeting) != "220" {
		return c.Greeting
	}
	c.Cmd("EHLO client.example")
	c.StartTLS("client.example", "mail.example.org")
	if mechanism == "PLAIN" {
		return c.AuthPlain(user, password)
	}
	return authLogin(c, user, password)
}

// want checks a reply's code. 454 stands for whatever refuses a guesser.
func want(t *testing.T, what, code, reply string) {
	t.Helper()
	if lab.Code(reply) != code && (code != "454" || !putOff(reply)) {
		t.Errorf("%s: %q; want %s", what, reply, code)
	}
}

// counted gives how many lines the firewall counts against a host.
func counted(t *testing.T, log, host string) (n int) {
	t.Helper()
	for _, a := range taken(t, log) {
		if a == host {
			n++
		}
	}
	return n
}

// A telephone has an old password and tries it for ever. That is one guess, and
// keeps nobody out: not behind the same address, and not the telephone's owner.
func TestOldTelephone(t *testing.T) {
	const home, cafe = "5.6.1.1", "5.6.1.2"
	old := map[string]string{"anna@example.org": "old", "bob@example.org": "right"}
	changed := map[string]string{"anna@example.org": "new", "bob@example.org": "right"}
	everyDovecot(t, old, func(t *testing.T, d *door, dovecot *lab.Dovecot) {
		want(t, "anna", "235", d.attempt(home, "PLAIN", "anna@example.org", "old"))
		want(t, "bob", "235", d.attempt(home, "LOGIN", "bob@example.org", "right"))
		dovecot.Users(changed)
		for _, mechanism := range []string{"PLAIN", "LOGIN"} {
			mark := len(d.Log())
			for n := 0; n < 500 && !t.Failed(); {
				n += d.telephone(t, home, mechanism)
				want(t, "bob in one line", "235", d.attempt(home, "PLAIN", "bob@example.org", "right"))
				want(t, "bob step by step", "235", d.attempt(home, "LOGIN", "bob@example.org", "right"))
			}
			if n := counted(t, d.Log()[mark:], home); n > 1 {
				t.Errorf("%s: the firewall counts %d lines", mechanism, n)
			}
		}
		want(t, "anna with her new password", "235", d.attempt(home, "LOGIN", "anna@example.org", "new"))

		// Where nobody has logged in before.
		mark := len(d.Log())
		d.telephone(t, cafe, "PLAIN")
		want(t, "bob at the café", "235", d.attempt(cafe, "LOGIN", "bob@example.org", "right"))
		if n := counted(t, d.Log()[mark:], cafe); n != 1 {
			t.Errorf("the firewall counts %d lines of one guess", n)
		}
		if n := d.Root.Hosts("select count(*) from host where guesser > 0 and net = '" + cafe + "';"); n != "0" {
			t.Error("the café is a guesser's")
		}
	})
}

// telephone tries an old password on some connections at once, because dovecot 2.3
// takes half a second to say no, and gives how often.
func (d *door) telephone(t *testing.T, from, mechanism string) int {
	t.Helper()
	const clients = 8
	tries := map[string]int{"PLAIN": 8, "LOGIN": 3}[mechanism]
	var wg sync.WaitGroup
	for range clients {
		c := d.encrypted(from)
		wg.Go(func() {
			defer c.Quit()
			for range tries {
				if mechanism == "PLAIN" {
					want(t, "the telephone in one line", "535", c.AuthPlain("anna@example.org", "old"))
				} else {
					want(t, "the telephone step by step", "535", authLogin(c, "anna@example.org", "old"))
				}
			}
		})
	}
	wg.Wait()
	d.settled()
	return clients * tries
}

// Where nobody has logged in yet, a telephone that tries an old password step by
// step must not lock everybody out before the first one does. Whoever goes on
// on the same connection is no telephone.
func TestOldTelephoneComesFirst(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		const office, robot = "5.6.1.5", "5.6.1.6"
		mark := len(d.Log())
		for range 8 {
			want(t, "the telephone", "535", d.attempt(office, "LOGIN", "anna@example.org", "old"))
		}
		want(t, "a colleague", "235", d.attempt(office, "LOGIN", "user@example.org", "correct horse"))
		if n := counted(t, d.Log()[mark:], office); n != 1 {
			t.Errorf("the telephone: the firewall counts %d lines; want 1", n)
		}
		if got := d.Root.Hosts("select failures from host where net = '" + office + "';"); got != "8" {
			t.Errorf("the telephone's guesses: %s; want 8", got)
		}

		mark = len(d.Log())
		for range 2 {
			c := d.encrypted(robot)
			for range 3 {
				want(t, "the robot", "535", authLogin(c, "anna@example.org", "x"))
			}
			c.Quit()
			d.settled()
		}
		lines := 3 + 2
		if !d.tellsAtOnce() {
			lines = 2 + 1
		}
		if n := counted(t, d.Log()[mark:], robot); n != lines {
			t.Errorf("the robot: the firewall counts %d lines; want %d:\n%s", n, lines, d.Log()[mark:])
		}

		// Another name on the same connection is no telephone either. And a login that
		// may have been given up, as LOGIN after PLAIN up to 4.96, does not stand for one
		// that counts.
		unsure := []int{1, 1}
		if d.tellsAtOnce() {
			unsure = []int{2, 0}
		}
		for _, c := range []struct {
			from, what string
			tries      [][]string // of each connection, mechanism and name
			lines      []int      // likewise
		}{
			{"5.6.1.7", "two names in turn", [][]string{{"LOGIN anna", "LOGIN bob", "LOGIN anna"}}, []int{3}},
			{"5.6.1.8", "one mechanism after the other", [][]string{{"PLAIN anna", "LOGIN anna"}, {"LOGIN anna"}}, unsure},
		} {
			for i, tries := range c.tries {
				mark := len(d.Log())
				client := d.encrypted(c.from)
				for _, try := range tries {
					mechanism, name, _ := strings.Cut(try, " ")
					if mechanism == "PLAIN" {
						want(t, c.what, "535", client.AuthPlain(name, "x"))
					} else {
						want(t, c.what, "535", authLogin(client, name, "x"))
					}
				}
				client.Quit()
				d.settled()
				if n := counted(t, d.Log()[mark:], c.from); n != c.lines[i] {
					t.Errorf("%s, connection %d: the firewall counts %d lines; want %d:\n%s", c.what, i+1, n, c.lines[i], d.Log()[mark:])
				}
			}
		}
	})
}

// dovecot answers all whose logins have failed in one moment. So some processes of
// Exim's have the same microsecond, and each must know whether it was the first.
func TestFailedAtTheSameMoment(t *testing.T) {
	r := lab.NewRoot(t, lab.DefaultSuite, "symbiosis")
	d := openOn(t, r)
	d.Stop()
	c := startClock(t, r)
	r.Local("CONNECT_STATE_GREETING == off", "CONNECT_STATE_DNSBLS == off")
	r.Make("exim4.conf")
	d.Env = []string{"FAKETIME_NO_CACHE=1"}
	c.stop()
	d.Start()
	for range 3 {
		want(t, "the telephone", "535", d.attempt("5.6.1.3", "PLAIN", "user@example.org", "old"))
		want(t, "the robot", "535", d.attempt("5.6.1.4", "LOGIN", "user@example.org", "x"))
	}
	if n := counted(t, d.Log(), "5.6.1.3"); n != 1 {
		t.Errorf("the firewall counts %d lines of one guess:\n%s", n, d.Log())
	}
	if n := d.Root.Hosts("select failures from host where net = '5.6.1.4';"); n != "3" {
		t.Errorf("three guesses are %s", n)
	}
}

// Whoever guesses is out, in whichever way he does it.
func TestGuessers(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		mine := "user@example.org"
		guesser := func(host string) bool {
			return d.Root.Hosts("select guesser > 0 and offences = 1 and offence_kind = 'guesser' from host where net = '"+host+"';") == "1"
		}
		lines := func(mark int, host string, n int) {
			t.Helper()
			if got := counted(t, d.Log()[mark:], host); got != n {
				t.Errorf("%s: the firewall counts %d lines; want %d:\n%s", host, got, n, d.Log()[mark:])
			}
		}

		// Many names, one guess at each. How a name is spelled makes no other.
		for _, mechanism := range []string{"PLAIN", "LOGIN"} {
			from := map[string]string{"PLAIN": "5.6.2.1", "LOGIN": "5.6.2.2"}[mechanism]
			mark := len(d.Log())
			for i, name := range []string{"bob", "carol", "bob@example.org", "dave", "BOB@mail.example.org", "erin@example.org"} {
				want(t, fmt.Sprint(mechanism, " name ", i), "535", d.attempt(from, mechanism, name, "x"))
			}
			if guesser(from) {
				t.Errorf("%s: four names make a guesser", mechanism)
			}
			want(t, mechanism+" the fifth name", "535", d.attempt(from, mechanism, "frank", "x"))
			if !guesser(from) {
				t.Errorf("%s: five names make no guesser", mechanism)
			}
			want(t, mechanism+" the sixth name", "454", d.attempt(from, mechanism, "grace", "x"))
			want(t, mechanism+" a right password, now", "454", d.attempt(from, mechanism, mine, "correct horse"))
			lines(mark, from, map[string]int{"PLAIN": 7, "LOGIN": 5}[mechanism]+1) // LOGIN may be bob's same password
		}

		// One name, many passwords, from all over a /64.
		for _, mechanism := range []string{"PLAIN", "LOGIN"} {
			net := map[string]string{"PLAIN": "2a0e:6:2:1", "LOGIN": "2a0e:6:2:2"}[mechanism]
			for i := range 10 {
				want(t, mechanism, "535", d.attempt(fmt.Sprintf("%s::%x", net, i+1), mechanism, mine, fmt.Sprint(i)))
			}
			want(t, mechanism+" after ten guesses", "454", d.attempt(net+"::ff", mechanism, mine, "correct horse"))
			if !guesser(net + "::/64") {
				t.Errorf("%s: ten passwords make no guesser", mechanism)
			}
		}

		// One stolen password, and then other names.
		const thief = "5.6.2.3"
		mark := len(d.Log())
		want(t, "a stolen password", "235", d.attempt(thief, "PLAIN", mine, "correct horse"))
		for i := range 5 {
			want(t, "other names", "535", d.attempt(thief, "PLAIN", fmt.Sprint("name", i), "x"))
		}
		want(t, "a stolen password again", "454", d.attempt(thief, "PLAIN", mine, "correct horse"))
		if got := d.Root.Hosts("select login from host where net = '" + thief + "';"); got != "0" {
			t.Errorf("the thief's is a user's host since %s", got)
		}
		lines(mark, thief, 5+1)

		// Somebody guesses behind a user's address. The user stays in.
		const shared = "5.6.2.4"
		want(t, "a user", "235", d.attempt(shared, "LOGIN", mine, "correct horse"))
		for i := range 10 {
			want(t, "a guess", "535", d.attempt(shared, "PLAIN", "bob", fmt.Sprint(i)))
		}
		if !guesser(shared) {
			t.Error("ten guesses make no guesser of a user's host")
		}
		want(t, "one more", "454", d.attempt(shared, "PLAIN", "bob", "x"))
		want(t, "the user in one line", "235", d.attempt(shared, "PLAIN", mine, "correct horse"))
		want(t, "the user step by step", "235", d.attempt(shared, "LOGIN", mine, "correct horse"))
		for i := range 3 {
			want(t, "the user's guess", "535", d.attempt(shared, "PLAIN", mine, fmt.Sprint(i)))
		}
		// As many at the user's own name as CONNECT_AUTH_LENIENCY allows.
		d.with(t, func() {
			want(t, "the user's guess over the limit", "454", d.attempt(shared, "PLAIN", mine, "x"))
			want(t, "the user step by step over the limit", "454", d.attempt(shared, "LOGIN", mine, "correct horse"))
		}, "CONNECT_AUTH_LENIENCY == 3")
		// A day later, all is forgotten but the names.
		d.Root.Hosts("update host set guesser = guesser - 86401; update guess set at = at - 3601;")
		want(t, "another name a day later", "535", d.attempt(shared, "PLAIN", "bob", "x"))

		if l := d.Log(); strings.Contains(l, "skipped") {
			t.Errorf("something was skipped:\n%s", l)
		}
	})
}

// After an upgrade it is known from where somebody has logged in, and not who.
func TestNamesAreNotKnownYet(t *testing.T) {
	d := open(t, lab.DefaultSuite)
	const home = "5.6.3.1"
	d.Root.Hosts("insert into host (net, login) values ('" + home + "', strftime('%s', 'now') - 86400);")
	mark := len(d.Log())
	for i := range 12 {
		want(t, "an old password", "535", d.attempt(home, "LOGIN", "anna", fmt.Sprint(i)))
		want(t, "another name", "535", d.attempt(home, "PLAIN", fmt.Sprint("name", i), "x"))
	}
	want(t, "a user", "235", d.attempt(home, "PLAIN", "user@example.org", "correct horse"))
	if n := counted(t, d.Log()[mark:], home); n > 1 {
		t.Errorf("the firewall counts %d lines", n)
	}
}

// dovecot cannot read its users for a while, and calls right passwords wrong.
// Nobody is refused for it afterwards.
func TestPasswordServerOutOfOrder(t *testing.T) {
	users := map[string]string{}
	for i := range 20 {
		users[fmt.Sprintf("user%d@example.org", i)] = "right"
	}
	everyDovecot(t, users, func(t *testing.T, d *door, dovecot *lab.Dovecot) {
		const said = "connect-acl: failed logins do not count:"
		each := func(code string) {
			t.Helper()
			for i := range 20 {
				mechanism := []string{"PLAIN", "LOGIN"}[i%2]
				user, from := fmt.Sprintf("user%d@example.org", i), fmt.Sprintf("5.6.4.%d", 1+i/2) // two behind each address
				if got := d.attempt(from, mechanism, user, "right"); code != "5.." && lab.Code(got) != code || code == "5.." && lab.Code(got) != "535" && lab.Code(got) != "435" {
					t.Errorf("%s from %s: %q; want %s", user, from, got, code)
				}
			}
		}
		each("235")
		mark := len(d.Log())
		dovecot.Users(nil)
		for range 2 {
			each("5..")
			if t.Failed() {
				break
			}
			// On the road, where they never were.
			for range 6 {
				d.attempt("5.6.5.1", "LOGIN", "user1@example.org", "right")
			}
		}
		log := d.Log()[mark:]
		dovecot.Users(users)
		want(t, "on the road", "235", d.attempt("5.6.5.1", "LOGIN", "user1@example.org", "right"))
		each("235")
		if got := d.Root.Hosts("select count(*), sum(guesser > 0) from host where net like '5.6.%';"); got != "11|0" {
			t.Errorf("hosts, and guessers: %s", got)
		}
		if strings.Contains(log, " 535 ") || strings.Contains(log, "connect-acl: failed login") {
			if n := strings.Count(log, said); n < 1 || n > 2 {
				t.Errorf("it is logged %d times:\n%s", n, log)
			}
		}
		if got := taken(t, log); len(got) > 0 {
			t.Errorf("the firewall counts %q", got)
		}
		// When somebody has logged in, all counts again.
		mark = len(d.Log())
		d.attempt("5.6.5.2", "PLAIN", "user1@example.org", "wrong")
		if n := counted(t, d.Log()[mark:], "5.6.5.2"); n != 1 {
			t.Errorf("a failed login counts for %d", n)
		}
	})
}

// Many hosts at one account. Each is named once; strangers may be kept out.
func TestAccountUnderAttack(t *testing.T) {
	everySuite(t, func(t *testing.T, d *door) {
		const account, home = "user@example.org", "5.6.6.1"
		want(t, "a user", "235", d.attempt(home, "PLAIN", account, "correct horse"))
		mark := len(d.Log())
		for i := range 12 {
			for range 2 {
				want(t, "a guess", "535", d.attempt(fmt.Sprint("5.6.7.", i+1), "LOGIN", account, "x"))
			}
		}
		log := d.Log()[mark:]
		for i := range 12 {
			if n := strings.Count(log, fmt.Sprintf("connect-acl: account under attack: guess from [5.6.7.%d]", i+1)); n != i/10 {
				t.Errorf("host %d of 12 is named %d times", i+1, n)
			}
		}
		if n := len(taken(t, log)); n != 12 {
			t.Errorf("the firewall counts %d lines; want 12", n)
		}
		mark = len(d.Log())
		want(t, "in learn", "235", d.attempt("5.6.8.1", "PLAIN", account, "correct horse"))
		d.LogSince(t, mark, "connect-acl: would deny: login from [5.6.8.1]: account under attack")
		d.with(t, func() {
			want(t, "a stranger", "454", d.attempt("5.6.8.2", "PLAIN", account, "correct horse"))
			want(t, "a stranger at the same name elsewhere", "535", d.attempt("5.6.8.2", "PLAIN", "user@example.net", "x"))
			want(t, "a user's host", "235", d.attempt(home, "PLAIN", account, "correct horse"))
		}, "CONNECT_STATE_ACCOUNT == enforce")
	})
}
