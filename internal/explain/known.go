package explain

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"symbiosis-connect-acl/internal/whitelist"
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
				find := findLine
				if l.name == "whitelist_connection_check" {
					find = e.findWhite
				}
				if n, text := find(filepath.Join(e.Root, file), e.host); n > 0 {
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

// letIn gives the command that adds the host to a white list. The last line there
// may lack its end.
func (e *examiner) letIn(file string) string {
	line := "echo " + e.key.String()
	if data, err := os.ReadFile(filepath.Join(e.Root, file)); err == nil && len(data) > 0 && data[len(data)-1] != '\n' {
		line = "(echo; " + line + ")"
	}
	return line + " >> " + file
}

// findWhite finds what in whitelist_connect_hosts lets the host in: an address,
// or a name by what the DNS has last said of it.
func (e *examiner) findWhite(path string, host netip.Addr) (line int, text string) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, ""
	}
	f := whitelist.Parse(data)
	if x, ok := f.Find(host); ok {
		return x.Line, strings.TrimSpace(strings.Split(string(data), "\n")[x.Line-1])
	}
	if data, err = os.ReadFile(e.WhitelistDNS); err != nil {
		return 0, ""
	}
	if a, ok := whitelist.ParseDerived(data).Find(host); ok {
		for _, x := range f.Entries {
			if x.Name == a.Name {
				return x.Line, fmt.Sprintf("%s, which had this address in the DNS at %s", a.Name, a.Good.UTC().Format("2006-01-02 15:04 UTC"))
			}
		}
	}
	return 0, ""
}

// findLine finds the first line that has the host as Exim's net-iplsearch does,
// for which an IPv6 key stands in quotation marks.
func findLine(path string, host netip.Addr) (line int, text string) {
	f, err := os.Open(path)
	if err != nil {
		return 0, ""
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for n := 1; s.Scan(); n++ {
		if p, ok := network(s.Text()); ok && p.Contains(host) {
			return n, strings.TrimSpace(s.Text())
		}
	}
	return 0, ""
}

func network(line string) (netip.Prefix, bool) {
	quoted := strings.HasPrefix(line, `"`)
	line = strings.TrimPrefix(line, `"`)
	end := strings.IndexFunc(line, func(c rune) bool {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F', c == '.', c == '/':
			return false
		case c == ':':
			return !quoted
		}
		return true
	})
	if end >= 0 {
		line = line[:end]
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
