package patterns

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"runtime"
	"sort"
	"sync"
)

// A Report says what the patterns of a file take from a log.
type Report struct {
	Lines int64 // read
	Bytes int64 // read
	Taken int64 // lines that at least one pattern matched
	Exim  bool  // a line begins as those of Exim's log do

	Patterns []PatternReport // as in File.Patterns

	Doubles        int64    // lines that two or more patterns matched: they count twice
	DoubleSamples  []Sample // the first of them
	Wrong          int64    // addresses taken that are not the peer that Exim wrote
	WrongSamples   []Sample
	Unclear        int64 // Exim lines that can be read in two ways, and an address was taken
	UnclearSamples []Sample
}

// A PatternReport says what one pattern takes.
type PatternReport struct {
	Hits       int64
	Addresses  map[string]int64 // as the platform counts them: what is no address is not in it
	NotAddress int64            // hits where group 1 held no address
	Wrong      int64            // hits that are not the peer that Exim wrote
	Unclear    int64            // hits in lines that can be read in two ways
	Timeouts   int64            // lines that the backtracking engine did not decide in time
}

// A Sample is a line that shows something.
type Sample struct {
	Patterns []int    // indexes in File.Patterns
	Taken    []string // what they took
	Peer     string   // the peer that Exim wrote, where that can be told
	Line     string
}

// MostSamples is how many lines a Report keeps of each kind.
const MostSamples = 20

const (
	blockSize    = 1 << 20
	longestLine  = 1 << 26
	sampleLength = 2000
)

// Scan applies the compiled patterns to every line of r. progress, which may be
// nil, is told now and then how many bytes have been read. The work is spread
// over the processors. The error is r's, or says that a line is longer than 64
// MiB: then this is no log.
func (f *File) Scan(r io.Reader, progress func(bytes int64)) (*Report, error) {
	type block struct {
		n    int
		data []byte
	}
	workers := runtime.GOMAXPROCS(0)
	blocks, free := make(chan block, workers), make(chan []byte, 2*workers+2)
	for i := 0; i < cap(free); i++ {
		free <- nil
	}
	var mu sync.Mutex
	parts := map[int]*Report{}
	var wg sync.WaitGroup
	for i := 0; i < workers; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			s := newScanner(f)
			for b := range blocks {
				part := s.scan(b.data)
				mu.Lock()
				parts[b.n] = part
				mu.Unlock()
				free <- b.data[:0]
			}
		}()
	}
	total := newReport(f)
	next := 0
	merge := func() {
		mu.Lock()
		defer mu.Unlock()
		for ; parts[next] != nil; next++ {
			total.add(parts[next])
			delete(parts, next)
		}
	}
	var carry []byte
	var readErr error
	for n := 0; readErr == nil; n++ {
		buf := <-free
		if cap(buf) < blockSize+len(carry) {
			buf = make([]byte, 0, blockSize+2*len(carry))
		}
		buf = append(buf[:0], carry...)
		// Not by io.ReadFull, which makes a log's end and an error of the same name one.
		for readErr == nil && len(buf) < cap(buf) {
			var got int
			got, readErr = r.Read(buf[len(buf):cap(buf)])
			buf = buf[:len(buf)+got]
			total.Bytes += int64(got)
		}
		if readErr == io.EOF {
			carry = carry[:0]
		} else {
			end := bytes.LastIndexByte(buf, '\n') + 1
			carry = append(carry[:0], buf[end:]...)
			buf = buf[:end]
			if len(carry) > longestLine {
				readErr = errors.New("a line of more than 64 MiB: this is not a log")
			}
		}
		blocks <- block{n, buf}
		merge()
		if progress != nil {
			progress(total.Bytes)
		}
	}
	close(blocks)
	wg.Wait()
	merge()
	if readErr != io.EOF {
		return nil, readErr
	}
	return total, nil
}

