// Command fleet shows three mail servers that share whom they have caught: real
// Exims, Knot as the primary name server, NSD and Knot as secondaries, all
// configured as docs/fleet.md says. It ends with exit code 1 when a host is not
// treated as it should be.
package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"symbiosis-connect-acl/tests/fleet"
	"symbiosis-connect-acl/tests/lab"
)

func main() { os.Exit(lab.Main(demo)) }

const (
	bot      = "8.8.8.8"
	network  = "2a01:7e00::/64"
	bot6     = "2a01:7e00::5"
	user     = "86.1.2.3"
	stranger = "193.0.6.139"
)

func demo(t testing.TB) {
	step := func(format string, args ...any) { fmt.Printf("== "+format+"\n", args...) }
	step("three mail servers, a primary name server (Knot), secondaries (NSD, Knot, Knot)")
	f := fleet.New(t, 3)
	one, two, three := f.Servers[0], f.Servers[1], f.Servers[2]
	for _, s := range f.Servers {
		s.StartWatch()
	}
	fmt.Printf("\n%-46s %-6s %-16s %4s  %-5s %9s  %s\n", "WHAT", "AT", "HOST", "PORT", "REPLY", "AFTER", "WHY (Exim's log)")
	row := func(what string, s *fleet.Server, host string, port int, want string) {
		begin, mark := time.Now(), len(s.Log())
		s.Until(host, port, want)
		took := time.Since(begin)
		why := "-"
		if want != "220" {
			why = reason(s.Log()[mark:], host)
		}
		fmt.Printf("%-46s %-6s %-16s %4d  %-5s %6.2f s   %s\n", what, strings.Split(s.Name, ".")[0], host, port, want, took.Seconds(), why)
	}
	row("before", two, bot, 25, "220")
	one.Offend(bot)
	row("mail1 has caught a bot", two, bot, 25, "550")
	row("the same, on the users' port", three, bot, 587, "550")
	three.Catch(network)
	row("mail3 has caught one with IPv6", one, bot6, 25, "550")
	row("its neighbour in another /64", one, "2a01:7e00:0:1::5", 25, "220")
	two.Root.Hosts("insert into host (net, login) values ('" + user + "', unixepoch()-86400);")
	three.Catch(user)
	row("mail3 lists a host", one, user, 25, "550")
	row("which is a user's at mail2", two, user, 587, "220")
	f.Primary.Kill()
	row("the primary is dead", two, bot, 25, "550")
	row("a stranger meanwhile", two, stranger, 25, "220")
	two.Catch("9.9.9.9")
	f.Primary.Start()
	row("it is back: what mail2 caught meanwhile", one, "9.9.9.9", 25, "550")
	if out, err := one.Do("symbiosis-connect-db", "delete", "--yes", bot); err != nil {
		t.Fatalf("delete: %v\n%s", err, out)
	}
	row("mail1 takes the bot back", two, bot, 25, "220")
	three.Watch.Kill()
	one.Publish("--withdraw", three.Name)
	row("mail3 is lost: withdrawn from mail1", two, bot6, 25, "220")

	step("and for one of them, what the administrator asks on mail1")
	out, _ := one.Do("symbiosis-connect-check", "explain", "9.9.9.9") // its exit code says that the host is refused
	fmt.Printf("# symbiosis-connect-check explain 9.9.9.9\n%s", out)
}

var beforeReason = regexp.MustCompile(`^.*?(?:rejected connection in "connect" ACL: |Warning: )`)

// reason takes out of Exim's log why the host was refused.
func reason(log, host string) string {
	for _, l := range strings.Split(log, "\n") {
		if strings.Contains(l, "["+host+"]") && beforeReason.MatchString(l) {
			return beforeReason.ReplaceAllString(l, "")
		}
	}
	return "-"
}
