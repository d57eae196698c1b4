package pipeline

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
)

// keeper is a sink that keeps what it was given.
type keeper struct {
	dead  []string
	found []string
}

func (k *keeper) Write(_ context.Context, out *Output) error {
	for i := range out.DeadLetters {
		k.dead = append(k.dead, string(out.DeadLetters[i].Reason))
	}
	for i := range out.Verdicts {
		k.found = append(k.found, string(out.Verdicts[i].Event.ID))
	}
	return nil
}

// A message that breaks the judge is judged alone once more, then becomes a
// dead letter; the messages around it are judged, and the log has the stack but
// none of the content.
func TestPanicIsRecoveredPerMessage(t *testing.T) {
	reg, err := rules.ParseRegister("c.yaml", []byte("categories:\n  - {code: test, name: Test, name_zh: 测试}\n"))
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Load(fstest.MapFS{"test.yaml": &fstest.MapFile{Data: []byte(
		"pack: test\nrules:\n  - {id: test.a, category: test, severity: low, action: review, state: live, terms: [forbiddenstuff]}\n")}}, reg, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	out := new(keeper)
	p, err := New(Options{
		Source: "test", Force: Force{Rules: set}, Events: event.DefaultConfig(),
		Sinks: []NamedSink{{"keeper", out}}, Logger: slog.New(slog.NewJSONHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	tries := make(map[string]int)
	p.trap = func(e *event.Event) {
		id := string(e.ID)
		tries[id]++
		switch {
		case strings.HasPrefix(id, "always"):
			panic("broken by " + string(e.Fields[0].Text))
		case strings.HasPrefix(id, "once") && tries[id] == 1:
			_ = tries[string(e.Fields[99].Name)]
		}
	}
	b := &Batch{Kind: event.Post, Topic: "posts", Next: 4}
	for i, id := range []string{"before", "always", "once", "after"} {
		b.Records = append(b.Records, Record{Offset: int64(i), Value: []byte(
			`{"id":"` + id + `","time":"2026-01-02T03:04:05Z","user":{"id":"secret-user"},"fields":{"text":"forbiddenstuff secret-text"}}`)})
	}
	if err := p.Handle(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(out.found, " "); got != "before once after" {
		t.Errorf("judged: %s; want before once after", got)
	}
	if got := strings.Join(out.dead, " "); got != "panic" {
		t.Errorf("dead letters: %s; want one with reason panic", got)
	}
	if tries["always"] != 2 {
		t.Errorf("the message that breaks was judged %d times, want 2", tries["always"])
	}
	if s := log.String(); !strings.Contains(s, "panic_test.go") {
		t.Error("the log does not say where it broke")
	} else if strings.Contains(s, "secret") {
		t.Errorf("content is in the log: %s", s)
	}
}
