package retain

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"testing"

	"symbiosis-connect-acl/internal/blocks"
	"symbiosis-connect-acl/tests/lab"
)

// What one reading of the counters of 10,000 rules takes. It needs iptables on
// the machine itself.
func BenchmarkCounts(b *testing.B) {
	const rules = 10_000
	var text bytes.Buffer
	text.WriteString("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:blacklist - [0:0]\n-A INPUT -j blacklist\n")
	for n := range rules {
		a := netip.AddrFrom4([4]byte{11, byte(n >> 16), byte(n >> 8), byte(n)})
		fmt.Fprintf(&text, "-A blacklist -s %s/32 -p tcp -m tcp --dport 25 -j DROP\n", a)
	}
	text.WriteString("COMMIT\n")
	for _, variant := range []string{"nft", "legacy"} {
		b.Run(variant, func(b *testing.B) {
			n := lab.NewNet(b)
			cmd := exec.Command("ip", "netns", "exec", n.Server, "iptables-"+variant+"-restore")
			cmd.Stdin = bytes.NewReader(text.Bytes())
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
			if err := lab.Enter(n.Server, func() error {
				for b.Loop() {
					counts, err := blocks.ReadCounts(context.Background())
					if err != nil {
						return err
					}
					if len(counts) != rules {
						return fmt.Errorf("%d of %d rules were read", len(counts), rules)
					}
				}
				return nil
			}); err != nil {
				b.Fatal(err)
			}
		})
	}
}
