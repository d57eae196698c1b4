package pipeline_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
)

// eye is a sink that shows what it is given.
type eye struct{ see func(out *pipeline.Output) }

func (e *eye) Write(_ context.Context, out *pipeline.Output) error {
	e.see(out)
	return nil
}

// A halt holds from the next batch on, also for what was allowed before and comes again; what goes on
// after it consumes as if nothing had been. A rule of the policy halts at once what is abnormal.
func TestHaltHoldsFromTheNextBatch(t *testing.T) {
	// Clause: push-monitor
	store, _ := newStore(t)
	policy, err := push.ParsePolicy("push.yaml", []byte(threeADay+"auto_halt: [{id: bad, scope: sender, when: content, window: 10m, min: 10, share: 5%}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	sink := new(eye)
	o := options(t, sink)
	o.Instance, o.Store, o.Force.Policy, o.Now = "7", store, policy, func() time.Time { return noon }
	p, err := pipeline.New(o)
	if err != nil {
		t.Fatal(err)
	}
	offset := int64(0)
	decide := func(pushes ...string) []*push.Decision {
		t.Helper()
		b := &pipeline.Batch{Kind: event.Push, Topic: "pushes", First: offset}
		for _, value := range pushes {
			b.Records = append(b.Records, pipeline.Record{Offset: offset, Time: noon, Value: []byte(value)})
			offset++
		}
		b.Next = offset
		var list []*push.Decision
		sink.see = func(out *pipeline.Output) {
			for i := range out.Verdicts {
				d := *out.Verdicts[i].Decision
				list = append(list, &d)
			}
		}
		if err := p.Handle(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		return list
	}
	pushed := func(id, campaign, sender, text string) string {
		return fmt.Sprintf(`{"id":%q,"time":"2026-03-02T04:00:00Z","user":{"id":"u1"},"class":"service","channel":"app","campaign":%q,"sender":%q,"fields":{"body":%q}}`, id, campaign, sender, text)
	}
	want := func(what string, d *push.Decision, reason push.Reason) {
		t.Helper()
		if d.Reason != reason {
			t.Errorf("%s: %s/%s, want %s", what, d.Decision, d.Reason, reason)
		}
	}
	want("before", decide(pushed("n1", "spring", "shop", "hello"))[0], push.ReasonNone)
	halt := push.Halt{Target: push.Target{Scope: push.ScopeCampaign, Value: "spring"}, Since: noon, Why: "complaints", By: "officer-7"}
	p.Ordered([]push.Halt{halt}, nil)
	got := decide(pushed("n1", "spring", "shop", "hello"), pushed("n2", "spring", "shop", "hello"), pushed("n3", "autumn", "shop", "hello"), pushed("n4", "spring", "shop", "forbiddenstuff"))
	want("delivered again", got[0], push.ReasonHalted)
	want("of the campaign", got[1], push.ReasonHalted)
	want("of another one", got[2], push.ReasonNone)
	want("with prohibited content, which is told first", got[3], push.ReasonContent)
	if h := got[1].Halt; h == nil || *h != halt {
		t.Errorf("the decision carries %+v, want %+v", h, halt)
	}
	p.Ordered(nil, nil)
	got = decide(pushed("n1", "spring", "shop", "hello"), pushed("n2", "spring", "shop", "hello"), pushed("n5", "spring", "shop", "hello"))
	want("resumed, known already", got[0], push.ReasonNone)
	want("resumed", got[1], push.ReasonNone)
	want("the fourth of the day", got[2], push.ReasonCap)
	if !got[0].Replay {
		t.Error("what was allowed before the halt consumed again")
	}

	var bad []string
	for i := range 15 {
		bad = append(bad, pushed(fmt.Sprint("b", i), "", "casino", "forbiddenstuff"))
	}
	decide(bad...)
	got = decide(pushed("n6", "", "casino", "hello"), pushed("n7", "", "shop", "hello"))
	want("of an abnormal sender", got[0], push.ReasonHalted)
	want("of another one", got[1], push.ReasonCap)
	if h := got[0].Halt; h == nil || h.By != "weir/7" || h.Scope != push.ScopeSender || len(p.Trips()) != 1 || p.Trips()[0].ID != h.ID {
		t.Errorf("halted by %+v", h)
	}
}
