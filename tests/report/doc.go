// Package report tests symbiosis-connect-db report on a week that was recorded
// from real Exims (go test ./tests/report -run Record -record plays it again),
// for which every number is known: the clients noted what they saw.
package report
