package form

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/fold"
)

// Words are ordinary words, by which a term that only occurs by accident is told from one
// that is meant: 大麻 in 大麻烦. The zero Words know none. They never change.
//
// Chinese is written without blanks, so a reader divides a text into words by knowing them.
// He can be imitated by a unigram model, as jieba and others do: a list says how often each
// word occurs; a word costs the logarithm of how rare it is (in nats: 8 for one in three
// thousand); a division costs the sum of its words; the cheapest division is the one to
// believe. Here nobody needs the division of a whole text. A hit asks one question of the few
// characters around it: does an ordinary word lie across its edge, as 麻烦 does, and does it
// explain the place better than the term would? [Words.accident] answers it.
//
// What it cannot know: which words like each other's company (麻花 is food in 天津大麻花, and
// may not be elsewhere), words younger than the list (微博), names, and what a writer means by
// a term that stands there in full.
type Words struct {
	keys   []uint64  // hash table of words of up to maxWord Han characters, packed
	costs  []float32 // in nats
	rarest float64   // cost of the rarest word of two characters or more
	latin  map[uint64]struct{}
	seed   maphash.Seed // of latin
	hash   string       // of the lists
}

const (
	maxWord = 4 // characters; longer words hold shorter ones
	// unknownCost is what a character costs that the list does not know: a little more than
	// one that was counted once.
	unknownCost = 18
	// letterCost is what a letter among Han characters costs. It is no rare thing.
	letterCost = 10
	// margin is by how much the ordinary words may be the dearer ones and are believed
	// nonetheless: what is as good as equal is given to the writer. Tuned, like textCost, on
	// testdata and some 150 texts of the same kinds.
	margin = 1
	// textCost is what a character of an ordinary text costs at most: nine clauses in ten of
	// posts cost less (the median is 5.4).
	textCost = 6.8
)

// NewWords reads two lists of ordinary words, either of which may be empty: in Chinese
// characters, a word, a blank and how often it was counted, a line each; and in Latin letters,
// those with a doubled letter, a line each. Lines that begin with # are passed over. name is
// that of the first list, for errors.
func NewWords(name string, han, latin []byte) (*Words, error) {
	w := &Words{latin: make(map[uint64]struct{}), seed: maphash.MakeSeed()}
	size := 64
	for 2*size < 3*bytes.Count(han, []byte("\n")) {
		size *= 2
	}
	w.keys, w.costs = make([]uint64, size), make([]float32, size)
	total, line := 0.0, 0
	for text := range bytes.Lines(han) {
		line++
		text = bytes.TrimSpace(text)
		if len(text) == 0 || text[0] == '#' {
			continue
		}
		word, number, _ := bytes.Cut(text, []byte(" "))
		count, err := strconv.ParseUint(string(number), 10, 40)
		if err != nil || count == 0 || !utf8.Valid(word) {
			return nil, fmt.Errorf("%s:%d: not a word, a blank and a count above 0", name, line)
		}
		total += float64(count)
		if key := packed(fold.String(string(word))); key != 0 {
			i := w.slot(key)
			w.keys[i] = key
			w.costs[i] += float32(count)
		}
	}
	for i, k := range w.keys {
		if k != 0 {
			w.costs[i] = float32(math.Log(total / float64(w.costs[i])))
			if k > 0xFFFF {
				w.rarest = max(w.rarest, float64(w.costs[i]))
			}
		}
	}
	sum := sha256.New()
	sum.Write(han)
	sum.Write([]byte{0})
	sum.Write(latin)
	w.hash = hex.EncodeToString(sum.Sum(nil)[:4])
	for text := range bytes.Lines(latin) {
		if text = bytes.TrimSpace(text); len(text) > 0 && text[0] != '#' {
			w.latin[maphash.Bytes(w.seed, fold.Append(nil, text))] = struct{}{}
		}
	}
	return w, nil
}

// version names the lists.
func (w *Words) version() string {
	if w == nil {
		return ""
	}
	return w.hash
}

// latinWord reports whether a folded word is one of the list.
func (w *Words) latinWord(word []byte) bool {
	if w == nil || len(w.latin) == 0 {
		return false
	}
	_, ok := w.latin[maphash.Bytes(w.seed, word)]
	return ok
}

// packed packs up to maxWord characters of the basic plane; anything else is 0.
func packed(word string) uint64 {
	var k uint64
	n := 0
	for _, r := range word {
		if n++; n > maxWord || r > 0xFFFF || fold.ClassOf(r) != fold.Han {
			return 0
		}
		k = k<<16 | uint64(r)
	}
	return k
}