func newReport(f *File) *Report {
	r := &Report{Patterns: make([]PatternReport, len(f.Patterns))}
	for i := range r.Patterns {
		r.Patterns[i].Addresses = map[string]int64{}
	}
	return r
}

// Add adds what another log gave for the same patterns.
func (r *Report) Add(o *Report) {
	r.Bytes += o.Bytes
	r.add(o)
}

func (r *Report) add(o *Report) {
	r.Lines += o.Lines
	r.Exim = r.Exim || o.Exim
	r.Taken += o.Taken
	r.Doubles += o.Doubles
	r.Wrong += o.Wrong
	r.Unclear += o.Unclear
	keep := func(to *[]Sample, from []Sample) {
		for _, s := range from {
			if len(*to) < MostSamples {
				*to = append(*to, s)
			}
		}
	}
	keep(&r.DoubleSamples, o.DoubleSamples)
	keep(&r.WrongSamples, o.WrongSamples)
	keep(&r.UnclearSamples, o.UnclearSamples)
	for i := range o.Patterns {
		to, from := &r.Patterns[i], &o.Patterns[i]
		to.Hits += from.Hits
		to.NotAddress += from.NotAddress
		to.Wrong += from.Wrong
		to.Unclear += from.Unclear
		to.Timeouts += from.Timeouts
		for a, n := range from.Addresses {
			to.Addresses[a] += n
		}
	}
}

// A scanner is one worker's state.
//
// Most lines of a log match nothing, and a regular expression is slow to say
// so. Each pattern has a literal that its lines must contain. Two neighbouring
// bytes of each literal, the rarest of them in this very log, go into a table;
// one look at the table for each byte of the log finds all literals at once.
type scanner struct {
	f      *File
	always []int // patterns without a literal: they see every line
	pairs  [1 << 16]uint8
	heads  [][]head // by the number in pairs, from 1
	ready  bool

	hits []Hit
	seen []int // by pattern: the start of the last line it was tried on
}

// A head is one literal, found through the pair of bytes at offset.
type head struct {
	pattern, offset int
	literal         []byte
}

func newScanner(f *File) *scanner {
	s := &scanner{f: f, seen: make([]int, len(f.Patterns))}
	for i, p := range f.Patterns {
		if p.Engine != "" && len(p.literals) == 0 {
			s.always = append(s.always, i)
		}
	}
	return s
}

// prepare chooses the pairs by how often they occur in a piece of the log.
func (s *scanner) prepare(data []byte) {
	s.ready = true
	var count [1 << 16]int32
	for i := 0; i+1 < len(data) && i < blockSize/4; i++ {
		count[int(data[i])<<8|int(data[i+1])]++
	}
	for i, p := range s.f.Patterns {
		if p.Engine == "" || len(p.literals) == 0 {
			continue
		}
		var best head
		rarest := int32(-1)
		for _, l := range p.literals {
			for o := 0; o+1 < len(l); o++ {
				if n := count[int(l[o])<<8|int(l[o+1])]; rarest < 0 || n < rarest {
					rarest, best = n, head{i, o, l}
				}
			}
		}
		pair := int(best.literal[best.offset])<<8 | int(best.literal[best.offset+1])
		switch {
		case s.pairs[pair] != 0:
			s.heads[s.pairs[pair]-1] = append(s.heads[s.pairs[pair]-1], best)
		case len(s.heads) < 255:
			s.heads = append(s.heads, []head{best})
			s.pairs[pair] = uint8(len(s.heads))
		default:
			s.always = append(s.always, i)
		}
	}
}

