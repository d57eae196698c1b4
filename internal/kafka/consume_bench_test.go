package kafka

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/fetch"
)

// clientProcess makes this test binary a consumer in a process of its own, the
// one that it names: heaps of different clients do not mix, and CPU time is that
// of one of them.
const clientProcess = "WEIR_TEST_CLIENT_PROCESS"

// benchRecords is how many records a topic has for a consumer to read.
const benchRecords = 1_000_000

// BenchmarkConsume reads records of 300 bytes and drops them: what a client
// costs before anything is done. An iteration is a round, in which each client
// reads the topic once, in turn and in a process of its own; so -benchtime 5x is
// five rounds. The numbers to look at are the ratios, each of one round.
//
// With WEIR_TEST_KAFKA the topics are filled on that cluster, else the embedded
// broker makes them up.
func BenchmarkConsume(b *testing.B) {
	for _, c := range []struct {
		codec string
		bytes int32 // of a batch, before it is compressed
		gogc  string
	}{{"none", 16 << 10, "100"}, {"none", 16 << 10, "400"}, {"lz4", 64 << 10, "100"}, {"zstd", 64 << 10, "100"}} {
		b.Run("codec="+c.codec+"/gogc="+c.gogc, func(b *testing.B) {
			addrs, topic := os.Getenv("WEIR_TEST_KAFKA"), benchTopic
			if addrs == "" {
				addrs = broker(b, c.codec)
			} else {
				topic = fill(b, c.codec, c.bytes)
			}
			names := []string{"floor", "weir", "franz-go", "Reader"}
			seen := make(map[string][]usage)
			for turn := 0; b.Loop(); turn++ {
				for i := range names {
					name := names[(i+turn)%len(names)] // another comes first each time
					seen[name] = append(seen[name], consumeApart(b, name, addrs, topic, "GOGC="+c.gogc))
				}
			}
			b.ReportMetric(0, "ns/op")
			cpu := func(u usage) float64 { return u.per(float64(u.CPU)) }
			for _, name := range names {
				var system, objects []float64
				ratios := make([]float64, len(seen[name]))
				var per []float64
				for i, u := range seen[name] {
					per, system, objects = append(per, cpu(u)), append(system, u.per(float64(u.System))), append(objects, u.per(float64(u.Objects)))
					ratios[i] = cpu(seen["weir"][i]) / cpu(u)
				}
				middle, low, high := spread(per)
				sys, _, _ := spread(system)
				made, _, _ := spread(objects)
				b.ReportMetric(middle, name+"-cpu-ns/record")
				b.Logf("%-8s %4.0f ns/record (%.0f to %.0f), %.0f of them system, %.3f objects", name, middle, low, high, sys, made)
				if name != "weir" {
					middle, low, high := spread(ratios)
					b.ReportMetric(middle, "weir/"+name)
					b.Logf("weir / %s: %.2f (%.2f to %.2f)", name, middle, low, high)
				}
			}
		})
	}
}

// spread returns the median, the least and the greatest of some numbers.
func spread(list []float64) (middle, low, high float64) {
	s := slices.Sorted(slices.Values(list))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2, s[0], s[n-1]
}

