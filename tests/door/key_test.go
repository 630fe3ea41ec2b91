package door

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/tests/lab"
)

// The snippet computes a host's key with Exim's string functions, our programs
// compute it in Go, and the firewall has its own way. The first two must agree
// on every IPv6 address, wherever its zero groups are (the third is checked
// with its own outputs in internal/address).
func TestKeyIsTheSameInEximAndGo(t *testing.T) {
	snippet, err := os.ReadFile(filepath.Join(lab.SourceDir(), "symbiosis.d/10-acl/10-acl-check-connect/15-connect-variables"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`set acl_c_connect_net  = (\$\{ipv6norm:.*\})\n`).FindSubmatch(snippet)
	if m == nil {
		t.Fatal("15-connect-variables does not compute acl_c_connect_net with ipv6norm any more")
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	var addrs []netip.Addr
	for zeros := range 256 { // each pattern of zero groups
		var b [16]byte
		for g := range 8 {
			if zeros>>g&1 == 0 {
				// Short and long groups, so that leading zeros are shed too.
				v := uint16(rnd.Uint32()) >> (4 * rnd.IntN(4))
				b[2*g], b[2*g+1] = byte(v>>8), byte(v)
			}
		}
		b[0] |= 0x20 // global unicast; "::" is nobody's address
		addrs = append(addrs, netip.AddrFrom16(b))
	}
	var in strings.Builder
	for _, a := range addrs {
		fmt.Fprintf(&in, "%s\n", strings.ReplaceAll(string(m[1]), "$sender_host_address", a.StringExpanded()))
	}
	for _, suite := range lab.Suites {
		t.Run(suite.Exim, func(t *testing.T) {
			t.Parallel()
			r := lab.NewRoot(t, suite.Name, "")
			cmd := r.Command("exim4", "-be")
			cmd.Stdin = strings.NewReader(in.String())
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Split(strings.ReplaceAll(string(out), "> ", ""), "\n")
			for i, a := range addrs {
				if want := address.FromAddr(a).String(); got[i]+"/64" != want {
					t.Errorf("%s: Exim %s/64, Go %s", a, got[i], want)
				}
			}
		})
	}
}
