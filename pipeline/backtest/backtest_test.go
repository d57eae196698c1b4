package backtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// set compiles rules written in flow style.
func set(tb testing.TB, list ...string) *rules.Set {
	tb.Helper()
	reg, err := rules.ParseRegister("categories.yaml", []byte("categories:\n  - {code: fraud, name: Fraud, name_zh: 诈骗}\n  - {code: gambling, name: Gambling, name_zh: 赌博}\n"))
	if err != nil {
		tb.Fatal(err)
	}
	src := "pack: p\nrules:\n"
	for _, r := range list {
		src += "  - {id: p." + r + "}\n"
	}
	s, err := rules.Load(fstest.MapFS{"p.yaml": &fstest.MapFile{Data: []byte(src)}}, reg, rules.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// post is a post of one field.
func post(text string) string {
	return fmt.Sprintf(`{"id":"p","time":"2026-11-24T08:30:00Z","user":{"id":"u"},"fields":{"text":%q}}`, text)
}

// lines feeds values, each a line.
func lines(values ...string) Feed {
	return func(_ context.Context, add func(*Message) error) error {
		var m Message
		for i, v := range values {
			m = Message{Place: Place{Line: int64(i + 1)}, Value: []byte(v)}
			if err := add(&m); err != nil {
				return err
			}
			for k := range m.Value {
				m.Value[k] = '!' // it may be used again
			}
		}
		return nil
	}
}

func run(tb testing.TB, feed Feed, o Options) *Report {
	tb.Helper()
	r, err := Run(tb.Context(), feed, o)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// Each way in which two sets can differ about an event is counted where it belongs, with a
// sample that shows its shape and nothing of what it says.
func TestReport(t *testing.T) {
	before := set(t, "lost, category: fraud, state: live, terms: [bank pin]",
		"moves, category: fraud, state: live, terms: [lottery]",
		"rises, category: gambling, state: live, action: review, terms: [赌场]",
		"sleeps, category: gambling, state: live, terms: [百家乐]",
		"stays, category: fraud, state: live, terms: [ponzi]")
	after := set(t, "moves, category: gambling, state: live, terms: [lottery]",
		"new, category: fraud, state: live, terms: [bank pin]",
		"rises, category: gambling, state: live, action: reject, terms: [赌场, casino]",
		"sleeps, category: gambling, state: shadow, terms: [百家乐]",
		"stays, category: fraud, state: live, terms: [ponzi]")
	got := run(t, lines(
		post("nothing"),
		post("a ponzi scheme"),      // no difference
		post("my bank pin is 1234"), // another rule of one category: no other action, none by category
		post("lottery"),             // another category, the same action
		post("来赌场吧 +86 10"),         // stays and calls for more
		post("casino"),              // is new
		post("百家乐"),                 // stays and calls for nothing
		post("百家乐 ponzi"),           // the same, and another rule upholds the action
		"{", post("casino, casino"), ``, "{", "null",
		`{"id":"c","kind":"consent","time":"2026-11-24T08:30:00Z","user":{"id":"u"},"version":1,"grants":[]}`,
	), Options{Old: before, New: after, Samples: 2})

	want := &Report{Old: before.Digest(), New: after.Digest(), Messages: 14, Events: 10,
		Rules: []Row{
			{Name: "p.lost", OldHits: 1, Lost: 1, Events: 1},
			{Name: "p.moves", OldHits: 1, NewHits: 1, Lost: 1, New: 1, Events: 1},
			{Name: "p.new", NewHits: 1, New: 1, Events: 1},
			{Name: "p.rises", OldHits: 1, NewHits: 4, New: 3, Events: 3, Stronger: 3},
			{Name: "p.sleeps", OldHits: 2, NewHits: 2, Events: 1, Weaker: 1},
		},
		Categories: []Row{
			{Name: "fraud", OldHits: 4, NewHits: 3, Lost: 2, New: 1, Events: 2},
			{Name: "gambling", OldHits: 3, NewHits: 7, New: 4, Events: 5, Stronger: 3, Weaker: 1},
		},
		Dead: []Dead{
			{pipeline.StageDecode, pipeline.Reason(event.Truncated), 2, Place{Line: 9}},
			{pipeline.StageDecode, pipeline.Reason(event.EmptyValue), 1, Place{Line: 11}},
			{pipeline.StageDecode, pipeline.Reason(event.NullValue), 1, Place{Line: 13}},
		},
	}
	want.Actions[rules.Pass][rules.Pass] = 2
	want.Actions[rules.Pass][rules.Reject] = 2
	want.Actions[rules.Review][rules.Review] = 4
	want.Actions[rules.Review][rules.Reject] = 1
	want.Actions[rules.Review][rules.Pass] = 1
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Report{}, "Samples")); diff != "" {
		t.Error(diff)
	}
	wantChanges := []ActionChange{{rules.Pass, rules.Reject, 2}, {rules.Review, rules.Pass, 1}, {rules.Review, rules.Reject, 1}}
	if diff := cmp.Diff(wantChanges, got.Changes()); diff != "" {
		t.Error(diff)
	}
	var samples []string
	for _, s := range got.Samples {
		samples = append(samples, fmt.Sprintf("%s %s %s %v %s %d-%d %s %q %v>%v %s[%s]%s", s.Rule, s.Category, s.Change, s.Place, s.Field, s.Start, s.End, s.Form, s.Term, s.Old, s.New, s.Before, s.Text, s.After))
	}
	wantSamples := []string{
		`p.lost fraud lost line 3 text 3-11 fold "bank pin" review>review xx [xxxx xxx] xx 0000`,
		`p.moves gambling new line 4 text 0-7 fold "lottery" review>review [xxxxxxx]`,
		`p.moves fraud lost line 4 text 0-7 fold "lottery" review>review [xxxxxxx]`,
		`p.new fraud new line 3 text 3-11 fold "bank pin" review>review xx [xxxx xxx] xx 0000`,
		`p.rises gambling new line 6 text 0-6 fold "casino" pass>reject [xxxxxx]`,
		`p.rises gambling new line 10 text 0-6 fold "casino" pass>reject [xxxxxx], xxxxxx`,
		`p.rises gambling acts line 5 text 3-9 fold "赌场" review>reject 字[字字]字 *00 00`,
		`p.sleeps gambling acts line 7 text 0-9 fold "百家乐" review>pass [字字字]`,
	}
	if diff := cmp.Diff(wantSamples, samples); diff != "" {
		t.Error(diff)
	}
	// The same the other way round: what was new is lost.
	back := run(t, lines(post("casino"), post("lottery")), Options{Old: after, New: before})
	if diff := cmp.Diff([]Row{{Name: "p.moves", OldHits: 1, NewHits: 1, Lost: 1, New: 1, Events: 1}, {Name: "p.rises", OldHits: 1, Lost: 1, Events: 1, Weaker: 1}}, back.Rules); diff != "" {
		t.Error(diff)
	}
	if len(back.Samples) != 0 {
		t.Error("samples that nobody asked for")
	}
}

// Whatever is in a text, its mask has none of its letters and digits; what is shown is
// bounded, and whole characters.
func TestMask(t *testing.T) {
	tests := []struct{ text, want string }{
		{"Wěi信 V_X：１３８-①²", "xxx字 x_x：000-00"},
		{"e\u0301 ☎ 👍🏽 \u200b\t\u202e", "x* * ** \u200b\t\u202e"},
		{"\U000E0041\U000E0042\uE000\u0378", "****"}, // tags spell out texts unseen
		{"かなカナ한글ёΩ〇", "xxxxxxxx字"},
	}
	for _, test := range tests {
		if got := Mask(test.text); got != test.want {
			t.Errorf("Mask(%q) = %q, want %q", test.text, got, test.want)
		}
	}
	for _, name := range []string{"text", "post_title", "a.b-c"} {
		if !isWord(name) {
			t.Errorf("field %q has no name", name)
		}
	}
	for _, name := range []string{"", "赌场", "13800138000", "a b", "wx123", "_x", strings.Repeat("a", 33)} {
		if isWord(name) {
			t.Errorf("field %q may be content", name)
		}
	}
	long := []byte("字" + strings.Repeat("é", 30) + "字")
	if got := beginning(long, 3); got != "字éé…" {
		t.Error(got)
	}
	if got := ending(long, 2); got != "…é字" {
		t.Error(got)
	}
	if b, e := beginning(long, 32), ending(long, 32); b != string(long) || e != b {
		t.Error(b, e)
	}
}

// A sample shows text only if it is told to, and never without end.
func TestShowText(t *testing.T) {
	o := Options{Old: set(t, "a, category: fraud, state: live, terms: [pin]"), Samples: 1, ShowText: true,
		New: set(t, "a, category: fraud, state: live, terms: [赌场], forms: [fold]")}
	feed := lines(strings.Replace(post("来赌"+strings.Repeat("\u200b", 500)+"场"+strings.Repeat("吧", 500)), `"text":`, `"我的QQ":`, 1))
	s := run(t, feed, o).Samples[0]
	if s.Before != "来" || s.Text != "赌"+strings.Repeat("\u200b", maxShown-1)+"…" || s.After != strings.Repeat("吧", maxContext)+"…" || s.Field != "我的QQ" {
		t.Errorf("shown: %+v", s)
	}
	o.ShowText = false
	s = run(t, feed, o).Samples[0]
	if s.Before != "字" || s.Text != "字"+strings.Repeat("\u200b", maxShown-1)+"…" || s.After != strings.Repeat("字", maxContext)+"…" || s.Field != "fields[0]" {
		t.Errorf("masked: %+v", s)
	}
}

// The report depends on the messages and their order alone: not on how many cores judged
// them, nor on how they fell into blocks.
func TestSameReportOnAnyCores(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 3))
	o := Options{Old: set(t, "a, category: fraud, state: live, terms: [pin]", "b, category: gambling, state: live, terms: [赌场]"),
		New: set(t, "a, category: fraud, state: live, action: reject, terms: [pin]", "c, category: gambling, state: live, terms: [赌场, 百家乐]"), Samples: 3}
	var values []string
	words := []string{"赌场", "百家乐", "pin", "hello", "你好", ", "}
	for range 3 * blockMessages {
		var text strings.Builder
		for range r.IntN(8) {
			text.WriteString(words[r.IntN(len(words))] + " ")
		}
		v := post(text.String())
		switch r.IntN(500) {
		case 0, 1, 2:
			v = v[:r.IntN(len(v))]
		case 3:
			v = post(strings.Repeat("x", r.IntN(2*blockBytes)))
		}
		values = append(values, v)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	want := run(t, lines(values...), o)
	if want.Messages != int64(len(values)) || want.Events == want.Messages || len(want.Samples) < 9 {
		t.Fatalf("%d of %d messages, %d samples", want.Messages, len(values), len(want.Samples))
	}
	for _, n := range []int{2, 5} {
		runtime.GOMAXPROCS(n)
		var told []int64
		o.Progress = func(done int64) { told = append(told, done) }
		if diff := cmp.Diff(want, run(t, lines(values...), o)); diff != "" {
			t.Fatalf("on %d cores: %s", n, diff)
		}
		if !slices.IsSorted(told) || told[len(told)-1] != want.Messages {
			t.Errorf("progress: %v", told)
		}
	}
}

