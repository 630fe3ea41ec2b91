package explain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// An answer is what Exim made of a string, or why it could not.
type answer struct {
	text string
	err  error
}

func (a answer) failed() bool { return a.err != nil }

// ask has Exim expand each of the questions, with the configuration in force
// and with the rights that it has at a connection. Each must give one line.
func (e *examiner) ask(limit time.Duration, questions ...string) []answer {
	all := make([]answer, len(questions))
	// Without -C Exim reads its configuration before it gives up the
	// superuser's rights, as the daemon does.
	out, err := e.asExim(limit, "/usr/sbin/exim4", append([]string{"-be"}, questions...)...)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	switch {
	case len(lines) == len(questions):
		for i, line := range lines {
			if why, failed := strings.CutPrefix(line, "Failed: "); failed {
				all[i] = answer{why, errors.New(why)}
			} else {
				all[i] = answer{text: line}
			}
		}
	case err == nil && len(questions) > 1:
		// A message of several lines: ask one by one.
		for i, q := range questions {
			all[i] = e.ask(limit, q)[0]
		}
	default:
		if err == nil {
			err = errors.New(strings.Join(strings.Fields(out), " "))
		}
		why := strings.TrimPrefix(err.Error(), "Failed: ")
		for i := range all {
			all[i] = answer{why, errors.New(why)}
		}
	}
	return all
}

// asExim runs a program as Exim's user, or as the caller where that is not the
// superuser.
func (e *examiner) asExim(limit time.Duration, program string, args ...string) (string, error) {
	var out, errs string
	var err error
	if os.Geteuid() == 0 {
		out, errs, err = e.RunAs(e.ctx, e.user, limit, program, args...)
	} else {
		if e.Root != "/" {
			return "", errors.New("only root can run Exim in " + e.Root)
		}
		ctx, cancel := context.WithTimeout(e.ctx, limit)
		defer cancel()
		var o, x bytes.Buffer
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Stdout, cmd.Stderr = &o, &x
		err = cmd.Run()
		out, errs = o.String(), x.String()
	}
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", program, err, strings.Join(strings.Fields(errs), " "))
	}
	return out, err
}
