package rules

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const tree = "../../symbiosis.d"

func snippets(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(tree, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		all[path] = string(data)
		return err
	})
	if err != nil || len(all) < 10 {
		t.Fatalf("%d snippets: %v", len(all), err)
	}
	return all
}

// A form is what the snippets ask for, and nothing else.
func TestFormsAreTheSnippets(t *testing.T) {
	asks := regexp.MustCompile(`match\{([A-Z_]+(?: [A-Z_]+)*)\}\{\\N(.*?)\\N\}`)
	var asked []string
	for path, text := range snippets(t) {
		for _, m := range asks.FindAllStringSubmatch(text, -1) {
			macros := strings.Fields(m[1])
			asked = append(asked, macros...)
			if want := Expression(macros...); m[2] != want {
				t.Errorf("%s asks of %s for\n%s, and the form is\n%s", path, m[1], m[2], want)
			}
		}
	}
	for _, x := range forms {
		// The helper looks at two itself, and Exim uses two as they are.
		if slices.Contains([]string{DNSBLThreshold, DNSBLTimeout, DNSBLMemory, GreetingBusy}, x.macro) {
			continue
		}
		if !slices.Contains(asked, x.macro) {
			t.Errorf("no snippet asks for the form of %s", x.macro)
		}
	}
}

// What is shipped has the names of here, and values that fit.
func TestShippedValues(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(tree, "00-main/21-connect-check"))
	if err != nil {
		t.Fatal(err)
	}
	shipped := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^([A-Z_]+)[ \t]*=[ \t]*(.*)$`).FindAllStringSubmatch(string(data), -1) {
		shipped[m[1]] = m[2]
	}
	names := []string{
		StateSuite, StateHistory, StateRatelimit, StateDNSBLs, StateGreeting, StateHelo, StateAuth, StateReverse, StateAccount,
		PortsHistory, PortsRatelimit, PortsDNSBLs, PortsGreeting, PortsReverse,
		StateOffences, PortsOffences, RecentOffences, Parole,
		Threshold, Database, HostsDatabase, Ratelimit, ConnectLists, SubmissionLists, DNSBLThreshold, DNSBLTimeout, DNSBLMemory,
		GreetingDelay, GreetingBusy, RefusedNames, AuthFailures, AuthLeniency, AuthPeriod, AccountHosts,
	}
	for _, name := range names {
		value, ok := shipped[name]
		if !ok {
			t.Errorf("%s is not shipped", name)
		}
		if f, has := FormOf(name); has && !f.Fits(value) {
			t.Errorf("%s is shipped as %q, which is not %s", name, value, f.Want)
		}
	}
	for name := range shipped {
		if _, has := FormOf(name); has && !slices.Contains(names, name) {
			t.Errorf("%s has no name here", name)
		}
	}
}

func TestFits(t *testing.T) {
	for macro, values := range map[string]struct{ good, bad []string }{
		Threshold:      {[]string{"0", "999999999"}, []string{"", "-1", "1000000000", "1 "}},
		Ratelimit:      {[]string{"2/1s", "10 / 15m", "2.5 / 1h30m", "999999 / 999w999w999w"}, []string{"", "1 / 15m", "10", "10 / 0h", "10 / 4000w", "ten / 15m"}},
		Parole:         {[]string{"0", "90d", "1w12h"}, []string{"", "00", "90", "never"}},
		RecentOffences: {[]string{"0", "3"}, []string{"", "-1", "few"}},
		DNSBLThreshold: {[]string{"1"}, []string{"0", ""}},
		DNSBLTimeout:   {[]string{"2s", " 500ms"}, []string{"2", "0s", "-1s", ""}},
		DNSBLMemory:    {[]string{"0s", "1h", "90m"}, []string{"", "0", "1", "hour"}},
		GreetingDelay:  {[]string{"0", "1", "99"}, []string{"00", "100", ""}},
		AuthFailures:   {[]string{"1", "999999"}, []string{"0", "1000000"}},
		AuthPeriod:     {[]string{"1s", "86400s", "9999h"}, []string{"0h", "1y", ""}},
		StateHistory:   {[]string{"enforce", "learn ", " off"}, []string{"", "enfroce", "measure"}},
		StateRatelimit: {[]string{"measure"}, []string{"off off"}},
		PortsDNSBLs:    {[]string{"", "25", "25 : 465:587"}, []string{"25, 587", "smtp"}},
	} {
		f, ok := FormOf(macro)
		if !ok {
			t.Errorf("%s has no form", macro)
		}
		for _, v := range values.good {
			if !f.Fits(v) {
				t.Errorf("%s: %q is good", macro, v)
			}
		}
		for _, v := range values.bad {
			if f.Fits(v) {
				t.Errorf("%s: %q is bad", macro, v)
			}
		}
	}
}

func TestMilder(t *testing.T) {
	for _, c := range []struct {
		suite, macro, own string
		want              State
	}{
		{"enforce", StateHistory, "enforce", Enforce}, {" enforce ", StateHistory, "enforce", Enforce},
		{"learn", StateHistory, "enforce", Learn}, {"enforce", StateHistory, "learn", Learn}, {"enforce", StateHistory, "enforec", Learn},
		{"", StateHistory, "enforce", Learn}, {"enforce", StateHistory, StateHistory, Learn},
		{"learn", StateHistory, "off", Off}, {"off", StateHistory, "enforce", Off}, {"enforce", StateHistory, " off", Off},
		{"learn", StateRatelimit, "measure", Measure}, {"off", StateRatelimit, "measure", Off}, {"enforce", StateHistory, "measure", Learn},
	} {
		if got := Milder(c.suite, c.macro, c.own); got != c.want {
			t.Errorf("suite %q, %s %q: %s; want %s", c.suite, c.macro, c.own, got, c.want)
		}
	}
}
