package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Relays are honest mail servers between an attacker and us. Whatever he gives
// them they hand on, in their own name and from their own address: a forwarder
// and a secondary MX his addresses and his message, a server that bounces or
// calls the sender's server out his sender. So no line about them may be counted.

// Where the relays listen, and where they come from when they call us. One has
// a reverse name and one has not. When they call by the hundred, they come from
// an address for which our rule on rates is as it is everywhere; the others have
// room without end, so that each attack reaches the rules behind it.
const (
	postfixRelay   = "45.73.1.1"
	postfixRelay6  = "2a10:73::1"
	postfixHundred = "45.74.1.1"
	eximRelay      = "45.73.2.1"
	eximRelay6     = "2a10:73::2"
	eximHundred    = "45.74.2.1"
)

// The ports on which the relays take mail, each with a duty of its own.
const (
	forwardPort       = 2600 // forwards forward.example to us, is secondary MX of example.org, sends a customer's mail anywhere
	senderCalloutPort = 2601 // asks the sender's server, which is us, whether it knows the sender
	fullCalloutPort   = 2602 // the same, and asks for a random name and the postmaster
	rcptCalloutPort   = 2603 // asks us whether we know the recipient
	headerCalloutPort = 2604 // asks about the addresses in the letter's header
)

// Who gives mail to the relays, and whose servers we are said to be: those of
// attackerDomain and of all domains below it.
const (
	customer            = "45.75.1.1"
	stranger            = "45.75.2.1"
	attackerDomain      = "attacker.example"
	attackerDomainUnder = "ex_a.attacker.example"
	attackerDomain6     = "six.attacker.example" // by IPv6
)

// A relay is one of the two servers.
type relay struct {
	dir, root string
	daemon    *exec.Cmd
	forget    func() error // throws away what waits to be sent again
	busy      func() (bool, error)
}

// relays are both, as the recorder starts them once for all selector sets.
type relays struct{ postfix, exim *relay }

func startRelays(dir, postfixRoot, eximRoot string) (*relays, error) {
	r := &relays{}
	var err error
	if r.postfix, err = startPostfix(filepath.Join(dir, "postfix"), postfixRoot); err != nil {
		return nil, fmt.Errorf("Postfix: %w", err)
	}
	if r.exim, err = startEximRelay(filepath.Join(dir, "exim"), eximRoot); err != nil {
		return nil, fmt.Errorf("relaying Exim: %w", err)
	}
	return r, nil
}

func (r *relays) stop() error {
	var err error
	for _, x := range []*relay{r.postfix, r.exim} {
		x.daemon.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(5*time.Second, func() { x.daemon.Process.Kill() })
		x.daemon.Wait()
		kill.Stop()
		err = errors.Join(err, unmountRoot(x.dir))
	}
	return err
}

// settle waits until both have done what they can do now. What they would try
// again later is forgotten.
func (r *relays) settle() error {
	deadline := time.Now().Add(2 * time.Minute)
	for quiet := 0; quiet < 3; { // one step can begin the next one behind our back
		quiet++
		for _, x := range []*relay{r.postfix, r.exim} {
			busy, err := x.busy()
			if err != nil {
				return err
			}
			if busy {
				quiet = 0
			}
		}
		if time.Now().After(deadline) {
			return errors.New("the relays are still at work after two minutes")
		}
		time.Sleep(3 * time.Millisecond) // between two looks at a condition
	}
	return errors.Join(r.postfix.forget(), r.exim.forget())
}

func (x *relay) start(address string, args ...string) error {
	x.daemon = exec.Command(args[0], args[1:]...)
	x.daemon.SysProcAttr = &syscall.SysProcAttr{Chroot: x.root, Pdeathsig: syscall.SIGKILL}
	x.daemon.Dir = "/"
	x.daemon.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	// A file, because a pipe would be waited for as long as any child lives.
	output, err := os.Create(filepath.Join(x.dir, "output"))
	if err != nil {
		return err
	}
	defer output.Close()
	x.daemon.Stdout, x.daemon.Stderr = output, output
	if err := x.daemon.Start(); err != nil {
		return err
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(output.Name())
			log, _ := os.ReadFile(filepath.Join(x.root, "var/log/postfix.log"))
			return fmt.Errorf("does not listen: %s%s", said, log)
		}
		time.Sleep(20 * time.Millisecond) // between two looks at a condition
	}
}

