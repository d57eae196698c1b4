package batch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func newReader() *Reader { return NewReader(NewInflater(limit)) }

// limit is how far batches may expand in these tests. A zstd stream of unknown
// length announces a window of 8 MiB.
const limit = 8 << 20

// What was written is read, whatever the codec, with every shade of null and
// empty, and from the middle of a batch on.
func TestReadWhatWasWritten(t *testing.T) {
	headers := []Header{{Key: "h", Value: []byte("v")}, {Key: "null"}, {Key: "empty", Value: []byte{}}, {Key: "h", Value: []byte("again")}, {Key: "", Value: []byte("nameless")}}
	rows := []struct {
		key, value []byte
		headers    []Header
		time       int64
	}{
		{[]byte("key"), []byte("value"), nil, 1_700_000_000_000},
		{nil, []byte(strings.Repeat("long ", 30_000)), nil, 1_700_000_000_500},
		{[]byte("key"), nil, headers, 1_600_000_000_000}, // before the first
		{[]byte{}, []byte{}, nil, 1_700_000_000_001},
	}
	var w Writer
	for _, codec := range []Codec{None, Gzip, Snappy, LZ4, Zstd} {
		for _, framed := range []bool{false, true} {
			if framed && codec != Snappy {
				continue
			}
			t.Run(fmt.Sprintf("%v framed=%v", codec, framed), func(t *testing.T) {
				w.Reset()
				for _, r := range rows {
					w.Add(r.key, r.value, r.headers, r.time)
				}
				b := at(100, repacked(t, mustBytes(&w), codec, framed))
				for from := int64(100); from < 104; from++ {
					r := newReader()
					var c Chunk
					r.Reset(Input{Data: b, Offset: from, End: 104})
					if !r.Read(&c) {
						t.Fatal("nothing read")
					}
					want := rows[from-100:]
					if len(c.Records) != len(want) || c.First != from || c.Next != 104 {
						t.Fatalf("from %d: %d records in [%d,%d)", from, len(c.Records), c.First, c.Next)
					}
					for i := range want {
						got := &c.Records[i]
						if !bytes.Equal(got.Key, want[i].key) || (got.Key == nil) != (want[i].key == nil) ||
							!bytes.Equal(got.Value, want[i].value) || (got.Value == nil) != (want[i].value == nil) ||
							got.Time != want[i].time || got.Offset != from+int64(i) {
							t.Errorf("from %d: record %d is not what was written", from, i)
						}
						var hs []Header
						for k, v := range got.Headers {
							hs = append(hs, Header{Key: string(k), Value: v})
						}
						if diff := cmp.Diff(want[i].headers, hs); diff != "" {
							t.Errorf("headers (-written +read):\n%s", diff)
						}
					}
					if r.Read(&c) {
						t.Error("more than was written")
					}
				}
			})
		}
	}
}

// A writer's own codecs are read back, and a batch that does not get smaller is
// left as it is.
func TestWriterCompresses(t *testing.T) {
	for _, codec := range []Codec{None, LZ4, Zstd} {
		w := Writer{Codec: codec}
		for round := range 3 { // the writer is used again and again
			w.Reset()
			for i := range 100 {
				w.Add(nil, []byte(strings.Repeat("abc", i)), nil, int64(i))
			}
			b := mustBytes(&w)
			if got := Codec(b[attributesAt+1]); got != codec {
				t.Errorf("written with %v, want %v", got, codec)
			}
			if x := read(t, newReader(), Input{Data: b, End: 100}); len(x.got) != 100 || x.got[7] != "7:"+strings.Repeat("abc", 7) {
				t.Errorf("%v, round %d: %d records", codec, round, len(x.got))
			}
		}
		w.Reset()
		w.Add(nil, []byte("x"), nil, 0)
		if b := mustBytes(&w); b[attributesAt+1] != 0 {
			t.Errorf("%v: one byte was compressed", codec)
		}
	}
}

