package main

import (
	_ "embed"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// disguise is a way to hide a term.
type disguise struct {
	name string
	form string // the form that reads it, or why none does
	// write returns the term in disguise; nothing if this term cannot be disguised so. In the text it returns the term's
	// first character begins at the first byte and its last one ends at the last.
	write func(r *rand.Rand, term []rune) string
}

// What people put between characters.
var (
	invisible = []string{"\u200B", "\u200C", "\u200D", "\u2060", "\uFEFF", "\u00AD"}
	signs     = []string{" ", ".", "-", "_", "*", "·", "~", "/", "|", "+", "=", "#", "^"}
	smileys   = []string{"😂", "🔥", "❤️", "👍", "✨", "💯", "🌸", "⭐"}
	markup    = []string{"\n", "**", "</b><b>", "<br>", "<i></i>", "\r\n"}
)

// tables are what some disguises look characters up in.
type tables struct {
	traditional map[rune]string
	reading     map[rune]string   // a character's syllable
	alike       map[rune][]string // characters of the same syllable
	splits      map[rune][]string
	shapes      map[rune][]string
	pictures    map[string][]string // by word
}

//go:embed traditional.txt
var traditionalText string

//go:embed readings.txt
var readingsText string

//go:embed splits.txt
var splitsText string

//go:embed shapes.txt
var shapesText string

//go:embed pictures.txt
var picturesText string

func readTables() (*tables, error) {
	t := &tables{map[rune]string{}, map[rune]string{}, map[rune][]string{}, map[rune][]string{}, map[rune][]string{}, map[string][]string{}}
	for _, pair := range slices.Concat(lines(traditionalText)...) {
		from, n := utf8.DecodeRuneInString(pair)
		t.traditional[from] = pair[n:]
	}
	for _, f := range lines(readingsText) {
		if len(f) != 2 {
			return nil, fmt.Errorf("readings.txt: %q, want a syllable and characters", f)
		}
		for _, r := range f[1] {
			t.reading[r] = f[0]
			t.alike[r] = others(f[1], r)
		}
	}
	for _, f := range lines(splitsText) {
		r, n := utf8.DecodeRuneInString(f[0])
		if n != len(f[0]) || len(f) < 2 {
			return nil, fmt.Errorf("splits.txt: %q, want a character and ways to write it", f)
		}
		t.splits[r] = f[1:]
	}
	for _, group := range slices.Concat(lines(shapesText)...) {
		for _, r := range group {
			t.shapes[r] = append(t.shapes[r], others(group, r)...)
		}
	}
	for _, f := range lines(picturesText) {
		t.pictures[f[0]] = f[1:]
	}
	return t, nil
}

// lines returns the fields of every line that is no comment.
func lines(text string) [][]string {
	var all [][]string
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 0 && f[0][0] != '#' {
			all = append(all, f)
		}
	}
	return all
}

// others returns the characters of a group but one.
func others(group string, but rune) []string {
	var list []string
	for _, r := range group {
		if r != but {
			list = append(list, string(r))
		}
	}
	return list
}

