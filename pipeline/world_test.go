package pipeline_test

import (
	"fmt"
	"testing"
	"testing/fstest"

	"github.com/weir-moderation/weir/rules"
)

// register is the smallest register of categories.
const register = `
categories:
  - code: test
    name: Test
    name_zh: 测试
`

// ruleSet compiles one live rule to review, one to reject, and one shadow rule.
func ruleSet(t testing.TB) *rules.Set {
	t.Helper()
	return loadRules(t, `
pack: test
rules:
  - id: test.review
    category: test
    severity: low
    action: review
    state: live
    terms: [forbiddenstuff, 违禁品]
  - id: test.reject
    category: test
    severity: critical
    action: reject
    state: live
    terms: [terriblestuff]
  - id: test.shadow
    category: test
    severity: low
    action: reject
    state: shadow
    terms: [shadowystuff]
`)
}

// loadRules compiles the rules of one pack.
func loadRules(t testing.TB, pack string) *rules.Set {
	t.Helper()
	reg, err := rules.ParseRegister("categories.yaml", []byte(register))
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Load(fstest.MapFS{"test.yaml": &fstest.MapFile{Data: []byte(pack)}}, reg, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// post returns a post with one text.
func post(id, text string) string {
	return fmt.Sprintf(`{"id":%q,"time":"2026-01-02T03:04:05Z","user":{"id":"u1"},"fields":{"text":%q}}`, id, text)
}
