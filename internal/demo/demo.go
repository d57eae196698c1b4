// Package demo is a small world in one process, in which Weir can be seen at
// work with nothing installed: an embedded broker, an embedded Redis, and a
// city of a few hundred users who post, change their minds and are pushed to. A
// visitor can send something of their own and is told what became of it.
//
// What it is not: a load test, or a place to keep anything. Broker and Redis
// are made for tests, listen on the loopback address only, keep everything in
// memory and forget what is old.
//
// The one thing to know: the demo is the platform's side, not Weir's. It reads
// and writes topics with a client that shares no code with the daemon, as a
// stranger's platform would, and knows of the daemon only what it tells the
// world: its topics and its committed offsets.
package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// Options says what kind of world to start.
type Options struct {
	// Dir is the folder for the configuration and the evidence. It must be new
	// or hold no demo yet.
	Dir string
	// Seed makes the city tell the same story again.
	Seed int64
	// Rate is how many messages a second the city sends; 0 for DefaultRate. A
	// negative rate lets nobody speak but the visitor.
	Rate float64
	// HTTP is where a visitor reaches the world, "127.0.0.1:0" if empty. Only
	// loopback addresses are taken.
	HTTP string
	// Logger is told what goes wrong; nil for nobody.
	Logger *slog.Logger
}

// DefaultRate is how lively the city is when nobody says otherwise, in messages
// a second.
const DefaultRate = 100

// World is a running broker and Redis with the city that uses them.
type World struct {
	dir    string
	rate   float64
	log    *slog.Logger
	began  time.Time
	config []byte

	talking chan struct{}
	talk    func() // closes talking

	broker *kfake.Cluster
	redis  *miniredis.Miniredis
	client *kgo.Client
	http   net.Listener
	city   *city
	tail   *tail
	desk   *desk
}

// Start starts the broker and the Redis, makes the topics and writes the
// configuration into the folder. Nothing happens in the city before Run.
func Start(ctx context.Context, o Options) (*World, error) {
	if o.Dir == "" {
		return nil, errors.New("start the demo: no folder given")
	}
	if o.Rate == 0 {
		o.Rate = DefaultRate
	}
	if o.HTTP == "" {
		o.HTTP = "127.0.0.1:0"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("start the demo: %w", err)
	}
	w := &World{dir: dir, rate: o.Rate, log: o.Logger, began: time.Now(), tail: newTail(), talking: make(chan struct{})}
	w.talk = sync.OnceFunc(func() { close(w.talking) })
	if err := w.start(ctx, o); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *World) start(ctx context.Context, o Options) error {
	var err error
	if w.http, err = listen(o.HTTP); err != nil {
		return err
	}
	if w.redis, err = startRedis(); err != nil {
		return err
	}
	// One broker, on a free port of the loopback address: kfake knows no other.
	if w.broker, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.ClusterID("weir-demo")); err != nil {
		return fmt.Errorf("start the embedded broker: %w", err)
	}
	w.client, err = kgo.NewClient(
		kgo.SeedBrokers(w.Brokers()...),
		kgo.ClientID("city"),
		kgo.ConsumeTopics(outputs()...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(250*time.Millisecond),
		kgo.MetadataMinAge(100*time.Millisecond),
	)
	if err != nil {
		return fmt.Errorf("connect to the embedded broker: %w", err)
	}
	if err := createTopics(ctx, w.client); err != nil {
		return err
	}
	taboos, err := readTaboos()
	if err != nil {
		return err
	}
	w.city = newCity(o.Seed, w.began, taboos)
	w.desk = &desk{
		base: "http://" + w.http.Addr().String(), dir: w.dir, taboos: taboos,
		now: time.Now, patience: 3 * time.Second,
		tail: w.tail, send: w.send, committed: w.committed, written: w.written,
	}
	if w.config, err = w.renderConfig(); err != nil {
		return err
	}
	return w.furnish()
}

// Close stops the broker and the Redis and lets go of the ports. The folder stays.
func (w *World) Close() error {
	var err error
	if w.client != nil {
		w.client.Close()
	}
	if w.broker != nil {
		w.broker.Close()
	}
	if w.redis != nil {
		w.redis.Close()
	}
	if w.http != nil {
		if e := w.http.Close(); e != nil && !errors.Is(e, net.ErrClosed) {
			err = fmt.Errorf("close the demo's listener: %w", e)
		}
	}
	return err
}

// Brokers returns the addresses of the embedded broker.
func (w *World) Brokers() []string { return w.broker.ListenAddrs() }

// RedisAddr returns the address of the embedded Redis.
func (w *World) RedisAddr() string { return w.redis.Addr() }

// URL returns where a visitor reaches the world.
func (w *World) URL() string { return w.desk.base }

// Config returns the configuration of a daemon that lives in this world, as it
// was written to ConfigPath.
func (w *World) Config() []byte { return w.config }

// ConfigPath returns the file the configuration was written to. Relative paths
// in it are relative to its folder.
func (w *World) ConfigPath() string { return filepath.Join(w.dir, configFile) }

// EvidenceDir returns the folder the daemon's evidence log will be in.
func (w *World) EvidenceDir() string { return filepath.Join(w.dir, evidenceDir) }

