package setup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"symbiosis-connect-acl/internal/doctor"
	"symbiosis-connect-acl/internal/door"
	"symbiosis-connect-acl/internal/exim"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/remedy"
	"symbiosis-connect-acl/internal/rules"
	"symbiosis-connect-acl/tests/lab"
)

// The test binary is also the tool that is run and killed.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "setup-tool" {
		opt := Options{Root: os.Args[3], Note: func(s string) { fmt.Println(s) }}
		run := map[string]func(context.Context, Options) error{"apply": Apply, "remove": Remove}[os.Args[2]]
		if err := run(context.Background(), opt); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// tool runs apply or remove in a process of its own, with a fault, and gives
// what it printed. killed says that it did not come to its end.
func tool(t *testing.T, r *lab.Root, what, fault string) (out string, code int, killed bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "setup-tool", what, r.Dir)
	cmd.Env = append(os.Environ(), faultVariable+"="+fault)
	b, err := cmd.CombinedOutput()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		t.Fatal(err)
	}
	ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return string(b), ws.ExitStatus(), ws.Signaled()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var (
	unpack   = lab.Unpack
	snapshot = lab.Snapshot
	same     = lab.Same
)

// newRoot gives a root with the platform and the files of our package as dpkg
// unpacks them.
func newRoot(t *testing.T, suite, name string) *lab.Root {
	t.Helper()
	r := lab.NewRoot(t, suite, name)
	unpack(t, r)
	r.Make("exim4.conf")
	return r
}

func options(t *testing.T, r *lab.Root) (Options, *bytes.Buffer) {
	out := new(bytes.Buffer)
	return Options{Root: r.Dir, Note: func(s string) { fmt.Fprintln(out, s) }}, out
}

func installation(r *lab.Root) exim.Installation {
	if r.Platform == "sympl" {
		return exim.Installation{Platform: platform.Sympl(r.Dir)}
	}
	return exim.Installation{Platform: platform.Symbiosis(r.Dir)}
}

// inForce tells whether the rules are part of the configuration in force.
func inForce(t *testing.T, r *lab.Root) bool {
	t.Helper()
	x := installation(r)
	m, err := x.Macros(context.Background(), x.Config())
	if err != nil {
		t.Errorf("the configuration in force: %v", err)
	}
	_, on := m[rules.Marker]
	return on
}

func TestApplyAndRemove(t *testing.T) {
	lab.SkipUnlessReady(t)
	ctx := context.Background()
	for _, c := range [][2]string{{"bullseye", "symbiosis"}, {"bookworm", "sympl"}, {"trixie", "symbiosis"}, {"forky", "sympl"}} {
		{
			t.Run(c[0]+"/"+c[1], func(t *testing.T) {
				t.Parallel()
				r := newRoot(t, c[0], c[1])
				must(t, os.Chmod(r.Path("etc/exim4/exim4.conf"), 0o640))
				r.Run("chgrp", "Debian-exim", "/etc/exim4/exim4.conf")
				if inForce(t, r) {
					t.Fatal("unpacking alone has put the rules in force")
				}
				r.Write("etc/exim4/exim4.conf~", "# the administrator's backup\n", 0o644)
				before := snapshot(t, r, false)
				opt, out := options(t, r)
				must(t, Apply(ctx, opt))
				if !inForce(t, r) {
					t.Fatalf("the rules are not in force\n%s", out)
				}
				x := installation(r)
				value, err := x.Option(ctx, x.Config(), "log_selector")
				must(t, err)
				for _, want := range []string{"+tls_sni", "+smtp_protocol_error"} {
					if !strings.Contains(value, want) {
						t.Errorf("log_selector = %q; want %s in it", value, want)
					}
				}
				if bh := r.Bh("8.8.8.8", 25); !strings.Contains(bh, "\n220 ") {
					t.Errorf("an innocent host: %s", bh)
				}
				applied := snapshot(t, r, true)
				out.Reset()
				must(t, Apply(ctx, opt))
				same(t, "a second apply", applied, snapshot(t, r, true), "/var/spool/exim4/db/ratelimit")
				if !strings.Contains(out.String(), "nothing changed") {
					t.Errorf("a second apply says %q", out)
				}
				r.Run("rm", "-rf", "/var/spool/exim4/db/ratelimit", "/var/spool/exim4/db/ratelimit.lockfile")
				must(t, Remove(ctx, opt))
				same(t, "after remove", before, snapshot(t, r, false))
				removed := snapshot(t, r, true)
				must(t, Remove(ctx, opt))
				same(t, "a second remove", removed, snapshot(t, r, true))
			})
		}
	}
}

