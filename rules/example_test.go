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
