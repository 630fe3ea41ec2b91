package exim

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/remedy"
	"symbiosis-connect-acl/tests/lab"
)

func testInstallation(root string) Installation {
	return Installation{platform.Symbiosis(root)}
}

// forEachSuite runs a test in a root of every supported Debian release.
func forEachSuite(t *testing.T, f func(t *testing.T, r *lab.Root, x Installation)) {
	lab.SkipUnlessReady(t)
	for _, s := range lab.Suites {
		t.Run(s.Name, func(t *testing.T) {
			r := lab.NewRoot(t, s.Name, "symbiosis")
			f(t, r, testInstallation(r.Dir))
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The real Exim must read every case as we do: where we find a setting it is
// one, and where we take it out of use nothing is left of it.
func TestCommentOutAsEximReads(t *testing.T) {
	ctx := context.Background()
	forEachSuite(t, func(t *testing.T, r *lab.Root, x Installation) {
		path := r.Path("etc/exim4/case.conf")
		for _, c := range loggingCases {
			if strings.Contains(c.in, "begin acl") {
				continue
			}
			// Options with other names are not Exim's: only their place counts.
			in := strings.NewReplacer("y = 2\r", "never_users = root\r", "y = 2", "never_users = root", "x = y", "never_users = root",
				"x = 1", "qualify_domain = example.org", "x = \\", "smtp_banner = \\", "a = b", "never_users = root",
				"syslog_selector = 1\n", "", "log_selectors = +a\n", "", "+all", "+pid", "+a", "+pid", "+b", "+tls_sni", "+c", "+subject").Replace(c.in)
			write(t, path, in)
			// Exim 4.100 takes an option twice, and obeys the last.
			twice := strings.Count(c.out, "#p# log_selector") > 1 && r.Suite.Exim != "4.100.1"
			value, err := x.Option(ctx, path, "log_selector")
			if (err != nil) != twice {
				t.Errorf("%s: Exim says %v", c.name, err)
			}
			if inForce := c.out != "" && c.name != "condition outside"; err == nil && (value != "") != inForce {
				t.Errorf("%s: Exim has log_selector %q", c.name, value)
			}
			write(t, path, string(CommentOut([]byte(in), "log_selector", "#p# ")))
			if value, err := x.Option(ctx, path, "log_selector"); err != nil || value != "" {
				t.Errorf("%s: out of use, Exim still has %q, %v", c.name, value, err)
			}
		}
	})
}

func TestConfigurationErrors(t *testing.T) {
	ctx := context.Background()
	forEachSuite(t, func(t *testing.T, r *lab.Root, x Installation) {
		if v, err := x.Version(ctx); err != nil || v != r.Suite.Exim {
			t.Errorf("Version = %q, %v; want %s", v, err, r.Suite.Exim)
		}
		if err := x.BuildDraft(ctx); err != nil {
			t.Fatal(err)
		}
		for snippet, c := range map[string]struct{ text, message string }{
			"00-main/99-bad":                        {"# one\nno_such_option = 1\n", `main option "no_such_option" unknown`},
			"10-acl/10-acl-check-connect/60-broken": {"  deny bogus = 1\n", "unknown ACL condition"},
			"00-main/99-log":                        {"log_selector = +pid\n\nlog_selector = +pid\n", `"log_selector" option set for the second time`},
		} {
			write(t, r.Snippet(snippet), c.text)
			err := x.BuildDraft(ctx)
			if snippet == "00-main/99-log" && r.Suite.Exim == "4.100.1" {
				// No error there any more: the last is obeyed.
				if err := errors.Join(err, os.Remove(r.Snippet(snippet))); err != nil {
					t.Fatal(err)
				}
				continue
			}
			var ce *ConfigError
			if !errors.As(err, &ce) {
				t.Fatalf("%s: %v; want a ConfigError", snippet, err)
			}
			if ce.Snippet != r.Snippet(snippet) || !strings.Contains(ce.Message, c.message) {
				t.Errorf("%s: %+v", snippet, ce)
			}
			lines := strings.Count(strings.TrimRight(c.text, "\n"), "\n") + 1
			if ce.At != lines {
				t.Errorf("%s: line %d; want %d", snippet, ce.At, lines)
			}
			if err := os.Remove(r.Snippet(snippet)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := x.Option(ctx, x.Config(), "log_selector"); err != nil {
			t.Error(err)
		}
		// Asking about a broken configuration must not reach the paniclog,
		// of which Debian sends mail every day.
		write(t, r.Path("etc/exim4/broken.conf"), "no_such_option = 1\n")
		if _, err := x.Macros(ctx, r.Path("etc/exim4/broken.conf")); err == nil {
			t.Error("a broken configuration has macros")
		}
		if data, err := os.ReadFile(r.Path("var/log/exim4/paniclog")); err == nil {
			t.Errorf("the paniclog has: %s", data)
		}
	})
}

func TestMacrosAndUser(t *testing.T) {
	ctx := context.Background()
	forEachSuite(t, func(t *testing.T, r *lab.Root, x Installation) {
		write(t, r.Snippet("00-main/22-local"), "CONNECT_X = a b\nCONNECT_X == CONNECT_X = c\n.ifdef _HAVE_LOOKUP_SQLITE\nCONNECT_Y =\n.endif\n")
		if err := x.BuildDraft(ctx); err != nil {
			t.Fatal(err)
		}
		m, err := x.Macros(ctx, x.Draft())
		if err != nil {
			t.Fatal(err)
		}
		if m["CONNECT_X"] != "a b = c" || m["ETC_DIR"] != "/etc" {
			t.Errorf("CONNECT_X = %q, ETC_DIR = %q", m["CONNECT_X"], m["ETC_DIR"])
		}
		if y, ok := m["CONNECT_Y"]; !ok || y != "" {
			t.Errorf("CONNECT_Y = %q, %v", y, ok)
		}
		u, err := x.User(ctx, x.Draft())
		if err != nil || u.Name != "Debian-exim" || u.UID == 0 {
			t.Fatalf("User = %+v, %v", u, err)
		}
		if got := strings.TrimSpace(r.Run("id", "-u", u.Name)); got != itoa(u.UID) {
			t.Errorf("uid %d; the root says %s", u.UID, got)
		}
	})
}

func itoa(n uint32) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

func TestGreet(t *testing.T) {
	ctx := context.Background()
	forEachSuite(t, func(t *testing.T, r *lab.Root, x Installation) {
		rule := r.Snippet("10-acl/10-acl-check-connect/60-rule")
		spool := r.Path("var/spool/exim4")
		prove := func(text string) []Session {
			t.Helper()
			write(t, rule, text)
			if err := x.BuildDraft(ctx); err != nil {
				t.Fatal(err)
			}
			p, err := x.NewProof(ctx, x.Draft(), r.Path("tmp"))
			if err != nil {
				t.Fatal(err)
			}
			var hosts []netip.Addr
			for _, pair := range Innocent()[:1] {
				hosts = append(hosts, pair[0], pair[1])
			}
			all := p.GreetAll(ctx, hosts, []int{25, 465, 587}, 2*time.Minute)
			// Exim 4.100 loses a count where two sessions write it at once.
			all = append(all, p.Greet(ctx, hosts[0], 25, 2*time.Minute))
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			return all
		}

		// A working rule, which counts in the hints database and runs a
		// program as Exim's user.
		all := prove("  defer message = slow down\n        ratelimit = 1.5 / 1h / strict / all\n" +
			"  deny condition = ${if !eq{${run{/usr/bin/id -un}}}{Debian-exim\\n}}\n" +
			"  warn logwrite = seen $sender_host_address on $received_port\n")
		if len(all) != 7 {
			t.Fatalf("%d sessions", len(all))
		}
		ok := 0
		for _, s := range all {
			if s.OK() {
				ok++
				want := "on " + map[int]string{25: "25", 465: "465", 587: "587"}[s.Port]
				if !strings.Contains(strings.Join(s.Log, "\n"), want) {
					t.Errorf("%s: log %q; want %q", s, s.Log, want)
				}
			} else if s.Broken() {
				t.Errorf("a deferral by rate is not broken: %s", s)
			}
		}
		if ok == 0 || ok == 7 {
			t.Errorf("%d of 7 greeted: the sessions of one proof share their rate", ok)
		}
		// Nothing of it may be left in Exim's own spool, or the real rate
		// would count it.
		if left, _ := filepath.Glob(filepath.Join(spool, "db", "*")); len(left) > 0 {
			t.Errorf("left in the spool: %q", left)
		}
		if left, _ := filepath.Glob(r.Path("tmp/spool-*")); len(left) > 0 {
			t.Errorf("left in /tmp: %q", left)
		}
		if left, _ := filepath.Glob(r.Path("etc/exim4/*.proof")); len(left) > 0 {
			t.Errorf("left in /etc: %q", left)
		}

		for text, broken := range map[string]bool{
			"  deny condition = ${if >{x}{NOT_A_MACRO}}\n":          true,
			"  deny message = go away\n":                            false,
			"  defer message = not now\n":                           false,
			"  deny condition = ${lookup sqlite {/none select 1;}}": true,
		} {
			for _, s := range prove(text + "\n") {
				if s.OK() || s.Broken() != broken {
					t.Errorf("%s: %s: broken %v", strings.TrimSpace(text), s, s.Broken())
				}
			}
		}

		// A session that does not end is stopped.
		write(t, rule, "  warn condition = ${run{/bin/sleep 20}}\n")
		if err := x.BuildDraft(ctx); err != nil {
			t.Fatal(err)
		}
		p, err := x.NewProof(ctx, x.Draft(), r.Path("tmp"))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if s := p.Greet(ctx, Innocent()[0][0], 25, time.Second); s.Err == nil || s.OK() {
			t.Errorf("a hanging session: %s", s)
		}
	})
}

// The Makefile's loop goes on when a snippet cannot be written, and a
// configuration cut short at the right place passes Exim's test.
func TestDraftCutShort(t *testing.T) {
	r := lab.NewRoot(t, lab.DefaultSuite, "symbiosis")
	x := testInstallation(r.Dir)
	real := r.Read("usr/bin/cat")
	r.Write("usr/bin/cat.real", real, 0o755)
	r.Write("usr/bin/cat", "#!/bin/sh\ncase $1 in */10-acl-check-connect/90-default) echo no space left >&2; exit 1;; esac\nexec cat.real \"$@\"\n", 0o755)
	if out, code := r.Try("make", "-s", "-C", "/etc/exim4", "test"); code != 0 {
		t.Fatalf("the case does not show what it should: %s", out)
	}
	err := x.BuildDraft(context.Background())
	if err == nil || !strings.Contains(err.Error(), "10-acl-check-connect/90-default") || !strings.Contains(remedy.Of(err), "make test") || strings.Contains(err.Error(), "full") {
		t.Errorf("%v; want an error that names the snippet, and what to look at", err)
	}
}

func TestNoMake(t *testing.T) {
	root := t.TempDir()
	x := testInstallation(root)
	if err := x.BuildDraft(context.Background()); !errors.Is(err, ErrNoMake) {
		t.Errorf("%v; want ErrNoMake", err)
	}
	write(t, filepath.Join(root, "usr/bin/make"), "")
	os.Chmod(filepath.Join(root, "usr/bin/make"), 0o755)
	if err := x.BuildDraft(context.Background()); !errors.Is(err, ErrNoExim) {
		t.Errorf("%v; want ErrNoExim", err)
	}
}
