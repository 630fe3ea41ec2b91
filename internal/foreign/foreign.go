// Package foreign finds the snippets of somebody else's that turn hosts away at
// the connection, beside our rules, and tells what they do.
package foreign

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"symbiosis-connect-acl/internal/exim"
	"symbiosis-connect-acl/internal/platform"
)

// A Snippet turns hosts away and is neither ours nor the platform's.
type Snippet struct {
	Name string   // in the tree, such as 10-acl/10-acl-check-connect/25-dnsbl-reject
	Path string   // its file
	What []string // whom it turns away, one statement each
	All  bool     // on all ports, those of the users too
	Says []string // what it says to them, macros and variables as they are written
}

// connect is the directory of the connect ACL, stock what the platform has there.
const connect = "10-acl/10-acl-check-connect"

var stock = []string{"00-header", "10-accept-local", "90-default"}

// Refusing lists those in a configuration that has these macros: all of the
// connect ACL, and those of the other ACLs that ask for a reverse name, as the
// article's author has one.
func Refusing(conf []byte, on platform.Platform, macros map[string]string) (all []Snippet) {
	tree := "# " + exim.Installation{Platform: on}.Inside(on.SnippetDir) + "/"
	for _, part := range strings.Split("\n"+string(conf), "\n"+tree)[1:] {
		name, text, _ := strings.Cut(part, "\n")
		dir := path.Dir(name)
		if !strings.HasPrefix(name, "10-acl/") || slices.Contains(stock, path.Base(name)) || strings.Contains(text, "\n# "+on.Package+": ") {
			continue
		}
		s := Snippet{Name: name, Path: path.Join(on.SnippetDir, name), All: true}
		for _, st := range exim.Statements(exim.Active([]byte(text), macros)) {
			what := whom(st)
			if !st.Refuses() || dir != connect && what != noName {
				continue
			}
			if !slices.Contains(s.What, what) {
				s.What = append(s.What, what)
			}
			s.Says = append(s.Says, st.Values("message")...)
			for _, c := range st.Values("condition") {
				if strings.Contains(c, "$received_port") || strings.Contains(c, "$interface_port") {
					s.All = false
				}
			}
		}
		if len(s.What) > 0 {
			all = append(all, s)
		}
	}
	return all
}

const noName = "hosts without a reverse name"

func whom(st exim.Statement) string {
	conditions := strings.Join(st.Values("condition", "hosts"), " ")
	switch {
	case len(st.Values("dnslists")) > 0:
		list := st.Values("dnslists")[0]
		if !strings.Contains(list, "dq.spamhaus.net") { // it may hold a key
			return "hosts on the DNS lists " + list
		}
		return "hosts on a DNS list with a key"
	case strings.Contains(conditions, "dnsdb") && strings.Contains(conditions, "ptr="):
		return noName
	case len(st.Values("ratelimit")) > 0:
		return "hosts that connect more often than " + st.Values("ratelimit")[0]
	case strings.Contains(conditions, "sqlite") || strings.Contains(conditions, "$acl_m9"):
		return "hosts with a count in a database"
	}
	return "hosts for which a condition of its own is true"
}

// String tells what it does.
func (s Snippet) String() string {
	ports := "on the ports that it names"
	if s.All {
		ports = "on all ports"
	}
	when := ""
	if path.Dir(s.Name) != connect {
		when = ", later than at the connection"
	}
	return fmt.Sprintf("%s is not ours and turns away, %s%s: %s", s.Name, ports, when, strings.Join(s.What, "; "))
}

// Retire gives the command that takes it out of use.
func (s Snippet) Retire() string {
	return fmt.Sprintf("mv %s %s.retired && cd /etc/exim4 && make", s.Path, s.Path)
}
