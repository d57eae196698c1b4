package rules_test

import (
	"fmt"
	"testing/fstest"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
)

// A register, a directory of packs, and an event are all it takes.
func Example() {
	register, err := rules.ParseRegister("categories.yaml", []byte(`
categories:
  - {code: gambling, name: Gambling, name_zh: 赌博}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	packs := fstest.MapFS{"gambling.yaml": &fstest.MapFile{Data: []byte(`
pack: gambling
rules:
  - id: gambling.betting
    category: gambling
    severity: high
    action: review
    state: live
    terms: [赌博, 百家乐, online casino]
    except: [反赌博宣传]
`)}} // os.DirFS("packs") in a program
	set, err := rules.Load(packs, register, rules.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}

	var scratch rules.Scratch // one for each goroutine
	e := event.Event{Kind: event.Post, Fields: []event.Field{
		{Name: []byte("title"), Text: []byte("社区反赌博宣传")},
		{Name: []byte("text"), Text: []byte("Ｏｎｌｉｎｅ ＣＡＳＩＮＯ, 百\u200b家乐, 0nline c@sino, 赌-博")},
	}}
	for _, h := range set.Match(&scratch, &e) {
		f := e.Fields[h.Field]
		fmt.Printf("%s %s: %s at %d to %d of the %s, %q by %s\n", h.Rule.ID, h.Rule.Action, h.Term, h.Start, h.End, f.Name, f.Text[h.Start:h.End], h.Form)
	}
	// Output:
	// gambling.betting review: online casino at 0 to 37 of the text, "Ｏｎｌｉｎｅ ＣＡＳＩＮＯ" by fold
	// gambling.betting review: 百家乐 at 39 to 51 of the text, "百\u200b家乐" by fold
	// gambling.betting review: online casino at 53 to 66 of the text, "0nline c@sino" by leet
	// gambling.betting review: 赌博 at 68 to 75 of the text, "赌-博" by squeeze
}

// newSet loads one pack, which the other examples do not show again.
func newSet(pack string) *rules.Set {
	register, err := rules.ParseRegister("categories.yaml", []byte("categories: [{code: fraud, name: Fraud, name_zh: 诈骗}]"))
	if err != nil {
		panic(err)
	}
	set, err := rules.Load(fstest.MapFS{"fraud.yaml": &fstest.MapFile{Data: []byte(pack)}}, register, rules.Options{})
	if err != nil {
		panic(err)
	}
	return set
}

// post makes a post of one text.
func post(text string) *event.Event {
	return &event.Event{Kind: event.Post, Fields: []event.Field{{Name: []byte("text"), Text: []byte(text)}}}
}

// What is harmless alone is not so together: a combination hits with each of its parts.
func ExampleSet_Match_combination() {
	set := newSet(`
pack: fraud
groups:
  - {id: fraud.contacts, terms: [加微信, {text: VX, case: exact, boundary: token}, {detector: phone}]}
rules:
  - id: fraud.cards
    category: fraud
    state: live
    all: [[高价收, 求购], [银行卡, 电话卡], [{group: fraud.contacts}]]
    within: 30
    none: [警方]
`)
	var scratch rules.Scratch
	for _, text := range []string{"高价收银行卡，VX 同号", "求购电话卡：１３８ ００１３ ８０００", "银行卡丢了，捡到请加微信", "警方：高价收银行卡、加微信的都是骗子"} {
		hits := set.Match(&scratch, post(text))
		fmt.Println(len(hits), "parts, to", rules.ActionOf(hits))
		for _, h := range hits {
			fmt.Printf("  %s as %s\n", text[h.Start:h.End], h.Term)
		}
	}
	// Output:
	// 3 parts, to review
	//   高价收 as 高价收
	//   银行卡 as 银行卡
	//   VX as VX
	// 3 parts, to review
	//   求购 as 求购
	//   电话卡 as 电话卡
	//   １３８ ００１３ ８０００ as detector: phone
	// 0 parts, to pass
	// 0 parts, to pass
}

// An exception cancels the occurrence it covers, and no other.
func ExampleSet_Match_exception() {
	set := newSet(`
pack: fraud
rules:
  - id: fraud.jobs
    category: fraud
    state: live
    terms: [刷单]
    except:
      - 警惕刷单
      - {texts: [刷单案], owner: trust@example.com, reason: court reports, expires: 2027-12-31}
`)
	var scratch rules.Scratch
	for _, text := range []string{"警惕刷单", "招人刷单", "警惕刷单！招人刷单"} {
		fmt.Println(text, len(set.Match(&scratch, post(text))))
	}
	// Output:
	// 警惕刷单 0
	// 招人刷单 1
	// 警惕刷单！招人刷单 1
}

// A condition asks about the event, and about what was hit.
func ExampleSet_Match_condition() {
	set := newSet(`
pack: fraud
rules:
  - id: fraud.minors
    category: fraud
    state: live
    terms: [代充, 低价点券, 送皮肤]
    when: event.user.group == "minor" && hits.distinct >= 2
`)
	var scratch rules.Scratch
	e := post("代充，送皮肤")
	fmt.Println(len(set.Match(&scratch, e)))
	e.User.Group = []byte("minor")
	fmt.Println(len(set.Match(&scratch, e)))
	// Output:
	// 0
	// 2
}

// Of everything that reads like a hit and is none, the reason can be told.
func ExampleSet_Explain() {
	set := newSet(`
pack: fraud
rules:
  - {id: fraud.jobs, category: fraud, severity: low, state: live, terms: [刷单返佣], except: [警惕刷单返佣]}
  - {id: fraud.cards, category: fraud, state: live, all: [[高价收], [银行卡]], within: 8}
`)
	e := post("警惕刷单返佣：有人高价收旧手机，也有人高价收银行卡，还有 shua dan fan yong")
	x := set.Explain(e)
	for _, h := range x.Hits {
		fmt.Printf("%s %s\n", h.Rule.ID, e.Fields[h.Field].Text[h.Start:h.End])
	}
	for _, n := range x.Near {
		fmt.Printf("no %s %s: %s\n", n.Rule.ID, e.Fields[n.Field].Text[n.Start:n.End], n.Why)
	}
	// Output:
	// fraud.cards 高价收
	// fraud.cards 银行卡
	// no fraud.jobs 刷单返佣: the exception "警惕刷单返佣" of its rule covers it
	// no fraud.cards 高价收: it is one part of a combination; nothing of list 2 (银行卡) is within 8 characters with it
	// no fraud.jobs shua dan fan yong: it takes pinyin, which its rule does not ask for
}

// A pack with faults is refused, with all of them.
func ExampleLoad_refused() {
	register, err := rules.ParseRegister("categories.yaml", []byte("categories: [{code: gambling, name: Gambling, name_zh: 赌博}]"))
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = rules.Load(fstest.MapFS{"gambling.yaml": &fstest.MapFile{Data: []byte(`
pack: gambling
rules:
  - id: betting
    category: gambing
    state: alive
    terms: [赌, 百家乐, 百家乐]
`)}}, register, rules.Options{})
	fmt.Println(err)
	// Output:
	// gambling.yaml:4:9: rules[0].id: "betting" does not begin with the name of its pack; write "gambling.betting"
	// gambling.yaml:5:15: rules[0].category: unknown category "gambing"; did you mean "gambling"?
	// gambling.yaml:6:12: rules[0].state: unknown state "alive"; did you mean "live"?
	// gambling.yaml:7:13: rules[0].terms[0]: "赌" is one character; a term has at least two, or it hits everywhere
	// gambling.yaml:7:21: rules[0].terms[2]: "百家乐" is the same as "百家乐" before it, after folding; keep one
}
