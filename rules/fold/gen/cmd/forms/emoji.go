package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/rules/fold/gen/source"
)

//go:embed emoji.txt
var reviewedEmoji string

// longestReading is how many characters a reading has at most. Nobody writes an
// emoji for a phrase, and a phrase is found by its words.
const longestReading = 3

// sharedKeyword is with how many emoji a keyword of one character may stand. One
// that more have describes them rather than names them, as 脸 does 128 faces.
const sharedKeyword = 10

// emojiFile makes the table of readings. An emoji is read as its short name in
// CLDR, as its keywords of one character, and as the reviewed list says.
func emojiFile() ([]byte, error) {
	pictographs, err := readPictographs()
	if err != nil {
		return nil, err
	}
	data, err := source.Read(source.CLDR, "annotations/zh/annotations.json")
	if err != nil {
		return nil, err
	}
	var cldr struct {
		Annotations struct {
			Annotations map[string]struct {
				Keywords []string `json:"default"`
				Name     []string `json:"tts"`
			} `json:"annotations"`
		} `json:"annotations"`
	}
	if err := json.Unmarshal(data, &cldr); err != nil {
		return nil, err
	}

	// emoji returns the folded emoji, if it still is one and one character.
	emoji := func(s string) (string, bool) {
		s = fold.String(s)
		r, ok := single(s)
		return s, ok && pictographs[r] && fold.ClassOf(r) != fold.Han
	}
	names, keywords := map[string][]string{}, map[string][]string{}
	for s, a := range cldr.Annotations.Annotations {
		s, ok := emoji(s)
		if !ok {
			continue
		}
		for _, name := range a.Name {
			if name, ok := foldedHan(name); ok && utf8.RuneCountInString(name) <= longestReading {
				names[name] = append(names[name], s)
			}
		}
		for _, word := range a.Keywords {
			if word, ok := foldedHan(word); ok && utf8.RuneCountInString(word) == 1 {
				keywords[word] = append(keywords[word], s)
			}
		}
	}
	for word, all := range keywords {
		if len(all) <= sharedKeyword {
			names[word] = append(names[word], all...)
		}
	}
	for _, f := range list(reviewedEmoji) {
		reading, ok := foldedHan(f[0])
		if !ok || utf8.RuneCountInString(reading) > longestReading {
			return nil, fmt.Errorf("emoji.txt has the reading %q, want 1 to %d Han characters", f[0], longestReading)
		}
		for _, s := range f[1:] {
			s, ok := emoji(s)
			if !ok {
				return nil, fmt.Errorf("emoji.txt has %q for %s, want an emoji of one character", s, reading)
			}
			names[reading] = append(names[reading], s)
		}
	}

	var b strings.Builder
	pairs := 0
	for _, reading := range slices.Sorted(maps.Keys(names)) {
		all := sorted(strings.Join(names[reading], ""))
		pairs += utf8.RuneCountInString(all)
		fmt.Fprintln(&b, reading, all)
	}
	return goFile(table{"emojiTable", fmt.Sprintf(`emojiTable lists %d Chinese readings of one to %d characters and the emoji
		that are read so, %d pairs. It comes from CLDR 48.2 and the reviewed list rules/fold/gen/cmd/forms/emoji.txt.`,
		len(names), longestReading, pairs), b.String()})
}

// readPictographs returns the characters that Unicode calls Extended_Pictographic,
// reserved ones included, so that emoji newer than that file are in.
func readPictographs() (map[rune]bool, error) {
	data, err := source.Read(source.UnicodeData, "emoji/emoji-data.txt")
	if err != nil {
		return nil, err
	}
	found := map[rune]bool{}
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		span, property, ok := strings.Cut(line, ";")
		if !ok || strings.TrimSpace(property) != "Extended_Pictographic" {
			continue
		}
		first, last, ok := strings.Cut(strings.TrimSpace(span), "..")
		if !ok {
			last = first
		}
		lo, err1 := strconv.ParseInt(first, 16, 32)
		hi, err2 := strconv.ParseInt(last, 16, 32)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("emoji-data.txt has the span %q, want code points", span)
		}
		for r := rune(lo); r <= rune(hi); r++ {
			found[r] = true
		}
	}
	return found, nil
}