// Whatever way a log_selector stands in the tree, its effect is kept, and
// remove brings every line back.
func TestLogSelector(t *testing.T) {
	t.Parallel()
	r := newRoot(t, lab.DefaultSuite, "symbiosis")
	ctx := context.Background()
	for _, c := range []struct {
		name     string
		snippets map[string]string
		want     []string // selectors in force afterwards
		not      []string
	}{
		{"before ours", map[string]string{"00-main/15-log": "log_selector = +subject +pid\n"}, []string{"+subject", "+pid", "+smtp_protocol_error"}, nil},
		{"after ours, continued", map[string]string{"00-main/55-log": "# mine\nlog_selector = \\\n   +subject \\\n# and\n  -retry_defer\nnever_users = root : daemon\n", "00-main/60-general-options": ""}, []string{"+subject", "-retry_defer"}, nil},
		{"a macro", map[string]string{"00-main/15-log": "MY_LOGGING = +received_recipients\nlog_selector = MY_LOGGING +queue_time\n"}, []string{"+received_recipients", "+queue_time"}, nil},
		{"two files, one in force", map[string]string{
			"00-main/15-log": ".ifdef NEVER_SET\nlog_selector = +subject\n.endif\n",
			"00-main/70-log": ".ifndef NEVER_SET\n\tlog_selector=+pid\n.endif\n"}, []string{"+pid"}, []string{"+subject"}},
		{"all", map[string]string{"00-main/15-log": "hide log_selector = +all -arguments\n"}, []string{"+all", "-arguments"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, text := range c.snippets {
				old, err := os.ReadFile(r.Snippet(name))
				must(t, os.WriteFile(r.Snippet(name), []byte(text), 0o640))
				t.Cleanup(func() {
					if err == nil {
						must(t, os.WriteFile(r.Snippet(name), old, 0o644))
					} else {
						must(t, os.Remove(r.Snippet(name)))
					}
				})
			}
			r.Make("exim4.conf")
			before := snapshot(t, r, false)
			opt, out := options(t, r)
			must(t, Apply(ctx, opt))
			x := installation(r)
			value, err := x.Option(ctx, x.Config(), "log_selector")
			must(t, err)
			for _, w := range append(c.want, "+smtp_protocol_error") {
				if !strings.Contains(" "+value+" ", " "+w+" ") {
					t.Errorf("log_selector = %q; want %s\n%s", value, w, out)
				}
			}
			for _, w := range c.not {
				if strings.Contains(value, w) {
					t.Errorf("log_selector = %q; %s was not in force", value, w)
				}
			}
			applied := snapshot(t, r, true)
			must(t, Apply(ctx, opt))
			same(t, "a second apply", applied, snapshot(t, r, true))
			must(t, Remove(ctx, opt))
			same(t, "after remove", before, snapshot(t, r, false))
		})
	}

	t.Run("a new line beside the one taken over", func(t *testing.T) {
		opt, _ := options(t, r)
		tls := r.Snippet("00-main/50-tls-options")
		stock, err := os.ReadFile(tls)
		must(t, err)
		must(t, os.WriteFile(tls, append(stock, "log_selector = +subject\n"...), 0o644))
		must(t, Apply(ctx, opt))
		// A new version of the platform's snippet has its line again, and an
		// administrator has added one.
		must(t, os.WriteFile(tls, append(stock, "log_selector = +pid\n"...), 0o644))
		must(t, Apply(ctx, opt))
		x := installation(r)
		value, err := x.Option(ctx, x.Config(), "log_selector")
		if err != nil || !strings.Contains(value, "+pid") {
			t.Errorf("log_selector = %q, %v; want +pid", value, err)
		}
		r.Write("etc/exim4/symbiosis.d/00-main/56-log", "log_selector = +queue_time\n", 0o644)
		must(t, Apply(ctx, opt))
		value, err = x.Option(ctx, x.Config(), "log_selector")
		if err != nil || !strings.Contains(value, "+pid") || !strings.Contains(value, "+queue_time") {
			t.Errorf("log_selector = %q, %v; want +pid and +queue_time", value, err)
		}
	})
}

// Lines that somebody adds while ours is in force make too many of them. Apply
// keeps what all of them say in effect; remove leaves one in use and says which
// others it has not brought back. What is set twice without us stays so, and is
// named.
func TestTooManyLogSelectors(t *testing.T) {
	lab.SkipUnlessReady(t)
	const (
		first  = "00-main/15-first"
		second = "00-main/56-second"
		third  = "00-main/57-third"
	)
	ctx := context.Background()
	type result struct {
		err     string            // of remove; "" is none
		value   string            // of log_selector in force after it
		said    string            // the snippet that remove names
		content map[string]string // of snippets after it
	}
	for name, c := range map[string]struct {
		added [][]string // snippets that are added, with an apply after each lot but an empty one at the end
		want  result
	}{
		"one after the other": {[][]string{{second}}, result{"", "+subject", second, map[string]string{
			first: "log_selector = +subject\n", second: "#log_selector = \\\n#  +pid\n"}}},
		"two at once": {[][]string{{second, third}}, result{"", "+subject", third, map[string]string{
			first: "log_selector = +subject\n", second: "#log_selector = \\\n#  +pid\n", third: "#log_selector = +queue_time\n"}}},
		"one that was not taken over": {[][]string{nil, {second}}, result{"", "+pid", first, map[string]string{
			first: "#log_selector = +subject\n", second: "log_selector = \\\n  +pid\n"}}},
		"two that were not taken over": {[][]string{nil, {second, third}}, result{"second time", "", second, map[string]string{
			first: "log_selector = +subject\n", second: "log_selector = \\\n  +pid\n", third: "log_selector = +queue_time\n"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := map[string]string{first: "log_selector = +subject\n", second: "log_selector = \\\n  +pid\n", third: "log_selector = +queue_time\n"}
			r := newRoot(t, lab.DefaultSuite, "symbiosis")
			add := func(snippet string) { r.Write("etc/exim4/symbiosis.d/"+snippet, text[snippet], 0o644) }
			add(first)
			r.Make("exim4.conf")
			opt, out := options(t, r)
			must(t, Apply(ctx, opt))
			x := installation(r)
			value := func() string {
				t.Helper()
				v, err := x.Option(ctx, x.Config(), logSelector)
				must(t, err)
				return v
			}
			for i, lot := range c.added {
				for _, snippet := range lot {
					add(snippet)
				}
				if i == len(c.added)-1 && len(c.added) > 1 {
					break // remove comes upon it
				}
				must(t, Apply(ctx, opt))
				for _, snippet := range append(lot, first) {
					if word := text[snippet][strings.Index(text[snippet], "+") : len(text[snippet])-1]; !strings.Contains(value(), word) {
						t.Errorf("log_selector = %q; want %s of %s in it\n%s", value(), word, snippet, out)
					}
				}
				on := snapshot(t, r, true)
				must(t, Apply(ctx, opt))
				same(t, "a second apply", on, snapshot(t, r, true))
			}
			conf := r.Read("etc/exim4/exim4.conf")
			out.Reset()
			err := Remove(ctx, opt)
			told := out.String()
			if c.want.err == "" {
				must(t, err)
				if got := value(); got != c.want.value || inForce(t, r) {
					t.Errorf("after remove log_selector = %q, rules in force %v; want %q", got, inForce(t, r), c.want.value)
				}
			} else {
				if !errors.Is(err, ErrNotRebuilt) || !strings.Contains(err.Error(), c.want.err) {
					t.Fatalf("remove: %v; want ErrNotRebuilt with %q", err, c.want.err)
				}
				told += err.Error()
				if r.Read("etc/exim4/exim4.conf") != conf || !inForce(t, r) {
					t.Error("the configuration in force was touched")
				}
			}
			if !strings.Contains(told, c.want.said) {
				t.Errorf("nobody is told of %s:\n%s", c.want.said, told)
			}
			for snippet, want := range c.want.content {
				if got := r.Read("etc/exim4/symbiosis.d/" + snippet); got != want {
					t.Errorf("%s holds\n%s\nwant\n%s", snippet, got, want)
				}
			}
		})
	}
}

// A QUIT ACL and an environment of the administrator's own stay, and ours are
// left out.
func TestOwnQuitACL(t *testing.T) {
	t.Parallel()
	r := newRoot(t, lab.DefaultSuite, "symbiosis")
	r.Write("etc/exim4/symbiosis.d/00-main/35-quit", "acl_smtp_quit = acl_quit\n", 0o644)
	r.Write("etc/exim4/symbiosis.d/10-acl/70-quit", "acl_quit:\n  accept\n", 0o644)
	r.Write("etc/exim4/symbiosis.d/00-main/75-mine", "add_environment = <; PATH=/bin:/usr/bin\n", 0o644)
	r.Make("exim4.conf")
	before := snapshot(t, r, false)
	opt, _ := options(t, r)
	must(t, Apply(context.Background(), opt))
	x := installation(r)
	if v, err := x.Option(context.Background(), x.Config(), "acl_smtp_quit"); err != nil || v != "acl_quit" {
		t.Errorf("acl_smtp_quit = %q, %v; want the administrator's", v, err)
	}
	if v, err := x.Option(context.Background(), x.Config(), "add_environment"); err != nil || v != "<; PATH=/bin:/usr/bin" {
		t.Errorf("add_environment = %q, %v; want the administrator's", v, err)
	}
	must(t, Remove(context.Background(), opt))
	same(t, "after remove", before, snapshot(t, r, false))
}

// A run killed at any moment leaves a configuration in force that is valid and
// greets innocent hosts, and the next run, whichever it is, comes to the same
// end as if nothing had happened.
func TestKilledAtEveryStep(t *testing.T) {
	for _, what := range []string{"apply", "remove"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			killAtEveryStep(t, what)
		})
	}
}

