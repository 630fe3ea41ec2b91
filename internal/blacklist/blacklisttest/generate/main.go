// Command generate makes a count database for the benchmarks and the lab.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"symbiosis-connect-acl/internal/blacklist/blacklisttest"
)

func main() {
	s := blacklisttest.Spec{Now: time.Now()}
	flag.Uint64Var(&s.Seed, "seed", 1, "seed of the random rows")
	flag.IntVar(&s.Rows, "rows", 10_000, "number of rows")
	flag.IntVar(&s.Hosts, "hosts", 0, "number of hosts (default: a tenth of the rows)")
	flag.DurationVar(&s.Span, "span", 0, "how far back the rows reach (default: two years)")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: generate [-seed N] [-rows N] [-hosts N] [-span D] FILE")
		os.Exit(2)
	}
	if err := blacklisttest.Generate(flag.Arg(0), s); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}
