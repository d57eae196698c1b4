// Package load sends posts and pushes to a daemon's topics, at a rate or as fast as
// brokers take them, and accounts for what comes out: how long it took, what is missing,
// what is there twice.
//
// What each message must come to is known before it is sent: it is judged here by the
// rules of the same configuration. What this package is not: a benchmark of anything but
// the whole way; nor does it start or stop the daemon.
//
// The one thing to know: the schedule does not wait. How long a message took is counted
// from when it was due, so that a stall counts for all messages it made wait, not only
// for the one that met it.
package load

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weir-moderation/weir/internal/admin"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/internal/kafka/retry"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/ingest"
	"github.com/weir-moderation/weir/rules"
)

// Options say what is sent, where, and what is well.
type Options struct {
	Config *config.Config // the daemon's own
	Rules  *rules.Set     // those in force
	Mix    Mix            // of what is made up
	File   io.Reader      // events, one a line, sent over and over instead; may be nil

	Rate     float64       // messages a second; 0: as fast as brokers take them
	Duration time.Duration // how long to send; 0: until Count
	Count    int64         // how many messages to send; 0: until Duration ends
	Wait     time.Duration // how long nothing may come before what is missing counts as lost

	MaxRepeats int64         // how many messages may come more than once
	MaxP99     time.Duration // 0: any
	Among      bool          // others may write to the input topics, too

	Admin     []*admin.Client // of instances whose CPU time and memory are asked for
	MaxGrowth *float64        // by how many bytes of memory they may grow for each message; nil: any
	// Progress is told how far it has come, ten times a second: Doing says what is done.
	// It may be nil.
	Progress func(doing string, sent int64, elapsed time.Duration)
}

// Validate says what cannot be asked for.
func (o *Options) Validate() error {
	var errs []error
	if o.Rate < 0 || o.Rate > maxRate {
		errs = append(errs, fmt.Errorf("rate: %g messages a second; give up to %d, or 0 for as fast as can be", o.Rate, maxRate))
	}
	if o.Duration < 0 || o.Count < 0 || o.Duration == 0 && o.Count == 0 {
		errs = append(errs, errors.New("duration, count: say for how long to send, or how many"))
	}
	if g := o.MaxGrowth; g != nil && (len(o.Admin) == 0 || !(*g >= 0)) {
		errs = append(errs, fmt.Errorf("max-growth: %g bytes a message; give 0 or more, and the admin listeners of the instances it is about", *g))
	}
	return errors.Join(append(errs, o.Mix.Validate())...)
}

const (
	maxRate = 10_000_000
	// How much is sent in one call to the producer, and how many calls wait for brokers
	// at most: beyond that the schedule slips, which is reported and counted.
	callMessages = 500
	maxCalls     = 4_096
	floodCalls   = 32
)

// TrafficError says that somebody else writes to a topic that was to be loaded.
type TrafficError struct {
	Topic    string
	Messages int64 // within a second
}

// Error names the topic.
func (e *TrafficError) Error() string {
	return fmt.Sprintf("the topic %s has grown by %d messages in a second: somebody else writes to it", e.Topic, e.Messages)
}

// run is one run.
type run struct {
	Options
	client   *kafka.Client
	producer *produce.Producer
	deck     *deck
	account  *account
	posts    string // topics; empty where nothing of the kind is sent
	pushes   string
	consent  string
	began    time.Time
	behind   time.Duration
	sent     int64
	follows  map[*output]*kafka.Follow
	samples  []series // of the instances
}