// Size is never less than what a record takes.
func TestSizeIsAnUpperBound(t *testing.T) {
	for _, n := range []int{0, 1, 63, 64, 8191, 8192, 1 << 20} {
		v := make([]byte, n)
		h := []Header{{Key: "k", Value: v}, {Key: "", Value: nil}}
		var w Writer
		w.Reset()
		w.Add(v, v, h, 0)
		w.Add(v, v, h, -1<<62)
		if got, want := len(mustBytes(&w)), HeadSize+2*Size(v, v, h); got > want {
			t.Errorf("%d bytes of everything: batch of %d, Size promised %d", n, got, want)
		}
	}
}

// Offsets that compaction took away are covered, whether batches are emptied at
// the start, in the middle, at the end, or everywhere.
func TestEmptiedBatchesAdvance(t *testing.T) {
	for _, test := range []struct {
		name string
		data []byte
		want []string
		next int64
	}{
		{"middle", join(of(0, "a", "b"), emptied(2, 1), of(4, "e")), []string{"0:a", "1:b", "4:e"}, 5},
		{"first", join(emptied(0, 4), of(5, "f")), []string{"5:f"}, 6},
		{"last", join(of(0, "a"), emptied(1, 8)), []string{"0:a"}, 10},
		{"only", emptied(0, 9), nil, 10},
	} {
		x := read(t, newReader(), Input{Data: test.data, End: test.next})
		if !slices.Equal(x.got, test.want) || x.next != test.next {
			t.Errorf("%s: read %q up to %d", test.name, x.got, x.next)
		}
	}
}

// A batch cut off at the end of a response is nothing to worry about: it comes
// again.
func TestCutOffAtTheEnd(t *testing.T) {
	whole := join(of(0, "a", "b"), of(2, "c"))
	for cut := len(of(0, "a", "b")); cut < len(whole); cut++ {
		x := read(t, newReader(), Input{Data: whole[:cut], End: 3})
		if x.next != 2 || x.more != 0 || len(x.got) != 2 {
			t.Fatalf("cut at %d: %+v", cut, x)
		}
	}
}

