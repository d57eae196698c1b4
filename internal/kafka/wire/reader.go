package wire

import (
	"encoding/binary"

	kafkago "github.com/segmentio/kafka-go"
)

// Reader reads an answer, or a part of one. After the first short read every
// value is zero and Err is set.
type Reader struct {
	B   []byte // what is left
	Err error
}

func (r *Reader) take(n int) []byte {
	if r.Err != nil || n < 0 || n > len(r.B) {
		r.Err, r.B = ErrShort, nil
		return nil
	}
	x := r.B[:n:n]
	r.B = r.B[n:]
	return x
}

// I8 reads a byte.
func (r *Reader) I8() int8 {
	if x := r.take(1); x != nil {
		return int8(x[0])
	}
	return 0
}

// I16 reads two bytes.
func (r *Reader) I16() int16 {
	if x := r.take(2); x != nil {
		return int16(binary.BigEndian.Uint16(x))
	}
	return 0
}

// I32 reads four bytes.
func (r *Reader) I32() int32 {
	if x := r.take(4); x != nil {
		return int32(binary.BigEndian.Uint32(x))
	}
	return 0
}

// I64 reads eight bytes.
func (r *Reader) I64() int64 {
	if x := r.take(8); x != nil {
		return int64(binary.BigEndian.Uint64(x))
	}
	return 0
}

// Code reads an error code; nil stands for none. What it returns is a
// kafkago.Error, or Err after a short read.
func (r *Reader) Code() error {
	if c := kafkago.Error(r.I16()); r.Err == nil && c != 0 {
		return c
	}
	return r.Err
}

// Str reads a string; null is empty.
func (r *Reader) Str() string {
	n := r.I16()
	if n < 0 {
		return ""
	}
	return string(r.take(int(n)))
}

// Bytes reads bytes; null is nil. They belong to the answer.
func (r *Reader) Bytes() []byte {
	n := r.I32()
	if n < 0 {
		return nil
	}
	return r.take(int(n))
}

// Each reads the length of an array and calls f for every element. An element
// takes at least one byte, so a length that lies is soon found out.
func (r *Reader) Each(f func()) {
	for n := r.I32(); n > 0 && r.Err == nil; n-- {
		f()
	}
}

// Uvar reads a length of a flexible message.
func (r *Reader) Uvar() int {
	v, n := binary.Uvarint(r.B)
	if n <= 0 || v > MaxAnswer {
		r.take(-1)
		return 0
	}
	r.take(n)
	return int(v)
}

// CompactEach is Each in a flexible message.
func (r *Reader) CompactEach(f func()) {
	for n := r.Uvar() - 1; n > 0 && r.Err == nil; n-- {
		f()
	}
}

// CompactStr reads a string of a flexible message; null is empty.
func (r *Reader) CompactStr() string { return string(r.take(max(0, r.Uvar()-1))) }

// Tags reads the end of a structure of a flexible message and leaves out what
// newer brokers say there.
func (r *Reader) Tags() {
	for n := r.Uvar(); n > 0 && r.Err == nil; n-- {
		r.Uvar()
		r.take(r.Uvar())
	}
}
