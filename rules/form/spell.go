package form

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/automaton"
	"github.com/weir-moderation/weir/rules/fold"
)

// reading is a way in which a text's symbols are rewritten before they are searched.
type reading uint8

const (
	plain    reading = 1 << iota // as decoded
	joined                       // without separators and repetitions
	numbered                     // joined, with digits for numerals
	lettered                     // tokens, with letters for digits and signs
)

// spelling is one way to write a term: a pattern of the automaton.
type spelling struct {
	term uint32
	runs uint32 // where in Matcher.runs the lengths of its runs begin, plus one; 0 if all are 1
	// exact is where in Matcher.exact the term is kept, plus one, if the joined reading tells
	// less than the term (separators are missing): then the text itself is compared.
	exact uint32
	form  Form // what this spelling takes by itself
	in    reading
	open  bool // it may stand inside a token
	// plainly says that where the joined reading holds it and took no form to read, it stands
	// in the text as it is: no other pattern looks for that.
	plainly bool
	// spread says that every letter must stand apart: it is a term of several words, and
	// together they make one that nobody listed.
	spread bool
}

// Limits of spellings.
const (
	// MaxSpellings is how many ways to write one term are looked for in one form. They
	// multiply with every character; those with the fewest changes come first.
	MaxSpellings = 64
	// MinInitials is how many syllables a term has at least that is looked for by their
	// first letters, MinSyllables by their sound unless the term says otherwise
	// ([Term.Syllables]). Two sounds alone are found in every tenth ordinary post (measured,
	// matching by syllables on 8,000 posts), three in one of five hundred.
	MinInitials  = 3
	MinSyllables = 3
	// minLeet is how many letters a term has at least that is looked for with digits and
	// signs in it.
	minLeet = 3
)

// speller collects the spellings of all terms.
type speller struct {
	patterns  []automaton.Pattern
	spellings []spelling // of each pattern
	written   []string   // of each pattern: what it was before it was made for a reading
	exact     []rune
	exactOpen map[int]bool // of the patterns of spellings with exact: the term may stand inside a token
	runs      []uint8
	ordinary  *Words
	marked    string // characters of which every one counts
}

// spell adds every spelling of a term.
func (s *speller) spell(number int, t *Term) {
	folded := fold.String(t.Text)
	s.add(number, t, folded, 0)
	seen := map[string]bool{folded: true}
	variant := func(text string, f Form) {
		if text != "" && !seen[text] && utf8.RuneCountInString(text) <= automaton.MaxSymbols {
			seen[text] = true
			s.add(number, t, text, f)
		}
	}
	if t.Forms&Split != 0 {
		for _, v := range variants(folded, splitsAt) {
			variant(v, Split)
		}
	}
	if t.Forms&Emoji != 0 {
		for _, v := range variants(folded, emojisAt) {
			variant(v, Emoji)
		}
	}
	if t.Forms&Digits != 0 {
		zeros := withZeros(folded)
		for _, v := range append(inStyles(zeros), zeros) {
			variant(v, Digits)
		}
	}
	if t.Forms&(Shape|Initials) == 0 || !onlyHan(folded) {
		return
	}
	if t.Forms&Shape != 0 {
		for _, v := range alikeOnce(folded) {
			if !s.ordinary.has(v) {
				variant(v, Shape)
			}
		}
	}
	if t.Forms&Initials != 0 {
		variant(initials(folded), Initials)
	}
}

// add adds one spelling as it stands in each reading that looks for it.
func (s *speller) add(number int, t *Term, text string, f Form) {
	sp := spelling{term: uint32(number), form: f, in: plain}
	if t.Forms&Leet != 0 && f == 0 {
		if l := letters(text); l != "" {
			s.pattern(t, l, text, spelling{term: sp.term, in: lettered})
		}
	}
	if t.Forms&joinedForms == 0 || f&Emoji != 0 || !s.addJoined(t, text, sp) {
		s.pattern(t, text, text, sp)
	}
}

// addJoined adds what a spelling is in the joined reading and those that rest on it. It reports
// whether the spelling is found by it also where it stands as it is.
func (s *speller) addJoined(t *Term, text string, sp spelling) bool {
	sp.in = joined
	inner := strings.TrimFunc(text, isSeparator)
	j, runs := join(inner, s.marked)
	if j == "" {
		return false
	}
	sp.runs = s.addRuns(runs)
	sp.plainly = inner == text && keepsApart(text, j, s.marked)
	if !sp.plainly {
		exact := sp
		exact.exact = uint32(len(s.exact)) + 1
		s.exact = append(append(s.exact, rune(utf8.RuneCountInString(text))), []rune(text)...)
		s.exactOpen[len(s.patterns)] = t.Substring
		s.pattern(&Term{Substring: true}, j, text, exact)
	}
	if inner != text || strings.ContainsFunc(text, func(r rune) bool { return isSeparator(r) && !strings.ContainsRune(between, r) }) {
		return true // what is part of the term is not read over
	}
	s.pattern(t, j, text, sp)
	if t.Forms&Spaced != 0 && sp.form == 0 && strings.Contains(j, " ") && letters(j) != "" {
		if apart, runs := join(strings.ReplaceAll(text, " ", ""), s.marked); apart != "" {
			s.pattern(t, apart, apart, spelling{term: sp.term, in: joined, runs: s.addRuns(runs), spread: true})
		}
	}
	if t.Forms&Digits != 0 && sp.form == 0 {
		if n := number(j); n != "" {
			s.pattern(t, n, n, spelling{term: sp.term, in: numbered})
		}
	}
	return true
}