// stride is 1 where make test runs everything; a quick run takes every third
// point.
func stride() int {
	if os.Getenv("CONNECT_ACL_LAB") == "require" {
		return 1
	}
	return 3
}

func killAtEveryStep(t *testing.T, what string) {
	r := newRoot(t, lab.DefaultSuite, "sympl") // has a log_selector to take over
	opt, _ := options(t, r)
	ctx := context.Background()
	x := installation(r)
	off := snapshot(t, r, false)
	offConf := r.Read("etc/exim4/exim4.conf")
	must(t, Apply(ctx, opt))
	on := snapshot(t, r, false)
	onConf := r.Read("etc/exim4/exim4.conf")
	must(t, Remove(ctx, opt))
	state := "/var/lib/sympl-connect-acl/state.json" // has the time in it

	valid := func(when string) {
		t.Helper()
		conf := r.Read("etc/exim4/exim4.conf")
		if conf != offConf && conf != onConf {
			t.Errorf("%s: the configuration in force is neither the old nor the new one", when)
		}
		if err := x.Check(ctx, x.Config()); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	for n := 1; ; n += stride() {
		when := fmt.Sprintf("%s killed at point %d", what, n)
		if what == "remove" {
			must(t, Apply(ctx, opt))
		}
		out, code, killed := tool(t, r, what, fmt.Sprintf("%d:kill", n))
		if !killed {
			if code != 0 {
				t.Fatalf("%s: exit code %d\n%s", when, code, out)
			}
			if n < 15 {
				t.Errorf("only %d points", n)
			}
			return
		}
		valid(when)
		// Killed once more while the first kill is cleared up.
		if _, _, again := tool(t, r, "apply", fmt.Sprintf("%d:kill", 1+n%4)); again {
			valid(when + " and again")
		}
		if n%2 == 0 {
			must(t, Apply(ctx, opt))
			same(t, when+", then apply", on, snapshot(t, r, false), state)
		}
		must(t, Remove(ctx, opt))
		same(t, when+", then remove", off, snapshot(t, r, false))
		if t.Failed() {
			t.FailNow()
		}
	}
}

// An error at any moment puts everything back as it was, times included.
func TestErrorAtEveryStep(t *testing.T) {
	t.Parallel()
	r := newRoot(t, lab.DefaultSuite, "sympl")
	opt, _ := options(t, r)
	off := snapshot(t, r, true)
	for n := 1; ; n += stride() {
		out, code, _ := tool(t, r, "apply", fmt.Sprintf("%d:fail", n))
		if code == 0 {
			if strings.Contains(out, faultVariable) {
				t.Errorf("point %d: a success that tells of a failure: %s", n, out)
			}
			if n < 15 {
				t.Errorf("only %d points", n)
			}
			break
		}
		if !strings.Contains(out, faultVariable) {
			t.Fatalf("point %d: %s", n, out)
		}
		same(t, fmt.Sprintf("apply failed at point %d", n), off, snapshot(t, r, true))
	}
	must(t, Remove(context.Background(), opt))
	must(t, Apply(context.Background(), opt))
	on := snapshot(t, r, true)
	for n := 1; ; n += stride() {
		out, code, _ := tool(t, r, "remove", fmt.Sprintf("%d:fail", n))
		if code == 0 {
			break
		}
		if !strings.Contains(out, faultVariable) {
			t.Fatalf("point %d: %s", n, out)
		}
		same(t, fmt.Sprintf("remove failed at point %d", n), on, snapshot(t, r, true))
	}
}

// What breaks without us is named, and nothing is touched.
func TestFaults(t *testing.T) {
	lab.SkipUnlessReady(t)
	ctx := context.Background()
	broken := "10-acl/10-acl-check-connect/70-mine"
	for name, c := range map[string]struct {
		prepare func(t *testing.T, r *lab.Root) // and its undo, through t.Cleanup
		want    string                          // in the error
	}{
		"a snippet that Exim does not take": {func(t *testing.T, r *lab.Root) {
			r.Write("etc/exim4/symbiosis.d/"+broken, "  accept\n  deny bogus = 1\n", 0o644)
		}, broken + ":2: .*unknown ACL condition"},
		"a snippet that fails at run time": {func(t *testing.T, r *lab.Root) {
			r.Write("etc/exim4/symbiosis.d/10-acl/10-acl-check-connect/95-mine", "", 0o644)
			// Only with our rules in force: what was broken before is not ours.
			r.Write("etc/exim4/symbiosis.d/10-acl/10-acl-check-connect/16-mine",
				".ifdef SYMBIOSIS_CONNECT_ACL\n  deny condition = ${if >{x}{NO_SUCH_MACRO}}\n.endif\n", 0o644)
			r.Make("exim4.conf")
		}, "turns away a host that did nothing.*451.*integer expected"},
		"a rule of ours that refuses everyone": {func(t *testing.T, r *lab.Root) {
			r.Write("etc/exim4/symbiosis.d/10-acl/10-acl-check-connect/16-mine",
				".ifdef SYMBIOSIS_CONNECT_ACL\n  deny message = closed\n.endif\n", 0o644)
			r.Make("exim4.conf")
		}, "turns away a host that did nothing.*550 closed"},
		"no make": {func(t *testing.T, r *lab.Root) {
			must(t, os.Remove(r.Path("usr/bin/make")))
		}, "make is not installed.*run: apt-get install make$"},
		"no Exim": {func(t *testing.T, r *lab.Root) {
			must(t, os.Remove(r.Path("usr/sbin/exim4")))
		}, "exim4 is not installed"},
		"our package is not there": {func(t *testing.T, r *lab.Root) {
			must(t, os.Remove(r.Path("usr/share/symbiosis-connect-acl/marker.conf")))
		}, "is not there\nrun: apt-get install symbiosis-connect-acl$"},
		"a bad setting": {func(t *testing.T, r *lab.Root) {
			r.Write("etc/default/symbiosis-connect-acl", "\nCONNECT_ACL_PATTERNS=maybe\n", 0o644)
		}, "symbiosis-connect-acl:2: CONNECT_ACL_PATTERNS=maybe: write yes or no"},
		"read-only /etc": {func(t *testing.T, r *lab.Root) {
			mount(t, r.Path("etc"), "", syscall.MS_BIND)
			must(t, syscall.Mount("", r.Path("etc"), "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
		}, "(?i)read-only file system"},
		"somebody else's file behind the patterns": {func(t *testing.T, r *lab.Root) {
			path := r.Path("etc/symbiosis/firewall/patterns.d/exim4.patterns")
			must(t, os.Remove(path))
			must(t, os.Symlink("../../../passwd", path))
			must(t, os.Lchown(path, 1000, 1000))
		}, "exim4.patterns is a symbolic link in a folder that others than root may change"},
		"a folder of root's behind the patterns": {func(t *testing.T, r *lab.Root) {
			path := r.Path("etc/symbiosis/firewall/patterns.d")
			must(t, os.Rename(path, path+".mine"))
			must(t, os.Symlink("/etc/cron.d", path))
		}, "patterns.d is a symbolic link in a folder that others than root may change"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRoot(t, lab.DefaultSuite, "symbiosis")
			c.prepare(t, r)
			before := snapshot(t, r, true)
			opt, out := options(t, r)
			err := Apply(ctx, opt)
			if err == nil || !regexp.MustCompile("(?s)"+c.want).MatchString(err.Error()+"\n"+remedy.Of(err)) {
				t.Fatalf("%v; want %q\n%s", err, c.want, out)
			}
			same(t, "after the failure", before, snapshot(t, r, true))
			if all, _ := filepath.Glob(r.Path("var/lib/*-connect-acl/hosts")); len(all) > 0 {
				t.Errorf("left behind: %v", all)
			}
		})
	}
}

func mount(t *testing.T, on, options string, flags uintptr) {
	t.Helper()
	var err error
	if flags&syscall.MS_BIND != 0 {
		err = syscall.Mount(on, on, "", flags, "")
	} else {
		err = syscall.Mount("tmpfs", on, "tmpfs", flags, options)
	}
	must(t, err)
	t.Cleanup(func() { must(t, syscall.Unmount(on, syscall.MNT_DETACH)) })
}

// A disk that is full at any moment: /etc/exim4 lies on one that has a little
// less room from run to run.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	r := newRoot(t, lab.DefaultSuite, "sympl")
	opt, _ := options(t, r)
	r.Run("cp", "-a", "/etc/exim4", "/etc/exim4.saved")
	mount(t, r.Path("etc/exim4"), "size=2m,mode=755", 0)
	r.Run("cp", "-a", "/etc/exim4.saved/.", "/etc/exim4/")
	before := snapshot(t, r, true)
	failed, succeeded := 0, 0
	for free := int64(0); free < 120 && succeeded == 0; free += 5 {
		fill(t, r.Path("etc/exim4/.filling"), free*4096)
		err := Apply(context.Background(), opt)
		must(t, os.Remove(r.Path("etc/exim4/.filling")))
		if err == nil {
			succeeded++
			continue
		}
		failed++
		if text := strings.ToLower(err.Error()); !strings.Contains(text, "no space left") && !strings.Contains(text, "is full") {
			t.Errorf("%d blocks free: %v", free, err)
		}
		same(t, fmt.Sprintf("%d blocks free", free), before, snapshot(t, r, true))
	}
	if failed < 3 || succeeded == 0 {
		t.Errorf("%d failures, then %d success", failed, succeeded)
	}
	must(t, Remove(context.Background(), opt))
}

// fill writes until no more than free bytes are left.
func fill(t *testing.T, path string, free int64) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	st, err := f.Stat()
	must(t, err)
	must(t, f.Truncate(max(st.Size()-free, 0)))
}

