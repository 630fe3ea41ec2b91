package main

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/blacklist"
)

func dryRunFlag() cli.Flag {
	return &cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "only say what would be done"}
}

func verboseFlag() cli.Flag {
	return &cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "say what was done"}
}

// parseTime reads a point in time: a day or a time in UTC, or a distance from now.
func parseTime(s string, now time.Time) (time.Time, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		if days, err := strconv.Atoi(n); err == nil && days >= 0 && days < 100000 {
			return now.Add(-time.Duration(days) * blacklist.Day), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("%q is no time: write 2026-03-15, 2026-03-15T12:00:00Z, or 7d or 24h for that long ago", s)
}

// parseNet reads a network, or an address as the network of that host.
func parseNet(s string) (netip.Prefix, error) {
	if k, err := address.Parse(s); err == nil {
		return k.Prefix(), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, usagef("--net: %q is not a network such as 192.0.2.0/24 or 2001:db8::/32", s)
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

func parseKeys(args []string) ([]address.Key, error) {
	var keys []address.Key
	for _, a := range args {
		k, err := address.Parse(a)
		if err != nil {
			return nil, usagef("%v", err)
		}
		if !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

func joinInts(ns []int) string {
	var s []string
	for _, n := range ns {
		s = append(s, strconv.Itoa(n))
	}
	return strings.Join(s, ",")
}

func parseMinutes(s string) ([]int, error) {
	var all []int
	for _, f := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' }) {
		n, err := strconv.Atoi(f)
		if err != nil || n < 0 || n > 59 {
			return nil, usagef("--writer-minutes: %q is not a minute from 0 to 59", f)
		}
		all = append(all, n)
	}
	return all, nil
}
