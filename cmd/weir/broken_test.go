package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/sinks"
	"github.com/weir-moderation/weir/sinks/evidence"
)

// Broken input of every kind, through a broker and the daemon: each becomes a
// dead letter with its reason, nothing is lost, and the partition goes on to the
// post behind it all.
func TestBrokenInputOfEveryKindThroughKafka(t *testing.T) {
	brokers, embedded := testBrokers(t, kfake.BrokerConfigs(map[string]string{"message.max.bytes": "209715200"}))
	k := newKillRun(t, brokers, sinks.AtLeastOnce)
	whole := `{"id":"e","time":"2026-03-01T12:00:00Z","user":{"id":"u1"},"fields":{"text":"x"}}`
	huge := strings.Replace(whole, `"x"`, `"`+strings.Repeat("x", 100<<20)+`"`, 1)
	values := []struct {
		reason string
		value  []byte
	}{
		{"truncated", []byte(whole[:40])},
		{"bad-number", []byte(strings.Replace(whole, `"e"`, `NaN`, 1))},
		{"lone-surrogate", []byte(strings.Replace(whole, `"x"`, `"\ud800"`, 1))},
		{"control-character", []byte(strings.Replace(whole, `"x"`, "\"\x00\"", 1))},
		{"too-deep", []byte(strings.Replace(whole, `"x"`, strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000), 1))},
		{"empty-value", []byte{}},
		{"null-value", nil},
		{"encoding", []byte(whole)},         // with headers that say it is something else
		{"too-many-headers", []byte(whole)}, // with a flood of them
		// A hundred megabytes that travel as half of one: the batch is refused
		// before it is unpacked.
		{"batch-too-large", []byte(huge)},
	}
	if embedded { // a broker takes no request above 100 MiB unless it is told to
		values = append(values, struct {
			reason string
			value  []byte
		}{"too-large", []byte(huge)})
	}
	var want []string
	for _, v := range values {
		codec := kgo.NoCompression()
		if v.reason == "batch-too-large" {
			codec = kgo.Lz4Compression()
		}
		r := &kgo.Record{Topic: k.in, Partition: 1, Value: v.value}
		if v.reason == "encoding" {
			r.Headers = []kgo.RecordHeader{{Key: "content-type", Value: []byte("avro/binary")}}
		}
		if v.reason == "too-many-headers" {
			r.Headers = make([]kgo.RecordHeader, 100_000)
		}
		k.send(t, codec, r)
		want = append(want, v.reason)
	}
	k.send(t, kgo.NoCompression(), &kgo.Record{Topic: k.in, Partition: 1, Value: []byte(strings.Replace(whole, `"x"`, `"新闻"`, 1))})

	p := k.start(t)
	p.waitFor(t, 2*time.Minute, int64(len(values)+1))
	p.terminate(t)

	var got []string
	for _, r := range once(k.read(t, k.dead)) {
		got = append(got, header(r, "weir-reason"))
		if omitted := header(r, "weir-value-omitted") != ""; omitted != (header(r, "weir-reason") == "too-large") {
			t.Errorf("%s: value omitted: %v", header(r, "weir-reason"), omitted)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reasons of the dead letters (-want +got):\n%s", diff)
	}
	if n := len(once(k.read(t, k.review))); n != 1 {
		t.Errorf("%d items for reviewers, want the one post behind the broken ones", n)
	}
	report, err := evidence.Verify(filepath.Join(k.dir, "evidence"), evidence.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if l := report.Ledger; !report.OK() || l.Fetched != int64(len(values)+1) || l.DeadLettered != int64(len(values)) || l.Flagged != 1 {
		t.Errorf("ledger %+v, findings %v", l, report.Findings)
	}
}

// once leaves out the repeats of a record: a batch that was taken away before it was booked, as
// happens where a machine is slow, comes again and is written under the same ids.
func once(records []*kgo.Record) []*kgo.Record {
	seen := make(map[string]bool)
	return slices.DeleteFunc(records, func(r *kgo.Record) bool {
		id := header(r, "ce_id") + header(r, "weir-id") // a dead letter has the latter
		known := seen[id]
		seen[id] = true
		return known
	})
}

// send produces one record as it is, however large.
func (k *killRun) send(t *testing.T, codec kgo.CompressionCodec, r *kgo.Record) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(k.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codec), kgo.ProducerBatchMaxBytes(180<<20), kgo.BrokerMaxWriteBytes(200<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.ProduceSync(t.Context(), r).FirstErr(); err != nil {
		t.Fatal(err)
	}
}
