// Command choose writes the attacks that ship in our programs, from a recorded
// corpus:
//
//	go run ./tests/corpus/choose -o FILE CORPUS
//
// "go generate ./internal/patterns/attacks" calls it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"symbiosis-connect-acl/internal/patterns/attacks"
	"symbiosis-connect-acl/tests/corpus"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "choose:", err)
		os.Exit(1)
	}
}

func run() error {
	out := flag.String("o", "", "`file` to write")
	flag.Parse()
	if *out == "" || flag.NArg() != 1 {
		return errors.New("usage: choose -o FILE CORPUS")
	}
	entries, err := corpus.Load(flag.Arg(0))
	if err != nil {
		return err
	}
	lines, err := corpus.Choose(entries)
	if err != nil {
		return err
	}
	data, err := attacks.Pack(lines)
	if err != nil {
		return err
	}
	return os.WriteFile(*out, data, 0o644)
}