// A batch that cannot be read becomes one corrupt record with its bytes. No
// record before it or after it is lost.
func TestCorruptBatches(t *testing.T) {
	good := func() []byte { return of(2, "c", "d", "e") }
	change := func(f func(b []byte)) []byte {
		b := good()
		f(b)
		return b
	}
	be := binary.BigEndian
	bomb := repacked(t, of(2, strings.Repeat("0", 9<<20), "", ""), Zstd, false)
	lz4Bomb := repacked(t, of(2, strings.Repeat("0", 9<<20), "", ""), LZ4, false)
	snappyBomb := repacked(t, of(2, strings.Repeat("0", 9<<20), "", ""), Snappy, false)
	framedBomb := repacked(t, of(2, strings.Repeat("0", 9<<20), "", ""), Snappy, true)
	gzipBomb := repacked(t, of(2, strings.Repeat("0", 9<<20), "", ""), Gzip, false)
	for _, test := range []struct {
		name   string
		bad    []byte
		reason Reason
	}{
		{"flipped bit in a value", change(func(b []byte) { b[len(b)-3] ^= 0x20 }), ReasonCRC},
		{"flipped bit in the last offset delta", change(func(b []byte) { b[lastDeltaAt+1] ^= 0x40 }), ReasonCRC},
		{"flipped bit in the checksum", change(func(b []byte) { b[crcAt] ^= 1 }), ReasonCRC},
		{"unknown magic", change(func(b []byte) { b[magicAt] = 9; seal(b) }), ReasonMagic},
		{"old magic", change(func(b []byte) { b[magicAt] = 1; seal(b) }), ReasonMagic},
		{"unknown codec", marked(good(), 7, -1), ReasonCodec},
		{"a codec it is not compressed with", marked(good(), uint16(Zstd), -1), ReasonInflate},
		{"snappy that is none", marked(good(), uint16(Snappy), -1), ReasonInflate},
		{"lz4 that is none", marked(good(), uint16(LZ4), -1), ReasonInflate},
		{"gzip that is none", marked(good(), uint16(Gzip), -1), ReasonInflate},
		{"more records than there are", change(func(b []byte) { be.PutUint32(b[countAt:], 4); seal(b) }), ReasonRecords},
		{"fewer records than there are", change(func(b []byte) { be.PutUint32(b[countAt:], 2); seal(b) }), ReasonRecords},
		{"a negative count", change(func(b []byte) { be.PutUint32(b[countAt:], 1<<31); seal(b) }), ReasonRecords},
		{"a huge count", change(func(b []byte) { be.PutUint32(b[countAt:], 1<<31-1); seal(b) }), ReasonRecords},
		{"an offset beyond the batch", change(func(b []byte) { be.PutUint32(b[lastDeltaAt:], 1); seal(b) }), ReasonRecords},
		{"a record longer than the batch", change(func(b []byte) { b[headerLen] = 0x7e; seal(b) }), ReasonRecords},
		{"a record of no length", change(func(b []byte) { b[headerLen] = 0; seal(b) }), ReasonRecords},
		{"a varint that does not end", change(func(b []byte) {
			for i := headerLen; i < headerLen+11; i++ {
				b[i] = 0xff
			}
			seal(b)
		}), ReasonRecords},
		{"a zstd bomb", bomb, ReasonSize},
		{"an lz4 bomb", lz4Bomb, ReasonSize},
		{"a gzip bomb", gzipBomb, ReasonSize},
		{"a snappy bomb", snappyBomb, ReasonSize},
		{"a snappy bomb in Java's frames", framedBomb, ReasonSize},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := join(of(0, "a", "b"), test.bad, of(5, "f"), of(6, "g"))
			want := []string{"0:a", "1:b", "2!" + string(test.reason), "5:f", "6:g"}
			x := read(t, newReader(), Input{Data: data, End: 7})
			if diff := cmp.Diff(want, x.got); diff != "" || x.next != 7 {
				t.Errorf("read up to %d (-want +got):\n%s", x.next, diff)
			}
			// The corrupt record has the very bytes.
			r := newReader()
			r.Reset(Input{Data: data, Offset: 2, End: 7})
			var c Chunk
			r.Read(&c)
			if !bytes.Equal(c.Records[0].Value, test.bad) {
				t.Errorf("%d raw bytes, want the %d of the batch", len(c.Records[0].Value), len(test.bad))
			}

			// At the end of the log nothing follows that could tell where it ends.
			data = join(of(0, "a", "b"), test.bad)
			x = read(t, newReader(), Input{Data: data, End: 5})
			if x.more > 0 {
				x = read(t, newReader(), Input{Data: data[len(data)-len(test.bad):], Offset: 2, End: 5, Final: true})
			}
			if x.next < 3 || x.next > 5 || !strings.HasPrefix(x.got[len(x.got)-1], "2!") {
				t.Errorf("at the end of the log: %+v", x)
			}
		})
	}
}

// The head of a broken batch is not believed when it claims offsets that the
// batches behind it have: those would be lost.
func TestCorruptHeadSwallowsNothing(t *testing.T) {
	bad := of(2, "c", "d")
	bad[lastDeltaAt+2] = 1 // claims 256 offsets more
	follow := join(of(4, "e"), of(5, "f"))

	// In one response.
	x := read(t, newReader(), Input{Data: join(bad, follow), Offset: 2, End: 600})
	if want := []string{"2!batch-checksum", "4:e", "5:f"}; !slices.Equal(x.got, want) {
		t.Errorf("read %q, want %q", x.got, want)
	}
	// With the response ending right behind it: it asks for more first.
	x = read(t, newReader(), Input{Data: bad, Offset: 2, End: 600})
	if x.next != 2 || x.more < len(bad)+1 {
		t.Errorf("went on to %d and asked for %d bytes", x.next, x.more)
	}
	// A follower that is broken itself is not believed: it claims to be far away.
	worse := of(4, "e")
	worse[3] ^= 1 // base offset
	worse[len(worse)-1] ^= 1
	x = read(t, newReader(), Input{Data: join(bad, worse), Offset: 2, End: 600, Final: true})
	if x.next != 261 { // behind what the first claims, and one more for the second
		t.Errorf("went on to %d", x.next)
	}
}

