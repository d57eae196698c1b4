package rules

import (
	"slices"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/fold"
)

// foldedText is a folded text with the way back to the original, in the plainest way: the
// reference of the differential test.
type foldedText struct {
	src    []byte
	folded []byte
	starts []uint32 // where in src the character of each folded byte begins
}

// Fold folds src, which must not change while the Text is in use.
func (t *foldedText) Fold(src []byte) {
	t.src, t.folded, t.starts = src, t.folded[:0], t.starts[:0]
	for i := 0; i < len(src); {
		_, n := utf8.DecodeRune(src[i:])
		t.folded = fold.Append(t.folded, src[i:i+n])
		for len(t.starts) < len(t.folded) {
			t.starts = append(t.starts, uint32(i))
		}
		i += n
	}
}

// Bytes returns the folded text, UTF-8, valid until the next Fold.
func (t *foldedText) Bytes() []byte { return t.folded }

// Span returns the bytes of the original that the folded bytes lo up to and not
// including hi came from: from the beginning of the first one's character to the
// end of the last one's. Dropped characters before and after are not part of it,
// those between are. An empty span stays empty.
func (t *foldedText) Span(lo, hi int) (start, end int) {
	starts := slices.Concat(t.starts, []uint32{uint32(len(t.src))})
	start = int(starts[lo])
	if hi <= lo {
		return start, start
	}
	last := int(starts[hi-1])
	_, n := utf8.DecodeRune(t.src[last:])
	return start, last + n
}
