package batch

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A finished batch says who wrote it, however often that changes, and is whole
// each time: franz-go reads the same.
func TestSign(t *testing.T) {
	for _, codec := range []Codec{None, LZ4, Zstd} {
		w := Writer{Codec: codec}
		w.Reset()
		for i := range 10 {
			w.Add([]byte("k"), []byte(strings.Repeat("value ", i)), nil, int64(i))
		}
		first := Producer{ID: 1 << 40, Epoch: 3, Sequence: 1<<31 - 4, Transactional: true}
		b, err := w.Finish(first, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, by := range []Producer{first, {ID: 7, Epoch: 0, Sequence: 0}, Anybody, first} {
			if by != first {
				Sign(b, by)
			}
			var got kmsg.RecordBatch
			if err := got.ReadFrom(b); err != nil {
				t.Fatal(err)
			}
			if got.ProducerID != by.ID || got.ProducerEpoch != by.Epoch || got.FirstSequence != by.Sequence ||
				(got.Attributes&transactional != 0) != by.Transactional || Codec(got.Attributes&codecMask) != codec {
				t.Errorf("%v: signed %+v, read %d, %d, %d with attributes %b", codec, by, got.ProducerID, got.ProducerEpoch, got.FirstSequence, got.Attributes)
			}
			r := newReader()
			var c Chunk
			r.Reset(Input{Data: b, End: 10})
			if !r.Read(&c) || len(c.Records) != 10 || c.Records[0].Corrupt != "" {
				t.Errorf("%v: signed %+v, the batch cannot be read", codec, by)
			}
			Sign(b, first)
		}
	}
}

// A finished batch is the caller's: later ones do not touch it, whether it got
// smaller or not, and the buffer given in exchange is used.
func TestFinishGivesAway(t *testing.T) {
	for _, codec := range []Codec{None, LZ4, Zstd} {
		w := Writer{Codec: codec}
		var all, copies [][]byte
		spare := make([]byte, 0, 1<<16)
		for i := range 6 {
			w.Reset()
			w.Add(nil, []byte(strings.Repeat(fmt.Sprint(i), 1+i%2*1000)), nil, 0)
			b, err := w.Finish(Anybody, spare)
			if err != nil {
				t.Fatal(err)
			}
			all, copies, spare = append(all, b), append(copies, bytes.Clone(b)), nil
		}
		for i := range all {
			if !bytes.Equal(all[i], copies[i]) {
				t.Errorf("%v: batch %d has changed since it was finished", codec, i)
			}
		}
	}
}
