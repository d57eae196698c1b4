package wire

import "encoding/binary"

// Writer builds a request, or a part of one. The zero Writer is empty.
type Writer struct{ B []byte }

// Begin starts a request in place of what the Writer holds; Finish fills in its
// length.
func (w *Writer) Begin(a API, client string) {
	w.B = append(w.B[:0], 0, 0, 0, 0)
	w.I16(int16(a.Key))
	w.I16(a.Version)
	w.I32(correlation)
	w.Str(client)
	if a.Flexible {
		w.NoTags()
	}
}

// Finish returns the request that Begin started. It is good until the next Begin.
func (w *Writer) Finish() []byte {
	binary.BigEndian.PutUint32(w.B, uint32(len(w.B)-4))
	return w.B
}

// I8 writes a byte.
func (w *Writer) I8(v int8) { w.B = append(w.B, byte(v)) }

// I16 writes two bytes, the higher first.
func (w *Writer) I16(v int16) { w.B = binary.BigEndian.AppendUint16(w.B, uint16(v)) }

// I32 writes four bytes.
func (w *Writer) I32(v int32) { w.B = binary.BigEndian.AppendUint32(w.B, uint32(v)) }

// I64 writes eight bytes.
func (w *Writer) I64(v int64) { w.B = binary.BigEndian.AppendUint64(w.B, uint64(v)) }

// Bool writes a byte, 1 for true.
func (w *Writer) Bool(v bool) {
	if v {
		w.I8(1)
	} else {
		w.I8(0)
	}
}

// Len writes the length of an array.
func (w *Writer) Len(n int) { w.I32(int32(n)) }

// ByTopic writes an array of topics, each with an array of its n items in all:
// those of one topic stand together, and each is written by item.
func (w *Writer) ByTopic(n int, topic func(i int) string, item func(i int)) {
	topics := 0
	for i := range n {
		if i == 0 || topic(i) != topic(i-1) {
			topics++
		}
	}
	w.Len(topics)
	for i := 0; i < n; {
		end := i
		for end < n && topic(end) == topic(i) {
			end++
		}
		w.Str(topic(i))
		w.Len(end - i)
		for ; i < end; i++ {
			item(i)
		}
	}
}

// Str writes a string with its length in front.
func (w *Writer) Str(s string) {
	w.I16(int16(len(s)))
	w.B = append(w.B, s...)
}

// StrOrNull writes a string, and null for an empty one.
func (w *Writer) StrOrNull(s string) {
	if s == "" {
		w.I16(-1)
		return
	}
	w.Str(s)
}

// Bytes writes bytes with their length in front.
func (w *Writer) Bytes(b []byte) {
	w.I32(int32(len(b)))
	w.B = append(w.B, b...)
}

// Uvar writes a length as flexible messages have it.
func (w *Writer) Uvar(n int) { w.B = binary.AppendUvarint(w.B, uint64(n)) }

// CompactLen writes the length of an array in a flexible message.
func (w *Writer) CompactLen(n int) { w.Uvar(n + 1) }

// CompactStr writes a string in a flexible message.
func (w *Writer) CompactStr(s string) {
	w.CompactLen(len(s))
	w.B = append(w.B, s...)
}

// NoTags ends a structure of a flexible message.
func (w *Writer) NoTags() { w.B = append(w.B, 0) }
