// Package blocks owns how long the automatic blocks of the platform's firewall
// last. The platform ends one two days after the file in blacklist.d was written.
// Here a block that somebody still knocks at is renewed: its file gets a new time.
//
// The firewall's packet counters say who knocks. They begin again at 0 whenever
// the chain is filled anew, at least once an hour, so they are read often, and what
// was seen is kept in a file of root's own, the book.
package blocks

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"symbiosis-connect-acl/internal/atomicfile"
	"symbiosis-connect-acl/internal/firewall"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/words"
)

// Life is how long the platform keeps an automatic block.
const Life = 48 * time.Hour

// A Verdict is what was decided about a block that somebody has knocked at.
type Verdict string

// The verdicts.
const (
	Quiet    Verdict = ""         // nobody has knocked
	Retained Verdict = "retained" // renewed
	Learned  Verdict = "learned"  // would have been
	Spared   Verdict = "spared"   // not renewed: Why says for whose sake
	Capped   Verdict = "capped"   // not renewed: too long without an offence
)

// A Block is what is known of one automatic block beyond its file.
type Block struct {
	Since    time.Time `json:"since"`           // when the firewall's scan made it
	Offence  time.Time `json:"offence"`         // last offence, from which the longest time is counted
	Time     time.Time `json:"time"`            // of the file, as it was found or given last
	Packets  int64     `json:"packets"`         // the counters, as they were found last
	Attempts int64     `json:"attempts"`        // packets that it has dropped
	Last     time.Time `json:"last,omitzero"`   // the last of them
	Called   bool      `json:"called,omitzero"` // this server has called the host meanwhile
	Verdict  Verdict   `json:"verdict,omitempty"`
	Why      string    `json:"why,omitempty"`

	file time.Time // the file's time now
}

// Until gives the moment from which on the platform ends the block.
func (b Block) Until() time.Time { return b.Time.Add(Life) }

// String says it in words, with all times in UTC.
func (b Block) String() string {
	const layout = "2006-01-02 15:04"
	text := "since " + b.Since.Format(layout)
	if b.Attempts > 0 {
		text += fmt.Sprintf(", %s, last %s", words.Plural(b.Attempts, "attempt"), b.Last.Format(layout))
	}
	if b.Verdict == Retained {
		text += ", retained"
	}
	text += " until " + b.Until().Format(layout)
	switch b.Verdict {
	case Spared:
		text += "; not retained: " + b.Why
	case Capped:
		text += "; not retained any longer: its last offence was at " + b.Offence.Format(layout)
	case Learned:
		text += "; would be retained"
	}
	return text
}

// A Book is what is known of all automatic blocks, by their files' names.
type Book map[string]*Block

// Path is where the book of a platform is.
func Path(p platform.Platform) string { return filepath.Join(p.StateDir, "blocks.json") }

// Open reads the book at path. One that is not there is empty.
func Open(path string) (Book, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Book{}, nil
	} else if err != nil {
		return nil, err
	}
	b := Book{}
	if err := json.Unmarshal(data, &b); err != nil {
		return nil, fmt.Errorf("%s: %w", path, errors.Join(ErrDamaged, err))
	}
	if b == nil || slices.Contains(slices.Collect(maps.Values(b)), nil) { // "null"
		return nil, fmt.Errorf("%s: %w", path, ErrDamaged)
	}
	return b, nil
}

// ErrDamaged says that the book cannot be read.
var ErrDamaged = errors.New("it is damaged")

func (b Book) save(path string) error {
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return atomicfile.Write(path, append(data, '\n'), 0o644)
}

// Of gives what is known of the block that the entry is about. Where the book
// does not have it, that is what its file says.
func (b Book) Of(e firewall.Entry) Block {
	modified := e.Modified.Truncate(time.Second).UTC()
	known := b[filepath.Base(e.File)]
	if known == nil {
		return Block{Since: modified, Offence: modified, Time: modified}
	}
	block := *known
	block.Time = modified // the book's is what was meant, and a run may have been killed
	return block
}

// take makes the book what the entries and the counters say now.
func (b Book) take(entries firewall.Entries, counts Counts, now time.Time) {
	there := map[string]bool{}
	// All rules of a family are filled in at once, so one counter that has fallen is
	// enough to know that all have begun anew. One that was not read says nothing.
	anew := map[bool]bool{}
	for _, e := range entries {
		block := b[filepath.Base(e.File)]
		if packets, read := counts[e.Net]; read && block != nil && packets < block.Packets {
			anew[e.Net.Addr().Is4()] = true
		}
	}
	for _, e := range entries {
		if !automatic(e) {
			continue
		}
		name, modified := filepath.Base(e.File), e.Modified.Truncate(time.Second).UTC()
		there[name] = true
		block := b[name]
		if block == nil {
			block = &Block{Since: modified, Offence: modified, Time: modified}
			b[name] = block
		}
		// Later than we have set it: the scan has written it, for a new offence.
		// Earlier: the run that was to set it was killed.
		if modified.After(block.Time) {
			block.Offence, block.Time = modified, modified
		}
		block.file = modified
		packets, read := counts[e.Net]
		if !read {
			continue
		}
		grown := packets
		if !anew[e.Net.Addr().Is4()] {
			grown -= block.Packets
		}
		block.Packets = packets
		if grown > 0 {
			block.Attempts += grown
			block.Last = now
		}
	}
	for name := range b {
		if !there[name] {
			delete(b, name)
		}
	}
}

// due gives the entries at whose blocks somebody has knocked since their files'
// time.
func (b Book) due(entries firewall.Entries) (found firewall.Entries) {
	for _, e := range entries {
		if block := b[filepath.Base(e.File)]; automatic(e) && block != nil && block.Last.After(block.file) {
			found = append(found, e)
		}
	}
	return found
}

// renewal gives the time that the block's file is to have, so that the platform
// ends it two days after the last attempt, and no later than limit after the
// last offence.
func (b *Block) renewal(limit time.Duration) time.Time {
	if last := b.Offence.Add(limit - Life); b.Last.After(last) {
		return last
	}
	return b.Last
}

// automatic reports whether the scan wrote the entry. It makes no links.
func automatic(e firewall.Entry) bool {
	return e.Automatic && !slices.Contains(e.Ports, firewall.UnknownPorts)
}

// manual gives those of the entries that an administrator wrote.
func manual(entries firewall.Entries) firewall.Entries {
	return slices.DeleteFunc(slices.Clone(entries), func(e firewall.Entry) bool { return e.Automatic })
}
