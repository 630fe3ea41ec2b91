package door

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"symbiosis-connect-acl/tests/lab"
)

// A list may have a key in its name that is paid for. It is on no command line,
// where any user of the machine could read it, and in no log; and the list works.
func TestKeyOfAListIsKept(t *testing.T) {
	const key = "abcdefghij0123456789klmnop"
	const zone = key + ".zen.dq.spamhaus.net"
	everySuite(t, func(t *testing.T, d *door) {
		d.DNS.List(t, zone, listed4, "127.0.0.4", "see https://check.spamhaus.org/")
		helpers := func(from string) (lines []string) {
			d.DNS.Behave("slow.example", lab.Silent) // the helper waits for it
			done := make(chan string, 1)
			go func() { done <- d.Greet(from, 25) }()
			for {
				select {
				case <-done:
					return lines
				default:
					lines = append(lines, d.commandLines("symbiosis-connect-check\x00dnsbl\x00")...)
					time.Sleep(5 * time.Millisecond) // between two looks at a condition
				}
			}
		}
		d.with(t, func() {
			lines := helpers(innocent4)
			if len(lines) == 0 {
				t.Error("no helper was seen")
			}
			for _, l := range lines {
				if strings.Contains(l, key) {
					t.Errorf("the key is on a command line: %q", l)
					break
				}
			}
			d.expect(t, listed4, 25, "550", listed4+" is blacklisted at ***.zen.dq.spamhaus.net.")
			d.expect(t, innocent4, 25, "220", "")
			if out, _ := d.Root.Try("exim4", "-C", "/etc/exim4/exim4.conf", "-bh", innocent4); !strings.Contains(out, "--lists-from=connect_dnsbls\n") {
				t.Errorf("exim4 -bh does not take the lists from the environment: %s", out)
			}
			if l := d.Log(); strings.Contains(l, key) || strings.Contains(l, "wrong command line") {
				t.Errorf("the log:\n%s", l)
			}
		}, "CHECK_CONNECT_IP_DNSBLS == "+zone+"=127.0.0.[2..11]*2 : slow.example=127.0.0.2", "CONNECT_DNSBL_MEMORY == 0s")
		// What Exim puts together at the connection cannot be in the environment.
		d.with(t, func() {
			d.expect(t, listed4, 25, "550", "is blacklisted at ***.zen.dq.spamhaus.net.")
			d.expect(t, innocent4, 25, "220", "")
		}, "CHECK_CONNECT_IP_DNSBLS == ${lc:"+strings.ToUpper(zone)+"}=127.0.0.[2..11]", "CONNECT_DNSBL_MEMORY == 0s")
	})
}

// commandLines gives those of the root's processes that have part in them.
func (d *door) commandLines(part string) (lines []string) {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range all {
		line, err := os.ReadFile(filepath.Join(p, "cmdline"))
		if err != nil || !bytes.Contains(line, []byte(part)) {
			continue
		}
		if root, err := os.Readlink(filepath.Join(p, "root")); err == nil && root == d.Root.Dir {
			lines = append(lines, string(line))
		}
	}
	return lines
}
