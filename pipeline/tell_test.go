package pipeline_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/pipelinetest"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	parent  = "00-" + traceID + "-b7ad6b7169203331-01"
)

// linesOf returns the lines of verdicts in a log.
func linesOf(t *testing.T, log string) []map[string]any {
	t.Helper()
	var list []map[string]any
	for text := range strings.Lines(log) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		if line["msg"] == "verdict" {
			list = append(list, line)
		}
	}
	return list
}

// A message that something stood against has one line in the log: always with the same
// keys, with its trace and the id of its evidence, and without what it says and who said it. One
// that passes, or that only a rule in shadow hit, has none.
func TestVerdictsHaveALine(t *testing.T) {
	var log bytes.Buffer
	s := new(pipelinetest.Sink)
	o := options(t, s)
	o.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p, err := pipeline.New(o)
	if err != nil {
		t.Fatal(err)
	}
	b := batchOf(post("secret-event", "forbiddenstuff secret-text"), post("b", "harmless"), post("c", "shadowystuff"), post("d", "terriblestuff, and forbiddenstuff twice: forbiddenstuff"))
	b.Records[0].Headers = []event.Header{{Key: "traceparent", Value: []byte(parent)}}
	b.Records[0].Key = []byte("u1")
	if err := p.Handle(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	lines := linesOf(t, log.String())
	if len(lines) != 2 {
		t.Fatalf("%d lines, want one for each message that is flagged:\n%s", len(lines), &log)
	}
	id := s.Entries()[0].ID.String()
	want := map[string]any{"level": "DEBUG", "msg": "verdict", "evidence": id, "kind": "post", "action": "review", "decision": "", "reason": "content",
		"categories": []any{"test"}, "severity": "low", "topic": "posts", "partition": 0.0, "offset": 0.0,
		"rules": o.Force.Rules.Digest(), "policy": "", "trace_id": traceID, "left_out": 0.0}
	delete(lines[0], "time")
	if diff := cmp.Diff(want, lines[0]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	delete(lines[1], "time")
	if got, want := slices.Sorted(maps.Keys(lines[1])), slices.Sorted(maps.Keys(want)); !slices.Equal(got, want) {
		t.Errorf("keys %v, want %v", got, want)
	}
	if lines[1]["severity"] != "critical" || lines[1]["action"] != "reject" || lines[1]["trace_id"] != "" || lines[1]["offset"] != 3.0 {
		t.Errorf("%v", lines[1])
	}
	for _, secret := range []string{"secret", "forbiddenstuff", "u1"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("%q is in the log:\n%s", secret, &log)
		}
	}
}

// A log at level info has no lines of verdicts unless it is told to, and one that is told off has none at all.
func TestLinesOfVerdictsByLevel(t *testing.T) {
	for _, tt := range []struct {
		verdicts string
		level    slog.Level
		want     int
	}{
		{"debug", slog.LevelInfo, 0}, {"debug", slog.LevelDebug, 1}, {"info", slog.LevelInfo, 1}, {"info", slog.LevelWarn, 0}, {"off", slog.LevelDebug, 0},
	} {
		var log bytes.Buffer
		o := options(t, new(pipelinetest.Sink))
		o.Log = pipeline.LogConfig{Verdicts: tt.verdicts, VerdictsPerSecond: 10}
		o.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: tt.level}))
		p, err := pipeline.New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Handle(t.Context(), batchOf(post("a", "forbiddenstuff"))); err != nil {
			t.Fatal(err)
		}
		if got := len(linesOf(t, log.String())); got != tt.want {
			t.Errorf("verdicts at %s in a log at %v: %d lines, want %d", tt.verdicts, tt.level, got, tt.want)
		}
	}
}