// Headers and the bytes of a message are copied, null is not empty, and what is no message
// is counted as such.
func TestMessages(t *testing.T) {
	a := set(t, "a, category: fraud, state: live, terms: [pin]")
	feed := func(_ context.Context, add func(*Message) error) error {
		at := Place{Topic: "weir.posts", Partition: 3, Offset: 40}
		headers := []event.Header{{Key: "ce_specversion", Value: []byte("1.0")}, {Key: "ce_id", Value: []byte("p")}, {Key: "ce_source", Value: []byte("/s")},
			{Key: "ce_type", Value: []byte("other")}, {Key: "ce_time", Value: []byte("2026-11-24T08:30:00Z")}}
		for _, m := range []Message{
			{Kind: event.Post, Value: []byte(`{"user":{"id":"u"},"fields":{"t":"pin"}}`), Headers: headers},
			{Kind: event.Post, Value: nil},
			{Kind: event.Post, Value: []byte{}},
			{Kind: event.Post, Corrupt: pipeline.ReasonHeaders, Value: []byte("raw")},
		} {
			m.Place = at
			at.Offset++
			if err := add(&m); err != nil {
				return err
			}
			for i := range m.Headers {
				clear(m.Headers[i].Value)
			}
		}
		return nil
	}
	got := run(t, feed, Options{Old: a, New: set(t, "a, category: fraud, state: shadow, terms: [pin]"), Samples: 1})
	place := func(offset int64) Place { return Place{Topic: "weir.posts", Partition: 3, Offset: offset} }
	want := []Dead{{pipeline.StageDecode, pipeline.Reason(event.NullValue), 1, place(41)}, {pipeline.StageDecode, pipeline.Reason(event.EmptyValue), 1, place(42)},
		{pipeline.StageFetch, pipeline.ReasonHeaders, 1, place(43)}}
	if diff := cmp.Diff(want, got.Dead); diff != "" {
		t.Error(diff)
	}
	if len(got.Samples) != 1 || got.Samples[0].Place.String() != "weir.posts/3 offset 40" {
		t.Errorf("samples: %+v", got.Samples)
	}
}

