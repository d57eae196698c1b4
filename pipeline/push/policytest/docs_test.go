package policytest

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/pipeline/push"
)

// The policies that the manual shows compile, the tests beside them pass, and
// what it shows as refused is refused in these words.
func TestExamplesOfTheManual(t *testing.T) {
	var policy *push.Policy
	var refused error
	compiled, ran, refusals := 0, 0, 0
	for _, m := range regexp.MustCompile("(?ms)^```([a-z]+) ?([^\n]*)\n(.*?)^```$").FindAllStringSubmatch(readFile(t, "../../../docs/push.md"), -1) {
		name, text := m[2], m[3]
		switch {
		case name == "push.yaml":
			compiled++
			var err error
			if policy, err = push.ParsePolicy(name, []byte(text)); err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			for _, f := range policy.Lint() {
				if f.Kind != push.FindNoRest { // an example says quiet: none
					t.Errorf("an example is not one to follow: %s\n%s", f.String(), text)
				}
			}
		case name == "push_test.yaml":
			cases, err := Parse(name, []byte(text), policy)
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			for _, f := range Run(cases, policy) {
				t.Errorf("%s\n%s", f.Error(), f.Diff())
			}
			ran += len(cases)
		case name == "bad.yaml":
			if _, refused = push.ParsePolicy(name, []byte(text)); refused == nil {
				t.Fatalf("nothing is wrong with\n%s", text)
			}
		case m[1] == "text" && refused != nil:
			refusals++
			if diff := cmp.Diff(strings.Split(strings.TrimSuffix(text, "\n"), "\n"), strings.Split(refused.Error(), "\n")); diff != "" {
				t.Errorf("-shown +said:\n%s", diff)
			}
			refused = nil
		default:
			t.Errorf("nobody reads the example %s %s:\n%s", m[1], name, text)
		}
	}
	if compiled < 5 || ran < 10 || refusals < 2 {
		t.Errorf("%d policies, %d cases and %d refusals are shown", compiled, ran, refusals)
	}
}
