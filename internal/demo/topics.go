package demo

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The topics of the city, under their default names.
const (
	topicPosts       = "weir.posts"
	topicPushes      = "weir.pushes"
	topicConsent     = "weir.consent"
	topicOutcomes    = "weir.outcomes"
	topicHalts       = "weir.halts"
	topicReview      = "weir.review"
	topicDecisions   = "weir.decisions"
	topicCleared     = "weir.cleared"
	topicDeferred    = "weir.deferred"
	topicDeadLetter  = "weir.deadletter"
	topicCheckpoints = "weir.checkpoints"
)

// partitions is how many partitions each topic of the city has: more than one,
// so that a visitor sees that order holds per user and not over all.
const partitions = 4

// turns is how many partitions the topic of deferred pushes has: with turns of five
// minutes, a round takes longer than anybody sleeps.
const turns = 144

// partitionsOf returns how many partitions a topic has.
func partitionsOf(topic string) int32 {
	if topic == topicDeferred {
		return turns
	}
	return partitions
}

// inputs are the topics the city writes and the daemon reads.
func inputs() []string {
	return []string{topicPosts, topicPushes, topicConsent, topicOutcomes}
}

// outputs are the topics the daemon writes and a visitor can look into.
func outputs() []string {
	return []string{topicReview, topicDecisions, topicCleared, topicDeferred, topicDeadLetter}
}

// retainBytes is how much of a partition the embedded broker keeps. It keeps
// everything in memory, so this is what bounds a demo that runs for days: eleven
// topics of four partitions of at most this many bytes and one segment more.
const (
	retainBytes  = "2097152"
	segmentBytes = "524288"
)

// createTopics makes all topics of the city.
func createTopics(ctx context.Context, cl *kgo.Client) error {
	req := kmsg.NewPtrCreateTopicsRequest()
	for _, name := range append(append(inputs(), outputs()...), topicHalts, topicCheckpoints) {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitionsOf(name), 1
		set := func(key, value string) {
			c := kmsg.NewCreateTopicsRequestTopicConfig()
			c.Name, c.Value = key, kmsg.StringPtr(value)
			t.Configs = append(t.Configs, c)
		}
		set("segment.bytes", segmentBytes)
		switch name {
		case topicConsent, topicHalts, topicCheckpoints:
			// What counts is the newest message of each key.
			set("cleanup.policy", "compact")
		default:
			set("retention.bytes", retainBytes)
		}
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	for i := range resp.Topics {
		if err := kerr.ErrorForCode(resp.Topics[i].ErrorCode); err != nil {
			return fmt.Errorf("create topic %s: %w", resp.Topics[i].Topic, err)
		}
	}
	return nil
}

// place is where a message lies in Kafka.
type place struct {
	topic     string
	partition int32
	offset    int64
}

// offsets are offsets by topic and partition.
type offsets map[string]map[int32]int64

// covers reports whether all of want is reached.
func (o offsets) covers(want offsets) bool {
	for topic, list := range want {
		for partition, end := range list {
			if o[topic][partition] < end {
				return false
			}
		}
	}
	return true
}

// progress returns up to which offset the daemon's group has committed each
// partition of the input topics. Everything before that offset has its outcome
// on disk and on the topics: that is what the daemon promises by a commit.
func progress(ctx context.Context, cl *kgo.Client, group string) (offsets, error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = group
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	for _, name := range inputs() {
		t := kmsg.NewOffsetFetchRequestTopic()
		gt := kmsg.NewOffsetFetchRequestGroupTopic()
		t.Topic, gt.Topic = name, name
		for p := range int32(partitions) {
			t.Partitions = append(t.Partitions, p)
			gt.Partitions = append(gt.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
		g.Topics = append(g.Topics, gt)
	}
	req.Groups = append(req.Groups, g)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, fmt.Errorf("ask for committed offsets: %w", err)
	}
	done := make(offsets)
	put := func(topic string, partition int32, offset int64) {
		if done[topic] == nil {
			done[topic] = make(map[int32]int64)
		}
		done[topic][partition] = max(offset, 0) // -1: nothing committed yet
	}
	for i := range resp.Groups {
		err := kerr.ErrorForCode(resp.Groups[i].ErrorCode)
		if errors.Is(err, kerr.GroupIDNotFound) {
			continue // no daemon has joined yet
		}
		if err != nil {
			return nil, fmt.Errorf("ask for committed offsets: %w", err)
		}
		for _, t := range resp.Groups[i].Topics {
			for _, p := range t.Partitions {
				put(t.Topic, p.Partition, p.Offset)
			}
		}
	}
	for _, t := range resp.Topics { // an answer in the older form
		for _, p := range t.Partitions {
			put(t.Topic, p.Partition, p.Offset)
		}
	}
	return done, nil
}

// ends returns the offset after the last message of each partition of the topics.
func ends(ctx context.Context, cl *kgo.Client, topics []string) (offsets, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	for _, name := range topics {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = name
		for p := range partitionsOf(name) {
			lp := kmsg.NewListOffsetsRequestTopicPartition()
			lp.Partition, lp.Timestamp = p, -1
			t.Partitions = append(t.Partitions, lp)
		}
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, fmt.Errorf("ask for the ends of topics: %w", err)
	}
	out := make(offsets)
	for _, t := range resp.Topics {
		out[t.Topic] = make(map[int32]int64)
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, fmt.Errorf("ask for the end of %s: %w", t.Topic, err)
			}
			out[t.Topic][p.Partition] = p.Offset
		}
	}
	return out, nil
}
