package batch

import "encoding/binary"

// parse reads the record at the beginning of b into rec and returns how many
// bytes it takes. It returns false if the record does not keep inside its own
// length, or its offset not inside its batch.
//
// This is the hot loop of reading: fields are read in place, and most varints
// are one byte.
func parse(b []byte, h *head, rec *Record) (int, bool) {
	size, k := varint(b)
	if k == 0 || size < minRecordLen-1 || size > int64(len(b)-k) {
		return 0, false
	}
	n := k + int(size)
	b = b[k+1 : n : n] // the byte of attributes has no use yet

	delta, k := varint(b)
	if k == 0 {
		return 0, false
	}
	b = b[k:]
	if h.appendTime != noTime {
		rec.Time = h.appendTime
	} else {
		rec.Time = h.firstTime + delta
	}

	delta, k = varint(b)
	if k == 0 || delta < 0 || delta > h.last-h.base {
		return 0, false
	}
	b = b[k:]
	rec.Offset = h.base + delta

	var ok bool
	if rec.Key, b, ok = nullable(b); !ok {
		return 0, false
	}
	if rec.Value, b, ok = nullable(b); !ok {
		return 0, false
	}

	count, k := varint(b)
	if k == 0 || count < 0 || count > int64(len(b)) {
		return 0, false
	}
	b = b[k:]
	rec.Corrupt = ""
	rec.headers, rec.count = b, int(count)
	for range count {
		size, k = varint(b)
		if k == 0 || size < 0 || size > int64(len(b)-k) {
			return 0, false
		}
		b = b[k+int(size):]
		if _, b, ok = nullable(b); !ok {
			return 0, false
		}
	}
	return n, len(b) == 0
}

// nullable reads bytes with their length in front; a negative length is null.
func nullable(b []byte) (v, rest []byte, ok bool) {
	n, k := varint(b)
	if k == 0 || n > int64(len(b)-k) {
		return nil, nil, false
	}
	if n < 0 {
		return nil, b[k:], true
	}
	end := k + int(n)
	return b[k:end:end], b[end:], true
}

// varint reads a zigzag varint and returns how long it is, 0 if it is none.
func varint(b []byte) (int64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return int64(b[0]>>1) ^ -int64(b[0]&1), 1
	}
	return longVarint(b)
}

func longVarint(b []byte) (int64, int) {
	v, k := binary.Varint(b)
	return v, max(k, 0)
}
