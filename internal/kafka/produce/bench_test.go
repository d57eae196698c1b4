package produce

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// brokerProcess makes this test binary an embedded broker in a process of its
// own: its work is then not in our CPU time.
const brokerProcess = "WEIR_TEST_BROKER_PROCESS"

const (
	benchTopic = "bench"
	benchParts = 4
	benchValue = 300 // bytes
)

// serveBroker takes messages and forgets them until its input ends.
func serveBroker() {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(benchParts, benchTopic), kfake.BlackholeProduce())
	if err != nil {
		fmt.Println("error", err)
		return
	}
	defer c.Close()
	fmt.Println(c.ListenAddrs()[0])
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// blackhole starts such a process and returns how it is reached.
func blackhole(b *testing.B) *env {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), brokerProcess+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.HasPrefix(line, "error") {
		b.Fatal(line, err)
	}
	return join(b, nil, []string{strings.TrimSpace(line)})
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkProduce writes messages of 300 bytes to four partitions from four
// goroutines, each call as many as fill a batch of a size for each partition.
// The number to look at is the CPU time of this process per message, and the
// ratio of two of them in one run. With WEIR_TEST_KAFKA it writes to real brokers.
func BenchmarkProduce(b *testing.B) {
	const callers = 4
	var e *env
	topic := benchTopic
	if os.Getenv("WEIR_TEST_KAFKA") != "" {
		e = setup(b, 1)
		topic = e.topic(benchParts)
	} else {
		e = blackhole(b)
	}
	value := []byte(strings.Repeat("0123456789", benchValue/10))
	run := func(b *testing.B, call int, produce func(i int) error) {
		b.Helper()
		if err := produce(call); err != nil { // connected, and buffers made
			b.Fatal(err)
		}
		var n atomic.Int64
		b.ResetTimer()
		began := cpu()
		done := make(chan error, callers)
		for range callers {
			go func() {
				for n.Add(int64(call)) <= int64(b.N)+int64(call) {
					if err := produce(call); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range callers {
			if err := <-done; err != nil {
				b.Error(err)
			}
		}
		b.StopTimer()
		if sent := n.Load() - callers*int64(call); sent > 0 {
			b.ReportMetric(float64(cpu()-began)/float64(sent), "cpu-ns/msg")
		}
	}
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	for _, c := range []struct {
		compression string
		kib         int
	}{{"none", 16}, {"none", 64}, {"none", 512}, {"lz4", 16}, {"lz4", 64}, {"lz4", 512}, {"zstd", 64}} {
		name := fmt.Sprintf("compression=%s/batch=%dKiB/", c.compression, c.kib)
		call := c.kib << 10 / (benchValue + 20) * benchParts
		b.Run(name+"client=weir", func(b *testing.B) {
			p := e.producer(e.link(), Options{Topics: []string{topic}, Compression: c.compression, BatchBytes: c.kib << 10})
			run(b, call, func(k int) error {
				ms := make([]Message, k)
				for i := range ms {
					ms[i] = Message{Topic: topic, Key: value[:i%16+1], Value: value}
				}
				return p.Produce(context.Background(), ms)
			})
		})
		b.Run(name+"client=franz-go", func(b *testing.B) {
			cl, err := kgo.NewClient(kgo.SeedBrokers(e.addrs...), kgo.ProducerBatchCompression(codecs[c.compression]), kgo.ProducerBatchMaxBytes(int32(c.kib<<10)))
			if err != nil {
				b.Fatal(err)
			}
			defer cl.Close()
			run(b, call, func(k int) error {
				rs := make([]*kgo.Record, k)
				for i := range rs {
					rs[i] = &kgo.Record{Topic: topic, Key: value[:i%16+1], Value: value}
				}
				return cl.ProduceSync(context.Background(), rs...).FirstErr()
			})
		})
	}
}

// BenchmarkTransaction writes ten messages to two partitions and an offset in a
// transaction, one after another, pausing as a paced source does.
func BenchmarkTransaction(b *testing.B) {
	for _, pause := range []time.Duration{0, 50 * time.Millisecond} {
		b.Run(fmt.Sprintf("pause=%v", pause), func(b *testing.B) {
			e := setup(b, 1)
			in, topic := e.topic(1), e.topic(2)
			claim := e.claim(unique("g"), in)
			x := e.transactor(e.producer(e.link(), Options{Topics: []string{topic}}), unique("x"))
			var took []time.Duration
			for b.Loop() {
				time.Sleep(pause)
				began := time.Now()
				if err := x.Commit(context.Background(), Transaction{Messages: messages(topic, 10, "v"), Offsets: claim}); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
