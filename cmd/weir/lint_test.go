package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weir-moderation/weir/rules"
)

// docs/lint.md is the closed list of what lint finds.
func TestDocsLint(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# What lint finds

<!-- Written by go test ./cmd/weir -run TestDocs -update; do not edit. -->

` + "`weir rules lint`" + ` tells what packs may say and hardly mean. A finding is no error: the rules load. Every finding
is worth a change of the pack or, where the same kind is never worth one, ` + "`--disable KIND`" + `. The list is closed.
Retired rules are left alone; a draft is looked at as if it were in shadow. A rule decides alone if one of its terms
is enough: it has no all, none, distinct and when.

| kind | what is found | why it matters |
|---|---|---|
`)
	for _, k := range rules.FindingKinds() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", k.Kind, k.Text, k.Why)
	}
	golden(t, "lint.md", b.String())
}
