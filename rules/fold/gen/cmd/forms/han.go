package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/rules/fold/gen/source"
)

// han returns what a character folds to if that is one Han character.
func han(r rune) (rune, bool) {
	to, _ := fold.Rune(r)
	return to, to > 0 && fold.ClassOf(to) == fold.Han
}

// foldedHan returns the fold of s if it consists of Han characters only.
func foldedHan(s string) (string, bool) {
	s = fold.String(s)
	for _, r := range s {
		if fold.ClassOf(r) != fold.Han {
			return "", false
		}
	}
	return s, s != ""
}

// unihan is what is needed of the Unihan database.
type unihan struct {
	rank    map[rune]int      // kTGH: place in the table of 8,105 standard characters of 2013
	sounds  map[rune][]string // kTGHZ2013: readings with tones, in the order of the alphabet
	radical map[rune]int      // kRSUnicode: number of the first radical
	alike   [][2]rune         // kSpoofingVariant and kZVariant: look the same

	// What only the measuring of quality takes, so that it does not measure a table by itself.
	mandarin    map[rune]string // kMandarin: the customary reading, with its tone
	counted     map[rune]bool   // kHanyuPinlu: how often it is read so was counted, so it is common
	traditional map[rune]rune   // kTraditionalVariant: the first that is another character
}

func readUnihan() (*unihan, error) {
	u := &unihan{
		rank: map[rune]int{}, sounds: map[rune][]string{}, radical: map[rune]int{},
		mandarin: map[rune]string{}, counted: map[rune]bool{}, traditional: map[rune]rune{},
	}
	for _, name := range []string{"OtherMappings", "Readings", "IRGSources", "RadicalStrokeCounts", "Variants"} {
		data, err := source.Read(source.UnicodeData, "Unihan_"+name+".txt.bz2")
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(data)) {
			if err := u.line(strings.TrimSpace(line)); err != nil {
				return nil, fmt.Errorf("Unihan_%s: %q: %w", name, line, err)
			}
		}
	}
	if len(u.rank) != 8105 || len(u.sounds) != 8105 {
		return nil, fmt.Errorf("Unihan has %d standard characters, %d with readings, want 8105 of both", len(u.rank), len(u.sounds))
	}
	return u, nil
}

// line takes in a line such as "U+884C	kTGH	2013:483".
func (u *unihan) line(line string) error {
	if line == "" || line[0] == '#' {
		return nil
	}
	f := strings.Split(line, "\t")
	r, err := codePoint(f[0])
	if err != nil {
		return err
	}
	switch value := f[2]; f[1] {
	case "kTGH":
		n, err := strconv.Atoi(strings.TrimPrefix(value, "2013:"))
		if err != nil {
			return err
		}
		u.rank[r] = n
	case "kTGHZ2013": // 131.140:háng 136.100:héng,hèng
		for place := range strings.FieldsSeq(value) {
			_, sounds, _ := strings.Cut(place, ":")
			u.sounds[r] = append(u.sounds[r], strings.Split(sounds, ",")...)
		}
	case "kRSUnicode": // 168'.0 211.4
		number, _, _ := strings.Cut(value, ".")
		n, err := strconv.Atoi(strings.TrimRight(number, "'"))
		if err != nil {
			return err
		}
		u.radical[r] = n
	case "kMandarin":
		u.mandarin[r], _, _ = strings.Cut(value, " ")
	case "kHanyuPinlu":
		u.counted[r] = true
	case "kTraditionalVariant": // U+8ABF U+8C03
		for other := range strings.FieldsSeq(value) {
			o, err := codePoint(other)
			if err != nil {
				return err
			}
			if o != r {
				u.traditional[r] = o
				break
			}
		}
	case "kSpoofingVariant", "kZVariant": // U+5433 U+5449<kMatthews
		for other := range strings.FieldsSeq(value) {
			other, _, _ = strings.Cut(other, "<")
			o, err := codePoint(other)
			if err != nil {
				return err
			}
			u.alike = append(u.alike, [2]rune{r, o})
		}
	}
	return nil
}

// codePoint reads "U+884C".
func codePoint(s string) (rune, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "U+"), 16, 21)
	return rune(n), err
}

// common says whether a character is of the first level of the standard table:
// the 3,500 that a grown-up reads and writes.
func (u *unihan) common(r rune) bool {
	n := u.rank[r]
	return n > 0 && n <= 3500
}

// sorted returns the characters of s in ascending order, each once.
func sorted(s string) string {
	rs := []rune(s)
	slices.Sort(rs)
	return string(slices.Compact(rs))
}

// single returns the only character of s.
func single(s string) (rune, bool) {
	r, n := utf8.DecodeRuneInString(s)
	return r, n == len(s) && n > 0
}

// list reads a reviewed list: lines of fields, with comments after "#".
func list(text string) [][]string {
	var lines [][]string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if f := strings.Fields(line); len(f) > 0 {
			lines = append(lines, f)
		}
	}
	return lines
}
