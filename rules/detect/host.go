package detect

import "strings"

// host is the name of a host in a text: labels with dots between them.
type host struct {
	from, end   int // symbols
	labels      int
	first, last span
	middle      span // the label before the last
	plain       bool // all dots are full stops
	spread      bool // a blank or a bracket belongs to a dot
}

type span struct{ from, to int }

// Limits of a host.
const (
	maxLabel = 63  // symbols, by RFC 1035
	maxHost  = 253 // symbols
	maxWrit  = 24  // symbols of the words that are compared with lists
)

// hostAt reads the host that begins at a place, where a letter or digit stands.
func (sc *Scratch) hostAt(i int) (h host, ok bool) {
	h = host{from: i, plain: true}
	for {
		end := sc.labelEnd(i)
		if end == i || end-i > maxLabel || end-h.from > maxHost {
			return h, false
		}
		h.middle, h.last = h.last, span{i, end}
		if h.labels == 0 {
			h.first = h.last
		}
		h.labels++
		h.end = end
		n, plain, spread := sc.dotAt(end)
		if n == 0 || !sc.at(end+n).latin() {
			return h, h.labels > 1
		}
		h.plain = h.plain && plain
		h.spread = h.spread || spread
		i = end + n
	}
}

// labelEnd returns the place behind a label of a host: letters, digits and, between them, dashes.
func (sc *Scratch) labelEnd(i int) int {
	end, k := i, i
	for ; k < len(sc.symbols); k++ {
		if s := &sc.symbols[k]; s.latin() {
			end = k + 1
		} else if s.r != '-' {
			break
		}
	}
	sc.steps += k - i + 1
	return end
}

// dotAt returns how many symbols write a dot of a host at a place, and whether it is a full stop.
func (sc *Scratch) dotAt(i int) (n int, plain, spread bool) {
	s := sc.at(i)
	switch s.r {
	case '.':
		return 1, true, false
	case '。', '·', '•', '点', '丶':
		return 1, false, false
	case '(', '[', '{', '【':
		n := 1
		switch {
		case sc.at(i+1).r == '.' || sc.at(i+1).r == '点':
			n++
		case sc.reads(i+1, "dot"):
			n += 3
		default:
			return 0, false, false
		}
		if r := sc.at(i + n).r; r == ')' || r == ']' || r == '}' || r == '】' {
			return n + 1, false, true
		}
	case ' ':
		switch sc.at(i + 1).r {
		case '.':
			if sc.at(i + 2).latin() {
				return 2, false, true
			}
		case '(', '[', '{', '【':
			if n, _, _ := sc.dotAt(i + 1); n > 0 && sc.at(i+1+n).r == ' ' {
				return n + 2, false, true
			}
		}
		if sc.reads(i+1, "dot ") {
			return 5, false, true
		}
	}
	return 0, false, false
}

// reads reports whether a word in ASCII stands at a place.
func (sc *Scratch) reads(i int, word string) bool {
	for k := range len(word) {
		if sc.at(i+k).r != rune(word[k]) {
			return false
		}
	}
	return true
}

// wordOf returns what stands at a span of letters and digits, if it is short enough for the lists.
func (sc *Scratch) wordOf(buf *[maxWrit]byte, s span) []byte {
	if s.to-s.from > maxWrit {
		return nil
	}
	b := buf[:0]
	for i := s.from; i < s.to; i++ {
		b = append(b, byte(sc.at(i).r))
	}
	return b
}

// in reports whether a span is a word of a list.
func (sc *Scratch) in(list map[string]bool, s span) bool {
	var buf [maxWrit]byte
	return list[string(sc.wordOf(&buf, s))]
}

func listOf(words string) map[string]bool {
	m := make(map[string]bool)
	for w := range strings.FieldsSeq(words) {
		m[w] = true
	}
	return m
}

var (
	// core are the top-level domains that everybody writes, also with a dot in disguise.
	core = listOf("com cn net org top xyz vip cc")

	// strong are those that make a host of any two labels. They are no words that often follow a
	// full stop without a blank, and no endings of files.
	strong = listOf(`com cn net org top xyz vip cc edu gov mil int info biz club shop online site store tech website
		icu ltd wang ren xin ru uk jp kr hk tw fr au ca br eu vn ua io tv dev cloud asia mobi ink`)

	// common are those that are no words at all.
	common = listOf("com cn net org")

	// second are labels that stand before a country: com.sg, co.id.
	second = listOf("com co net org edu gov ac or ne go")

	// weak are those that need more to show a host: a path, a port or a label as in com.sg.
	weak = listOf(`me to ai app co us in it is at be no am fm gg ly gl la ws tk ml ga cf gq pw su sg my th ph id de es nl ch se dk
		fi cz pt gr tr ir il ae sa za mx ar cl pe ie nz lk mm kh mo lu li lv lt ee hu ro bg sk si hr by kz uz link live
		fun work space pro name life world today group team chat blog news wiki page game games run plus zone red one im gd vc
		st sh ac tel buzz cyou bond sbs cfd win bid loan men click host press video social`)

	// providers of mail, which make a mailbox of what has no at sign.
	providers = listOf("qq 163 126 gmail hotmail outlook sina yahoo foxmail icloud protonmail 139 189 sohu yeah aliyun")

	// files are endings of files, which make no mailbox of icon@2x.png.
	files = listOf("png jpg jpeg gif webp svg bmp ico pdf txt zip rar doc docx xls xlsx js ts css json html xml yaml go py mp3 mp4")

	// packages are the first labels of names of packages, which are hosts the other way round.
	packages = listOf("com org net edu gov io cn")

	// products are hosts that are mostly spoken of as the name of a product, by their first label.
	products = listOf("asp vb ado ml")
)
