package main

import (
	"cmp"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/fold/gen/source"
)

// wordBytes is how long the list of Chinese words may become, header included. It
// leaves a little room below maxFile.
const wordBytes = 940_000

// longestWord is how many characters a word of the list has at most: what is
// longer is rare and a phrase of words that are in it.
const longestWord = 4

//go:embed modern.txt
var modern string

// modernFrequency is how often a word of modern.txt counts: about as often as the median of the
// words that people use every day.
const modernFrequency = 500

// chineseWords makes the list of words by which a text is cut into words: every
// single character, and the most frequent words of two to four characters.
//
// The dictionary comes in a simplified and a traditional file, and each has
// absurdly small frequencies where the other is right: 会 occurs 9 times in the
// one and 會 92091 times in the other. So the greater one counts.
func chineseWords() ([]byte, error) {
	frequency := map[string]int{}
	for _, name := range []string{"s_1.txt", "t_1.txt"} {
		data, err := source.ReadModule(source.Gse, "data/dict/zh/"+name)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(line)
			if len(f) < 2 {
				continue
			}
			n, err := strconv.Atoi(f[1])
			if err != nil {
				return nil, fmt.Errorf("%s has %q, want a word and its frequency", name, line)
			}
			if f[0] == "的" && name == "t_1.txt" {
				continue // a digit too many
			}
			if word, ok := foldedHan(f[0]); ok && utf8.RuneCountInString(word) <= longestWord {
				frequency[word] = max(frequency[word], n)
			}
		}
	}

	for line := range strings.Lines(modern) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		for _, f := range strings.Fields(line) {
			if word, ok := foldedHan(f); ok && utf8.RuneCountInString(word) <= longestWord {
				frequency[word] = max(frequency[word], modernFrequency)
			}
		}
	}

	words := slices.SortedFunc(maps.Keys(frequency), func(a, b string) int {
		one := func(s string) int { return min(utf8.RuneCountInString(s), 2) }
		return cmp.Or(cmp.Compare(one(a), one(b)), cmp.Compare(frequency[b], frequency[a]), cmp.Compare(a, b))
	})
	var kept []string
	size, singles, least := 2000, 0, 0
	for i, word := range words {
		line := fmt.Sprintf("%s %d\n", word, frequency[word])
		if size += len(line); size > wordBytes {
			// Words of one frequency are in or out together.
			least = frequency[word] + 1
			kept = slices.DeleteFunc(words[:i], func(w string) bool {
				return utf8.RuneCountInString(w) > 1 && frequency[w] < least
			})
			break
		}
		if utf8.RuneCountInString(word) == 1 {
			singles++
		}
	}
	if kept == nil {
		kept = words
	}
	slices.Sort(kept)
	var b strings.Builder
	fmt.Fprintf(&b, chineseHeader, singles, len(kept)-singles, longestWord, least)
	for _, word := range kept {
		fmt.Fprintln(&b, word, frequency[word])
	}
	return []byte(b.String()), nil
}

const chineseHeader = `# Ordinary Chinese words and how often they occur, written by rules/fold/gen/cmd/forms.
#
# One word a line: the word, a blank, its frequency. Sorted by code point, folded (simplified).
# By these frequencies a text is cut into its most probable words, so that a term is not found
# across the border of two of them. Words that are themselves prohibited belong in here too.
#
# All %d single characters, and those %d words of 2 to %d characters that occur %d times or more.
# Source: data/dict/zh/s_1.txt and t_1.txt of github.com/go-ego/gse v0.80.3 (Apache-2.0), which has
# them from jieba, Copyright (c) 2013 Sun Junyi (MIT). Of several spellings of one word, and of two
# frequencies for it, the greater counts. The licences are in rules/form/NOTICE. Everyday words that
# the dictionary lacks are of our own making, and count 500 times (modern.txt beside the generator).
#
`

//go:embed vulgar.txt
var vulgar string

// longestEnglish is how many letters an English word of the list has at most: no
// term is so long that a longer word could be taken for it.
const longestEnglish = 12

// shortestSyllables is how many letters a word of the list has at least that is in
// it for its syllables. Shorter ones, as to and me, are pinyin just as often.
const shortestSyllables = 3

// englishWords makes the list of words that a lengthened or shortened letter
// would make of another word: all with a doubled letter, and those that such a
// word becomes when it loses one; and of those that consist of syllables of pinyin.
func englishWords(u *unihan) ([]byte, error) {
	all := map[string]bool{}
	for _, kind := range []string{"english", "american", "british"} {
		for _, level := range []string{"10", "20", "35", "40", "50"} {
			data, err := source.Read(source.Scowl, "scowl/"+kind+"-words."+level)
			if err != nil {
				return nil, err
			}
			for line := range strings.Lines(string(data)) {
				word := strings.TrimSpace(line)
				letters := strings.IndexFunc(word, func(r rune) bool { return r < 'a' || r > 'z' }) < 0
				if letters && len(word) > 1 && len(word) <= longestEnglish {
					all[word] = true
				}
			}
		}
	}
	for _, f := range list(vulgar) {
		for _, word := range f {
			delete(all, word)
		}
	}
	syllables := typedSyllables(u)
	kept := map[string]bool{}
	pinyin := 0
	for word := range all {
		if len(word) >= shortestSyllables && consists(word, syllables) {
			pinyin++
			kept[word] = true
		}
		if short := collapse(word); short != word {
			kept[word] = true
			if all[short] {
				kept[short] = true
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, englishHeader, len(kept), longestEnglish, pinyin, shortestSyllables)
	for _, word := range slices.Sorted(maps.Keys(kept)) {
		fmt.Fprintln(&b, word)
	}
	return []byte(b.String()), nil
}

// typedSyllables returns the syllables of pinyin as they are typed.
func typedSyllables(u *unihan) map[string]bool {
	syllables := map[string]bool{}
	for _, all := range soundings(u) {
		for _, s := range all {
			syllables[s] = true
			syllables[strings.ReplaceAll(s, "v", "u")] = true // lve is typed lue
		}
	}
	return syllables
}

// consists reports whether a word can be cut into syllables.
func consists(word string, syllables map[string]bool) bool {
	reached := make([]bool, len(word)+1)
	reached[0] = true
	for i := range word {
		for j := i + 1; reached[i] && j <= len(word); j++ {
			reached[j] = reached[j] || syllables[word[i:j]]
		}
	}
	return reached[len(word)]
}

// collapse returns a word with one letter for each run of the same.
func collapse(word string) string { return string(slices.Compact([]byte(word))) }

const englishHeader = `# Ordinary English words that could be taken for something else, written by rules/fold/gen/cmd/forms.
#
# One word a line, in small letters, sorted: %d words of at most %d letters. A text that has one of
# them as a token means this word, and not what it resembles. They are those with a doubled letter,
# and what these become without it, for good is not a lengthened god; and %d of %d letters or more
# that consist of syllables of pinyin, for "mama sang" is not 妈妈桑.
#
# Source: SCOWL 2020.12.07 (Debian package scowl), English, American and British words of the levels
# 10 to 50, without vulgar ones. Copyright 2000-2011 by Kevin Atkinson, who permits to use, copy,
# modify and distribute it; the notices are in rules/form/NOTICE.
#
`
