package condition

import (
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/cel"

	"github.com/weir-moderation/weir/pipeline/event"
)

// benchEvent is a push with all there is in it, 2,000 bytes of text.
func benchEvent() (*event.Event, Hits) {
	e := &event.Event{
		Kind: event.Push, Time: time.Date(2026, 11, 28, 8, 0, 0, 0, time.UTC),
		User: event.User{ID: []byte("u1"), Group: []byte("minor"), Verified: true},
		Fields: []event.Field{
			{Name: []byte("title"), Text: []byte("加微信 VX")},
			{Name: []byte("text"), Text: []byte(strings.Repeat("今天天气不错 ", 100))},
		},
		Push: event.PushPart{Class: []byte("marketing"), Channel: []byte("app"), Label: []byte("广告")},
	}
	return e, Hits{Count: 3, Distinct: 2, Sure: 3, Fields: []string{"title"}, Forms: []string{"fold"}}
}

var benchConditions = []struct{ name, source string }{
	{"issue", `event.user.group == "minor" && hits.distinct >= 2`},
	{"field", `event.fields["title"].contains("VX") && event.push.class == "marketing"`},
	{"loop", `event.fields.exists(f, event.fields[f].contains("VX"))`},
	{"pattern", `event.fields["text"].matches("V[Xx]$")`},
	{"time", `event.time.getHours("Asia/Shanghai") < 8 || event.time.getHours("Asia/Shanghai") >= 22`},
}

// BenchmarkEval measures conditions as they are used.
func BenchmarkEval(b *testing.B) {
	e, h := benchEvent()
	for _, c := range benchConditions {
		b.Run(c.name, func(b *testing.B) {
			condition, err := Compile(c.source)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := condition.Eval(e, h); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLongLoop measures the longest work that the limit lets through: an
// expression full of loops over as many names as loops may go over.
func BenchmarkLongLoop(b *testing.B) {
	ask := `event.fields.all(f, f != "" && f != "a" && f != "b" && f != "c" && f != "d" && f != "e")`
	condition, err := Compile(ask + strings.Repeat(" && "+ask, MaxLength/(len(ask)+4)-1))
	if err != nil {
		b.Fatal(err)
	}
	e, h := largest(MaxMembers, 10, 0)
	for b.Loop() {
		if ok, err := condition.Eval(e, h); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

// BenchmarkHostile measures how long a hostile event takes until the limit ends it.
func BenchmarkHostile(b *testing.B) {
	for _, c := range hostile {
		b.Run(c.name, func(b *testing.B) {
			condition, err := Compile(c.source)
			if err != nil {
				b.Fatal(err)
			}
			e, h := largest(c.texts, c.length, c.files)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := condition.Eval(e, h); err == nil {
					b.Fatal("the limit has not been met")
				}
			}
		})
	}
}

// BenchmarkByHand is what the first condition costs in Go: the bound nothing beats.
func BenchmarkByHand(b *testing.B) {
	e, h := benchEvent()
	n := 0
	for b.Loop() {
		if string(e.User.Group) == "minor" && h.Distinct >= 2 {
			n++
		}
	}
	if n == 0 {
		b.Fatal("never fulfilled")
	}
}

// BenchmarkMap is the usual way to ask CEL about a Go value: a map of all of it, made
// for each event, without declared fields and without a limit.
func BenchmarkMap(b *testing.B) {
	dynamic := cel.MapType(cel.StringType, cel.DynType)
	language, err := cel.NewEnv(cel.Variable("event", dynamic), cel.Variable("hits", dynamic))
	if err != nil {
		b.Fatal(err)
	}
	e, h := benchEvent()
	for _, c := range benchConditions {
		b.Run(c.name, func(b *testing.B) {
			tree, issues := language.Compile(c.source)
			if issues.Err() != nil {
				b.Fatal(issues.Err())
			}
			program, err := language.Program(tree, cel.EvalOptions(cel.OptOptimize))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				texts := make(map[string]string, len(e.Fields))
				for _, f := range e.Fields {
					texts[string(f.Name)] = string(f.Text)
				}
				_, _, err := program.Eval(map[string]any{
					"event": map[string]any{
						"kind": e.Kind.String(), "time": e.Time, "operation": string(e.Operation),
						"user":   map[string]any{"group": string(e.User.Group), "verified": e.User.Verified},
						"fields": texts,
						"push": map[string]any{"class": string(e.Push.Class), "channel": string(e.Push.Channel), "campaign": string(e.Push.Campaign),
							"sender": string(e.Push.Sender), "label": string(e.Push.Label), "personalised": e.Push.Personalised},
					},
					"hits": map[string]any{"count": h.Count, "distinct": h.Distinct, "sure": h.Sure, "fields": h.Fields, "forms": h.Forms},
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCompile is what one condition costs when a set is loaded.
func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(benchConditions[0].source); err != nil {
			b.Fatal(err)
		}
	}
}
