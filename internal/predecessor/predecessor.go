// Package predecessor reads the files that stood under the names of our
// snippets before we came, as somebody has them who followed the published
// article or its author's later work, and tells what of the administrator's own
// in them has to live on in our settings.
package predecessor

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"

	"symbiosis-connect-acl/internal/dnsbl"
	"symbiosis-connect-acl/internal/exim"
	"symbiosis-connect-acl/internal/rules"
)

// A File is one that is out of the way now.
type File struct {
	Name string // in the tree of snippets, such as 00-main/21-connect-check
	Path string // where it can be read now, for messages
	Data []byte
}

// A Setting is a line for a snippet of the main section, and where it is from.
type Setting struct {
	Text string
	From string // path:line
}

// What lives on.
type What struct {
	Settings []Setting // in the order in which they were found
	Hosts    []Setting // lines for the white list of connect checks
	Left     []string  // what could not be carried over: one sentence each
}

// The snippets of the article whose text has settings in it.
const (
	connectDir = "10-acl/10-acl-check-connect/"
	known      = connectDir + "20-accept-known"
	reverse    = connectDir + "21-check-sender-host-name"
	history    = connectDir + "30-check-symbiosis-db"
	rate       = connectDir + "50-ratelimit"
	lists      = connectDir + "60-check-dnsbls"
)

// published are the values that the article and its author's files have. Where
// the administrator has left them, ours take their place.
var published = map[string][]string{
	rules.Threshold:    {"10"},
	rules.Ratelimit:    {"10 / 15m"},
	rules.ConnectLists: {"zen.spamhaus.org : b.barracudacentral.org : bl.spamcop.net"},
}

// thresholds are other names that published files have for ours. Snippets that
// are none of ours may ask for them, so they stay as well.
var thresholds = []string{"SYMPL_INCIDENT_THRESHOLD", "NFTFW_INCIDENT_THRESHOLD"}

// reader collects what lives on.
type reader struct {
	What
	ours   map[string]string     // our macros and their values
	taken  []string              // macros that need no value any more
	from   string                // the file and line at hand
	listed map[string]dnsbl.List // those that our setting has, by zone
}

// Read reads the files. ours are the macros that our own snippets define, with
// their values; set are those to which the administrator has given a value in
// rules.LocalSnippet, which stays.
func Read(files []File, ours map[string]string, set []string) What {
	r := &reader{ours: ours, taken: slices.Clone(set), listed: map[string]dnsbl.List{}}
	if shipped, err := dnsbl.ParseLists(ours[rules.ConnectLists]); err == nil {
		for _, l := range shipped {
			r.listed[l.Zone] = l
		}
	}
	for _, f := range files {
		if path.Dir(f.Name) == "00-main" {
			r.main(f)
		} else {
			r.acl(f)
		}
	}
	return r.What
}

func (r *reader) at(f File, line int) { r.from = fmt.Sprintf("%s:%d", f.Path, line) }

func (r *reader) leave(format string, args ...any) {
	r.Left = append(r.Left, r.from+": "+fmt.Sprintf(format, args...))
}

func (r *reader) keep(text string) { r.Settings = append(r.Settings, Setting{text, r.from}) }

// value gives one of our macros a value, unless it has it, the administrator
// has given it another already, or the value was only copied.
func (r *reader) value(macro, value string) {
	value = strings.Join(strings.Fields(value), " ")
	if slices.Contains(r.taken, macro) {
		return
	}
	if same(value, r.ours[macro]) || slices.ContainsFunc(published[macro], func(p string) bool { return same(p, value) }) {
		return
	}
	if form, ok := rules.FormOf(macro); ok && !form.Fits(value) {
		r.leave("%s cannot be %q: it must be %s", macro, value, form.Want)
		return
	}
	r.taken = append(r.taken, macro)
	r.keep(macro + " == " + value)
}

func same(a, b string) bool {
	return strings.Join(strings.Fields(a), "") == strings.Join(strings.Fields(b), "")
}

var whiteList = regexp.MustCompile(`^hostlist\s+whitelist_connection_(check|file)\s*=\s*(.*)$`)

// main reads a snippet of the main section. What is none of our settings stays
// as it is: another snippet may need it.
func (r *reader) main(f File) {
	before := len(r.Settings)
	directives := 0
	for _, l := range exim.Lines(f.Data) {
		r.at(f, l.Number)
		name, value, again, macro := l.Definition()
		_, isOurs := r.ours[name]
		switch m := whiteList.FindStringSubmatch(l.Text); {
		case m != nil:
			r.whiteList(m[2])
		case macro && name == rules.ConnectLists:
			r.lists(value)
		case macro && isOurs:
			r.value(name, value)
		case macro && slices.Contains(thresholds, name):
			r.value(rules.Threshold, value)
			r.keep(l.Text)
		case macro && again:
			r.leave("%s gets another value there, and it is not known where it was defined: %s", name, l.Text)
		case strings.HasPrefix(l.Text, "."):
			directives++
			r.keep(l.Text)
		default:
			r.keep(l.Text)
		}
	}
	if directives == len(r.Settings)-before {
		r.Settings = r.Settings[:before] // conditions around nothing
	}
}

