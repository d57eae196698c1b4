package form

import (
	"iter"
	"strings"
	"sync"
)

// syllable is a syllable of pinyin without its tone, by its number. 0 is none.
type syllable uint16

// syllableNames returns how syllables are typed, by number: in small letters, with
// v for ü where u would be another syllable. Number 0 has the empty name.
func syllableNames() []string { return pinyin().names }

// readings returns how a folded Han character is read, the usual way first and
// apart from the others, which few have. A character without a reading has 0.
func readings(r rune) (first syllable, more []syllable) {
	p := pinyin()
	if uint32(r)>>8 >= uint32(len(p.index)) {
		return 0, nil
	}
	s := p.pages[p.index[r>>8]][r&0xFF]
	if s < polyphone {
		return s, nil
	}
	all := p.several[s-polyphone]
	return all[0], all[1:]
}

// maxPinyin is how many letters a token may have to be taken for pinyin: ten of
// the longest syllables, more than any term has.
const maxPinyin = 64

// parseSyllables appends to dst the syllables that a token of small Latin letters
// consists of, and reports whether it does. Of several ways it takes the one with
// the fewest syllables, among those the one whose first syllable is longest, then
// the second, and so on: xian is one syllable, fangan is fang an.
func parseSyllables(token []byte, dst []syllable) ([]syllable, bool) {
	const impossible = maxPinyin + 1
	n := len(token)
	if n == 0 || n > maxPinyin {
		return dst, false
	}
	p := pinyin()
	// From each place to the end: how many syllables, which is the first, and where
	// the second begins.
	var fewest, next [maxPinyin + 1]uint8
	var first [maxPinyin]syllable
	for i := n - 1; i >= 0; i-- {
		fewest[i] = impossible
		at := uint16(0)
		for j := i; j < n; j++ {
			letter := token[j] - 'a'
			if letter > 'z'-'a' {
				return dst, false
			}
			if at = p.nodes[at].next[letter]; at == 0 {
				break
			}
			// Not greater: of equals the longer one, which comes later, wins.
			if s := p.nodes[at].end; s != 0 && fewest[j+1] < impossible && fewest[j+1]+1 <= fewest[i] {
				fewest[i], next[i], first[i] = fewest[j+1]+1, uint8(j+1), s
			}
		}
	}
	if fewest[0] == impossible {
		return dst, false
	}
	for i := 0; i < n; i = int(next[i]) {
		dst = append(dst, first[i])
	}
	return dst, true
}

// pinyinData is what pinyinTable and polyphoneTable say, in the shape that is
// quick to ask: 0.3 MB.
type pinyinData struct {
	names []string
	// The first reading of each character in pages of 256, the pages by the rest of
	// the code point up to the last that ideographs have. Page 0 is empty. From
	// polyphone on a number stands for a character with several readings.
	index   [0x32400 >> 8]uint16
	pages   [][256]syllable
	several [][]syllable
	// The spellings as a tree of letters. Node 0 is the root, to which none leads.
	nodes []pinyinNode
}

type pinyinNode struct {
	next [26]uint16
	end  syllable
}

// polyphone is beyond the number of every syllable.
const polyphone syllable = 1 << 15

// pinyin reads the tables once per process, when the form is first used.
var pinyin = sync.OnceValue(newPinyin)

func newPinyin() *pinyinData {
	p := &pinyinData{names: []string{""}, pages: make([][256]syllable, 1), nodes: make([]pinyinNode, 1)}
	numbers := map[string]syllable{}
	for name, characters := range tableRows(pinyinTable) {
		s := numbers[name]
		if s == 0 {
			s = syllable(len(p.names))
			numbers[name] = s
			p.names = append(p.names, name)
		}
		for _, r := range characters {
			p.set(r, s)
		}
	}
	for character, names := range tableRows(polyphoneTable) {
		var all []syllable
		for name := range strings.FieldsSeq(names) {
			all = append(all, numbers[name])
		}
		for _, r := range character {
			p.set(r, polyphone+syllable(len(p.several)))
		}
		p.several = append(p.several, all)
	}
	for i, name := range p.names[1:] {
		s := syllable(i + 1)
		p.spell(name, s)
		// ü, where it can be nothing else, is written u; and typed either way.
		if len(name) > 1 && name[1] == 'u' && strings.IndexByte("jqxy", name[0]) >= 0 {
			p.spell(name[:1]+"v"+name[2:], s)
		}
		if name == "lve" || name == "nve" {
			p.spell(name[:1]+"ue", s)
		}
	}
	return p
}

// set sets the first reading of a character.
func (p *pinyinData) set(r rune, s syllable) {
	page := &p.index[r>>8]
	if *page == 0 {
		*page = uint16(len(p.pages))
		p.pages = append(p.pages, [256]syllable{})
	}
	p.pages[*page][r&0xFF] = s
}

// spell adds a way to type a syllable.
func (p *pinyinData) spell(name string, s syllable) {
	at := uint16(0)
	for _, c := range []byte(name) {
		next := p.nodes[at].next[c-'a']
		if next == 0 {
			next = uint16(len(p.nodes))
			p.nodes[at].next[c-'a'] = next
			p.nodes = append(p.nodes, pinyinNode{})
		}
		at = next
	}
	p.nodes[at].end = s
}

// tableRows yields the lines of a generated table, cut at the first blank.
func tableRows(table string) iter.Seq2[string, string] {
	return func(yield func(key, value string) bool) {
		for line := range strings.Lines(table) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			if key != "" && !yield(key, value) {
				return
			}
		}
	}
}
