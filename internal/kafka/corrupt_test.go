package kafka

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/produce"
)

// crafted makes a batch of values at an offset.
func crafted(base int64, values ...string) []byte {
	var w batch.Writer
	w.Reset()
	for i, v := range values {
		w.Add([]byte("k"), []byte(v), nil, int64(i))
	}
	b, err := w.Bytes()
	if err != nil {
		panic(err)
	}
	b = bytes.Clone(b)
	binary.BigEndian.PutUint64(b, uint64(base))
	return b
}

// sealed makes a batch's length and checksum right again.
func sealed(b []byte) []byte {
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// serveLog makes an embedded cluster answer fetches of partition 0 from a log
// of ours, as a broker would: from the batch that has the offset on, cut off at
// the limit, but never before the first batch is whole.
func serveLog(c *kfake.Cluster, log [][]byte, starts []int64, end int64) {
	c.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := r.(*kmsg.FetchRequest)
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		resp.Version = req.Version
		for _, rt := range req.Topics {
			t := kmsg.NewFetchResponseTopic()
			t.Topic, t.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				p := kmsg.NewFetchResponseTopicPartition()
				p.Partition, p.HighWatermark, p.LastStableOffset = rp.Partition, end, end
				if i := slices.IndexFunc(starts, func(s int64) bool { return s > rp.FetchOffset }); rp.FetchOffset < end {
					if i < 0 {
						i = len(starts)
					}
					data := bytes.Join(log[i-1:], nil)
					p.RecordBatches = data[:min(len(data), max(int(rp.PartitionMaxBytes), len(log[i-1])))]
				}
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
		return resp, nil, true
	})
}

// A record batch that cannot be read is handed on as one corrupt record with its
// raw bytes. Nothing before or after it is lost, whatever part of the log fits
// into one poll, and the partition goes on and commits.
func TestCorruptBatchGoesOn(t *testing.T) {
	change := func(b []byte, f func([]byte)) []byte { f(b); return b }
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	bomb := append(crafted(0, "x")[:61:61], enc.EncodeAll(make([]byte, 3<<20), nil)...)
	bomb[22] = 4
	for _, test := range []struct {
		name   string
		bad    []byte // one or more offsets from 2 on
		reason batch.Reason
	}{
		{"flipped bit", change(crafted(2, "c", "d"), func(b []byte) { b[len(b)-3] ^= 0x10 }), batch.ReasonCRC},
		{"flipped bit in the head", change(crafted(2, "c", "d"), func(b []byte) { b[25] ^= 0x10 }), batch.ReasonCRC},
		{"unknown codec", sealed(change(crafted(2, "c", "d"), func(b []byte) { b[22] = 6 })), batch.ReasonCodec},
		{"wrong codec", sealed(change(crafted(2, "c", "d"), func(b []byte) { b[22] = 2 })), batch.ReasonInflate},
		{"wrong count", sealed(change(crafted(2, "c", "d"), func(b []byte) { b[60] = 9 })), batch.ReasonRecords},
		{"cut off inside", change(crafted(2, "c", "d"), func(b []byte) { binary.BigEndian.PutUint32(b[8:], 30) }), batch.ReasonLength},
		{"decompression bomb", sealed(change(bomb, func(b []byte) { binary.BigEndian.PutUint64(b, 2); b[26] = 1 })), batch.ReasonSize},
	} {
		for _, limit := range []int{1 << 20, 1} { // all in one poll, or batch by batch
			t.Run(test.name, func(t *testing.T) {
				e := setupFake(t, 1)
				topic := e.topic(1)
				log := [][]byte{crafted(0, "a", "b"), test.bad, crafted(4, "e"), crafted(5, "f", "g")}
				serveLog(e.fake, log, []int64{0, 2, 4, 5}, 7)
				group := unique("g")
				o := quick(group, topic)
				o.PartitionBytes, o.InflatedBytes = limit, 1<<20
				m := e.start(e.client, o)
				m.reach(topic, 0, 7)
				if err := m.stop(); err != nil {
					t.Fatal(err)
				}
				var bad []seen
				var values []string
				for _, s := range m.of(topic, 0) {
					if s.corrupt != "" {
						bad = append(bad, s)
					} else {
						values = append(values, s.value)
					}
				}
				if len(bad) == 0 || bad[0].corrupt != string(test.reason) || bad[0].offset != 2 || !strings.HasPrefix(bad[0].value, string(test.bad)) {
					t.Errorf("corrupt records: %d, the first %q at %d", len(bad), bad[0].corrupt, bad[0].offset)
				}
				if test.reason != batch.ReasonLength { // there the end of the batch cannot be known, and what follows comes again
					if len(bad) != 1 {
						t.Errorf("%d corrupt records for one batch", len(bad))
					}
					if want := []string{"a", "b", "e", "f", "g"}; !slices.Equal(values, want) {
						t.Errorf("saw %q, want %q", values, want)
					}
				}
				for _, v := range []string{"a", "b", "e", "f", "g"} {
					if !slices.Contains(values, v) {
						t.Errorf("%q is lost", v)
					}
				}
				if got := e.committed(group, topic, 0); got != 7 {
					t.Errorf("committed %d, want 7", got)
				}
			})
		}
	}
}

