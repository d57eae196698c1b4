package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-moderation/weir/pipeline/deferral"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/pipeline/trace"
	"github.com/weir-moderation/weir/rules"
)

// Pipeline is the Handler of Weir: it judges batches and makes their effects durable.
type Pipeline struct {
	source string
	force  atomic.Pointer[Force]
	events event.Config
	store  *push.Store
	// fallback decides while Redis is away; nil: pushes wait for it.
	fallback *push.Fallback
	sinks    []NamedSink
	backoff  Backoff
	// maxForward is the largest push that can be forwarded, 0 for any.
	maxForward int
	ring       deferral.Ring
	now        func() time.Time
	log        *slog.Logger
	metrics    *metrics
	halting    *halting
	watch      *watch
	ledger     ledger
	waiting    waiting
	keying     *keying
	workers    sync.Pool // *worker
	spans      *trace.Spans
	lines      *lines
	trap       func(*event.Event)
}

// Force is what is in force: the rule set and, where pushes are judged, the
// policy. A batch takes both once and never mixes two.
type Force struct {
	Rules  *rules.Set
	Policy *push.Policy // nil where no pushes are judged
	// Breaker says when a rule loses its action; see [Breaker].
	Breaker rules.Breaker

	tally *tally         // made by Enforce
	hits  []ruleCounters // the same, by the number of the rule

	decisions policyCounters // the same, with a policy
}

// NamedSink is a sink with the word it has in metrics and logs.
type NamedSink struct {
	Name string
	Sink
}

// Options is what a Pipeline is made of.
type Options struct {
	// Source names this deployment; it is part of every id, so it must not
	// change while offsets are kept.
	Source string
	// Instance names this process in the halts it orders.
	Instance string
	Force    Force
	Events   event.Config
	// Store keeps send logs and consent; needed with a policy.
	Store *push.Store
	// Fallback decides pushes by the store and, while Redis is away, without it;
	// nil: they wait.
	Fallback *push.Fallback
	// Sinks are written in this order, each only after the one before it.
	Sinks   []NamedSink
	Backoff Backoff // zero: DefaultBackoff
	// MaxForward is the largest push, key, value and headers, that the outputs can
	// pass on; a larger one becomes a dead letter before it takes a slot. 0: any.
	MaxForward int
	// Ring says when a deferred push is released; zero: nobody releases it.
	Ring deferral.Ring
	Now  func() time.Time // nil: time.Now
	// Spans get one for each flagged message whose producer records a trace; nil: none.
	Spans *trace.Spans
	// Log says which verdicts have a line in the log; zero: DefaultLogConfig.
	Log        LogConfig
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: nowhere
}

