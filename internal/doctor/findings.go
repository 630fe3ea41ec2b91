package doctor

import "fmt"

// A Level says how bad a finding is. Its values are the exit codes that
// monitoring reads.
type Level int

// The levels.
const (
	OK   Level = iota // as it should be
	WARN              // works, but not as intended; or will not for long
	FAIL              // does not work
)

func (l Level) String() string { return [...]string{"OK", "WARN", "FAIL"}[l] }

// MarshalText spells the level as String does.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (l *Level) UnmarshalText(text []byte) error {
	for _, level := range []Level{OK, WARN, FAIL} {
		if string(text) == level.String() {
			*l = level
			return nil
		}
	}
	return fmt.Errorf("%q is no level: OK, WARN or FAIL", text)
}

// A Finding is one thing that Check has looked at.
type Finding struct {
	Level  Level  `json:"level"`
	Topic  string `json:"topic"`
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"` // empty when all is well
}

// Worst gives the highest level among the findings.
func Worst(all []Finding) Level {
	worst := OK
	for _, f := range all {
		worst = max(worst, f.Level)
	}
	return worst
}
