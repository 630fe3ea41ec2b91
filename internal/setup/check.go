package setup

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"symbiosis-connect-acl/internal/dnsbl"
	"symbiosis-connect-acl/internal/exim"
	"symbiosis-connect-acl/internal/patterns"
	"symbiosis-connect-acl/internal/safepath"
)

// A Level says how bad a finding is. Its values are the exit codes that
// monitoring reads.
type Level int

// The levels.
const (
	OK   Level = iota // as it should be
	WARN              // works, but not as intended; or will not for long
	FAIL              // does not work
)

func (l Level) String() string { return [...]string{"OK", "WARN", "FAIL"}[l] }

// MarshalText spells the level as String does.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (l *Level) UnmarshalText(text []byte) error {
	for _, level := range []Level{OK, WARN, FAIL} {
		if string(text) == level.String() {
			*l = level
			return nil
		}
	}
	return fmt.Errorf("%q is no level: OK, WARN or FAIL", text)
}

// A Finding is one thing that Check has looked at.
type Finding struct {
	Level  Level  `json:"level"`
	Topic  string `json:"topic"`
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"` // empty when all is well
}

// Worst gives the highest level among the findings.
func Worst(all []Finding) Level {
	worst := OK
	for _, f := range all {
		worst = max(worst, f.Level)
	}
	return worst
}

// staleAfter is how long the firewall may count nothing before that is worth a
// remark: a mail server on the Internet meets offenders every day.
const staleAfter = 7 * 24 * time.Hour

// The time that programs and lists have to answer in.
const (
	helperDeadline    = 10 * time.Second
	listsDeadline     = 4 * time.Second
	handshakeDeadline = 20 * time.Second
)

// doctor collects findings.
type doctor struct {
	*run
	ctx    context.Context
	found  []Finding
	user   exim.User
	macros map[string]string
}

func (d *doctor) ok(topic, format string, args ...any) {
	d.found = append(d.found, Finding{OK, topic, fmt.Sprintf(format, args...), ""})
}

func (d *doctor) warn(topic, remedy, format string, args ...any) {
	d.found = append(d.found, Finding{WARN, topic, fmt.Sprintf(format, args...), remedy})
}

func (d *doctor) fail(topic, remedy, format string, args ...any) {
	d.found = append(d.found, Finding{FAIL, topic, fmt.Sprintf(format, args...), remedy})
}

// Check examines the installation and changes nothing. Each finding that is
// not OK has its remedy. It needs the superuser's rights, because it tries
// things as Exim's user.
func Check(ctx context.Context, opt Options) ([]Finding, error) {
	p, found, err := find(opt)
	if err != nil {
		return nil, err
	}
	if !found {
		return []Finding{{OK, "platform", "neither Symbiosis nor Sympl is installed here: nothing to check", ""}}, nil
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("check tries things as Exim's user: run it as root")
	}
	d := &doctor{run: newRun(p, opt), ctx: ctx}
	work, err := os.MkdirTemp(filepath.Join(d.Root, "tmp"), d.Package+"-check-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	if err := os.Chmod(work, 0o755); err != nil {
		return nil, err
	}
	if d.configuration() {
		d.snippets()
		d.daemon()
		d.values()
		d.logging()
		resolves := d.runTime(work)
		d.tls()
		d.files()
		d.hosts()
		d.firewallDatabases()
		d.helper()
		d.lists(resolves)
	}
	d.patterns()
	d.clock()
	d.cron()
	return d.found, nil
}

func (d *doctor) apply() string { return "run: " + d.program() + " apply" }

func (d *doctor) build() string {
	return "run: cd " + d.exim.Inside(d.EximDir) + " && make test && make"
}

