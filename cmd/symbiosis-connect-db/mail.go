package main

import (
	"bytes"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"regexp"
)

// localUser is the name of a user of this machine.
var localUser = regexp.MustCompile(`^[a-z_][a-z0-9_.-]*$`)

// recipient reads --mail: one address, "" for none.
func recipient(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if a, err := mail.ParseAddress(s); err == nil {
		return a.String(), nil
	}
	if localUser.MatchString(s) { // root
		return s, nil
	}
	return "", usagef("--mail: %q is not one address", s)
}

// message makes a mail of a report.
func message(to, subject, format string, body []byte) []byte {
	kind := map[string]string{"text": "text/plain", "html": "text/html"}[format]
	var b bytes.Buffer
	fmt.Fprintf(&b, "To: %s\nSubject: %s\nAuto-Submitted: auto-generated\nMIME-Version: 1.0\n"+
		"Content-Type: %s; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n", to, mime.QEncoding.Encode("utf-8", subject), kind)
	w := quotedprintable.NewWriter(&b)
	w.Write(body)
	w.Close()
	return bytes.ReplaceAll(b.Bytes(), []byte("\r\n"), []byte("\n"))
}
