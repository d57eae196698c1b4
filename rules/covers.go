package rules

import (
	"cmp"
	"slices"

	"github.com/weir-moderation/weir/rules/form"
)

// covers are where exceptions stand in a field: whoever wrote 反赌博 there, in one piece or in
// escapes, spares the 赌博 in it, in whatever reading that is found. Only what merely sounds or
// looks like an exception spares no more than what merely sounds or looks like a term.
type covers struct {
	known bool // they are those of the field at hand
	sure  []cover
	weak  []cover
	form  form.Scratch
}

// cover is an occurrence of an exception.
type cover struct {
	exception  int32
	start, end int // bytes of the field
}

// find looks for the exceptions in a text.
func (c *covers) find(m *form.Matcher, text []byte) {
	c.known, c.sure, c.weak = true, c.sure[:0], c.weak[:0]
	m.Find(&c.form, text, func(h form.Hit) (more bool) {
		list := &c.sure
		if h.Form.Weak() {
			list = &c.weak
		}
		*list = append(*list, cover{int32(h.Term), h.Start, h.End})
		return true
	})
	c.sure, c.weak = outermost(c.sure), outermost(c.weak)
}

// outermost sorts occurrences by exception and place and leaves out those that lie inside another
// one of the same exception. Of those that are left, who begins later ends later.
func outermost(list []cover) []cover {
	slices.SortFunc(list, func(a, b cover) int {
		return cmp.Or(cmp.Compare(a.exception, b.exception), cmp.Compare(a.start, b.start), cmp.Compare(b.end, a.end))
	})
	out := list[:0]
	for _, c := range list {
		if n := len(out); n == 0 || out[n-1].exception != c.exception || out[n-1].end < c.end {
			out = append(out, c)
		}
	}
	return out
}

// by returns the exception that covers an occurrence of a term, -1 if none does.
func (c *covers) by(u *use, h *form.Hit) int32 {
	for _, x := range u.by {
		if covered(c.sure, x, h) || h.Form.Weak() && covered(c.weak, x, h) {
			return x
		}
	}
	return -1
}

// covered reports whether a hit lies inside an occurrence of an exception.
func covered(list []cover, exception int32, h *form.Hit) bool {
	// The last one that does not begin behind the hit reaches farthest.
	i, same := slices.BinarySearchFunc(list, cover{exception: exception, start: h.Start}, func(a, b cover) int {
		return cmp.Or(cmp.Compare(a.exception, b.exception), cmp.Compare(a.start, b.start))
	})
	if !same {
		i--
	}
	return i >= 0 && list[i].exception == exception && list[i].end >= h.End
}