// configuration looks at the Exim and its configuration in force. Without one
// that Exim reads there is little else to look at.
func (d *doctor) configuration() bool {
	version, err := d.exim.Version(d.ctx)
	if err != nil {
		d.fail("exim", "run: apt-get install exim4-daemon-heavy", "%v", err)
		return false
	}
	name := map[string]string{"symbiosis": "Symbiosis", "sympl": "Sympl"}[d.Name]
	if older(version, 4, 94) {
		d.warn("platform", "upgrade Exim: the rules are tested with 4.94 to 4.100", "%s, Exim %s", name, version)
	} else {
		d.ok("platform", "%s, Exim %s", name, version)
	}
	if _, _, found, _ := journal(d.journalDir()); found {
		d.warn("setup", d.apply(), "a run of the setup tool did not come to its end, or is at work now")
	}
	if d.macros, err = d.exim.Macros(d.ctx, d.exim.Config()); err != nil {
		d.fail("configuration", "mend what is named and "+d.build(), "Exim does not take %s: %v", d.exim.Config(), err)
		return false
	}
	if d.user, err = d.exim.User(d.ctx, d.exim.Config()); err != nil {
		d.fail("configuration", d.build(), "%v", err)
		return false
	}
	if _, on := d.macros[markerMacro]; !on {
		d.fail("configuration", d.apply(), "the rules are not in force")
	} else {
		d.ok("configuration", "the rules are in force")
	}
	return true
}

func older(version string, major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(version, "%d.%d", &a, &b); n < 2 {
		return false
	}
	return a < major || a == major && b < minor
}

var ruleLine = regexp.MustCompile(`# -{4,}\n`)

// snippets compares the tree with what the package has shipped, and with what
// is in force.
func (d *doctor) snippets() {
	var edited, missing, waiting []string
	shipped, err := d.conffiles()
	if err != nil {
		d.warn("snippets", "install the package "+d.Package, "dpkg does not know which snippets belong to us: %v", err)
	}
	prefix := d.exim.Inside(d.SnippetDir) + "/"
	for path, sum := range shipped {
		name, ours := strings.CutPrefix(path, prefix)
		if !ours {
			continue
		}
		data, err := os.ReadFile(filepath.Join(d.Root, path))
		got := md5.Sum(data)
		switch {
		case err != nil:
			missing = append(missing, name)
		case hex.EncodeToString(got[:]) != sum:
			edited = append(edited, name)
		}
		for _, ext := range []string{".dpkg-dist", ".dpkg-new", ".ucf-dist"} {
			if _, err := os.Stat(filepath.Join(d.Root, path+ext)); err == nil {
				waiting = append(waiting, name+ext)
			}
		}
	}
	before := len(d.found)
	for _, c := range []struct {
		names        []string
		what, remedy string
	}{
		{missing, "switched off, because the file is gone", "if this was not meant: apt-get install --reinstall -o Dpkg::Options::=--force-confmiss " + d.Package},
		{edited, "edited", "put your values into 00-main/22-connect-check-local instead, which no upgrade touches"},
		{waiting, "a newer version waits", "compare them with yours, then delete them"},
	} {
		if len(c.names) > 0 {
			d.warn("snippets", c.remedy, "%s: %s", c.what, strings.Join(sorted(c.names), ", "))
		}
	}
	if len(shipped) > 0 && len(d.found) == before {
		d.ok("snippets", "as the package ships them")
	}

	joined, err := d.exim.Join(nil)
	if err != nil {
		d.fail("build", "see that root can read the snippets", "%v", err)
		return
	}
	now, err := os.ReadFile(d.exim.Config())
	if err != nil {
		d.fail("build", d.build(), "%v", err)
		return
	}
	even := func(conf []byte) []byte { return ruleLine.ReplaceAll(conf, []byte("# ----\n")) }
	if !bytes.Equal(even(joined), even(now)) {
		d.warn("build", d.build(), "the snippets are not what %s was built from", d.exim.Config())
	} else {
		d.ok("build", "%s is built from the snippets as they are", d.exim.Config())
	}
}

// conffiles gives the MD5 sums of the package's configuration files as dpkg
// has recorded them.
func (d *doctor) conffiles() (map[string]string, error) {
	stanzas, err := d.dpkg()
	if err != nil {
		return nil, err
	}
	for _, stanza := range stanzas {
		if !strings.HasPrefix(stanza, "Package: "+d.Package+"\n") {
			continue
		}
		all := map[string]string{}
		in := false
		for _, line := range strings.Split(stanza, "\n") {
			if !strings.HasPrefix(line, " ") {
				in = line == "Conffiles:"
				continue
			}
			if f := strings.Fields(line); in && len(f) >= 2 && len(f[1]) == md5.Size*2 {
				all[f[0]] = f[1]
			}
		}
		return all, nil
	}
	return nil, fmt.Errorf("%s is not installed", d.Package)
}

