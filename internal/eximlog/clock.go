package eximlog

import "time"

// A clock reads the time at the start of a line: 2026-11-26 22:56:45, with
// .574 after it (+millisec), with +0100 after that (log_timezone), or after
// syslog's own "Nov 26 22:56:45 mail exim[45110]: ". Without a zone it is local
// time, whose difference from UTC changes at a full hour at the earliest.
type clock struct {
	hour [13]byte // 2026-11-26 22
	base int64
}

func (c *clock) time(b []byte) (at int64, rest []byte, ok bool) {
	if len(b) > 20 && b[4] != '-' {
		b = afterSyslog(b)
	}
	if len(b) < 21 || b[4] != '-' || b[7] != '-' || b[10] != ' ' || b[13] != ':' || b[16] != ':' {
		return 0, nil, false
	}
	minute, ok1 := two(b[14:])
	second, ok2 := two(b[17:])
	if !ok1 || !ok2 {
		return 0, nil, false
	}
	if [13]byte(b[:13]) != c.hour {
		t, err := time.ParseInLocation("2006-01-02 15", string(b[:13]), time.Local)
		if err != nil {
			return 0, nil, false
		}
		c.hour, c.base = [13]byte(b[:13]), t.Unix()
	}
	at, rest = c.base+int64(minute*60+second), b[19:]
	if len(rest) > 4 && rest[0] == '.' {
		rest = rest[4:]
	}
	if len(rest) > 7 && rest[0] == ' ' && (rest[1] == '+' || rest[1] == '-') && rest[6] == ' ' {
		hours, ok1 := two(rest[2:])
		minutes, ok2 := two(rest[4:])
		if ok1 && ok2 {
			zone := int64(hours*3600 + minutes*60)
			if rest[1] == '-' {
				zone = -zone
			}
			_, local := time.Unix(c.base, 0).Zone()
			at += int64(local) - zone
			rest = rest[6:]
		}
	}
	if len(rest) < 2 || rest[0] != ' ' {
		return 0, nil, false
	}
	return at, rest[1:], true
}

// afterSyslog passes over what syslog writes before Exim's own time.
func afterSyslog(b []byte) []byte {
	for i := 0; i+2 < len(b) && i < 300; i++ {
		if b[i] == ']' && b[i+1] == ':' && b[i+2] == ' ' {
			return b[i+3:]
		}
	}
	return b
}

func two(b []byte) (int, bool) {
	return int(b[0]-'0')*10 + int(b[1]-'0'), isDigit(b[0]) && isDigit(b[1])
}
