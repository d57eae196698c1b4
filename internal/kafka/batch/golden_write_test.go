package batch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// goldenWriter has a client write to the only partition of a topic.
type goldenWriter struct {
	name  string
	write func(ctx context.Context, addr, topic string, codec Codec) error
}

// Makes the golden batches anew. It is no test: scripts/golden/write runs it and says
// in WEIR_WRITE_GOLDEN where Java finds its classes.
func TestWriteGolden(t *testing.T) {
	classes, addr := os.Getenv("WEIR_WRITE_GOLDEN"), os.Getenv("WEIR_TEST_KAFKA")
	if classes == "" || addr == "" {
		t.Skip("makes the golden batches anew where scripts/golden/write runs it")
	}
	java := func(what string) func(context.Context, string, string, Codec) error {
		return func(ctx context.Context, addr, topic string, codec Codec) error {
			return run(ctx, "", "java", "-cp", classes, "Writer", addr, topic, codec.String(), what)
		}
	}
	plain := []goldenWriter{{"java", java("plain")}, {"librdkafka", kcatWrites}, {"kafka-go", kafkaGoWrites}, {"franz-go", franzWrites}}
	for _, w := range plain {
		for _, codec := range []Codec{None, Gzip, Snappy, LZ4, Zstd} {
			makeGolden(t, addr, w, codec, "", nil)
		}
	}
	makeGolden(t, addr, goldenWriter{"java", java("transactions")}, LZ4, "-transactions", nil)
	makeGolden(t, addr, goldenWriter{"franz-go", franzTransactions}, None, "-transactions", nil)
	stamped := "LogAppendTime"
	for _, w := range plain {
		makeGolden(t, addr, w, Snappy, "-append-time", map[string]*string{"message.timestamp.type": &stamped})
	}
}