// fill makes a topic of benchParts partitions and writes benchRecords records of
// made-up words to it.
func fill(b *testing.B, codec string, bytes int32) string {
	b.Helper()
	e := setup(b, 1)
	topic := e.topic(benchParts)
	cl, err := kgo.NewClient(kgo.SeedBrokers(e.addrs...), kgo.ProducerBatchMaxBytes(bytes), kgo.ProducerBatchCompression(codecs[codec]),
		kgo.ProducerLinger(20*time.Millisecond), kgo.MaxBufferedRecords(200_000), kgo.UnknownTopicRetries(-1))
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	values := words(2000, benchValue)
	var failed atomic.Pointer[error]
	for i := range benchRecords {
		r := &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "user-%07d", i*7919%1_000_000), Value: values[i%len(values)]}
		cl.Produce(b.Context(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	if err := cl.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := failed.Load(); err != nil {
		b.Fatal(*err)
	}
	return topic
}

// words returns n texts of some bytes, of words of a small made-up language: they
// compress about as texts do.
func words(n, bytes int) [][]byte {
	seed := uint32(1)
	next := func(n int) int {
		seed = seed*1664525 + 1013904223
		return int(seed>>8) % n
	}
	vocabulary := make([]string, 5000)
	for i := range vocabulary {
		w := make([]byte, 2+next(8))
		for j := range w {
			w[j] = byte('a' + next(26))
		}
		vocabulary[i] = string(w)
	}
	texts := make([][]byte, n)
	for i := range texts {
		for len(texts[i]) < bytes {
			texts[i] = append(append(texts[i], vocabulary[next(len(vocabulary))]...), ' ')
		}
		texts[i] = texts[i][:bytes]
	}
	return texts
}

// usage is what a process used for some records.
type usage struct {
	Records     int64
	CPU, System time.Duration
	Objects     uint64 // allocated
	Bytes       uint64 // of them
}

// per returns what one record takes of x.
func (u usage) per(x float64) float64 { return x / float64(u.Records) }

func used() usage {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return usage{}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	system := time.Duration(r.Stime.Nano())
	return usage{CPU: time.Duration(r.Utime.Nano()) + system, System: system, Objects: m.Mallocs, Bytes: m.TotalAlloc}
}

// meter measures from the first records that are counted, which are left out, to
// the one that makes enough.
type meter struct {
	enough int64
	n      atomic.Int64
	begin  sync.Once
	from   usage
	to     usage
	done   chan struct{} // closed when there is enough
}

func newMeter(enough int64) *meter { return &meter{enough: enough, done: make(chan struct{})} }

func (m *meter) count(k int) {
	m.begin.Do(func() {
		m.from = used()
		m.from.Records = int64(k)
	})
	if n := m.n.Add(int64(k)); n >= m.enough && n-int64(k) < m.enough {
		m.to = used()
		m.to.Records = n
		close(m.done)
	}
}

// used returns what was used; done is closed by then.
func (m *meter) used() usage {
	f, t := m.from, m.to
	return usage{t.Records - f.Records, t.CPU - f.CPU, t.System - f.System, t.Objects - f.Objects, t.Bytes - f.Bytes}
}

// consumeApart has a client read a topic in a process of its own.
func consumeApart(tb testing.TB, client, addrs, topic string, env ...string) usage {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], addrs, topic, strconv.Itoa(benchRecords))
	cmd.Env = append(append(os.Environ(), clientProcess+"="+client), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("%s: %v: %s", client, err, out)
	}
	var u usage
	if err := json.Unmarshal(out, &u); err != nil {
		tb.Fatalf("%s: %v: %s", client, err, out)
	}
	return u
}

// serveClient is what such a process does. With WEIR_TEST_PROFILE, a directory, it
// leaves a CPU profile there.
func serveClient() {
	addrs, topic := strings.Split(os.Args[1], ","), os.Args[2]
	enough, err := strconv.Atoi(os.Args[3])
	read := map[string]func(context.Context, []string, string, *meter) error{
		"floor": readFloor, "weir": readWeir, "franz-go": readFranz, "Reader": readReader,
	}[os.Getenv(clientProcess)]
	m := newMeter(int64(enough))
	if dir := os.Getenv("WEIR_TEST_PROFILE"); err == nil && dir != "" {
		var f *os.File
		if f, err = os.Create(filepath.Join(dir, os.Getenv(clientProcess)+".cpu")); err == nil {
			defer f.Close()
			err = pprof.StartCPUProfile(f)
			defer pprof.StopCPUProfile()
		}
	}
	if err == nil {
		err = read(context.Background(), addrs, topic, m)
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(m.used())
	}
	if err != nil {
		fmt.Println(err)
	}
}

// touch looks at a record as little as one can.
func touch(value []byte) int { return len(value) + int(value[0]) }

