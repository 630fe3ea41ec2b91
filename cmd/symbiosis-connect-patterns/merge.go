package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	"symbiosis-connect-acl/cmd/internal/command"
	"symbiosis-connect-acl/internal/atomicfile"
	"symbiosis-connect-acl/internal/patterns"
	"symbiosis-connect-acl/internal/patterns/attacks"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/remedy"
	"symbiosis-connect-acl/internal/safepath"
	"symbiosis-connect-acl/internal/words"
)

// files finds the platform's pattern file and our own, unless flags name them.
func files(c *cli.Context) (target, ours string, err error) {
	target, ours = c.String("file"), c.String("patterns")
	if target != "" && (ours != "" || c.Command.Name == "remove") {
		return target, ours, nil
	}
	p, err := platform.Find(c.String("root"))
	if err != nil {
		return "", "", err
	}
	if target == "" {
		target = p.PatternFile()
	}
	if ours == "" {
		ours = p.OurPatterns()
	}
	return target, ours, nil
}

// read gives nil for a file that is missing, and never nil for one that is not.
func read(path string) ([]byte, error) {
	data, err := safepath.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case data == nil:
		return []byte{}, nil
	}
	return data, nil
}

func install(c *cli.Context) error {
	if err := command.NoArguments(c); err != nil {
		return err
	}
	target, from, err := files(c)
	if err != nil {
		return err
	}
	ours, err := os.ReadFile(from)
	if err != nil {
		return remedy.Add(fmt.Errorf("our patterns are not there: %w", err), "install the package again")
	}
	existing, err := read(target)
	if err != nil {
		return err
	}
	merged, superseded, err := patterns.Install(existing, ours)
	if err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	if c.Bool("dry-run") {
		fmt.Print(command.Diff(target, existing, merged))
		return nil
	}
	say := func(format string, args ...any) {
		if !c.Bool("quiet") {
			command.Printf(format+"\n", args...)
		}
	}
	if existing != nil && string(existing) == string(merged) {
		say("%s: nothing to change", target)
	} else {
		// A new file belongs to whom its directory belongs to, as the
		// platform's own files there do.
		if err := atomicfile.WriteAsNeighbour(target, merged, 0o644); err != nil {
			return err
		}
		say("%s: our patterns are in", target)
		for _, s := range superseded {
			say("  line %d is commented out, it is %s: %s", s.Line, s.Why, s.Text)
		}
	}
	if !c.Bool("quiet") {
		for _, v := range attacks.Live(c.Context, target, ours) {
			switch {
			case v.Superseded != "":
				say("%s: line %d is %s; comment it out: %s", words.Printable(v.Path), v.Line, v.Superseded, words.Printable(v.Pattern))
			case v.Result != attacks.Safe:
				say("%s", verdict(v))
			}
		}
	}
	return nil
}

func remove(c *cli.Context) error {
	if err := command.NoArguments(c); err != nil {
		return err
	}
	target, _, err := files(c)
	if err != nil {
		return err
	}
	merged, err := read(target)
	if err != nil {
		return err
	}
	original, deleteFile, err := patterns.Remove(merged)
	if err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	if c.Bool("dry-run") {
		if deleteFile {
			original = nil
		} else if original == nil {
			original = []byte{}
		}
		fmt.Print(command.Diff(target, merged, original))
		return nil
	}
	say := func(text string) {
		if !c.Bool("quiet") {
			command.Printf("%s: %s\n", target, text)
		}
	}
	switch {
	case string(merged) == string(original):
		say("nothing to change")
		return nil
	case deleteFile:
		if err := atomicfile.Remove(target); err != nil {
			return err
		}
		say("deleted, because there was none before")
		return nil
	}
	if err := atomicfile.Write(target, original, 0o644); err != nil {
		return err
	}
	say("our patterns are out")
	return nil
}
