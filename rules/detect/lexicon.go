package detect

import (
	"strings"
	"unicode/utf8"
)

// word is a word that a detector knows, folded.
type word struct {
	text string
	tag  tag
}

// tag says what a word means to its detector.
type tag uint8

// lexicon finds words at a place of a text, by their first character.
type lexicon struct {
	by    map[rune][]word // the longest first
	ascii [utf8.RuneSelf][]word
}

// newLexicon makes a lexicon of words separated by blanks, a list for each tag. A _ stands for a
// blank in a word.
func newLexicon(lists map[tag]string) *lexicon {
	l := &lexicon{by: make(map[rune][]word)}
	for tag, list := range lists {
		for text := range strings.FieldsSeq(list) {
			text = strings.ReplaceAll(text, "_", " ")
			first, _ := utf8.DecodeRuneInString(text)
			at := 0
			for at < len(l.by[first]) && len(l.by[first][at].text) > len(text) {
				at++
			}
			words := append(l.by[first], word{})
			copy(words[at+1:], words[at:])
			words[at] = word{text, tag}
			l.by[first] = words
		}
	}
	for r, words := range l.by {
		if r < utf8.RuneSelf {
			l.ascii[r] = words
		}
	}
	return l
}

// maxWordGap is how many separators may stand between two characters of a word.
const maxWordGap = 2

// at returns the longest word that stands at a place, its tag and the place behind it. A word in
// Latin letters is a token of its own on the sides where it has a letter. With gaps, separators
// may stand between its characters.
func (l *lexicon) at(sc *Scratch, i int, gaps bool) (t tag, end int, ok bool) {
	s := sc.at(i)
	if s.kind == letter && sc.at(i-1).kind == letter {
		return 0, 0, false
	}
	var words []word
	if uint32(s.r) < utf8.RuneSelf {
		words = l.ascii[s.r]
	} else {
		words = l.by[s.r]
	}
	for _, w := range words {
		if end, ok := w.match(sc, i, gaps); ok {
			return w.tag, end, true
		}
	}
	return 0, 0, false
}

// match returns the place behind a word that stands at a place.
func (w *word) match(sc *Scratch, i int, gaps bool) (end int, ok bool) {
	for k, r := range w.text {
		if k > 0 && gaps && sc.at(i).r != r {
			j := i
			for j < i+maxWordGap && (sc.at(j).kind == mark || sc.at(j).kind == blank) {
				j++
			}
			i = j
		}
		if sc.at(i).r != r {
			return 0, false
		}
		i++
	}
	if sc.at(i-1).kind == letter && sc.at(i).kind == letter {
		return 0, false
	}
	return i, true
}

// before returns the longest word that ends before a place, and where it begins. Words begin with
// symbols that have the trait.
func (l *lexicon) before(sc *Scratch, i int, has uint8) (t tag, begin int, ok bool) {
	for begin = max(0, i-maxLookBack); begin < i; begin++ {
		if sc.at(begin).has&has == 0 {
			continue
		}
		if t, end, ok := l.at(sc, begin, false); ok && end == i {
			return t, begin, true
		}
	}
	return 0, 0, false
}

// maxLookBack is the length of the longest word that is looked for behind itself.
const maxLookBack = 12
