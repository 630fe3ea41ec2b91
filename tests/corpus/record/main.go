// Command record plays every event and every attack of the corpus against real
// Exims and writes down what they log, line by line, with the peer that each
// line is about.
//
//	go run ./tests/corpus/record -o tests/corpus/corpus.tsv
//
// A root is a Debian tree with exim4-daemon-heavy, the lab's unless others are
// given with -root VERSION=DIRECTORY; it is not changed (the
// recorder works in an overlay over it). The recorder needs to be root. Each
// version is played in a network and a mount namespace of its own, in which every
// address is local: a scenario's connection really comes from the peer's address,
// and nothing leaves the machine. When it ends, the namespaces end with it.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	debian "symbiosis-connect-acl/tests/lab"
)

// What the recorder tells itself in its namespaces: that it is there, and the
// roots of the servers that relay.
const (
	inside        = "CORPUS_RECORDER_INSIDE"
	insidePostfix = "CORPUS_RECORDER_POSTFIX"
	insideExim    = "CORPUS_RECORDER_EXIM"
)

// A version is one Exim, in the Debian tree dir.
type version struct{ name, dir string }

type versions []version

func (v *versions) String() string { return fmt.Sprint(*v) }
func (v *versions) Set(s string) error {
	name, dir, ok := strings.Cut(s, "=")
	if !ok {
		return fmt.Errorf("want VERSION=DIRECTORY, got %q", s)
	}
	*v = append(*v, version{name, dir})
	return nil
}

// What the command line says.
type options struct {
	from                                 versions
	out, repo, only, into, extra, helper string
	sets                                 string
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

func run() error {
	var o options
	flag.Var(&o.from, "root", "`VERSION=DIRECTORY` of a Debian tree with exim4-daemon-heavy (repeat for each version); without it those of the lab")
	flag.StringVar(&o.out, "o", "-", "`file` to write the corpus to, - for standard output")
	flag.StringVar(&o.repo, "repo", ".", "`directory` of the checkout, for the fixture tree and the snippets")
	flag.StringVar(&o.only, "only", "", "play only scenarios whose name matches the regular `expression`")
	flag.StringVar(&o.into, "into", "", "a corpus `file` whose other scenarios are kept")
	flag.StringVar(&o.sets, "sets", "", "comma-separated `names` of selector sets to play; all without it")
	flag.StringVar(&o.extra, "extra", "", "`directory` with snippets laid over the tree last, to try changes")
	flag.StringVar(&o.helper, "helper", "", "`file` to install as symbiosis-connect-check; built from the checkout without it")
	flag.Parse()
	chosen, err := regexp.Compile(o.only)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "corpus-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil { // Exim's user walks through it, to hosts.db
		return err
	}
	if os.Getenv(inside) != "" {
		if os.Getpid() == 1 {
			return reapFor()
		}
		return o.play(tmp, chosen)
	}
	records, err := o.playAll(tmp)
	if err != nil {
		return err
	}
	if o.into != "" {
		if records, err = merge(o.into, records); err != nil {
			return err
		}
	}
	return write(o.out, records)
}

// playAll plays all versions at once, each in a process of its own: most of the
// time goes by in waiting.
func (o *options) playAll(tmp string) ([]record, error) {
	env, err := o.prepare(tmp)
	if err != nil {
		return nil, err
	}
	signal.Ignore(os.Interrupt)
	files, done := make([]string, len(o.from)), make([]chan error, len(o.from))
	for i, v := range o.from {
		files[i], done[i] = filepath.Join(tmp, v.name+".tsv"), make(chan error, 1)
		cmd := exec.Command("/proc/self/exe", "-root", v.name+"="+v.dir, "-o", files[i],
			"-repo", o.repo, "-only", o.only, "-sets", o.sets, "-extra", o.extra, "-helper", o.helper)
		cmd.Env = env
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
			Pdeathsig:  syscall.SIGKILL,
		}
		go func() { done[i] <- cmd.Run() }()
	}
	var records []record
	for i, v := range o.from {
		played, readErr := []record(nil), <-done[i]
		if readErr == nil {
			played, readErr = read(files[i])
		}
		if readErr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", v.name, readErr))
		}
		records = append(records, played...)
	}
	return records, err
}

// prepare finds the Debian roots and builds the helper that the rules call, while
// there is a network, and gives the environment of the processes that play.
func (o *options) prepare(tmp string) ([]string, error) {
	postfix, exim := "", ""
	if debian.Main(func(t testing.TB) {
		if len(o.from) == 0 {
			for _, s := range debian.Suites {
				o.from = append(o.from, version{s.Exim, debian.Base(t, s)})
			}
		}
		postfix, exim = debian.PostfixBase(t), debian.Base(t, debian.SuiteNamed(t, debian.DefaultSuite))
	}) != 0 {
		return nil, errors.New("the lab's Debian roots could not be built")
	}
	if o.helper == "" {
		o.helper = filepath.Join(tmp, "symbiosis-connect-check")
		build := exec.Command("go", "build", "-tags", "netgo,osusergo,sqlite_omit_load_extension",
			"-ldflags", "-linkmode external -extldflags -static", "-o", o.helper, "./cmd/symbiosis-connect-check")
		build.Dir, build.Stderr = o.repo, os.Stderr
		if err := build.Run(); err != nil {
			return nil, fmt.Errorf("building symbiosis-connect-check: %w", err)
		}
	}
	return append(os.Environ(), inside+"=yes", insidePostfix+"="+postfix, insideExim+"="+exim), nil
}

