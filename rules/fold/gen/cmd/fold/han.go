package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/fold/gen/source"
)

// han maps Han characters to the form that stands for them: simplified, and one
// for all variants of a character.
type han struct {
	to       map[rune]rune
	standard map[rune]bool // the 8,105 characters of the standard of 2013
}

func readHan(u *database) (*han, error) {
	h := &han{to: map[rune]rune{}, standard: map[rune]bool{}}
	other, err := source.Read(source.UnicodeData, "Unihan_OtherMappings.txt.bz2")
	if err != nil {
		return nil, err
	}
	for f := range rows(other) {
		if len(f) == 3 && f[1] == "kTGH" {
			r, err := character(f[0])
			if err != nil {
				return nil, err
			}
			h.standard[r] = true
		}
	}
	// The order decides: what an earlier step maps, a later one leaves alone.
	for _, step := range []func(*database) error{h.merges, h.simplified, h.allographs, h.radicals, h.shinjitai, h.variants} {
		if err := step(u); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// end follows the mappings so far.
func (h *han) end(r rune) rune {
	for range 8 { // the longest chain is of 3
		next, ok := h.to[r]
		if !ok {
			return r
		}
		r = next
	}
	panic(fmt.Sprintf("%c maps in a circle", r))
}

// add maps a character, unless it is mapped or that would close a circle.
func (h *han) add(from, to rune) {
	if _, ok := h.to[from]; !ok && h.end(to) != from {
		h.to[from] = to
	}
}

// merges adds what is written by hand.
func (h *han) merges(*database) error {
	rules, err := readRules("merges.txt")
	if err != nil {
		return err
	}
	for _, r := range rules {
		if to := one(r.to); h.to[r.from] != 0 || h.end(to) == r.from {
			return fmt.Errorf("%s: %c is mapped already", r.at, r.from)
		} else {
			h.to[r.from] = to
		}
	}
	return nil
}

// simplified adds the conversion from Traditional to Simplified of OpenCC, the
// first of several candidates. Its second file has what is rarely encoded.
func (h *han) simplified(*database) error {
	for _, name := range []string{"TSCharacters.txt", "TSCharactersExt.txt"} {
		data, err := source.Read(source.OpenCCData, name)
		if err != nil {
			return err
		}
		for f := range rows(data) {
			to, _, _ := strings.Cut(f[1], " ")
			if to != f[0] {
				h.add(one(f[0]), one(to))
			}
		}
	}
	return nil
}

// allographs adds the groups of OpenCC that are one character at several code
// points. The member that stands for a group is the one whose simplified form is
// standard: the groups are in the order of code points, which says nothing.
func (h *han) allographs(*database) error {
	data, err := source.Read(source.OpenCC, "staging/Allographs.txt")
	if err != nil {
		return err
	}
	for f := range rows(data) {
		var ends []rune
		for _, r := range f[0] {
			if end := h.end(r); !slices.Contains(ends, end) {
				ends = append(ends, end)
			}
		}
		target := ends[0]
		if standard := slices.DeleteFunc(slices.Clone(ends), func(r rune) bool { return !h.standard[r] }); len(standard) == 1 {
			target = standard[0]
		} else if len(standard) > 1 || len(ends) > 1 {
			return fmt.Errorf("allographs %s: which one stands for the others?", f[0])
		}
		for _, r := range ends {
			if r != target {
				h.add(r, target)
			}
		}
	}
	return nil
}

// radicals adds the ideographs that radicals and strokes of their own blocks are.
func (h *han) radicals(u *database) error {
	data, err := source.Read(source.UnicodeData, "EquivalentUnifiedIdeograph.txt")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		from, to, ok := strings.Cut(line, ";")
		if !ok {
			continue
		}
		target, err := character("U+" + strings.TrimSpace(to))
		if err != nil {
			return err
		}
		lo, hi, ranged := strings.Cut(strings.TrimSpace(from), "..")
		if !ranged {
			hi = lo
		}
		first, err := character("U+" + lo)
		if err != nil {
			return err
		}
		last, err := character("U+" + hi)
		if err != nil {
			return err
		}
		for r := first; r <= last; r++ {
			if _, ok := u.Decompositions[r]; !ok {
				h.add(r, target)
			}
		}
	}
	return nil
}

// shinjitai adds the Japanese simplified forms, by way of the Traditional ones.
func (h *han) shinjitai(*database) error {
	out, err := readList("left-out.txt", "shinjitai")
	if err != nil {
		return err
	}
	data, err := source.Read(source.OpenCCData, "JPShinjitaiCharacters.txt")
	if err != nil {
		return err
	}
	for f := range rows(data) {
		to, _, _ := strings.Cut(f[1], " ")
		from, target := one(f[0]), one(to)
		if out[from] || from == target {
			continue
		}
		if h.standard[from] && h.end(target) != from {
			return fmt.Errorf("shinjitai %c is a standard character and not in data/left-out.txt", from)
		}
		h.add(from, target)
	}
	return nil
}

// variants adds characters outside the standard that are a variant of exactly one
// in it, says Unihan.
func (h *han) variants(u *database) error {
	out, err := readList("left-out.txt", "variant")
	if err != nil {
		return err
	}
	data, err := source.Read(source.UnicodeData, "Unihan_Variants.txt.bz2")
	if err != nil {
		return err
	}
	targets := map[rune][]rune{}
	var order []rune
	for f := range rows(data) {
		if len(f) != 3 || !slices.Contains([]string{"kSemanticVariant", "kSimplifiedVariant", "kZVariant"}, f[1]) {
			continue
		}
		from, err := character(f[0])
		if err != nil {
			return err
		}
		if _, ok := u.Decompositions[from]; ok || out[from] || h.standard[from] || h.to[from] != 0 {
			continue
		}
		for _, v := range strings.Fields(f[2]) {
			v, _, _ = strings.Cut(v, "<")
			to, err := character(v)
			if err != nil {
				return err
			}
			if to = h.end(to); h.standard[to] && !slices.Contains(targets[from], to) {
				targets[from] = append(targets[from], to)
			}
		}
		if !slices.Contains(order, from) {
			order = append(order, from)
		}
	}
	for _, from := range order {
		if len(targets[from]) == 1 {
			h.add(from, targets[from][0])
		}
	}
	return nil
}

// rows yields the fields, between tabs, of lines that are neither blank nor a
// comment.
func rows(data []byte) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		for line := range strings.Lines(string(data)) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' && !yield(strings.Split(line, "\t")) {
				return
			}
		}
	}
}

// one returns the only character of s.
func one(s string) rune {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 || n != len(s) {
		panic("not one character: " + strconv.Quote(s))
	}
	return r
}