// dpkg gives what dpkg knows of each package.
func (d *doctor) dpkg() (stanzas []string, err error) {
	data, err := os.ReadFile(filepath.Join(d.Root, "var/lib/dpkg/status"))
	return strings.Split(string(data), "\n\n"), err
}

// daemon compares the running Exim with the configuration on the disk.
func (d *doctor) daemon() {
	started, running := d.exim.Started()
	if !running {
		if _, ok := d.exim.Running(); !ok {
			d.fail("daemon", "run: service exim4 start", "Exim does not run")
		}
		return
	}
	st, err := os.Stat(d.exim.Config())
	// The clock's steps since the start make a comparison to the second futile.
	if err == nil && st.ModTime().After(started.Add(5*time.Second)) {
		d.warn("daemon", "run: service exim4 restart", "Exim was started at %s, before its configuration was built", started.Format(time.DateTime))
		return
	}
	d.ok("daemon", "Exim runs with the configuration in force")
}

// What each macro must look like. The rules pass over a value that they cannot
// use, so that a slip refuses nobody: here it is told.
var (
	stateName  = regexp.MustCompile(`^CONNECT_STATE_`)
	portsName  = regexp.MustCompile(`^CONNECT_PORTS_`)
	portsValue = regexp.MustCompile(`^\s*(\d+\s*(:\s*\d+\s*)*)?$`)
	countValue = regexp.MustCompile(`^\d{1,9}$`)
	rateValue  = regexp.MustCompile(`^\s*(?:[2-9]|[1-9]\d{1,5})(?:\.\d{1,3})?\s*/\s*` + period + `\s*$`)
	scoreValue = regexp.MustCompile(`^[1-9]\d{0,8}$`)
	delayValue = regexp.MustCompile(`^(?:0|[1-9]\d?)$`)
	loginValue = regexp.MustCompile(`^[1-9]\d{0,5}$`)
	timeValue  = regexp.MustCompile(`^` + period + `$`)
	agoValue   = regexp.MustCompile(`^(?:0[smhdw]|` + period + `)$`)
)

// A period that Exim's ratelimit can work with: not 0, and no more than fits
// into a number of seconds.
const period = `(?:[1-9]\d{0,5}[ms]|[1-9]\d{0,3}h|[1-9]\d{0,2}[dw]){1,3}`

// values looks at what the macros in force say.
func (d *doctor) values() {
	bad := 0
	fault := func(name, want string) {
		bad++
		d.fail("values", fmt.Sprintf("write %s == %s into 00-main/22-connect-check-local and %s", name, want, d.build()),
			"%s is %q, which its rule cannot use", name, d.macros[name])
	}
	for _, name := range sortedKeys(d.macros) {
		value := strings.TrimSpace(d.macros[name])
		switch {
		case stateName.MatchString(name):
			switch {
			case value == "enforce" || value == "learn" || value == "off":
			case value == "measure" && name == "CONNECT_STATE_RATELIMIT":
			default:
				fault(name, "enforce, learn or off")
			}
		case portsName.MatchString(name) && !portsValue.MatchString(value):
			fault(name, "a list of ports such as 25 : 465 : 587")
		}
	}
	for name, c := range map[string]struct {
		form *regexp.Regexp
		want string
	}{
		"SYMBIOSIS_INCIDENT_THRESHOLD":  {countValue, "a whole number from 0 to 999999999"},
		"CHECK_CONNECT_RATELIMIT":       {rateValue, "a number from 2 to 999999 and a period such as 10 / 15m (CONNECT_STATE_RATELIMIT == off switches the check off)"},
		"CHECK_CONNECT_DNSBL_THRESHOLD": {scoreValue, "a whole number of 1 or more"},
		"CONNECT_DNSBL_MEMORY":          {agoValue, "a period such as 1h, or 0s to ask the lists every time"},
		"CONNECT_GREETING_DELAY":        {delayValue, "a whole number of seconds from 0 to 99"},
		"CONNECT_GREETING_BUSY":         {countValue, "a whole number of connections"},
		"CONNECT_AUTH_FAILURES":         {loginValue, "a whole number from 1 to 999999 (CONNECT_STATE_AUTH == off switches the check off)"},
		"CONNECT_AUTH_LENIENCY":         {loginValue, "a whole number from 1 to 999999 (CONNECT_STATE_AUTH == off switches the check off)"},
		"CONNECT_AUTH_PERIOD":           {timeValue, "a period such as 1h"},
	} {
		if value, ok := d.macros[name]; ok && !c.form.MatchString(value) {
			fault(name, c.want)
		}
	}
	if value, ok := d.macros["CHECK_CONNECT_DNSBL_TIMEOUT"]; ok {
		if t, err := time.ParseDuration(strings.TrimSpace(value)); err != nil || t <= 0 {
			fault("CHECK_CONNECT_DNSBL_TIMEOUT", "a time such as 2s")
		}
	}
	if bad > 0 {
		return
	}
	switch strings.TrimSpace(d.macros["CONNECT_STATE_SUITE"]) {
	case "learn":
		d.warn("values", "when the log shows only what you want refused, set CONNECT_STATE_SUITE == enforce", "the whole suite only learns: nobody is refused")
	case "off":
		d.warn("values", "set CONNECT_STATE_SUITE == enforce or learn", "the whole suite is off")
	default:
		d.ok("values", "the macros in force have values that the rules understand")
	}
}

