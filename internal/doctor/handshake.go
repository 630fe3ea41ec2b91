package doctor

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
)

// handshake makes a TLS connection of conn, says QUIT and closes it. Whatever
// certificate is shown will do: whether its name is right, the programs of users
// must say.
func handshake(ctx context.Context, conn net.Conn) error {
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	// What an old Exim has to offer, its users' programs have to make do with.
	lax := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10}
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		lax.CipherSuites = append(lax.CipherSuites, suite.ID)
	}
	t := tls.Client(conn, lax)
	if err := t.HandshakeContext(ctx); err != nil {
		return err
	}
	// Leave as clients do, or Exim's log has a connection that was lost.
	bufio.NewReader(t).ReadString('\n')
	fmt.Fprint(t, "QUIT\r\n")
	bufio.NewReader(t).ReadString('\n')
	return nil
}