// choice returns one of a list.
func choice[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// replace writes characters otherwise: each that of says a way for with a probability, and one at least. It returns
// nothing if there is no such character.
func replace(r *rand.Rand, term []rune, probability float64, of func(c rune) string) string {
	out := make([]string, len(term))
	var places []int
	for i, c := range term {
		out[i] = string(c)
		if w := of(c); w != "" {
			places = append(places, i)
		}
	}
	if places == nil {
		return ""
	}
	sure := choice(r, places)
	for _, i := range places {
		if i == sure || r.Float64() < probability {
			out[i] = of(term[i])
		}
	}
	return strings.Join(out, "")
}

// between puts something between characters: in each gap with a probability, and in one at least.
func between(r *rand.Rand, term []rune, probability float64, gap func() string) string {
	if len(term) < 2 {
		return ""
	}
	var b strings.Builder
	sure := 1 + r.IntN(len(term)-1)
	for i, c := range term {
		if i == sure || i > 0 && r.Float64() < probability {
			b.WriteString(gap())
		}
		b.WriteRune(c)
	}
	return b.String()
}

// from returns a way to write a character: one of those that a table has for it.
func from(r *rand.Rand, table map[rune][]string) func(c rune) string {
	return func(c rune) string {
		if len(table[c]) == 0 {
			return ""
		}
		return choice(r, table[c])
	}
}

// one returns a gap that is one of a list.
func one(r *rand.Rand, list []string) func() string { return func() string { return choice(r, list) } }

// always returns a gap that is the same everywhere.
func always(gap string) func() string { return func() string { return gap } }

// allHan reports whether a term is Chinese characters only, between min and max of them.
func allHan(term []rune, least, most int) bool {
	return len(term) >= least && len(term) <= most && !slices.ContainsFunc(term, func(c rune) bool { return !isHan(c) })
}

// chinese returns the disguises of Chinese terms.
func (t *tables) chinese() []disguise {
	const long = 64
	typed := func(c rune) string { return t.reading[c] }
	// sound writes a term of enough characters by readings, if all are known.
	sound := func(term []rune, least, most int, write func() string) string {
		if !allHan(term, least, most) || slices.ContainsFunc(term, func(c rune) bool { return t.reading[c] == "" }) {
			return ""
		}
		return write()
	}
	traditional := func(r *rand.Rand, term []rune) string {
		return replace(r, term, 1, func(c rune) string { return t.traditional[c] })
	}
	hidden := func(r *rand.Rand, term []rune) string { return between(r, term, 0.5, one(r, invisible)) }
	oneSign := func(r *rand.Rand, term []rune) string { return between(r, term, 1, always(choice(r, signs))) }
	doubled := func(r *rand.Rand, term []rune) string {
		s := replace(r, term, 0.5, func(c rune) string {
			if isHan(c) {
				return string([]rune{c, c})
			}
			return ""
		})
		if strings.Contains(s, string(term)) {
			return "" // only at its edge: it stands there as it is
		}
		return s
	}
	split := func(r *rand.Rand, term []rune) string { return replace(r, term, 0.6, from(r, t.splits)) }
	return []disguise{
		{"none", "fold", func(_ *rand.Rand, term []rune) string { return string(term) }},
		{"traditional characters", "fold", traditional},
		{"invisible characters between", "fold", hidden},
		{"one sign in every gap", "squeeze", oneSign},
		{"one or two signs in half of the gaps", "squeeze", func(r *rand.Rand, term []rune) string {
			return between(r, term, 0.5, func() string { return strings.Repeat(choice(r, signs), 1+r.IntN(2)) })
		}},
		{"emoji in half of the gaps", "squeeze", func(r *rand.Rand, term []rune) string { return between(r, term, 0.5, one(r, smileys)) }},
		{"markup and line breaks in half of the gaps", "squeeze, decode", func(r *rand.Rand, term []rune) string {
			return between(r, term, 0.5, one(r, markup))
		}},
		{"doubled characters", "repeat", doubled},
		{"entities", "decode", entities},
		{"percent escapes", "decode", percents},
		{"backslash escapes", "decode", backslashes},
		{"numerals in another writing", "digits", numerals},
		{"split characters", "split", split},
		{"split characters with signs between", "squeeze+split", func(r *rand.Rand, term []rune) string {
			if s := split(r, term); s != "" {
				return oneSign(r, []rune(s))
			}
			return ""
		}},
		{"typed by syllables", "pinyin", func(r *rand.Rand, term []rune) string {
			return sound(term, 3, long, func() string { return strings.Join(each(term, typed), choice(r, []string{" ", "-", "."})) })
		}},
		{"typed in one go", "pinyin", func(_ *rand.Rand, term []rune) string {
			return sound(term, 3, long, func() string { return strings.Join(each(term, typed), "") })
		}},
		{"half of it typed", "pinyin", func(r *rand.Rand, term []rune) string {
			return sound(term, 3, long, func() string { return replace(r, term, 0.5, typed) })
		}},
		{"homophones for half of it", "pinyin", func(r *rand.Rand, term []rune) string {
			return sound(term, 3, long, func() string { return replace(r, term, 0.5, from(r, t.alike)) })
		}},
		{"homophones for all of it", "pinyin", func(r *rand.Rand, term []rune) string {
			return sound(term, 3, long, func() string { return replace(r, term, 1, from(r, t.alike)) })
		}},
		{"homophones with signs between", "pinyin", func(r *rand.Rand, term []rune) string {
			return sound(term, 3, long, func() string { return oneSign(r, []rune(replace(r, term, 1, from(r, t.alike)))) })
		}},
		{"first letters", "initials", func(_ *rand.Rand, term []rune) string {
			return sound(term, 3, long, func() string {
				return strings.Join(each(term, func(c rune) string { return t.reading[c][:1] }), "")
			})
		}},
		{"emoji for words", "emoji", func(r *rand.Rand, term []rune) string { return t.depict(r, string(term)) }},
		{"one character for its shape", "shape", func(r *rand.Rand, term []rune) string {
			if !allHan(term, 2, long) {
				return ""
			}
			return replace(r, term, 0, from(r, t.shapes))
		}},
		{"two or three of the sure ones at once", "several", func(r *rand.Rand, term []rune) string {
			return several(r, term, traditional, split, doubled, hidden, oneSign, entities)
		}},
		{"homophones, terms of two characters", "none: too short", func(r *rand.Rand, term []rune) string {
			return sound(term, 2, 2, func() string { return replace(r, term, 1, from(r, t.alike)) })
		}},
		{"partly split, partly typed", "none: split+pinyin", func(r *rand.Rand, term []rune) string {
			at := slices.IndexFunc(term, func(c rune) bool { return len(t.splits[c]) > 0 })
			return sound(term, 3, long, func() string {
				if at < 0 {
					return ""
				}
				parts := each(term, typed)
				parts[at] = choice(r, t.splits[term[at]])
				return strings.Join(parts, " ")
			})
		}},
		{"backwards", "none", backwards},
	}
}

// each returns what f makes of every character.
func each(term []rune, f func(c rune) string) []string {
	var list []string
	for _, c := range term {
		list = append(list, f(c))
	}
	return list
}

// depict writes one word of the term as an emoji.
func (t *tables) depict(r *rand.Rand, term string) string {
	var ways []string
	for i := range term {
		for n, to := 0, i; n < 2 && to < len(term); n++ { // a word has one or two characters
			_, size := utf8.DecodeRuneInString(term[to:])
			to += size
			for _, picture := range t.pictures[term[i:to]] {
				ways = append(ways, term[:i]+picture+term[to:])
			}
		}
	}
	if ways == nil || !allHan([]rune(term), 2, 64) {
		return ""
	}
	return choice(r, ways)
}

// several applies two or three of the ways, in their order. It returns nothing if one does not apply.
func several(r *rand.Rand, term []rune, ways ...func(*rand.Rand, []rune) string) string {
	chosen := r.Perm(len(ways))[:2+r.IntN(2)]
	slices.Sort(chosen)
	for _, i := range chosen {
		if term = []rune(ways[i](r, term)); len(term) == 0 {
			return ""
		}
	}
	return string(term)
}

// entities writes characters as numeric character references, decimal or hexadecimal.
func entities(r *rand.Rand, term []rune) string {
	return replace(r, term, 0.7, func(c rune) string { return fmt.Sprintf(choice(r, []string{"&#%d;", "&#x%x;", "&#X%X;"}), c) })
}

// percents writes characters as they stand in addresses.
func percents(r *rand.Rand, term []rune) string {
	return replace(r, term, 0.7, func(c rune) string {
		if c < utf8.RuneSelf {
			return fmt.Sprintf("%%%02X", c)
		}
		return url.QueryEscape(string(c))
	})
}

// backslashes writes characters as they stand in source code.
func backslashes(r *rand.Rand, term []rune) string {
	return replace(r, term, 0.7, func(c rune) string {
		if c > 0xFFFF {
			return ""
		}
		if c < 0x80 && r.IntN(2) == 0 {
			return fmt.Sprintf(`\x%02x`, c)
		}
		return fmt.Sprintf(`\u%04x`, c)
	})
}

// numerals writes every digit and numeral in another writing.
func numerals(r *rand.Rand, term []rune) string {
	writings := []string{"0123456789", "零一二三四五六七八九", "零壹贰叁肆伍陆柒捌玖", "０１２３４５６７８９", "⓪①②③④⑤⑥⑦⑧⑨"}
	return replace(r, term, 1, func(c rune) string {
		for i, w := range writings {
			if digit := slices.Index([]rune(w), c); digit >= 0 {
				other := (i + 1 + r.IntN(len(writings)-1)) % len(writings)
				return string([]rune(writings[other])[digit])
			}
		}
		return ""
	})
}

// backwards writes a term from its end, unless it reads the same.
func backwards(_ *rand.Rand, term []rune) string {
	back := slices.Clone(term)
	slices.Reverse(back)
	if slices.Equal(back, term) {
		return ""
	}
	return string(back)
}

// Latin letters, each with characters that are taken for it, by hand for this measurement: Cyrillic, Greek, Armenian,
// small capitals and letters of phonetic writing.
var lookalikes = map[rune][]string{
	'a': {"а", "α", "ɑ"}, 'b': {"Ь", "ʙ"}, 'c': {"с", "ϲ", "ᴄ"}, 'd': {"ԁ", "ᴅ"}, 'e': {"е", "ҽ", "ᴇ"}, 'f': {"ғ", "ꜰ"},
	'g': {"ɡ", "ɢ"}, 'h': {"һ", "ʜ"}, 'i': {"і", "ι", "ɪ"}, 'j': {"ј"}, 'k': {"к", "κ", "ᴋ"}, 'l': {"ӏ", "ʟ", "ⅼ"},
	'm': {"м", "ᴍ"}, 'n': {"ո", "ɴ"}, 'o': {"о", "ο", "ᴏ"}, 'p': {"р", "ρ", "ᴘ"}, 'q': {"ԛ"}, 'r': {"г", "ʀ"}, 's': {"ѕ", "ꜱ"},
	't': {"т", "τ", "ᴛ"}, 'u': {"υ", "ս", "ᴜ"}, 'v': {"ν", "ᴠ"}, 'w': {"ԝ", "ω", "ᴡ"}, 'x': {"х", "χ"}, 'y': {"у", "γ", "ʏ"}, 'z': {"ᴢ"},
}

// leet is what stands for letters, by hand for this measurement.
var leet = map[rune][]string{
	'a': {"4", "@"}, 'b': {"8"}, 'e': {"3"}, 'g': {"9"}, 'i': {"1", "!"}, 'l': {"1"}, 'o': {"0"}, 's': {"5", "$"}, 't': {"7"}, 'z': {"2"},
}

// styles are where Unicode has the letters from a on in another style: bold, italic bold, script, Fraktur,
// double-struck, sans-serif, monospace, circled; in capitals, squared, circled white on black, and of flags.
var styles = []rune{0x1D41A, 0x1D482, 0x1D4EA, 0x1D586, 0x1D552, 0x1D5EE, 0x1D68A, 0x24D0, 0x1F130, 0x1F150, 0x1F1E6}

// latin returns the disguises of Latin terms.
func (t *tables) latin() []disguise {
	capitals := func(r *rand.Rand, term []rune) string {
		return replace(r, term, 0.5, func(c rune) string {
			if c == ' ' {
				return ""
			}
			return string(unicode.ToUpper(c))
		})
	}
	// letters writes letters otherwise, in small ones first.
	letters := func(r *rand.Rand, term []rune, probability float64, of func(c rune) string) string {
		return replace(r, []rune(strings.ToLower(string(term))), probability, func(c rune) string {
			if c == ' ' {
				return ""
			}
			return of(c)
		})
	}
	offset := func(_ *rand.Rand, first rune) func(c rune) string {
		return func(c rune) string { return string(first + c - 'a') }
	}
	similar := func(r *rand.Rand, term []rune) string { return letters(r, term, 0.6, from(r, lookalikes)) }
	accents := func(r *rand.Rand, term []rune) string {
		return letters(r, term, 0.6, func(c rune) string { return string(c) + choice(r, []string{"\u0301", "\u0308", "\u0336", "\u0323"}) })
	}
	hidden := func(r *rand.Rand, term []rune) string { return between(r, term, 0.5, one(r, invisible)) }
	longer := func(r *rand.Rand, term []rune) string {
		return letters(r, term, 0.2, func(c rune) string { return strings.Repeat(string(c), 3+r.IntN(4)) })
	}
	spaced := func(list []string) func(*rand.Rand, []rune) string {
		return func(r *rand.Rand, term []rune) string {
			if slices.Contains(term, ' ') {
				return ""
			}
			return between(r, term, 1, always(choice(r, list)))
		}
	}
	disguised := func(r *rand.Rand, term []rune) string { return letters(r, term, 0.6, from(r, leet)) }
	// inside puts something between two letters of a term of one word.
	inside := func(list []string) func(*rand.Rand, []rune) string {
		return func(r *rand.Rand, term []rune) string {
			if slices.Contains(term, ' ') {
				return ""
			}
			return between(r, term, 0, one(r, list))
		}
	}
	return []disguise{
		{"none", "fold", func(_ *rand.Rand, term []rune) string { return string(term) }},
		{"capitals here and there", "fold", capitals},
		{"full width", "fold", func(r *rand.Rand, term []rune) string { return letters(r, term, 1, offset(r, 'ａ')) }},
		{"letters of another style", "fold", func(r *rand.Rand, term []rune) string {
			return letters(r, term, 1, offset(r, choice(r, styles)))
		}},
		{"letters of other scripts", "fold", similar},
		{"accents and strokes", "fold", accents},
		{"invisible characters between", "fold", hidden},
		{"lengthened", "repeat", longer},
		{"one letter doubled", "repeat", func(r *rand.Rand, term []rune) string {
			return letters(r, term, 0, func(c rune) string { return string([]rune{c, c}) })
		}},
		{"letters apart", "spaced", spaced([]string{" "})},
		{"one sign in every gap", "spaced", spaced(signs[1:])},
		{"digits and signs for letters", "leet", disguised},
		{"the same, lengthened", "repeat+leet", func(r *rand.Rand, term []rune) string {
			if s := longer(r, term); s != "" {
				return disguised(r, []rune(s))
			}
			return ""
		}},
		{"entities", "decode", entities},
		{"percent escapes", "decode", percents},
		{"backslash escapes", "decode", backslashes},
		{"tags inside", "decode", inside([]string{"<b></b>", "<!-- -->", "<i/>", "</span><span>"})},
		{"two or three of the sure ones at once", "several", func(r *rand.Rand, term []rune) string {
			return several(r, term, longer, similar, accents, hidden, entities)
		}},
		{"broken in two", "none", inside([]string{" ", "-", ".", "_"})},
		{"a star for a letter", "none", func(r *rand.Rand, term []rune) string {
			if len(term) < 3 {
				return ""
			}
			last := len(term) - 1
			masked := replace(r, term[1:last], 0, func(c rune) string {
				if c == ' ' {
					return ""
				}
				return "*"
			})
			return string(term[0]) + masked + string(term[last])
		}},
		{"backwards", "none", backwards},
	}
}
