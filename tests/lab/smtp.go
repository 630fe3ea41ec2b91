package lab

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// A Client is one SMTP connection, spoken line by line so that a test can be
// as rude as a bot.
type Client struct {
	Greeting string        // the whole first reply, lines joined with "\n"
	Wait     time.Duration // from connecting to the end of the greeting
	conn     net.Conn
	r        *bufio.Reader
	t        testing.TB
}

// Connect opens a connection from an address and reads the greeting; on port
// 465 inside TLS. A server that closes without a word gives an empty Greeting.
func (e *Exim) Connect(from string, port int) *Client {
	e.t.Helper()
	c, err := e.Net.connect(e.t, from, port)
	if err != nil {
		e.t.Fatalf("connecting from %s to port %d: %v", from, port, err)
	}
	return c
}

func (n *Net) connect(t testing.TB, from string, port int) (*Client, error) {
	begin := time.Now()
	conn, err := n.Dial(from, port)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	if port == 465 {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // the lab's own certificate
	}
	c := &Client{conn: conn, r: bufio.NewReader(conn), t: t}
	c.Greeting = c.Read()
	c.Wait = time.Since(begin)
	return c, nil
}

// Greet connects, reads the greeting and hangs up politely.
func (e *Exim) Greet(from string, port int) string {
	e.t.Helper()
	c := e.Connect(from, port)
	c.Quit()
	return c.Greeting
}

// Read reads one reply, of several lines perhaps, joined with "\n". It gives
// what there was when the server hangs up.
func (c *Client) Read() string {
	var lines []string
	for {
		l, err := c.r.ReadString('\n')
		l = strings.TrimRight(l, "\r\n")
		if l != "" {
			lines = append(lines, l)
		}
		if err != nil || len(l) < 4 || l[3] != '-' {
			return strings.Join(lines, "\n")
		}
	}
}

// Send writes raw bytes.
func (c *Client) Send(raw string) { c.conn.Write([]byte(raw)) }

// Cmd sends one command line and gives the reply.
func (c *Client) Cmd(format string, args ...any) string {
	c.Send(fmt.Sprintf(format, args...) + "\r\n")
	return c.Read()
}

// StartTLS asks for TLS and says EHLO again inside it.
func (c *Client) StartTLS(helo, sni string) string {
	c.t.Helper()
	if got := c.Cmd("STARTTLS"); !strings.HasPrefix(got, "220") {
		c.t.Fatalf("STARTTLS: %q", got)
	}
	tc := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true, ServerName: sni})
	c.conn, c.r = tc, bufio.NewReader(tc)
	return c.Cmd("EHLO %s", helo)
}

// AuthPlain tries a password with AUTH PLAIN and gives the reply.
func (c *Client) AuthPlain(user, password string) string {
	return c.Cmd("AUTH PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)))
}

// Quit says goodbye and closes.
func (c *Client) Quit() {
	c.Send("QUIT\r\n")
	c.Close()
}

// Reset hangs up without a word, by a TCP reset.
func (c *Client) Reset() {
	conn := c.conn
	if tc, ok := conn.(*tls.Conn); ok {
		conn = tc.NetConn()
	}
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

// Close hangs up.
func (c *Client) Close() { c.conn.Close() }

// Code gives the first three characters of a reply: its code.
func Code(reply string) string {
	if len(reply) < 3 {
		return ""
	}
	return reply[:3]
}
