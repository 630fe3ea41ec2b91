package setup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// State is what apply remembers for remove, and shows in status. What has to
// be undone is marked in the files themselves, so that losing it is no harm.
type State struct {
	Platform      string            // "symbiosis" or "sympl"
	Applied       time.Time         // when apply last changed something
	Config        string            // SHA-256 of the configuration that was put in force
	LogSelector   string            // the value that was taken over, "" when there was none
	LogSnippets   []string          // the snippets in which it stood
	EventAction   string            `json:",omitempty"` // likewise
	EventSnippets []string          `json:",omitempty"`
	Carried       []string          `json:",omitempty"` // the administrator's files under our names whose values were carried over
	Copies        map[string]string `json:",omitempty"` // our snippets in a tree of the administrator's, with their SHA-256
	PatternsFiles []string          `json:",omitempty"` // where the patterns were merged
}

func (r *run) readState() (State, bool, error) {
	var s State
	data, err := os.ReadFile(r.stateFile())
	if errors.Is(err, fs.ErrNotExist) {
		return s, false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return s, false, fmt.Errorf("%s: %w", r.stateFile(), err)
	}
	return s, true, nil
}

func encode(s State) []byte {
	data, _ := json.MarshalIndent(s, "", "  ")
	return append(data, '\n')
}
