package batch

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// golden is what a broker gave for a fetch of batches that somebody else's client
// had written: its bytes lie beside it, as NAME.batch. scripts/golden/write makes both.
type golden struct {
	Writer   string        `json:"writer"`
	Broker   string        `json:"broker"`
	End      int64         `json:"end"` // the high watermark
	Aborted  []Aborted     `json:"aborted,omitempty"`
	Records  []plainRecord `json:"records"` // as franz-go's consumer read them, committed ones only
	data     []byte
	produced int // records in the batches, those nobody is to see included
}

// plainRecord is a record in text; what is nil is null.
type plainRecord struct {
	Offset  int64         `json:"offset"`
	Time    int64         `json:"time"`
	Key     *string       `json:"key"`
	Value   *string       `json:"value"`
	Headers []plainHeader `json:"headers,omitempty"`
}

type plainHeader struct {
	Key   string  `json:"key"`
	Value *string `json:"value"`
}

func text(b []byte) *string {
	if b == nil {
		return nil
	}
	s := string(b)
	return &s
}

func plainly(r *Record) plainRecord {
	p := plainRecord{Offset: r.Offset, Time: r.Time, Key: text(r.Key), Value: text(r.Value)}
	for k, v := range r.Headers {
		p.Headers = append(p.Headers, plainHeader{string(k), text(v)})
	}
	return p
}

func franzPlainly(r *kgo.Record) plainRecord {
	p := plainRecord{Offset: r.Offset, Time: r.Timestamp.UnixMilli(), Key: text(r.Key), Value: text(r.Value)}
	for _, h := range r.Headers {
		p.Headers = append(p.Headers, plainHeader{h.Key, text(h.Value)})
	}
	return p
}

const goldenDir = "testdata/golden"

// goldens returns all golden batches by name.
func goldens(t testing.TB) map[string]golden {
	t.Helper()
	files, err := filepath.Glob(goldenDir + "/*.batch")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]golden)
	for _, file := range files {
		base := strings.TrimSuffix(file, ".batch")
		var g golden
		about, err := os.ReadFile(base + ".json")
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(about, &g); err != nil {
			t.Fatalf("%s.json: %v", base, err)
		}
		if g.data, err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
		for _, b := range split(t, g.data) {
			g.produced += headOf(b).count
		}
		all[filepath.Base(base)] = g
	}
	return all
}

// split returns the batches of a fetch one by one.
func split(t testing.TB, data []byte) (batches [][]byte) {
	t.Helper()
	for len(data) > 0 {
		whole, why := frame(data)
		if why != "" {
			t.Fatalf("a batch cannot be measured: %s", why)
		}
		batches = append(batches, data[:whole])
		data = data[whole:]
	}
	return batches
}

func (g *golden) input(data []byte, from int64) Input {
	return Input{Data: data, Offset: from, End: g.End, Committed: true, Aborted: slices.Clone(g.Aborted)}
}

// readPlainly reads an input to its end and returns what is to be seen and how much is not.
func readPlainly(t testing.TB, in Input) (records []plainRecord, corrupt []Reason, skipped int64) {
	t.Helper()
	r := newReader()
	var c Chunk
	for r.Reset(in); r.Read(&c); {
		skipped += c.Skipped
		for i := range c.Records {
			if why := c.Records[i].Corrupt; why != "" {
				corrupt = append(corrupt, why)
				continue
			}
			records = append(records, plainly(&c.Records[i]))
		}
	}
	return records, corrupt, skipped
}

// franzReads is franz-go's reading of the same bytes.
func franzReads(t testing.TB, in Input) (records []plainRecord) {
	t.Helper()
	p := kmsg.NewFetchResponseTopicPartition()
	p.HighWatermark, p.LastStableOffset, p.RecordBatches = in.End, in.End, slices.Clone(in.Data)
	for _, a := range in.Aborted {
		x := kmsg.NewFetchResponseTopicPartitionAbortedTransaction()
		x.ProducerID, x.FirstOffset = a.Producer, a.First
		p.AbortedTransactions = append(p.AbortedTransactions, x)
	}
	f, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Offset: in.Offset, IsolationLevel: kgo.ReadCommitted()}, &p, kgo.DefaultDecompressor(), nil)
	if f.Err != nil {
		t.Fatalf("franz-go: %v", f.Err)
	}
	for _, r := range f.Records {
		records = append(records, franzPlainly(r))
	}
	return records
}

