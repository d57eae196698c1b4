package policytest

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/internal/strictyaml"
	"github.com/weir-moderation/weir/pipeline/push"
)

func shipped(t *testing.T) *push.Policy {
	t.Helper()
	src, err := os.ReadFile("../../../configs/push.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := push.ParsePolicy("push.yaml", src)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The shipped tests pass for the shipped policy.
func TestShippedTestsPass(t *testing.T) {
	src, err := os.ReadFile("../../../configs/push_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p := shipped(t)
	cases, err := Parse("push_test.yaml", src, p)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range Run(cases, p) {
		t.Errorf("%s\n%s", f.Error(), f.Diff())
	}
}

// Whatever is wrong with a file of tests is told, each with its place and what
// would be right, and a word of the policy that it does not know is taken for a
// slip unless the case is about exactly that.
func TestParseRefuses(t *testing.T) {
	_, err := Parse("t.yaml", []byte(`tests:
  - name: slips
    now: 2026-11-24 12:00
    usr: {zone: UTC}
    push: {class: marketin, channel: app, hits: fraud}
    want: {decision: maybe, reason: capp, limit: mkt-dya, flags: [zone-default]}
  - name: ""
    now: none
    user: {zone: Asia/Shangai, group: minors, quiet: "22:00", daily_max: -1, grants: [{class: content, channel: ap}]}
    history:
      - {time: none, class: content, channel: app}
      - {time: 2026-11-24T12:00:00+08:00, class: contents, channel: app, id: p, times: 2}
      - {time: 2026-11-24T12:00:00+08:00, class: content, channel: fax, times: 129}
    push: {class: content, channel: app, group: elder}
    want: {decision: deny}
  - name: what nobody decides
    now: 2026-11-24T12:00:00.5+08:00
    push: {class: content, channel: app}
    want: {decision: defer, reason: withdrawn}
  - name: about what the policy does not know
    now: 2026-11-24T12:00:00+08:00
    user: {zone: Mars, group: aliens}
    push: {class: gossip, channel: fax}
    want: {decision: deny, reason: unknown-class, flags: [group-unknown, zone-defaulted]}
  - nothing
`), shipped(t))
	want := `t.yaml:3:10: tests[0].now: "2026-11-24 12:00" is not a time; write it in whole seconds and with its zone, like 2026-11-24T12:00:00+08:00
t.yaml:4:5: tests[0].usr: unknown name; did you mean "user"?
t.yaml:5:19: tests[0].push.class: unknown class "marketin"; did you mean "marketing"?
t.yaml:5:49: tests[0].push.hits: "fraud" is a text; give a list, such as [fraud]
t.yaml:6:22: tests[0].want.decision: unknown decision "maybe"; known are allow, defer, deny
t.yaml:6:37: tests[0].want.reason: unknown reason "capp"; did you mean "cap"?
t.yaml:6:50: tests[0].want.limit: unknown limit "mkt-dya"; did you mean "mkt-day"?
t.yaml:6:67: tests[0].want.flags[0]: unknown flag "zone-default"; did you mean "zone-defaulted"?
t.yaml:7:11: tests[1].name: is empty or has a line break or another control character; a name is a line
t.yaml:8:10: tests[1].now: every case is decided at a time; write it like 2026-11-24T12:00:00+08:00
t.yaml:9:18: tests[1].user.zone: "Asia/Shangai" is no time zone; use a name of the IANA database, such as Asia/Shanghai
t.yaml:9:39: tests[1].user.group: unknown group "minors"; did you mean "minor"?
t.yaml:9:54: tests[1].user.quiet: "22:00" are not hours of rest; write them like 22:00-08:00, or none
t.yaml:9:74: tests[1].user.daily_max: -1 is no limit; give 0 or more, or take the line out
t.yaml:9:113: tests[1].user.grants[0].channel: unknown channel "ap"; did you mean "app"?
t.yaml:11:16: tests[1].history[0].time: a push is allowed at a time; write it like 2026-11-24T12:00:00+08:00
t.yaml:12:50: tests[1].history[1].class: unknown class "contents"; did you mean "content"?
t.yaml:12:88: tests[1].history[1].times: stands beside id, which is that of one push; keep one of the two
t.yaml:13:68: tests[1].history[2].channel: unknown channel "fax"; known are app, sms, email, popup
t.yaml:13:80: tests[1].history[2].times: 129 is out of range; choose from 1 to 128
t.yaml:14:49: tests[1].push.group: unknown group "elder"; did you mean "elderly"?
t.yaml:15:5: tests[1].want.reason: missing; say why it is not allowed
t.yaml:17:10: tests[2].now: "2026-11-24T12:00:00.5+08:00" is not a time; write it in whole seconds and with its zone, like 2026-11-24T12:00:00+08:00
t.yaml:19:37: tests[2].want.reason: nothing is ever decided as defer for withdrawn
t.yaml:25:5: tests[4]: "nothing" is a text; give a mapping`
	var problems strictyaml.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("%v, want problems", err)
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(problems.Error(), "\n")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !strings.Contains(problems.Detail(), "    4 |     usr: {zone: UTC}\n      |     ^") {
		t.Errorf("no line with a mark under the place in\n%s", problems.Detail())
	}
	for _, src := range []string{"", "tests: []", "tests: 7", "cases: []", "tests: [{name: "} {
		if cases, err := Parse("t.yaml", []byte(src), shipped(t)); err == nil || cases != nil {
			t.Errorf("%q was read as %d cases", src, len(cases))
		}
	}
}

// A case that comes out otherwise is shown with all that differs, and with the
// limits the decision saw.
func TestFailuresShowWhatDiffers(t *testing.T) {
	p := shipped(t)
	cases, err := Parse("t.yaml", []byte(`tests:
  - name: right
    now: 2026-11-24T12:00:00+08:00
    push: {class: security, channel: app}
    want: {decision: allow}
  - name: wrong
    now: 2026-11-24T12:00:00+08:00
    user: {zone: Asia/Shanghai, daily_max: 1}
    history: [{time: 2026-11-24T11:30:00+08:00, class: service, channel: app}]
    push: {class: service, channel: app}
    want: {decision: defer, reason: quiet-hours, not_before: 2026-11-24T13:00:00+08:00, not_after: none, replay: true, flags: [zone-defaulted], group: default}
  - name: replayed
    now: 2026-11-24T12:00:00+08:00
    history: [{time: 2026-11-24T11:30:00+08:00, class: service, channel: app, id: p}]
    push: {class: service, channel: app, id: p}
    want: {decision: allow}
`), p)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range Run(cases, p) {
		got = append(got, strings.Split(f.Error()+"\n"+f.Diff(), "\n")...)
	}
	want := strings.Split(`t.yaml:6: wrong: decision deny instead of defer, reason cap instead of quiet-hours, limit user-daily instead of none, not_before 2026-11-25T00:00:00+08:00 instead of 2026-11-24T13:00:00+08:00, replay false instead of true, flags [] instead of [zone-defaulted]
- decision: defer
+ decision: deny
- reason: quiet-hours
+ reason: cap
- limit: none
+ limit: user-daily
- not_before: 2026-11-24T13:00:00+08:00
+ not_before: 2026-11-25T00:00:00+08:00
  not_after: none
- replay: true
+ replay: false
  group: default
- flags: [zone-defaulted]
+ flags: []
  limit svc-day: 1 of 30 since 2026-11-24T00:00:00+08:00, by policy
  limit user-daily: 1 of 1 since 2026-11-24T00:00:00+08:00, by user

t.yaml:12: replayed: replay true instead of false
  decision: allow
  reason: none
- replay: false
+ replay: true
`, "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// The shipped tests hold the shipped policy fast: whatever number in it is
// changed, one of them fails.
func TestShippedTestsNoticeEveryNumber(t *testing.T) {
	policy := readFile(t, "../../../configs/push.yaml")
	tests := readFile(t, "../../../configs/push_test.yaml")
	for _, c := range [][2]string{
		{"default_zone: Asia/Shanghai", "default_zone: UTC"},
		{"# Codes, warnings, sign-ins", "# Codes"}, // nothing changes
		{"rolling: 1h, max: 1", "rolling: 2h, max: 1"},
		{"rolling: 1h, max: 1", "rolling: 1h, max: 2"},
		{"days: 1, max: 2}", "days: 1, max: 3}"},
		{"rolling: 7d, max: 8", "rolling: 8d, max: 8"},
		{"rolling: 7d, max: 8", "rolling: 7d, max: 9"},
		{"channels: [sms], days: 2, max: 1", "channels: [sms], days: 1, max: 1"},
		{"days: 1, max: 30", "days: 1, max: 31"},
		{`quiet: "22:00-08:00"`, `quiet: "22:00-07:30"`},
		{`quiet: "22:00-08:00"`, `quiet: "21:00-08:00"`},
		{`quiet: "21:00-08:00"`, `quiet: "22:00-08:00"`},
		{`quiet: "20:00-08:00"`, `quiet: "20:01-08:00"`},
		{"{id: mkt-day, max: 1}", "{id: mkt-day, max: 2}"}, // of minors
		{"{id: mkt-week, max: 3}", "{id: mkt-week, max: 4}"},
		{"quiet: \"20:00-08:00\"\n    limits:\n      - {id: mkt-day, max: 1}", "quiet: \"20:00-08:00\"\n    limits:\n      - {id: mkt-day, max: 2}"},
		{"{class: marketing, when: personalised}", "{class: marketing, when: always}"},
		{"label: required, ", ""},
		{"content:   {consent: required,", "content:   {consent: none,"},
		{"max_age: 24h", "max_age: 25h"},
		{"user_may_lower: [daily_total, quiet]", "user_may_lower: [quiet]"},
		{"user_may_lower: [daily_total, quiet]", "user_may_lower: [daily_total]"},
		{"unlabelled-advertising, misleading", "misleading"},
	} {
		if !strings.Contains(policy, c[0]) {
			t.Errorf("the shipped policy does not say %q", c[0])
			continue
		}
		p, err := push.ParsePolicy("push.yaml", []byte(strings.Replace(policy, c[0], c[1], 1)))
		if err != nil {
			t.Errorf("%q instead of %q: %v", c[1], c[0], err)
			continue
		}
		cases, err := Parse("push_test.yaml", []byte(tests), p)
		if err != nil {
			t.Errorf("%q instead of %q: %v", c[1], c[0], err)
			continue
		}
		same := strings.HasPrefix(c[0], "# Codes")
		if failed := Run(cases, p); len(failed) == 0 != same {
			t.Errorf("%q instead of %q: %d cases fail", c[1], c[0], len(failed))
		}
	}
}

func readFile(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The tests of a policy lie beside it.
func TestFileOf(t *testing.T) {
	for policy, want := range map[string]string{"push.yaml": "push_test.yaml", "/etc/weir/a.b.yml": "/etc/weir/a.b_test.yaml", "policy": "policy_test.yaml"} {
		if got := FileOf(policy); got != want {
			t.Errorf("%s: %s, want %s", policy, got, want)
		}
	}
}

// Whatever a file of tests says, reading it ends with cases that can be run or
// with problems.
func FuzzParse(f *testing.F) {
	src, err := os.ReadFile("../../../configs/push.yaml")
	if err != nil {
		f.Fatal(err)
	}
	p, err := push.ParsePolicy("push.yaml", src)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("tests: [{name: a, now: 2026-11-24T12:00:00+08:00, push: {class: service, channel: app}, want: {decision: allow}}]")
	f.Add("tests: [{name: a, now: 2106-02-07T06:28:15Z, user: {quiet: \"00:00-23:59\", daily_max: 99999999, grants: [{class: content, channel: app}]}, history: [{time: 1970-01-01T00:00:00Z, class: service, channel: app, times: 128}], push: {class: content, channel: app, expires: none, time: none}, want: {decision: deny, reason: cap}}]")
	f.Fuzz(func(t *testing.T, src string) {
		cases, err := Parse("t.yaml", []byte(src), p)
		if (len(cases) == 0) != (err != nil) {
			t.Fatalf("%d cases and error %v", len(cases), err)
		}
		for _, failure := range Run(cases, p) {
			if failure.Error() == "" || failure.Diff() == "" {
				t.Error("a failure that says nothing")
			}
		}
	})
}
