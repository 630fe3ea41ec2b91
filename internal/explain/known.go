package explain

import (
	"os"
	"path/filepath"
	"slices"

	"symbiosis-connect-acl/internal/known"
)

// The host lists of 20-accept-known, with the files that they read. The
// platform's are read by one of Exim's lookups, and an Exim that cannot open
// the file of a lookup dies.
var knownLists = []struct {
	name, file string
	dies       bool
}{
	{"whitelisted_hosts_by_ip", known.ByIP, true},
	{"whitelist_connection_check", known.Connect, false},
	{"relay_from_hosts", known.Relay, true},
	{"private_addresses", "", false},
}

// accepted asks Exim which of the lists of known hosts have the host, and looks
// for the line.
func (e *examiner) accepted() Rule {
	r, ask := e.rule("known", snippetKnown, "", "")
	verdict, dies := Pass, false
	for i, a := range e.ask(askLimit, isKnown(e.host)...) {
		l := knownLists[i]
		switch {
		case a.failed() && os.Geteuid() != 0:
			verdict = Unknown // whether Exim's user can read it is another question
			r.tell("+%s cannot be read here: %s", l.name, a.text)
		case a.failed() && l.dies:
			dies = true
			r.tell("+%s cannot be read (%s): every host is answered 421; %s-connect-setup check has the remedy", l.name, a.text, e.Name)
		case a.failed():
			// Exim cannot say that the host is not in the list: the statement
			// that would make it a stranger is skipped.
			verdict = Accept
			r.tell("+%s cannot be read (%s): every host counts as known", l.name, a.text)
		case a.text == "yes":
			verdict = Accept
			k := KnownBy{List: l.name}
			if l.file != "" {
				file := e.value("ETC_DIR") + "/exim4/" + l.file
				entries, _ := known.ReadFile(e.Platform, l.file) // that Exim's user can read it was seen
				if i := slices.IndexFunc(entries, func(x known.Entry) bool { return x.Line > 0 && x.Net.Contains(e.host) }); i >= 0 {
					k.File, k.Line, k.Text = file, entries[i].Line, entries[i].Text
				}
			}
			r.Known = append(r.Known, k)
			if k.Line > 0 {
				r.tell("+%s: %s line %d: %s", k.List, k.File, k.Line, k.Text)
			} else {
				r.tell("+%s", k.List)
			}
		}
	}
	if dies {
		verdict = Deny
	}
	r.set(ask, verdict)
	e.known = verdict == Accept && any3(ask)
	return r
}

// letIn gives the command that adds the host to a white list. The last line there
// may lack its end.
func (e *examiner) letIn(file string) string {
	line := "echo " + e.key.String()
	if data, err := os.ReadFile(filepath.Join(e.Root, file)); err == nil && len(data) > 0 && data[len(data)-1] != '\n' {
		line = "(echo; " + line + ")"
	}
	return line + " >> " + file
}