// Remove does not depend on anybody else's snippet.
func TestRemoveWithBrokenSnippet(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := newRoot(t, lab.DefaultSuite, "sympl")
	opt, _ := options(t, r)
	before := snapshot(t, r, false)
	must(t, Apply(ctx, opt))
	conf := r.Read("etc/exim4/exim4.conf")
	r.Write("etc/exim4/sympl.d/00-main/95-mine", "no_such_option = 1\n", 0o644)
	err := Remove(ctx, opt)
	if !errors.Is(err, ErrNotRebuilt) || !strings.Contains(err.Error(), "95-mine:1") {
		t.Fatalf("%v; want ErrNotRebuilt that names the snippet", err)
	}
	if r.Read("etc/exim4/exim4.conf") != conf {
		t.Error("the configuration in force was touched")
	}
	same(t, "after remove", before, snapshot(t, r, false), "/etc/exim4/exim4.conf", "/etc/exim4/sympl.d/00-main/95-mine")
	// dpkg deletes the marker next: the configuration in force has no effect
	// any more, and stays valid.
	must(t, os.RemoveAll(r.Path("usr/share/sympl-connect-acl")))
	if inForce(t, r) {
		t.Error("the rules are in force without the package")
	}
	if bh := r.Bh("8.8.8.8", 25); !strings.Contains(bh, "\n220 ") {
		t.Errorf("an innocent host: %s", bh)
	}
	must(t, os.Remove(r.Snippet("00-main/95-mine")))
	must(t, Remove(ctx, opt))
	same(t, "after a second remove", before, snapshot(t, r, false),
		"/usr/share/sympl-connect-acl/marker.conf", "/usr/share/sympl-connect-acl/patterns.d/exim4.patterns")
}

