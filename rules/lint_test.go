package rules

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/weir-moderation/weir/pipeline/event"
)

// lintTime is when the tests lint.
var lintTime = time.Date(2027, 6, 1, 12, 0, 0, 0, time.UTC)

// lint lints packs and returns the findings.
func lint(t *testing.T, fsys fstest.MapFS, o LintOptions) []Finding {
	t.Helper()
	o.Now = lintTime
	report, err := Lint(fsys, register(t), o)
	if err != nil {
		t.Fatal(err)
	}
	return report.Findings
}

// Every kind of finding: what is found where, and what like it is not found.
func TestLintKinds(t *testing.T) {
	const head = "category: fraud, severity: low, state: shadow, "
	words := []WordList{{"words.txt", []byte("# words\n\n大麻哈鱼 12\n大麻子 53\n大麻 99\n火麻 7\nglass\nclass\nass\n大麻布 1\n大麻袋大麻 1\n")}}
	const live = "category: fraud, terms: [刷单], state: live, "
	const said = "basis: [b], contact: c, description: d, description_zh: 说, "
	const tested = "tests: [{text: 刷单, hits: [{rule: p.a}]}, {text: 反刷单, hits: []}, {text: 说, spares: [p.a]}]"
	tests := []struct {
		kind  FindingKind
		name  string
		rules string   // and what else the pack has
		more  []string // files: name, text, ...
		want  []string // see compareFindings; the rules are from line 3 of p.yaml on
	}{
		{RepeatedTerm, "by a group, written otherwise", `
  - {id: p.a, ` + head + `terms: [加Ｖ信, {group: p.g}]}
  - {id: p.b, ` + head + `terms: [{group: p.g}]}
groups: [{id: p.g, terms: [加扣扣, 加v信]}]`, nil, []string{
			`p.yaml:3:加Ｖ信: p.a: "加Ｖ信" is in the list already, after folding, by p.yaml:5:33; keep one`}},
		{RepeatedTerm, "by a file", `
  - {id: p.a, ` + head + `terms: [{file: t.txt}]}
  - {id: p.b, ` + strings.Replace(head, "shadow", "retired", 1) + `terms: [{file: t.txt}]}`, []string{"t.txt", "加v信\n# again\n加V信\n"}, []string{
			`t.txt:3:加V信: p.a: "加V信" is in the list already, after folding, by t.txt:1:1; keep one`}},

		{ShadowedTerm, "by a shorter one", `
  - {id: p.a, ` + head + `terms: [招刷单员, 刷单, sino, casino, play sino]}`, nil, []string{
			`p.yaml:3:招刷单员: p.a: "招刷单员" never adds a hit, because "刷单" (p.yaml:3:76) always stands in it`,
			`p.yaml:3:play sino: p.a: "play sino" never adds a hit, because "sino" (p.yaml:3:80) always stands in it`}},
		{ShadowedTerm, "in a draft", `
  - {id: p.a, ` + strings.Replace(head, "shadow", "draft", 1) + `terms: [招刷单员, 刷单]}
  - {id: p.b, ` + strings.Replace(head, "shadow", "retired", 1) + `terms: [招刷单员, 刷单]}`, nil, []string{
			`p.yaml:3:招刷单员: p.a: "招刷单员" never adds`}},
		{ShadowedTerm, "which is read in fewer forms", `
  - {id: p.a, ` + head + `terms: [招刷单员, {text: 刷单, forms: [squeeze]}]}`, nil, nil},
		{ShadowedTerm, "by sound the shorter one is not found", `
  - {id: p.a, ` + head + `forms: [pinyin], terms: [招刷单员, 刷单]}`, nil, nil},
		{ShadowedTerm, "in more boundaries", `
  - {id: p.a, ` + head + `terms: [{text: sino pay, boundary: substring}, sino]}
  - {id: p.b, ` + head + `terms: [{text: 刷单 员}, {text: 刷单, boundary: token}]}`, nil, nil},
		{ShadowedTerm, "in fewer boundaries", `
  - {id: p.a, ` + head + `terms: [casino pay, {text: sino, boundary: substring}]}`, nil, []string{`p.yaml:3:casino pay: p.a: "casino pay" never adds`}},
		{ShadowedTerm, "of a whole token", `
  - {id: p.a, ` + head + `terms: [{text: 招刷单员, boundary: token}, 刷单]}`, nil, []string{`p.yaml:3:text: p.a: "招刷单员" never`}},
		{ShadowedTerm, "by what only sounds like it", `
  - {id: p.a, ` + head + `forms: fold, terms: [招网络赌场员, {text: 旺洛堵偿, forms: pinyin}]}
  - {id: p.b, ` + head + `forms: fold, all: [[招网络赌场员, {text: 旺洛堵偿, forms: pinyin}], [日结]]}`, nil, nil},
		{ShadowedTerm, "in one case only, as written", `
  - {id: p.a, ` + head + `forms: fold, terms: [加VX, {text: VX, case: exact}]}`, nil, nil},
		{ShadowedTerm, "in one case only", `
  - {id: p.a, ` + head + `terms: [加vx, {text: VX, case: exact}, 加QQ号, {text: QQ, case: exact}]}`, nil, nil},
		{ShadowedTerm, "with a smaller gap", `
  - {id: p.a, ` + head + `terms: [招刷单员, {text: 刷单, gap: 2}]}`, nil, nil},
		{ShadowedTerm, "with a larger gap", `
  - {id: p.a, ` + head + `terms: [{text: 招刷单员, gap: 1}, {text: 刷单, gap: 2}]}`, nil, []string{`p.yaml:3:text: p.a: "招刷单员" never`}},
		{ShadowedTerm, "which an exception cancels there", `
  - {id: p.a, ` + head + `terms: [招刷单员, 刷单], except: [刷单员]}`, nil, nil},
		{ShadowedTerm, "which an exception cancels beside it", `
  - {id: p.a, ` + head + `terms: [招刷单员, 刷单], except: [反招刷单]}
  - {id: p.b, ` + head + `terms: [招刷单员, 刷单], except: [反招刷单员, 刷单网, 女刷单]}`, nil, []string{
			`p.yaml:4:招刷单员: p.b: "招刷单员" never adds a hit`}},
		{ShadowedTerm, "in a combination", `
  - {id: p.a, ` + head + `all: [[招刷单员, 刷单], [日结]]}
  - {id: p.b, ` + head + `terms: [招刷单员, 刷单], distinct: 2}
  - {id: p.c, ` + head + `terms: [招刷单员, 刷单], when: hits.count > 1}`, nil, []string{`p.yaml:3:招刷单员: p.a: "招刷单员" never`}},

		{DuplicateTerm, "in two live rules", `
  - {id: p.a, category: fraud, state: live, terms: [刷单, 日结]}
  - {id: p.b, category: fraud, state: live, terms: [兼职, 刷单]}
  - {id: p.c, category: gambling, state: live, terms: [刷单]}
  - {id: p.d, category: fraud, state: shadow, terms: [刷单]}
  - {id: p.e, category: fraud, state: live, all: [[刷单], [日结]]}`, nil, []string{
			`p.yaml:4:刷单: p.b: "刷单" is a term of p.a, too (p.yaml:3:53), of the same category; keep one`}},
		{DuplicateTerm, "of other events", `
  - {id: p.a, category: fraud, state: live, kinds: [post], terms: [刷单]}
  - {id: p.b, category: fraud, state: live, kinds: [push], terms: [刷单]}
  - {id: p.c, category: fraud, state: live, kinds: [push], fields: [title], terms: [日结]}
  - {id: p.d, category: fraud, state: live, fields: [body], terms: [日结]}
  - {id: p.e, category: fraud, state: live, terms: [日结]}`, nil, []string{`p.yaml:7:日结: p.e: "日结" is a term of p.c, too`}},
		{DuplicateTerm, "by one group", `
  - {id: p.a, category: fraud, state: live, terms: [{group: p.g}]}
  - {id: p.b, category: fraud, state: live, terms: [{group: p.g}]}
groups: [{id: p.g, terms: [刷单, 日结]}]`, nil, []string{`p.yaml:4:terms: p.b: shares terms with p.a`}},

		{ExceptedTerm, "by a shared exception", `
  - {id: p.a, ` + head + `terms: [刷单, 日结], except: [{use: p.x}]}
  - {id: p.b, ` + head + `terms: [{text: 刷单, forms: [pinyin]}, 日结], except: [{use: p.x}]}
  - {id: p.c, ` + head + `terms: [刷单, 日结], except: [{use: p.y}]}
  - {id: p.d, ` + head + `terms: [日结], none: [刷单], except: [{use: p.x}]}
exceptions:
  - {id: p.x, texts: [刷单], owner: o, reason: r, expires: never}
  - {id: p.y, texts: [刷单], owner: o, reason: r, expires: 2027-01-01}`, nil, []string{
			`p.yaml:3:刷单: p.a: "刷单" is itself an exception of this rule (刷单, shared as p.x, owner o, for r); take one of the two out`,
			`p.yaml:6:刷单: p.d: "刷单" is itself an exception`}},

		{CancelledTerm, "by none", `
  - {id: p.a, ` + head + `terms: [刷单, 警方说, 说刷单], none: [警方]}
  - {id: p.b, ` + head + `all: [[刷单, 警方说], [日结]], within: sentence, none: [警方]}
  - {id: p.c, ` + head + `terms: [刷单, {text: 警方说, forms: [squeeze, leet]}], none: [{text: 警方, forms: squeeze}]}`, nil, []string{
			`p.yaml:3:警方说: p.a: "警方说" always has "警方" of none in it`,
			`p.yaml:4:警方说: p.b: "警方说" always has "警方" of none in it`}},

		{PartOfWord, "", `
  - {id: p.a, ` + head + `terms: [大麻, 哈鱼醉]}
  - {id: p.b, ` + head + `fields: [title], kinds: [push], terms: [{text: ass, boundary: substring}, glas]}
  - {id: p.c, ` + head + `terms: [{text: 大麻, boundary: token}, ass]}
  - {id: p.d, ` + head + `terms: [大麻], except: [大麻哈鱼, 大麻子, 大麻布, 大麻袋大麻]}
  - {id: p.e, ` + head + `all: [[大麻], [出售, 哈鱼]]}
  - {id: p.f, ` + head + `forms: [pinyin], terms: [笋玛哈瑜, 达码哈雨]}`, nil, []string{
			`p.yaml:3:大麻: p.a: "大麻" hits in 4 ordinary words, such as "大麻子" (53), "大麻哈鱼" (12), "大麻布" (1), of words.txt`,
			`p.yaml:4:text: p.b: "ass" hits in 2 ordinary words, such as "glass", "class", of words.txt`,
			`p.yaml:7:p.e: p.e: this rule hits in the ordinary word "大麻哈鱼" (12) of words.txt`,
			`p.yaml:8:达码哈雨: p.f: "达码哈雨" hits by pinyin in the ordinary word "大麻哈鱼" (12) of words.txt`}},

		{OverlappingLists, "", `
  - {id: p.a, ` + head + `all: [[银行卡, 求购], [收卡, 银行, 求购]]}
  - {id: p.b, ` + head + `all: [[银行卡], [{text: 银行, boundary: token}, 行卡出售]]}`, nil, []string{
			`p.yaml:3:银行卡: p.a: "银行卡" fills list 1 and, by "银行" in it, list 2 of this combination`,
			`p.yaml:3:求购: p.a: "求购" is in list 1 of this combination, too`}},

		{UnreachableRule, "no term", `
  - {id: p.a, ` + head + `terms: [刷单], except: [{use: p.x}]}
  - {id: p.b, ` + head + `all: [[日结], [刷单]], except: [{use: p.x}]}
  - {id: p.c, ` + head + `terms: [警方说], none: [警方]}
  - {id: p.d, ` + head + `terms: [日结, 刷单], except: [{use: p.x}]}
exceptions:
  - {id: p.x, texts: [刷单], owner: o, reason: r, expires: never}`, nil, []string{
			`p.yaml:3:terms: p.a: no term of this list can hit: "刷单" is itself an exception`,
			`p.yaml:4:[刷单: p.b: no term of this list can hit: "刷单" is itself an exception`,
			`p.yaml:5:terms: p.c: no term of this list can hit: "警方说" always has "警方" of none in it`}},
		{UnreachableRule, "distinct", `
  - {id: p.b, ` + head + `terms: [刷单, 日结, {group: p.g}], distinct: 3, none: [警方]}
  - {id: p.c, ` + head + `terms: [刷单, 日结, {group: p.g}], distinct: 3, except: [{use: p.x}]}
exceptions: [{id: p.x, texts: [兼职], owner: o, reason: r, expires: never}]
groups: [{id: p.g, terms: [兼职, 刷单]}]`, nil, []string{
			`p.yaml:4:3: p.c: 3 different terms are asked for, and only 2 of this rule can hit`}},
		{UnreachableRule, "within", `
  - {id: p.a, ` + head + `all: [[高价收, 求购], [银行卡, 电话卡]], within: 4}
  - {id: p.b, ` + head + `all: [[高价收, 求购], [银行卡, 电话卡]], within: 5}
  - {id: p.c, ` + head + `all: [[高价收, 收银行], [银行卡]], within: 3}
  - {id: p.d, ` + head + `all: [[高价收, 收银行], [银行卡]], within: 2}
  - {id: p.e, ` + head + `all: [["v - x - 收"], [{detector: url}]], within: 4}
  - {id: p.f, ` + head + `all: [["v - x - 收"], [{detector: url}]], within: 5}
  - {id: p.g, ` + head + `terms: [刷单, 高价收, 银行卡], distinct: 2, within: 2}
  - {id: p.h, ` + head + `terms: [刷单, 高价收, 银行卡], none: [警方], within: 1}
  - {id: p.i, ` + head + `all: [[甲乙], [丙丁], [丁甲]], within: 2}`, nil, []string{
			`p.yaml:3:4: p.a: what must stand there takes at least 5 characters, and within is 4`,
			`p.yaml:6:2: p.d: what must stand there takes at least 3 characters, and within is 2`,
			`p.yaml:7:4: p.e: what must stand there takes at least 5 characters`,
			`p.yaml:9:2: p.g: what must stand there takes at least 3 characters`,
			`p.yaml:10:1: p.h: what must stand there takes at least 2 characters`}},

		{IdleException, "shared", `
  - {id: p.a, ` + head + `terms: [刷单], except: [{use: p.x}]}
  - {id: p.b, ` + head + `terms: [日结], except: [{use: p.x}]}
exceptions:
  - {id: p.x, texts: [警惕刷单, 警惕日结, 警惕兼职], owner: o, reason: r, expires: never}`, nil, []string{
			`p.yaml:6:警惕兼职: p.a, p.b: "警惕兼职" spares nothing in any rule that uses p.x`}},
		{IdleException, "a boundary", `
  - {id: p.a, ` + head + `terms: [{text: 大麻, boundary: token}], except: [大麻袋, 大麻 袋, 大麻-大麻袋]}`, nil, []string{
			`p.yaml:3:大麻袋: p.a: "大麻袋" spares nothing: its term hits only where no letter stands beside it`}},
		{IdleException, "a part of a word", `
  - {id: p.a, ` + head + `terms: [{text: cat, boundary: substring}], except: [category]}`, nil, nil},
		{IdleException, "a shorter one", `
  - {id: p.a, ` + head + `terms: [刷单, 日结], except: [反刷单, 反刷单宣传, 反刷单说刷单, 反刷单日结, 说刷单]}
  - id: p.b
    category: fraud
    state: shadow
    terms: [刷单]
    except:
      - {texts: [反刷单], owner: o, reason: r, expires: 2028-01-01}
      - {texts: [反刷单宣传], owner: o, reason: r, expires: never}
      - {texts: [反刷单说明], owner: o, reason: r, expires: 2027-12-31}
      - {texts: [说刷单], owner: o, reason: r, expires: 2027-01-01}
      - {texts: [又说刷单], owner: o, reason: r, expires: never}`, nil, []string{
			`p.yaml:3:反刷单宣传: p.a: "反刷单宣传" spares nothing: the exception "反刷单" stands in it`,
			`p.yaml:3:反刷单说刷单: p.a: "反刷单说刷单" spares nothing: the exception "说刷单" stands in it`,
			`p.yaml:11:反刷单说明: p.b: "反刷单说明" spares nothing`}},

		{IdleException, "a shared shorter one", `
  - {id: p.a, ` + head + `terms: [刷单], except: [反刷单, 反刷单宣传, {use: p.x}]}
exceptions: [{id: p.x, texts: [反刷单], owner: o, reason: r, expires: 2028-01-01}]`, nil, []string{`p.yaml:3:反刷单宣传: p.a: "反刷单宣传" spares nothing`}},

		{ExpiredException, "", `
  - {id: p.a, ` + head + `terms: [刷单], except: [{texts: [反刷单], owner: o, reason: r, expires: 2027-05-31}, {use: p.x}]}
  - {id: p.b, ` + head + `terms: [刷单], except: [{use: p.x}]}
exceptions:
  - {id: p.x, texts: [警惕刷单, 说刷单], owner: o, reason: r, expires: 2027-01-01}`, nil, []string{
			`p.yaml:3:2027-05-31: p.a: expired at the end of 2027-05-31; give another day, or take it out`,
			`p.yaml:6:2027-01-01: p.a, p.b: expired at the end of 2027-01-01`}},
		{ExpiringException, "", `
  - {id: p.a, ` + head + `terms: [刷单], except: [{texts: [反刷单], owner: o, reason: r, expires: 2027-06-01}, {use: p.x}]}
exceptions:
  - {id: p.x, texts: [警惕刷单, 说刷单], owner: o, reason: r, expires: 2027-06-30}
  - {id: p.y, texts: [警惕刷单, 说刷单], owner: o, reason: r, expires: 2027-07-02}`, nil, []string{
			`p.yaml:3:2027-06-01: p.a: expires at the end of 2027-06-01; give another day`,
			`p.yaml:5:2027-06-30: p.a: expires at the end of 2027-06-30`}},
		{BareException, "", `
  - {id: p.a, ` + head + `terms: [刷单], except: [{texts: [反刷单], owner: o, reason: r, expires: never}, 说刷单, 又刷单]}
  - {id: p.b, ` + head + `terms: [刷单], except: [{texts: [反刷单], owner: o, reason: r, expires: never}]}
  - {id: p.c, ` + head + `terms: [刷单], except: [反刷单]}`, nil, []string{
			`p.yaml:3:说刷单: p.a: 2 exceptions, from "说刷单" on, say not who wants them, why and until when; write {texts`,
			`p.yaml:5:反刷单: p.c: "反刷单" says not who wants it, why`}},

		{Unused, "", `
  - {id: p.a, ` + head + `all: [[刷单], [{group: p.g}, {file: used.txt}]], none: [{group: p.n}], except: [{use: p.x}]}
groups: [{id: p.g, terms: [兼职]}, {id: p.n, terms: [{file: also.txt}]}, {id: p.u, terms: [兼职]}]
exceptions:
  - {id: p.x, texts: [警惕刷单], owner: o, reason: r, expires: never}
  - {id: p.y, texts: [警惕刷单], owner: o, reason: r, expires: never}`,
			[]string{"used.txt", "日结", "also.txt", "警方", "idle.txt", "x", ".hidden.txt", "x", "README", "x"}, []string{
				`idle.txt: no pack names this file; take it away, or write {file: idle.txt}`,
				`p.yaml:4:p.u: no rule uses the group p.u; take it out, or write {group: p.u} in a rule`,
				`p.yaml:7:p.y: no rule uses these exceptions; take them out, or write {use: p.y} in a rule`}},

		{MissingTest, "", `
  - {id: p.a, ` + live + `}
  - {id: p.b, ` + live + `}
  - {id: p.c, ` + live + `}
  - {id: p.d, category: fraud, terms: [刷单], state: shadow}`, []string{
			"p_test.yaml", "tests: [{text: 刷单, hits: [{rule: p.a}, {rule: p.b}, {rule: p.d}]}, {text: 说, spares: [p.a, p.c]}]",
			"canary.yaml", "pack: canary\nrules: [{id: canary.a, " + live + "}]"}, []string{
			`p.yaml:4:p.b: p.b: no test says what it must spare; give a case that names it in spares`,
			`p.yaml:5:p.c: p.c: no test hits it; give a case that names it in hits`}},
		{MissingTest, "at all", `
  - {id: p.a, ` + live + `}`, nil, []string{`p.yaml:3:p.a: p.a: no test knows it; give a case that names it in hits and one that names it in spares`}},
		{NoDescription, "", `
  - {id: p.a, ` + live + said + `}
  - {id: p.b, ` + live + `}
  - {id: p.c, ` + live + `description: d}
  - {id: p.d, ` + live + `description_zh: 说}
  - {id: p.e, category: fraud, terms: [刷单], state: shadow}`, nil, []string{
			`p.yaml:4:p.b: p.b: says not what it looks for; give description and description_zh`,
			`p.yaml:5:p.c: p.c: says not in Chinese what it looks for; give description_zh`,
			`p.yaml:6:p.d: p.d: says not in English what it looks for; give description`}},
		{NoContact, "", `
  - {id: p.a, ` + live + said + `}
  - {id: p.b, ` + live + `}`, []string{"q.yaml", "pack: q\ncontact: c\nrules: [{id: q.a, " + live + "}]"}, []string{
			`p.yaml:4:p.b: p.b: says not who answers for it; give contact, here or for the pack`}},
		{NoBasis, "", `
  - {id: p.a, ` + live + said + `}
  - {id: p.b, ` + live + `}`, nil, []string{`p.yaml:4:p.b: p.b: says not which clauses it stands on; give basis`}},
		{PartialRollout, "", `
  - {id: p.a, ` + live + `rollout: 25}
  - {id: p.b, ` + live + `rollout: 100}
  - {id: p.c, category: fraud, terms: [刷单], state: shadow, rollout: 25}`, nil, []string{
			`p.yaml:3:25: p.a: acts on 25 percent of the users; raise it to 100`}},
	}
	covered := map[FindingKind]bool{BenignHit: true} // see TestLintCorpus
	for _, tt := range tests {
		covered[tt.kind] = covered[tt.kind] || len(tt.want) > 0
		t.Run(string(tt.kind)+" "+tt.name, func(t *testing.T) {
			fsys := packs(append([]string{"p.yaml", "pack: p\nrules:" + tt.rules + "\n"}, tt.more...)...)
			compareFindings(t, tt.kind, fsys, lint(t, fsys, LintOptions{Ordinary: words}), tt.want)
			for _, f := range lint(t, fsys, LintOptions{Ordinary: words, Disable: []FindingKind{tt.kind}}) {
				if f.Kind == tt.kind {
					t.Errorf("disabled, and found: %s", f.String())
				}
			}
		})
	}
	for _, k := range FindingKinds() {
		if !covered[k.Kind] {
			t.Errorf("no test finds %s", k.Kind)
		}
		if k.Text == "" || k.Why == "" {
			t.Errorf("%s is not explained", k.Kind)
		}
		delete(covered, k.Kind)
	}
	for k := range covered {
		t.Errorf("%s is not in FindingKinds", k)
	}
	t.Run("none", func(t *testing.T) {
		fsys := packs("p.yaml", "pack: p\nrules: [{id: p.a, "+live+said+"except: [{texts: [反刷单], owner: o, reason: r, expires: never}]}]", "p_test.yaml", tested)
		for _, f := range lint(t, fsys, LintOptions{Ordinary: words}) {
			t.Error(f.String())
		}
	})
}

