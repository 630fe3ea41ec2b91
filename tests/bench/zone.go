package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"symbiosis-connect-acl/internal/hosts"
	"symbiosis-connect-acl/internal/platform"
)

// zoneCommand measures symbiosis-connect-db zone where this server has caught a
// million hosts itself.
func zoneCommand(b *bench) string {
	p := platform.Symbiosis(filepath.Join(b.dir, "zone"))
	b.Cleanup(func() { os.RemoveAll(p.Root) })
	for _, f := range []string{filepath.Join(p.EximDir, "Makefile"), filepath.Join(p.SnippetDir, "00-main/30-acl-definitions")} {
		b.must(os.MkdirAll(filepath.Dir(f), 0o755))
		b.must(os.WriteFile(f, nil, 0o644))
	}
	b.must(os.MkdirAll(p.StateDir, 0o755))
	_, err := hosts.Create(context.Background(), p.HostsDatabase, uint32(os.Getuid()), uint32(os.Getgid()), false)
	b.must(err)
	b.must(hosts.With(p.HostsDatabase, func(d *hosts.DB) error {
		return d.Exec(context.Background(), `insert into host (net, history, history_last)
			with recursive n(i) as (select 0 union all select i + 1 from n where i < 999999)
			select case when i % 5 = 0 then printf('2a01:%x:%x:1::/64', 4096 + (i >> 12), 4096 + (i & 4095))
				else printf('%d.%d.%d.%d', 11 + (i >> 18), (i >> 10) & 255, (i >> 2) & 255, ((i & 3) << 6) | 1) end,
				30, unixepoch() - 86400 * (i % 29) from n`)
	}))
	t := newTable("format", "first time, median", "unchanged, median", "memory, most", "target 3 s, 64 MiB")
	for _, format := range []string{"rfc1035", "rbldnsd"} {
		var first, again []time.Duration
		var most int64
		for range b.rounds {
			out := filepath.Join(p.Root, format)
			os.Remove(out)
			for _, to := range []*[]time.Duration{&first, &again} {
				cmd := exec.Command(b.program("symbiosis-connect-db"), "zone", "--root", p.Root, "--zone", "bl.example.org", "--origin", "mail1.example.org", "--format", format, "--output", out)
				begin := time.Now()
				text, err := cmd.CombinedOutput()
				if err != nil {
					b.Fatalf("%v: %v\n%s", cmd.Args, err, text)
				}
				*to = append(*to, time.Since(begin))
				most = max(most, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss<<10)
			}
			if st, err := os.Stat(out); err != nil || st.Size() < 10<<20 {
				b.Fatalf("%s: %v, %v", out, st, err)
			}
		}
		t.row(format, seconds(median(first)), seconds(median(again)), mebi(most), met(median(first) <= 3*time.Second && most <= 64<<20))
	}
	return fmt.Sprintf("`symbiosis-connect-db zone` with a million hosts, a fifth of them IPv6, into a file; %d rounds.\n\n", b.rounds) + t.String()
}
