package kafka

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
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
	benchBatch = 50  // records, about 16 KiB
)

// serveBroker serves an endless topic until its input ends.
func serveBroker() {
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	opts := []kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(benchParts, benchTopic)}
	if codec, ok := codecs[os.Getenv(brokerProcess)]; ok {
		records := benchBatch
		if codec != kgo.NoCompression() {
			records = 4 * benchBatch
		}
		opts = append(opts, kfake.SyntheticFetch(kfake.SyntheticBatch{Records: records, RecordBytes: benchValue, RandomFrac: 0.5, Compression: codec}))
	} else {
		opts = append(opts, kfake.BlackholeProduce())
	}
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		fmt.Println("error", err)
		return
	}
	defer c.Close()
	fmt.Println(c.ListenAddrs()[0])
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// broker starts such a process and returns its address.
func broker(b *testing.B, what string) string {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), brokerProcess+"="+what)
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
	return strings.TrimSpace(line)
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkConsume reads messages of 300 bytes as a member of a group and drops
// them: what a client costs before anything is done. The number to look at is
// cpu-ns/msg, and the ratio of two of them in one run.
func BenchmarkConsume(b *testing.B) {
	for _, codec := range []string{"none", "lz4", "zstd"} {
		addr := broker(b, codec)
		b.Run("codec="+codec+"/client=weir", func(b *testing.B) {
			c, err := NewClient(Config{Brokers: []string{addr}, ClientID: "weir"}, Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			var n atomic.Int64
			begun, enough := make(chan struct{}), make(chan struct{})
			k, err := c.NewConsumer(ConsumerOptions{
				Group: unique("g"), Topics: []Subscription{{Topic: benchTopic}},
				Handle: func(_ context.Context, batch *Batch) error {
					before := n.Add(int64(len(batch.Records))) - int64(len(batch.Records))
					if before == 0 {
						close(begun)
					}
					if after := before + int64(len(batch.Records)); before < int64(b.N) && after >= int64(b.N) {
						close(enough)
					}
					return nil
				},
				Checkpoint: func(context.Context, []Range) error { return nil },
			})
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error, 1)
			go func() { done <- k.Run(ctx) }()
			<-begun
			measure(b, &n, func() { <-enough })
			cancel()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
		b.Run("codec="+codec+"/client=franz-go", func(b *testing.B) {
			cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumerGroup(unique("g")), kgo.ConsumeTopics(benchTopic),
				kgo.ConsumeResetOffset(kgo.NewOffset().At(0)))
			if err != nil {
				b.Fatal(err)
			}
			defer cl.Close()
			var n atomic.Int64
			n.Add(int64(cl.PollFetches(b.Context()).NumRecords()))
			measure(b, &n, func() {
				for n.Load() < int64(b.N) {
					fs := cl.PollFetches(b.Context())
					fs.EachRecord(func(*kgo.Record) { n.Add(1) })
				}
			})
		})
	}
}

// measure runs f and reports the CPU time of this process per message.
func measure(b *testing.B, n *atomic.Int64, f func()) {
	b.Helper()
	b.ResetTimer()
	c, from := cpu(), n.Load()
	f()
	b.StopTimer()
	if got := n.Load() - from; got > 0 {
		b.ReportMetric(float64(cpu()-c)/float64(got), "cpu-ns/msg")
	}
}
