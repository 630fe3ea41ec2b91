// Package remedy keeps what to do about an error apart from what went wrong, so
// that each can have a line of its own.
package remedy

import (
	"errors"
	"fmt"
)

type remedied struct {
	error
	remedy string
}

func (e *remedied) Unwrap() error { return e.error }

// Add gives err with what to do about it. Its text stays the same.
func Add(err error, format string, args ...any) error {
	return &remedied{err, fmt.Sprintf(format, args...)}
}

// Of tells what to do about err, "" when nobody has said. Of several remedies
// the outermost counts.
func Of(err error) string {
	var e *remedied
	if errors.As(err, &e) {
		return e.remedy
	}
	return ""
}
