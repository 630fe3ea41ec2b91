package exim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"symbiosis-connect-acl/internal/remedy"
)

// debianLog is where Debian's Exim logs to when nothing else is set.
const debianLog = "/var/log/exim4/%slog"

// ErrSyslog says that Exim keeps no log of its own.
var ErrSyslog = remedy.Add(errors.New("Exim logs to syslog only (log_file_path)"), "name the file that syslog writes with --log")

// MainLog gives the path of the main log of the Exim whose configuration is at
// path, outside of the root. Where its name has a date, "*" stands for that.
func (x Installation) MainLog(ctx context.Context, path string) (string, error) {
	value, err := x.Option(ctx, path, "log_file_path")
	if err != nil {
		return "", err
	}
	return x.mainLog(value)
}

// mainLog reads a value of log_file_path: a list of a file and "syslog", of
// which an empty item is what Exim was built with.
func (x Installation) mainLog(value string) (string, error) {
	file, toSyslog := "", false
	for _, item := range strings.Split(value, ":") {
		switch item = strings.TrimSpace(item); {
		case item == "syslog":
			toSyslog = true
		case item != "":
			file = item
		case file == "":
			file = debianLog
		}
	}
	if strings.TrimSpace(value) == "" {
		file = debianLog
	}
	if file == "" && toSyslog {
		return "", ErrSyslog
	}
	return filepath.Join(x.Root, strings.NewReplacer("%s", "main", "%D", "*", "%M", "*").Replace(file)), nil
}

// Send hands a message to Exim, whose header names the recipients.
func (x Installation) Send(ctx context.Context, message []byte) error {
	program, err := x.program(ErrNoExim, "/usr/sbin/sendmail", "/usr/sbin/exim4")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var out bytes.Buffer
	cmd := x.command(ctx, program, "-t", "-oi")
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(message), &out, &out
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return fmt.Errorf("%s -t: %w: %s", program, err, oneLine(out.Bytes()))
	}
	return nil
}