// between are the separators that writers put between words. A term with others within is not
// read without them: they are part of it.
const between = " -'_·"

func isSeparator(r rune) bool { return fold.ClassOf(r) == fold.Separator }

// keepsApart reports whether the joined reading of a term tells as much as the term: only runs
// are missing, and no token at its edge could be one with a letter that stands apart.
func keepsApart(term, joined, marked string) bool {
	runes := []rune(term)
	token := func(i int) bool { return i >= 0 && i < len(runes) && fold.ClassOf(runes[i]) == fold.Token }
	n := len(runes)
	if token(0) && !token(1) || token(n-1) && !token(n-2) {
		return false
	}
	var out []rune
	for i, r := range runes {
		if i > 0 && r == runes[i-1] && fold.ClassOf(r) != fold.Separator && !strings.ContainsRune(marked, r) {
			continue
		}
		out = append(out, r)
	}
	return string(out) == joined
}

// addRuns keeps the lengths of a spelling's runs and returns where, plus one.
func (s *speller) addRuns(runs []uint8) uint32 {
	if runs == nil {
		return 0
	}
	s.runs = append(s.runs, runs...)
	return uint32(len(s.runs)-len(runs)) + 1
}

func (s *speller) pattern(t *Term, text, written string, sp spelling) {
	// First letters, letters in disguise and digits are only ever a word of their own.
	substring := t.Substring && sp.form&(Initials|Digits) == 0 && sp.in != lettered
	sp.open = substring
	s.patterns = append(s.patterns, automaton.Pattern{Text: text, Substring: substring})
	s.spellings = append(s.spellings, sp)
	s.written = append(s.written, written)
}

// putAside makes the patterns of the plain reading those that are aside: most terms are found
// by the joined reading also where they stand as they are. Those that are one character again and
// again, which that reading has only once, are taken out: they are looked for where it left
// something out.
func (s *speller) putAside() (rows []repetition) {
	n := 0
	for i, sp := range s.spellings {
		if sp.in == plain {
			runes := []rune(s.patterns[i].Text)
			row := len(runes) > 1 && len(slices.Compact(slices.Clone(runes))) == 1
			if r := runes[0]; row && !isSeparator(r) && !strings.ContainsRune(s.marked, r) {
				rows = append(rows, repetition{r: r, n: len(runes), spelling: sp, whole: !s.patterns[i].Substring && fold.ClassOf(r) == fold.Token})
				continue
			}
		}
		s.patterns[n], s.spellings[n], s.written[n] = s.patterns[i], sp, s.written[i]
		s.patterns[n].Aside = sp.in == plain
		s.exactOpen[n] = s.exactOpen[i]
		n++
	}
	s.patterns, s.spellings, s.written = s.patterns[:n], s.spellings[:n], s.written[:n]
	return rows
}

// repetition is a term of one character n times.
type repetition struct {
	r        rune
	n        int
	spelling spelling
	whole    bool // only as a whole token
}

// variants returns a text with some of its characters written otherwise: every choice
// of what at offers, those with one change first, at most MaxSpellings.
func variants(text string, at func(text string) []replacement) []string {
	list := []string{text}
	for changed, from := 0, 0; changed < MaxSpellings && from < len(list); from++ {
		// Only behind the last change, so that each choice comes about once.
		base := list[from]
		done := 0
		if from > 0 {
			done = strings.IndexByte(base, 0) + 1
		}
		for i := range base[done:] {
			for _, r := range at(base[done+i:]) {
				if len(list) > MaxSpellings {
					break
				}
				// The zero byte marks how far the changes have come.
				list = append(list, strings.ReplaceAll(base[:done+i], "\x00", "")+r.by+"\x00"+base[done+i+r.n:])
			}
		}
	}
	for i := range list {
		list[i] = strings.ReplaceAll(list[i], "\x00", "")
	}
	return list[1:]
}

// replacement is something that may stand for the first n bytes of a text.
type replacement struct {
	n  int
	by string
}

func splitsAt(text string) []replacement {
	r, n := utf8.DecodeRuneInString(text)
	var list []replacement
	for _, parts := range splits(r) {
		list = append(list, replacement{n, parts})
	}
	return list
}

func emojisAt(text string) []replacement {
	var list []replacement
	n := 0
	for _, r := range text {
		n += utf8.RuneLen(r)
		for _, e := range emojis(text[:n]) {
			list = append(list, replacement{n, e})
		}
		if n >= maxEmojiReading()*utf8.UTFMax {
			break
		}
	}
	return list
}

// alikeOnce returns a text with one character replaced by one that looks like it.
func alikeOnce(text string) []string {
	var list []string
	for i, r := range text {
		for _, a := range alikes(r) {
			list = append(list, text[:i]+string(a)+text[i+utf8.RuneLen(r):])
		}
	}
	return list
}

// initials returns the first letters of the syllables of a Han text, nothing if one has
// no reading or there are fewer than MinInitials.
func initials(text string) string {
	var b []byte
	for _, r := range text {
		s, _ := readings(r)
		if s == 0 {
			return ""
		}
		b = append(b, syllableNames()[s][0])
	}
	if len(b) < MinInitials {
		return ""
	}
	return string(b)
}

func onlyHan(text string) bool {
	for _, r := range text {
		if fold.ClassOf(r) != fold.Han {
			return false
		}
	}
	return text != ""
}
