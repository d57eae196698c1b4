package main

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

//go:embed shape.txt
var reviewedShapes string

// shapeFile makes the groups of characters that look alike: the families of
// common characters that share a part and differ in the radical, the pairs that
// Unihan knows, and the reviewed ones.
func shapeFile(u *unihan, s splits) ([]byte, error) {
	var reviewed []string
	var faults []error
	for _, f := range list(reviewedShapes) {
		for _, group := range f {
			text, ok := foldedHan(group)
			if text = unique(text); !ok || len([]rune(text)) < 2 || text != group {
				faults = append(faults, fmt.Errorf("shape.txt has %s, which folds to %s; want characters that stay apart", group, text))
			}
			reviewed = append(reviewed, text)
		}
	}
	if faults != nil {
		return nil, errors.Join(faults...)
	}

	var pairs []string
	for _, p := range u.alike {
		a, ok1 := han(p[0])
		b, ok2 := han(p[1])
		if ok1 && ok2 && a != b && (u.common(a) || u.common(b)) {
			pairs = append(pairs, string([]rune{min(a, b), max(a, b)}))
		}
	}
	slices.Sort(pairs)
	pairs = slices.Compact(pairs)

	related := families(u, s)
	var b strings.Builder
	for _, group := range slices.Concat(reviewed, pairs) {
		b.WriteString(group + "\n")
	}
	for _, f := range related {
		b.WriteString(strings.TrimSpace(f.common+" "+f.rare) + "\n")
	}
	return goFile(table{"shapeTable", fmt.Sprintf(`shapeTable lists groups of Han characters that are taken for each other: %d
		reviewed ones, %d pairs from Unihan 15.0.0 (kSpoofingVariant, kZVariant), and %d families of common characters
		that share a part and differ in the radical. After a blank stand rarer characters with that part, which those before
		it are taken for, but not the other way round.`, len(reviewed), len(pairs), len(related)), b.String()})
}

// family is what has a part in the same place.
type family struct {
	common string // the common ones
	rare   string // the others
}

// families returns the common characters that have a part in the same place and
// different radicals, as 赌 and 诸 have 者. A part that nearly always stands with
// one radical is that radical itself: it makes no family, for two characters with
// 氵 look no more alike than any other two.
//
// Rarer characters with the part come beside: whoever disguises one of them, as 嫖,
// writes a common one that everybody can type, as 漂, and not the other way round.
func families(u *unihan, s splits) []family {
	type place struct {
		part rune
		last bool
	}
	members := map[place]*family{}
	for r, ways := range s {
		if to, ok := han(r); !ok || to != r {
			continue
		}
		for _, parts := range ways {
			if len(parts) == 2 {
				for i, p := range parts {
					p, ok := han(p)
					if !ok {
						continue
					}
					at := place{p, i == 1}
					if members[at] == nil {
						members[at] = &family{}
					}
					if u.common(r) {
						members[at].common += string(r)
					} else {
						members[at].rare += string(r)
					}
				}
			}
		}
	}
	var found []family
	for _, f := range members {
		f := family{sorted(f.common), sorted(f.rare)}
		group := []rune(f.common)
		byRadical := map[int]int{}
		for _, r := range group {
			byRadical[u.radical[r]]++
		}
		most := slices.Max(append(slices.Collect(maps.Values(byRadical)), 0))
		if len(group) == 0 || most > 2 && most*2 > len(group) {
			continue
		}
		if len(byRadical) < 2 {
			// Here the part may still be the radical, of few.
			f.rare = strings.Map(func(r rune) rune {
				if byRadical[u.radical[r]] > 0 {
					return -1
				}
				return r
			}, f.rare)
		}
		if len(byRadical) > 1 || f.rare != "" {
			found = append(found, f)
		}
	}
	slices.SortFunc(found, func(a, b family) int {
		return cmp.Or(cmp.Compare(a.common, b.common), cmp.Compare(a.rare, b.rare))
	})
	return slices.Compact(found)
}

// unique returns the characters of s in their order, each once.
func unique(s string) string {
	var out []rune
	for _, r := range s {
		if !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return string(out)
}