func (d *doctor) logging() {
	value, err := d.exim.Option(d.ctx, d.exim.Config(), logSelector)
	value = strings.Join(strings.Fields(value), " ") // the macros in it leave gaps
	if value == "" {
		value = "nothing"
	}
	// Exim 4.100 takes an option twice, and obeys the last.
	for _, o := range d.overruled(d.ctx, d.macros) {
		d.warn("logging", d.apply(), "%s is set again behind ours, which has no effect: an attacker may write lines of the log, or guess without being counted", o)
	}
	switch {
	case err != nil:
		d.fail("logging", d.build(), "%v", err)
	case !exim.Selected(value, "smtp_protocol_error"):
		d.warn("logging", "add +smtp_protocol_error to log_selector", "log_selector = %s: the firewall's patterns cannot see bots that try AUTH where it is not offered", value)
	default:
		d.ok("logging", "log_selector = %s", value)
	}
}

// runTime asks the configuration in force what no look at it can tell: whether
// innocent hosts get in at its door, and whether it finds names in DNS.
func (d *doctor) runTime(work string) (resolves bool) {
	p, err := d.exim.NewProof(d.ctx, d.exim.Config(), work)
	if err != nil {
		d.fail("door", d.build(), "%v", err)
		return true
	}
	defer p.Close()
	bad := 0
	for _, s := range d.greet(d.ctx, p) {
		if s.OK() {
			continue
		}
		bad++
		d.fail("door", "run: exim4 -bh "+s.Host.String()+"; to let everyone in meanwhile: "+d.program()+" remove",
			"a host that did nothing is turned away: %s", s)
	}
	if bad == 0 {
		d.ok("door", "an innocent host is greeted on ports 25, 465 and 587, over IPv4 and IPv6")
	}
	// That there is no such name is an answer too.
	host := exim.Innocent()[0][0]
	said, err := p.Expand(d.ctx, "${lookup dnsdb{defer_strict,ptr="+host.String()+"}{found}{none}}", helperDeadline)
	if err != nil || strings.Contains(said, "DEFER") {
		d.fail("resolver", "see that a server named in /etc/resolv.conf runs and answers: apt-get install unbound gives one of your own",
			"Exim gets no answer from DNS: mail to others waits, names of hosts are not found and DNS lists are not asked")
		return false
	}
	return true
}

// tls tries what no imagined session can: a handshake with the running Exim.
// Where it fails, nobody can log in.
func (d *doctor) tls() {
	const port = 465
	ctx, cancel := context.WithTimeout(d.ctx, handshakeDeadline)
	defer cancel()
	conn, err := d.exim.Dial(ctx, d.exim.Config(), port)
	if err == nil {
		err = handshake(ctx, conn)
	}
	switch {
	case err == nil:
		d.ok("tls", "Exim makes TLS connections on port %d", port)
	case errors.Is(err, exim.ErrNoTLSPort):
	case errors.Is(err, syscall.ECONNREFUSED):
		d.warn("tls", "see daemon_smtp_ports and local_interfaces, then: service exim4 restart", "Exim does not listen on port %d: %v", port, err)
	default:
		d.fail("tls", fmt.Sprintf("run: grep TLS /var/log/exim4/mainlog; the files that tls_certificate and tls_privatekey name must be whole, and %s must be able to read them", d.user.Name),
			"Exim makes no TLS connection on port %d, so nobody can log in: %v", port, err)
	}
}

