package batch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// seal makes length and checksum of a batch right again after a change.
func seal(b []byte) []byte {
	binary.BigEndian.PutUint32(b[lengthAt:], uint32(len(b)-prefixLen))
	binary.BigEndian.PutUint32(b[crcAt:], crc32.Checksum(b[attributesAt:], castagnoli))
	return b
}

// of makes a batch of values that begins at an offset.
func of(base int64, values ...string) []byte {
	var w Writer
	w.Reset()
	for i, v := range values {
		w.Add([]byte("k"), []byte(v), nil, int64(1000+i))
	}
	return at(base, mustBytes(&w))
}

func mustBytes(w *Writer) []byte {
	b, err := w.Bytes()
	if err != nil {
		panic(err)
	}
	return bytes.Clone(b)
}

func at(base int64, b []byte) []byte {
	binary.BigEndian.PutUint64(b, uint64(base))
	return b
}

// marked sets attributes and the producer of a batch.
func marked(b []byte, attributes uint16, producer int64) []byte {
	binary.BigEndian.PutUint16(b[attributesAt:], attributes)
	binary.BigEndian.PutUint64(b[producerAt:], uint64(producer))
	return seal(b)
}

// emptied is what compaction leaves of a batch.
func emptied(base int64, lastDelta uint32) []byte {
	b := of(base, "gone")[:headerLen]
	binary.BigEndian.PutUint32(b[lastDeltaAt:], lastDelta)
	binary.BigEndian.PutUint32(b[countAt:], 0)
	return seal(b)
}

// repacked compresses the records of a batch.
func repacked(t testing.TB, b []byte, c Codec, framed bool) []byte {
	t.Helper()
	out := bytes.NewBuffer(bytes.Clone(b[:headerLen]))
	records := b[headerLen:]
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	switch c {
	case Gzip:
		w := gzip.NewWriter(out)
		_, err := w.Write(records)
		must(err)
		must(w.Close())
	case Snappy:
		if !framed {
			out.Write(s2.EncodeSnappy(nil, records))
			break
		}
		out.Write(xerial)
		out.Write([]byte{0, 0, 0, 1, 0, 0, 0, 1})
		for len(records) > 0 {
			n := min(len(records), 32<<10)
			block := s2.EncodeSnappy(nil, records[:n])
			out.Write(binary.BigEndian.AppendUint32(nil, uint32(len(block))))
			out.Write(block)
			records = records[n:]
		}
	case LZ4:
		w := lz4.NewWriter(out)
		_, err := w.Write(records)
		must(err)
		must(w.Close())
	case Zstd:
		w, err := zstd.NewWriter(out)
		must(err)
		_, err = w.Write(records)
		must(err)
		must(w.Close())
	default:
		out.Write(records)
	}
	p := out.Bytes()
	binary.BigEndian.PutUint16(p[attributesAt:], uint16(c))
	return seal(p)
}

func join(batches ...[]byte) []byte { return bytes.Join(batches, nil) }

// reading is everything a reader gave for an input.
type reading struct {
	got     []string // offset:value, offset!reason for a corrupt one
	skipped int64
	next    int64
	more    int
	chunks  int
}

// read reads an input to its end and checks what holds for every input.
func read(t testing.TB, r *Reader, in Input) reading {
	t.Helper()
	var x reading
	var c Chunk
	at := in.Offset
	r.Reset(in)
	for r.Read(&c) {
		x.chunks++
		if c.First != at || c.Next <= c.First {
			t.Fatalf("chunk [%d,%d) after offset %d", c.First, c.Next, at)
		}
		last := c.First - 1
		for i := range c.Records {
			rec := &c.Records[i]
			if rec.Offset <= last || rec.Offset >= c.Next {
				t.Fatalf("offset %d in chunk [%d,%d) after %d", rec.Offset, c.First, c.Next, last)
			}
			last = rec.Offset
			if rec.Corrupt != "" {
				x.got = append(x.got, fmt.Sprintf("%d!%s", rec.Offset, rec.Corrupt))
				continue
			}
			s := fmt.Sprintf("%d:%s", rec.Offset, rec.Value)
			n := 0
			for k, v := range rec.Headers {
				s += fmt.Sprintf(" %s=%s", k, v)
				n++
			}
			if n != rec.HeaderCount() {
				t.Fatalf("%d headers, counted %d", n, rec.HeaderCount())
			}
			x.got = append(x.got, s)
		}
		x.skipped += c.Skipped
		at = c.Next
	}
	if r.Offset() != at {
		t.Fatalf("reader stands at %d, its chunks end at %d", r.Offset(), at)
	}
	x.next, x.more = at, r.More()
	return x
}
