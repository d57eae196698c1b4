package batch

import (
	"cmp"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"slices"
)

// Aborted is one aborted transaction a broker names beside the batches: what
// this producer wrote from First on, until its next marker, never happened.
type Aborted struct {
	Producer int64
	First    int64
}

// Input is what one fetch gave for one partition.
type Input struct {
	Data   []byte // record batches one after another; the last may be cut off
	Offset int64  // the offset that was asked for
	End    int64  // no offset from here on can have been read: the high watermark
	// Committed leaves out what aborted transactions wrote, as named by Aborted.
	Committed bool
	Aborted   []Aborted // in any order
	// Final says that asking for more bytes has been tried: a broken batch at
	// the end of Data is then judged by what is there.
	Final bool
}

// Chunk is a run of offsets, First up to and not including Next, with the
// records in it that are to be seen.
type Chunk struct {
	First, Next int64
	Records     []Record // ascending offsets
	Skipped     int64    // records of control batches and of aborted transactions

	bytes int
}

// Reader reads record batches. It belongs to one goroutine. The zero Reader is
// not usable; see [NewReader].
type Reader struct {
	// MaxRecords and MaxBytes (of decompressed records) bound a chunk. A batch
	// with more is handed out in several.
	MaxRecords int
	MaxBytes   int

	inflater *Inflater
	in       Input
	data     []byte // what is left of the input
	pos      int64  // the next offset to hand out
	more     int
	aborted  []Aborted       // ascending, not yet begun
	live     map[int64]int64 // producers in an aborted transaction, and where it begins
	arena    []byte          // decompressed batches the current chunk points into

	// A batch that is handed out in several chunks. It has been checked as a
	// whole before its first record was given away.
	batch head
	rest  []byte
	left  int
}

// NewReader returns a Reader with the usual limits: 4,000 records and one
// mebibyte a chunk.
func NewReader(f *Inflater) *Reader {
	return &Reader{MaxRecords: 4000, MaxBytes: 1 << 20, inflater: f}
}

// maxKeptArena is the largest buffer for decompressed data that is kept between inputs.
const maxKeptArena = 4 << 20

// Reset begins to read in. It takes no copy: in.Data must stay as it is until
// the last chunk is done with.
func (r *Reader) Reset(in Input) {
	if in.End < 0 {
		in.End = math.MaxInt64
	}
	arena := r.arena[:0]
	if cap(arena) > maxKeptArena {
		arena = nil
	}
	clear(r.live)
	*r = Reader{
		MaxRecords: r.MaxRecords, MaxBytes: r.MaxBytes, inflater: r.inflater,
		in: in, data: in.Data, pos: in.Offset, arena: arena, live: r.live,
	}
	if in.Committed && len(in.Aborted) > 0 {
		// Brokers name transactions in the order in which they ended.
		r.aborted = in.Aborted
		slices.SortFunc(r.aborted, func(a, b Aborted) int { return cmp.Compare(a.First, b.First) })
	}
}

// Offset returns the offset after the last chunk: where to fetch next.
func (r *Reader) Offset() int64 { return r.pos }

// More returns how many bytes to ask for at Offset, as a final input, when
// reading stopped at a batch that looks broken and the end of the input leaves
// open where the batch behind it begins; otherwise 0.
func (r *Reader) More() int { return r.more }

// Read fills c with the next chunk and reports whether there was one. A chunk
// may hold no records and still cover offsets: emptied, control and aborted
// batches do. What c holds is good until the next Read or Reset.
func (r *Reader) Read(c *Chunk) bool {
	if r.left == 0 {
		r.arena = r.arena[:0]
	}
	*c = Chunk{First: r.pos, Records: c.Records[:0]}
	for r.more == 0 {
		if r.left > 0 && !r.resume(c) {
			break
		}
		if len(c.Records) >= r.MaxRecords || c.bytes >= r.MaxBytes || !r.load(c) {
			break
		}
	}
	c.Next = r.pos
	return c.Next > c.First
}