// files tries to read, as Exim's user, what the rules read.
func (d *doctor) files() {
	etc := d.macros["ETC_DIR"]
	if etc == "" {
		etc = "/etc"
	}
	whitelist := etc + "/exim4/whitelist_connect_hosts"
	bad := 0
	for _, path := range []string{
		whitelist, d.macros["CONNECT_REFUSED_NAMES_FILE"],
		etc + "/exim4/relay_from_hosts", etc + "/exim4/whitelist/by_ip",
		d.exim.Inside(d.ShareDir) + "/refused-helo-names",
	} {
		if path == "" {
			continue
		}
		if _, err := os.Stat(filepath.Join(d.Root, path)); err != nil {
			continue
		}
		if _, _, err := d.exim.RunAs(d.ctx, d.user, helperDeadline, "/bin/sh", "-c", `test -r "$1"`, "sh", path); err != nil {
			bad++
			d.fail("files", fmt.Sprintf("run: chgrp %s %s && chmod g+r %s", d.user.Name, path, path), "%s cannot be read by %s", path, d.user.Name)
		}
	}
	if data, err := os.ReadFile(filepath.Join(d.Root, whitelist)); err == nil {
		for i, line := range strings.Split(string(data), "\n") {
			if text, ok := strangeHost(line); ok {
				bad++
				d.warn("files", "write one address or network at the start of each line", "%s:%d: %q is no address and lets nobody in", whitelist, i+1, text)
			}
		}
	}
	if bad == 0 {
		d.ok("files", "%s can read the lists that the rules ask", d.user.Name)
	}
}

// strangeHost reports a line of the white list that names no host.
func strangeHost(line string) (text string, strange bool) {
	text = strings.TrimSpace(line)
	if text == "" || text[0] == '#' {
		return "", false
	}
	host := strings.Fields(text)[0]
	if rest, ok := strings.CutPrefix(host, `"`); ok {
		host, _, _ = strings.Cut(rest, `"`)
	}
	for _, h := range []string{host, strings.TrimSuffix(host, ":")} {
		if _, err := netip.ParseAddr(h); err == nil {
			return "", false
		}
		if _, err := netip.ParsePrefix(h); err == nil {
			return "", false
		}
	}
	return text, true
}

func (d *doctor) databasePath() string {
	if path := strings.TrimSpace(d.macros["SYMBIOSIS_INCIDENT_DATABASE"]); path != "" {
		return path
	}
	return d.exim.Inside(d.Database)
}

func days(t time.Duration) string { return fmt.Sprintf("%d days", int(t.Hours()/24)) }

// helper runs the helper as Exim does.
func (d *doctor) helper() {
	program := "/usr/sbin/" + d.Name + "-connect-check"
	reinstall := "run: apt-get install --reinstall " + d.Package
	if _, err := os.Stat(filepath.Join(d.Root, program)); err != nil {
		d.fail("helper", reinstall, "%v: DNS lists are not asked", err)
		return
	}
	out, problem, err := d.exim.RunAs(d.ctx, d.user, helperDeadline, program, "host", "--database", d.exim.Inside(d.HostsDatabase), "select 'yes' done")
	problem = strings.Join(strings.Fields(problem), " ")
	out = strings.TrimSpace(out)
	switch {
	case err != nil:
		d.fail("helper", reinstall, "%s does not run as %s: %v %s", program, d.user.Name, err, problem)
	// What is wrong with the database is told elsewhere.
	case out != "done=yes" && !strings.HasPrefix(out, "trouble="):
		d.fail("helper", reinstall, "%s printed %q, not an answer", program, out)
	default:
		d.ok("helper", "%s runs as %s", program, d.user.Name)
	}
}

