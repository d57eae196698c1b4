package batch

import (
	"bytes"
	"testing"
)

// End foresees where reading goes on, and says when it cannot.
func TestEnd(t *testing.T) {
	three, two := of(10, "a", "b", "c"), of(13, "d", "e")
	broken := bytes.Clone(two)
	broken[magicAt] = 9
	short := bytes.Clone(two)
	copy(short[lengthAt:], []byte{0, 0, 0, 3})
	for _, test := range []struct {
		name   string
		data   []byte
		offset int64
		want   int64
		ok     bool
	}{
		{"nothing", nil, 10, 10, false},
		{"one batch", three, 10, 13, true},
		{"from its middle", three, 12, 13, true},
		{"two batches", join(three, two), 10, 15, true},
		{"with a hole between", join(three, of(20, "x")), 10, 21, true},
		{"an emptied batch", join(three, emptied(13, 6)), 10, 20, true},
		{"the last is cut off", join(three, two[:len(two)-1]), 10, 13, true},
		{"only a few bytes of the last", join(three, two[:5]), 10, 13, true},
		{"the only one is cut off", three[:len(three)-1], 10, 0, false},
		{"before what was asked for", three, 13, 0, false},
		{"going back", join(two, three), 10, 0, false},
		{"of another format", join(three, broken), 10, 0, false},
		{"of a length that cannot be", join(three, short), 10, 0, false},
		{"nonsense", []byte("nonsense, and enough of it to hold a head of a batch"), 10, 0, false},
	} {
		next, ok := End(test.data, test.offset)
		if ok != test.ok || ok && next != test.want {
			t.Errorf("%s: %d, %v, want %d, %v", test.name, next, ok, test.want, test.ok)
		}
	}
}

// Whatever comes: what End foresees is where a Reader that finds nothing wrong
// goes on.
func FuzzEnd(f *testing.F) {
	for _, c := range []Codec{None, LZ4} {
		b := repacked(f, of(3, "a", "bb", "ccc"), c, true)
		f.Add(join(b, at(6, bytes.Clone(b)), emptied(9, 3)), int64(4))
		f.Add(b[:len(b)-1], int64(3))
	}
	f.Add(marked(of(0, "x"), transactional|control, 5), int64(0))
	inflater := NewInflater(1 << 16)
	f.Fuzz(func(t *testing.T, data []byte, offset int64) {
		if offset < 0 || offset > 1<<62 {
			return
		}
		data = bytes.Clone(data)
		for b := data; ; {
			whole, why := frame(b)
			if why != "" {
				break
			}
			seal(b[:whole])
			b = b[whole:]
		}
		next, ok := End(data, offset)
		if !ok {
			return
		}
		if next <= offset {
			t.Fatalf("goes on at %d after %d", next, offset)
		}
		r := NewReader(inflater)
		r.MaxRecords = 2
		r.Reset(Input{Data: data, Offset: offset, End: -1})
		var c Chunk
		for r.Read(&c) {
			for i := range c.Records {
				if c.Records[i].Corrupt != "" {
					return // only the reader knows then
				}
			}
		}
		if r.More() == 0 && r.Offset() != next {
			t.Fatalf("foreseen %d, read to %d", next, r.Offset())
		}
	})
}