func (w *Words) slot(key uint64) int {
	mask := len(w.keys) - 1
	i := int(key*0x9E3779B97F4A7C15>>32) & mask
	for w.keys[i] != 0 && w.keys[i] != key {
		i = (i + 1) & mask
	}
	return i
}

// known returns what a word costs, and whether it is one.
func (w *Words) known(key uint64) (float64, bool) {
	if key == 0 || len(w.keys) == 0 {
		return 0, false
	}
	i := w.slot(key)
	return float64(w.costs[i]), w.keys[i] != 0
}

// has reports whether a text is an ordinary word of two characters or more.
func (w *Words) has(text string) bool {
	if w == nil || utf8.RuneCountInString(text) < 2 {
		return false
	}
	_, ok := w.known(packed(text))
	return ok
}

// maxSurface is how many characters a hit has that can be there by accident. What is longer
// does not come about by accident.
const maxSurface = 6

// maxAround is how many characters are looked at: those of a hit, and on either side those of
// one word less one. More would change next to nothing: what lies further away costs the same
// in either case.
const maxAround = maxSurface + 2*(maxWord-1)

// readInto are the forms that read into Han characters what is not written there, so that
// their plain sense has the first claim.
const readInto = weak | Split

// accident reports whether the term that was read from characters from up to to of a run of
// Han characters is there by accident.
//
// A word claims the place if it lies across one edge of it: it holds some characters of the
// term, some from outside, and is not a word of the term made longer. So 麻烦 claims 大麻, but
// neither does 台湾人, which holds all of 台湾, nor 安全法, which lengthens a word of 国家安全.
// The cheapest division that holds a claim is compared with the cheapest one without. A term
// that the list does not know is a word there too, and costs as much as its rarest; but a
// known word around an unknown one does not speak for it (共产党 for 产党).
//
// Where the form reads something into the text (又败家了 sounds like 百家乐), the term is no
// word of it. It costs as much as the dearest ordinary text of that length, and every other
// division counts, with a claim or without.
func (w *Words) accident(run []rune, from, to int, form Form) bool {
	if w == nil || len(run) > maxAround || to-from > maxSurface {
		return false
	}
	n := len(run)
	written := form&readInto == 0
	if written && n == to-from {
		return false
	}
	// The cheapest divisions up to each place: without and with a claim; and those from the
	// end of the term on.
	var plain, claimed, rest [maxAround + 1]float64
	claimed[0] = math.Inf(1)
	listed := !math.IsInf(w.cost(run[from:to]), 1)
	for i := 1; i <= n; i++ {
		plain[i], claimed[i] = math.Inf(1), math.Inf(1)
		if i > to {
			rest[i] = math.Inf(1)
		}
		for l := 1; l <= min(maxWord, i); l++ {
			at := i - l
			cost := w.cost(run[at:i])
			if math.IsInf(cost, 1) {
				continue
			}
			if !listed && at <= from && to <= i {
				continue
			}
			if at >= to {
				rest[i] = min(rest[i], rest[at]+cost)
			}
			claimed[i] = min(claimed[i], claimed[at]+cost)
			if w.claims(run, at, i, from, to) {
				claimed[i] = min(claimed[i], plain[at]+cost)
			} else {
				plain[i] = min(plain[i], plain[at]+cost)
			}
		}
	}
	around := plain[from] + rest[n]
	if written {
		return claimed[n] < min(plain[n], around+w.rarest)+margin
	}
	term := around + textCost*float64(to-from)
	return listed || plain[n] < term || claimed[n] < term+margin
}

// claims reports whether a word at characters at up to end of a run claims some of those of
// the term at from up to to.
func (w *Words) claims(run []rune, at, end, from, to int) bool {
	var part []rune // of the term
	switch {
	case at < from && from < end && end < to:
		part = run[from:end]
	case from < at && at < to && to < end:
		part = run[at:to]
	default:
		return false
	}
	return len(part) == 1 || math.IsInf(w.cost(part), 1)
}

// letter stands in a run for whatever is no Han character.
const letter = 'x'

// amongHan returns what a character that is no Han character is among them: a digit is what
// it is read as, so that 3级 is 三级.
func amongHan(r rune) rune {
	if '0' <= r && r <= '9' {
		return [...]rune{'零', '一', '二', '三', '四', '五', '六', '七', '八', '九'}[r-'0']
	}
	return letter
}

// cost is the cost of a word, infinite if it is none.
func (w *Words) cost(word []rune) float64 {
	var key uint64
	for _, r := range word {
		if r > 0xFFFF {
			key = 0
			break
		}
		key = key<<16 | uint64(r)
	}
	cost, ok := w.known(key)
	switch {
	case ok:
		return cost
	case len(word) > 1:
		return math.Inf(1)
	case word[0] == letter:
		return letterCost
	}
	return unknownCost
}