// lists asks every DNS list for the entries that RFC 5782 has for this, unless
// there is nobody to ask.
func (d *doctor) lists(resolves bool) {
	var all []dnsbl.List
	macro := map[string]string{} // by zone: where it is named
	for _, name := range []string{"CHECK_CONNECT_IP_DNSBLS", "CHECK_SUBMISSION_IP_DNSBLS"} {
		lists, err := dnsbl.ParseLists(d.macros[name])
		if err != nil {
			d.fail("lists", "mend "+name+" and "+d.build(), "%s: %v", name, err)
		}
		for _, l := range lists {
			if zone := l.DisplayName(); macro[zone] == "" {
				macro[zone] = name
			}
		}
		all = append(all, lists...)
	}
	if !resolves {
		return // that was told
	}
	if len(all) == 0 {
		d.ok("resolver", "answers")
		d.ok("lists", "no DNS list is asked")
		return
	}
	health, err := dnsbl.CheckHealth(d.ctx, all, dnsbl.Options{Timeout: listsDeadline, ResolvConf: filepath.Join(d.Root, "etc/resolv.conf")})
	if err != nil {
		d.fail("resolver", "mend /etc/resolv.conf", "%v", err)
		return
	}
	if suspect := suspectResolver(health); suspect != "" {
		d.warn("resolver", "let /etc/resolv.conf name a resolver of your own: apt-get install unbound", "not one of %d DNS lists answers as a list does, so it will not be the lists: %s", len(health), suspect)
		return
	}
	d.ok("resolver", "answers")
	for _, h := range health {
		notes := ""
		if len(h.Notes) > 0 {
			notes = " (" + strings.Join(h.Notes, "; ") + ")"
		}
		// What to do stands in Problem; this is how.
		how := fmt.Sprintf("write %s == the lists to ask into 00-main/22-connect-check-local and %s", macro[h.Zone], d.build())
		switch {
		case h.OK():
			d.ok("lists", "%s answers as it should%s", h.Zone, notes)
		case h.Condition == dnsbl.ListsEveryone:
			d.fail("lists", how, "%s %s: %s", h.Zone, h.Condition, h.Problem)
		default:
			d.warn("lists", how, "%s counts for nothing now, %s: %s%s", h.Zone, h.Condition, h.Problem, notes)
		}
	}
}

// suspectResolver tells how the lists do where none is alive and none does
// harm. Several do not go at once: what they have in common is whom they were
// asked through. It gives "" for a single list.
func suspectResolver(health []dnsbl.Health) string {
	zones := map[string][]string{}
	for _, h := range health {
		if h.OK() || h.Condition == dnsbl.ListsEveryone {
			return ""
		}
		zones[h.Condition.String()] = append(zones[h.Condition.String()], h.Zone)
	}
	if len(health) < 2 {
		return ""
	}
	var all []string
	for _, condition := range sortedKeys(zones) {
		all = append(all, condition+": "+strings.Join(zones[condition], ", "))
	}
	return strings.Join(all, "; ")
}

// patterns looks at the firewall's pattern files.
func (d *doctor) patterns() {
	const topic = "patterns"
	if err := d.readWants(); err != nil {
		d.fail("settings", "mend the file", "%v", err)
		return
	}
	ours, oursErr := os.ReadFile(d.ourPatterns())
	if !d.wants.patterns {
		d.ok(topic, "not merged, because %s says so", d.exim.Inside(d.DefaultsFile))
		d.livePatterns(ours)
		return
	}
	data, err := safepath.ReadFile(d.patternFile())
	if errors.Is(err, fs.ErrNotExist) || err == nil && !patterns.Installed(data) {
		d.warn(topic, d.apply(), "ours are not in %s", d.patternFile())
		return
	}
	if err != nil {
		d.fail(topic, "see that the file can be read", "%v", err)
		return
	}
	if oursErr != nil {
		d.fail(topic, "run: apt-get install --reinstall "+d.Package, "%v", oursErr)
		return
	}
	before := len(d.found)
	merged, superseded, err := patterns.Install(data, ours)
	switch {
	case err != nil:
		d.fail(topic, "mend the line", "%s: %v", d.patternFile(), err)
	case len(superseded) > 0:
		d.warn(topic, d.apply(), "%s:%d is in use beside the pattern of ours that supersedes it: %s", d.patternFile(), superseded[0].Line, superseded[0].Why)
	case !bytes.Equal(merged, data):
		d.warn(topic, d.apply(), "%s has an older version of ours", d.patternFile())
	}
	d.livePatterns(ours)
	if len(d.found) == before {
		d.ok(topic, "installed in %s", d.patternFile())
	}
}