func (s *scanner) scan(data []byte) *Report {
	r := newReport(s.f)
	r.Lines = int64(bytes.Count(data, []byte("\n")))
	if len(data) > 0 && data[len(data)-1] != '\n' {
		r.Lines++
	}
	for start := 0; start < len(data) && !r.Exim; {
		end := lineEnd(data, start)
		r.Exim = IsExim(data[start:end])
		start = end + 1
	}
	if !s.ready {
		s.prepare(data)
	}
	if len(s.always) > 0 {
		for start := 0; start < len(data); {
			end := lineEnd(data, start)
			s.hits = s.f.matchCounting(data[start:end], s.hits[:0], r)
			s.judge(r, data[start:end])
			start = end + 1
		}
		return r
	}
	for i := range s.seen {
		s.seen[i] = -1
	}
	start, end := 0, -1 // the line of the hits collected so far; end < 0 is none
	for i := 0; i+1 < len(data); i++ {
		number := s.pairs[uint(data[i])<<8|uint(data[i+1])]
		if number == 0 {
			continue
		}
		for _, h := range s.heads[number-1] {
			at := i - h.offset
			if at < 0 || at+len(h.literal) > len(data) || string(data[at:at+len(h.literal)]) != string(h.literal) {
				continue
			}
			if end < 0 || at >= end {
				if end >= 0 {
					s.judge(r, data[start:end])
				}
				s.hits = s.hits[:0]
				start, end = bytes.LastIndexByte(data[:at], '\n')+1, lineEnd(data, at)
			}
			if s.seen[h.pattern] == start {
				continue
			}
			s.seen[h.pattern] = start
			s.hits = s.f.tryOne(h.pattern, data[start:end], s.hits, r)
		}
	}
	if end >= 0 {
		s.judge(r, data[start:end])
	}
	return r
}

func lineEnd(data []byte, from int) int {
	if n := bytes.IndexByte(data[from:], '\n'); n >= 0 {
		return from + n
	}
	return len(data)
}

func (f *File) matchCounting(line []byte, hits []Hit, r *Report) []Hit {
	for i := range f.Patterns {
		hits = f.tryOne(i, line, hits, r)
	}
	return hits
}

func (f *File) tryOne(i int, line []byte, hits []Hit, r *Report) []Hit {
	a, ok, err := f.Patterns[i].Match(line)
	if err != nil {
		r.Patterns[i].Timeouts++
	}
	if ok {
		hits = append(hits, Hit{i, a})
	}
	return hits
}

// judge books the hits that one line has given.
func (s *scanner) judge(r *Report, line []byte) {
	if len(s.hits) == 0 {
		return
	}
	r.Taken++
	peers := Peers(line)
	sample := Sample{}
	wrong, unclear := false, false
	for _, h := range s.hits {
		p := &r.Patterns[h.Pattern]
		p.Hits++
		sample.Patterns = append(sample.Patterns, h.Pattern)
		sample.Taken = append(sample.Taken, string(h.Address))
		a, err := netip.ParseAddr(string(h.Address))
		if err != nil {
			// The platform drops what is no address; a network is none here.
			p.NotAddress++
			if len(peers) > 0 {
				p.Wrong++
				r.Wrong++
				wrong = true
			}
			continue
		}
		a = a.Unmap()
		p.Addresses[a.String()]++
		switch {
		case len(peers) == 0:
		case !contains(peers, a):
			p.Wrong++
			r.Wrong++
			wrong = true
		case len(peers) > 1:
			p.Unclear++
			unclear = true
		}
	}
	double := len(s.hits) > 1
	if !wrong && !unclear && !double {
		return
	}
	sort.Ints(sample.Patterns)
	sample.Line = string(line[:min(len(line), sampleLength)])
	if len(peers) == 1 {
		sample.Peer = peers[0].String()
	}
	keep := func(to *[]Sample) {
		if len(*to) < MostSamples {
			*to = append(*to, sample)
		}
	}
	if double {
		r.Doubles++
		keep(&r.DoubleSamples)
	}
	if wrong {
		keep(&r.WrongSamples)
	}
	if unclear {
		r.Unclear++
		keep(&r.UnclearSamples)
	}
}

func contains(list []netip.Addr, a netip.Addr) bool {
	for _, x := range list {
		if x == a {
			return true
		}
	}
	return false
}