var otherFile = regexp.MustCompile(`net-iplsearch;\s*([^\s:{}]+)`)

// whiteList looks where the article's list of hosts comes from. Ours is read
// from the same file.
func (r *reader) whiteList(value string) {
	for _, m := range otherFile.FindAllStringSubmatch(value, -1) {
		if path.Base(m[1]) != "whitelist_connect_hosts" {
			r.leave("the white list %s is not read any more: append its lines to /etc/exim4/whitelist_connect_hosts", m[1])
		}
	}
}

// acl reads a snippet of an ACL.
func (r *reader) acl(f File) {
	statements := exim.Statements(f.Data)
	r.at(f, 1)
	refuses := slices.ContainsFunc(statements, exim.Statement.Refuses)
	switch f.Name {
	case known:
		r.known(f, statements)
	case reverse:
		if refuses {
			r.value(rules.StateReverse, string(rules.Enforce))
		}
	case rate:
		if !refuses {
			state := rules.Off
			if len(statements) > 0 {
				state = rules.Measure
			}
			r.value(rules.StateRatelimit, string(state))
		}
		r.each(f, statements, "ratelimit", func(value string) {
			limit, rest, _ := strings.Cut(value, "/")
			period, _, _ := strings.Cut(rest, "/")
			r.value(rules.Ratelimit, strings.TrimSpace(limit)+" / "+strings.TrimSpace(period))
		})
	case history:
		if !refuses {
			r.value(rules.StateHistory, string(rules.Off))
		}
		r.each(f, statements, "condition", func(value string) {
			if m := literal.FindStringSubmatch(value); m != nil {
				r.value(rules.Threshold, m[1])
			}
		})
	case lists:
		if !refuses {
			r.value(rules.StateDNSBLs, string(rules.Off))
		}
		r.each(f, statements, "dnslists", func(value string) {
			if strings.TrimSpace(value) != rules.ConnectLists {
				r.lists(value)
			}
		})
	default:
		if len(statements) > 0 {
			r.leave("its rules are out of use while ours stand under that name")
		}
	}
}

var literal = regexp.MustCompile(`>\s*\{\s*\$acl_[cm]\w*\s*\}\s*\{\s*(\d+)\s*\}`)

// each looks at every such part of a statement that refuses.
func (r *reader) each(f File, statements []exim.Statement, part string, look func(value string)) {
	for _, s := range statements {
		if !s.Refuses() {
			continue
		}
		r.at(f, s.Line)
		for _, value := range s.Values(part) {
			look(value)
		}
	}
}

// always are the lists that our own 20-accept-known lets past.
var always = []string{"", "@", "+whitelisted_hosts_by_ip", "+whitelist_connection_check", "+relay_from_hosts", "+private_addresses"}

func (r *reader) known(f File, statements []exim.Statement) {
	for _, s := range statements {
		r.at(f, s.Line)
		if s.Verb != "accept" || len(s.Parts) != len(s.Values("hosts")) {
			r.leave("a statement of yours has no place in ours: %s", describe(s))
			continue
		}
		for _, list := range s.Values("hosts") {
			for _, item := range exim.Items(list) {
				switch {
				case slices.Contains(always, item):
				case isNet(item):
					r.Hosts = append(r.Hosts, Setting{item, r.from})
				default:
					r.leave("%s is let past by address only: write its addresses into /etc/exim4/whitelist_connect_hosts", item)
				}
			}
		}
	}
}

func isNet(text string) bool {
	if _, err := netip.ParseAddr(text); err == nil {
		return true
	}
	_, err := netip.ParsePrefix(text)
	return err == nil
}

func describe(s exim.Statement) string {
	text := s.Verb
	for _, p := range s.Parts {
		text += " " + p.Name + " = " + p.Value
	}
	return text
}

// lists carries DNS lists over. The article's have no answers beside them, and
// then a list's "I do not serve you" counts too; those that we know get ours.
func (r *reader) lists(value string) {
	var items []string
	for _, item := range exim.Items(value) {
		parsed, err := dnsbl.ParseLists(item)
		if err != nil {
			r.leave("not carried over: %v", err)
			continue
		}
		for _, l := range parsed {
			ours, found := r.listed[l.Zone]
			if strings.HasSuffix(l.Zone, ".zen.dq.spamhaus.net") {
				ours, found = r.listed["zen.spamhaus.org"]
			}
			if found && len(l.Codes) == 0 && l.Weight == dnsbl.DefaultWeight {
				item += "=" + ours.Codes.String()
			}
			items = append(items, item)
		}
	}
	if len(items) > 0 {
		r.value(rules.ConnectLists, strings.Join(items, " : "))
	}
}
