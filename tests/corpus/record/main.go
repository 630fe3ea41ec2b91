// Command record plays every event and every attack of the corpus against real
// Exims and writes down what they log, line by line, with the peer that each
// line is about.
//
//	go run ./tests/corpus/record -o tests/corpus/corpus.tsv
//
// A root is a Debian tree with exim4-daemon-heavy, the lab's unless others are
// given with -root VERSION=DIRECTORY; it is not changed (the
// recorder works in an overlay over it). The recorder needs to be root. It
// moves into a network and a mount namespace of its own, in which every address
// is local: a scenario's connection really comes from the peer's address, and
// nothing leaves the machine. When it ends, the namespaces end with it.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	debian "symbiosis-connect-acl/tests/lab"
)

const inside = "CORPUS_RECORDER_INSIDE"

type roots []struct{ version, dir string }

func (r *roots) String() string { return fmt.Sprint(*r) }
func (r *roots) Set(s string) error {
	v, dir, ok := strings.Cut(s, "=")
	if !ok {
		return fmt.Errorf("want VERSION=DIRECTORY, got %q", s)
	}
	*r = append(*r, struct{ version, dir string }{v, dir})
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

func run() error {
	var from roots
	flag.Var(&from, "root", "`VERSION=DIRECTORY` of a Debian tree with exim4-daemon-heavy (repeat for each version); without it those of the lab")
	out := flag.String("o", "-", "`file` to write the corpus to, - for standard output")
	repo := flag.String("repo", ".", "`directory` of the checkout, for the fixture tree and the snippets")
	only := flag.String("only", "", "play only scenarios whose name matches the regular `expression`")
	into := flag.String("into", "", "a corpus `file` whose other scenarios are kept")
	sets := flag.String("sets", "", "comma-separated `names` of selector sets to play; all without it")
	extra := flag.String("extra", "", "`directory` with snippets laid over the tree last, to try changes")
	helper := flag.String("helper", "", "`file` to install as symbiosis-connect-check; built from the checkout without it")
	flag.Parse()
	chosen, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	if os.Getenv(inside) == "" {
		var args []string
		if len(from) == 0 {
			if args, err = labRoots(); err != nil {
				return err
			}
		}
		return reexec(*repo, *helper, args)
	}
	tmp, err := os.MkdirTemp("", "corpus-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := network(); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	stop, err := startDNS()
	if err != nil {
		return fmt.Errorf("DNS server: %w", err)
	}
	defer stop()
	var records []record
	for _, r := range from {
		for _, set := range selectorSets {
			if *sets != "" && !contains(strings.Split(*sets, ","), set.name) {
				continue
			}
			lab := &lab{version: r.version, lower: r.dir, dir: filepath.Join(tmp, r.version, set.name), set: set,
				repo: *repo, extra: *extra, helper: os.Getenv(inside)}
			got, err := lab.play(chosen)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", r.version, set.name, err)
			}
			fmt.Fprintf(os.Stderr, "%s\t%s\t%d lines\n", r.version, set.name, len(got))
			records = append(records, got...)
		}
	}
	if *into != "" {
		if records, err = merge(*into, records); err != nil {
			return err
		}
	}
	return write(*out, records)
}

// merge puts the played scenarios into a recorded corpus: in the place of the
// old recording, and the new ones behind the others of their selector set.
func merge(path string, played []record) ([]record, error) {
	data, err := os.ReadFile(path)
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
	for _, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		f := strings.SplitN(line, "\t", 7)
		if strings.HasPrefix(line, "#") || len(f) != 7 {
			continue
		}
		r := record{f[0], f[1], f[2], f[3], f[4], f[5], f[6]}
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

// labRoots gives the Debian roots of the lab as arguments, built if need be:
// there is no network later.
func labRoots() (args []string, err error) {
	if debian.Main(func(t testing.TB) {
		for _, s := range debian.Suites {
			args = append(args, "-root", s.Exim+"="+debian.Base(t, s))
		}
	}) != 0 {
		return nil, fmt.Errorf("the lab's Debian roots could not be built")
	}
	return args, nil
}

// reexec starts the recorder again in namespaces of its own. The helper that
// the rules call is built first, while there still is a network.
func reexec(repo, helper string, args []string) error {
	tmp, err := os.MkdirTemp("", "corpus-helper-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if helper == "" {
		helper = filepath.Join(tmp, "symbiosis-connect-check")
		build := exec.Command("go", "build", "-tags", "netgo,osusergo,sqlite_omit_load_extension",
			"-ldflags", "-linkmode external -extldflags -static", "-o", helper, "./cmd/symbiosis-connect-check")
		build.Dir, build.Stderr = repo, os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("building symbiosis-connect-check: %w", err)
		}
	}
	cmd := exec.Command("/proc/self/exe", append(args, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), inside+"="+helper)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	signal.Ignore(os.Interrupt)
	return cmd.Run()
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

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// A record is one line of the corpus. Fields are separated by tabs; the line
// comes last and may hold tabs of its own.
type record struct {
	version, set, scenario, kind, peer, want, line string
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
	fmt.Fprintln(w, "# attack or event or ordinary, the true peer, the events that the scenario must be counted for")
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
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.version, r.set, r.scenario, r.kind, r.peer, r.want, r.line)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if f == os.Stdout {
		return nil
	}
	return f.Close()
}
