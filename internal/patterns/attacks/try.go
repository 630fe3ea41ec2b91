package attacks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/patterns"
	"symbiosis-connect-acl/internal/safepath"
	"symbiosis-connect-acl/internal/words"
)

// Limit is how long Live may take. A pattern is the administrator's, and may be
// slow on purpose.
const Limit = 10 * time.Second

const (
	// A pattern that leaves so many lines undecided is not tried on more.
	mostUndecided = 3
	// A pattern file has a few kilobytes, and a pattern a few hundred bytes.
	// Compiling a far longer one can take all the memory there is.
	largestFile    = 1 << 20
	largestPattern = 1 << 14
)

// A Result says how a pattern has done.
type Result string

// The results.
const (
	Safe       Result = "safe"         // it takes no wrong address from any attack
	Frames     Result = "frames"       // it can be used to block others
	NotTried   Result = "not tried"    // it does not compile here, or its file cannot be read
	Unfinished Result = "not finished" // it is too slow, or there was no time left for it
)

// A Verdict is what became of one pattern.
type Verdict struct {
	Path    string // its file; set by Live and by File
	Line    int    // its line there, 0 for the file as a whole
	Pattern string
	Result  Result
	Taken   string // with Frames: the address that it takes
	Attack  Line   // from this line
	Reason  string // with NotTried and Unfinished

	// Superseded says why ours take the place of this pattern, which is in use
	// beside them; "" where they do not. Set by Live.
	Superseded string
}

// String says in one line what is wrong, without the file and the pattern.
func (v Verdict) String() string {
	switch v.Result {
	case Frames:
		return fmt.Sprintf("this pattern can be used to block others: it takes %s from a line that %s has caused: %s", v.Taken, v.Attack.Peer, v.Attack)
	case NotTried:
		return "could not be tried: " + words.Printable(v.Reason)
	case Unfinished:
		return "not finished: " + words.Printable(v.Reason)
	}
	return "takes no wrong address from any attack"
}

// Live tries every pattern that the firewall applies to Exim's log: those of
// main, the platform's exim4.patterns, and of the other *.patterns beside it
// that name the same log. ours is our pattern file. Live ends within Limit.
func Live(ctx context.Context, main string, ours []byte) []Verdict {
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	log := ""
	if own, err := patterns.Parse(ours); err == nil {
		log = own.Log
	}
	if _, f, err := read(main); err == nil && f.Log != "" {
		log = f.Log
	}
	paths, _ := filepath.Glob(filepath.Join(filepath.Dir(main), "*.patterns"))
	var all []Verdict
	for _, path := range paths {
		data, f, err := read(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			all = append(all, Verdict{Path: path, Result: NotTried, Reason: err.Error()})
			continue
		case !names(f.Log, log):
			continue
		}
		why := map[int]string{}
		if _, superseded, err := patterns.Install(data, ours); err == nil {
			for _, s := range superseded {
				why[s.Line] = s.Why
			}
		}
		for _, v := range try(ctx, path, f) {
			v.Superseded = why[v.Line]
			all = append(all, v)
		}
	}
	return all
}

// File tries every pattern of a file, whichever log it names. It ends within
// Limit. The error says that the file cannot be read.
func File(ctx context.Context, path string) ([]Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	_, f, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return try(ctx, path, f), nil
}

// read waits for nobody and follows no link: the folder is not root's.
func read(path string) ([]byte, *patterns.File, error) {
	in, err := safepath.Open(path)
	if errors.Is(err, safepath.ErrNotRegular) {
		return nil, nil, errors.New("not a regular file")
	} else if err != nil {
		return nil, nil, bare(err)
	}
	defer in.Close()
	data, err := io.ReadAll(io.LimitReader(in, largestFile+1))
	if err != nil {
		return nil, nil, bare(err)
	}
	if len(data) > largestFile {
		return nil, nil, errors.New("more than 1 MiB: this is not a pattern file")
	}
	f, err := patterns.Parse(data)
	return data, f, err
}

// bare leaves out the path, which the caller names.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// names tells whether a "file =" names the log: alone, in a list, or by a
// wildcard.
func names(value, log string) bool {
	for _, item := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		if match, _ := filepath.Match(filepath.Clean(item), filepath.Clean(log)); match || filepath.Clean(item) == filepath.Clean(log) {
			return true
		}
	}
	return false
}

func try(ctx context.Context, path string, f *patterns.File) []Verdict {
	var all []Verdict
	for _, p := range f.Patterns {
		v := tryOne(ctx, *p)
		v.Path, v.Line, v.Pattern = path, p.Line, p.Source
		all = append(all, v)
	}
	return all
}

// tryOne compiles the pattern for itself: what is compiled can be large, and
// goes with it.
func tryOne(ctx context.Context, p patterns.Pattern) Verdict {
	late := Verdict{Result: Unfinished, Reason: "there was no time left to try it"}
	slow := Verdict{Result: Unfinished, Reason: fmt.Sprintf("it needs more than %v for one line, and keeps the firewall busy, too", patterns.BacktrackLimit)}
	switch {
	case ctx.Err() != nil:
		return late
	case len(p.Source) > largestPattern:
		return Verdict{Result: NotTried, Reason: fmt.Sprintf("it is longer than %d bytes", largestPattern)}
	}
	one := patterns.File{Patterns: []*patterns.Pattern{&p}}
	if err := one.Compile(); err != nil {
		reason := err.Error()
		var pe *patterns.Error
		if errors.As(err, &pe) {
			reason = pe.Reason
		}
		return Verdict{Result: NotTried, Reason: reason}
	}
	undecided := 0
	for _, l := range Lines() {
		taken, ok, err := p.Match([]byte(l.Text))
		switch {
		case err != nil:
			if undecided++; undecided == mostUndecided {
				return slow
			}
		case ok && another(string(taken), l.Peer):
			return Verdict{Result: Frames, Taken: string(taken), Attack: l}
		}
		if ctx.Err() != nil {
			return late
		}
	}
	if undecided > 0 {
		return slow
	}
	return Verdict{Result: Safe}
}

// another tells whether the firewall would book what a pattern took under
// another host than the peer. It drops what is no address.
func another(taken string, peer netip.Addr) bool {
	if a, err := netip.ParseAddr(taken); err == nil {
		return a.Unmap() != peer.Unmap()
	}
	_, err := netip.ParsePrefix(taken)
	return err == nil
}
