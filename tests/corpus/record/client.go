package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"time"
)

// Where Exim is reached. These are private addresses to Exim, which matters to
// nobody: what counts is where the client comes from.
const (
	server4 = "192.0.2.25"
	server6 = "2001:db8::25"
)

// A client is one host that talks SMTP, politely or not. A connection that the
// server ends is no error: most of the scenarios provoke just that.
type client struct {
	peer string
	v6   bool
	sni  string
	via  string // the relay that it talks to; "" is us
	spelling
	spelt bool                        // a command of an offender's has been spelled so
	await func(texts ...string) error // waits until the log holds one of them
	err   error                       // what kept a scenario from being played

	conn net.Conn
	r    *bufio.Reader
}

func (c *client) attempt(play func(*client)) {
	play(c)
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// open connects without reading the greeting.
func (c *client) open(port int) {
	if c.conn != nil {
		c.conn.Close()
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(c.peer)}, Timeout: 10 * time.Second}
	server, patience := server4, 6*time.Second
	if c.v6 {
		server = server6
	}
	if c.via != "" { // which does something for each command
		server, patience = c.via, 2*time.Minute
	}
	conn, err := d.Dial("tcp", net.JoinHostPort(server, fmt.Sprint(port)))
	if err != nil {
		c.err = err
		return
	}
	conn.SetDeadline(time.Now().Add(patience))
	c.conn, c.r = conn, bufio.NewReader(conn)
}

// dial connects and reads the greeting. On 465 it starts TLS first.
func (c *client) dial(port int) string {
	c.open(port)
	if c.err != nil {
		return ""
	}
	if port == 465 {
		c.handshake()
	}
	return c.reply()
}

func (c *client) handshake() {
	t := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true, ServerName: c.sni})
	if err := t.Handshake(); err != nil {
		return // the server's answer to a strange SNI; it is in the log
	}
	c.conn, c.r = t, bufio.NewReader(t)
}

// reply reads one reply, all of its lines. It is empty when the server closed.
func (c *client) reply() string {
	if c.conn == nil {
		return ""
	}
	var b strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		b.WriteString(line)
		if err != nil || len(line) < 4 || line[3] != '-' {
			return b.String()
		}
	}
}

func (c *client) raw(s string) {
	if c.conn != nil {
		c.conn.Write([]byte(s))
	}
}

func (c *client) say(line string) string {
	c.raw(c.spell(line) + "\r\n")
	return c.reply()
}

// reset ends the connection at once, without a word of TCP's either.
func (c *client) reset() {
	if c.conn == nil {
		return
	}
	conn := c.conn
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
	c.conn = nil
}

func (c *client) quit() { c.say("QUIT") }

// login tries a password with AUTH LOGIN.
func (c *client) login(user, password string) string {
	if r := c.say("AUTH LOGIN"); !strings.HasPrefix(r, "334") {
		return r
	}
	if r := c.say(b64(user)); !strings.HasPrefix(r, "334") {
		return r
	}
	return c.say(b64(password))
}

// plain tries a password with AUTH PLAIN and an initial response.
func (c *client) plain(authz, user, password string) string {
	return c.say("AUTH PLAIN " + b64(authz+"\x00"+user+"\x00"+password))
}

// drain reads until the server closes.
func (c *client) drain() {
	if c.conn == nil {
		return
	}
	buf := make([]byte, 4096)
	for {
		if _, err := c.conn.Read(buf); err != nil {
			return
		}
	}
}

// identify answers questions about who the client's user is (RFC 1413) until
// stop is called.
func (c *client) identify(user string) (stop func()) {
	ln, err := net.Listen("tcp", net.JoinHostPort(c.peer, "113"))
	if err != nil {
		c.err = err
		return func() {}
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			if question, err := bufio.NewReader(conn).ReadString('\n'); err == nil {
				fmt.Fprintf(conn, "%s : USERID : UNIX : %s\r\n", strings.TrimSpace(question), user)
			}
			conn.Close()
		}
	}()
	return func() { ln.Close() }
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func long(s string, n int) string { return string(bytes.Repeat([]byte(s), n/len(s)+1))[:n] }
