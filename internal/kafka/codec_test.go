package kafka

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/internal/kafka/produce"
)

// compare checks that a member saw what franz-go reads, field for field.
func compare(t *testing.T, what string, got []seen, want []*kgo.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d records, franz-go reads %d", what, len(got), len(want))
		return
	}
	for i, w := range want {
		g := got[i]
		same := g.offset == w.Offset && g.key == string(w.Key) && g.value == string(w.Value) && g.corrupt == "" &&
			g.nilKey == (w.Key == nil) && g.nilVal == (w.Value == nil) && g.time == w.Timestamp.UnixMilli() && len(g.headers) == len(w.Headers)
		for j := 0; same && j < len(w.Headers); j++ {
			h := w.Headers[j]
			same = g.headers[j].Key == h.Key && bytes.Equal(g.headers[j].Value, h.Value) && (g.headers[j].Value == nil) == (h.Value == nil)
		}
		if !same {
			t.Errorf("%s: record %d (offset %d) differs from what franz-go reads (offset %d)", what, i, g.offset, w.Offset)
			return
		}
	}
}

// What kafka-go, franz-go and we ourselves write, with every codec, null, empty
// and large values, is read exactly as franz-go reads it, from the start and
// from within a batch.
func TestCodecs(t *testing.T) {
	e := setup(t, 1)
	random := rand.New(rand.NewPCG(1, 2))
	large := make([]byte, 5<<20)
	for i := range large[:2<<20] {
		large[i] = byte(random.Uint32())
	}
	for i, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		t.Run(codec, func(t *testing.T) {
			e := e.with(t)
			topic := e.topic(1, "max.message.bytes", "20000000")
			at := time.UnixMilli(1_700_000_000_000)
			value := func(i int) []byte { return bytes.Repeat(fmt.Append(nil, "abc", i), i) }

			w := &kafkago.Writer{
				Addr: kafkago.TCP(e.addrs...), Topic: topic, RequiredAcks: kafkago.RequireAll, Compression: kafkago.Compression(i),
				BatchTimeout: time.Millisecond, BatchBytes: 20 << 20, Transport: e.client.transport([]string{topic}),
			}
			var ms []kafkago.Message
			for i := range 200 {
				m := kafkago.Message{Key: fmt.Append(nil, "k", i), Value: value(i), Time: at.Add(time.Duration(i) * time.Second)}
				switch i % 5 {
				case 1:
					m.Key = nil
				case 2:
					m.Value = nil
				case 3:
					m.Key, m.Value = []byte{}, []byte{}
				case 4:
					m.Headers = []kafkago.Header{{Key: "h", Value: []byte("v")}, {Key: "null"}, {Key: "empty", Value: []byte{}}, {Key: "h", Value: []byte("again")}, {Key: "", Value: []byte("nameless")}}
				}
				ms = append(ms, m)
			}
			ms = append(ms, kafkago.Message{Value: large})
			if err := w.WriteMessages(e.context(), ms...); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}

			f := e.kgo(kgo.ProducerBatchCompression([]kgo.CompressionCodec{
				kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(),
			}[i]), kgo.ProducerBatchMaxBytes(20<<20))
			var rs []*kgo.Record
			for i := range 200 {
				r := &kgo.Record{Topic: topic, Key: fmt.Append(nil, "f", i), Value: value(i), Timestamp: at.Add(-time.Duration(i) * time.Hour)}
				if i%7 == 0 {
					r.Headers = []kgo.RecordHeader{{Key: "trace", Value: value(i)}}
				}
				rs = append(rs, r)
			}
			rs = append(rs, &kgo.Record{Topic: topic, Value: large})
			if err := f.ProduceSync(e.context(), rs...).FirstErr(); err != nil {
				t.Fatal(err)
			}

			n := int64(402)
			if codec != "gzip" && codec != "snappy" {
				p := e.client.NewProducer(produce.Options{Topics: []string{topic}, Compression: codec})
				var own []produce.Message
				for i := range 50 {
					own = append(own, produce.Message{Topic: topic, Key: fmt.Append(nil, "o", i), Value: value(i), Headers: []Header{{Key: "n"}}, Time: at})
				}
				own = append(own, produce.Message{Topic: topic, Value: large})
				if err := p.Produce(e.context(), own); err != nil {
					t.Fatal(err)
				}
				n += 51
			}

			want := e.readAll(topic, 0, n)
			m := e.start(e.client, quick(unique("g"), topic))
			m.reach(topic, 0, n)
			if err := m.stop(); err != nil {
				t.Fatal(err)
			}
			compare(t, codec, m.of(topic, 0), want)

			group := unique("g")
			e.commit(group, topic, 0, 137)
			m = e.start(e.client, quick(group, topic))
			m.reach(topic, 0, n)
			compare(t, codec+" from 137", m.of(topic, 0), want[137:])
			if m.batches[0].First != 137 {
				t.Errorf("the first batch begins at %d, want 137", m.batches[0].First)
			}
		})
	}
}

