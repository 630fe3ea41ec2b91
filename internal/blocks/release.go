package blocks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"symbiosis-connect-acl/internal/address"
	"symbiosis-connect-acl/internal/firewall"
	"symbiosis-connect-acl/internal/platform"
	"symbiosis-connect-acl/internal/safepath"
)

// Release removes the automatic files that block the hosts. It gives the files
// that it has removed, and those of an administrator's that block them as before.
// The running firewall does not know of it yet: see Reload.
func Release(p platform.Platform, keys []address.Key) (removed, manual []string, err error) {
	dir := filepath.Join(p.FirewallDir, "blacklist.d")
	entries, err := firewall.Read(dir)
	if err != nil {
		return nil, nil, err
	}
	d, err := safepath.OpenDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	} else if err != nil {
		return nil, nil, err
	}
	defer d.Close()
	done := map[string]bool{}
	err = d.AsOwner(func() error {
		for _, k := range keys {
			for _, e := range entries.Lookup(k) {
				if done[e.File] {
					continue
				}
				done[e.File] = true
				if !e.Automatic {
					manual = append(manual, e.File)
					continue
				}
				if err := d.Remove(filepath.Base(e.File)); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
				removed = append(removed, e.File)
			}
		}
		return nil
	})
	return removed, manual, err
}

// A Follower is who has the running firewall follow a change of blacklist.d.
type Follower string

// The followers.
const (
	Us     Follower = "us"     // the platform's command was run
	Incron Follower = "incron" // it watches the folder, and runs that command within some seconds
	Cron   Follower = "cron"   // there is no such command: within the hour
)

// reloadLimit bounds the time for a reload: it starts iptables for each rule.
const reloadLimit = 10 * time.Minute

// Reload has the platform fill the chain anew. Where incron does so by itself
// at a change, two at once would meet each other's lock, so it is left to that.
func Reload(ctx context.Context, p platform.Platform) (Follower, error) {
	if _, err := os.Stat(filepath.Join(p.Root, "/etc/incron.d", p.Name+"-firewall")); err == nil && runs("incrond") {
		return Incron, nil
	}
	program := "/usr/sbin/" + p.Name + "-firewall"
	if st, err := os.Stat(filepath.Join(p.Root, program)); err != nil || !st.Mode().IsRegular() {
		return Cron, nil
	}
	ctx, cancel := context.WithTimeout(ctx, reloadLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "reload-blacklist")
	cmd.Dir = "/"
	// It goes by variables that ifupdown sets.
	cmd.Env = []string{"LC_ALL=C.UTF-8", "HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if p.Root != "/" {
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: p.Root}
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return Us, fmt.Errorf("%s reload-blacklist: %w: %s", program, err, strings.Join(strings.Fields(out.String()), " "))
	}
	return Us, nil
}

// runs reports whether a program of that name runs.
func runs(name string) bool {
	all, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, file := range all {
		if b, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(b)) == name {
			return true
		}
	}
	return false
}
