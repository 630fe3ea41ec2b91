package syslog

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSend(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "log")
	l, err := net.ListenPacket("unixgram", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	Send(socket, MailWarning, "line one\nline two")
	b := make([]byte, 1000)
	l.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, _, err := l.ReadFrom(b)
	got := string(b[:n])
	if err != nil || !strings.HasPrefix(got, "<20>") || !strings.Contains(got, " connect-acl[") ||
		!strings.HasSuffix(got, "]: line one line two") {
		t.Errorf("got %q, %v", got, err)
	}
}

// A daemon that is gone or does not read costs a moment, not a connection.
func TestSendDoesNotWait(t *testing.T) {
	dir := t.TempDir()
	Send(filepath.Join(dir, "none"), CronInfo, "text")
	socket := filepath.Join(dir, "full")
	l, err := net.ListenPacket("unixgram", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan bool)
	go func() {
		// Beyond what the kernel queues for a reader that never comes.
		for range 30 {
			Send(socket, CronInfo, strings.Repeat("x", 1000))
		}
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(60 * time.Second):
		t.Fatal("hangs")
	}
}