// What the Java client, librdkafka, kafka-go and franz-go write is read as franz-go
// reads it, from the start and from every offset on, and every record that is not to
// be seen is counted.
func TestGolden(t *testing.T) {
	all := goldens(t)
	for _, writer := range []string{"java", "librdkafka", "kafka-go", "franz-go"} {
		for _, codec := range []Codec{None, Gzip, Snappy, LZ4, Zstd} {
			name := writer + "-" + codec.String()
			g, ok := all[name]
			if !ok {
				t.Errorf("there is no golden batch %s", name)
				continue
			}
			for _, b := range split(t, g.data) {
				if got := Codec(headOf(b).attributes & codecMask); got != codec {
					t.Errorf("%s holds a batch of codec %v", name, got)
				}
			}
		}
	}
	for name, g := range all {
		t.Run(name, func(t *testing.T) {
			for from := range g.End {
				in := g.input(g.data, from)
				got, corrupt, skipped := readPlainly(t, in)
				if len(corrupt) > 0 {
					t.Fatalf("from %d: corrupt: %v", from, corrupt)
				}
				want := slices.DeleteFunc(slices.Clone(g.Records), func(r plainRecord) bool { return r.Offset < from })
				if len(want) == 0 {
					want = nil
				}
				// From further on, a broker would not name transactions that had ended by then.
				if diff := cmp.Diff(want, got); diff != "" && (from == 0 || len(g.Aborted) == 0) {
					t.Errorf("from %d (-a broker's reader +ours):\n%s", from, diff)
				}
				if diff := cmp.Diff(franzReads(t, in), got); diff != "" {
					t.Errorf("from %d (-franz-go, same bytes +ours):\n%s", from, diff)
				}
				if from == 0 && skipped != int64(g.produced-len(g.Records)) {
					t.Errorf("%d records skipped, want %d", skipped, g.produced-len(g.Records))
				}
			}
		})
	}
}

// Golden batches hold what is worth reading: every shade of null and empty, markers
// of both kinds, records of aborted transactions, times of the broker.
func TestGoldenHoldsWhatMatters(t *testing.T) {
	seen := make(map[string]bool)
	for _, g := range goldens(t) {
		for _, r := range g.Records {
			seen["null key"] = seen["null key"] || r.Key == nil
			seen["null value"] = seen["null value"] || r.Value == nil
			seen["empty key"] = seen["empty key"] || r.Key != nil && *r.Key == ""
			seen["empty value"] = seen["empty value"] || r.Value != nil && *r.Value == ""
			for _, h := range r.Headers {
				seen["header"] = seen["header"] || h.Value != nil && *h.Value != ""
				seen["null header"] = seen["null header"] || h.Value == nil
				seen["empty header"] = seen["empty header"] || h.Value != nil && *h.Value == ""
			}
		}
		ended := make(map[int]bool)
		for _, b := range split(t, g.data) {
			h := headOf(b)
			seen["time of the broker"] = seen["time of the broker"] || h.appendTime != noTime
			if h.attributes&control == 0 {
				continue
			}
			var marker Record
			if _, ok := parse(b[headerLen:], &h, &marker); !ok || len(marker.Key) < 4 {
				t.Fatal("a marker cannot be read")
			}
			ended[int(marker.Key[3])] = true // 0 abort, 1 commit
		}
		seen["commit and abort in one"] = seen["commit and abort in one"] || ended[0] && ended[1] && len(g.Aborted) > 0
	}
	for _, what := range []string{
		"null key", "null value", "empty key", "empty value", "header", "null header", "empty header", "time of the broker", "commit and abort in one",
	} {
		if !seen[what] {
			t.Errorf("no golden batch holds: %s", what)
		}
	}
}

// A flipped bit anywhere in what the checksum covers, and in the checksum, costs that
// batch and no other.
func TestGoldenFlipped(t *testing.T) {
	for name, g := range goldens(t) {
		begin := 0
		for _, b := range split(t, g.data) {
			h := headOf(b)
			for i := crcAt; i < len(b); i++ {
				data := bytes.Clone(g.data)
				data[begin+i] ^= 1 << (i % 8)
				in := g.input(data, 0)
				in.Final = true // nothing behind the last batch says how far it went
				got, corrupt, _ := readPlainly(t, in)
				if !slices.Equal(corrupt, []Reason{ReasonCRC}) {
					t.Fatalf("%s: bit flipped at %d: %v", name, begin+i, corrupt)
				}
				if h.attributes&control != 0 {
					continue // without a marker, others may be hidden or seen
				}
				want := slices.DeleteFunc(slices.Clone(g.Records), func(r plainRecord) bool { return r.Offset >= h.base && r.Offset <= h.last })
				if len(got) != len(want) {
					t.Fatalf("%s: bit flipped at %d: %d records left, want %d", name, begin+i, len(got), len(want))
				}
			}
			begin += len(b)
		}
	}
}

// Wherever a response is cut off, the batches before the cut are read as ever and
// nothing is made up of the rest.
func TestGoldenCutOff(t *testing.T) {
	for name, g := range goldens(t) {
		first := split(t, g.data)[0]
		for n := len(first); n < len(g.data); n++ {
			got, corrupt, _ := readPlainly(t, g.input(g.data[:n], 0))
			if len(corrupt) > 0 || len(got) > len(g.Records) {
				t.Fatalf("%s cut off at %d: %d records, corrupt %v", name, n, len(got), corrupt)
			}
			for i := range got {
				if !cmp.Equal(got[i], g.Records[i]) {
					t.Fatalf("%s cut off at %d: record %d is not what was written", name, n, i)
				}
			}
		}
	}
}