// What hits more of a corpus than it may is told by term, or by rule where one combines: by how many
// texts, not by how many hits, and as the daemon would judge them.
func TestLintCorpus(t *testing.T) {
	fsys := packs("p.yaml", `pack: p
rules:
  - {id: p.a, category: fraud, severity: low, state: live, terms: [刷单, 日结, {text: 兼职, forms: squeeze}], except: [反刷单]}
  - {id: p.b, category: fraud, severity: low, state: draft, all: [[刷单], [日结]], within: 9}
  - {id: p.c, category: fraud, severity: low, state: shadow, kinds: [push], fields: [title], terms: [优惠]}
  - {id: p.d, category: fraud, severity: low, state: retired, terms: [刷单]}
`)
	push := event.Event{Kind: event.Push, Fields: []event.Field{{Name: []byte("title"), Text: []byte("优惠")}, {Name: []byte("body"), Text: []byte("优惠")}}}
	corpus := func(yield func(int, *event.Event) bool) {
		for i, text := range []string{"刷单刷单", "反刷单", "刷单,日结", "优惠", "兼 职"} {
			if !yield(10+i, post("text", text)) {
				return
			}
		}
		yield(20, &push)
	}
	for rate, want := range map[float64][]string{
		0: {
			`p.yaml:3:刷单: p.a: "刷单" hits 2 of 6 benign texts (33.3 %), the first in line 10; give exceptions, or look for more beside it`,
			`p.yaml:3:日结: p.a: "日结" hits 1 of 6 benign texts (16.7 %), the first in line 12`,
			`p.yaml:3:text: p.a: "兼职" hits 1 of 6 benign texts (16.7 %), the first in line 14`,
			`p.yaml:4:p.b: p.b: this rule hits 1 of 6 benign texts (16.7 %), the first in line 12`,
			`p.yaml:5:优惠: p.c: "优惠" hits 1 of 6 benign texts (16.7 %), the first in line 20`,
		},
		0.2:     {`p.yaml:3:刷单: p.a: "刷单" hits 2`},
		1.0 / 3: nil,
	} {
		o := LintOptions{Corpus: corpus, MaxRate: rate, Options: Options{Now: lintTime, MaxHits: 1}}
		report, err := Lint(fsys, register(t), o)
		if err != nil {
			t.Fatal(err)
		}
		compareFindings(t, BenignHit, fsys, report.Findings, want)
		if report.Texts != 6 || report.Rules != 3 || report.Terms != 6 {
			t.Errorf("looked at %d texts, %d rules, %d terms", report.Texts, report.Rules, report.Terms)
		}
	}
}