// resume goes on with a batch that did not fit into one chunk. It returns false
// when the chunk is full.
func (r *Reader) resume(c *Chunk) bool {
	for r.left > 0 {
		if len(c.Records) >= r.MaxRecords {
			return false
		}
		var rec Record
		n, _ := parse(r.rest, &r.batch, &rec)
		if c.bytes > 0 && c.bytes+n > r.MaxBytes {
			return false
		}
		r.rest = r.rest[n:]
		r.left--
		if rec.Offset >= r.pos {
			c.Records = append(c.Records, rec)
			c.bytes += n
			r.pos = rec.Offset + 1
		}
	}
	r.pos = max(r.pos, r.batch.last+1)
	r.rest = nil
	return true
}

// head is what the head of a batch says.
type head struct {
	base, last int64
	count      int
	firstTime  int64
	appendTime int64 // of all records, if stamped by the broker; else noTime
	attributes uint16
	producer   int64
}

const noTime = math.MinInt64

func headOf(b []byte) head {
	be := binary.BigEndian
	h := head{
		base:       int64(be.Uint64(b)),
		count:      int(int32(be.Uint32(b[countAt:]))),
		firstTime:  int64(be.Uint64(b[firstTimeAt:])),
		appendTime: noTime,
		attributes: be.Uint16(b[attributesAt:]),
		producer:   int64(be.Uint64(b[producerAt:])),
	}
	h.last = h.base + int64(int32(be.Uint32(b[lastDeltaAt:])))
	if h.attributes&logAppendTime != 0 {
		h.appendTime = int64(be.Uint64(b[maxTimeAt:]))
	}
	return h
}

// load takes the next batch of the input into c, or makes it the one to resume.
// It returns false when there is nothing left, or nothing that fits.
func (r *Reader) load(c *Chunk) bool {
	b := r.data
	if len(b) == 0 {
		return false
	}
	whole, why := frame(b)
	switch {
	case why == ReasonLength && whole > len(b) && r.pos > r.in.Offset:
		// A response ends wherever its limit was met. Nothing is wrong.
		r.data = nil
		return false
	case why == ReasonLength:
		// Either the very first batch is cut off or its length is nonsense: where
		// the next one begins cannot be known.
		return r.corrupt(c, b, nil, why)
	case why != "":
		return r.corrupt(c, b[:whole], b[whole:], why)
	}
	raw, rest := b[:whole], b[whole:]
	if crc32.Checksum(raw[attributesAt:], castagnoli) != binary.BigEndian.Uint32(raw[crcAt:]) {
		return r.corrupt(c, raw, rest, ReasonCRC)
	}
	h := headOf(raw)
	if h.count < 0 || h.base < 0 || h.last < h.base || h.last == math.MaxInt64 {
		return r.corrupt(c, raw, rest, ReasonRecords)
	}
	if h.last < r.pos { // before what was asked for
		r.data = rest
		return true
	}
	if skipped, ok := r.hidden(&h, raw); ok {
		r.data = rest
		c.Skipped += skipped
		r.pos = h.last + 1
		return true
	}
	if h.count > 0 && len(c.Records) > 0 && len(c.Records)+h.count > r.MaxRecords {
		return false // it begins the next chunk; it is not worth taking apart
	}
	return r.open(c, h, raw, rest)
}

// frame measures the batch at the beginning of b. With a reason, the batch
// cannot be read; with ReasonLength its length is not known either.
func frame(b []byte) (whole int, why Reason) {
	if len(b) <= magicAt {
		return math.MaxInt, ReasonLength
	}
	n := int(int32(binary.BigEndian.Uint32(b[lengthAt:])))
	whole = prefixLen + n
	magic := b[magicAt]
	switch {
	case magic == 2 && n < headerLen-prefixLen, n < minLegacyLen:
		return 0, ReasonLength
	case whole > len(b):
		return whole, ReasonLength
	case magic != 2:
		return whole, ReasonMagic
	}
	return whole, ""
}

