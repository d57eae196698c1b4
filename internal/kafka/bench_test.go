package kafka

import (
	"bufio"
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
func broker(b testing.TB, what string) string {
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
