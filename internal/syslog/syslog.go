// Package syslog sends one line to the local syslog daemon without ever waiting
// for it: neither mail nor maintenance may hang because nobody reads the log.
package syslog

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/clock"
)

// A Priority is a facility and a severity (RFC 5424, section 6.2.1).
type Priority int

// The priorities in use here.
const (
	MailWarning Priority = 2<<3 | 4
	CronErr     Priority = 9<<3 | 3
	CronInfo    Priority = 9<<3 | 6
)

// Identifier is the name under which all our programs write to syslog, on every
// platform; Exim's log has the same word in the lines of our rules.
const Identifier = "connect-acl"

// Socket is where the daemon listens. Tests put their own below a root.
const Socket = "/dev/log"

const patience = 50 * time.Millisecond

// Send sends text under Identifier to the daemon at socket. Where
// there is none, or it does not read, the text is lost: there is nobody left
// to tell. Control characters become spaces.
func Send(socket string, p Priority, text string) {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	line := fmt.Sprintf("<%d>%s %s[%d]: %s", p, clock.Now().Format(time.Stamp), Identifier, os.Getpid(), text)
	c, err := net.DialTimeout("unixgram", socket, patience)
	if err != nil {
		// Some daemons listen for a stream, in which a line needs an end.
		if c, err = net.DialTimeout("unix", socket, patience); err != nil {
			return
		}
		line += "\n"
	}
	defer c.Close()
	c.SetWriteDeadline(time.Now().Add(patience))
	c.Write([]byte(line))
}
