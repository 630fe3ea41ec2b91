package main

import (
	"net/netip"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/explain"
)

// whiteListed is what denies says of a host that a white list saves.
const whiteListed = "white-listed"

// exempt tells which of Exim's lists of known hosts has each of the hosts, if one
// has; of an IPv6 host, its /64. Without the rules in force nobody is known, and
// so it is where Exim cannot be asked: then there is no rule that denies.
func exempt(c *cli.Context, p place, keys []address.Key) map[address.Key]string {
	var asked []address.Key
	var addrs []netip.Addr
	for _, k := range keys {
		if k.IsValid() {
			asked, addrs = append(asked, k), append(addrs, k.Prefix().Addr())
		}
	}
	found := map[address.Key]string{}
	if len(asked) == 0 {
		return found
	}
	lists, err := explain.Known(c.Context, p.platform, addrs)
	if err != nil {
		return found
	}
	for i, l := range lists {
		if l != "" {
			found[asked[i]] = l
		}
	}
	return found
}

// spare says of the records whose hosts a white list saves that they are not
// denied.
func spare(c *cli.Context, p place, records []record) {
	var keys []address.Key
	for _, r := range records {
		if r.Over {
			keys = append(keys, r.key)
		}
	}
	lists := exempt(c, p, keys)
	for i, r := range records {
		if r.Over && lists[r.key] != "" {
			records[i].Denied, records[i].denied = false, whiteListed
		}
	}
}