// hidden says whether a batch is not for the reader's eyes, and how many
// records that hides.
func (r *Reader) hidden(h *head, raw []byte) (int64, bool) {
	if h.attributes&control != 0 {
		if h.attributes&transactional != 0 {
			r.begin(h.last)
			delete(r.live, h.producer)
		}
		return int64(h.count), true
	}
	if !r.in.Committed || h.attributes&transactional == 0 {
		return 0, false
	}
	r.begin(h.last)
	first, ok := r.live[h.producer]
	if !ok || h.base < first {
		return 0, false
	}
	if h.base >= r.pos {
		return int64(h.count), true
	}
	// The offset asked for lies inside. Count what is behind it.
	out, err := r.inflate(h, raw)
	if err != nil {
		return min(int64(h.count), h.last+1-r.pos), true
	}
	var n int64
	for range h.count {
		var rec Record
		k, ok := parse(out, h, &rec)
		if !ok {
			break
		}
		out = out[k:]
		if rec.Offset >= r.pos {
			n++
		}
	}
	return n, true
}

// begin makes aborted transactions live that begin up to an offset.
func (r *Reader) begin(offset int64) {
	for len(r.aborted) > 0 && r.aborted[0].First <= offset {
		if r.live == nil {
			r.live = make(map[int64]int64)
		}
		r.live[r.aborted[0].Producer] = r.aborted[0].First
		r.aborted = r.aborted[1:]
	}
}

// inflate returns the records of a batch, decompressed into the arena.
func (r *Reader) inflate(h *head, raw []byte) ([]byte, error) {
	payload := raw[headerLen:]
	codec := Codec(h.attributes & codecMask)
	if codec == None {
		return payload, nil
	}
	if need := min(4*len(payload), r.inflater.limit); cap(r.arena)-len(r.arena) < need {
		// Records of this chunk keep the old arena alive. The new one is large
		// enough in the end for all that a chunk takes, and not larger: an input of
		// large batches has one of them at hand at all times, so that an arena is
		// never emptied before it is full.
		r.arena = make([]byte, 0, max(min(2*cap(r.arena), 2*r.MaxBytes), need))
	}
	room := r.arena[len(r.arena):]
	out, err := r.inflater.inflate(room, codec, payload)
	if err != nil {
		return nil, err
	}
	if cap(room) >= len(out) && (len(out) == 0 || &out[0] == &room[:1][0]) {
		r.arena = r.arena[:len(r.arena)+len(out)]
	} // else it has expanded more than that and has memory of its own
	return out, nil
}

// open decompresses a batch and takes its records: at once if they fit into the
// chunk, else after a first pass that checks them all, since a batch is given
// away whole or not at all.
func (r *Reader) open(c *Chunk, h head, raw, rest []byte) bool {
	payload, err := r.inflate(&h, raw)
	switch {
	case errors.Is(err, errSize):
		return r.corrupt(c, raw, rest, ReasonSize)
	case errors.Is(err, errCodec):
		return r.corrupt(c, raw, rest, ReasonCodec)
	case err != nil:
		return r.corrupt(c, raw, rest, ReasonInflate)
	}
	if h.count > len(payload)/minRecordLen {
		return r.corrupt(c, raw, rest, ReasonRecords)
	}
	if len(c.Records)+h.count > r.MaxRecords || c.bytes+len(payload) > r.MaxBytes {
		if !valid(payload, &h) {
			return r.corrupt(c, raw, rest, ReasonRecords)
		}
		r.data = rest
		r.batch, r.rest, r.left = h, payload, h.count
		return true
	}
	mark := len(c.Records)
	c.Records = slices.Grow(c.Records, h.count)
	after := h.base - 1
	b := payload
	for range h.count {
		at := len(c.Records)
		c.Records = c.Records[:at+1]
		rec := &c.Records[at]
		n, ok := parse(b, &h, rec)
		if !ok || rec.Offset <= after {
			c.Records = c.Records[:mark]
			return r.corrupt(c, raw, rest, ReasonRecords)
		}
		after = rec.Offset
		b = b[n:]
		if rec.Offset < r.pos {
			c.Records = c.Records[:at]
		}
	}
	if len(b) != 0 {
		c.Records = c.Records[:mark]
		return r.corrupt(c, raw, rest, ReasonRecords)
	}
	r.data = rest
	c.bytes += len(payload)
	r.pos = h.last + 1
	return true
}