// The package may be removed after the platform, and applied where there is
// none.
func TestNoPlatform(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	root := t.TempDir()
	var said []string
	opt := Options{Root: root, Note: func(s string) { said = append(said, s) }}
	must(t, Apply(ctx, opt))
	must(t, Remove(ctx, opt))
	if len(said) != 2 || !strings.Contains(said[0], "neither Symbiosis nor Sympl") {
		t.Errorf("said %q", said)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}

	r := newRoot(t, lab.DefaultSuite, "symbiosis")
	stock := r.Read("etc/symbiosis/firewall/patterns.d/exim4.patterns")
	opt, out := options(t, r)
	must(t, Apply(ctx, opt))
	must(t, os.Remove(r.Snippet("00-main/30-acl-definitions")))
	must(t, os.Remove(r.Path("etc/exim4/Makefile")))
	must(t, Remove(ctx, opt))
	if got := r.Read("etc/symbiosis/firewall/patterns.d/exim4.patterns"); got != stock {
		t.Errorf("the patterns are %q\n%s", got, out)
	}
	if left, err := filepath.Glob(r.Path("var/lib/symbiosis-connect-acl/*")); err != nil || len(left) != 1 || filepath.Base(left[0]) != "hosts" {
		t.Errorf("left: %v %v", left, err)
	}
}

// An edit that was made after a run was killed is not lost.
func TestEditAfterKill(t *testing.T) {
	t.Parallel()
	r := newRoot(t, lab.DefaultSuite, "sympl")
	opt, _ := options(t, r)
	tls := "etc/exim4/sympl.d/00-main/50-tls-options"
	stock := r.Read(tls)
	for n := 1; r.Read(tls) == stock; n++ {
		if _, _, killed := tool(t, r, "apply", fmt.Sprintf("%d:kill", n)); !killed {
			t.Fatal("the log_selector was never taken over")
		}
	}
	r.Append(tls, "smtp_banner = hello\n")
	must(t, Remove(context.Background(), opt))
	if got := r.Read(tls); got != stock+"smtp_banner = hello\n" {
		t.Errorf("%s is\n%s", tls, got)
	}
}