// Records of aborted transactions and the markers of all transactions are not
// seen, but counted; with ReadUncommitted only the markers are left out. The
// rest is what franz-go reads, also when transactions end in another order than
// they began.
func TestTransactions(t *testing.T) {
	e := setup(t, 1)
	topic := e.topic(1)
	transactional := func() *kgo.Client { return e.kgo(kgo.TransactionalID(unique("tx"))) }
	a, b := transactional(), transactional()
	begin := func(cl *kgo.Client) {
		t.Helper()
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
	}
	write := func(cl *kgo.Client, values ...string) {
		t.Helper()
		var rs []*kgo.Record
		for _, v := range values {
			rs = append(rs, &kgo.Record{Topic: topic, Value: []byte(v)})
		}
		if err := cl.ProduceSync(e.context(), rs...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	end := func(cl *kgo.Client, commit kgo.TransactionEndTry) {
		t.Helper()
		if err := cl.EndTransaction(e.context(), commit); err != nil {
			t.Fatal(err)
		}
	}
	begin(a)
	write(a, "abort-a1", "abort-a2")
	write(e.admin, "plain1")
	begin(b)
	write(b, "abort-b1")
	write(a, "abort-a3")
	end(b, kgo.TryAbort)
	begin(b)
	write(b, "b2")
	end(a, kgo.TryAbort)
	write(e.admin, "plain2")
	end(b, kgo.TryCommit)
	begin(a)
	write(a, "a4")
	end(a, kgo.TryCommit)
	write(e.admin, "plain3")

	values := func(rs []*kgo.Record) (out []string) {
		for _, r := range rs {
			out = append(out, string(r.Value))
		}
		return out
	}
	const end1 = 13 // 9 records, 4 markers
	want := e.readAll(topic, 0, end1, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if got := values(want); !slices.Equal(got, []string{"plain1", "b2", "plain2", "a4", "plain3"}) {
		t.Fatalf("franz-go reads %q", got)
	}
	m := e.start(e.client, quick(unique("g"), topic))
	m.reach(topic, 0, end1)
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	compare(t, "read_committed", m.of(topic, 0), want)
	if m.skipped != 8 {
		t.Errorf("%d records skipped, want 4 aborted and 4 markers", m.skipped)
	}

	want = e.readAll(topic, 0, end1, kgo.FetchIsolationLevel(kgo.ReadUncommitted()))
	o := quick(unique("g"), topic)
	o.ReadUncommitted = true
	m = e.start(e.client, o)
	m.reach(topic, 0, end1)
	compare(t, "read_uncommitted", m.of(topic, 0), want)
	if m.skipped != 4 {
		t.Errorf("%d records skipped, want 4 markers", m.skipped)
	}
}

// What an open transaction has written is not seen before it is committed, and
// a consumer that was told to begin at the latest message still sees it then.
func TestOpenTransaction(t *testing.T) {
	e := setup(t, 1)
	topic := e.topic(1)
	cl := e.kgo(kgo.TransactionalID(unique("tx")))
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(e.context(), &kgo.Record{Topic: topic, Value: []byte("in a transaction")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	e.produce(topic, 0, "plain")
	group := unique("g")
	o := quick(group, topic)
	o.Topics[0].Start = Latest
	m := e.start(e.client, o)
	e.eventually("the group to have begun", func() bool { return e.committed(group, topic, 0) >= 0 })
	if got := m.of(topic, 0); len(got) != 0 {
		t.Errorf("saw %v of an open transaction", got)
	}
	if err := cl.EndTransaction(e.context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	m.reach(topic, 0, 3)
	if got := m.values(topic, 0); !slices.Equal(got, []string{"in a transaction", "plain"}) {
		t.Errorf("saw %q", got)
	}
}
