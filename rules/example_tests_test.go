package rules_test

import (
	"fmt"
	"testing/fstest"

	"github.com/weir-moderation/weir/rules"
)

// Tests lie beside the packs that they test, and say which cases came out otherwise than they should.
func ExampleLoadTests() {
	register, err := rules.ParseRegister("categories.yaml", []byte("categories: [{code: gambling, name: Gambling, name_zh: 赌博}]"))
	if err != nil {
		fmt.Println(err)
		return
	}
	dir := fstest.MapFS{ // os.DirFS("packs") in a program
		"gambling.yaml": &fstest.MapFile{Data: []byte(`
pack: gambling
rules:
  - {id: gambling.betting, category: gambling, state: live, terms: [赌博], except: [反赌博宣传]}
`)},
		"gambling_test.yaml": &fstest.MapFile{Data: []byte(`
tests:
  - name: separators between characters
    text: 来赌 博
    hits:
      - {rule: gambling.betting, text: 赌 博, form: squeeze}
    action: review
  - name: campaigns against it
    text: 反赌博宣传
    spares: [gambling.betting]
  - name: too much to ask
    text: 打赌
    hits: [{rule: gambling.betting}]
`)}}
	set, err := rules.Load(dir, register, rules.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	tests, err := rules.LoadTests(dir, "packs", set)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range tests.Run(set) {
		fmt.Print(f.Error(), "\n", f.Diff())
	}
	// Output:
	// packs/gambling_test.yaml:11: too much to ask: 1 of 1 expected hits missing
	//   text: "打赌"
	// - gambling.betting
	// + no hit
}