// New returns a pipeline. It refuses what could not work: no source name, no
// rule set, a policy without a store.
func New(o Options) (*Pipeline, error) {
	switch {
	case o.Source == "":
		return nil, errors.New("pipeline: no source name")
	case o.Force.Rules == nil:
		return nil, errors.New("pipeline: no rule set")
	case o.Force.Policy != nil && o.Store == nil:
		return nil, errors.New("pipeline: a push policy without a store of send logs")
	case len(o.Sinks) == 0:
		return nil, errors.New("pipeline: no sinks")
	}
	if o.Backoff == (Backoff{}) {
		o.Backoff = DefaultBackoff()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Pipeline{
		source:     o.Source,
		events:     o.Events,
		store:      o.Store,
		fallback:   o.Fallback,
		sinks:      o.Sinks,
		backoff:    o.Backoff,
		maxForward: o.MaxForward,
		ring:       o.Ring,
		now:        o.Now,
		log:        o.Logger,
		spans:      o.Spans,
	}
	if o.Log == (LogConfig{}) {
		o.Log = DefaultLogConfig()
	}
	p.lines = newLines(o.Log, o.Logger, o.Now, o.Registerer)
	p.metrics = newMetrics(o.Registerer, o.Sinks, p.ledger.messages)
	p.halting, p.watch = newHalting(o.Registerer), newWatch(o.Source, o.Instance, o.Registerer)
	p.keying = newKeying(o.Registerer, p.log, p.now)
	p.workers.New = func() any { return &worker{judge: p.newJudge()} }
	p.Enforce(o.Force)
	return p, nil
}

// Enforce puts a rule set and a policy in force for every batch that begins
// from now on. Batches in hand keep what they began with.
func (p *Pipeline) Enforce(f Force) {
	f.hits = p.metrics.hitsOf(f.Rules)
	if f.Policy != nil {
		p.store.Enforce(f.Policy)
		f.decisions = p.metrics.decisions.follow(f.Policy)
	}
	f.tally = newTally(f.Rules, f.Breaker)
	p.watch.follow(f.Policy)
	p.force.Store(&f)
}

// InForce returns what is in force.
func (p *Pipeline) InForce() Force { return *p.force.Load() }

func (p *Pipeline) newJudge() *Judge {
	j := NewJudge(p.events)
	j.trap = p.trap
	return j
}

// worker is the working memory of one batch.
type worker struct {
	judge  *Judge
	events []*event.Event // slab; the first n are held by verdicts
	n      int
	pushes []int // verdicts that Redis is asked about, by index
	hit    []int // numbers of the rules that an event hit
	out    Output
	counts Counts
	alive  func() // of the batch; may be nil

	actions actionCounts
	steps   []trace.Step

	// For who asked: all verdicts, also those that leave nothing behind, and what
	// became a dead letter after it had one.
	judged []Verdict
	buried []DeadLetter
}

func (w *worker) next() *event.Event {
	if w.n == len(w.events) {
		w.events = append(w.events, new(event.Event))
	}
	return w.events[w.n]
}

func (w *worker) reset() {
	w.judge.Reset()
	w.n = 0
	w.pushes = w.pushes[:0]
	clear(w.out.Verdicts)
	clear(w.out.DeadLetters)
	clear(w.out.Consents)
	clear(w.out.Recalls)
	clear(w.out.Erasures)
	w.out = Output{Verdicts: w.out.Verdicts[:0], DeadLetters: w.out.DeadLetters[:0], Consents: w.out.Consents[:0], Recalls: w.out.Recalls[:0], Erasures: w.out.Erasures[:0]}
	w.counts, w.actions, w.steps = Counts{}, actionCounts{}, w.steps[:0]
	w.alive = nil
	clear(w.judged)
	clear(w.buried)
	w.judged, w.buried = w.judged[:0], w.buried[:0]
}

// Handle judges one batch under one rule set and one policy, writes what it
// leaves behind to every sink in order, and books its account.
//
// If the process dies anywhere in here, nothing of the batch is committed: it
// is judged again from the start, and what was already written is written again
// under the same ids.
func (p *Pipeline) Handle(ctx context.Context, b *Batch) error {
	p.metrics.inFlight.Add(float64(len(b.Records)))
	defer p.metrics.inFlight.Sub(float64(len(b.Records)))
	force := p.force.Load()
	w := p.workers.Get().(*worker)
	defer func() {
		w.reset()
		p.workers.Put(w)
	}()
	w.alive = b.Alive
	w.counts.Fetched = int64(len(b.Records)) + b.Skipped
	w.counts.add(Skipped, b.Skipped)

	began, input := p.now(), 0
	for i := range b.Records {
		input += len(b.Records[i].Value)
		p.take(w, force, b, &b.Records[i])
	}
	judged := p.now()
	p.metrics.judged(b, input, judged.Sub(began))
	w.steps = append(w.steps, trace.Step{Name: "judged", At: judged})

	var err error
	switch b.Kind {
	case event.Push:
		if b.Answer == nil {
			p.keying.see(b, w)
		}
		err = p.decide(ctx, w, force)
	case event.Consent, event.Outcome:
		err = p.apply(ctx, w, force)
	}
	if err != nil {
		return err
	}

	if b.Answer != nil {
		w.judged = append(w.judged, w.out.Verdicts...)
	}
	// What passed is counted where it was judged; what is flagged only here,
	// after decisions are in.
	kept := w.out.Verdicts[:0]
	for i := range w.out.Verdicts {
		v := &w.out.Verdicts[i]
		w.counts.add(v.Outcome(), 1)
		w.actions[v.Action]++
		p.metrics.hits(force.hits, v.Hits)
		if v.matters() {
			kept = append(kept, *v)
		}
	}
	w.out.Verdicts = kept
	if b.Kind == event.Push {
		w.steps = append(w.steps, trace.Step{Name: "decided", At: p.now()})
	}
	w.actions[rules.Pass] = w.counts.Passed + w.counts.Flagged - w.actions[rules.Review] - w.actions[rules.Reject]
	w.counts.add(DeadLettered, int64(len(w.out.DeadLetters)))

	accounted := false
	if b.Claim != nil {
		w.out.Progress = &Progress{Claim: *b.Claim, Topic: b.Topic, Partition: b.Partition, Next: b.Next,
			Account: func(ctx context.Context) error {
				// What is open of the partition is passed, too.
				before := p.ledger.due([]Range{{Topic: b.Topic, Partition: b.Partition, Next: b.First}}, p.now())
				err := p.write(ctx, nil, &Output{Coverage: append(before, p.coverage(w, force, b))})
				accounted = accounted || err == nil
				return err
			}}
	}
	if err := p.write(ctx, w, &w.out); err != nil {
		return err
	}
	p.account(w, b)
	p.metrics.handled(b.Kind, p.now().Sub(began))
	p.tell(w, b, began)
	force.tally.add(w, b.Kind)
	if b.Kind == event.Push {
		p.halting.stop(p.watch.add(w.out.Verdicts, p.Halts(), p.now()))
	}
	if !accounted {
		p.ledger.book(p.coverage(w, force, b))
	}
	if b.Answer != nil {
		w.answer(b)
	}
	return nil
}

// answer tells who asked.
//
// If the process dies before, nobody was told anything, and what was written is found
// under the same ids when the same is asked again.
func (w *worker) answer(b *Batch) {
	isBuried := func(r *Record) bool {
		return slices.ContainsFunc(w.buried, func(d DeadLetter) bool { return d.Record == r })
	}
	for i := range w.judged {
		if v := &w.judged[i]; !isBuried(v.Record) {
			b.Answer(v.Record, v, nil)
		}
	}
	for _, list := range [...][]DeadLetter{w.out.DeadLetters, w.buried} {
		for i := range list {
			b.Answer(list[i].Record, nil, &list[i])
		}
	}
}

// take judges one record and puts what comes of it into the worker.
func (p *Pipeline) take(w *worker, force *Force, b *Batch, r *Record) {
	origin := Origin{Source: p.source, Topic: b.Topic, Partition: b.Partition}
	if b.Answer != nil {
		origin.Partition, origin.Asked = 0, true // the same from wherever it is asked again
	}
	dead := func(stage Stage, reason Reason, detail string) {
		w.out.DeadLetters = append(w.out.DeadLetters, DeadLetter{
			ID:     deadLetterID(origin, r, reason, force.Rules.Digest()),
			Origin: origin, Record: r, Kind: b.Kind,
			Stage: stage, Reason: reason, Detail: detail, Rules: force.Rules.Digest(),
		})
		p.metrics.deadLetter(reason)
	}
	if r.Corrupt != "" {
		switch r.Corrupt {
		case ReasonHeaders:
			dead(StageFetch, r.Corrupt, fmt.Sprintf("more than %d headers", MaxHeaders))
		case ReasonOrigin:
			dead(StageDecode, r.Corrupt, "no header "+deferral.HeaderFirst+" names a topic of pushes that is read")
		default:
			dead(StageFetch, r.Corrupt, "the bytes are not a record the broker's format allows")
		}
		return
	}
	e := w.next()
	format := b.Format
	if r.Past != nil {
		format = r.Format
	}
	w.judge.Reads(format)
	var v Verdict
	var err error
	if b.Kind == event.Consent && r.Value == nil {
		v, err = w.judge.Forget(force.Rules, r, e)
	} else {
		v, err = w.judge.Judge(force.Rules, b.Kind, r.Headers, r.Value, e)
	}
	if _, ok := errors.AsType[*panicError](err); ok {
		p.panicked(err, b, r)
		// Once more with fresh working memory, in case an earlier message left
		// it in a state that breaks us. The old judge is kept alive by the
		// verdicts that borrow from it.
		w.judge = p.newJudge()
		w.judge.Reads(format)
		if v, err = w.judge.Judge(force.Rules, b.Kind, r.Headers, r.Value, e); err != nil {
			if _, ok := errors.AsType[*panicError](err); ok {
				p.panicked(err, b, r)
				dead(StageJudge, ReasonPanic, "judging it broke Weir twice")
				return
			}
		}
	}
	if err != nil {
		if e, ok := errors.AsType[*event.Error](err); ok {
			dead(StageDecode, Reason(e.Reason), e.Error())
			return
		}
		dead(StageJudge, ReasonPanic, "judging it failed in a way nobody thought of")
		return
	}
	p.metrics.undecided.Add(float64(len(v.Undecided)))
	if len(v.Diverged) > 0 {
		p.disagreed(&v, b, r)
	}
	if e.Kind == event.Push && !origin.Asked && p.maxForward > 0 && r.size() > p.maxForward {
		// Before Redis is asked: a push that no topic can carry must not take a slot.
		dead(StageOutput, ReasonOutputTooLarge, "the push is larger than the topic it would be forwarded to takes")
		return
	}
	waits := e.Kind != event.Post && p.store != nil
	if v.Action == rules.Pass && len(v.Hits) == 0 && !waits && !origin.Asked {
		w.counts.add(Passed, 1)
		return
	}
	v.ID = verdictID(p.source, b, r, e.Kind, v.Rules)
	v.Origin, v.Record = origin, r
	w.n++ // the event is held until the batch is done
	if waits {
		w.pushes = append(w.pushes, len(w.out.Verdicts))
	}
	w.out.Verdicts = append(w.out.Verdicts, v)
}

// verdictID returns the id of the verdict on a record. A push that was deferred is
// named by where it was read first and how often it was deferred, not by its
// place among the deferred ones: after a crash it may stand there twice, and then
// both come to the same id.
func verdictID(source string, b *Batch, r *Record, kind event.Kind, rules string) ID {
	if p := r.Past; p != nil {
		return NewID(source, p.Topic, p.Partition, p.Offset, kind.String(), p.Count, rules)
	}
	if b.Answer != nil {
		return NewID(source, b.Topic, 0, r.Offset, r.named(kind.String()), 0, rules)
	}
	return NewID(source, b.Topic, b.Partition, r.Offset, kind.String(), 0, rules)
}

// rename gives the verdict on a push that was asked about the id of its decision. Asked
// again after a night, the same push is decided otherwise: that is another effect,
// which no reader may drop for a repetition.
func (v *Verdict) rename() {
	if v.Origin.Asked {
		kind := v.Record.named("push " + string(v.Decision.Decision) + " " + string(v.Decision.Reason))
		v.ID = NewID(v.Origin.Source, v.Origin.Topic, 0, v.Record.Offset, kind, 0, v.Rules)
	}
}

// size is about how many bytes the record takes when it is passed on, but for the
// headers that Weir writes then.
func (r *Record) size() int {
	n := len(r.Key) + len(r.Value) + 32
	for i := range r.Headers {
		if h := &r.Headers[i]; !strings.HasPrefix(h.Key, OwnHeaders) {
			n += len(h.Key) + len(h.Value) + 10
		}
	}
	return n
}

// disagreed makes it known that the engines do not agree about a message. It is judged by what
// either found.
func (p *Pipeline) disagreed(v *Verdict, b *Batch, r *Record) {
	p.metrics.diverged.Add(float64(len(v.Diverged)))
	for _, rule := range v.Diverged {
		p.log.Error("the engines disagree about a message",
			"topic", b.Topic, "partition", b.Partition, "offset", r.Offset, "rule", rule.ID)
	}
}

func (p *Pipeline) panicked(err error, b *Batch, r *Record) {
	p.metrics.panics.Inc()
	pe, _ := errors.AsType[*panicError](err)
	p.log.Error("panic while judging a message",
		"topic", b.Topic, "partition", b.Partition, "offset", r.Offset, "err", err, "stack", string(pe.stack))
}

// decide asks the push policy about every push of the batch whose content
// stands: one read and one commit in Redis for all of them.
//
// If the process dies after the commit, the pushes allowed here are in their
// users' send logs and nothing else is; judged again, they are recognised by
// their ids and consume nothing.
func (p *Pipeline) decide(ctx context.Context, w *worker, force *Force) error {
	now := p.now()
	reqs := make([]push.Request, 0, len(w.pushes))
	asked := make([]int, 0, len(w.pushes))
	for _, i := range w.pushes {
		v := &w.out.Verdicts[i]
		v.Policy = force.Policy.Digest()
		r := push.NewRequest(v.Event)
		r.Categories = categoriesOf(v.Hits)
		if v.Action != rules.Pass {
			d := push.DenyContent(now, force.Policy, &r)
			v.Decision = &d
			v.rename()
			p.metrics.decisions.count(force.Policy, force.decisions, &r, &d)
			continue
		}
		reqs = append(reqs, r)
		asked = append(asked, i)
	}
	if len(reqs) == 0 {
		return nil
	}
	var decisions []push.Decision
	err := p.persist(ctx, w, "redis", func() (err error) {
		// Now, not when the batch came: after an hour without Redis a deadline may
		// have passed and a night begun. What is halted in the meantime is stopped, too.
		halts := p.Halts()
		for k := range reqs {
			reqs[k].Halt = halts.Find(&reqs[k])
		}
		decide := p.store.Decide
		if p.fallback != nil {
			decide = p.fallback.Decide
		}
		decisions, err = decide(ctx, force.Policy, p.now(), reqs)
		return err
	})
	if err != nil {
		return fmt.Errorf("decide pushes: %w", err)
	}
	for k, i := range asked {
		v := &w.out.Verdicts[i]
		v.Decision = &decisions[k]
		if !v.Origin.Asked { // else who asked comes again
			p.release(v.Decision, reqs[k].User)
		}
		v.rename()
		v.Reason = Reason(decisions[k].Reason)
		p.metrics.decisions.count(force.Policy, force.decisions, &reqs[k], v.Decision)
	}
	return nil
}

// categoriesOf returns the categories of the rules that were hit, each once.
func categoriesOf(hits []rules.Hit) []string {
	var list []string
	for i := range hits {
		if c := hits[i].Rule.Category; !slices.Contains(list, c) {
			list = append(list, c)
		}
	}
	return list
}

// release says when a deferred push is decided again. One that could only be
// released to expire is denied now, for the same reason: to defer it would promise
// what cannot be kept.
func (p *Pipeline) release(d *push.Decision, user []byte) {
	if d.Decision != push.Defer || p.ring.Turn == 0 {
		return
	}
	var ok bool
	if d.Release, ok = p.ring.Release(user, d.At, d.NotBefore, d.Deadline); !ok {
		d.Decision = push.Deny
	}
}

// apply makes consent changes and push outcomes effective in Redis. Both are
// idempotent: an older version of a user's state never replaces a newer one,
// and a push is refunded once.
//
// If the process dies after that, and before the recalls that follow from it are
// told, the same changes are applied again and find the same recalls.
//
// Clause: push-consent
// Each change of consent is on record in the evidence: version, what was given or taken back, when and how, the text the user was shown, and where it was read.
func (p *Pipeline) apply(ctx context.Context, w *worker, force *Force) error {
	if len(w.pushes) == 0 {
		return nil
	}
	messages := make([]push.Message, len(w.pushes))
	for k, i := range w.pushes {
		v := &w.out.Verdicts[i]
		messages[k] = push.Message{Event: v.Event, Place: push.Place{Topic: v.Origin.Topic, Partition: v.Origin.Partition, Offset: v.Record.Offset}}
	}
	var applied push.Applied
	err := p.persist(ctx, w, "redis", func() (err error) {
		if p.fallback != nil && messages[0].Event.Kind == event.Outcome {
			// What was allowed without Redis must be in the send logs before any of it
			// is taken back.
			if err := p.fallback.Settled(); err != nil {
				return err
			}
		}
		applied, err = p.store.ApplyMessages(ctx, force.Policy, p.now(), messages)
		return err
	})
	if err != nil {
		return fmt.Errorf("apply changes: %w", err)
	}
	id := func(v *Verdict, kind string, ordinal int, digest string) ID {
		return NewID(v.Origin.Source, v.Origin.Topic, v.Origin.Partition, v.Record.Offset, kind, ordinal, digest)
	}
	for _, i := range w.pushes {
		v := &w.out.Verdicts[i]
		if v.Event.Kind != event.Consent || v.Event.Consent.Forget {
			continue
		}
		change := ConsentChange{ID: id(v, "consent", 0, ""), Origin: v.Origin, Record: v.Record, Event: v.Event}
		change.Pseudonym, change.PseudonymKey = p.store.Pseudonym(v.Event.User.ID)
		w.out.Consents = append(w.out.Consents, change)
	}
	for _, r := range applied.Recalls {
		v := &w.out.Verdicts[w.pushes[r.Message]]
		w.out.Recalls = append(w.out.Recalls, Recall{
			ID:     id(v, "recall "+r.Mark, r.Ordinal(), force.Policy.Digest()),
			Origin: v.Origin, Record: v.Record, User: v.Event.User.ID, Recall: r, Policy: force.Policy.Digest(),
		})
	}
	for _, f := range applied.Forgotten {
		v := &w.out.Verdicts[w.pushes[f.Message]]
		w.out.Erasures = append(w.out.Erasures, Erasure{ID: id(v, "erase", 0, ""), Origin: v.Origin, Record: v.Record, Forgotten: f})
	}
	return nil
}

// write hands the output to every sink in order, each only when the one before
// has made it durable: evidence stands before any topic shows what was found.
//
// If the process dies between two sinks, the first has what the second lacks;
// the batch is judged again and both are written again under the same ids.
//
// Clause: cmp-stop
// The verdict that stops a message is on a topic within the batch that carried it, after its evidence is on disk.
func (p *Pipeline) write(ctx context.Context, w *worker, out *Output) error {
	return p.writeTo(ctx, p.sinks, w, out)
}

func (p *Pipeline) writeTo(ctx context.Context, sinks []NamedSink, w *worker, out *Output) error {
	if out.empty() {
		return nil
	}
	for i := 0; i < len(sinks); i++ {
		s := &sinks[i]
		err := p.persist(ctx, w, s.Name, func() error {
			began := p.now()
			defer func() { p.metrics.wrote(s.Name, p.now().Sub(began)) }()
			return s.Write(ctx, out)
		})
		refused, ok := refusedOf(err)
		if err != nil && !ok {
			return fmt.Errorf("write to %s: %w", s.Name, err)
		}
		if i == 0 {
			p.ledger.settle(out.Coverage)
		}
		if w != nil {
			w.steps = append(w.steps, trace.Step{Name: s.Name, At: p.now()})
		}
		if !ok {
			if len(out.Buried) > 0 {
				out = out.without(out.Buried)
			}
			continue
		}
		// The topic will never take these verdicts: they become dead letters, on
		// record in every sink from the first on, before the batch goes on. Where a
		// sink commits the progress with them, it and those after it have them with
		// the rest.
		dead := p.bury(w, out, refused)
		told := sinks
		if out.Progress != nil {
			told = sinks[:i+1]
		}
		if refused.Nothing {
			told = sinks[:i]
		}
		if err := p.writeTo(ctx, told, w, dead); err != nil {
			return err
		}
		switch {
		case refused.Nothing:
			again := *out
			again.Buried = slices.Concat(out.Buried, refused.Verdicts)
			again.DeadLetters = slices.Concat(out.DeadLetters, dead.DeadLetters)
			out = &again
			i--
		case out.Progress != nil:
			out = out.without(refused.Verdicts)
			out.DeadLetters = slices.Concat(out.DeadLetters, dead.DeadLetters)
		default:
			out = out.without(refused.Verdicts)
		}
	}
	return nil
}

// bury turns refused verdicts into dead letters.
func (p *Pipeline) bury(w *worker, out *Output, refused *Refused) *Output {
	dead := new(Output)
	defer func() { w.buried = append(w.buried, dead.DeadLetters...) }()
	for _, i := range refused.Verdicts {
		v := &out.Verdicts[i]
		w.counts.add(v.Outcome(), -1)
		w.counts.add(DeadLettered, 1)
		p.metrics.deadLetter(ReasonOutputTooLarge)
		dead.DeadLetters = append(dead.DeadLetters, DeadLetter{
			ID:     deadLetterID(v.Origin, v.Record, ReasonOutputTooLarge, v.Rules),
			Origin: v.Origin, Record: v.Record, Kind: v.Event.Kind,
			Stage: StageOutput, Reason: ReasonOutputTooLarge,
			Detail: "its verdict is larger than the output topic takes", Rules: v.Rules,
		})
	}
	return dead
}

// coverage is the account of a batch.
func (p *Pipeline) coverage(w *worker, force *Force, b *Batch) Coverage {
	c := Coverage{
		Range:  Range{Topic: b.Topic, Partition: b.Partition, First: b.First, Next: b.Next},
		Counts: w.counts,
		Rules:  force.Rules.Digest(),
		Time:   p.now(),
	}
	if b.Kind == event.Push && force.Policy != nil {
		c.Policy = force.Policy.Digest()
	}
	return c
}

// account counts the finished batch.
func (p *Pipeline) account(w *worker, b *Batch) {
	p.metrics.count(b.Kind, w.counts)
	p.metrics.actions(b.Kind, &w.actions)
	for i := range b.Records {
		// Some producers send no time, and what cannot be read has none.
		// A deferred push is as old as it was told to become.
		if t := b.Records[i].Time; !t.IsZero() && b.Records[i].Past == nil {
			p.metrics.age(b.Kind, p.now().Sub(t), b.Records[i].Headers)
			break
		}
	}
	if !w.counts.Balanced() {
		p.metrics.unbalanced.Inc()
		p.log.Error("the ledger does not balance: messages were lost or counted twice",
			"topic", b.Topic, "partition", b.Partition, "first", b.First, "next", b.Next,
			"fetched", w.counts.Fetched, "passed", w.counts.Passed, "flagged", w.counts.Flagged,
			"dead_lettered", w.counts.DeadLettered, "skipped", w.counts.Skipped)
	}
}

// Checkpoint writes the coverage of the finished ranges to the sinks. Only
// then may the source commit them.
//
// If the process dies after this and before the commit, the ranges are judged
// and covered once more; a verifier sees the same offsets twice under the same
// ids and counts them once.
func (p *Pipeline) Checkpoint(ctx context.Context, done []Range) error {
	return p.write(ctx, nil, &Output{Coverage: p.ledger.due(done, p.now())})
}

func refusedOf(err error) (*Refused, bool) {
	if err == nil {
		return nil, false
	}
	return errors.AsType[*Refused](err)
}