// A first batch that is cut off is asked for again whole; only if it is still cut
// off it is corrupt.
func TestFirstBatchCutOff(t *testing.T) {
	b := of(7, "h", "i")
	for cut := 1; cut < len(b); cut++ {
		x := read(t, newReader(), Input{Data: b[:cut], Offset: 7, End: 100})
		if x.next != 7 || x.more <= cut {
			t.Fatalf("cut at %d: %+v", cut, x)
		}
		x = read(t, newReader(), Input{Data: b[:cut], Offset: 7, End: 100, Final: true})
		if len(x.got) != 1 || x.got[0] != "7!batch-length" || x.next <= 7 || x.next > 9 {
			t.Fatalf("cut at %d for good: %+v", cut, x)
		}
	}
	for _, n := range []uint32{0, 1, 48, 1 << 31, 1<<32 - 1} {
		b := of(7, "h", "i")
		binary.BigEndian.PutUint32(b[lengthAt:], n)
		x := read(t, newReader(), Input{Data: b, Offset: 7, End: 100, Final: true})
		if len(x.got) != 1 || x.got[0] != "7!batch-length" {
			t.Fatalf("length %d: %+v", n, x)
		}
	}
}

// What aborted transactions wrote, and the markers, are dropped and counted; in
// whatever order the broker names the transactions.
func TestTransactions(t *testing.T) {
	const a, b = 1, 2
	marker := func(base int64, producer int64) []byte {
		return marked(of(base, ""), transactional|control, producer)
	}
	data := join(
		marked(of(0, "A0", "A1"), transactional, a),
		of(2, "plain"),
		marked(of(3, "B3"), transactional, b),
		marked(of(4, "A4"), transactional, a),
		marker(5, b), // aborts B
		marked(of(6, "B6"), transactional, b),
		marker(7, a), // aborts A
		marker(8, b), // commits B
		marked(of(9, "A9"), transactional, a),
		marker(10, a),
	)
	aborted := []Aborted{{b, 3}, {a, 0}} // by their ends
	x := read(t, newReader(), Input{Data: data, End: 11, Committed: true, Aborted: slices.Clone(aborted)})
	if want := []string{"2:plain", "6:B6", "9:A9"}; !slices.Equal(x.got, want) || x.skipped != 8 || x.next != 11 {
		t.Errorf("read %q, skipped %d, up to %d", x.got, x.skipped, x.next)
	}
	x = read(t, newReader(), Input{Data: data, Offset: 1, End: 11, Committed: true, Aborted: slices.Clone(aborted)})
	if x.skipped != 7 {
		t.Errorf("from offset 1 on skipped %d, want 7", x.skipped)
	}
	x = read(t, newReader(), Input{Data: data, End: 11, Aborted: slices.Clone(aborted)})
	if len(x.got) != 7 || x.skipped != 4 {
		t.Errorf("read_uncommitted: %q, skipped %d", x.got, x.skipped)
	}
}

// A broker's own timestamp replaces those of the producer.
func TestLogAppendTime(t *testing.T) {
	b := marked(of(0, "a", "b"), logAppendTime, -1)
	binary.BigEndian.PutUint64(b[maxTimeAt:], 4711)
	r := newReader()
	r.Reset(Input{Data: seal(b), End: 2})
	var c Chunk
	r.Read(&c)
	for i := range c.Records {
		if c.Records[i].Time != 4711 {
			t.Errorf("record %d at %d, want 4711", i, c.Records[i].Time)
		}
	}
}