func makeGolden(t *testing.T, addr string, w goldenWriter, codec Codec, what string, settings map[string]*string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	name := w.name + "-" + codec.String() + what
	topic := fmt.Sprintf("golden-%s-%d", name, time.Now().UnixNano())
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)
	created, err := admin.CreateTopic(ctx, 1, 1, settings, topic)
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C { // a topic takes a moment to get its leader
		ends, err := admin.ListEndOffsets(ctx, topic)
		if err = errors.Join(err, ends.Error()); err == nil && len(ends) == 1 {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("%s: no leader: %v", name, err)
		}
	}
	if err := w.write(ctx, addr, topic, codec); err != nil {
		t.Fatalf("%s: write: %v", name, err)
	}
	g := golden{Writer: w.name, Broker: os.Getenv("KAFKA_VERSION")}
	g.data, g.End, g.Aborted, err = fetched(ctx, cl, created.ID)
	if err != nil {
		t.Fatalf("%s: fetch: %v", name, err)
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for last := int64(-1); last < g.End-1; {
		f := reader.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("%s: at offset %d of %d: %v", name, last, g.End, err)
		}
		f.EachRecord(func(r *kgo.Record) {
			last = r.Offset
			if !r.Attrs.IsControl() {
				g.Records = append(g.Records, franzPlainly(r))
			}
		})
	}
	about, err := json.MarshalIndent(g, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(goldenDir, 0o755); err != nil {
		t.Fatal(err)
	}
	for file, b := range map[string][]byte{name + ".batch": g.data, name + ".json": append(about, '\n')} {
		if err := os.WriteFile(filepath.Join(goldenDir, file), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s: %d bytes, %d records of %d offsets", name, len(g.data), len(g.Records), g.End)
}

// fetched returns the bytes of a topic as the broker sends them, in as many answers as
// it takes: one may end where a transaction ends.
func fetched(ctx context.Context, cl *kgo.Client, topic kadm.TopicID) (data []byte, end int64, aborted []Aborted, err error) {
	p := kmsg.NewFetchRequestTopicPartition()
	p.PartitionMaxBytes = 1 << 20
	for end = -1; p.FetchOffset != end; {
		rt := kmsg.NewFetchRequestTopic()
		rt.TopicID, rt.Partitions = topic, []kmsg.FetchRequestTopicPartition{p}
		req := kmsg.NewPtrFetchRequest()
		req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.IsolationLevel = 1000, 1, 1<<20, 1
		req.Topics = []kmsg.FetchRequestTopic{rt}
		got, err := cl.DiscoveredBrokers()[0].Request(ctx, req) // the only one
		if err != nil {
			return nil, 0, nil, err
		}
		resp := got.(*kmsg.FetchResponse)
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 || resp.Topics[0].Partitions[0].ErrorCode != 0 {
			return nil, 0, nil, fmt.Errorf("the broker answers the fetch with %+v", resp)
		}
		r := resp.Topics[0].Partitions[0]
		end, data = r.HighWatermark, append(data, r.RecordBatches...)
		for _, a := range r.AbortedTransactions {
			if x := (Aborted{Producer: a.ProducerID, First: a.FirstOffset}); !slices.Contains(aborted, x) {
				aborted = append(aborted, x)
			}
		}
		for rest := r.RecordBatches; len(rest) > 0; {
			whole, why := frame(rest)
			if why != "" {
				return nil, 0, nil, fmt.Errorf("a batch cannot be measured: %s", why)
			}
			p.FetchOffset = headOf(rest).last + 1
			rest = rest[whole:]
		}
	}
	return data, end, aborted, nil
}

// goldenRows are what clients write that let us say everything; Writer.java has the same.
func goldenRows() []plainRecord {
	s := func(s string) *string { return &s }
	const at = 1_700_000_000_000
	return []plainRecord{
		{Time: at, Key: s("key"), Value: s("value")},
		{Time: at + 500, Value: s(strings.Repeat("long ", 300))},
		{Time: at - 100_000_000, Key: s("key"), Headers: []plainHeader{{"h", s("v")}, {"null", nil}, {"empty", s("")}, {"h", s("again")}, {"", s("nameless")}}},
		{Time: at + 1, Key: s(""), Value: s("")},
		{Time: at + 2, Key: s("钥匙"), Value: s("一条消息")},
	}
}

func raw(s *string) []byte {
	if s == nil {
		return nil
	}
	return []byte(*s)
}

func kafkaGoWrites(ctx context.Context, addr, topic string, codec Codec) error {
	transport := &kafkago.Transport{} // its own, which has not heard yet that there is no such topic
	defer transport.CloseIdleConnections()
	w := &kafkago.Writer{
		Addr: kafkago.TCP(addr), Topic: topic, RequiredAcks: kafkago.RequireAll, Compression: kafkago.Compression(codec),
		BatchTimeout: 200 * time.Millisecond, Transport: transport,
	}
	var ms []kafkago.Message
	for _, r := range goldenRows() {
		m := kafkago.Message{Key: raw(r.Key), Value: raw(r.Value), Time: time.UnixMilli(r.Time)}
		for _, h := range r.Headers {
			m.Headers = append(m.Headers, kafkago.Header{Key: h.Key, Value: raw(h.Value)})
		}
		ms = append(ms, m)
	}
	if err := w.WriteMessages(ctx, ms...); err != nil {
		return err
	}
	return w.Close()
}

func franzRecords(topic string) (rs []*kgo.Record) {
	for _, r := range goldenRows() {
		x := &kgo.Record{Topic: topic, Key: raw(r.Key), Value: raw(r.Value), Timestamp: time.UnixMilli(r.Time)}
		for _, h := range r.Headers {
			x.Headers = append(x.Headers, kgo.RecordHeader{Key: h.Key, Value: raw(h.Value)})
		}
		rs = append(rs, x)
	}
	return rs
}

func franzWrites(ctx context.Context, addr, topic string, codec Codec) error {
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ProducerBatchCompression(codecs[codec]), kgo.ProducerLinger(200*time.Millisecond))
	if err != nil {
		return err
	}
	defer cl.Close()
	return cl.ProduceSync(ctx, franzRecords(topic)...).FirstErr()
}

// franzTransactions ends two transactions in another order than they began, one of
// them in vain.
func franzTransactions(ctx context.Context, addr, topic string, _ Codec) error {
	var clients []*kgo.Client
	for _, id := range []string{"-a", "-b"} {
		cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.TransactionalID(topic+id), kgo.ProducerBatchCompression(kgo.NoCompression()))
		if err != nil {
			return err
		}
		defer cl.Close()
		clients = append(clients, cl)
		if err := cl.BeginTransaction(); err != nil {
			return err
		}
		if err := cl.ProduceSync(ctx, franzRecords(topic)...).FirstErr(); err != nil {
			return err
		}
	}
	if err := clients[1].EndTransaction(ctx, kgo.TryAbort); err != nil {
		return err
	}
	return clients[0].EndTransaction(ctx, kgo.TryCommit)
}

// kcatWrites has librdkafka write, in three batches: kcat gives all messages of a run
// the same headers, and takes what is empty for null in all of them or in none.
func kcatWrites(ctx context.Context, addr, topic string, codec Codec) error {
	args := []string{"-P", "-b", addr, "-t", topic, "-p", "0", "-z", codec.String(), "-K", "|", "-X", "linger.ms=200"}
	long := strings.Repeat("long ", 300)
	for _, x := range []struct {
		more  []string
		lines string
	}{
		{nil, "key|value\nkey|" + long + "\n|\n钥匙|一条消息\n"},
		{[]string{"-Z"}, "key|\n|" + long + "\n|\n"},
		{[]string{"-H", "h=v", "-H", "null", "-H", "empty=", "-H", "h=again"}, "key|" + long + "\n"},
	} {
		if err := run(ctx, x.lines, "kcat", append(args[:len(args):len(args)], x.more...)...); err != nil {
			return err
		}
	}
	return nil
}

func run(ctx context.Context, stdin, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, &out)
	}
	return nil
}
