// Package batch reads and writes Kafka's record batches (magic 2), the bytes
// that lie in a topic's log and travel in fetch and produce requests.
//
// A [Reader] walks over the batches of one fetch response without copying: the
// records it hands out point into the response or into a buffer for what was
// compressed. It checks every length and every checksum. A batch that the
// format does not allow is handed out as one corrupt record holding its raw
// bytes, so that the partition goes on behind it. A [Writer] builds one batch.
// What it is not: it knows no network and no topics.
//
// The one thing to know: records borrow their bytes. They are good until the
// next Read of their Reader, and no longer than the response lives.
package batch

import (
	"encoding/binary"
	"hash/crc32"
)

// Layout of a batch. The checksum covers everything from the attributes on, so
// it does not cover the base offset, the length and the magic byte.
const (
	lengthAt     = 8
	magicAt      = 16
	crcAt        = 17
	attributesAt = 21
	lastDeltaAt  = 23
	firstTimeAt  = 27
	maxTimeAt    = 35
	producerAt   = 43
	epochAt      = 51
	sequenceAt   = 53
	countAt      = 57
	headerLen    = 61

	prefixLen    = 12 // offset and length, which the length does not count
	minLegacyLen = 14 // length of the smallest message of magic 0 and 1
)

// Attributes of a batch.
const (
	codecMask     = 0x07
	logAppendTime = 1 << 3
	transactional = 1 << 4
	control       = 1 << 5
)

// minRecordLen is the length of a record with nothing in it.
const minRecordLen = 7

// castagnoli is the table of the checksum that Kafka uses.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header is one header of a record. A nil Value stands for null.
type Header struct {
	Key   string
	Value []byte
}

// Record is one record of a batch, or a whole batch that cannot be read.
type Record struct {
	Offset     int64
	Time       int64  // milliseconds since 1970; -1 for none
	Key, Value []byte // nil for null
	// Corrupt says what is wrong with a batch that cannot be read. Value then
	// holds its raw bytes and Offset is the first offset it stands for.
	Corrupt Reason

	headers []byte
	count   int
}

// HeaderCount returns the number of headers.
func (r *Record) HeaderCount() int { return r.count }

// Headers yields the headers in order. The slices borrow like Key and Value; a
// null value is nil.
func (r *Record) Headers(yield func(key, value []byte) bool) {
	b := r.headers
	for range r.count { // lengths were checked when the record was read
		n, k := binary.Varint(b)
		key := b[k : k+int(n) : k+int(n)]
		b = b[k+int(n):]
		n, k = binary.Varint(b)
		b = b[k:]
		var value []byte
		if n >= 0 {
			value = b[:n:n]
			b = b[n:]
		}
		if !yield(key, value) {
			return
		}
	}
}

// Reason is a word for what is wrong with a batch.
type Reason string

// Why a batch cannot be read.
const (
	ReasonLength  Reason = "batch-length"      // the batch is cut off, or its length is not possible
	ReasonMagic   Reason = "batch-version"     // not the format that brokers write since Kafka 0.11
	ReasonCRC     Reason = "batch-checksum"    // the bytes are not those the producer wrote
	ReasonCodec   Reason = "batch-codec"       // compressed in a way nobody has defined
	ReasonInflate Reason = "batch-compression" // compressed data that cannot be decompressed
	ReasonSize    Reason = "batch-too-large"   // decompresses to more than the limit
	ReasonRecords Reason = "batch-records"     // the records do not add up to what the batch says
)

// Reasons returns every reason with one line that explains it, in a fixed order.
func Reasons() []ReasonText {
	return []ReasonText{
		{ReasonLength, "a record batch is cut off, or the length it claims is not possible"},
		{ReasonMagic, "a record batch is not in the format that brokers write since Kafka 0.11"},
		{ReasonCRC, "the checksum of a record batch is wrong: its bytes are not those the producer wrote"},
		{ReasonCodec, "a record batch is compressed with a codec that Kafka does not define"},
		{ReasonInflate, "the compressed data of a record batch cannot be decompressed"},
		{ReasonSize, "a record batch decompresses to more than the limit"},
		{ReasonRecords, "the records of a batch do not add up to what its head says"},
	}
}

// ReasonText is a reason with the line that explains it.
type ReasonText struct {
	Reason Reason
	Text   string
}

// Codec is how the records of a batch are compressed.
type Codec uint8

// The codecs Kafka defines.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

// String returns the codec's name as Kafka's configuration spells it.
func (c Codec) String() string {
	names := [...]string{"none", "gzip", "snappy", "lz4", "zstd"}
	if int(c) < len(names) {
		return names[c]
	}
	return "unknown"
}
