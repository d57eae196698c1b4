package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

var (
	errCodec = errors.New("unknown codec")
	errSize  = errors.New("decompressed data is larger than the limit")
	errShort = errors.New("compressed data ends early")
)

// Inflater decompresses batches of up to a limit. It may be used by many
// goroutines at once; the working memory of codecs is pooled.
type Inflater struct {
	limit int
	gzip  sync.Pool
	lz4   sync.Pool
	zstd  sync.Pool
}

// DefaultInflatedBytes is how far a batch may expand unless something else is said.
// Producers fill batches by uncompressed size, by default up to one mebibyte,
// so an honest batch stays far below.
const DefaultInflatedBytes = 64 << 20

// NewInflater returns an Inflater for batches that decompress to at most limit bytes.
func NewInflater(limit int) *Inflater {
	return &Inflater{limit: limit}
}

// inflate decompresses in into out, which is empty but may have room, or into
// new memory if that is not enough.
func (f *Inflater) inflate(out []byte, c Codec, in []byte) ([]byte, error) {
	switch c {
	case Gzip:
		z, _ := f.gzip.Get().(*gzip.Reader)
		if z == nil {
			z = new(gzip.Reader)
		}
		defer f.gzip.Put(z)
		if err := z.Reset(bytes.NewReader(in)); err != nil {
			return out, err
		}
		return f.drain(out, z)
	case Snappy:
		return f.snappy(out, in)
	case LZ4:
		z, _ := f.lz4.Get().(*lz4.Reader)
		if z == nil {
			z = lz4.NewReader(nil)
		}
		defer f.lz4.Put(z)
		z.Reset(bytes.NewReader(in))
		return f.drain(out, z)
	case Zstd:
		return f.zstandard(out, in)
	}
	return out, errCodec
}

// drain reads r to its end onto out. Memory grows with what is really read,
// whatever the data claims.
func (f *Inflater) drain(out []byte, r io.Reader) ([]byte, error) {
	for {
		if len(out) == cap(out) {
			out = slices.Grow(out, max(len(out), 4096))
		}
		n, err := r.Read(out[len(out):cap(out)])
		out = out[:len(out)+n]
		if len(out) > f.limit {
			return out, errSize
		}
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
	}
}

func (f *Inflater) zstandard(out, in []byte) ([]byte, error) {
	z, _ := f.zstd.Get().(*zstd.Decoder)
	if z == nil {
		var err error
		z, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(uint64(f.limit)))
		if err != nil {
			return out, err
		}
	}
	defer f.zstd.Put(z)
	got, err := z.DecodeAll(in, out)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return out, errSize
	}
	if err != nil {
		return out, err
	}
	return got, nil
}

// xerial begins data in the framing of snappy-java, which Java clients, kafka-go
// and franz-go write. librdkafka writes one bare block.
var xerial = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

func (f *Inflater) snappy(out, in []byte) ([]byte, error) {
	if len(in) < 16 || !bytes.HasPrefix(in, xerial) {
		return f.block(out, in)
	}
	var err error
	for in = in[16:]; len(in) > 0; {
		if len(in) < 4 {
			return out, errShort
		}
		n := int64(binary.BigEndian.Uint32(in))
		in = in[4:]
		if n > int64(len(in)) {
			return out, errShort
		}
		if out, err = f.block(out, in[:n]); err != nil {
			return out, err
		}
		in = in[n:]
	}
	return out, nil
}

// block appends one snappy block. A block begins with the size it claims to
// have; a copy of 64 bytes takes at least three, which bounds how much that can
// be and so what a liar can make us allocate.
func (f *Inflater) block(out, in []byte) ([]byte, error) {
	n, err := s2.DecodedLen(in)
	if err != nil {
		return out, err
	}
	if n > f.limit-len(out) {
		return out, errSize
	}
	if n > 22*len(in)+64 {
		return out, s2.ErrCorrupt
	}
	out = slices.Grow(out, n)
	b, err := s2.Decode(out[len(out):len(out)+n], in)
	if err != nil {
		return out, err
	}
	return out[:len(out)+len(b)], nil
}
