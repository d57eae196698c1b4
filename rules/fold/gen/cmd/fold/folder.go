package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/fold/gen/source"
)

// folder folds one character at a time, from the data. The table is what it says
// of every character.
type folder struct {
	*database
	han   *han
	rules map[rune]string
}

// ruleFiles have what goes before all data.
var ruleFiles = []string{"letters.txt", "lookalikes.txt", "enclosed.txt", "punctuation.txt"}

// refused is the section of rows that were read and not taken.
const refused = "refused"

func newFolder(u *database, h *han) (*folder, error) {
	f := &folder{database: u, han: h, rules: map[rune]string{}}
	for _, name := range ruleFiles {
		rules, err := readRules(name)
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			if r.section == refused {
				continue
			}
			if _, ok := f.rules[r.from]; ok {
				return nil, fmt.Errorf("%s: second rule for %c", r.at, r.from)
			}
			if _, ok := u.digit(r.from); ok {
				return nil, fmt.Errorf("%s: %c is a digit and folds to its value", r.at, r.from)
			}
			f.rules[r.from] = r.to
		}
	}
	return f, nil
}

// character returns what r folds to, by doing one step after another until nothing
// changes: the table so is its own fixed point.
func (f *folder) character(r rune) string {
	s := string(r)
	for range 16 {
		var next strings.Builder
		for _, c := range s {
			next.WriteString(f.step(c))
		}
		if next.String() == s {
			return s
		}
		s = next.String()
	}
	panic(fmt.Sprintf("%U does not come to rest", r))
}

// step does the first thing that applies to a character.
func (f *folder) step(r rune) string {
	if to, ok := f.rules[r]; ok {
		return to
	}
	if f.invisible(r) {
		return ""
	}
	if value, ok := f.digit(r); ok {
		return string('0' + value)
	}
	if '가' <= r && r <= '힣' { // syllables stay composed
		return string(r)
	}
	// Before case: U+0345 is a mark here, and its capital is a letter.
	if d, ok := f.Decompositions[r]; ok {
		return compose(plain(string(d.To)))
	}
	if to, ok := f.Folds[r]; ok {
		return string(to)
	}
	if to, ok := f.han.to[r]; ok {
		return string(to)
	}
	return string(r)
}

// invisible reports whether a character shows nothing of its own: format and
// control characters, those a font is told to ignore, and combining marks. A few
// format characters do show, and white space counts.
func (f *folder) invisible(r rune) bool {
	switch f.category[r] {
	case "Nonspacing_Mark", "Enclosing_Mark":
		return true
	case "Control", "Format":
		return !f.property["White_Space"][r] && !f.property["Prepended_Concatenation_Mark"][r]
	}
	return f.property["Default_Ignorable_Code_Point"][r]
}

// plain takes off what compatibility puts around an enclosed character, brackets,
// and behind a number, full stop or comma.
func plain(s string) string {
	for _, b := range []string{"()", "〔〕"} {
		lo, hi := one(b[:len(b)/2]), one(b[len(b)/2:])
		if strings.HasPrefix(s, string(lo)) && strings.HasSuffix(s, string(hi)) && utf8.RuneCountInString(s) > 2 {
			return strings.TrimSuffix(strings.TrimPrefix(s, string(lo)), string(hi))
		}
	}
	if n := strings.TrimRight(s, ".,"); n != s && n != "" && strings.Trim(n, "0123456789") == "" {
		return n
	}
	return s
}

// compose puts conjoining jamo together: compatibility takes an enclosed syllable
// apart, and syllables stay composed.
func compose(s string) string {
	const (
		leads, vowels, trails = 19, 21, 28
		lead, vowel, trail    = 0x1100, 0x1161, 0x11A7
	)
	var out []rune
	for _, r := range s {
		if n := len(out); n > 0 {
			last := out[n-1]
			if l, v := last-lead, r-vowel; 0 <= l && l < leads && 0 <= v && v < vowels {
				out[n-1] = '가' + (l*vowels+v)*trails
				continue
			}
			if t := r - trail; '가' <= last && last <= '힣' && (last-'가')%trails == 0 && 0 < t && t < trails {
				out[n-1] = last + t
				continue
			}
		}
		out = append(out, r)
	}
	return string(out)
}

// check proves what the package promises, as far as it is about the data.
func (f *folder) check() error {
	var errs []error
	for r, d := range f.Decompositions {
		if d.Type != "Canonical" || '가' <= r && r <= '힣' {
			continue
		}
		parts := ""
		for _, c := range d.To {
			parts += f.character(c)
		}
		if got := f.character(r); got != parts {
			errs = append(errs, fmt.Errorf("%U folds to %q, its decomposition to %q", r, got, parts))
		}
	}
	for r, others := range f.Cases {
		for _, o := range others {
			if a, b := f.character(r), f.character(o); a != b && !f.invisible(r) && !f.invisible(o) {
				errs = append(errs, fmt.Errorf("%U folds to %q, in other case (%U) to %q", r, a, o, b))
			}
		}
	}
	return errors.Join(append(errs, f.confusables())...)
}

// confusables compares the look-alikes with the data of UTS #39, both ways.
func (f *folder) confusables() error {
	data, err := source.Read(source.Homoglyph, "data/prototypes.json")
	if err != nil {
		return err
	}
	var prototypes map[string]string
	if err := json.Unmarshal(data, &prototypes); err != nil {
		return fmt.Errorf("read the confusables: %w", err)
	}
	// What the confusables make of a folded character, in either case.
	looks := map[rune][]string{}
	var errs []error
	rules, err := readRules("lookalikes.txt")
	if err != nil {
		return err
	}
	no := map[string]bool{}
	for _, r := range rules {
		if r.section == refused {
			no[string(r.from)] = true
			if to := f.character(r.from); to != string(r.from) {
				errs = append(errs, fmt.Errorf("%s: %c is refused and folds to %q", r.at, r.from, to))
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(prototypes)) {
		n, err := strconv.Atoi(key)
		if err != nil {
			return err
		}
		r := rune(n)
		to := ""
		for _, c := range prototypes[key] {
			to += f.character(c)
		}
		for _, c := range append(f.Folds[r], r) {
			looks[c] = append(looks[c], to)
		}
		ours := f.character(r)
		switch f.script[r] {
		case "Latin", "Cyrillic", "Greek", "Armenian":
			if strings.HasSuffix(f.category[r], "_Letter") && len(to) == 1 && to != ours && ours[0] >= utf8.RuneSelf && !no[ours] {
				errs = append(errs, fmt.Errorf("%U %c looks like %q, says UTS #39; data/lookalikes.txt says nothing of %s", r, r, to, ours))
			}
		}
	}
	for _, r := range rules {
		if r.section == "" && !slices.Contains(looks[r.from], r.to) {
			errs = append(errs, fmt.Errorf("%s: UTS #39 does not say that %c looks like %q: %q", r.at, r.from, r.to, looks[r.from]))
		}
	}
	return errors.Join(errs...)
}
