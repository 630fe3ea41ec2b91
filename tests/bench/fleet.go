package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/zone"
	"symbiosis-connect-acl/tests/fleet"
)

// fleetTimes measures from an offence on one server to the refusal on others, and
// what a large zone costs each name server.
func fleetTimes(b *bench) string {
	f := fleet.New(b, 3)
	one, two, three := f.Servers[0], f.Servers[1], f.Servers[2]
	var watched, cron []time.Duration
	one.StartWatch()
	elsewhere := func(n int) time.Duration {
		host := fmt.Sprintf("8.8.%d.%d", n/250, n%250+1)
		begin := time.Now()
		one.Offend(host)
		for _, s := range []*fleet.Server{two, three} {
			s.Until(host, 25, "550")
		}
		return time.Since(begin)
	}
	for n := range 4 * b.rounds {
		watched = append(watched, elsewhere(n))
	}
	one.Watch.Kill()
	stop := make(chan struct{})
	ended := make(chan struct{})
	go func() { // the line of debian/cron.d
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute))):
				one.Do("sh", "-c", "sleep 5; exec symbiosis-connect-db publish")
			}
		}
	}()
	for n := range 2 {
		cron = append(cron, elsewhere(1000+n))
	}
	close(stop)
	<-ended

	t := newTable("published", "offences", "median", "worst", "target")
	most := func(d []time.Duration) time.Duration { return quantile(d, 1) }
	t.row("`publish --watch`", fmt.Sprint(len(watched)), seconds(median(watched)), seconds(most(watched)), "10 s: "+met(most(watched) <= 10*time.Second))
	t.row("from cron", fmt.Sprint(len(cron)), seconds(median(cron)), seconds(most(cron)), "75 s: "+met(most(cron) <= 75*time.Second))
	var transfers []time.Duration // octets, in the type that median takes
	f.Primary.Kill()
	for _, m := range ixfr.FindAllStringSubmatch(f.Primary.Log.String(), -1) {
		var n int64
		fmt.Sscan(m[1], &n)
		transfers = append(transfers, time.Duration(n))
	}
	return "From an offence on one server to the refusal on both others: real Exims, Knot as the primary, Knot as secondaries.\n\n" +
		t.String() + fmt.Sprintf("\nA secondary fetches %d octets for one change (IXFR, median of %d).\n\n", int64(median(transfers)), len(transfers)) + b.zoneSizes()
}

// ixfr is how Knot logs a transfer of what has changed.
var ixfr = regexp.MustCompile(`IXFR, outgoing.*finished.* (\d+) bytes`)

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// zoneSizes loads a zone of a million hosts, a fifth of them IPv6, into each name
// server.
func (b *bench) zoneSizes() string {
	const hosts = 1_000_000
	dir := filepath.Join(b.dir, "zones")
	b.must(os.MkdirAll(dir, 0o777))
	b.must(os.Chmod(dir, 0o777))
	b.Cleanup(func() { os.RemoveAll(dir) })
	size := map[zone.Format]int64{}
	for _, format := range []zone.Format{zone.RFC1035, zone.Rbldnsd} {
		path := filepath.Join(dir, string(format))
		_, err := zone.WriteFile(context.Background(), path, time.Now().Unix(), func(o zone.Output) error {
			return format.Write(o, zone.Head{Zone: fleet.Zone, Origin: "mail1.example.org"}, func(yield func(zone.Entry, error) bool) {
				for i := range hosts {
					a := netip.AddrFrom4([4]byte{byte(11 + i>>18), byte(i >> 10), byte(i >> 2), byte(i<<6) | 1})
					if i%5 == 0 {
						a = netip.AddrFrom16([16]byte{0x2a, 1, byte(i >> 16), byte(i >> 8), byte(i)})
					}
					e := zone.Entry{Key: address.FromAddr(a), Reason: zone.Reasons[i%3], Day: zone.Day(20700 + i%30)}
					if !yield(e, nil) {
						return
					}
				}
			})
		})
		b.must(err)
		st, err := os.Stat(path)
		b.must(err)
		size[format] = st.Size()
	}
	knot := fmt.Sprintf("server:\n    rundir: %[1]s\n    listen: 127.0.0.1@20953\ndatabase:\n    storage: %[1]s\nzone:\n  - domain: %[2]s\n    file: %[1]s/rfc1035\n    zonefile-sync: -1\n", dir, fleet.Zone)
	nsd := fmt.Sprintf("server:\n  ip-address: 127.0.0.1@20954\n  username: \"\"\n  zonesdir: %[1]s\n  database: \"\"\n  pidfile: \"\"\n  xfrdfile: %[1]s/xfrd\n  zonelistfile: %[1]s/zonelist\n  xfrdir: %[1]s\n"+
		"remote-control:\n  control-enable: no\nzone:\n  name: %[2]s\n  zonefile: %[1]s/rfc1035\n", dir, fleet.Zone)
	b.must(os.WriteFile(filepath.Join(dir, "knot.conf"), []byte(knot), 0o644))
	b.must(os.WriteFile(filepath.Join(dir, "nsd.conf"), []byte(nsd), 0o644))
	t := newTable("name server", "file", "memory", "until it answers")
	for _, s := range []struct {
		name, port string
		format     zone.Format
		args       []string
	}{
		{"rbldnsd", "20952", zone.Rbldnsd, []string{"/usr/sbin/rbldnsd", "-n", "-u", "nobody", "-w", dir, "-b", "127.0.0.1/20952", fleet.Zone + ":combined:rbldnsd"}},
		{"Knot", "20953", zone.RFC1035, []string{"/usr/sbin/knotd", "-c", filepath.Join(dir, "knot.conf")}},
		{"NSD", "20954", zone.RFC1035, []string{"/usr/sbin/nsd", "-d", "-c", filepath.Join(dir, "nsd.conf")}},
	} {
		cmd := exec.Command(s.args[0], s.args[1:]...)
		begin := time.Now()
		b.must(cmd.Start())
		kill := func() { cmd.Process.Kill(); cmd.Wait() }
		b.Cleanup(kill)
		for {
			out, _ := exec.Command(b.program("symbiosis-connect-check"), "dnsbl", "--server", "127.0.0.1:"+s.port, "--lists", fleet.Zone, "--verbose", "127.0.0.2").Output()
			if strings.HasPrefix(string(out), "verdict=deny") {
				break
			}
			if time.Since(begin) > 2*time.Minute {
				b.Fatalf("%s does not answer", s.name)
			}
			time.Sleep(20 * time.Millisecond) // between two looks at a condition
		}
		took := time.Since(begin)
		t.row(s.name, mebi(size[s.format]), mebi(memory(cmd.Process.Pid)), seconds(took))
		kill()
	}
	return "A zone of a million hosts, a fifth of them IPv6, in each name server:\n\n" + t.String()
}

func mebi(n int64) string { return fmt.Sprintf("%d MiB", (n+1<<19)>>20) }

// memory gives what a process and its children have in memory that is theirs.
func memory(pid int) (sum int64) {
	for _, line := range strings.Split(readString(fmt.Sprintf("/proc/%d/smaps_rollup", pid)), "\n") {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "Pss:" {
			var kib int64
			fmt.Sscan(f[1], &kib)
			sum += kib << 10
		}
	}
	for _, child := range strings.Fields(readString(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))) {
		var n int
		fmt.Sscan(child, &n)
		sum += memory(n)
	}
	return sum
}

func readString(path string) string {
	b, _ := os.ReadFile(path)
	return string(b)
}