// reapFor is the first process of a process namespace: all that have lost their
// parents, as Exim's deliveries do, become its children, and stay until it has
// noticed their end. It starts the recorder again and has its exit code.
func reapFor() error {
	p, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}})
	if err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		ended, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return err
		case ended == p.Pid && status.ExitStatus() != 0:
			return fmt.Errorf("exit status %d", status.ExitStatus())
		case ended == p.Pid:
			return nil
		}
	}
}

// play plays the selector sets with one version, in a network of its own.
func (o *options) play(tmp string, chosen *regexp.Regexp) (err error) {
	if err := network(); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	stop, err := startDNS()
	if err != nil {
		return fmt.Errorf("DNS server: %w", err)
	}
	defer stop()
	relays, err := startRelays(filepath.Join(tmp, "relays"), os.Getenv(insidePostfix), os.Getenv(insideExim))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, relays.stop()) }()
	v := o.from[0]
	var records []record
	for _, set := range selectorSets {
		if o.sets != "" && !slices.Contains(strings.Split(o.sets, ","), set.name) || slices.Contains(set.unknownTo, v.name) {
			continue
		}
		lab := &lab{version: v.name, lower: v.dir, dir: filepath.Join(tmp, set.name), set: set,
			repo: o.repo, extra: o.extra, helper: o.helper, relays: relays}
		got, err := lab.play(chosen)
		if err != nil {
			return fmt.Errorf("%s: %w", set.name, err)
		}
		fmt.Fprintf(os.Stderr, "%s\t%s\t%d lines\n", v.name, set.name, len(got))
		records = append(records, got...)
	}
	var b strings.Builder
	for _, r := range records {
		b.WriteString(r.String())
	}
	return os.WriteFile(o.out, []byte(b.String()), 0o644)
}

// merge puts the played scenarios into a recorded corpus: in the place of the
// old recording, and the new ones behind the others of their selector set.
func merge(path string, played []record) ([]record, error) {
	old, err := read(path)
	if err != nil {
		return nil, err
	}
	fresh, of := map[string][]record{}, map[string][]string{}
	for _, r := range played {
		if fresh[r.key()] == nil {
			of[r.setKey()] = append(of[r.setKey()], r.key())
		}
		fresh[r.key()] = append(fresh[r.key()], r)
	}
	var merged []record
	set := ""
	flush := func() { // what the set has not had before
		for _, k := range of[set] {
			merged = append(merged, fresh[k]...)
			fresh[k] = nil
		}
	}
	was := map[string]bool{}
	for _, k := range of {
		for _, name := range k {
			was[name] = true
		}
	}
	for _, r := range old {
		if r.setKey() != set {
			flush()
			set = r.setKey()
		}
		if !was[r.key()] {
			merged = append(merged, r)
			continue
		}
		merged = append(merged, fresh[r.key()]...)
		fresh[r.key()] = nil
	}
	flush()
	return merged, nil
}

// network makes every address local, so that a client can have any.
func network() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	for _, args := range []string{
		"link set lo up",
		"route add local 0.0.0.0/0 dev lo",
		"-6 route add local ::/0 dev lo",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", args, err, out)
		}
	}
	for _, file := range []string{"ipv4/ip_nonlocal_bind", "ipv6/ip_nonlocal_bind"} {
		if err := os.WriteFile("/proc/sys/net/"+file, []byte("1\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// A record is one line of the corpus. Fields are separated by tabs; the line
// comes last and may hold tabs of its own.
type record struct {
	version, set, scenario, kind, peer, want, line string
}

func (r record) String() string {
	return strings.Join([]string{r.version, r.set, r.scenario, r.kind, r.peer, r.want, r.line}, "\t") + "\n"
}

// read reads what write and play have written.
func read(path string) (records []record, err error) {
	data, err := os.ReadFile(path)
	for _, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		if f := strings.SplitN(line, "\t", 7); !strings.HasPrefix(line, "#") && len(f) == 7 {
			records = append(records, record{f[0], f[1], f[2], f[3], f[4], f[5], f[6]})
		}
	}
	return records, err
}

func (r record) setKey() string { return r.version + "\t" + r.set }
func (r record) key() string    { return r.setKey() + "\t" + r.scenario }

// plenty are lines that Exim writes about nearly every connection. A few of
// each are enough.
var plenty = []string{"no host name found for IP address", " SMTP connection from ", " no MAIL in SMTP connection from "}

// write keeps the order of play. Of what is there in plenty it keeps some lines
// for each version and selector set, where the scenario has other lines.
func write(path string, records []record) error {
	f := os.Stdout
	if path != "-" {
		var err error
		if f, err = os.Create(path); err != nil {
			return err
		}
	}
	w := bufio.NewWriter(f)
	fmt.Fprintln(w, "# Recorded by tests/corpus/record; do not edit. Fields: Exim's version, log selectors, scenario,")
	fmt.Fprintln(w, "# attack, event, ordinary or relay, the true peer, the events that the scenario must be counted for")
	fmt.Fprintln(w, "# (all of its lines together), and the line as it stands in the log.")
	lines, seen := map[string]int{}, map[string]int{}
	for _, r := range records {
		lines[r.key()]++
	}
next:
	for _, r := range records {
		for _, p := range plenty {
			if !strings.Contains(r.line, p) {
				continue
			}
			k := r.version + "\t" + r.set + "\t" + p
			if seen[k] >= 10 && lines[r.key()] > 1 {
				lines[r.key()]--
				continue next
			}
			seen[k]++
		}
		w.WriteString(r.String())
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if f == os.Stdout {
		return nil
	}
	return f.Close()
}