// A response that holds only emptied batches, as compaction leaves them, moves
// the partition on.
func TestEmptiedBatchesAdvance(t *testing.T) {
	e := setupFake(t, 1)
	topic := e.topic(1)
	emptied := func(base int64, n byte) []byte {
		b := crafted(base, "gone")[:61]
		b[26], b[60] = n-1, 0
		return sealed(b)
	}
	serveLog(e.fake, [][]byte{emptied(0, 5), emptied(5, 3), crafted(8, "i")}, []int64{0, 5, 8}, 9)
	group := unique("g")
	o := quick(group, topic)
	o.PartitionBytes = 1
	m := e.start(e.client, o)
	m.reach(topic, 0, 9)
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	if got := m.values(topic, 0); !slices.Equal(got, []string{"i"}) {
		t.Errorf("saw %q", got)
	}
	if got := e.committed(group, topic, 0); got != 9 {
		t.Errorf("committed %d, want 9", got)
	}
}

// An answer larger than any batch may be stops its partition, in clear words,
// and does not take the memory; the other partition goes on.
func TestAnswerTooLarge(t *testing.T) {
	e := setup(t, 1)
	topic := e.topic(2, "max.message.bytes", "20000000")
	p := e.client.NewProducer(produce.Options{Topics: []string{topic}, Compression: "none"})
	for _, key := range []string{"a", "b", "c", "d"} {
		if err := p.Produce(e.context(), []produce.Message{{Topic: topic, Key: []byte(key), Value: make([]byte, 10)}}); err != nil {
			t.Fatal(err)
		}
	}
	big := int32(0)
	if err := p.Produce(e.context(), []produce.Message{{Topic: topic, Key: keyFor(big, 2), Value: make([]byte, 4<<20)}}); err != nil {
		t.Fatal(err)
	}
	o := quick(unique("g"), topic)
	o.MaxBatchBytes = 2 << 20
	m := e.start(e.client, o)
	e.eventually("the partition to stop", func() bool {
		err := m.Ready()
		return err != nil && strings.Contains(err.Error(), topic+"/0: at offset") && strings.Contains(err.Error(), "larger than the limit")
	})
	e.produce(topic, 1, "still read")
	e.eventually("the other partition to go on", func() bool { return slices.Contains(m.values(topic, 1), "still read") })
	stopped := 0
	for _, s := range m.Partitions() {
		if s.Stopped {
			stopped++
		}
	}
	if stopped != 1 {
		t.Errorf("%d partitions are stopped, want 1", stopped)
	}
	if err := m.stop(); err != nil {
		t.Error(err)
	}
}

// keyFor returns a key that belongs to a partition.
func keyFor(partition int32, n int) []byte {
	for i := byte(0); ; i++ {
		if k := []byte{'k', i}; produce.PartitionOf(k, n) == partition {
			return k
		}
	}
}
