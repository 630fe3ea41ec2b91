package blocks

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// chain is the one in which the platform's firewall has a rule for each file of
// blacklist.d, or two for each port that the file names.
const chain = "blacklist"

// Counts are the packets that the chain has dropped since it was filled, by the
// source that its rules name.
type Counts map[netip.Prefix]int64

// ErrNoPrograms says that there is no iptables to ask.
var ErrNoPrograms = errors.New("iptables-save is not installed, so nothing is known of the firewall's counters")

// readLimit bounds the time that one program has.
const readLimit = time.Minute

// ReadCounts reads the counters of the running firewall, for IPv4 and IPv6, and
// of both variants of iptables: rules of one stay in force when an
// administrator turns to the other. A kernel may have only one of them, so an
// error is only what all have in common.
func ReadCounts(ctx context.Context) (Counts, error) {
	counts := Counts{}
	var failed error
	asked, answered := 0, 0
	for _, name := range []string{"iptables", "ip6tables"} {
		for _, program := range programs(name) {
			asked++
			if err := readProgram(ctx, program, counts); err != nil {
				failed = errors.Join(failed, err)
				continue
			}
			answered++
		}
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case asked == 0:
		return nil, ErrNoPrograms
	case answered == 0:
		return nil, failed
	}
	return counts, nil
}

// programs gives the programs that save the rules. Debian 9 has no variants.
func programs(name string) (found []string) {
	for _, n := range []string{name + "-legacy-save", name + "-nft-save", name + "-save"} {
		if len(found) > 0 && n == name+"-save" {
			break // it is one of those
		}
		for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
			if path, err := exec.LookPath(dir + n); err == nil {
				found = append(found, path)
				break
			}
		}
	}
	return found
}

// readProgram adds what one program says. No table is named to it, because it
// would make the kernel load one that is not there.
func readProgram(ctx context.Context, program string, counts Counts) error {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-c")
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	// What it says before it fails is half of the truth.
	its := Counts{}
	err = its.parse(out)
	io.Copy(io.Discard, out)
	if ended := cmd.Wait(); ended != nil {
		err = ended
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, strings.Join(strings.Fields(errs.String()), " "))
	}
	for net, n := range its {
		counts[net] += n
	}
	return nil
}

// parse adds what iptables-save -c has written, whose lines are such as
//
//	[12:720] -A blacklist -s 192.0.2.1/32 -p tcp -m tcp --dport 25 -j DROP
func (c Counts) parse(r io.Reader) error {
	s := bufio.NewScanner(r)
	filter := false
	for s.Scan() {
		line := s.Text()
		if strings.HasPrefix(line, "*") {
			filter = line == "*filter"
		}
		counter, rule, ok := strings.Cut(line, "] -A "+chain+" ")
		if !filter || !ok || counter[0] != '[' {
			continue
		}
		text, _, _ := strings.Cut(counter[1:], ":")
		packets, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is no counter", counter)
		}
		if net, ok := dropped(rule); ok {
			c[net] += packets
		}
	}
	return s.Err()
}

// quoted is a comment, or what is written to a log.
var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// dropped gives the source of a rule that drops what comes from there. The rule
// for UDP that stands beside each one for TCP does not count: nobody sends mail
// by UDP, and anybody can write another's address on such a packet.
func dropped(rule string) (net netip.Prefix, ok bool) {
	drops := false
	f := strings.Fields(quoted.ReplaceAllString(rule, "WORDS"))
	for i := 0; i+1 < len(f); i++ {
		switch f[i] {
		case "!":
			return net, false // from everywhere but there, or so
		case "-s":
			var err error
			if net, err = netip.ParsePrefix(f[i+1]); err != nil {
				a, err := netip.ParseAddr(f[i+1])
				if err != nil {
					return net, false
				}
				net = netip.PrefixFrom(a, a.BitLen())
			}
		case "-p":
			if f[i+1] != "tcp" {
				return net, false
			}
		case "-j":
			drops = f[i+1] == "DROP" || f[i+1] == "REJECT" // and not LOG before it
		}
	}
	return net.Masked(), drops && net.IsValid()
}
