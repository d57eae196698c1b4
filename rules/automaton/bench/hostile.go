package main

import (
	"fmt"
	"math/rand"
	"strings"
	"unicode/utf8"
)

// hostile is a list and a text made to cost the most.
type hostile struct {
	name string
	set  set
	text []byte
}

// repeats returns a pattern of each length, one character again and again, and an end.
func repeats(char, end string, from, to int) set {
	var s set
	for n := from; n <= to; n++ {
		s.words = append(s.words, strings.Repeat(char, n)+end)
	}
	s.substring = true
	return s
}

// hostileCases returns the cases; some are made of a long list of words.
func hostileCases(words []string) []hostile {
	long := []byte(strings.Repeat("哈", 1700))
	whole := repeats("a", "", 2, 63)
	whole.substring = false
	big := set{words: words, substring: true}
	prefix := strings.Repeat("天地玄黄宇宙洪荒", 5)
	shared := set{substring: true}
	for i := range 5000 {
		shared.words = append(shared.words, prefix+string(rune(0x4E00+i)))
	}
	var cut, row strings.Builder // long words less the last symbol; words back to back
	for _, w := range words {
		if utf8.RuneCountInString(w) >= 6 && cut.Len() < 5000 {
			_, n := utf8.DecodeLastRuneInString(w)
			cut.WriteString(w[:len(w)-n])
		}
		if row.Len() < 5000 {
			row.WriteString(w)
		}
	}
	return []hostile{
		{"A 63 equal symbols and another; the text has the equal ones", repeats("哈", "啊", 63, 63), long},
		{"B 63 equal symbols; the text has more", repeats("哈", "", 63, 63), long},
		{"C 2 to 32 equal symbols; the text has more", repeats("哈", "", 2, 32), long},
		{"C', the same behind 70 other symbols", repeats("哈", "", 2, 32), []byte(strings.Repeat("好", 70) + strings.Repeat("哈", 1630))},
		{"C'', of 2 to 63", repeats("哈", "", 2, 63), []byte(strings.Repeat("好", 70) + strings.Repeat("哈", 1630))},
		{"C''', of 2 to 255", repeats("哈", "", 2, 255), []byte(strings.Repeat("好", 70) + strings.Repeat("哈", 1630))},
		{"D 1 to 62 equal symbols, each and another", repeats("哈", "啊", 1, 62), long},
		{"E 5,000 patterns share 40 symbols, the text fails at the last", shared, []byte(strings.Repeat(prefix+"𠮷", 42))},
		{"F 60,000 words; the text has long ones less the last symbol", big, []byte(cut.String())},
		{"G 60,000 words; the text has them back to back", big, []byte(row.String())},
		{"H 60,000 words; the filter passes all of the text", big, passing(words)},
		{"I whole words of 2 to 63 a; the text is all a", whole, []byte(strings.Repeat("a", 5000))},
		{"J whole words of 2 to 63 a; the text has 63 and a blank", whole, []byte(strings.Repeat(strings.Repeat("a", 63)+" ", 80))},
	}
}

// passing returns a text in which nearly every three symbols in a row begin a word.
func passing(words []string) []byte {
	var begins [][3]rune
	next := make(map[[2]rune][][3]rune) // by the first two
	for _, w := range words {
		r := []rune(w)
		if len(r) < 4 {
			continue
		}
		b := [3]rune(r)
		begins = append(begins, b)
		next[[2]rune(r)] = append(next[[2]rune(r)], b)
	}
	rnd := rand.New(rand.NewSource(1))
	// What a begin leads to: how long a walk along next gets, looked at a few steps ahead.
	var ahead func(p [2]rune, depth int) int
	ahead = func(p [2]rune, depth int) int {
		best := 0
		for _, b := range next[p] {
			if depth > 0 {
				best = max(best, 1+ahead([2]rune{b[1], b[2]}, depth-1))
			}
		}
		return best
	}
	var text []rune
	for len(text) < 1700 {
		var best [3]rune
		most := -1
		choices := begins
		if n := len(text); n >= 2 && len(next[[2]rune(text[n-2:])]) > 0 {
			choices = next[[2]rune(text[n-2:])]
			for _, b := range choices {
				if a := ahead([2]rune{b[1], b[2]}, 4); a > most || a == most && rnd.Intn(2) == 0 {
					best, most = b, a
				}
			}
			text = append(text, best[2])
			continue
		}
		for range 50 {
			b := choices[rnd.Intn(len(choices))]
			if a := ahead([2]rune{b[1], b[2]}, 4); a > most {
				best, most = b, a
			}
		}
		text = append(text, best[:]...)
	}
	return []byte(string(text))
}

// measureHostile measures what the worst lists and texts cost.
func measureHostile(o options) error {
	big, err := readSet(o.dir, "zh_60000")
	if err != nil {
		return err
	}
	fmt.Printf("\n## Hostile lists and texts\n\nMB/s with everything reported, and with the limit of %d hits, after which each pattern reported is done with.\n\n", hitLimit)
	fmt.Println("| case | bytes | all: MB/s | hits | limited: MB/s | hits |")
	fmt.Println("|---|---|---|---|---|---|")
	for _, c := range hostileCases(big.words) {
		se, err := newSearcher(&c.set)
		if err != nil {
			return fmt.Errorf("case %s: %w", c.name, err)
		}
		all, limited := se.search(c.text), se.searchLimited(c.text)
		p := repeated(c.text)
		cost := interleave([]runner{{"all", p.with(se.search)}, {"limited", p.with(se.searchLimited)}}, p, o.rounds)
		fmt.Printf("| %s | %d | %.0f | %d | %.0f | %d |\n", c.name, len(c.text), 1000/median(cost["all"]), all,
			1000/median(cost["limited"]), limited)
	}
	return measureLength(o)
}

// measureLength measures whether long patterns make a text dearer that nearly has them:
// patterns of one symbol again and again that all fail at the last one.
func measureLength(o options) error {
	fmt.Print("\n## Length of patterns\n\nns a byte where all patterns of up to n symbols fail at the last one, × against n = 9.\n\n")
	fmt.Println("| bytes | n = 9 | n = 241 | × |")
	fmt.Println("|---|---|---|---|")
	short, err := newSearcher(new(repeats("哈", "啊", 1, 8)))
	if err != nil {
		return err
	}
	long, err := newSearcher(new(repeats("哈", "啊", 1, 240)))
	if err != nil {
		return err
	}
	for _, n := range []int{1700, 170_000} {
		text := []byte(strings.Repeat("哈", n))
		p := repeated(text)
		cost := interleave([]runner{{"short", p.with(short.search)}, {"long", p.with(long.search)}}, p, o.rounds)
		fmt.Printf("| %d | %.2f | %.2f | %s |\n", len(text), median(cost["short"]), median(cost["long"]), spread(ratios(cost["long"], cost["short"])))
	}
	return nil
}

// repeated makes posts of a single text.
func repeated(text []byte) *posts {
	return &posts{posts: [][]byte{text}, ends: []int{len(text)}, bytes: len(text)}
}

func (p *posts) with(search func([]byte) int) func(from, to int) int {
	return func(from, to int) int {
		n := 0
		for _, post := range p.posts[from:to] {
			n += search(post)
		}
		return n
	}
}
