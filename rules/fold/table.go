package fold

import (
	"strconv"
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

// What a page says of a character, besides Drop: a positive number is the one
// character it becomes, Expands-n the expansion with number n.
const same rune = 0

// Small pages for the fold, where characters that fold are scattered among those
// that do not; larger ones for classes, which come in blocks.
const (
	pageBits = 6
	pageMask = 1<<pageBits - 1

	classBits = 8
	classMask = 1<<classBits - 1
)

// tables are the generated strings spread out for looking up: some 400 KB. Pages in
// which all characters are the same are shared.
type tables struct {
	ascii      [utf8.RuneSelf]rune
	index      [(utf8.MaxRune + 1) >> pageBits]uint16
	pages      [][1 << pageBits]rune // 0: all the same
	expansions []string
	classIndex [(utf8.MaxRune + 1) >> classBits]uint8
	classes    [][1 << classBits]Class // the first ones are all of the class with that number
}

// spread holds the tables once they are there. It is not a sync.OnceValue because a
// load can be compiled into its callers, which makes Rune and ClassOf twice as fast.
var spread atomic.Pointer[tables]

func table() *tables {
	if t := spread.Load(); t != nil {
		return t
	}
	return fill()
}

// fill builds the tables, in some 0.2 ms. Should several goroutines come first, each
// builds the same ones, and the last ones stay.
func fill() *tables {
	t := build()
	spread.Store(t)
	return t
}

func build() *tables {
	t := &tables{pages: make([][1 << pageBits]rune, 1, 1200)}
	each(runs, 3, func(r []rune) {
		for from := r[0]; from <= r[1]; from++ {
			t.set(from, r[2]+from-r[0])
		}
	})
	each(pairs, 2, func(r []rune) { t.set(r[0], r[1]) })
	each(drops, 2, func(r []rune) {
		for from := r[0]; from <= r[1]; from++ {
			t.set(from, Drop)
		}
	})
	t.expansions = make([]string, 0, strings.Count(expansions, "\n"))
	for line := range strings.Lines(expansions) {
		from, n := utf8.DecodeRuneInString(line)
		t.set(from, Expands-rune(len(t.expansions)))
		t.expansions = append(t.expansions, line[n:len(line)-1])
	}
	for r := range t.ascii {
		t.ascii[r] = t.pages[t.index[r>>pageBits]][r&pageMask]
	}
	t.classify()
	return t
}

// set notes what a character becomes.
func (t *tables) set(from, to rune) {
	at := &t.index[from>>pageBits]
	if *at == 0 {
		*at = uint16(len(t.pages))
		t.pages = append(t.pages, [1 << pageBits]rune{})
	}
	t.pages[*at][from&pageMask] = to
}

// each calls f with n characters at a time.
func each(s string, n int, f func([]rune)) {
	group := make([]rune, 0, 4)
	for _, r := range s {
		if group = append(group, r); len(group) == n {
			f(group)
			group = group[:0]
		}
	}
}

// classify reads the runs of classes.
func (t *tables) classify() {
	t.classes = make([][1 << classBits]Class, Stop+1, 1<<8)
	for c := range t.classes {
		for i := range t.classes[c] {
			t.classes[c][i] = Class(c)
		}
	}
	first := 0
	for run := range strings.FieldsSeq(classes) {
		hex, class, _ := strings.Cut(run, ":")
		n, err := strconv.ParseUint(hex, 16, 32)
		if err != nil {
			panic("fold: generated classes: " + err.Error())
		}
		last, c := int(n), class[0]-'0'
		for r := first; r <= last; {
			page := r >> classBits
			end := min(last, r|classMask)
			if r&classMask == 0 && end&classMask == classMask {
				t.classIndex[page] = c
			} else {
				if r&classMask == 0 {
					t.classIndex[page] = uint8(len(t.classes))
					t.classes = append(t.classes, [1 << classBits]Class{})
				}
				p := &t.classes[t.classIndex[page]]
				for i := r; i <= end; i++ {
					p[i&classMask] = Class(c)
				}
			}
			r = end + 1
		}
		first = last + 1
	}
}