// Chunks keep their limits, also when one batch holds more than a chunk; and a
// fault at the end of such a batch is found before its first record is given away.
func TestChunks(t *testing.T) {
	var values []string
	for i := range 1000 {
		values = append(values, fmt.Sprint("value ", i))
	}
	for _, codec := range []Codec{None, Zstd} {
		b := repacked(t, of(0, values...), codec, false)
		data := join(b, at(1000, bytes.Clone(b)), of(2000, "last"))
		for _, limit := range [][2]int{{300, 1 << 20}, {1500, 1 << 20}, {4000, 700}, {1, 1}, {4000, 1 << 20}} {
			r := newReader()
			r.MaxRecords, r.MaxBytes = limit[0], limit[1]
			x := read(t, r, Input{Data: data, End: 2001})
			if len(x.got) != 2001 || x.next != 2001 {
				t.Fatalf("limit %v: %d records up to %d", limit, len(x.got), x.next)
			}
			var c Chunk
			r.Reset(Input{Data: data, Offset: 17, End: 2001})
			for r.Read(&c) {
				if len(c.Records) > limit[0] {
					t.Errorf("limit %v: chunk of %d records", limit, len(c.Records))
				}
				n := 0
				for i := range c.Records {
					n += len(c.Records[i].Key) + len(c.Records[i].Value)
				}
				if n > limit[1] && len(c.Records) > 1 {
					t.Errorf("limit %v: chunk of %d bytes", limit, n)
				}
			}
		}
	}
	bad := of(0, values...)
	bad[len(bad)-len("value 999")-4] = 0x7e // length of the last key
	r := newReader()
	r.MaxRecords = 10
	x := read(t, r, Input{Data: join(seal(bad), of(1000, "next")), End: 1001})
	if want := []string{"0!batch-records", "1000:next"}; !slices.Equal(x.got, want) {
		t.Errorf("read %d records, first %q", len(x.got), x.got[0])
	}
}

// Compressed batches of many codecs in one response do not disturb each other's
// records.
func TestChunkOfManyCompressedBatches(t *testing.T) {
	var data []byte
	var want []string
	base := int64(0)
	for i := range 60 {
		var values []string
		for j := range 20 {
			v := strings.Repeat(fmt.Sprint(i, ",", j, ";"), i)
			values = append(values, v)
			want = append(want, fmt.Sprintf("%d:%s", base+int64(j), v))
		}
		data = append(data, repacked(t, of(base, values...), Codec(i%5), i%2 == 0)...)
		base += 20
	}
	r := newReader()
	for range 3 {
		if x := read(t, r, Input{Data: data, End: base}); !slices.Equal(x.got, want) {
			t.Fatal("records differ from what was written")
		}
	}
}

// However many large batches a response holds, what they are decompressed into stays as
// large as two chunks, and is there for the next response.
func TestLargeBatchesTakeNoMoreThanTwoChunks(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	var data []byte
	base := int64(0)
	for range 12 {
		values := make([]string, 450)
		for i := range values {
			noise := make([]byte, 650) // a third of a value, so that it takes a third when compressed
			for j := range noise {
				noise[j] = byte(chance.Uint32())
			}
			values[i] = string(noise) + strings.Repeat("quiet ", 220)
		}
		data = append(data, repacked(t, of(base, values...), LZ4, false)...)
		base += int64(len(values))
	}
	r := NewReader(NewInflater(DefaultInflatedBytes))
	var c Chunk
	most := 0
	for range 2 {
		r.Reset(Input{Data: data, End: base})
		records := 0
		for r.Read(&c) {
			records += len(c.Records)
			most = max(most, cap(r.arena))
		}
		if int64(records) != base {
			t.Fatalf("%d records, want %d", records, base)
		}
	}
	if most > 2*r.MaxBytes {
		t.Errorf("the arena has grown to %d bytes, two chunks are %d", most, 2*r.MaxBytes)
	}
	if most > maxKeptArena || cap(r.arena) == 0 {
		t.Errorf("an arena of %d bytes is not kept", most)
	}
}

// Reading a response of uncompressed batches allocates nothing once the memory
// is there.
func TestReadDoesNotAllocate(t *testing.T) {
	data := join(of(0, numbered(500)...), of(500, numbered(500)...))
	r := newReader()
	var c Chunk
	allocs := testing.AllocsPerRun(20, func() {
		r.Reset(Input{Data: data, End: 1000})
		for r.Read(&c) {
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func numbered(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("value %06d", i)
	}
	return out
}
