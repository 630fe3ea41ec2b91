package doctor

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"symbiosis-connect-acl/internal/setup"
	"symbiosis-connect-acl/tests/lab"
)

// With a resolver that never answers, and not even the machine's own name in
// /etc/hosts, an installation and a check still come to their ends, and the
// check says what it could find out and what not.
func TestSilentResolver(t *testing.T) {
	t.Parallel()
	lab.SkipUnlessReady(t)
	r := lab.NewRoot(t, lab.DefaultSuite, "symbiosis")
	install(t, r)
	r.Write("etc/resolv.conf", strings.Repeat("nameserver "+lab.Resolver+"\n", 3), 0o644)
	n := lab.NewNet(t)
	d := lab.StartDNS(t, n)
	d.Behave(".", lab.Silent)
	// Far more than they may take, and far less than they took when each Exim
	// waited for the name of the machine.
	run := func(do string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 45*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, "ip", "netns", "exec", n.Server, os.Args[0], do, r.Dir).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v (%v)\n%s", do, err, ctx.Err(), out)
		}
		return string(out)
	}
	run("apply")
	var found []Finding
	must(t, json.Unmarshal([]byte(run("check in 10 s")), &found))
	said := map[string]string{}
	for _, f := range found {
		said[f.Topic] += f.Level.String() + " " + f.Text + "\n"
	}
	for topic, want := range map[string]string{"resolver": "FAIL Exim gets no answer from DNS", "configuration": "OK the rules are in force",
		"values": "OK", "hosts": "OK", "patterns": "OK", "door": "OK an innocent host is greeted"} {
		if topic == "door" && strings.HasPrefix(said[topic], "WARN not finished") {
			continue // on a machine that is busy
		}
		if !strings.HasPrefix(said[topic], want) {
			t.Errorf("%s is %q; want %s", topic, said[topic], want)
		}
	}
}

// What has no result when the time is over is not finished, and nothing is said
// about it that nobody has found out.
func TestNothingFinished(t *testing.T) {
	t.Parallel()
	r := lab.NewRoot(t, lab.DefaultSuite, "symbiosis")
	lab.Unpack(t, r)
	r.Make("exim4.conf")
	must(t, setup.Apply(t.Context(), setup.Options{Root: r.Dir}))
	var looked [][]string
	found, err := Check(t.Context(), Options{Root: r.Dir, Limit: grace + time.Nanosecond, Progress: func(topics []string) { looked = append(looked, topics) }})
	must(t, err)
	for _, f := range found {
		if f.Level != WARN || !strings.HasPrefix(f.Text, "not finished") || f.Remedy == "" {
			t.Errorf("%+v", f)
		}
	}
	if len(found) != 20 {
		t.Errorf("%d things are not finished: %v", len(found), found)
	}
	if len(looked) < 2 || len(looked[0]) != 19 || looked[len(looked)-1] != nil {
		t.Errorf("progress told: %v", looked)
	}
}
