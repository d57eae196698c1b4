package rules

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// The packs and tests that a Markdown file shows are one set, and places are those in the file.
func TestLintMarkdown(t *testing.T) {
	const doc = "# Rules\n\n" +
		"```yaml\nrules: {dir: packs}\n```\n\n" + // YAML of something else
		"```text\npack: none\n```\n\n" +
		"```yaml title=\"a pack\"\n# a comment\npack: p\nrules:\n" + // from line 12 on
		"  - {id: p.a, category: fraud, severity: low, state: shadow, terms: [刷单, 日结, {file: t.txt}]}\n```\n\n" +
		"1. In a list:\n\n" +
		"   ~~~~ yml\n   pack: q\n   description: |\n     ~~~~ no fence\n   rules:\n\n" +
		"     - {id: q.a, category: fraud, severity: low, state: live, terms: [招刷单员, 刷单], rollout: 5}\n" +
		"   ```\n   ~~~\n   ~~~~~\n\n" // which end other blocks
	beside := packs("t.txt", "加群\n招刷单员\n", "idle.txt", "x")
	lint := func(doc string) ([]string, error) {
		report, err := LintMarkdown("./docs/rules.md", []byte(doc), beside, register(t), LintOptions{Options: Options{Now: lintTime}})
		if err != nil {
			return nil, err
		}
		var found []string
		for _, f := range report.Findings {
			found = append(found, f.String())
		}
		return found, nil
	}
	// at is the place where a text stands last in a document.
	at := func(doc, text string) string {
		before := doc[:strings.LastIndex(doc, text)]
		return fmt.Sprintf("docs/rules.md:%d:%d", strings.Count(before, "\n")+1, utf8.RuneCountInString(before[strings.LastIndex(before, "\n")+1:])+1)
	}
	_, err := lint(doc)
	if want := at(doc, "```\n   ~~~\n") + ": not valid YAML"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	sound := strings.Replace(doc, "   ```\n   ~~~\n", "   # ```\n   # ~~~\n", 1)
	found, err := lint(sound)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`docs/t.txt:2:1: shadowed-term: p.a: "招刷单员" never adds a hit, because "刷单" (` + at(sound, "刷单, 日结") + `) always stands in it; take one of the two out`,
		at(sound, "招刷单员") + `: shadowed-term: q.a: "招刷单员" never adds a hit, because "刷单" (` + at(sound, "刷单], rollout") + `) always stands in it; take one of the two out`,
		at(sound, "q.a") + `: missing-test: q.a: no test knows it; give a case that names it in hits and one that names it in spares`,
	} {
		if !slices.Contains(found, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(found, "\n"), want)
		}
	}
	if strings.Contains(strings.Join(found, "\n"), "idle.txt") {
		t.Error("a file beside a Markdown file is nobody's business")
	}

	tested := sound + "```yaml\ntests: [{text: 刷单, hits: [{rule: p.a}, {rule: q.a}]}, {text: 说, spares: [q.a]}]\n```\n"
	if found, err = lint(tested); err != nil || strings.Contains(strings.Join(found, "\n"), "missing-test") {
		t.Errorf("the tests are not read: %v, %s", err, found)
	}
	faulty := tested + "```yaml\n\ntests: [{text: 刷单, hits: [{rule: p.c}]}]\n"
	twice := sound + "```yaml\npack: p\nrules: [{id: p.b, category: fraud, state: draft, terms: [刷单]}]"
	for what, tt := range map[string]struct{ doc, want string }{
		"a faulty test": {faulty, at(faulty, "p.c") + ": tests[0].hits[0].rule: unknown rule \"p.c\""},
		"two places":    {twice, at(twice, "p\nrules") + ": pack: pack \"p\" is given twice; first in " + at(sound, "p\nrules:\n  -") + ", rename one"},
		"no pack":       {"```yaml\ntests: []\n```\n", "docs/rules.md: shows tests and no pack; show the pack that they test, too"},
	} {
		if _, err := lint(tt.doc); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got\n%v\nwant\n%s", what, err, tt.want)
		}
	}
	if found, err := lint("# Nothing\n\n```yaml\na: b\n```\n"); err != nil || found != nil {
		t.Errorf("%v, %s", err, found)
	}
}
