package patterns

import "regexp"

// What a line of Exim's log begins with: its time, or what syslog puts before
// its words. Our own patterns begin so.
var eximExpr = regexp.MustCompile(`^(?:(?:[A-Z][a-z]+ [ 0-9]+ |[-0-9]+T)[^ ]+ [^ ]+ exim[^ ]*: |[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2})`)

// IsExim reports whether a line begins as those of Exim's log do.
func IsExim(line []byte) bool {
	// Nearly every line has the time, and the expression is slow.
	if len(line) > 19 && line[4] == '-' && line[7] == '-' && line[10] == ' ' && line[13] == ':' && line[16] == ':' && digits(line[:4]) {
		return true
	}
	return eximExpr.Match(line)
}