// readFloor fetches as the Consumer does and walks over the heads of batches. It
// is no member of a group, checks nothing and looks at no record: what nobody
// can save.
func readFloor(ctx context.Context, addrs []string, topic string, m *meter) error {
	cl, err := NewClient(Config{Brokers: addrs, ClientID: "weir"}, Options{})
	if err != nil {
		return err
	}
	defer cl.Close()
	t := cl.transport([]string{topic})
	buffers := new(fetch.Buffers)
	next := make([]int64, benchParts)
	var parts []fetch.PartAnswer
	for {
		q := &fetch.Request{Client: "weir", Wait: 250 * time.Millisecond, MinBytes: 1, MaxBytes: 8 << 20, Limit: 129 << 20, Committed: true, Buffers: buffers}
		for p := range next {
			q.Parts = append(q.Parts, fetch.Part{Topic: topic, Partition: int32(p), Offset: next[p], MaxBytes: 1 << 20})
		}
		a, err := q.Do(ctx, cl.over(t))
		if err != nil {
			return err
		}
		if parts, _, err = a.Parse(parts[:0]); err != nil {
			return err
		}
		for i := range parts {
			p := &parts[i]
			if p.Code != 0 {
				return p.Code
			}
			if len(p.Data) == 0 {
				continue
			}
			end, ok := batch.End(p.Data, next[p.Partition])
			if !ok {
				return fmt.Errorf("offset %d: not a batch", next[p.Partition])
			}
			m.count(int(end - next[p.Partition]))
			next[p.Partition] = end
		}
		a.Release()
		select {
		case <-m.done:
			return nil
		default:
		}
	}
}

// readWeir is the Consumer as it is.
func readWeir(ctx context.Context, addrs []string, topic string, m *meter) error {
	cl, err := NewClient(Config{Brokers: addrs, ClientID: "weir"}, Options{})
	if err != nil {
		return err
	}
	defer cl.Close()
	var sum atomic.Int64
	k, err := cl.NewConsumer(ConsumerOptions{
		Group: unique("g"), Topics: []Subscription{{Topic: topic}},
		Handle: func(_ context.Context, b *Batch) error {
			n := 0
			for i := range b.Records {
				n += touch(b.Records[i].Value)
			}
			sum.Add(int64(n))
			m.count(len(b.Records))
			return nil
		},
		Checkpoint: func(context.Context, []Range) error { return nil },
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	select {
	case <-m.done:
		cancel()
		return <-ended
	case err := <-ended:
		return cmp.Or(err, fmt.Errorf("the consumer ended"))
	}
}

// readFranz is franz-go's member of a group, which commits each second what it
// has polled.
func readFranz(ctx context.Context, addrs []string, topic string, m *meter) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.ConsumerGroup(unique("g")), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.AutoCommitInterval(time.Second))
	if err != nil {
		return err
	}
	defer cl.Close()
	sum := 0
	for {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			return err
		}
		fs.EachRecord(func(r *kgo.Record) { sum += touch(r.Value) })
		if n := fs.NumRecords(); n > 0 {
			m.count(n)
		}
		select {
		case <-m.done:
			return nil
		default:
		}
	}
}

// readReader is kafka-go's Reader as a member of a group, which commits each
// second.
func readReader(ctx context.Context, addrs []string, topic string, m *meter) error {
	r := kafkago.NewReader(kafkago.ReaderConfig{Brokers: addrs, Topic: topic, GroupID: unique("g"), StartOffset: kafkago.FirstOffset,
		MinBytes: 1, MaxBytes: 1 << 20, MaxWait: 250 * time.Millisecond, CommitInterval: time.Second})
	sum := 0
	for {
		x, err := r.FetchMessage(ctx)
		if err != nil {
			return err
		}
		sum += touch(x.Value)
		if err := r.CommitMessages(ctx, x); err != nil {
			return err
		}
		m.count(1)
		select {
		case <-m.done:
			return nil // Close would wait for its polls
		default:
		}
	}
}

// What passes costs no allocation: what is made is made for a poll or a batch,
// and buffers are used again.
func TestConsumingCostsNoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector empties pools at random")
	}
	for _, codec := range []string{"none", "lz4", "zstd"} {
		t.Run(codec, func(t *testing.T) {
			u := consumeApart(t, "weir", broker(t, codec), benchTopic)
			objects, bytes := u.per(float64(u.Objects)), u.per(float64(u.Bytes))
			t.Logf("%.4f objects, %.0f bytes allocated for each of %d records", objects, bytes, u.Records)
			if objects > 0.02 || bytes > benchValue/4 {
				t.Error("want almost none")
			}
		})
	}
}
