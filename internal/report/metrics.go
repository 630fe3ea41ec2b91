package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Metrics writes the report for Prometheus' textfile collector. The numbers are
// of the period of the report, so that they are gauges: a log that is rotated
// away must not make a counter fall.
func (r *Report) Metrics(w io.Writer) error {
	m := &metrics{Writer: bufio.NewWriter(w)}
	m.family("refusals", "Connections and commands that a rule refused or put off in the period.")
	m.family2(r, func(c Cell) (int64, string) { return c.Refused, "refused" }, func(c Cell) (int64, string) { return c.PutOff, "put_off" })
	m.family("learn_verdicts", "What rules in learn mode would have refused, put off or delayed in the period.")
	m.family2(r, func(c Cell) (int64, string) { return c.Would, "would_refuse" }, func(c Cell) (int64, string) { return c.Delays, "would_delay" })
	m.family("skipped_checks", "Checks that could not be made in the period, by reason.")
	for _, s := range r.Worry.Skipped {
		m.sample(s.Times, "check", s.Check, "reason", s.Reason)
	}
	m.family("list_failures", "Questions to a DNS list that gave no answer in the period.")
	for _, d := range r.Worry.Dead {
		m.sample(d.Times, "list", d.List)
	}
	m.family("worry_hosts", "Hosts refused or put off in the period that something speaks for.")
	m.sample(r.Worry.Hosts.All)
	m.family("users_put_off", "Users' hosts that met 454 in the period.")
	m.sample(r.Worry.Users.All)
	m.family("failed_logins", "Failed logins in the period.")
	m.sample(r.Totals.FailedLogins)
	m.family("refused_hosts", "Hosts refused or put off in the period.")
	m.sample(r.Totals.Hosts)
	m.family("hosts", "Hosts in hosts.db by standing; one may have several.")
	s := r.Standing
	for _, x := range []struct {
		what string
		n    int64
	}{{"user", s.Users}, {"sender", s.Senders}, {"guesser", s.Guessers}, {"offender", s.Offenders}, {"parole", s.Parole}, {"any", s.Hosts}} {
		m.sample(x.n, "standing", x.what)
	}
	m.family("database_size_bytes", "Size of a database.")
	for _, d := range r.Databases {
		m.sample(d.Bytes, "database", d.Name)
	}
	if !r.LastScan.IsZero() {
		m.family("last_scan_age_seconds", "Time since the firewall last wrote to its database.")
		m.sample(max(0, int64(r.Made.Sub(r.LastScan).Seconds())))
	}
	m.family("blocked_networks", "Networks in the firewall's blacklist.d.")
	m.sample(r.Blocked.Automatic, "by", "scan")
	m.sample(r.Blocked.Manual, "by", "administrator")
	m.family("period_seconds", "Length of the period that the numbers above are of.")
	m.sample(int64(r.Until.Sub(r.Since).Seconds()))
	m.family("report_timestamp_seconds", "When this was written.")
	m.sample(r.Made.Unix())
	return m.Flush()
}

type metrics struct {
	*bufio.Writer
	name string
}

func (m *metrics) family(name, help string) {
	m.name = "connect_acl_" + name
	fmt.Fprintf(m, "# HELP %s %s\n# TYPE %s gauge\n", m.name, help, m.name)
}

// family2 writes the numbers of each rule and port, added up over the days.
func (m *metrics) family2(r *Report, of ...func(Cell) (int64, string)) {
	type key struct {
		rule string
		port int
	}
	for _, f := range of {
		sum := map[key]int64{}
		var order []key
		for _, d := range r.Days {
			for _, c := range d.Rules {
				n, _ := f(c)
				k := key{c.Rule, c.Port}
				if _, known := sum[k]; !known && n > 0 {
					order = append(order, k)
				}
				if n > 0 {
					sum[k] += n
				}
			}
		}
		_, verdict := f(Cell{})
		for _, k := range order {
			port := portName(k.port)
			if k.port == 0 {
				port = "unknown"
			}
			m.sample(sum[k], "rule", k.rule, "port", port, "verdict", verdict)
		}
	}
}

var labelValue = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func (m *metrics) sample(n int64, labels ...string) {
	m.WriteString(m.name)
	for i := 0; i < len(labels); i += 2 {
		sep := byte(',')
		if i == 0 {
			sep = '{'
		}
		m.WriteByte(sep)
		fmt.Fprintf(m, `%s="%s"`, labels[i], labelValue.Replace(strings.ToValidUTF8(labels[i+1], "?")))
	}
	if len(labels) > 0 {
		m.WriteByte('}')
	}
	fmt.Fprintf(m, " %d\n", n)
}
