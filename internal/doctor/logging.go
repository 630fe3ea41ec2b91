package doctor

import (
	"strings"

	"symbiosis-connect-acl/internal/exim"
)

// overruled lists the options of which the configuration in force does not
// have our value.
func (d *doctor) overruled() (options []string) {
	for _, o := range []struct{ option, macro, words string }{
		{"log_selector", "_OPT_MAIN_PIPELINING_CONNECT_ADVERTISE_HOSTS", "-dkim_verbose"}, // the last word of ours, where it is set
		{"event_action", "CONNECT_AUTH_EVENT", "acl_connect_failed_login"},
	} {
		value, err := d.exim.Option(d.ctx, d.exim.Config(), o.option)
		if _, ours := d.macros[o.macro]; ours && err == nil && !strings.Contains(value, o.words) {
			options = append(options, o.option)
		}
	}
	return options
}

func (d *doctor) logging() {
	value, err := d.exim.Option(d.ctx, d.exim.Config(), "log_selector")
	value = strings.Join(strings.Fields(value), " ") // the macros in it leave gaps
	if value == "" {
		value = "nothing"
	}
	// Exim 4.100 takes an option twice, and obeys the last.
	for _, o := range d.overruled() {
		d.warn("logging", d.apply(), "%s is set again after ours, so ours has no effect: an attacker may write log lines, or guess passwords uncounted", o)
	}
	switch {
	case err != nil:
		d.fail("logging", d.build(), "%v", err)
	case !exim.Selected(value, "smtp_protocol_error"):
		d.warn("logging", "add +smtp_protocol_error to log_selector", "log_selector = %s: the firewall's patterns cannot see bots that try AUTH where it is not offered", value)
	default:
		d.ok("logging", "log_selector = %s", value)
	}
	d.logs()
}
