package batch

import (
	"bytes"
	"runtime"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// FuzzReader gives the reader any bytes at all, as they are and with the
// checksums of their batches made right. It must not panic, must keep its
// promises about offsets, hand out only bytes that are its input's or its own,
// and not take more memory than its limits allow.
func FuzzReader(f *testing.F) {
	for _, c := range []Codec{None, Gzip, Snappy, LZ4, Zstd} {
		b := repacked(f, of(3, "a", "bb", "ccc"), c, true)
		f.Add(b, int64(3), int64(6), uint8(0))
		f.Add(join(b, at(6, bytes.Clone(b)), emptied(9, 3)), int64(4), int64(13), uint8(3))
	}
	f.Add(marked(of(0, "x"), transactional|control, 5), int64(0), int64(1), uint8(1))
	f.Add([]byte{}, int64(0), int64(0), uint8(0))
	for _, g := range goldens(f) {
		f.Add(g.data, int64(0), g.End, uint8(1))
	}
	const limit = 1 << 16
	inflater := NewInflater(limit)
	f.Fuzz(func(t *testing.T, data []byte, offset, end int64, flags uint8) {
		if offset < 0 || offset > 1<<62 {
			return
		}
		if flags&4 != 0 {
			data = bytes.Clone(data)
			for b := data; ; {
				whole, why := frame(b)
				if why != "" {
					break
				}
				seal(b[:whole])
				b = b[whole:]
			}
		}
		r := NewReader(inflater)
		r.MaxRecords, r.MaxBytes = 10, 1000
		in := Input{Data: data, Offset: offset, End: end, Committed: flags&1 != 0, Final: flags&2 != 0,
			Aborted: []Aborted{{Producer: 5, First: 0}, {Producer: -1, First: offset}}}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r.Reset(in)
		var c Chunk
		at := offset
		for r.Read(&c) {
			if c.First != at || c.Next <= c.First || c.Skipped < 0 {
				t.Fatalf("chunk [%d,%d) after offset %d, skipped %d", c.First, c.Next, at, c.Skipped)
			}
			at = c.Next
			last := c.First - 1
			for i := range c.Records {
				rec := &c.Records[i]
				if rec.Offset <= last || rec.Offset >= c.Next {
					t.Fatalf("offset %d in [%d,%d) after %d", rec.Offset, c.First, c.Next, last)
				}
				last = rec.Offset
				for _, b := range [][]byte{rec.Key, rec.Value} {
					if cap(r.arena) == 0 && !within(b, data) {
						t.Fatal("a record points to bytes that are nobody's")
					}
					if cap(b) != len(b) {
						t.Fatal("a record can be appended to")
					}
				}
				n := 0
				for range rec.Headers {
					n++
				}
				if n != rec.HeaderCount() {
					t.Fatalf("%d headers, counted %d", n, rec.HeaderCount())
				}
			}
		}
		runtime.ReadMemStats(&after)
		// Twelve limits: growing buffers and codecs' windows. What matters is that
		// it does not follow from what the data claims.
		if took := after.TotalAlloc - before.TotalAlloc; took > 64<<20+12*limit*uint64(1+len(data)/headerLen) {
			t.Fatalf("%d bytes allocated for %d", took, len(data))
		}
		if r.More() == 0 && at == offset && len(data) > 0 && in.Final && offset < 1<<40 {
			// A final input must move on unless all of it lies before the offset.
			if whole, why := frame(data); why != "" || headOf(data[:whole]).last >= offset {
				t.Fatalf("a final input of %d bytes did not move on from %d", len(data), offset)
			}
		}
	})
}

func within(b, whole []byte) bool {
	if len(b) == 0 {
		return true
	}
	p, q := uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(unsafe.SliceData(whole)))
	return p >= q && p+uintptr(len(b)) <= q+uintptr(len(whole))
}

// FuzzWriter has any records written with each codec: what is read of them, by us and
// by franz-go, is what was given.
func FuzzWriter(f *testing.F) {
	f.Add([]byte{}, uint8(None))
	f.Add([]byte("\x05abcdefgh\x00\xff\x01x"), uint8(LZ4))
	f.Add(bytes.Repeat([]byte("\x22again and again "), 50), uint8(Zstd))
	f.Fuzz(func(t *testing.T, data []byte, codec uint8) {
		w := Writer{Codec: []Codec{None, LZ4, Zstd}[codec%3]}
		w.Reset()
		// The data says what the records are: a byte how long a part is, the part, and so on.
		part := func() []byte {
			if len(data) == 0 || data[0] == 255 {
				data = data[min(1, len(data)):]
				return nil
			}
			n := min(int(data[0]), len(data)-1)
			p := data[1 : 1+n : 1+n]
			data = data[1+n:]
			return p
		}
		var want []plainRecord
		for at := int64(1_700_000_000_000); len(want) == 0 || len(data) > 0; at = at*3%2_000_000_000_000 + 1 {
			p := plainRecord{Offset: int64(len(want)), Time: at}
			key, value := part(), part()
			p.Key, p.Value = text(key), text(value)
			var headers []Header
			for range len(key) % 3 {
				h := Header{Key: string(part()), Value: part()}
				headers = append(headers, h)
				p.Headers = append(p.Headers, plainHeader{h.Key, text(h.Value)})
			}
			w.Add(key, value, headers, at)
			want = append(want, p)
		}
		b, err := w.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		in := Input{Data: b, End: int64(len(want))}
		got, corrupt, _ := readPlainly(t, in)
		if diff := cmp.Diff(want, got); diff != "" || len(corrupt) > 0 {
			t.Errorf("corrupt %v, records (-written +read):\n%s", corrupt, diff)
		}
		if diff := cmp.Diff(want, franzReads(t, in)); diff != "" {
			t.Errorf("(-written +read by franz-go):\n%s", diff)
		}
	})
}
