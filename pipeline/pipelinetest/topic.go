// Package pipelinetest holds the contracts of package pipeline as test suites,
// and in-memory implementations that keep them.
//
// [TestSource], [TestHandler] and [TestSink] say in code what the comments on
// pipeline.Source, pipeline.Handler and pipeline.Sink say in words; every
// implementation, real or not, runs them. [Topic], [Source], [Sink] and
// [Handler] are the smallest things that pass, for tests that need a stage
// without a broker or a disk. What it is not: mocks; nothing here is told what
// to answer.
package pipelinetest

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
)

// Topic is a topic in memory, with the offsets one group has committed. It
// survives the sources that read it, as a broker survives its clients.
type Topic struct {
	Name string
	Kind event.Kind

	mu         sync.Mutex
	partitions [][]pipeline.Record
	committed  []int64
	grown      chan struct{} // closed and replaced when a record comes
}

// NewTopic returns an empty topic.
func NewTopic(name string, kind event.Kind, partitions int) *Topic {
	return &Topic{
		Name:       name,
		Kind:       kind,
		partitions: make([][]pipeline.Record, partitions),
		committed:  make([]int64, partitions),
		grown:      make(chan struct{}),
	}
}

// Append adds a message to a partition and returns its offset.
func (t *Topic) Append(partition int32, key, value []byte, headers ...event.Header) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	offset := int64(len(t.partitions[partition]))
	t.partitions[partition] = append(t.partitions[partition], pipeline.Record{
		Offset: offset, Time: time.Unix(1_700_000_000, offset*1e6), Key: key, Value: value, Headers: headers,
	})
	close(t.grown)
	t.grown = make(chan struct{})
	return offset
}

// Committed returns the committed offset of a partition: where a new source begins.
func (t *Topic) Committed(partition int32) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.committed[partition]
}

// Len returns the number of messages in a partition.
func (t *Topic) Len(partition int32) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int64(len(t.partitions[partition]))
}

// Record returns the message at an offset.
func (t *Topic) Record(partition int32, offset int64) pipeline.Record {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.partitions[partition][offset]
}

// Commit moves the committed offset of a partition forward.
func (t *Topic) Commit(r pipeline.Range) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.Next < t.committed[r.Partition] {
		return fmt.Errorf("commit goes back from %d to %d", t.committed[r.Partition], r.Next)
	}
	t.committed[r.Partition] = r.Next
	return nil
}

// read copies up to n messages from an offset on, as a fetch would: the bytes
// belong to the caller. The channel is closed when more may be there.
func (t *Topic) read(partition int32, offset int64, n int) ([]pipeline.Record, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.partitions[partition]
	part := all[min(offset, int64(len(all))):min(offset+int64(n), int64(len(all)))]
	out := make([]pipeline.Record, len(part))
	for i, r := range part {
		out[i] = r
		out[i].Key, out[i].Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
		out[i].Headers = slices.Clone(r.Headers)
	}
	return out, t.grown
}
