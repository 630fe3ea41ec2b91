package dnsbl

import "strings"

// MaxText is the most that is kept of a list's TXT record, in octets. A reply
// line has at most 512 octets with its code and line break (RFC 5321 section
// 4.5.3.1.5), and the reply says more than this.
const MaxText = 200

const hiddenKey = "***"

// Sanitize makes s safe within an SMTP reply, a log line and Exim's
// ${extract}: printable ASCII only, on one line, at most limit octets.
// White space and control characters become one space; other octets that are
// not printable ASCII become "?". Double quotes and backslashes, which have a
// meaning to ${extract}, and square brackets and braces, between which log
// readers expect a host's address, become harmless neighbours. What is cut
// off at the end is marked with "...".
func Sanitize(s string, limit int) string {
	var b strings.Builder
	space := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c <= ' ' || c == 0x7f:
			space = true
			continue
		case c > 0x7f:
			c = '?'
		case c == '"' || c == '`':
			c = '\''
		case c == '\\':
			c = '/'
		case c == '[' || c == '{':
			c = '('
		case c == ']' || c == '}':
			c = ')'
		case c == '$':
			c = '_'
		}
		if space && b.Len() > 0 {
			b.WriteByte(' ')
		}
		space = false
		b.WriteByte(c)
		// Enough to know that it is too long; a TXT record may have 64 KiB.
		if b.Len() > limit {
			break
		}
	}
	out := b.String()
	if len(out) > limit {
		const mark = "..."
		if limit < len(mark) {
			return out[:max(limit, 0)]
		}
		out = strings.TrimRight(out[:limit-len(mark)], " ") + mark
	}
	return out
}

// MaskKeys hides in s, which may be a zone or a text with zones in it, every
// label that is or may be a key to a commercial list: all labels before the
// list's own in zones below dq.spamhaus.net and mail.abusix.zone, and
// elsewhere any label that looks like a key (16 characters or more of letters
// and digits mixed, or 24 or more without a hyphen). Hiding a harmless label
// costs a little clarity, showing a key costs its owner the subscription.
func MaskKeys(s string) string {
	var b strings.Builder
	for s != "" {
		n := 0
		for n < len(s) && isNameByte(s[n]) {
			n++
		}
		if n == 0 {
			b.WriteByte(s[0])
			s = s[1:]
			continue
		}
		b.WriteString(maskName(s[:n]))
		s = s[n:]
	}
	return b.String()
}

func isNameByte(c byte) bool {
	return c == '.' || c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func maskName(name string) string {
	labels := strings.Split(name, ".")
	n := len(labels)
	for n > 0 && labels[n-1] == "" {
		n-- // the final dot of a name or of a sentence
	}
	own := 0 // so many labels at the front are the customer's
	if n > 4 {
		switch strings.ToLower(strings.Join(labels[n-3:n], ".")) {
		case "dq.spamhaus.net", "mail.abusix.zone":
			own = n - 4
		}
	}
	for i, label := range labels {
		if i < own && !isAddressPart(label) || looksLikeKey(label) {
			labels[i] = hiddenKey
		}
	}
	return strings.Join(labels, ".")
}

// isAddressPart tells the parts of a reversed address from a key.
func isAddressPart(label string) bool {
	return len(label) <= 3 && strings.Trim(strings.ToLower(label), "0123456789abcdef") == ""
}

func looksLikeKey(label string) bool {
	letters, digits := 0, 0
	for i := 0; i < len(label); i++ {
		switch c := label[i]; {
		case '0' <= c && c <= '9':
			digits++
		case c == '-' || c == '_':
			return false
		default:
			letters++
		}
	}
	return len(label) >= 24 || len(label) >= 16 && letters > 0 && digits > 0
}

// secrets are the labels of zone that DisplayName hides.
func secrets(zone string) []string {
	shown := strings.Split(MaskKeys(zone), ".")
	var out []string
	for i, label := range strings.Split(zone, ".") {
		if i < len(shown) && shown[i] != label {
			out = append(out, label)
		}
	}
	return out
}

// cleanText makes a list's TXT record fit for a reply, without the key of the
// zone that it came from.
func cleanText(text, zone string) string {
	// Longer than any reply, so that the cut comes after the keys are hidden.
	const enough = 4096
	text = Sanitize(text, enough)
	for _, secret := range secrets(zone) {
		text = replaceFold(text, secret, hiddenKey)
	}
	return Sanitize(MaskKeys(text), MaxText)
}

// replaceFold replaces old, which is ASCII, in s in either case.
func replaceFold(s, old, with string) string {
	var b strings.Builder
	for len(s) >= len(old) {
		if strings.EqualFold(s[:len(old)], old) {
			b.WriteString(with)
			s = s[len(old):]
			continue
		}
		b.WriteByte(s[0])
		s = s[1:]
	}
	b.WriteString(s)
	return b.String()
}
