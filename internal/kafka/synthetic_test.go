package kafka

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

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

// codecs are how the batches of the benchmark are compressed.
var codecs = map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}

// serveBroker serves an endless topic, compressed in some way, until its input ends.
func serveBroker() {
	codec, ok := codecs[os.Getenv(brokerProcess)]
	if !ok {
		fmt.Println("error no such codec")
		return
	}
	records := benchBatch
	if os.Getenv(brokerProcess) != "none" {
		records = 4 * benchBatch
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(benchParts, benchTopic),
		kfake.SyntheticFetch(kfake.SyntheticBatch{Records: records, RecordBytes: benchValue, RandomFrac: 0.5, Compression: codec}))
	if err != nil {
		fmt.Println("error", err)
		return
	}
	defer c.Close()
	fmt.Println(c.ListenAddrs()[0])
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// broker starts such a process and returns its address.
func broker(tb testing.TB, codec string) string {
	tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), brokerProcess+"="+codec)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.HasPrefix(line, "error") {
		tb.Fatal(line, err)
	}
	return strings.TrimSpace(line)
}
