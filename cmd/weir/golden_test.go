package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
)

// docs/cli.md is what the binary says of itself: nobody has to keep it up.
// go test ./cmd/weir -run TestDocs -update writes it anew.
func TestDocsCLI(t *testing.T) {
	t.Setenv("COLUMNS", "80") // as wide as a terminal, whatever this one is
	var b strings.Builder
	b.WriteString(`# The command line

<!-- Written by go test ./cmd/weir -run TestDocs -update; do not edit. -->

What the binary says of itself. Output meant for programs goes to stdout, everything else to stderr.
An error is a line that begins with "weir: error:", often followed by "weir: hint:" and the next
command to type. Exit codes:

| code | meaning |
|---|---|
`)
	for _, code := range []struct {
		code    int
		meaning string
	}{
		{exitFine, "fine"},
		{exitFailed, "failed: something is wrong with what was looked at, or could not be done"},
		{exitMisuse, "misuse: the command line cannot be understood, or names what is not there to be looked at"},
		{exitFindings, "findings: everything was done, and what the verb looks for was found"},
	} {
		fmt.Fprintf(&b, "| %d | %s |\n", code.code, code.meaning)
	}
	for _, verb := range append([]string{""}, verbs(t)...) {
		fmt.Fprintf(&b, "\n## %s\n\n```text\n%s```\n", strings.TrimSpace("weir "+verb), help(t, verb))
	}
	golden(t, "cli.md", b.String())
}

// verbs returns every verb of the command line, such as "evidence verify".
func verbs(t *testing.T) []string {
	t.Helper()
	parser, err := kong.New(new(cli), kong.Name("weir"))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, leaf := range parser.Model.Leaves(true) {
		path, _, _ := strings.Cut(leaf.Path(), " <") // without its arguments
		list = append(list, strings.TrimPrefix(path, "weir "))
	}
	return list
}

// help returns what a verb says of itself.
func help(t *testing.T, verb string) string {
	t.Helper()
	var out, err bytes.Buffer
	args := append(strings.Fields(verb), "--help")
	if code := run(context.Background(), args, streams{strings.NewReader(""), &out, &err}); code != exitFine || err.Len() > 0 {
		t.Fatalf("weir %s: exit code %d\n%s", strings.Join(args, " "), code, &err)
	}
	var b strings.Builder
	for line := range strings.Lines(out.String()) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}

// docs/reasons.md is the closed list of reasons, with what each means and where
// it is met.
func TestDocsReasons(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Reasons

<!-- Written by go test ./cmd/weir -run TestDocs -update; do not edit. -->

Whatever Weir does with a message, it gives one reason: one of these words, the same in verdicts, on
topics, in evidence, metrics and reports. The list is closed.

A message that can never be judged becomes a dead letter, which names the stage at which it was given
up: "fetch" (its bytes are no record), "decode" (the record is no event), "judge" (the event cannot be
judged) or "output" (its verdict cannot be written). The other reasons belong to the verdict on a post
or to the decision on a push.

| reason | what it means | where it is met |
|---|---|---|
`)
	where := places()
	seen := make(map[pipeline.Reason]bool)
	for _, r := range pipeline.Reasons() {
		switch {
		case seen[r.Reason]:
			t.Errorf("reason %s is in the list twice: one word must stand for one cause", r.Reason)
		case r.Text == "":
			t.Errorf("reason %s is not explained", r.Reason)
		case where[r.Reason] == nil:
			t.Errorf("reason %s is met nowhere", r.Reason)
		}
		seen[r.Reason] = true
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r.Reason, strings.ReplaceAll(r.Text, "|", `\|`), strings.Join(where[r.Reason], "; "))
	}
	for r := range where {
		if !seen[r] {
			t.Errorf("reason %s is not in pipeline.Reasons", r)
		}
	}
	golden(t, "reasons.md", b.String())
}

// places returns where each reason is met, as the packages that give them tell.
func places() map[pipeline.Reason][]string {
	where := map[pipeline.Reason][]string{
		pipeline.ReasonNone:           {"post: pass"},
		pipeline.ReasonContent:        {"post: review, reject"},
		pipeline.ReasonPanic:          {"dead letter: " + string(pipeline.StageJudge)},
		pipeline.ReasonOutputTooLarge: {"dead letter: " + string(pipeline.StageOutput)},
		pipeline.ReasonHeaders:        {"dead letter: " + string(pipeline.StageFetch)},
		pipeline.ReasonOrigin:         {"dead letter: " + string(pipeline.StageDecode)},
	}
	decisions := make(map[pipeline.Reason][]string)
	for _, o := range push.Outcomes() {
		r, word := pipeline.Reason(o.Reason), string(o.Decision)
		if !slices.Contains(decisions[r], word) {
			decisions[r] = append(decisions[r], word)
		}
	}
	for r, words := range decisions {
		where[r] = append(where[r], "push: "+strings.Join(words, ", "))
	}
	for _, r := range event.Reasons() {
		where[pipeline.Reason(r)] = append(where[pipeline.Reason(r)], "dead letter: "+string(pipeline.StageDecode))
	}
	for _, r := range batch.Reasons() {
		where[pipeline.Reason(r.Reason)] = append(where[pipeline.Reason(r.Reason)], "dead letter: "+string(pipeline.StageFetch))
	}
	return where
}

// Every reason for which a message cannot be decoded is tried by a story, but
// for those of headers and of envelopes, which a line on stdin does not have.
func TestEveryDecodeReasonHasAStory(t *testing.T) {
	story, err := os.ReadFile("testdata/script/judge_dead_letter.txtar")
	if err != nil {
		t.Fatal(err)
	}
	ofTopics := []event.Reason{event.Encoding, event.NoEnvelope, event.SpecVersion, event.Mismatch}
	for _, r := range event.Reasons() {
		if told := bytes.Contains(story, fmt.Appendf(nil, `"reason":%q`, r)); told == slices.Contains(ofTopics, r) {
			t.Errorf("reason %s: in judge_dead_letter.txtar %t, want %t", r, told, !told)
		}
	}
}

// golden compares a text with a file in docs, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("..", "..", "docs", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("docs/%s is stale; go test ./cmd/weir -run TestDocs -update writes it anew (-have +want):\n%s", name, diff)
	}
}
