package explain

import (
	"bufio"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// The host lists of 20-accept-known, with the files that they read. The
// platform's are read by one of Exim's lookups, and an Exim that cannot open
// the file of a lookup dies.
var knownLists = []struct {
	name, file string
	dies       bool
}{
	{"whitelisted_hosts_by_ip", "whitelist/by_ip", true},
	{"whitelist_connection_check", "whitelist_connect_hosts", false},
	{"relay_from_hosts", "relay_from_hosts", true},
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
				if n, text := findLine(filepath.Join(e.Root, file), e.host, l.name == "whitelist_connection_check"); n > 0 {
					k.File, k.Line, k.Text = file, n, text
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

// findLine finds the first line of a white list that has the host. A tolerant
// list is read as whitelist_connection_check reads it; another as Exim's
// net-iplsearch does, for which an IPv6 key stands in quotation marks.
func findLine(path string, host netip.Addr, tolerant bool) (int, string) {
	f, err := os.Open(path)
	if err != nil {
		return 0, ""
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for n := 1; s.Scan(); n++ {
		if p, ok := network(s.Text(), tolerant); ok && p.Contains(host) {
			return n, strings.TrimSpace(s.Text())
		}
	}
	return 0, ""
}

func network(line string, tolerant bool) (netip.Prefix, bool) {
	if tolerant {
		line = strings.TrimSpace(line)
	}
	quoted := strings.HasPrefix(line, `"`)
	line = strings.TrimPrefix(line, `"`)
	end := strings.IndexFunc(line, func(c rune) bool {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F', c == '.', c == '/':
			return false
		case c == ':':
			return !tolerant && !quoted
		}
		return true
	})
	if end >= 0 {
		line = line[:end]
	}
	if strings.HasSuffix(line, ":") && !strings.HasSuffix(line, "::") {
		line = line[:len(line)-1]
	}
	if p, err := netip.ParsePrefix(line); err == nil {
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(line)
	if err != nil {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}
