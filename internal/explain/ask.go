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

	"symbiosis-connect-acl/internal/rules"
)

// An answer is what Exim made of a string, or why it could not.
type answer struct {
	text string
	err  error
}

func (a answer) failed() bool { return a.err != nil }

// The questions are the conditions and lookups of the snippets, word for word,
// with the values of the macros in their places.
const (
	questionVersion = "$version_number"
)

// onPorts asks whether each port is in a list of ports.
func (e *examiner) onPorts(macro string) []string {
	var all []string
	for _, port := range Ports {
		all = append(all, fmt.Sprintf("${if inlist{%d}{%s}{yes}{no}}", port, e.value(macro)))
	}
	return all
}

// isKnown asks whether each of knownLists has the host.
func (e *examiner) isKnown() []string {
	var all []string
	for _, l := range knownLists {
		all = append(all, "${if match_ip{"+e.host.String()+"}{+"+l.name+"}{yes}{no}}")
	}
	return all
}

// database is the path of the firewall's database, as Exim sees it.
func (e *examiner) database() string {
	if !e.report.Active {
		return e.Inside(e.Database)
	}
	return e.value(rules.Database)
}

// valid asks whether the values of the macros have their form.
func (e *examiner) valid(macros ...string) string {
	var values []string
	for _, m := range macros {
		values = append(values, e.value(m))
	}
	return `${if match{` + strings.Join(values, " ") + `}{\N` + rules.Expression(macros...) + `\N}{yes}{no}}`
}

func (e *examiner) thresholdValid() string { return e.valid(rules.Threshold) }

func (e *examiner) rateValid() string { return e.valid(rules.Ratelimit) }

func (e *examiner) delayValid() string { return e.valid(rules.GreetingDelay) }

func (e *examiner) authValid() string {
	return e.valid(rules.AuthFailures, rules.AuthLeniency, rules.AuthPeriod, rules.AccountHosts)
}

// unfit says that a rule cannot use the value of a macro.
func unfit(macro, value string) string {
	f, _ := rules.FormOf(macro)
	return fmt.Sprintf("%s is %q: not %s", macro, value, f.Want)
}

// askAll asks at once what is sure to be asked, which saves starting Exim for
// each of the questions.
func (e *examiner) askAll() {
	all := []string{questionVersion, e.thresholdValid(), e.rateValid(), e.delayValid(), e.authValid()}
	all = append(all, e.isKnown()...)
	for _, macro := range []string{rules.PortsHistory, rules.PortsOffences, rules.PortsRatelimit, rules.PortsDNSBLs, rules.PortsGreeting, rules.PortsReverse} {
		all = append(all, e.onPorts(macro)...)
	}
	answers := map[string]answer{}
	for i, a := range e.askExim(askLimit, all...) {
		answers[all[i]] = a
	}
	e.answers = answers
}

// ask has Exim expand each of the questions that it has not answered before.
func (e *examiner) ask(limit time.Duration, questions ...string) []answer {
	all := make([]answer, len(questions))
	for i, q := range questions {
		a, ok := e.answers[q]
		if !ok {
			return e.askExim(limit, questions...)
		}
		all[i] = a
	}
	return all
}

// askExim has Exim expand each of the questions, with the configuration in
// force and with the rights that it has at a connection. Each must give one
// line.
func (e *examiner) askExim(limit time.Duration, questions ...string) []answer {
	all := make([]answer, len(questions))
	// Without -C Exim reads its configuration before it gives up the
	// superuser's rights, as the daemon does.
	out, err := e.asExim(limit, "/usr/sbin/exim4", append([]string{"-be"}, questions...)...)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	switch {
	case err == nil && len(lines) == len(questions):
		for i, line := range lines {
			if why, failed := strings.CutPrefix(line, "Failed: "); failed {
				all[i] = answer{why, errors.New(why)}
			} else {
				all[i] = answer{text: line}
			}
		}
	case len(questions) > 1 && (err == nil || exited(err)):
		// A message of several lines, or a question at which Exim dies: ask one
		// by one.
		for i, q := range questions {
			all[i] = e.askExim(limit, q)[0]
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

// exited reports whether a program ran and ended by itself.
func exited(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.Exited()
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
