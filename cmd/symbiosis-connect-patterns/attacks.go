package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/cmd/internal/command"
	"symbiosis-connect-acl/internal/patterns/attacks"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/remedy"
	"symbiosis-connect-acl/internal/words"
)

// What test --attacks --json prints, for each pattern.
type attackResult struct {
	PatternFile string `json:"pattern_file"`
	Line        int    `json:"line,omitempty"`
	Pattern     string `json:"pattern,omitempty"`
	Result      string `json:"result"` // safe, frames, not tried, not finished
	Taken       string `json:"taken,omitempty"`
	Peer        string `json:"peer,omitempty"`
	Attack      string `json:"attack,omitempty"`
	Reason      string `json:"reason,omitempty"`
}

// testAttacks tries pattern files on the recorded attacks; without a name those
// that are live.
func testAttacks(c *cli.Context) error {
	if c.IsSet("log") {
		return errors.New("--attacks reads no log: leave --log out, or --attacks")
	}
	var all []attacks.Verdict
	for _, name := range c.Args().Slice() {
		of, err := attacks.File(c.Context, name)
		if err != nil {
			return err
		}
		all = append(all, of...)
	}
	if c.NArg() == 0 {
		target, from, err := files(c)
		if err != nil {
			return remedy.Add(err, "run it on the server, or name a pattern file")
		}
		ours, err := os.ReadFile(from)
		if err != nil {
			return remedy.Add(fmt.Errorf("our patterns are not there: %w", err), "install the package again")
		}
		targets := []string{target}
		if p, err := platform.Find(c.String("root")); err == nil && c.String("file") == "" {
			targets = p.PatternFiles()
		}
		for _, target := range targets {
			all = append(all, attacks.Live(c.Context, target, ours)...)
		}
	}
	bad := 0
	results := make([]attackResult, 0, len(all))
	for _, v := range all {
		r := attackResult{PatternFile: v.Path, Line: v.Line, Pattern: v.Pattern, Result: string(v.Result), Taken: v.Taken, Reason: v.Reason}
		if v.Result == attacks.Frames {
			r.Peer, r.Attack = v.Attack.Peer.String(), v.Attack.Text
		}
		if v.Result != attacks.Safe {
			bad++
		}
		results = append(results, r)
	}
	if c.Bool("json") {
		if err := command.WriteJSON(os.Stdout, results); err != nil {
			return err
		}
	} else {
		for _, v := range all {
			if v.Result != attacks.Safe {
				fmt.Println(verdict(v))
			}
		}
		fmt.Printf("%d patterns tried on %d recorded attacks, %d to look at\n", len(all), len(attacks.Lines()), bad)
	}
	if bad > 0 {
		return cli.Exit("", exitFound)
	}
	return nil
}

// verdict says what is wrong with a pattern, where it stands and what to do.
func verdict(v attacks.Verdict) string {
	if v.Line == 0 {
		return fmt.Sprintf("%s %s", words.Printable(v.Path), v)
	}
	return fmt.Sprintf("%s: line %d: %s\n  comment it out, or mend it: %s", words.Printable(v.Path), v.Line, v, words.Printable(v.Pattern))
}
