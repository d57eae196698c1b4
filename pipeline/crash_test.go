package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/pipelinetest"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/rules"
)

// world is what survives the death of a process: the input with its committed
// offsets, the evidence, the output topics.
type world struct {
	input            *pipelinetest.Topic
	evidence, topics *pipelinetest.Sink
	swapped          bool // topics before evidence: breaks what must stay true, point 2
	commitFirst      bool // commit before write: breaks point 1
	together         bool // offsets are committed with what is on the topics
	unaccounted      bool // and without asking for their account: breaks point 1
	set              *rules.Set
	policy           *push.Policy
	store            *push.Store
	now              func() time.Time
}

// process is one life: it dies at its n-th effect.
type process struct {
	w       *world
	dies    int  // the number of the effect it dies at, 0 for never
	after   bool // it dies when the effect has taken place but nobody was told
	effects int
	dead    bool
	wrongs  []string
	done    context.CancelFunc
}

var errDied = errors.New("the process died")

// effect stands between the process and the world. After every effect it looks
// whether what must stay true still is: a crash could come right here.
func (p *process) effect(name string, do func() error) error {
	if p.dead {
		return pipeline.Permanent(errDied)
	}
	p.effects++
	if p.effects == p.dies {
		p.dead = true
		if p.after {
			if err := do(); err != nil {
				return err
			}
			p.look(name)
		}
		return pipeline.Permanent(errDied)
	}
	err := do()
	p.look(name)
	if p.w.input.Committed(0) == p.w.input.Len(0) {
		p.done()
	}
	return err
}

// look checks points 1 and 2 of "what must stay true".
func (p *process) look(after string) {
	w := p.w
	inEvidence, onTopics := ids(w.evidence), ids(w.topics)
	for id := range onTopics {
		if !inEvidence[id] {
			p.wrongs = append(p.wrongs, fmt.Sprintf("after %s: %s is on a topic without its evidence", after, id))
		}
	}
	covered := coveredUpTo(w.evidence.Coverage())
	for offset := range w.input.Committed(0) {
		if offset >= covered {
			p.wrongs = append(p.wrongs, fmt.Sprintf("after %s: offset %d is committed without coverage", after, offset))
		}
		if matters(w.input.Record(0, offset)) && (!found(w.evidence, offset) || !found(w.topics, offset)) {
			p.wrongs = append(p.wrongs, fmt.Sprintf("after %s: offset %d is committed before its effects are durable", after, offset))
		}
	}
}

