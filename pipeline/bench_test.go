package pipeline_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/cloudflare/ahocorasick"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/pipelinetest"
	"github.com/weir-moderation/weir/rules"
)

// posts returns a batch of ordinary posts of about 460 bytes, of which one in
// every is flagged (0 for none).
func posts(n, every int) *pipeline.Batch {
	var values []string
	body := strings.Repeat("今天下班路过河边，看到很多人在钓鱼，the water was calm and clear。", 3)
	for i := range n {
		text := body
		if every > 0 && i%every == 0 {
			text += "违禁品"
		}
		values = append(values, fmt.Sprintf(`{"id":"p-%07d","time":"2026-03-01T12:00:00Z","user":{"id":"u-%05d","group":"default","verified":true},"operation":"post.create","fields":{"text":%q},"client":{"address":"203.0.113.7","port":51000}}`, i, i%9973, text))
	}
	return batchOf(values...)
}

// What a post costs from record to booked outcome, sinks left out; the baseline
// is what one would write first: encoding/json and cloudflare/ahocorasick on
// the text as it stands, without fold, span, exception or account.
func BenchmarkHandle(b *testing.B) {
	const n = 2000
	for _, c := range []struct {
		name    string
		every   int
		watched bool // by a breaker
	}{
		{"none-flagged", 0, false}, {"none-flagged-watched", 0, true}, {"1-percent-flagged", 100, false}, {"1-percent-flagged-watched", 100, true},
		{"20-percent-flagged", 5, false}, {"20-percent-flagged-watched", 5, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := newPipeline(b, &pipelinetest.Sink{Effect: func(string, func() error) error { return nil }})
			p.Enforce(pipeline.Force{Rules: p.InForce().Rules, Breaker: rules.Breaker{Enabled: c.watched}})
			batch := posts(n, c.every)
			b.SetBytes(int64(len(batch.Records[0].Value)))
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Handle(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/post")
		})
	}
	b.Run("baseline-encoding-json-cloudflare", func(b *testing.B) {
		m := ahocorasick.NewStringMatcher([]string{"forbiddenstuff", "违禁品", "terriblestuff", "shadowystuff"})
		batch := posts(n, 100)
		hits := 0
		for b.Loop() {
			for i := range batch.Records {
				var e struct {
					ID, Time, Operation string
					User                struct {
						ID, Group string
						Verified  bool
					}
					Fields map[string]string
				}
				if err := json.Unmarshal(batch.Records[i].Value, &e); err != nil {
					b.Fatal(err)
				}
				for _, text := range e.Fields {
					hits += len(m.MatchThreadSafe([]byte(text)))
				}
			}
		}
		if hits == 0 {
			b.Fatal("the baseline found nothing")
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/post")
	})
}

// A post that passes costs no allocation: what is made is made per batch.
func TestPassingPostsCostNoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector empties pools at random")
	}
	p := newPipeline(t, new(pipelinetest.Sink))
	p.Enforce(pipeline.Force{Rules: p.InForce().Rules, Breaker: rules.DefaultBreaker()})
	batch := posts(2000, 0)
	perBatch := testing.AllocsPerRun(20, func() {
		if err := p.Handle(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	})
	if perPost := perBatch / 2000; perPost > 0.02 {
		t.Errorf("%.3f allocations a post, want almost none", perPost)
	}
}