// What Load or LoadTests refuse, lint refuses: an error is no finding.
func TestLintRefuses(t *testing.T) {
	const good = "pack: p\nrules: [{id: p.a, category: fraud, state: draft, terms: [刷单]}]\n"
	for want, fsys := range map[string]fstest.MapFS{
		"p.yaml:2:58: rules[0].terms[0]: \"刷\" is one character": packs("p.yaml", strings.Replace(good, "刷单", "刷", 1)),
		"p_test.yaml:1:33: tests[0].hits[0].rule: unknown rule":  packs("p.yaml", good, "p_test.yaml", "tests: [{text: x, hits: [{rule: p.b}]}]"),
		"memory": packs("p.yaml", strings.Replace(good, "draft", "live", 1)), // the budget
	} {
		o := LintOptions{Options: Options{Now: lintTime}}
		if want == "memory" {
			o.MemoryBudget = 1000
		}
		_, err := Lint(fsys, register(t), o)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	// A draft takes no memory, so it cannot take too much.
	if _, err := Lint(packs("p.yaml", good), register(t), LintOptions{Options: Options{MemoryBudget: 1 << 20}}); err != nil {
		t.Error(err)
	}
}

// One file of terms with faults is found alike by each rule that uses it, and told once.
func TestLintMerges(t *testing.T) {
	rule := "  - {id: p.%s, category: fraud, severity: low, state: shadow, terms: [{file: t.txt}]}\n"
	src := "pack: p\nrules:\n"
	for _, id := range []string{"e", "d", "c", "b", "a"} {
		src += fmt.Sprintf(rule, id)
	}
	findings := lint(t, packs("p.yaml", src, "t.txt", "刷单\n招刷单员\n"), LintOptions{})
	if len(findings) != 1 {
		t.Fatalf("%d findings", len(findings))
	}
	if want := "t.txt:2:1: shadowed-term: p.a, p.b, p.c and 2 more: "; !strings.HasPrefix(findings[0].String(), want) {
		t.Errorf("got %s", findings[0].String())
	}
}

// compareFindings compares the findings of one kind with what is wanted: the file, the line, what
// stands at the column up to the next mark, and what the rest begins with.
func compareFindings(t *testing.T, kind FindingKind, fsys fstest.MapFS, findings []Finding, want []string) {
	t.Helper()
	var got []string
	for _, f := range findings {
		if f.Kind != kind {
			continue
		}
		text := f.String()
		if f.Line > 0 {
			line := []rune(strings.Split(string(fsys[f.File].Data), "\n")[f.Line-1])
			there := string(line[f.Column-1:])
			if i := strings.IndexAny(there, ",:]}"); i > 0 {
				there = there[:i]
			}
			text = strings.Replace(text, fmt.Sprintf(":%d:%d:", f.Line, f.Column), fmt.Sprintf(":%d:%s:", f.Line, there), 1)
		}
		got = append(got, strings.Replace(text, string(kind)+": ", "", 1))
	}
	same := len(got) == len(want)
	for i := range want {
		same = same && i < len(got) && strings.HasPrefix(got[i], want[i])
	}
	if !same {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
