package pipeline

import (
	"bytes"
	"context"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
)

// criticalSet compiles rules that reject, with all forms, each with a second opinion on every event.
func criticalSet(t *testing.T, terms string) *rules.Set {
	t.Helper()
	reg, err := rules.ParseRegister("c.yaml", []byte("categories:\n  - {code: test, name: Test, name_zh: 测试}\n"))
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Load(fstest.MapFS{"test.yaml": &fstest.MapFile{Data: []byte("pack: test\nrules:\n" +
		"  - {id: test.live, category: test, severity: critical, action: reject, state: live, forms: all, terms: [" + terms + "]}\n" +
		"  - {id: test.trial, category: test, severity: critical, action: reject, state: shadow, forms: all, terms: [shadowystuff]}\n")}},
		reg, rules.Options{SecondOpinion: rules.SecondOpinion{Every: 1}})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// judged handles posts with these texts, whose ids are their numbers, and returns what was found,
// the metrics and the log.
func judged(t *testing.T, set *rules.Set, texts ...string) (*verdicts, *prometheus.Registry, string) {
	t.Helper()
	var log bytes.Buffer
	out, reg := new(verdicts), prometheus.NewRegistry()
	p, err := New(Options{
		Source: "test", Force: Force{Rules: set}, Events: event.DefaultConfig(), Registerer: reg,
		Sinks: []NamedSink{{"verdicts", out}}, Logger: slog.New(slog.NewJSONHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	b := &Batch{Kind: event.Post, Topic: "posts", Next: int64(len(texts))}
	for i, text := range texts {
		b.Records = append(b.Records, Record{Offset: int64(i), Value: []byte(
			`{"id":"secret-id","time":"2026-01-02T03:04:05Z","user":{"id":"secret-user"},"fields":{"text":"` + text + `"}}`)})
	}
	if err := p.Handle(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return out, reg, log.String()
}

// verdicts is a sink that keeps reports: a verdict borrows what it tells.
type verdicts struct {
	keeper
	reports []Report
}

func (k *verdicts) Write(ctx context.Context, out *Output) error {
	for i := range out.Verdicts {
		k.reports = append(k.reports, out.Verdicts[i].Report())
	}
	return k.keeper.Write(ctx, out)
}

// A post in which a rule that rejects is hit by the sound or the shape alone goes to people, its
// hits say why, and one that is hit for sure beside it is rejected.
func TestWeakHitsGoToPeople(t *testing.T) {
	out, _, _ := judged(t, criticalSet(t, "百家乐"), "bai jia le", "白家乐", "bjl", "百-家-乐", "bai jia le，百家乐", "calm")
	var got []string
	for _, r := range out.reports {
		words := r.Action
		for _, h := range r.Hits {
			words += " " + h.Form + "/" + h.Confidence
		}
		got = append(got, words)
	}
	want := []string{"review pinyin/low", "review shape/low", "review initials/low", "reject squeeze/high", "reject pinyin/low fold/high"}
	if strings.Join(got, "; ") != strings.Join(want, "; ") {
		t.Errorf("got\n\t%s, want\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// Every form that a hit of a live rule took is counted by its own word, and all words are there
// before the first hit.
func TestHitsAreCountedByForm(t *testing.T) {
	_, reg, _ := judged(t, criticalSet(t, "百家乐, casino"), "百家乐 casino", "百-家&#x4e50;", "bai jia le", "shadowystuff")
	err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP weir_hits_by_form_total Hits of live rules by the forms in which the text had to be read. A hit that took several counts for each, so the sum is no number of hits.
# TYPE weir_hits_by_form_total counter
weir_hits_by_form_total{form="decode"} 1
weir_hits_by_form_total{form="digits"} 0
weir_hits_by_form_total{form="emoji"} 0
weir_hits_by_form_total{form="fold"} 2
weir_hits_by_form_total{form="initials"} 0
weir_hits_by_form_total{form="leet"} 0
weir_hits_by_form_total{form="pinyin"} 1
weir_hits_by_form_total{form="repeat"} 0
weir_hits_by_form_total{form="shape"} 0
weir_hits_by_form_total{form="spaced"} 0
weir_hits_by_form_total{form="split"} 0
weir_hits_by_form_total{form="squeeze"} 1
`), "weir_hits_by_form_total")
	if err != nil {
		t.Error(err)
	}
}

// diverged returns weir_match_divergence_total.
func diverged(t *testing.T, reg *prometheus.Registry) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "weir_match_divergence_total" {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatal("no weir_match_divergence_total")
	return 0
}

// give takes the second engine of a set away and puts that of another in its place. No engine is
// wrong on purpose, and nothing but a test may make one so.
func give(set, other *rules.Set) {
	second := reflect.ValueOf(set).Elem().FieldByName("second")
	from := reflect.ValueOf(other).Elem().FieldByName("second")
	*(*unsafe.Pointer)(unsafe.Pointer(second.UnsafeAddr())) = from.UnsafePointer()
}

// Where one of the engines is broken the difference is counted, the log says which message and
// which rule but nothing of the text, its id or its user, and what either engine found is judged.
func TestEnginesThatDisagree(t *testing.T) {
	const text = "secret-text forbiddenstuff"
	sound := criticalSet(t, "forbiddenstuff")
	out, reg, log := judged(t, sound, text, "calm")
	if n := diverged(t, reg); n != 0 || len(out.reports) != 1 || strings.Contains(log, "disagree") {
		t.Fatalf("sound engines: %v differences, %d verdicts, log %s", n, len(out.reports), log)
	}
	for _, c := range []struct{ name, first, second string }{
		{"the first misses a term", "otherstuff", "forbiddenstuff"},
		{"the second misses a term", "forbiddenstuff", "otherstuff"},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := criticalSet(t, c.first)
			give(set, criticalSet(t, c.second))
			out, reg, log := judged(t, set, "calm", text)
			if n := diverged(t, reg); n != 1 {
				t.Errorf("%v differences, want 1", n)
			}
			if len(out.reports) != 1 || out.reports[0].Action != "reject" || len(out.reports[0].Hits) != 1 || out.reports[0].Rules != set.Digest() {
				t.Errorf("verdicts %+v, want one that rejects", out.reports)
			}
			if !strings.Contains(log, `"offset":1,"rule":"test.live"`) {
				t.Errorf("the log does not say where: %s", log)
			}
			if strings.Contains(log, "secret") || strings.Contains(log, "stuff") {
				t.Errorf("content or ids are in the log: %s", log)
			}
		})
	}
}