// Run sends, waits for what is to come out, and reports. An error means that it could
// not be found out how the daemon does; what is wrong with that is in the report. When
// ctx ends, it sends no more and reports on what was sent.
//
// If the process dies in here, what was sent is judged by the daemon like anything else.
func Run(ctx context.Context, o Options) (report *Report, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	r := &run{Options: o, follows: make(map[*output]*kafka.Follow), samples: make([]series, len(o.Admin))}
	if err := r.deal(); err != nil {
		return nil, err
	}
	var tag [4]byte
	if _, err := rand.Read(tag[:]); err != nil {
		return nil, err
	}
	r.account = newAccount(newName(hex.EncodeToString(tag[:])), &o.Config.Output)
	if r.client, err = kafka.NewClient(o.Config.Kafka, kafka.Options{}); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.client.Close()) }()
	r.producer = r.client.NewProducer(produce.Options{Topics: r.inputs()})
	if err := r.quiet(ctx); err != nil {
		return nil, err
	}
	for _, out := range r.account.outputs {
		f, err := r.client.OpenFollow(ctx, out.topic)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r.follows[out] = f
	}
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, watched := errgroup.WithContext(watching)
	for out, f := range r.follows {
		g.Go(func() error {
			return f.Run(watched, func(b *kafka.Batch) { r.account.take(out, b.Records) })
		})
	}
	g.Go(func() error {
		defer stop()
		var err error
		report, err = r.load(ctx, watched)
		return err
	})
	return report, g.Wait()
}

// deal makes or reads the messages, and finds the topics they go to.
func (r *run) deal() (err error) {
	c := r.Config
	posts, pushes := r.Mix.Posts, !r.Mix.Posts || r.Mix.Pushes > 0
	if r.File != nil {
		if r.deck, err = readDeck(r.File, r.Rules, c.Events); err != nil {
			return err
		}
		posts, pushes = r.deck.kinds()
	}
	if posts {
		if r.posts, err = plain("posts", c.Input.Posts); err != nil {
			return err
		}
	}
	if pushes {
		if r.pushes, err = plain("pushes", c.Input.Pushes); err != nil {
			return err
		}
		if c.Output.Decisions == "" {
			return errors.New("output.decisions: no topic; without one nobody can tell what became of a push")
		}
		if len(c.Input.Consent) > 0 && r.File == nil {
			if r.consent, err = plain("consent", c.Input.Consent); err != nil {
				return err
			}
		}
	}
	if r.File == nil {
		r.deck, err = makeDeck(r.Mix, r.Rules, c.Events)
	}
	return err
}

// plain returns the first topic of a list that is read as docs/schemas says.
func plain(field string, list ingest.Topics) (string, error) {
	for i := range list {
		if t := &list[i]; *t == (ingest.Topic{Topic: t.Topic}) {
			return t.Topic, nil
		}
	}
	if len(list) == 0 {
		return "", fmt.Errorf("input.%s: no topic, so there is nowhere to send any", field)
	}
	return "", fmt.Errorf("input.%s: no topic whose messages are written as docs/schemas says; those of another layout are not made here", field)
}