// A Makefile that keeps a backup, as Symbiosis' does, has a moment without any
// configuration. A run that ends there is made good.
func TestLostConfiguration(t *testing.T) {
	t.Parallel()
	r := newRoot(t, lab.DefaultSuite, "symbiosis")
	opt, _ := options(t, r)
	before := r.Read("etc/exim4/exim4.conf")
	for n := 1; ; n++ {
		if _, _, killed := tool(t, r, "apply", fmt.Sprintf("%d:kill", n)); !killed {
			t.Fatal("the configuration was never kept")
		}
		if _, err := os.Stat(r.Path("etc/exim4/.exim4.conf.symbiosis-connect-acl.undo")); err == nil {
			break
		}
	}
	must(t, os.Remove(r.Path("etc/exim4/exim4.conf")))
	must(t, Remove(context.Background(), opt))
	if got := r.Read("etc/exim4/exim4.conf"); got != before {
		t.Error("the configuration is not what it was")
	}
	if left, _ := filepath.Glob(r.Path("etc/exim4/.*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// A Makefile may differ in what it writes round the snippets, in how it moves
// the draft and in how it restarts.
func TestOtherMakefile(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := lab.NewRoot(t, lab.DefaultSuite, "symbiosis")
	unpack(t, r)
	text := r.Read("etc/exim4/Makefile")
	for from, to := range map[string]string{
		"# ----\\n":                      "# " + strings.Repeat("-", 60) + "\\n",
		"mv -fb ":                        "mv -f ",
		"invoke-rc.d $(service) restart": "service $(service) restart",
	} {
		if !strings.Contains(text, from) {
			t.Fatalf("the fixture's Makefile has no %q", from)
		}
		text = strings.ReplaceAll(text, from, to)
	}
	r.Write("etc/exim4/Makefile", text, 0o644)
	r.Make("exim4.conf")
	before := snapshot(t, r, false)
	opt, _ := options(t, r)
	must(t, Apply(ctx, opt))
	found, err := doctor.Check(ctx, doctor.Options{Root: r.Dir})
	must(t, err)
	for _, f := range found {
		if f.Level != doctor.OK && (f.Topic == "build" || f.Topic == "configuration" || f.Topic == "door") {
			t.Errorf("%+v", f)
		}
	}
	on := snapshot(t, r, true)
	must(t, Apply(ctx, opt))
	same(t, "a second apply", on, snapshot(t, r, true))
	must(t, Remove(ctx, opt))
	same(t, "after remove", before, snapshot(t, r, false))
}

// What the configuration in force answers alike is not our doing, and no
// reason to fail; and a resolver that is silent holds nothing up for long.
func TestNotOurDoing(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := newRoot(t, lab.DefaultSuite, "symbiosis")
	r.Write("etc/exim4/symbiosis.d/10-acl/10-acl-check-connect/16-mine", "  deny message = closed today\n", 0o644)
	r.Make("exim4.conf")
	opt, out := options(t, r)
	must(t, Apply(ctx, opt))
	if !regexp.MustCompile(`not caused by our rules, but look at it: \[[0-9.]+\] on port 25: 550 closed today`).MatchString(out.String()) {
		t.Errorf("not told: %s", out)
	}
	must(t, Remove(ctx, opt))
	must(t, os.Remove(r.Snippet("10-acl/10-acl-check-connect/16-mine")))

	n := lab.NewNet(t)
	d := lab.StartDNS(t, n)
	d.Behave(".", lab.Silent)
	// Exim asks for this machine's own name each time it is started.
	host, err := os.Hostname()
	must(t, err)
	r.Append("etc/hosts", "127.0.0.1 "+host+"\n::1 "+host+"\n")
	cmd := exec.Command("ip", "netns", "exec", n.Server, os.Args[0], "setup-tool", "apply", r.Dir)
	start := time.Now()
	b, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(b), "an innocent host is greeted") {
		t.Errorf("%v: %s", err, b)
	}
	t.Logf("with a silent resolver: %v", time.Since(start).Round(time.Second))
}

// Two runs at once come one after the other.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := newRoot(t, lab.DefaultSuite, "symbiosis")
	dir := r.Path("var/lib/symbiosis-connect-acl")
	must(t, os.MkdirAll(dir, 0o755))
	d, err := os.Open(dir)
	must(t, err)
	must(t, syscall.Flock(int(d.Fd()), syscall.LOCK_EX))
	opt, _ := options(t, r)
	waits, done := make(chan string, 100), make(chan error, 1)
	opt.Note = func(s string) { waits <- s }
	go func() { done <- Apply(ctx, opt) }()
	if said := <-waits; !strings.Contains(said, "waiting") {
		t.Errorf("said %q", said)
	}
	if _, err := os.Stat(r.Snippet("00-main/20-connect-acl-enabled")); err == nil {
		t.Error("it did not wait")
	}
	must(t, d.Close())
	must(t, <-done)
	if !inForce(t, r) {
		t.Error("the rules are not in force")
	}

	// The other run removes the directory at its end.
	held, err := os.Open(dir)
	must(t, err)
	must(t, syscall.Flock(int(held.Fd()), syscall.LOCK_EX))
	go func() { done <- Remove(ctx, opt) }()
	for said := ""; !strings.Contains(said, "waiting"); said = <-waits {
	}
	must(t, os.Rename(dir, dir+".gone"))
	must(t, held.Close())
	must(t, <-done)
	must(t, os.RemoveAll(dir+".gone"))
	must(t, os.MkdirAll(dir, 0o755))

	held, err = os.Open(dir)
	must(t, err)
	defer held.Close()
	must(t, syscall.Flock(int(held.Fd()), syscall.LOCK_EX))
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	if err := Remove(stopped, opt); !errors.Is(err, ErrBusy) {
		t.Errorf("%v; want ErrBusy", err)
	}
}

// The doctor may be at work while the setup tool is: neither disturbs the
// other. What a killed one has left goes.
func TestBesideTheDoctor(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := newRoot(t, lab.DefaultSuite, "symbiosis")
	x := installation(r)
	dead := exec.Command("true")
	must(t, dead.Run())
	left := fmt.Sprintf("etc/exim4/exim4.conf.symbiosis-connect-acl.%d.1.proof", dead.Process.Pid)
	r.Write(left, "", 0o600)
	p, err := x.NewProof(ctx, x.Config(), r.Path("tmp"))
	must(t, err)
	defer p.Close()
	if out, code, _ := tool(t, r, "apply", ""); code != 0 {
		t.Fatalf("apply: %s", out)
	}
	if s := p.Greet(ctx, exim.Innocent()[0][0], 25, door.Deadline); !s.OK() {
		t.Errorf("the doctor's session: %s", s)
	}
	if _, err := os.Stat(r.Path(left)); err == nil {
		t.Errorf("%s is left", left)
	}
}

// An option of ours that also stands in an included file is named, with what
// to do. Exim 4.100 takes it twice and obeys the last, so there it is this tool
// that says so, without the file's name: ours might have no effect, and then a
// client could write whole lines of the log.
func TestIncludedOption(t *testing.T) {
	lab.SkipUnlessReady(t)
	for _, suite := range []string{lab.DefaultSuite, "forky"} {
		for option, line := range map[string]string{"log_selector": "log_selector = +pid\n", "event_action": "event_action = ${if eq{$event_name}{no:such}{x}}\n"} {
			t.Run(suite+"/"+option, func(t *testing.T) {
				t.Parallel()
				r := newRoot(t, suite, "symbiosis")
				r.Write("etc/exim4/more.conf", line, 0o644)
				r.Write("etc/exim4/symbiosis.d/00-main/95-mine", ".include /etc/exim4/more.conf\n", 0o644)
				r.Make("exim4.conf")
				before := snapshot(t, r, true)
				opt, _ := options(t, r)
				err := Apply(context.Background(), opt)
				if err == nil || !strings.Contains(err.Error(), option+" is also set where this tool cannot see it") || suite == lab.DefaultSuite && !strings.Contains(err.Error(), "more.conf") {
					t.Errorf("%v; want the file and the remedy", err)
				}
				same(t, "after the failure", before, snapshot(t, r, true))
			})
		}
	}
}

// An administrator's event_action is taken over on every Exim, and comes back.
func TestEventAction(t *testing.T) {
	lab.SkipUnlessReady(t)
	ctx := context.Background()
	for _, suite := range lab.Suites {
		t.Run(suite.Exim, func(t *testing.T) {
			t.Parallel()
			r := newRoot(t, suite.Name, "symbiosis")
			r.Write("etc/exim4/symbiosis.d/00-main/70-mine", "MINE = msg:complete\nlog_selector = +subject\nhide event_action = \"\\${if eq{\\$event_name}{MINE}\\\n"+
				"# why\n   {\\${acl{acl_mine}}}}\"\nnever_users = root : daemon\n", 0o640)
			r.Write("etc/exim4/symbiosis.d/00-main/60-general-options", "", 0o644)
			r.Make("exim4.conf")
			before := snapshot(t, r, false)
			x := installation(r)
			value := func(option string) string {
				t.Helper()
				v, err := x.Option(ctx, x.Config(), option)
				must(t, err)
				return v
			}
			his := value("event_action")
			if want := "${if eq{$event_name}{msg:complete}{${acl{acl_mine}}}}"; his != want {
				t.Fatalf("event_action = %q before", his)
			}
			opt, out := options(t, r)
			must(t, Apply(ctx, opt))
			if !strings.Contains(out.String(), "log_selector and event_action taken over from "+r.Snippet("00-main/70-mine")) {
				t.Errorf("nobody is told:\n%s", out)
			}
			macros, err := x.Macros(ctx, x.Config())
			must(t, err)
			got := value("event_action")
			if _, ours := macros["_EXP_VAR_EVENT_NAME"]; !ours && got != his || ours && !strings.HasSuffix(got, "{"+his+"}}") {
				t.Errorf("event_action = %q; want %q in it", got, his)
			}
			if l := value("log_selector"); !strings.Contains(l, "+subject") {
				t.Errorf("log_selector = %q; want +subject in it", l)
			}
			rep, err := Status(ctx, opt)
			if must(t, err); rep.EventAction != his || len(rep.EventSnippets) != 1 || rep.LogSelector != "+subject" {
				t.Errorf("status: %+v", rep)
			}
			applied := snapshot(t, r, true)
			must(t, Apply(ctx, opt))
			same(t, "a second apply", applied, snapshot(t, r, true))

			// One more line beside that: both are asked. 4.100 obeys the last, as
			// it would without us.
			r.Write("etc/exim4/symbiosis.d/00-main/75-more", "event_action = ${if eq{$event_name}{msg:defer}{y}}\n", 0o644)
			must(t, Apply(ctx, opt))
			want := his + "${if eq{$event_name}{msg:defer}{y}}"
			if suite.Name == "forky" {
				want = strings.TrimPrefix(want, his)
			}
			if got := value("event_action"); !strings.Contains(got, want) {
				t.Errorf("event_action = %q; want %q in it", got, want)
			}
			if l := value("log_selector"); !strings.Contains(l, "+subject") {
				t.Errorf("log_selector = %q; want +subject in it", l)
			}
			must(t, os.Remove(r.Snippet("00-main/75-more")))
			must(t, Apply(ctx, opt))
			must(t, Remove(ctx, opt))
			same(t, "after remove", before, snapshot(t, r, false))
		})
	}
}

// Exim 4.100 takes several log_selectors and obeys the last. What would be in
// force without us stays in force, and remove brings every line back as it was:
// there is none too many.
func TestLogSelectorTwiceIsNoError(t *testing.T) {
	t.Parallel()
	r := newRoot(t, "forky", "symbiosis")
	ctx := context.Background()
	r.Write("etc/exim4/symbiosis.d/00-main/15-first", "log_selector = +subject\n", 0o644)
	r.Write("etc/exim4/symbiosis.d/00-main/56-second", "log_selector = +pid\n", 0o644)
	r.Make("exim4.conf")
	before := snapshot(t, r, false)
	opt, _ := options(t, r)
	x := installation(r)
	for range 2 {
		must(t, Apply(ctx, opt))
		value, err := x.Option(ctx, x.Config(), logSelector)
		if must(t, err); !strings.Contains(value, "+pid") || strings.Contains(value, "+subject") || !strings.HasSuffix(value, "-dkim_verbose") {
			t.Errorf("log_selector = %q; want +pid, and ours last", value)
		}
	}
	must(t, Remove(ctx, opt))
	same(t, "after remove", before, snapshot(t, r, false))
}

// An option that ours and a snippet of the administrator's both set: he is told
// of both, and where it says what to do.
func TestOwnCommandACL(t *testing.T) {
	t.Parallel()
	r := newRoot(t, lab.DefaultSuite, "symbiosis")
	r.Write("etc/exim4/symbiosis.d/00-main/35-mine", "acl_smtp_etrn = acl_etrn\n", 0o644)
	r.Write("etc/exim4/symbiosis.d/10-acl/70-mine", "acl_etrn:\n  accept\n", 0o644)
	r.Make("exim4.conf")
	before := snapshot(t, r, true)
	opt, _ := options(t, r)
	err := Apply(context.Background(), opt)
	if err == nil || !strings.Contains(err.Error(), "00-main/35-mine") || !strings.Contains(remedy.Of(err), "do as the comment in "+r.Snippet(quitSnippet)) {
		t.Errorf("%v; want both snippets and the remedy", err)
	}
	same(t, "after the failure", before, snapshot(t, r, true))
}

// A list pasted from Postfix goes on in the next line, which to Exim is an
// option. What to do is said, and works.
func TestPastedLines(t *testing.T) {
	t.Parallel()
	r := newRoot(t, lab.DefaultSuite, "symbiosis")
	r.Local("CHECK_CONNECT_IP_DNSBLS == zen.spamhaus.org*3,", "  bl.spamcop.net*2")
	opt, _ := options(t, r)
	err := Apply(context.Background(), opt)
	const want = `write the whole value on one line, with " : " between two lists`
	if err == nil || !strings.Contains(err.Error(), "22-connect-check-local:2") || !strings.Contains(remedy.Of(err), want) {
		t.Errorf("%v; %s; want the line and %s", err, remedy.Of(err), want)
	}
	r.Local("CHECK_CONNECT_IP_DNSBLS == zen.spamhaus.org*3 : bl.spamcop.net*2")
	must(t, Apply(context.Background(), opt))
}

// Where Exim runs it is restarted, and where the restart fails everything is
// as before, with Exim running on the old configuration.
func TestRestart(t *testing.T) {
	t.Parallel()
	r := newRoot(t, lab.DefaultSuite, "symbiosis")
	opt, out := options(t, r)
	ctx := context.Background()
	x := installation(r)
	must(t, os.WriteFile(r.Path("usr/sbin/policy-rc.d"), []byte("#!/bin/sh\nexit 0\n"), 0o755))
	n := lab.NewNet(t)
	within := func(f func() error) error {
		t.Helper()
		return lab.Enter(n.Server, f)
	}
	must(t, within(func() error {
		b, err := exec.Command("chroot", r.Dir, "/etc/init.d/exim4", "start").CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, b)
		}
		return err
	}))
	t.Cleanup(func() {
		if pid, ok := x.Running(); ok {
			syscall.Kill(pid, syscall.SIGTERM)
		}
	})
	// Exim writes its number after the init script has ended.
	running := func(other int) int {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if pid, ok := x.Running(); ok && pid != other {
				return pid
			}
		}
		t.Fatal("Exim does not run, or was not restarted")
		return 0
	}
	first := running(0)

	// The restart fails once, after the configuration was put in force, and after the
	// time for which one that waits for DNS is waited for.
	real := r.Read("usr/sbin/invoke-rc.d")
	r.Write("usr/sbin/invoke-rc.d", "#!/bin/sh\nif [ ! -e /tmp/failed ]; then touch /tmp/failed; sleep 11; echo no luck >&2; exit 1; fi\nexec /usr/sbin/invoke-rc.d.real \"$@\"\n", 0o755)
	r.Write("usr/sbin/invoke-rc.d.real", real, 0o755)
	before := snapshot(t, r, true)
	err := within(func() error { return Apply(ctx, opt) })
	if !errors.Is(err, ErrNotRestarted) || !strings.Contains(err.Error(), "no luck") {
		t.Fatalf("%v; want ErrNotRestarted with its reason", err)
	}
	same(t, "after a failed restart", before, snapshot(t, r, true), "/run/exim4/exim.pid", "/tmp/failed", "/tmp", "/var/log/exim4/mainlog")
	second := running(first)

	out.Reset()
	must(t, within(func() error { return Apply(ctx, opt) }))
	third := running(second)
	if !strings.Contains(out.String(), "Exim was restarted") {
		t.Errorf("not told of the restart:\n%s", out)
	}
	must(t, within(func() error { return Apply(ctx, opt) }))
	if pid, _ := x.Running(); pid != third {
		t.Error("a second apply has restarted Exim")
	}
	opt.NoRestart = true
	must(t, within(func() error { return Remove(ctx, opt) }))
	if pid, _ := x.Running(); pid != third {
		t.Error("NoRestart has restarted Exim")
	}

	// An address that this machine does not have: Exim takes the configuration,
	// the init script starts the daemon, and nobody is served.
	opt.NoRestart = false
	must(t, within(func() error { return r.Command("/etc/init.d/exim4", "restart").Run() }))
	fourth := running(third)
	r.Write("etc/exim4/symbiosis.d/00-main/95-mine", "local_interfaces = 203.0.113.77\n", 0o644)
	before = snapshot(t, r, true)
	err = within(func() error { return Apply(ctx, opt) })
	if !errors.Is(err, ErrNotRestarted) || !strings.Contains(err.Error(), "paniclog") || !strings.Contains(err.Error(), "Exim runs as before") {
		t.Errorf("%v; want ErrNotRestarted with where to look", err)
	}
	third = running(fourth)
	same(t, "after a daemon that did not listen", before, snapshot(t, r, true), "/run/exim4/exim.pid", "/tmp", "/var/log/exim4/mainlog", "/var/log/exim4/paniclog", "/var/log/exim4")
	must(t, os.Remove(r.Snippet("00-main/95-mine")))

	// A policy that forbids the restart lets it look like a success.
	must(t, os.WriteFile(r.Path("usr/sbin/policy-rc.d"), []byte("#!/bin/sh\nexit 101\n"), 0o755))
	out.Reset()
	must(t, within(func() error { return Apply(ctx, opt) }))
	if pid, _ := x.Running(); pid != third {
		t.Error("Exim was restarted against the policy")
	}
	if !strings.Contains(out.String(), "Exim was not restarted") || strings.Contains(out.String(), "Exim was restarted") {
		t.Errorf("not told that Exim was not restarted:\n%s", out)
	}
}
