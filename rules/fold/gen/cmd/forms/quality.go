package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// What scripts/quality disguises terms by comes from other fields of Unihan than
// the tables that the engine reads them with, and is not folded.

const readingsHeader = `# Common Chinese characters by their customary reading, written by rules/fold/gen/cmd/forms.
#
# A syllable without its tone, a blank, the characters. From Unihan 15.0.0: kMandarin, of those characters whose
# readings were counted (kHanyuPinlu). The licence is in rules/form/NOTICE.
#
`

// qualityReadings lists common characters by syllable.
func qualityReadings(u *unihan) []byte {
	characters := map[string][]rune{}
	for r := range u.counted {
		// A traditional character would be a disguise of its own.
		if s := toneless(u.mandarin[r]); s != "" && u.rank[r] > 0 {
			characters[s] = append(characters[s], r)
		}
	}
	var b strings.Builder
	b.WriteString(readingsHeader)
	for _, s := range slices.Sorted(maps.Keys(characters)) {
		fmt.Fprintln(&b, s, sorted(string(characters[s])))
	}
	return []byte(b.String())
}

const traditionalHeader = `# Simplified characters and their traditional forms, written by rules/fold/gen/cmd/forms.
#
# Pairs, simplified first. From Unihan 15.0.0: the first other character of kTraditionalVariant, for the characters of
# the standard table. The licence is in rules/form/NOTICE.
#
`

// qualityTraditional lists pairs of a simplified character and its traditional form.
func qualityTraditional(u *unihan) []byte {
	var pairs []string
	for r, to := range u.traditional {
		if u.rank[r] > 0 {
			pairs = append(pairs, string([]rune{r, to}))
		}
	}
	slices.Sort(pairs)
	var b strings.Builder
	b.WriteString(traditionalHeader)
	for line := range slices.Chunk(pairs, 20) {
		fmt.Fprintln(&b, strings.Join(line, " "))
	}
	return []byte(b.String())
}