// A panic while judging costs one message, not the run.
func TestPanic(t *testing.T) {
	a := set(t, "a, category: fraud, state: live, terms: [pin]")
	o := Options{Old: a, New: set(t, "b, category: fraud, state: live, terms: [pin]"), trap: func(e *event.Event) {
		if string(e.Fields[0].Text) == "boom" {
			panic("on purpose")
		}
	}}
	got := run(t, lines(post("pin"), post("boom"), post("pin"), post("boom")), o)
	if got.Events != 2 || len(got.Dead) != 1 || got.Dead[0] != (Dead{pipeline.StageJudge, pipeline.ReasonPanic, 2, Place{Line: 2}}) || len(got.Rules) != 2 || got.Rules[0].Lost != 2 {
		t.Errorf("%+v", got)
	}
}

// A feed that fails ends the run, and so does the end of its context, with nothing left running.
func TestEnds(t *testing.T) {
	a := set(t, "a, category: fraud, state: live, terms: [pin]")
	o := Options{Old: a, New: a}
	mine := errors.New("mine")
	_, err := Run(t.Context(), func(ctx context.Context, add func(*Message) error) error {
		if err := lines(post("pin"))(ctx, add); err != nil {
			return err
		}
		return mine
	}, o)
	if !errors.Is(err, mine) {
		t.Errorf("a feed that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	o.Progress = func(int64) { cancel() }
	_, err = Run(ctx, func(ctx context.Context, add func(*Message) error) error {
		for {
			if err := lines(post("pin"))(ctx, add); err != nil {
				return err
			}
		}
	}, o)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a context that ended: %v", err)
	}
}