func (x *relay) write(path, text string) error {
	path = filepath.Join(x.root, path)
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644))
}

const postfixMain = `compatibility_level = 3.6
myhostname = mx.relay.example
mydestination =
inet_interfaces = 127.0.0.1, [::1]
inet_protocols = all
smtp_bind_address = ` + postfixRelay + `
smtp_bind_address6 = ` + postfixRelay6 + `
mynetworks = ` + customer + `/32
relay_domains = example.org
virtual_alias_domains = forward.example
virtual_alias_maps = inline:{
  {six@forward.example=user@` + attackerDomain6 + `},
  {refused@forward.example=user@refused.` + attackerDomain + `},
  {gone@forward.example=user@gone.example},
  {@forward.example=user@example.org}}
transport_maps = inline:{
  {gone.example=error:no such user},
  {innocent@example.org=hundred:},
  {.reuse.` + attackerDomain + `=reuse:}, {reuse.` + attackerDomain + `=reuse:},
  {tls-strict.` + attackerDomain + `=tls-strict:},
  {tls-old.` + attackerDomain + `=tls-old:},
  {tls-null.` + attackerDomain + `=tls-null:}}
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtp_connection_cache_on_demand = no
smtp_tls_security_level = may
maillog_file = /var/log/postfix.log
smtpd_error_sleep_time = 0
smtpd_hard_error_limit = 1000
smtpd_client_connection_count_limit = 0
smtpd_peername_lookup = no
in_flow_delay = 0
default_destination_concurrency_failed_cohort_limit = 1000
address_verify_map =
address_verify_poll_count = 1
unverified_sender_reject_code = 550
unverified_recipient_reject_code = 550
`

// No chroot, so that all of it finds the name server.
const postfixMaster = postfixRelay + `:2600 inet n - n - - smtpd
` + postfixRelay + `:2601 inet n - n - - smtpd -o smtpd_sender_restrictions=reject_unverified_sender
` + postfixRelay + `:2603 inet n - n - - smtpd -o smtpd_recipient_restrictions=reject_unverified_recipient
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
smtp unix - - n - 8 smtp
relay unix - - n - - smtp
hundred unix - - n - - smtp -o smtp_bind_address=` + postfixHundred + `
reuse unix - - n - 1 smtp -o smtp_connection_cache_destinations=static:all
tls-strict unix - - n - - smtp -o smtp_tls_security_level=secure
tls-old unix - - n - - smtp -o smtp_tls_security_level=encrypt -o smtp_tls_mandatory_protocols=TLSv1
tls-null unix - - n - - smtp -o smtp_tls_security_level=encrypt -o smtp_tls_mandatory_ciphers=high -o tls_high_cipherlist=PSK
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`

func startPostfix(dir, lower string) (*relay, error) {
	x := &relay{dir: dir}
	var err error
	if x.root, err = mountRoot(dir, lower); err != nil {
		return nil, err
	}
	if err := errors.Join(x.write("etc/postfix/main.cf", postfixMain), x.write("etc/postfix/master.cf", postfixMaster)); err != nil {
		return nil, err
	}
	queue := func(name string) string { return filepath.Join(x.root, "var/spool/postfix", name) }
	// A message goes from the left to the right.
	x.busy = func() (bool, error) {
		for _, q := range []string{"maildrop", "incoming", "active"} {
			if full, err := anyFile(queue(q)); full || err != nil {
				return full, err
			}
		}
		return false, nil
	}
	x.forget = func() error {
		if waiting, err := anyFile(queue("deferred")); !waiting || err != nil {
			return err
		}
		if out, err := exec.Command("chroot", x.root, "postsuper", "-d", "ALL", "deferred").CombinedOutput(); err != nil {
			return fmt.Errorf("postsuper: %w: %s", err, out)
		}
		return nil
	}
	return x, x.start(net.JoinHostPort(postfixRelay, fmt.Sprint(forwardPort)), "/usr/sbin/postfix", "start-fg")
}