// inputs are the topics that are written to.
func (r *run) inputs() []string {
	var names []string
	for _, name := range []string{r.posts, r.pushes, r.consent} {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// quiet sees that the input topics are there and nobody else writes to them.
func (r *run) quiet(ctx context.Context) error {
	grown := make(map[string]int64)
	for turn, sign := range []int64{-1, 1} {
		if turn > 0 && !retry.Pause(ctx, time.Second) {
			return ctx.Err()
		}
		for _, topic := range r.inputs() {
			ends, err := r.client.Ends(ctx, topic)
			if err != nil {
				return err
			}
			for _, end := range ends {
				grown[topic] += sign * end.Next
			}
		}
		if r.Among {
			return nil
		}
	}
	for topic, n := range grown {
		if n > 0 {
			return &TrafficError{topic, n}
		}
	}
	return nil
}

// load sends everything, waits and reports. Sending ends with sending, everything with ctx.
func (r *run) load(sending, ctx context.Context) (*Report, error) {
	r.began = time.Now()
	r.account.begin(r.began)
	if r.consent != "" {
		if err := r.enrol(ctx); err != nil {
			return nil, err
		}
	}
	// One message goes first, so that connections are made.
	if err := r.produce(ctx, r.next(nil, 0)); err != nil {
		return nil, err
	}
	before, err := r.ask(ctx)
	if err != nil {
		return nil, err
	}
	r.began = time.Now()
	r.account.begin(r.began)
	if err := r.sendWatched(sending, ctx); err != nil {
		return nil, err
	}
	took := time.Since(r.began)
	unjudged, err := r.drain(ctx, r.inputs())
	if err != nil {
		return nil, err
	}
	drained := time.Since(r.began) - took
	if err := r.arrive(ctx); err != nil {
		return nil, err
	}
	if unjudged == 0 {
		r.await(ctx)
	}
	report := &Report{Run: r.account.name.run(), Seed: r.Mix.Seed, Seconds: took.Seconds(), Drained: drained.Seconds(), Behind: r.behind.Seconds() * 1000, Unjudged: unjudged, Problems: []string{}}
	if unjudged > 0 {
		report.Problems = append(report.Problems, fmt.Sprintf("the group %s has not committed the last %d messages of its topics, and for %v nothing more", r.Config.Input.Group, unjudged, r.Wait))
	}
	after, err := r.ask(ctx)
	report.CPU = spent(before, after)
	if err != nil && report.CPU == nil {
		report.Problems = append(report.Problems, err.Error())
	}
	var grown []string
	report.Memory, grown = r.held(r.MaxGrowth)
	report.Problems = append(report.Problems, grown...)
	r.account.settle(report, r.MaxRepeats)
	report.Rate = float64(report.Sent()) / took.Seconds()
	report.within(r.MaxP99)
	return report, nil
}

// sendWatched sends everything, and looks at the instances meanwhile.
func (r *run) sendWatched(sending, ctx context.Context) error {
	watching, stop := context.WithCancel(ctx)
	var watched sync.WaitGroup
	watched.Go(func() { r.watch(watching) })
	defer watched.Wait()
	defer stop()
	return r.send(sending, ctx)
}

// ask asks the instances for what they used. Those that do not answer are nil; that is an
// error at the first time only, since an instance may be killed meanwhile.
func (r *run) ask(ctx context.Context) ([]*usage, error) {
	list := make([]*usage, len(r.Admin))
	var errs []error
	for i, c := range r.Admin {
		u, err := ask(ctx, c)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		list[i] = &u
	}
	return list, errors.Join(errs...)
}

// parcel is what is sent in one call.
type parcel struct {
	messages []produce.Message
	dues     []time.Duration
}

// next adds a message that is due at a time to a parcel; nil is a new one.
func (r *run) next(p *parcel, due time.Duration) *parcel {
	if p == nil {
		p = new(parcel)
	}
	c, user := r.deck.draw()
	m := produce.Message{Topic: r.posts, Key: []byte(user)}
	if c.kind == event.Push {
		m.Topic = r.pushes
	}
	m.Value = c.message(r.account.name.id(r.account.add(c), due), r.began.Add(due), user)
	p.messages = append(p.messages, m)
	if due > 0 {
		p.dues = append(p.dues, due)
	}
	r.sent++
	return p
}

func (r *run) produce(ctx context.Context, p *parcel) error {
	if err := r.producer.Produce(ctx, p.messages); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	r.account.acknowledged(p.dues)
	return nil
}

// send sends until there is enough or sending ends, and returns when brokers have all of it.
func (r *run) send(sending, ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	calls := maxCalls
	if r.Rate == 0 {
		calls = floodCalls
	}
	g.SetLimit(calls)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := int64(0); sending.Err() == nil && ctx.Err() == nil && !r.account.full(); {
		now := time.Since(r.began)
		due := n + callMessages
		if r.Rate > 0 {
			due = int64(now.Seconds()*r.Rate) + 1
			if r.Duration > 0 {
				due = min(due, int64(r.Duration.Seconds()*r.Rate))
			}
		}
		if r.Count > 0 {
			due = min(due, r.Count-1) // one went first
		}
		var p *parcel
		for ; n < due && (p == nil || len(p.messages) < callMessages); n++ {
			at := max(now, 1)
			if r.Rate > 0 {
				at = max(time.Duration(float64(n)/r.Rate*1e9), 1)
			}
			p = r.next(p, at)
		}
		switch {
		case p != nil:
			r.behind = max(r.behind, now-p.dues[0])
			g.Go(func() error { return r.produce(ctx, p) })
		case r.Count > 0 && n >= r.Count-1, r.Duration > 0 && now >= r.Duration:
			return g.Wait()
		}
		if r.Rate == 0 && r.Duration > 0 && now >= r.Duration {
			break
		}
		r.told("sent")
		if r.Rate > 0 && n >= due {
			select {
			case <-tick.C:
			case <-ctx.Done():
			case <-sending.Done():
			}
		}
	}
	return g.Wait()
}

func (r *run) told(doing string) {
	if r.Progress != nil {
		r.Progress(doing, r.sent, time.Since(r.began))
	}
}

// pollEvery is how often it is looked how far the daemon has come.
const pollEvery = 100 * time.Millisecond

// ends asks where the partitions of a topic end. A broker that is away is waited for.
func (r *run) ends(ctx context.Context, topic string) ([]kafka.Range, error) {
	for since := time.Now(); ; {
		list, err := r.client.Ends(ctx, topic)
		if err == nil || time.Since(since) > r.Wait || !retry.Pause(ctx, pollEvery) {
			return list, err
		}
	}
}

// drain waits until the group has committed everything that is on topics now, and
// returns how much it has not when it stood still for too long.
func (r *run) drain(ctx context.Context, topics []string) (int64, error) {
	ends := make(map[kafka.Range]int64)
	for _, topic := range topics {
		list, err := r.ends(ctx, topic)
		if err != nil {
			return 0, err
		}
		for _, e := range list {
			if e.Next > e.First {
				ends[kafka.Range{Topic: e.Topic, Partition: e.Partition}] = e.Next
			}
		}
	}
	last, since := int64(-1), time.Now()
	for {
		committed, err := r.client.Committed(ctx, r.Config.Input.Group)
		if err != nil {
			if ctx.Err() != nil || time.Since(since) > r.Wait {
				return 0, err
			}
			retry.Pause(ctx, pollEvery) // a broker may be away
			continue
		}
		open := int64(0)
		for _, end := range ends {
			open += end
		}
		for _, c := range committed {
			open -= min(c.Offset, ends[kafka.Range{Topic: c.Topic, Partition: c.Partition}])
		}
		if open != last {
			last, since = open, time.Now()
		}
		if open == 0 || time.Since(since) > r.Wait {
			return open, nil
		}
		r.told("sent, waiting for the daemon")
		if !retry.Pause(ctx, pollEvery) {
			return open, ctx.Err()
		}
	}
}

// arrive waits until what is on the output topics now was looked at: what the group has
// committed has nothing to come any more.
func (r *run) arrive(ctx context.Context) error {
	for out, f := range r.follows {
		ends, err := r.ends(ctx, out.topic)
		if err != nil {
			return err
		}
		for since := time.Now(); !f.Reached(ends); {
			if time.Since(since) > r.Wait {
				return fmt.Errorf("read %s: its end did not come within %v", out.topic, r.Wait)
			}
			if !retry.Pause(ctx, pollEvery/10) {
				return ctx.Err()
			}
		}
	}
	return nil
}

// await waits for what is missing although the group has committed everything. A daemon
// writes before it commits, but the topics that are looked at may be copies of its own.
func (r *run) await(ctx context.Context) {
	last, since := int64(-1), time.Now()
	for {
		open := r.account.open()
		if open != last {
			last, since = open, time.Now()
		}
		if open == 0 || time.Since(since) > r.Wait || !retry.Pause(ctx, pollEvery) {
			return
		}
		r.told("sent, waiting for what is missing")
	}
}
