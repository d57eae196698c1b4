package sinks_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/pipelinetest"
	"github.com/weir-moderation/weir/sinks"
	"github.com/weir-moderation/weir/sinks/evidence"
)

// The evidence sink keeps the contract every sink keeps, on a real disk.
func TestEvidenceKeepsTheContract(t *testing.T) {
	pipelinetest.TestSink(t, func(t *testing.T) (pipeline.Sink, func() []string) {
		s, dir := newEvidence(t)
		return s, func() []string {
			var ids []string
			err := evidence.Walk(dir, nil, func(e evidence.Entry) error {
				if e.Kind != evidence.KindGenesis {
					ids = append(ids, e.ID.String())
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(ids)
			return slices.Compact(ids)
		}
	})
}

// The Kafka sink keeps the contract every sink keeps, on an embedded broker, or
// on the real one that WEIR_TEST_KAFKA names.
func TestKafkaKeepsTheContract(t *testing.T) {
	brokers := testBrokers(t)
	pipelinetest.TestSink(t, func(t *testing.T) (pipeline.Sink, func() []string) {
		s, read := newKafka(t, brokers)
		return s, func() []string {
			var ids []string
			for _, r := range read(s.Config.DeadLetter) {
				id, _, _ := strings.Cut(headers(r)["weir-id"], ":")
				ids = append(ids, id)
			}
			slices.Sort(ids)
			return slices.Compact(ids)
		}
	})
}

func newEvidence(t testing.TB) (*sinks.Evidence, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "evidence")
	log, err := evidence.Open(evidence.Options{Dir: dir, Origin: "test/evidence/0/1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return &sinks.Evidence{Log: log}, dir
}

func testBrokers(t *testing.T) []string {
	t.Helper()
	if b := os.Getenv("WEIR_TEST_KAFKA"); b != "" {
		return strings.Split(b, ",")
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()
}

// newKafka makes a sink with topics of its own, and a way to read them whole.
// Settings of the topics may be given, names and values in turn.
func newKafka(t *testing.T, brokers []string, settings ...string) (*sinks.Kafka, func(topic string) []*kgo.Record) {
	t.Helper()
	tag := fmt.Sprintf("sink-%x", rand.Int64())
	topicConfig := make(map[string]*string)
	for i := 0; i < len(settings); i += 2 {
		topicConfig[settings[i]] = &settings[i+1]
	}
	c := sinks.DefaultConfig()
	c.Review, c.Decisions, c.Cleared, c.Deferred, c.DeadLetter = tag+".review", tag+".decisions", tag+".cleared", tag+".deferred", tag+".dead"
	admin, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(admin.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	adm := kadm.NewClient(admin)
	if _, err := adm.CreateTopics(ctx, 2, -1, topicConfig, c.Topics()...); err != nil {
		t.Fatal(err)
	}
	awaitLeaders(ctx, t, adm, c.Topics())
	cfg := kafka.DefaultConfig()
	cfg.Brokers = brokers
	client, err := kafka.NewClient(cfg, kafka.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &sinks.Kafka{Config: c, Producer: client.NewProducer(produce.Options{Topics: c.Topics()}), Origin: "test/evidence/0/1"}
	return s, func(topic string) []*kgo.Record { return readAll(t, brokers, topic) }
}

// awaitLeaders waits until new topics can be written to: a real broker takes a moment.
func awaitLeaders(ctx context.Context, t *testing.T, adm *kadm.Client, topics []string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		ends, err := adm.ListEndOffsets(ctx, topics...)
		if err == nil && ends.Error() == nil && len(ends) == len(topics) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the topics have no leaders: %v, %v", err, ends.Error())
		}
	}
}

// readAll reads what a topic holds now, all of it.
func readAll(t *testing.T, brokers []string, topic string) []*kgo.Record {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ends, err := kadm.NewClient(c).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	var want int64
	ends.Each(func(o kadm.ListedOffset) { want += o.Offset })
	var list []*kgo.Record
	for int64(len(list)) < want {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		list = append(list, f.Records()...)
	}
	return list
}

// headers returns the headers of a message by name; of those that come twice
// the last.
func headers(r *kgo.Record) map[string]string {
	m := make(map[string]string)
	for _, h := range r.Headers {
		m[h.Key] = string(h.Value)
	}
	return m
}