const eximRelayConfig = `primary_hostname = mx2.relay.example
log_selector =
local_interfaces = ` + eximRelay + `.2600 : ` + eximRelay + `.2601 : ` + eximRelay + `.2602 : ` + eximRelay + `.2603 : ` + eximRelay + `.2604
never_users = root
keep_environment =
tls_advertise_hosts =
smtp_accept_max = 0
smtp_accept_max_nonmail = 100000
smtp_accept_queue_per_connection = 0
remote_max_parallel = 10
helo_allow_chars = _
smtputf8_advertise_hosts = *
smtp_max_synprot_errors = 1000
smtp_max_unknown_commands = 1000
acl_smtp_rcpt = check_rcpt
acl_smtp_data = check_data
begin acl
check_rcpt:
  deny condition = ${if eq{$received_port}{2601}}
       !verify = sender/callout=20s,no_cache
  deny condition = ${if eq{$received_port}{2602}}
       !verify = sender/callout=20s,no_cache,random,postmaster
  deny condition = ${if eq{$received_port}{2603}}
       !verify = recipient/callout=20s,no_cache,use_sender
  accept hosts = ` + customer + `
  accept domains = forward.example : example.org
  deny
check_data:
  deny condition = ${if eq{$received_port}{2604}}
       !verify = header_sender/callout=20s,no_cache
  accept
begin routers
forward:
  driver = redirect
  domains = forward.example
  data = ${if eq{$local_part}{six}{user@` + attackerDomain6 + `}{${if eq{$local_part}{refused}{user@refused.` + attackerDomain + `}{user@example.org}}}}
mx:
  driver = dnslookup
  transport = ${if match{$domain}{\N^tls-strict\N}{strict}{${if match{$domain}{\N^tls-old\N}{old}{plain}}}}
  no_more
begin transports
plain:
  driver = smtp
  hosts_avoid_tls = *
  interface = ${if eq{$local_part@$domain}{innocent@example.org}{` + eximHundred + `}{${if match{$domain}{\N^hundred\N}{` + eximHundred + `}{<; ` + eximRelay + ` ; ` + eximRelay6 + `}}}}
strict:
  driver = smtp
  interface = ` + eximRelay + `
  hosts_require_tls = *
  tls_verify_hosts = *
old:
  driver = smtp
  interface = ` + eximRelay + `
  hosts_require_tls = *
  tls_require_ciphers = NORMAL:-VERS-ALL:+VERS-TLS1.0
`

func startEximRelay(dir, lower string) (*relay, error) {
	x := &relay{dir: dir}
	var err error
	if x.root, err = mountRoot(dir, lower); err != nil {
		return nil, err
	}
	if err := x.write("etc/exim4/exim4.conf", eximRelayConfig); err != nil {
		return nil, err
	}
	x.busy = func() (bool, error) { return othersIn(x.root, x.daemon.Process.Pid) }
	x.forget = func() error {
		for _, d := range []string{"input", "msglog"} {
			d = filepath.Join(x.root, "var/spool/exim4", d)
			files, err := os.ReadDir(d)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			for _, f := range files {
				if err := os.RemoveAll(filepath.Join(d, f.Name())); err != nil {
					return err
				}
			}
		}
		// So that a host that could not be reached is tried again.
		return os.RemoveAll(filepath.Join(x.root, "var/spool/exim4/db"))
	}
	return x, x.start(net.JoinHostPort(eximRelay, fmt.Sprint(forwardPort)), "/usr/sbin/exim4", "-bdf")
}

// anyFile tells whether there is a file below dir.
func anyFile(dir string) (found bool, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // has just been moved on
			return nil
		}
		if err == nil && d.Type().IsRegular() {
			found = true
			return fs.SkipAll
		}
		return err
	})
	return found, err
}

// othersIn tells whether any process but the one given is alive in a root.
func othersIn(root string, but int) (bool, error) {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return false, err
	}
	for _, p := range procs {
		name := p.Name()
		if name[0] < '0' || name[0] > '9' || name == fmt.Sprint(but) {
			continue
		}
		// A process that has ended, and waits to be noticed, has no root.
		if dir, err := os.Readlink("/proc/" + name + "/root"); err == nil && strings.TrimSuffix(dir, "/") == root {
			return true, nil
		}
	}
	return false, nil
}
