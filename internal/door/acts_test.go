package door

import (
	"slices"
	"testing"

	"symbiosis-connect-acl/internal/platform"
)

func TestUndefined(t *testing.T) {
	const tree = "# /etc/exim4/symbiosis.d/"
	conf := tree + "00-main/21-connect-check\n# ----\n\nCHECK_CONNECT_IP_DNSBLS = a : b\n" +
		tree + "00-main/25-logging\n# ----\n\n# symbiosis-connect-acl: what Exim writes.\n.ifdef CONNECT_NOTHING\nCONNECT_X = CONNECT_Y\n.endif\nCONNECT_Z = 1\nlog_selector = CONNECT_LOG_SELECTOR_EXTRA\n" +
		tree + "10-acl/10-acl-check-connect/60-check-dnsbls\n# ----\n\n# symbiosis-connect-acl: CONNECT_IN_A_COMMENT\n" +
		"  warn set acl_c_x = CHECK_CONNECT_IP_DNSBLS CHECK_CONNECT_DNSBL_THRESHOLD $acl_c_connect_key\n  warn set acl_c_y = CHECK_CONNECT_DNSBL_THRESHOLD\n" +
		tree + "10-acl/10-acl-check-connect/85-mine\n# ----\n\n  warn set acl_c_z = CONNECT_OF_SOMEBODY_ELSE\n"
	macros := map[string]string{"CHECK_CONNECT_IP_DNSBLS": "a : b"}
	want := []string{"CONNECT_LOG_SELECTOR_EXTRA", "CHECK_CONNECT_DNSBL_THRESHOLD"}
	if got := Undefined([]byte(conf), platform.Symbiosis("/"), macros); !slices.Equal(got, want) {
		t.Errorf("undefined: %q; want %q", got, want)
	}
}
