package main

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mozillazg/go-pinyin"
	"golang.org/x/text/unicode/norm"
)

//go:embed pinyin.txt
var reviewedReadings string

// pinyinFile makes the table of readings. The 8,105 standard characters have the
// readings of Unihan's kTGHZ2013, the modern ones, in the order of go-pinyin, which
// puts the usual one first; all other characters have go-pinyin's first reading,
// for the further ones are those of classical dictionaries.
func pinyinFile(u *unihan) ([]byte, error) {
	original := soundings(u)
	for _, f := range list(reviewedReadings) {
		r, _ := single(f[0])
		i := slices.Index(original[r], f[1])
		if i <= 0 {
			return nil, fmt.Errorf("pinyin.txt puts %s first for %s, which has %q; want one of the others", f[1], f[0], original[r])
		}
		original[r] = append([]string{f[1]}, slices.Delete(original[r], i, i+1)...)
	}
	readings := map[rune][]string{}
	for r, all := range original {
		if to, ok := han(r); ok && to == r {
			readings[r] = all
		}
	}
	// A character that has no readings borrows those of one that folds to it.
	for _, r := range slices.Sorted(maps.Keys(original)) {
		if to, ok := han(r); ok && readings[to] == nil {
			readings[to] = original[r]
		}
	}

	firsts := map[string][]rune{}
	polyphones := map[rune]string{}
	for r, all := range readings {
		firsts[all[0]] = append(firsts[all[0]], r)
		for _, s := range all[1:] {
			if _, ok := firsts[s]; !ok {
				firsts[s] = nil
			}
		}
		if len(all) > 1 {
			polyphones[r] = strings.Join(all, " ")
		}
	}
	var sounds, several strings.Builder
	for _, s := range slices.Sorted(maps.Keys(firsts)) {
		rs := firsts[s]
		slices.Sort(rs)
		if len(rs) == 0 {
			fmt.Fprintln(&sounds, s)
		}
		for part := range slices.Chunk(rs, 50) { // a line of some 100 columns
			fmt.Fprintln(&sounds, s, string(part))
		}
	}
	for _, r := range slices.Sorted(maps.Keys(polyphones)) {
		fmt.Fprintln(&several, string(r), polyphones[r])
	}
	return goFile(
		table{"pinyinTable", fmt.Sprintf(`pinyinTable lists the %d syllables of pinyin, without tones and with v for ü, and
			after each the Han characters, %d in all, whose first reading it is. It comes from go-pinyin 0.21.0 and
			Unihan 15.0.0.`, len(firsts), len(readings)), sounds.String()},
		table{"polyphoneTable", fmt.Sprintf(`polyphoneTable lists the %d Han characters with several readings, the
			usual one first. It comes from the same sources.`, len(polyphones)), several.String()},
	)
}

// soundings returns the readings of every character, without tones.
func soundings(u *unihan) map[rune][]string {
	all := map[rune][]string{}
	for code, text := range pinyin.PinyinDict {
		sounds := strings.Split(text, ",")
		r := rune(code)
		switch modern := u.sounds[r]; {
		case modern == nil:
			sounds = sounds[:1]
		default:
			// Those that go-pinyin does not know, one character has such, come last.
			kept := slices.DeleteFunc(sounds, func(s string) bool { return !slices.Contains(modern, s) })
			sounds = append(kept, modern...)
		}
		var plain []string
		for _, s := range sounds {
			if s := toneless(s); s != "" && !slices.Contains(plain, s) {
				plain = append(plain, s)
			}
		}
		if len(plain) > 0 {
			all[r] = plain
		}
	}
	return all
}

// toneless returns a reading as it is typed: lǜ is lv. It is empty for the five
// interjections without a vowel, such as hm, which nobody means by typing them.
func toneless(s string) string {
	var b []byte
	for _, r := range norm.NFD.String(s) {
		switch {
		case r == '\u0308' && len(b) > 0 && b[len(b)-1] == 'u':
			b[len(b)-1] = 'v'
		case r >= 'a' && r <= 'z':
			b = append(b, byte(r))
		}
	}
	if !strings.ContainsAny(string(b), "aeiouv") {
		return ""
	}
	return string(b)
}