// live runs the process until everything is committed or it dies.
func (p *process) live(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p.done = cancel
	w := p.w
	w.evidence.Effect, w.topics.Effect = p.effect, p.effect
	sinks := []pipeline.NamedSink{{Name: "evidence", Sink: w.evidence}, {Name: "topics", Sink: w.topics}}
	if w.swapped {
		slices.Reverse(sinks)
	}
	if w.together {
		w.topics.Progress = w.input.Commit
	}
	if w.unaccounted {
		sinks[1].Sink = forgetful{w.topics}
	}
	pl, err := pipeline.New(pipeline.Options{
		Source: "test", Force: pipeline.Force{Rules: w.set, Policy: w.policy}, Store: w.store,
		Events: event.DefaultConfig(), Sinks: sinks, Now: w.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	src := &pipelinetest.Source{Topic: w.input, Effect: p.effect, CommitFirst: w.commitFirst}
	if w.together {
		src.Claim = new(pipeline.Claim)
	}
	if err := src.Run(ctx, pl); err != nil && !errors.Is(err, errDied) {
		t.Fatalf("Run: %v", err)
	}
	if !p.dead && w.input.Committed(0) != w.input.Len(0) {
		t.Fatalf("the process neither died nor finished: committed %d of %d", w.input.Committed(0), w.input.Len(0))
	}
}

// dieEverywhere runs a world's work once for every effect and both ways to die
// there, each time in a fresh world, then starts a new process that finishes.
// It returns what was seen to be wrong in any life.
func dieEverywhere(t *testing.T, fresh func(t *testing.T) *world, check func(t *testing.T, w *world)) []string {
	t.Helper()
	clean := &process{w: fresh(t)}
	clean.live(t)
	check(t, clean.w)
	if clean.effects < 10 {
		t.Fatalf("only %d effects: the test does not reach what it is for", clean.effects)
	}
	wrongs := clean.wrongs
	for n := 1; n <= clean.effects; n++ {
		for _, after := range []bool{false, true} {
			w := fresh(t)
			first := &process{w: w, dies: n, after: after}
			first.live(t)
			second := &process{w: w}
			if w.input.Committed(0) < w.input.Len(0) {
				second.live(t)
			}
			wrongs = append(wrongs, slices.Concat(first.wrongs, second.wrongs)...)
			check(t, w)
			if t.Failed() {
				t.Fatalf("with death at effect %d, effect took place: %v", n, after)
			}
		}
	}
	return wrongs
}

// Whatever effect the process dies at, nothing is committed before its effects
// are durable, nothing is on a topic before its evidence, and in the end every
// message has exactly one outcome.
func TestDeathAtEveryEffectLosesNothing(t *testing.T) {
	wrongs := dieEverywhere(t, newPostWorld, exactlyOneOutcome)
	if len(wrongs) > 0 {
		t.Errorf("%d violations, the first: %s", len(wrongs), wrongs[0])
	}
}

// The test above would notice if offsets were committed before the write.
func TestCommitBeforeWriteIsNoticed(t *testing.T) {
	broken := func(t *testing.T) *world {
		w := newPostWorld(t)
		w.commitFirst = true
		return w
	}
	wrongs := dieEverywhere(t, broken, func(*testing.T, *world) {})
	if !slices.ContainsFunc(wrongs, func(s string) bool { return strings.Contains(s, "committed before its effects") }) {
		t.Error("commit and write were swapped and nothing was seen")
	}
}

// The test above would notice if a topic were written before the evidence.
func TestTopicBeforeEvidenceIsNoticed(t *testing.T) {
	broken := func(t *testing.T) *world {
		w := newPostWorld(t)
		w.swapped = true
		return w
	}
	wrongs := dieEverywhere(t, broken, func(*testing.T, *world) {})
	if !slices.ContainsFunc(wrongs, func(s string) bool { return strings.Contains(s, "without its evidence") }) {
		t.Error("the sinks were swapped and nothing was seen")
	}
}

// Where offsets are committed together with what is on the topics, the same is
// true wherever the process dies, and nothing is ever on a topic twice.
func TestDeathAtEveryEffectDoublesNothing(t *testing.T) {
	fresh := func(t *testing.T) *world {
		w := newPostWorld(t)
		w.together = true
		return w
	}
	wrongs := dieEverywhere(t, fresh, func(t *testing.T, w *world) {
		t.Helper()
		exactlyOneOutcome(t, w)
		if got, want := len(w.topics.Entries()), len(w.topics.IDs()); got != want {
			t.Errorf("%d messages on the topics under %d ids", got, want)
		}
	})
	if len(wrongs) > 0 {
		t.Errorf("%d violations, the first: %s", len(wrongs), wrongs[0])
	}
}

// The test above would notice a sink that commits before the account is durable.
func TestCommitWithoutAccountIsNoticed(t *testing.T) {
	broken := func(t *testing.T) *world {
		w := newPostWorld(t)
		w.together, w.unaccounted = true, true
		return w
	}
	wrongs := dieEverywhere(t, broken, func(*testing.T, *world) {})
	if !slices.ContainsFunc(wrongs, func(s string) bool { return strings.Contains(s, "committed without coverage") }) {
		t.Error("offsets were committed before their account and nothing was seen")
	}
}

// forgetful is a sink that does not ask for the account of what it commits.
type forgetful struct{ *pipelinetest.Sink }

func (f forgetful) Write(ctx context.Context, out *pipeline.Output) error {
	if out.Progress != nil {
		p := *out.Progress
		p.Account = func(context.Context) error { return nil }
		x := *out
		x.Progress = &p
		out = &x
	}
	return f.Sink.Write(ctx, out)
}

// newPostWorld has posts that pass, posts that are flagged and broken ones.
func newPostWorld(t *testing.T) *world {
	w := &world{
		input:    pipelinetest.NewTopic("posts", event.Post, 1),
		evidence: &pipelinetest.Sink{Name: "evidence"},
		topics:   &pipelinetest.Sink{Name: "topics"},
		set:      ruleSet(t),
	}
	for _, v := range []string{
		post("a", "good morning"), post("b", "buy forbiddenstuff now"), "{broken", post("c", "fine"),
		post("d", "forbiddenstuff"), post("e", "quiet"), post("f", "still fine"), "", post("g", "FORBIDDENSTUFF"),
	} {
		w.input.Append(0, []byte("u1"), []byte(v))
	}
	return w
}

// exactlyOneOutcome checks the end of a world: after dropping repeated ids every
// message that leaves a trace has one, of the right kind, in both sinks, and the
// coverage has no hole.
func exactlyOneOutcome(t *testing.T, w *world) {
	t.Helper()
	for _, s := range []*pipelinetest.Sink{w.evidence, w.topics} {
		outcomes := make(map[int64]map[pipeline.ID]pipeline.Outcome)
		for _, e := range s.Entries() {
			if outcomes[e.Offset] == nil {
				outcomes[e.Offset] = make(map[pipeline.ID]pipeline.Outcome)
			}
			outcomes[e.Offset][e.ID] = e.Outcome
		}
		for offset := range w.input.Len(0) {
			want := 0
			if matters(w.input.Record(0, offset)) {
				want = 1
			}
			if got := len(outcomes[offset]); got != want {
				t.Errorf("%s: offset %d has %d outcomes, want %d", s.Name, offset, got, want)
			}
		}
	}
	if got, want := coveredUpTo(w.evidence.Coverage()), w.input.Len(0); got != want {
		t.Errorf("coverage reaches %d, want %d", got, want)
	}
	for _, c := range w.evidence.Coverage() {
		if !c.Balanced() {
			t.Errorf("account does not balance: %+v", c)
		}
	}
}

// matters reports whether a message of newPostWorld leaves a trace.
func matters(r pipeline.Record) bool {
	s := strings.ToLower(string(r.Value))
	return !strings.HasPrefix(s, `{"id"`) || strings.Contains(s, "forbiddenstuff") || strings.Contains(s, `"class"`)
}

func ids(s *pipelinetest.Sink) map[pipeline.ID]bool {
	m := make(map[pipeline.ID]bool)
	for _, e := range s.Entries() {
		m[e.ID] = true
	}
	return m
}

func found(s *pipelinetest.Sink, offset int64) bool {
	return slices.ContainsFunc(s.Entries(), func(e pipelinetest.Entry) bool { return e.Offset == offset })
}

// coveredUpTo returns the first offset no account covers.
func coveredUpTo(list []pipeline.Coverage) int64 {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b pipeline.Coverage) int { return int(a.First - b.First) })
	at := int64(0)
	for _, c := range list {
		if c.First <= at && c.Next > at {
			at = c.Next
		}
	}
	return at
}