// Topics returns the input and output topics of the city.
func (w *World) Topics() (in, out []string) { return inputs(), outputs() }

// Try returns what a visitor can try.
func (w *World) Try() []Trial { return w.desk.trials() }

// Counts returns what happened so far.
func (w *World) Counts() Counts { return w.tail.snapshot() }

// Began returns when the world was started.
func (w *World) Began() time.Time { return w.began }

// Talking is closed when people begin to talk, or would if they had anything to say: when
// everybody's consent is in effect.
func (w *World) Talking() <-chan struct{} { return w.talking }

// Run lets the city live until ctx ends, then returns nil. First of all every
// user's consent goes out; people begin to talk when it has arrived.
func (w *World) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.desk.serve(ctx, w.http) })
	g.Go(func() error { return w.follow(ctx) })
	g.Go(func() error { return w.keepTime(ctx) })
	g.Go(func() error { return w.live(ctx) })
	return g.Wait()
}

// Drain waits until the daemon is done with all that was sent, then reads what
// it wrote to the end, so that Counts adds up. Call it after Run has returned
// and before the daemon is stopped. It returns nil too when ctx ends first:
// Counts then says what is not judged yet.
func (w *World) Drain(ctx context.Context) error {
	want, err := ends(ctx, w.client, inputs())
	if err != nil {
		return quiet(ctx, err)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := w.committed(ctx)
		if err != nil {
			return quiet(ctx, err)
		}
		w.tail.judged(done[topicPosts])
		if done.covers(want) {
			break
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	written, err := w.written(ctx)
	if err != nil {
		return quiet(ctx, err)
	}
	for !w.tail.reached(written) && ctx.Err() == nil {
		w.tail.take(w.client.PollFetches(ctx).Records())
	}
	return nil
}

// quiet drops the error of a call that was cut short by the end of ctx.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// follow reads the output topics until ctx ends.
func (w *World) follow(ctx context.Context) error {
	for ctx.Err() == nil {
		f := w.client.PollFetches(ctx)
		f.EachError(func(topic string, partition int32, err error) {
			if ctx.Err() == nil {
				w.log.Warn("the demo cannot read an output topic", "topic", topic, "partition", partition, "err", err)
			}
		})
		w.tail.take(f.Records())
	}
	return nil
}

// live lets the city talk.
func (w *World) live(ctx context.Context) error {
	if _, err := w.send(ctx, w.city.consents(w.began)); err != nil {
		return quiet(ctx, err)
	}
	if w.rate < 0 {
		w.talk()
		return nil
	}
	w.settle(ctx)
	w.talk()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	last, looked := time.Now(), time.Now()
	var due float64
	for {
		var now time.Time
		select {
		case <-ctx.Done():
			return nil
		case now = <-tick.C:
		}
		// A machine that slept does not catch up on what was not said.
		due = min(due+w.rate*now.Sub(last).Seconds(), max(1, w.rate))
		last = now
		var batch []message
		for ; due >= 1; due-- {
			batch = append(batch, w.city.next(now))
			// Now and then the platform takes back what it was allowed to send.
			if w.city.rand.IntN(400) == 0 {
				if p, ok := w.tail.regretted(); ok {
					batch = append(batch, w.city.cancelled(p.user, p.push, now))
				}
			}
		}
		if now.Sub(looked) > time.Minute {
			batch = append(batch, w.city.move(now)...)
			looked = now
		}
		if _, err := w.send(ctx, batch); err != nil {
			return quiet(ctx, err)
		}
	}
}

// settle waits until the daemon has made everybody's consent effective, but not
// for ever: who runs the city without a daemon sees it talk all the same.
func (w *World) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	want, err := ends(ctx, w.client, []string{topicConsent})
	if err != nil {
		return
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if done, err := w.committed(ctx); err == nil && done.covers(want) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// send writes messages and returns where each of them lies.
func (w *World) send(ctx context.Context, list []message) ([]place, error) {
	if len(list) == 0 {
		return nil, nil
	}
	places := make([]place, len(list))
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i := range list {
		m := &list[i]
		r := &kgo.Record{Topic: m.topic, Key: []byte(m.key), Value: m.value}
		for _, h := range m.headers {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		wg.Add(1)
		w.client.Produce(ctx, r, func(r *kgo.Record, err error) {
			defer wg.Done()
			places[i], errs[i] = place{r.Topic, r.Partition, r.Offset}, err
			if err == nil {
				w.tail.sent(m.kind)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return places, fmt.Errorf("write to the embedded broker: %w", err)
		}
	}
	return places, nil
}

// committed says how far the daemon is done.
func (w *World) committed(ctx context.Context) (offsets, error) {
	return progress(ctx, w.client, group)
}

// written says how much the daemon has written.
func (w *World) written(ctx context.Context) (offsets, error) {
	return ends(ctx, w.client, outputs())
}

// lookAtProgress brings the number of judged posts up to date.
func (w *World) lookAtProgress(ctx context.Context) {
	done, err := w.committed(ctx)
	if err != nil {
		if ctx.Err() == nil {
			w.log.Debug("the demo cannot see how far the daemon is", "err", err)
		}
		return
	}
	w.tail.judged(done[topicPosts])
}
