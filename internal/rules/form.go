package rules

import (
	"regexp"
	"strings"
	"time"
)

// A Form is what the value of a macro must look like. The rules pass over a
// value that they cannot use, so that a slip refuses nobody.
type Form struct {
	Want string // the form in words
	Off  string // the state macro that switches the rule off, where a value of 0 may have been meant to

	shape string // the regular expression between ^ and $, as the snippets have it
	zero  bool   // 0 is good as well: the snippet looks for it first
	time  bool   // a time as the helper takes it, which has no shape
}

// Parts of the forms.
const (
	// A period that Exim's ratelimit can work with: not 0, and no more than fits
	// into a number of seconds.
	period = `(?:[1-9]\d{0,5}[ms]|[1-9]\d{0,3}h|[1-9]\d{0,2}[dw]){1,3}`
	count  = `\d{1,9}`
	logins = `[1-9]\d{0,5}`

	wantLogins = "a whole number from 1 to 999999"
)

// forms are those of single macros. A list, and expressions in words: the
// helper, which Exim starts for a connection, would pay for more.
var forms = [...]struct {
	macro string
	form  Form
}{
	{Threshold, Form{Want: "a whole number from 0 to 999999999", shape: count}},
	{Ratelimit, Form{Want: "a number from 2 to 999999 and a period such as 10 / 15m", Off: StateRatelimit,
		shape: `\s*((?:[2-9]|[1-9]\d{1,5})(?:\.\d{1,3})?)\s*/\s*(` + period + `)\s*`}},
	{RecentOffences, Form{Want: "a whole number from 0 to 999999999", Off: StateOffences, shape: count}},
	{Parole, Form{Want: "a period such as 90d, or 0 for no parole", shape: period, zero: true}},
	{DNSBLThreshold, Form{Want: "a whole number of 1 or more", shape: `[1-9]\d{0,8}`}},
	{DNSBLTimeout, Form{Want: "a time such as 2s", time: true}},
	{DNSBLMemory, Form{Want: "a period such as 1h, or 0s to ask the lists every time", shape: `(?:0[smhdw]|` + period + `)`}},
	{GreetingDelay, Form{Want: "a whole number of seconds from 0 to 99", shape: `[1-9]\d?`, zero: true}},
	{GreetingBusy, Form{Want: "a whole number of connections", shape: count}},
	{AuthFailures, Form{Want: wantLogins, Off: StateAuth, shape: logins}},
	{AuthLeniency, Form{Want: wantLogins, Off: StateAuth, shape: logins}},
	{AccountHosts, Form{Want: wantLogins, Off: StateAccount, shape: logins}},
	{AuthPeriod, Form{Want: "a period such as 1h", shape: period}},
}

// FormOf gives the form of a macro's value. ok is false for a macro whose value
// may be anything, or which is none of ours.
func FormOf(macro string) (f Form, ok bool) {
	switch {
	case macro == StateRatelimit:
		return Form{Want: "enforce, learn or off", shape: `\s*(?:enforce|learn|off|measure)\s*`}, true
	case strings.HasPrefix(macro, "CONNECT_STATE_"):
		return Form{Want: "enforce, learn or off", shape: `\s*(?:enforce|learn|off)\s*`}, true
	case strings.HasPrefix(macro, "CONNECT_PORTS_"):
		return Form{Want: "a list of ports such as 25 : 465 : 587", shape: `\s*(\d+\s*(:\s*\d+\s*)*)?`}, true
	}
	for _, x := range forms {
		if x.macro == macro {
			return x.form, true
		}
	}
	return Form{}, false
}

// Fits reports whether a rule can use the value.
func (f Form) Fits(value string) bool {
	if f.time {
		t, err := time.ParseDuration(strings.TrimSpace(value))
		return err == nil && t > 0
	}
	return f.zero && value == "0" || regexp.MustCompile(`^(?:`+f.shape+`)$`).MatchString(value)
}

// Expression gives the regular expression with which the snippets look at the
// value of a macro, or at the values of several with a space between them.
func Expression(macros ...string) string {
	var shapes []string
	for _, macro := range macros {
		f, _ := FormOf(macro)
		shapes = append(shapes, f.shape)
	}
	return "^" + strings.Join(shapes, " ") + "$"
}
