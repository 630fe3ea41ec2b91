package main

import (
	"bufio"
	"bytes"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"symbiosis-connect-acl/tests/lab"
)

// patternSearch lets the corpus's own benchmark run several times: it searches
// one log with each program in turn.
func patternSearch(b *bench) string {
	program := filepath.Join(b.dir, "corpus-bench")
	build := exec.Command("go", "build", "-o", program, "./tests/corpus/bench")
	build.Dir = lab.SourceDir()
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	b.Cleanup(func() { exec.Command("rm", program).Run() })
	line := regexp.MustCompile(`^(\S.*?) {2,}(\d+) +([\d.]+) +([\d.]+)$`)
	var names []string
	rates, sizes := map[string]spread{}, map[string]string{}
	for range min(3, b.rounds) {
		run := exec.Command(program, "-size", strconv.Itoa(b.logMiB), "-slow", strconv.Itoa(max(1, b.logMiB/16)), "-repo", lab.SourceDir())
		out, err := run.CombinedOutput()
		if err != nil {
			b.Fatalf("tests/corpus/bench: %v\n%s", err, out)
		}
		for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
			if m := line.FindStringSubmatch(s.Text()); m != nil {
				rate, err := strconv.ParseFloat(m[4], 64)
				b.must(err)
				if !slices.Contains(names, m[1]) {
					names = append(names, m[1])
				}
				rates[m[1]] = append(rates[m[1]], rate)
				sizes[m[1]] = m[2]
			}
		}
	}
	if len(names) < 2 {
		b.Fatal("tests/corpus/bench printed no rates")
	}
	t := newTable("program", "ours ÷ this", "MB/s", "MiB searched")
	for _, name := range names {
		var ratio spread
		for i, r := range rates[name] {
			if name != names[0] && r > 0 {
				ratio = append(ratio, rates[names[0]][i]/r)
			}
		}
		t.row(strings.TrimSpace(name), ratio.String(), number(rates[name].median()), sizes[name])
	}
	return `A mainlog in which one line in fifty is an offence, searched for the patterns of
the package: by ` + "`symbiosis-connect-patterns test`" + `, by a loop in Ruby as the platform's
firewall makes it, and by fail2ban-regex with the same patterns. The slow ones
get a smaller log.

` + t.String()
}
