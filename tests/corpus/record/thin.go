package main

import (
	"regexp"
	"strings"
)

var (
	messageID = regexp.MustCompile(`\b[0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}\b`)
	digit     = regexp.MustCompile(`[0-9]`)
	given     = regexp.MustCompile(`<.*>|".*"`)
)

// thin keeps a few lines of each form: of those that differ in what the attacker
// has given only, and in numbers of the same length. Those that name the victim
// are a form of their own.
func thin(lines []string, few int) (kept []string) {
	seen := map[string]int{}
	for _, l := range lines {
		form := digit.ReplaceAllString(given.ReplaceAllString(messageID.ReplaceAllString(l, "ID"), "<>"), "0")
		if strings.Contains(l, "8.8.8.8") {
			form += "victim"
		}
		if seen[form]++; seen[form] <= few {
			kept = append(kept, l)
		}
	}
	return kept
}
