package anchor

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/sinks/evidence"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of the tests.
const patience = 30 * time.Second

const topicName = "heads"

// env is a broker with a topic of heads.
type env struct {
	t      *testing.T
	fake   *kfake.Cluster
	client *kafka.Client
	admin  *kgo.Client
}

func newEnv(t *testing.T) *env {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topicName))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	e := &env{t: t, fake: c}
	cfg := kafka.DefaultConfig()
	cfg.Brokers = c.ListenAddrs()
	if e.client, err = kafka.NewClient(cfg, kafka.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.client.Close(); err != nil {
			t.Error(err)
		}
	})
	if e.admin, err = kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.admin.Close)
	return e
}

func origin(instance string) string { return "test/evidence/" + instance + "/1" }

// put writes anything to the topic.
func (e *env) put(key string, value []byte, vkey string) {
	e.t.Helper()
	r := &kgo.Record{Topic: topicName, Key: []byte(key), Value: value}
	if vkey != "" {
		r.Headers = []kgo.RecordHeader{{Key: keyHeader, Value: []byte(vkey)}}
	}
	if err := e.admin.ProduceSync(e.t.Context(), r).FirstErr(); err != nil {
		e.t.Fatal(err)
	}
}

// publish writes the head of a log as another instance would.
func (e *env) publish(l *evidence.Log) {
	e.t.Helper()
	e.put(l.Origin(), l.Checkpoint(), l.VerifierKey())
}

// eventually waits for something that has no channel to wait on.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain for %s", patience, what)
		}
	}
}

// signing runs a log that signs every few milliseconds.
type signing struct {
	*evidence.Log
	dir  string
	stop func()
	done chan error // of Run
}

// open opens a log and runs it.
func open(t *testing.T, o evidence.Options) *signing {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "evidence")
	}
	o.CheckpointEvery = 5 * time.Millisecond
	l, err := evidence.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &signing{Log: l, dir: o.Dir, done: make(chan error, 1)}
	go func() { s.done <- l.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-s.done; err != nil && !errors.Is(err, evidence.ErrBroken) {
			t.Error(err)
		}
		if err := l.Close(); err != nil && !errors.Is(err, evidence.ErrBroken) {
			t.Error(err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

var number byte

// grow appends n records and waits until they are signed.
func (s *signing) grow(t *testing.T, n int) {
	t.Helper()
	for range n {
		number++
		r := evidence.Record{Kind: evidence.KindGap, Class: evidence.ClassAudit, Body: []byte(`{"topic":"t","partition":0,"first":0,"next":0}`)}
		r.ID[0], r.ID[1] = number, byte(s.Size())
		if err := s.Append(t.Context(), []evidence.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	size := s.Size()
	eventually(t, "a signature", func() bool { return headOf(t, s.Checkpoint()).Size >= size })
}

func headOf(t *testing.T, msg []byte) evidence.Head {
	t.Helper()
	h, err := evidence.ParseCheckpoint(msg, "")
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// instance is a log that is published and watched.
type instance struct {
	*signing
	registry  *prometheus.Registry
	publisher *Publisher
	watcher   *Watcher
	ended     chan error // of the first of them that ends
	end       func()
}

// start starts the instance a as a daemon does.
func (e *env) start(change func(*evidence.Options, *PublisherOptions, *WatcherOptions)) *instance {
	e.t.Helper()
	topic, err := ReadTopic(e.t.Context(), e.client, topicName, origin("a"))
	if err != nil {
		e.t.Fatal(err)
	}
	i := &instance{registry: prometheus.NewRegistry(), ended: make(chan error, 2)}
	logger := slog.New(slog.DiscardHandler)
	eo := evidence.Options{Origin: origin("a"), Published: topic.Own()}
	po := PublisherOptions{Client: e.client, Topic: topicName, Logger: logger}
	wo := WatcherOptions{Topic: topic, Logger: logger, Poll: 5 * time.Millisecond}
	if change != nil {
		change(&eo, &po, &wo)
	}
	i.publisher = NewPublisher(po)
	i.publisher.timeout, i.publisher.patience = 500*time.Millisecond, 5*time.Millisecond
	eo.OnCheckpoint = i.publisher.Take
	i.signing = open(e.t, eo)
	m := NewMetrics(i.registry, i.publisher.Waiting)
	i.publisher.Attach(i.Log, m)
	wo.Log, wo.Publisher, wo.Metrics = i.Log, i.publisher, m
	i.watcher = NewWatcher(wo)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { i.ended <- i.publisher.Run(ctx) })
	running.Go(func() { i.ended <- i.watcher.Run(ctx) })
	i.end = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		i.stop()
		topic.Close()
	})
	e.t.Cleanup(i.end)
	return i
}

// metric returns the value of a metric, of all its labels together.
func (i *instance) metric(name string) float64 {
	families, err := i.registry.Gather()
	if err != nil {
		return -1
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// records returns the bodies of a kind of records.
func records(t *testing.T, dir string, kind evidence.Kind) []string {
	t.Helper()
	var list []string
	err := evidence.Walk(dir, nil, func(e evidence.Entry) error {
		if e.Kind == kind {
			list = append(list, string(e.Body))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// published returns the newest head under a key, and how many there are.
func (e *env) published(key string) (last []byte, n int) {
	e.t.Helper()
	topic, err := ReadTopic(e.t.Context(), e.client, topicName, key)
	if err != nil {
		e.t.Fatal(err)
	}
	defer topic.Close()
	own := topic.Own()
	if len(own) == 0 {
		return nil, 0
	}
	return own[len(own)-1], len(own)
}
