package batch

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Writer builds one record batch at a time. The zero Writer writes uncompressed
// batches. It belongs to one goroutine.
type Writer struct {
	Codec Codec // None, LZ4 or Zstd

	buf    []byte // room for the head, then records
	count  int
	first  int64
	max    int64
	packed []byte // what the compressor writes to, while it does
	spare  []byte // for Bytes
	lz4    *lz4.Writer
	zstd   *zstd.Encoder
}

// Producer is who wrote a batch, by which brokers notice that it comes twice.
type Producer struct {
	ID            int64
	Epoch         int16
	Sequence      int32 // of the first record, among those of the producer in its partition
	Transactional bool
}

// Anybody writes batches that brokers take as often as they come.
var Anybody = Producer{ID: -1, Epoch: -1, Sequence: -1}

// Reset begins a new batch.
func (w *Writer) Reset() {
	if cap(w.buf) < headerLen {
		w.buf = make([]byte, headerLen, 16<<10)
	}
	w.buf = w.buf[:headerLen]
	clear(w.buf)
	w.count, w.first, w.max = 0, 0, 0
}

// Size returns at most how many bytes a record takes in an uncompressed batch,
// the batch's own head not counted.
func Size(key, value []byte, headers []Header) int {
	const varints = 5 /* length */ + 1 /* attributes */ + 10 /* time */ + 5 /* offset */ + 5 + 5 + 5
	n := varints + len(key) + len(value)
	for i := range headers {
		n += 10 + len(headers[i].Key) + len(headers[i].Value)
	}
	return n
}

// HeadSize is what a batch takes beside its records.
const HeadSize = headerLen

// Add appends a record. Nil keys and values are null. The time is in
// milliseconds since 1970.
func (w *Writer) Add(key, value []byte, headers []Header, time int64) {
	if w.count == 0 {
		w.first, w.max = time, time
	}
	w.max = max(w.max, time)
	delta, offset := time-w.first, int64(w.count)
	n := 1 + varintLen(delta) + varintLen(offset) + nullableLen(key) + nullableLen(value) + varintLen(int64(len(headers)))
	for i := range headers {
		n += varintLen(int64(len(headers[i].Key))) + len(headers[i].Key) + nullableLen(headers[i].Value)
	}
	b := w.buf
	b = binary.AppendVarint(b, int64(n))
	b = append(b, 0)
	b = binary.AppendVarint(b, delta)
	b = binary.AppendVarint(b, offset)
	b = appendNullable(b, key)
	b = appendNullable(b, value)
	b = binary.AppendVarint(b, int64(len(headers)))
	for i := range headers {
		b = binary.AppendVarint(b, int64(len(headers[i].Key)))
		b = append(b, headers[i].Key...)
		b = appendNullable(b, headers[i].Value)
	}
	w.buf = b
	w.count++
}

// Len returns how many bytes the batch has so far, before compression.
func (w *Writer) Len() int { return len(w.buf) }

// Cap returns how large a batch the Writer has room for, before compression.
func (w *Writer) Cap() int { return cap(w.buf) }

// Count returns how many records the batch has.
func (w *Writer) Count() int { return w.count }

// Bytes finishes a batch of anybody and returns it. It is good until the next
// call of Bytes.
func (w *Writer) Bytes() ([]byte, error) {
	b, err := w.Finish(Anybody, w.spare)
	w.spare = b
	return b, err
}

// Finish finishes the batch and returns it: from now on it is the caller's. In
// exchange the Writer may use spare, a buffer that nobody needs any more.
func (w *Writer) Finish(by Producer, spare []byte) ([]byte, error) {
	b, codec := w.buf, w.Codec
	if codec != None {
		packed, err := w.pack(b[headerLen:], spare)
		if err != nil {
			return nil, fmt.Errorf("compress batch with %s: %w", codec, err)
		}
		spare = packed
		if len(packed) < len(b) {
			copy(packed, b[:headerLen])
			b, spare = packed, b
		} else {
			codec = None // it did not get smaller
		}
	}
	w.buf = spare[:0]
	be := binary.BigEndian
	be.PutUint32(b[lengthAt:], uint32(len(b)-prefixLen))
	be.PutUint32(b[prefixLen:], ^uint32(0)) // leader epoch: the broker fills it in
	b[magicAt] = 2
	be.PutUint16(b[attributesAt:], uint16(codec))
	be.PutUint32(b[lastDeltaAt:], uint32(w.count-1))
	be.PutUint64(b[firstTimeAt:], uint64(w.first))
	be.PutUint64(b[maxTimeAt:], uint64(w.max))
	be.PutUint32(b[countAt:], uint32(w.count))
	Sign(b, by)
	return b, nil
}

// Sign makes a finished batch one of a producer, whoever's it was.
func Sign(b []byte, by Producer) {
	be := binary.BigEndian
	attributes := be.Uint16(b[attributesAt:]) &^ transactional
	if by.Transactional {
		attributes |= transactional
	}
	be.PutUint16(b[attributesAt:], attributes)
	be.PutUint64(b[producerAt:], uint64(by.ID))
	be.PutUint16(b[epochAt:], uint16(by.Epoch))
	be.PutUint32(b[sequenceAt:], uint32(by.Sequence))
	be.PutUint32(b[crcAt:], crc32.Checksum(b[attributesAt:], castagnoli))
}

// pack compresses records into a buffer with room for the head.
func (w *Writer) pack(records, into []byte) ([]byte, error) {
	if cap(into) < headerLen {
		into = make([]byte, headerLen, 4096)
	}
	w.packed = into[:headerLen]
	defer func() { w.packed = nil }()
	switch w.Codec {
	case LZ4:
		if w.lz4 == nil {
			w.lz4 = lz4.NewWriter(nil)
			// Small blocks: the writer's working memory is of that size.
			if err := w.lz4.Apply(lz4.BlockSizeOption(lz4.Block256Kb)); err != nil {
				return nil, err
			}
		}
		w.lz4.Reset((*sink)(w))
		if _, err := w.lz4.Write(records); err != nil {
			return nil, err
		}
		if err := w.lz4.Close(); err != nil {
			return nil, err
		}
		return w.packed, nil
	case Zstd:
		if w.zstd == nil {
			enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true))
			if err != nil {
				return nil, err
			}
			w.zstd = enc
		}
		return w.zstd.EncodeAll(records, w.packed), nil
	}
	return nil, errCodec
}

// sink collects what a compressor writes.
type sink Writer

func (s *sink) Write(p []byte) (int, error) {
	s.packed = append(s.packed, p...)
	return len(p), nil
}

func varintLen(v int64) int {
	n := 1
	for u := uint64(v<<1) ^ uint64(v>>63); u >= 0x80; u >>= 7 {
		n++
	}
	return n
}

func nullableLen(b []byte) int {
	if b == nil {
		return 1
	}
	return varintLen(int64(len(b))) + len(b)
}

func appendNullable(b, v []byte) []byte {
	if v == nil {
		return binary.AppendVarint(b, -1)
	}
	b = binary.AppendVarint(b, int64(len(v)))
	return append(b, v...)
}