// valid reports whether a batch can be read to its end.
func valid(payload []byte, h *head) bool {
	after := h.base - 1
	for range h.count {
		var rec Record
		n, ok := parse(payload, h, &rec)
		if !ok || rec.Offset <= after {
			return false
		}
		after = rec.Offset
		payload = payload[n:]
	}
	return len(payload) == 0
}

// moreBytes is what is asked for beyond a broken batch to see what follows it.
const moreBytes = 1 << 20

// corrupt hands out a batch that cannot be read as one record with its raw
// bytes and goes on behind it, so that neither a record before nor one after it
// is lost.
//
// Where the batch ends is told by its own head only if the checksum vouches for
// the head. Otherwise the batch that follows tells it. If the input ends before
// that can be seen, reading stops and More says how much to ask for. If even
// then nothing follows, the head is believed as far as it is possible, and at
// the worst the partition goes on with the very next offset.
func (r *Reader) corrupt(c *Chunk, raw, rest []byte, why Reason) bool {
	next := int64(-1)
	last, known := lastOf(raw)
	if vouched := why != ReasonLength && why != ReasonMagic && why != ReasonCRC; vouched && known && last >= r.pos {
		next = last + 1
	}
	if next < 0 {
		next = r.follower(rest)
	}
	if next < 0 && !r.in.Final && (!known || last+1 != r.in.End) {
		r.more = len(raw) + moreBytes
		if whole, _ := frame(raw); whole > len(raw) && whole < math.MaxInt {
			r.more = whole + moreBytes
		}
		r.data = nil
		return false
	}
	if next < 0 && known && last >= r.pos && last < r.in.End {
		next = last + 1
	}
	if next < 0 {
		next = r.pos + 1
	}
	c.Records = append(c.Records, Record{Offset: r.pos, Time: -1, Value: raw[:len(raw):len(raw)], Corrupt: why})
	c.bytes += len(raw)
	r.pos = next
	r.data = rest
	return true
}

// lastOf returns the last offset a batch claims to hold, if it makes any sense.
func lastOf(raw []byte) (int64, bool) {
	if len(raw) <= magicAt {
		return 0, false
	}
	base := int64(binary.BigEndian.Uint64(raw))
	if base < 0 {
		return 0, false
	}
	switch raw[magicAt] {
	case 0, 1: // one message; a compressed one bears the last of its offsets
		return base, base < math.MaxInt64
	case 2:
		if len(raw) < headerLen {
			return 0, false
		}
		delta := int64(int32(binary.BigEndian.Uint32(raw[lastDeltaAt:])))
		return base + delta, delta >= 0 && base < math.MaxInt64-math.MaxInt32
	}
	return 0, false
}

// follower returns the base offset of the batch at the beginning of b, or -1 if
// there is none that can be trusted.
func (r *Reader) follower(b []byte) int64 {
	whole, why := frame(b)
	if why != "" || crc32.Checksum(b[attributesAt:whole], castagnoli) != binary.BigEndian.Uint32(b[crcAt:]) {
		return -1
	}
	base := int64(binary.BigEndian.Uint64(b))
	if base <= r.pos || base >= r.in.End {
		return -1
	}
	return base
}