// More verdicts than lines may be written in a second: the others are counted, and the first
// line of a later second says how many.
func TestLinesOfVerdictsAreLimited(t *testing.T) {
	var log bytes.Buffer
	now := time.Unix(1_700_000_000, 0)
	reg := prometheus.NewRegistry()
	o := options(t, new(pipelinetest.Sink))
	o.Log = pipeline.LogConfig{Verdicts: "info", VerdictsPerSecond: 3}
	o.Logger, o.Registerer, o.Now = slog.New(slog.NewJSONHandler(&log, nil)), reg, func() time.Time { return now }
	p, err := pipeline.New(o)
	if err != nil {
		t.Fatal(err)
	}
	handle := func(n int) {
		t.Helper()
		b := batchOf(slices.Repeat([]string{post("a", "forbiddenstuff")}, n)...)
		if err := p.Handle(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	handle(2)
	handle(5)
	now = now.Add(time.Second)
	handle(1)
	now = now.Add(time.Second)
	handle(1)
	var left []float64
	for _, l := range linesOf(t, log.String()) {
		left = append(left, l["left_out"].(float64))
	}
	if diff := cmp.Diff([]float64{0, 0, 0, 4, 0}, left); diff != "" {
		t.Errorf("left out, -want +got:\n%s", diff)
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader("# HELP weir_verdict_lines_left_out_total Flagged messages that have no line in the log, because there were more in their second than the configuration allows.\n# TYPE weir_verdict_lines_left_out_total counter\nweir_verdict_lines_left_out_total 4\n"), "weir_verdict_lines_left_out_total"); err != nil {
		t.Error(err)
	}
}

// A setting of the section log that cannot work is refused.
func TestLogConfig(t *testing.T) {
	for _, tt := range []struct {
		c    pipeline.LogConfig
		want string
	}{
		{pipeline.DefaultLogConfig(), ""},
		{pipeline.LogConfig{Verdicts: "off", VerdictsPerSecond: 1}, ""},
		{pipeline.LogConfig{Verdicts: "warn", VerdictsPerSecond: 1}, `verdicts: "warn" is not known; use debug, info or off`},
		{pipeline.LogConfig{Verdicts: "info"}, "verdicts_per_second: 0; use 1 to 100000, or verdicts: off for none"},
	} {
		if err := tt.c.Validate(); tt.want == "" && err != nil || tt.want != "" && (err == nil || err.Error() != tt.want) {
			t.Errorf("%+v: %v, want %q", tt.c, err, tt.want)
		}
	}
}

// family gathers one metric.
func family(t *testing.T, reg *prometheus.Registry, name string) *dto.MetricFamily {
	t.Helper()
	list, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(f *dto.MetricFamily) bool { return f.GetName() == name })
	if i < 0 {
		t.Fatalf("no %s", name)
	}
	return list[i]
}

// The age of the message that was observed has its trace as exemplar, if it came in with one that is recorded.
func TestAgeHasTheTraceAsExemplar(t *testing.T) {
	for _, tt := range []struct{ parent, want string }{
		{parent, traceID},
		{strings.TrimSuffix(parent, "1") + "0", ""}, // nobody records it
		{"00-malformed", ""},
		{"", ""},
	} {
		reg := prometheus.NewRegistry()
		o := options(t, new(pipelinetest.Sink))
		o.Registerer = reg
		p, err := pipeline.New(o)
		if err != nil {
			t.Fatal(err)
		}
		b := batchOf(post("a", "harmless"), post("b", "harmless"))
		if tt.parent != "" {
			b.Records[0].Headers = []event.Header{{Key: "traceparent", Value: []byte(tt.parent)}}
		}
		b.Records[1].Headers = []event.Header{{Key: "traceparent", Value: []byte(strings.Replace(parent, "0a", "0b", 1))}} // another message
		if err := p.Handle(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		found := ""
		for _, m := range family(t, reg, "weir_message_age_seconds").GetMetric() {
			for _, bucket := range m.GetHistogram().GetBucket() {
				for _, l := range bucket.GetExemplar().GetLabel() {
					found += l.GetName() + "=" + l.GetValue()
				}
			}
			for _, e := range m.GetHistogram().GetExemplars() { // of the native histogram
				if len(e.GetLabel()) != 1 || e.GetLabel()[0].GetValue() != tt.want {
					t.Errorf("%q: exemplar %v", tt.parent, e)
				}
			}
		}
		want := ""
		if tt.want != "" {
			want = "trace_id=" + tt.want
		}
		if found != want {
			t.Errorf("%q: exemplar %q, want %q", tt.parent, found, want)
		}
	}
}

// Each message is counted by what its content calls for, and its bytes; what cannot be judged is not
// among the verdicts. Categories and severities that no rule in force has any more have no series.
func TestVerdictsAreCounted(t *testing.T) {
	reg := prometheus.NewRegistry()
	o := options(t, new(pipelinetest.Sink))
	o.Registerer = reg
	p, err := pipeline.New(o)
	if err != nil {
		t.Fatal(err)
	}
	values := []string{post("a", "forbiddenstuff"), post("b", "terriblestuff forbiddenstuff"), post("c", "shadowystuff"), post("d", "harmless"), post("e", "harmless"), "{"}
	if err := p.Handle(t.Context(), batchOf(values...)); err != nil {
		t.Fatal(err)
	}
	series := func(name string) map[string]float64 {
		m := make(map[string]float64)
		for _, x := range family(t, reg, name).GetMetric() {
			var labels []string
			for _, l := range x.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			if v := x.GetCounter().GetValue(); v != 0 || name != "weir_match_input_bytes_total" {
				m[strings.Join(labels, " ")] = v
			}
		}
		return m
	}
	for name, want := range map[string]map[string]float64{
		"weir_verdicts_total":          {"pass post": 3, "review post": 1, "reject post": 1, "pass push": 0, "review push": 0, "reject push": 0},
		"weir_hits_total":              {"test low": 2, "test critical": 1},
		"weir_shadow_hits_total":       {"test low": 1, "test critical": 0},
		"weir_match_input_bytes_total": {"post": float64(len(strings.Join(values, "")))},
	} {
		if diff := cmp.Diff(want, series(name)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
	next := pipeline.Force{Rules: loadRules(t, "pack: test\nrules:\n  - {id: test.one, category: test, severity: high, action: review, state: live, terms: [otherstuff]}\n")}
	p.Enforce(next)
	if diff := cmp.Diff(map[string]float64{"test high": 0}, series("weir_hits_total")); diff != "" {
		t.Errorf("after a reload, -want +got:\n%s", diff)
	}
}
