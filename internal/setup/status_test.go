package setup

import (
	"context"
	"fmt"
	"testing"

	"symbiosis-connect-acl/tests/lab"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := newRoot(t, lab.DefaultSuite, "sympl")
	opt, _ := options(t, r)
	s, err := Status(ctx, opt)
	must(t, err)
	if s.Platform != "sympl" || s.Applied || s.InForce || len(s.PatternsFiles) != 0 || s.Since != "" {
		t.Errorf("before: %+v", s)
	}
	must(t, Apply(ctx, opt))
	s, err = Status(ctx, opt)
	must(t, err)
	if !s.Applied || !s.InForce || fmt.Sprint(s.PatternsFiles) != "[/etc/sympl/firewall/patterns.d/exim4.patterns]" ||
		s.LogSelector != "+tls_sni" || len(s.LogSnippets) != 1 || s.LogSnippets[0] != "/etc/exim4/sympl.d/00-main/50-tls-options" || s.Since == "" {
		t.Errorf("applied: %+v", s)
	}
	if s, err = Status(ctx, Options{Root: t.TempDir()}); err != nil || s.Platform != "" {
		t.Errorf("no platform: %+v, %v", s, err)
	}
}
