package rules

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a case says is compared with what the daemon would make of it, and a failure shows both.
func TestRunTests(t *testing.T) {
	set := testedSet(t)
	for name, c := range map[string]struct{ test, want string }{
		"any hit of the rule":       {`text: 来赌 博, hits: [{rule: p.bet}]`, ""},
		"all that can be compared":  {`text: 来赌 博, hits: [{rule: p.bet, text: 赌 博, form: squeeze, field: text}], action: reject`, ""},
		"two hits, one listed":      {`text: 赌博 casino, hits: [{rule: p.bet, text: casino}]`, ""},
		"two hits, both listed":     {`text: 赌博 c4sino, hits: [{rule: p.bet, text: c4sino, form: leet}, {rule: p.bet, text: 赌博, form: fold}]`, ""},
		"nothing":                   {`text: 反赌博宣传, hits: [], action: pass`, ""},
		"spares, others may hit":    {`text: 赌博, spares: [p.sound]`, ""},
		"hits and spares":           {`text: 赌博, hits: [{rule: p.bet}], spares: [p.sound]`, ""},
		"a shadow rule hits":        {`text: 优惠, hits: [{rule: p.look}], action: pass`, ""},
		"by sound it never rejects": {`text: 旺洛堵偿, hits: [{rule: p.sound, form: pinyin}], action: review`, ""},
		"only pushes are looked at": {`event: {fields: {a: 银行卡}}, hits: []`, ""},
		"a push":                    {`event: {class: service, channel: app, fields: {a: 银行卡}}, hits: [{rule: p.card, field: a}], action: review`, ""},
		"a draft is not compiled":   {`text: 无, hits: [{rule: p.later}]`, ""},
		"nor is a retired rule":     {`text: 无, hits: [{rule: p.bet}, {rule: p.gone}]`, ""},
		"a draft spares all":        {`text: 赌博, spares: [p.later]`, ""},

		"missing": {`text: 无赌, hits: [{rule: p.bet}]`, `1 of 1 expected hits missing
  text: "无赌"
- p.bet
+ no hit`},
		"another form": {`text: 来赌 博, hits: [{rule: p.bet, text: 赌 博, form: fold}]`, `1 of 1 expected hits missing
  text: "来赌 博"
- p.bet "赌 博" by fold
+ p.bet "赌 博" by squeeze in text`},
		"another place": {`event: {fields: {a: 赌博, b: 赌 博}}, hits: [{rule: p.bet, field: a}, {rule: p.bet, text: 赌 博, field: b, form: leet}]`,
			`1 of 2 expected hits missing
  a: "赌博"
  b: "赌 博"
- p.bet "赌 博" by leet in b
  p.bet "赌博" by fold in a
+ p.bet "赌 博" by squeeze in b`},
		"one too many": {`text: "赌\u200b博旺洛堵偿", hits: [{rule: p.bet}]`, `1 unexpected hit
  text: "赌\u200b博旺洛堵偿"
  p.bet "赌\u200b博" by fold in text
+ p.sound "旺洛堵偿" by pinyin in text`},
		"nothing may hit": {`text: 赌博casino, hits: []`, `2 unexpected hits
  text: "赌博casino"
- no hit
+ p.bet "赌博" by fold in text
+ p.bet "casino" by fold in text`},
		"spared": {`text: 赌博优惠, spares: [p.bet, p.sound]`, `1 unexpected hit
  text: "赌博优惠"
- no hit of p.bet
+ p.bet "赌博" by fold in text
  p.look "优惠" by fold in text (shadow: does nothing)`},
		"another action": {`text: 优惠, hits: [{rule: p.look}], action: review`, `action pass instead of review
  text: "优惠"
  p.look "优惠" by fold in text (shadow: does nothing)
- action review
+ action pass`},
		"all at once": {`name: much, text: 赌博优惠, hits: [{rule: p.look}, {rule: p.sound}], action: pass`,
			`much: 1 of 2 expected hits missing, 1 unexpected hit, action reject instead of pass
  text: "赌博优惠"
- p.sound
+ p.bet "赌博" by fold in text
  p.look "优惠" by fold in text (shadow: does nothing)
- action pass
+ action reject`},
	} {
		tests := loadTests(t, set, "a_test.yaml", "tests:\n- {"+c.test+"}\n")
		var got string
		for _, f := range tests.Run(set) {
			got = f.Error() + "\n" + strings.TrimSuffix(f.Diff(), "\n")
		}
		if c.want != "" {
			c.want = "dir/a_test.yaml:2: " + c.want
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A failure shows no more hits than anybody compares, and no endless text.
func TestFailuresAreReadable(t *testing.T) {
	set := testedSet(t)
	tests := loadTests(t, set, "a_test.yaml", "tests:\n- {text: '"+strings.Repeat("赌博 ", 100)+"', hits: []}\n")
	diff := tests.Run(set)[0].Diff()
	if n := strings.Count(diff, "\n"); n != 1+1+maxDiffHits+1 || !strings.Contains(diff, "…\n") || !strings.HasSuffix(diff, "  and 80 more\n") {
		t.Errorf("%d lines:\n%s", n, diff)
	}
}

// The failures keep their hits while the next cases are run, and cases can be run under another set.
func TestRunUnderAnotherSet(t *testing.T) {
	set := testedSet(t)
	tests := loadTests(t, set, "a_test.yaml", "tests:\n- {text: 赌博, hits: [{rule: p.bet}]}\n- {text: 优惠, hits: []}\n- {text: 赌博casino, hits: []}\n")
	failures := tests.Run(set)
	if len(failures) != 2 || len(failures[0].Hits) != 1 || failures[0].Hits[0].Rule.ID != "p.look" || failures[1].Hits[1].Term != "casino" {
		t.Errorf("got %v", failures)
	}
	other := load(t, Options{}, `id: p.other, category: fraud, state: live, terms: [无关]`)
	if failures := tests.Run(other); len(failures) != 1 || failures[0].Case != tests.Cases[0] {
		t.Errorf("under a set without the rule: %v", failures)
	}
}

// A case about an exception that has expired lapses, also one of a combination; what fails for another reason does not.
func TestLapsed(t *testing.T) {
	const expired = `except: [{texts: [反赌博宣传], owner: o, reason: r, expires: 2020-01-01}]`
	set := load(t, Options{}, `id: p.bet, category: gambling, state: live, terms: [赌博], `+expired,
		`id: p.both, category: gambling, state: live, all: [[赌博], [加群]], within: 20, `+expired)
	tests := loadTests(t, set, "a_test.yaml", `tests:
- {name: lapsed, text: 反赌博宣传, hits: [], action: pass}
- {name: lapsed, text: 反赌博宣传加群, spares: [p.both]}
- {name: failed, text: 反赌博宣传与赌博, spares: [p.bet]}
- {name: failed, text: 反赌博宣传, spares: [p.bet], action: reject}
- {name: passed, text: 反赌博宣传, hits: [{rule: p.bet}]}
`)
	failures := tests.Run(set)
	if len(failures) != 4 {
		t.Fatalf("%d of 4 failures: %v", len(failures), failures)
	}
	for _, f := range failures {
		if f.Lapsed != (f.Case.Name == "lapsed") {
			t.Errorf("%v: lapsed is %v", f.Error(), f.Lapsed)
		}
	}
	if len(set.Match(new(Scratch), post("text", "反赌博宣传"))) == 0 {
		t.Error("the set itself was changed")
	}
}

// Five thousand cases, read and run.
func BenchmarkTests(b *testing.B) {
	set := testedSet(b)
	src := "tests:\n"
	for i := range 5000 {
		src += fmt.Sprintf("  - name: case %d\n    text: 第%d次来赌 博吧，平常的一句话后面还有一些字\n    hits:\n      - {rule: p.bet, text: 赌 博, form: squeeze, field: text}\n    action: reject\n", i, i)
	}
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			loadTests(b, set, "a_test.yaml", src)
		}
	})
	tests := loadTests(b, set, "a_test.yaml", src)
	b.Run("run", func(b *testing.B) {
		for b.Loop() {
			if failures := tests.Run(set); failures != nil {
				b.Fatal(failures)
			}
		}
	})
}
