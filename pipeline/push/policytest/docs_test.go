package policytest

import (
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/rules"
)

// flagsByShadow sees that a pack stops nothing, and that the shipped policy looks
// for the category of what it hits.
func flagsByShadow(t *testing.T, pack string) {
	t.Helper()
	reg, err := rules.ParseRegister("categories.yaml", []byte(readFile(t, "../../../configs/categories.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Load(fstest.MapFS{"wording.yaml": {Data: []byte(pack)}}, reg, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	e := &event.Event{Kind: event.Push, Fields: []event.Field{{Name: []byte("body"), Text: []byte("您的包裹到了，下一单立减20")}}}
	e.Push = event.PushPart{Class: []byte("service"), Channel: []byte("app")}
	var sc rules.Scratch
	hits := set.Match(&sc, e)
	if len(hits) != 1 || rules.ActionOf(hits) != rules.Pass {
		t.Fatalf("%d hits, action %v; want one that stops nothing", len(hits), rules.ActionOf(hits))
	}
	r := push.NewRequest(e)
	r.Categories = []string{hits[0].Rule.Category}
	if d, _ := push.Decide(time.Unix(1_760_000_000, 0), shipped(t), nil, nil, &r); d.Decision != push.Allow || d.Flags&push.ClassDoubtful == 0 {
		t.Errorf("%s, flags %v", d.Decision, d.Flags.Words())
	}
}

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
		case name == "wording.yaml":
			flagsByShadow(t, text)
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