// clock asks the kernel whether something keeps the clock right: counts and
// rates are by time, and so is whether a list's answer is still good.
func (d *doctor) clock() {
	var t syscall.Timex
	const timeError = 5 // TIME_ERROR of adjtimex(2)
	state, err := syscall.Adjtimex(&t)
	switch {
	case err != nil:
		d.ok("clock", "the kernel does not say whether the clock is kept right")
	case state == timeError:
		d.warn("clock", "run: apt-get install systemd-timesyncd, or chrony", "nothing keeps the clock right")
	default:
		d.ok("clock", "kept right")
	}
}

var providesCron = regexp.MustCompile(`(?m)^Provides:.*\bcron-daemon\b`)

func (d *doctor) cron() {
	path := filepath.Join(d.Root, "etc/cron.d", d.Package)
	if _, err := os.Stat(path); err != nil {
		d.warn("cron", "run: apt-get install --reinstall -o Dpkg::Options::=--force-confmiss "+d.Package, "%s is not there: nobody brings the firewall's history over, or looks after the databases", path)
		return
	}
	if !d.cronDaemon() {
		d.warn("cron", "run: apt-get install cron", "no cron is installed: nobody brings the firewall's history over, or looks after the databases")
		return
	}
	d.ok("cron", "sync and the daily maintenance are in place")
}

// cronDaemon reports whether a cron is installed, Debian's or another that takes
// its place.
func (d *doctor) cronDaemon() bool {
	if _, err := os.Stat(filepath.Join(d.Root, "usr/sbin/cron")); err == nil {
		return true
	}
	stanzas, _ := d.dpkg()
	for _, s := range stanzas {
		if strings.Contains(s, "\nStatus: install ok installed\n") && providesCron.MatchString(s) {
			return true
		}
	}
	return false
}

// A Report is what Status tells.
type Report struct {
	Platform      string   `json:"platform"` // "" where there is none
	Package       string   `json:"package,omitempty"`
	Applied       bool     `json:"applied"`     // the rules are built into the tree
	InForce       bool     `json:"in_force"`    // they are part of the configuration in force
	Interrupted   bool     `json:"interrupted"` // a run did not come to its end
	Since         string   `json:"since,omitempty"`
	LogSelector   string   `json:"log_selector,omitempty"` // taken over from elsewhere
	LogSnippets   []string `json:"log_snippets,omitempty"`
	EventAction   string   `json:"event_action,omitempty"` // likewise
	EventSnippets []string `json:"event_snippets,omitempty"`
	PatternsFile  string   `json:"patterns_file,omitempty"`
	Exim          int      `json:"exim_pid,omitempty"`
}

// Status tells what is applied, without asking any rule.
func Status(ctx context.Context, opt Options) (Report, error) {
	p, found, err := find(opt)
	if err != nil || !found {
		return Report{}, err
	}
	r := newRun(p, opt)
	rep := Report{Platform: p.Name, Package: p.Package}
	if _, err := os.Stat(r.enabling()); err == nil {
		rep.Applied = true
	}
	_, _, rep.Interrupted, err = journal(r.journalDir())
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return rep, err
	}
	s, has, err := r.readState()
	if err != nil {
		return rep, err
	}
	if has {
		rep.Since = s.Applied.Format(time.RFC3339)
		rep.LogSelector, rep.LogSnippets = s.LogSelector, s.LogSnippets
		rep.EventAction, rep.EventSnippets = s.EventAction, s.EventSnippets
	}
	if data, err := safepath.ReadFile(r.patternFile()); err == nil && patterns.Installed(data) {
		rep.PatternsFile = r.exim.Inside(r.patternFile())
	}
	rep.Exim, _ = r.exim.Running()
	macros, err := r.exim.Macros(ctx, r.exim.Config())
	if err != nil {
		return rep, err
	}
	_, rep.InForce = macros[markerMacro]
	return rep, nil
}

func sorted(names []string) []string {
	slices.Sort(names)
	return names
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
